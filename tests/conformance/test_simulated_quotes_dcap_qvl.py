"""Quotes of the simulated platform before a verifier that somebody else wrote: `dcap-qvl` from PyPI."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from kloister.errors import Unverified
from kloister.formats.sgx import Attributes, Flag
from kloister.simulator.documents import QeValues, collateral
from kloister.simulator.fuses import Fuses
from kloister.simulator.platform import SimulatedPlatform
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root, verify_sgx
from tests.support.enclaves import FUSES, KEYID, signer, start

dcap_qvl = pytest.importorskip("dcap_qvl")

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATA = bytes(range(64))


def platform(fuses: Fuses = FUSES) -> SimulatedPlatform:
    return SimulatedPlatform(fuses, KEYID, author=signer())


def judged(quote: bytes, documents: dict[str, str], root: bytes) -> str:
    given = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(documents))
    return str(dcap_qvl.verify_with_root_ca(quote, given, root, int(NOW.timestamp())).status)


def test_a_quote_is_up_to_date_under_our_root() -> None:
    host = platform()
    assert judged(host.quote_content(b"program", DATA), host.collateral(NOW), host.root()) == "UpToDate"


def test_our_own_verifier_says_the_same() -> None:
    host = platform()
    quote, documents = host.quote_content(b"program", DATA), Collateral.from_json(host.collateral(NOW))
    verified = verify_sgx(quote, documents, [Root.from_der(host.root())], NOW)
    assert verified.tcb_status == judged(quote, host.collateral(NOW), host.root())
    with pytest.raises(Unverified):
        verify_sgx(quote, documents, [INTEL_ROOT], NOW)


def test_every_enclave_of_the_machine_is_quoted() -> None:
    host = platform()
    for attributes in (Attributes(Flag.MODE64BIT, 3), Attributes(Flag.MODE64BIT | Flag.KSS, 0xE7)):
        enclave = start(host.machine, attributes=attributes, isvprodid=0xFFFF, isvsvn=0xFFFF)
        report = host.machine.ereport(enclave, host.qe.target_info(), DATA)
        assert judged(host.qe.quote(report), host.collateral(NOW), host.root()) == "UpToDate"


def test_the_collateral_of_another_platform_family_is_refused() -> None:
    host = platform()
    quote = host.quote_content(b"program", DATA)
    other = collateral(host.pki, NOW, QeValues.of(host.qe.report), fmspc=bytes(6))
    assert judged(quote, host.collateral(NOW), host.root()) == "UpToDate"
    with pytest.raises(ValueError, match="Fmspc mismatch"):
        judged(quote, other, host.root())


def test_another_platforms_root_or_collateral_is_refused() -> None:
    host, other = platform(), platform(Fuses.create(bytes(48)))
    quote = host.quote_content(b"program", DATA)
    for documents, root in ((host.collateral(NOW), other.root()), (other.collateral(NOW), host.root())):
        with pytest.raises(ValueError, match="InvalidCrlSignature"):
            judged(quote, documents, root)
    with pytest.raises(ValueError, match="InvalidCrlSignature"):  # under Intel's root
        dcap_qvl.verify(
            quote, dcap_qvl.QuoteCollateralV3.from_json(json.dumps(host.collateral(NOW))), int(NOW.timestamp())
        )
    assert judged(quote, host.collateral(NOW), host.root()) == "UpToDate"


def test_another_quoting_enclave_is_refused() -> None:
    host = platform()
    quote = host.quote_content(b"program", DATA)
    genuine = QeValues.of(host.qe.report)
    wrong = QeValues(mrsigner=bytes(32), isvprodid=1, isvsvn=genuine.isvsvn, attributes=genuine.attributes)
    assert judged(quote, collateral(host.pki, NOW, genuine), host.root()) == "UpToDate"
    with pytest.raises(ValueError, match="QE MRSIGNER mismatch"):
        judged(quote, collateral(host.pki, NOW, wrong), host.root())


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (0, "Unsupported quote version"),
        (8, "report signature is invalid"),
        (48 + 64, "report signature is invalid"),  # MRENCLAVE
        (48 + 320, "report signature is invalid"),  # REPORTDATA
        (436, "report signature is invalid"),
        (436 + 64, "QE report hash mismatch"),  # the attestation key
        (436 + 128 + 64, "Signature is invalid for qe_report"),
        (436 + 512, "Signature is invalid for qe_report"),
    ],
)
def test_a_changed_byte_of_the_quote_is_refused(at: int, reason: str) -> None:
    host = platform()
    quote = bytearray(host.quote_content(b"program", DATA))
    assert judged(bytes(quote), host.collateral(NOW), host.root()) == "UpToDate"
    quote[at] ^= 1
    with pytest.raises(ValueError, match=reason):
        judged(bytes(quote), host.collateral(NOW), host.root())
