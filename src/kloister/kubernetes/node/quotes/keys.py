"""What every maker of quotes answers alike: there is one attestation key, DCAP's ECDSA P-256."""

from __future__ import annotations

from kloister.errors import Malformed
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode


def of_keys(request: aesm.SelectKey | aesm.KeyNumber | aesm.KeyIds) -> Answer:
    """The answers about keys: how many, which, and the one to take."""
    match request:
        case aesm.SelectKey():
            return _select(request)
        case aesm.KeyNumber():
            return Answer(request.NUMBER, count=1)
        case aesm.KeyIds():
            enough = request.size is not None and request.size >= aesm.KEY_ID_SIZE
            return Answer(request.NUMBER, key_ids=aesm.ECDSA_P256) if enough else parameter(request)


def check_key_id(key_id: bytes | None) -> AesmCode | None:
    """What AESM refuses a key id with: it must be there in its whole size, and name DCAP's key."""
    if key_id is None or len(key_id) != aesm.KEY_ID_SIZE:
        return AesmCode.PARAMETER
    return None if aesm.is_ecdsa_p256(key_id) else AesmCode.UNSUPPORTED_ATT_KEY_ID


def _select(request: aesm.SelectKey) -> Answer:
    if not request.ids:
        return Answer(request.NUMBER, key_ids=aesm.ECDSA_P256)
    try:
        wanted = aesm.parse_key_ids(request.ids)
    except Malformed:
        return parameter(request)
    found = next(filter(aesm.is_ecdsa_p256, wanted), None)
    return Answer(request.NUMBER, AesmCode.SUCCESS if found else AesmCode.UNSUPPORTED_ATT_KEY_ID, key_ids=found)


def parameter(request: Asked) -> Answer:
    """Something in the request is not as it must be."""
    return Answer(request.NUMBER, AesmCode.PARAMETER)
