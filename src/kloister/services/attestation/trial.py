"""What a policy would see of evidence or of claims in a file: for trying policies before they are set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kloister.errors import Malformed
from kloister.formats.dcap import Quote, TcbStatus, TeeType
from kloister.formats.protocol.maa import AttestRequest
from kloister.formats.wire import is_unicode, load_json
from kloister.services.appraisal.recognise import SNP_KINDS, TOKEN_KINDS, identify, unwrap
from kloister.services.attestation.collateral import Chosen, Need
from kloister.services.attestation.evidence import Judge, as_policy_claims
from kloister.services.attestation.kinds import Kind
from kloister.trust.policy.maa import ATTESTATION_POLICY, ATTESTATION_SERVICE, CUSTOM_CLAIM, Claim
from kloister.trust.verifier import Collateral, Root

MAX_CLAIMS = 16 * 1024 * 1024  # bytes of a file; a boot log has some 100 kB
_ISSUERS = (ATTESTATION_SERVICE, ATTESTATION_POLICY, CUSTOM_CLAIM)
_MEMBERS = {"type", "value", "issuer", "valueType"}
_HINT = 'Write {"NAME": VALUE, ...}, or [{"type": NAME, "value": VALUE, "issuer": "CustomClaim"}, ...].'


def read_claims(data: bytes) -> list[Claim]:
    """Claims in JSON: an object of evidence's claims as a token has them, or a list of claims with their issuers.

    Raises:
        Malformed: `policy-claims-size`, `policy-claims-json`, `policy-claims-field`.
    """
    document = load_json(data, "policy-claims", MAX_CLAIMS)
    if isinstance(document, dict):
        return as_policy_claims(document)
    if not isinstance(document, list):
        raise _unfit("The claims")
    return [_claim(one, f"Claim {index}") for index, one in enumerate(document)]


def _claim(one: Any, what: str) -> Claim:
    if not isinstance(one, dict) or not {"type", "value"} <= one.keys() <= _MEMBERS:
        raise _unfit(what)
    name, value, issuer = one["type"], one["value"], one.get("issuer", CUSTOM_CLAIM)
    if not isinstance(name, str) or not isinstance(value, (str, int)) or issuer not in _ISSUERS:
        raise _unfit(what)
    if not is_unicode(name) or (isinstance(value, str) and not is_unicode(value)):
        raise _unfit(what)
    return Claim(name, value, issuer)


def evidence_claims(data: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime) -> list[Claim]:
    """The claims of a quote, SGX or TDX, raw or as text, once it is verified; whatever its TCB status.

    Raises:
        Malformed, Unverified: it is not genuine; `policy-evidence-kind`, it is no quote.
    """
    kind, inner = identify(data)
    if kind in SNP_KINDS or kind in TOKEN_KINDS:
        raise Malformed("policy-evidence-kind", f"This is a {kind}, not a quote.", "Give its claims with --claims.")
    quote = unwrap(kind, inner).data
    tdx = Quote.parse(quote).header.tee_type == TeeType.TDX
    judge = Judge(roots=roots, amd_roots=(), accept=frozenset(TcbStatus), collateral=_One(Chosen.of(collateral)), at=at)
    judged = judge.judge(
        Kind.TDX_VM if tdx else Kind.SGX_ENCLAVE,
        AttestRequest(evidence=quote),
        simulated=None,
        now=at,
        evaluation_number=lambda: None,
        wait=True,
    )
    return as_policy_claims({**judged.claims, **judged.own})


class _One:
    """The one bundle that was given."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen

    def held(self, _need: Need, _at: datetime) -> Chosen:
        return self._chosen

    def fetch(self, _need: Need, _at: datetime) -> Chosen:
        return self._chosen

    def refresh(self) -> None:
        """Nothing."""

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        return []


def _unfit(what: str) -> Malformed:
    return Malformed("policy-claims-field", f"{what} cannot be given to a policy.", _HINT)
