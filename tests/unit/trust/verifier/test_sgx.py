"""Every step of the verification refuses what it is for, framed by the unmodified evidence verifying."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kloister.errors import Malformed, Misused
from kloister.formats.dcap import CertificationData, CertificationType, TcbStatus
from kloister.formats.pki import Certificate
from kloister.formats.sgx import Attributes
from kloister.simulator.documents import TcbStage, sign_document
from kloister.simulator.pki import Identity, PlatformTcb, SimulatedPki, Wanted, derive_key, issue, revocation_list
from kloister.trust.evidence import TcbRevoked
from kloister.trust.verifier import INTEL_ROOT, Collateral, verify_sgx
from tests.support.evidence import ENCLAVE, NOW, QE, SEED, Forge, code_of, replaced

FORGE = Forge()
PKI = FORGE.pki
DOCUMENTS = FORGE.documents()
EVIL = derive_key(SEED, "evil")
START, END = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=30)


def test_genuine_evidence_verifies() -> None:
    verified = FORGE.verify()
    assert (verified.tee, verified.tcb_status, verified.advisories) == ("sgx", TcbStatus.UP_TO_DATE, ())
    assert verified.fmspc == PKI.fmspc.hex()
    assert verified.report == ENCLAVE
    assert verified.claims["mrenclave"] == "11" * 32
    assert verified.claims["debug"] is False
    assert verified.simulated
    assert verified.tcb.evaluation_number == 20
    assert verified.collateral_expires == END


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sgx_bodies_verify_in_all_versions(version: int) -> None:
    assert replace(FORGE, version=version).verify().report == ENCLAVE


def test_a_debug_enclave_is_genuine() -> None:
    debug = replace(FORGE, enclave=replace(ENCLAVE, attributes=Attributes(0x07, 0xE7)))
    assert debug.verify().claims["debug"] is True


def test_padding_is_accepted() -> None:
    assert replace(FORGE, padding=bytes(3000)).verify().report == ENCLAVE


def test_a_time_without_zone_is_our_bug() -> None:
    with pytest.raises(Misused) as bug:
        FORGE.verify(at=datetime(2026, 6, 15))  # noqa: DTZ001 -- that is the point
    assert bug.value.code == "time-naive"


# 1: parsing is tested beside the parser; a body that this verifier does not know is refused with the next step


def test_no_other_root_will_do() -> None:
    quote, parts = FORGE.quote(), Collateral.from_json(DOCUMENTS)
    stranger = Forge(pki=SimulatedPki.derive(SEED[::-1])).root
    assert code_of(lambda: verify_sgx(quote, parts, [INTEL_ROOT], NOW)) == "root-untrusted"
    assert code_of(lambda: verify_sgx(quote, parts, [stranger], NOW)) == "root-untrusted"  # same name, another key
    assert code_of(lambda: verify_sgx(quote, parts, [], NOW)) == "root-untrusted"
    assert verify_sgx(quote, parts, [INTEL_ROOT, stranger, FORGE.root], NOW).root == FORGE.root


# 2: the PCK's chain


def _wanted(certificate: Certificate, **changes: Any) -> Wanted:
    extension = PKI.extension if certificate is PKI.pck.certificate else None
    wanted = Wanted(
        common_name=certificate.common_name,
        serial=certificate.serial,
        path_length=certificate.path_length,
        sgx=extension,
    )
    return replace(wanted, **changes)


def _chain(**roles: Identity) -> Forge:
    pki = PKI
    for role, identity in roles.items():
        pki = replaced(pki, role, identity)
    return replace(FORGE, pki=pki)


def _pck(**changes: Any) -> Forge:
    return _chain(pck=issue(PKI.ca, PKI.pck.key, _wanted(PKI.pck.certificate, **changes)))


def _ca(**changes: Any) -> Forge:
    return _chain(ca=issue(PKI.root, PKI.ca.key, _wanted(PKI.ca.certificate, **changes)))


def _renewed_root(**changes: Any) -> Forge:
    return _chain(root=issue(None, PKI.root.key, _wanted(PKI.root.certificate, **changes)))


PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (_pck(), "accepted"),
        (_pck(common_name="Kloister Simulator SGX TCB Signing"), "pck-role"),
        (_pck(path_length=0), "pck-usage"),
        (_pck(not_after=PAST), "pck-expired"),
        (_pck(not_after=NOW, not_before=NOW), "accepted"),
        (_pck(not_before=FUTURE), "pck-not-yet-valid"),
        (_pck(sgx=None), "pck-extension-missing"),
        (_ca(), "accepted"),
        (_ca(path_length=None), "pck-ca-usage"),
        (_ca(not_after=PAST), "pck-ca-expired"),
        (_ca(not_before=FUTURE), "pck-ca-not-yet-valid"),
        (_ca(common_name="Somebody CA"), "pck-issuer"),
        (_ca(common_name="Somebody"), "pck-ca-role"),
        (_chain(pck=issue(PKI.ca, EVIL, _wanted(PKI.pck.certificate))), "qe-report-signature"),
        (_chain(pck=issue(replace(PKI.ca, key=EVIL), PKI.pck.key, _wanted(PKI.pck.certificate))), "pck-signature"),
        (_chain(ca=issue(replace(PKI.root, key=EVIL), PKI.ca.key, _wanted(PKI.ca.certificate))), "pck-ca-signature"),
        (_chain(ca=issue(PKI.ca, PKI.ca.key, _wanted(PKI.ca.certificate))), "pck-ca-issuer"),
        (_renewed_root(serial=99, not_after=datetime(2039, 1, 1, tzinfo=UTC)), "accepted"),
        (_renewed_root(not_after=PAST), "root-expired"),
        (_renewed_root(path_length=0), "root-usage"),
        (_renewed_root(common_name="Kloister Simulator"), "root-role"),
    ],
)
def test_chains(forge: Forge, code: str) -> None:
    # the forged chain stands in the quote alone: the collateral, and the root that is pinned, stay the genuine ones
    pck = forge.pki.pck.key if code == "accepted" else PKI.pck.key
    quote = replace(forge, pck_key=pck).quote()
    assert code_of(lambda: FORGE.verify(DOCUMENTS, quote=quote)) == code


def _certification(*certificates: Certificate) -> Forge:
    data = "".join(each.pem() for each in certificates).encode()
    return replace(FORGE, certification=CertificationData(type=CertificationType.PCK_CHAIN, data=data))


def test_the_root_may_be_absent_from_the_chain_and_nothing_else() -> None:
    pck, ca, root = PKI.pck.certificate, PKI.ca.certificate, PKI.root.certificate
    assert code_of(_certification(pck, ca, root).verify) == "accepted"
    assert code_of(_certification(pck, ca).verify) == "accepted"
    assert code_of(_certification(pck).verify) == "pck-chain"
    assert code_of(_certification(pck, ca, root, root).verify) == "pck-chain"
    assert code_of(_certification(pck, root).verify) == "pck-issuer"
    stranger = SimulatedPki.derive(SEED[::-1])
    assert code_of(_certification(pck, stranger.ca.certificate).verify) == "pck-signature"


def test_a_chain_that_is_none_is_called_by_where_it_stood() -> None:
    nothing = CertificationData(type=CertificationType.PCK_CHAIN, data=b"none")
    leaf = CertificationData(type=CertificationType.PCK_LEAF, data=PKI.pck.certificate.pem().encode())
    assert code_of(replace(FORGE, certification=nothing).verify) == "pck-chain-pem"
    changed = _with(pck_crl_issuer_chain="none")
    assert code_of(lambda: replace(FORGE, certification=leaf).verify(changed)) == "pck-crl-issuer-chain-pem"


EVIL_CERTIFICATE = SimulatedPki.derive(SEED[::-1]).pck.certificate


def test_certificates_may_come_from_the_collateral() -> None:
    leaf = CertificationData(type=CertificationType.PCK_LEAF, data=PKI.pck.certificate.pem().encode())
    named = CertificationData(type=CertificationType.PPID_PLAIN, data=bytes(36))
    manifest = CertificationData(type=CertificationType.PLATFORM_MANIFEST, data=b"")
    assert code_of(replace(FORGE, certification=leaf).verify) == "accepted"
    more = replace(leaf, data=leaf.data + EVIL_CERTIFICATE.pem().encode())  # only the first of the quote's counts
    assert code_of(replace(FORGE, certification=more).verify) == "accepted"
    assert code_of(replace(FORGE, certification=named).verify) == "accepted"
    with pytest.raises(Malformed) as refused:
        replace(FORGE, certification=manifest).verify()
    assert refused.value.code == "certification-type"
    assert refused.value.hint.startswith("Register the platform")
    bare = {key: value for key, value in DOCUMENTS.items() if key != "pck_certificate_chain"}
    assert code_of(lambda: replace(FORGE, certification=named).verify(bare)) == "pck-chain-missing"


# 3: revocation


def _with(**parts: str) -> dict[str, str]:
    return DOCUMENTS | parts


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        (FORGE.documents(revoked_pcks=(1,), revoked_authorities=(1,)), "accepted"),
        (FORGE.documents(revoked_pcks=(PKI.pck.certificate.serial,)), "pck-revoked"),
        (FORGE.documents(revoked_authorities=(PKI.ca.certificate.serial,)), "pck-ca-revoked"),
        (FORGE.documents(revoked_authorities=(PKI.tcb_signer.certificate.serial,)), "tcb-info-signer-revoked"),
        (_with(pck_crl=revocation_list(PKI.root, START, END).hex()), "pck-crl-issuer"),
        (_with(root_ca_crl=revocation_list(PKI.ca, START, END).hex()), "root-crl-issuer"),
        (_with(pck_crl=revocation_list(replace(PKI.ca, key=EVIL), START, END).hex()), "pck-crl-signature"),
        (_with(root_ca_crl=revocation_list(replace(PKI.root, key=EVIL), START, END).hex()), "root-crl-signature"),
        (_with(pck_crl=revocation_list(PKI.ca, START, PAST).hex()), "pck-crl-expired"),
        (_with(pck_crl=revocation_list(PKI.ca, START, NOW).hex()), "accepted"),
        (_with(pck_crl=revocation_list(PKI.ca, FUTURE, END).hex()), "pck-crl-not-yet-valid"),
        (_with(root_ca_crl=revocation_list(PKI.root, START, PAST).hex()), "root-crl-expired"),
        (_with(root_ca_crl="00"), "crl-syntax"),
    ],
)
def test_revocation(documents: dict[str, str], code: str) -> None:
    assert code_of(lambda: FORGE.verify(documents)) == code


# 4: the signed documents


def _signed(part: str, change: Callable[[dict[str, Any]], object], signer: Identity | None = None) -> dict[str, str]:
    """The collateral with one document changed and signed again."""
    document = json.loads(DOCUMENTS[part])
    change(document)
    text = json.dumps(document)
    return _with(**{part: text, f"{part}_signature": sign_document(signer or PKI.tcb_signer, text)})


def _signer(**changes: Any) -> Identity:
    return issue(PKI.root, PKI.tcb_signer.key, _wanted(PKI.tcb_signer.certificate, **changes))


def _signer_chain(part: str, *certificates: Certificate) -> dict[str, str]:
    return _with(**{f"{part}_issuer_chain": "".join(each.pem() for each in certificates)})


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_signed_documents(part: str) -> None:
    code = part.replace("_", "-")
    root = PKI.root.certificate
    cases = {
        "accepted": [
            _signed(part, lambda _: None),
            _signed(part, lambda d: d.update(nextUpdate="2026-06-15T12:00:00Z")),
            _signed(part, lambda d: d.update(issueDate="2026-06-15T12:00:00Z")),
            _signer_chain(part, PKI.tcb_signer.certificate),
        ],
        f"{code}-expired": [_signed(part, lambda d: d.update(nextUpdate="2026-06-15T11:59:59Z"))],
        f"{code}-not-yet-valid": [_signed(part, lambda d: d.update(issueDate="2026-06-15T12:00:01Z"))],
        f"{code}-signature": [
            _signed(part, lambda _: None, replace(PKI.tcb_signer, key=EVIL)),
            _with(**{part: DOCUMENTS[part] + " "}),
            _with(**{f"{part}_signature": "00" * 64}),
            _with(**{part: "{}"}),  # what is inside is not looked at before the signature
        ],
        f"{code}-signature-hex": [_with(**{f"{part}_signature": "00"})],
        f"{code}-signer-role": [_signer_chain(part, PKI.pck.certificate, root)],
        f"{code}-signer-expired": [_signer_chain(part, _signer(not_after=PAST).certificate, root)],
        f"{code}-signer-usage": [_signer_chain(part, _signer(path_length=0).certificate, root)],
        f"{code}-signer-chain": [_signer_chain(part, PKI.tcb_signer.certificate, root, root)],
        "root-untrusted": [
            _signer_chain(part, PKI.tcb_signer.certificate, SimulatedPki.derive(SEED[::-1]).root.certificate)
        ],
        f"{code}-issuer-chain-pem": [_with(**{f"{part}_issuer_chain": "none"})],
        f"{code}-field": [_signed(part, lambda d: d.pop("tcbLevels"))],
        f"{code}-version": [_signed(part, lambda d: d.update(version=9))],
    }
    for wanted, documents in cases.items():
        assert [code_of(lambda one=one: FORGE.verify(one)) for one in documents] == [wanted] * len(documents)  # type: ignore[misc]  # mypy cannot type a lambda's default


# 5: the TCB info's scope


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        (FORGE.documents(fmspc=bytes(6)), "tcb-info-fmspc"),
        (_signed("tcb_info", lambda d: d.update(fmspc=d["fmspc"].lower())), "accepted"),
        (_signed("tcb_info", lambda d: d.update(pceId="0001")), "tcb-info-pceid"),
        (_signed("tcb_info", lambda d: d.update(id="TDX")), "tcb-info-tee"),
    ],
)
def test_tcb_info_must_be_for_this_platform(documents: dict[str, str], code: str) -> None:
    assert code_of(lambda: FORGE.verify(documents)) == code


# 6 to 8: the QE and the quote


def _identity(**changes: Any) -> dict[str, str]:
    return _signed("qe_identity", lambda d: d.update(changes))


@pytest.mark.parametrize(
    ("forge", "documents", "code"),
    [
        (replace(FORGE, pck_key=EVIL), DOCUMENTS, "qe-report-signature"),
        (replace(FORGE, bound_key=EVIL), DOCUMENTS, "qe-report-data"),
        (replace(FORGE, qe_auth_data=bytes(1000)), DOCUMENTS, "accepted"),
        (FORGE, _identity(id="TD_QE"), "qe-identity-id"),
        (FORGE, _identity(miscselect="00000001"), "qe-miscselect"),
        (FORGE, _identity(miscselect="00000000", miscselectMask="00000000"), "accepted"),
        (replace(FORGE, qe=replace(QE, miscselect=1)), DOCUMENTS, "qe-miscselect"),
        (replace(FORGE, qe=replace(QE, attributes=Attributes(0x17, 0xE7))), DOCUMENTS, "qe-attributes"),
        (replace(FORGE, qe=replace(QE, attributes=Attributes(0x11, 0x07))), DOCUMENTS, "accepted"),
        (replace(FORGE, qe=replace(QE, mrsigner=bytes(32))), DOCUMENTS, "qe-mrsigner"),
        (replace(FORGE, qe=replace(QE, isvprodid=2)), DOCUMENTS, "qe-isvprodid"),
        (replace(FORGE, qe=replace(QE, isvsvn=9)), DOCUMENTS, "accepted"),
        (replace(FORGE, qe=replace(QE, isvsvn=7)), DOCUMENTS, "qe-svn-unsupported"),
        (FORGE, _identity(tcbLevels=[]), "qe-svn-unsupported"),
    ],
)
def test_the_quoting_enclave(forge: Forge, documents: dict[str, str], code: str) -> None:
    assert code_of(lambda: FORGE.verify(documents, quote=forge.quote())) == code


def test_the_quote_signature_covers_header_and_body() -> None:
    quote = FORGE.quote()
    for at in (8, 28, 48, 112, 431):
        changed = quote[:at] + bytes([quote[at] ^ 1]) + quote[at + 1 :]
        assert code_of(lambda changed=changed: FORGE.verify(quote=changed)) == "quote-signature"  # type: ignore[misc]  # mypy cannot type a lambda's default


# 9 and 11: levels


@pytest.mark.parametrize("status", sorted(set(TcbStatus) - {TcbStatus.REVOKED}))
def test_a_staged_status_comes_out_with_its_advisories(status: TcbStatus) -> None:
    if status.startswith("TDRelaunch"):
        assert code_of(lambda: FORGE.verify(FORGE.documents(TcbStage(status=status)))) == "tcb-info-field"
        return
    verified = FORGE.verify(FORGE.documents(TcbStage(status=status, advisories=("B", "A", "B"))))
    assert (verified.tcb_status, verified.advisories) == (status, ("A", "B"))


def test_a_revoked_platform_is_not_genuine() -> None:
    with pytest.raises(TcbRevoked) as refusal:
        FORGE.verify(FORGE.documents(TcbStage(status=TcbStatus.REVOKED, advisories=("A",))))
    assert refusal.value.code == "tcb-revoked"
    assert (refusal.value.tcb.status, refusal.value.tcb.advisories) == (TcbStatus.REVOKED, ("A",))
    assert refusal.value.fmspc == PKI.fmspc.hex()


def _lower(component: int, pcesvn: int = 13) -> Forge:
    """A platform of which one component is one below the level that the collateral calls up to date."""
    components = list(PKI.tcb.components)
    if component >= 0:
        components[component] -= 1
    return Forge(pki=SimulatedPki.derive(SEED, tcb=PlatformTcb(components=tuple(components), pcesvn=pcesvn)))


@pytest.mark.parametrize(
    ("forge", "status"),
    [
        (_lower(-1), TcbStatus.UP_TO_DATE),
        (_lower(0), TcbStatus.OUT_OF_DATE),
        (_lower(7), TcbStatus.OUT_OF_DATE),
        (_lower(-1, 12), TcbStatus.OUT_OF_DATE),
        (_lower(-1, 14), TcbStatus.UP_TO_DATE),
    ],
)
def test_every_component_and_the_pcesvn_must_reach_the_level(forge: Forge, status: TcbStatus) -> None:
    assert forge.verify(DOCUMENTS).tcb_status == status


def test_a_platform_below_all_levels_is_unsupported() -> None:
    documents = _signed("tcb_info", lambda d: d.update(tcbLevels=d["tcbLevels"][:1]))
    assert code_of(lambda: FORGE.verify(documents)) == "accepted"
    assert code_of(lambda: _lower(0).verify(documents)) == "tcb-unsupported"


@pytest.mark.parametrize(
    ("platform", "qe", "together"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("UpToDate", "Revoked", "Revoked"),
        ("OutOfDate", "Revoked", "Revoked"),
    ],
)
def test_convergence(platform: str, qe: str, together: str) -> None:
    stage = TcbStage(status=TcbStatus(platform), advisories=("P", "S"), date=datetime(2025, 5, 5, tzinfo=UTC))
    level = {"tcb": {"isvsvn": 8}, "tcbDate": "2024-04-04T00:00:00Z", "tcbStatus": qe, "advisoryIDs": ["S", "Q"]}
    identity = _signed("qe_identity", lambda d: d.update(tcbLevels=[level]))
    documents = FORGE.documents(stage) | {key: identity[key] for key in ("qe_identity", "qe_identity_signature")}
    try:
        result = FORGE.verify(documents).tcb
    except TcbRevoked as refusal:
        result = refusal.tcb
    assert result.status == together
    assert result.advisories == ("P", "Q", "S")
    assert result.date == datetime(2024, 4, 4, tzinfo=UTC)


# the collateral as a whole


@pytest.mark.parametrize("part", sorted(set(DOCUMENTS) - {"pck_certificate_chain"}))
def test_no_part_of_the_collateral_may_be_missing_or_odd(part: str) -> None:
    for value in (None, 1, "é", "x" * (9 << 20)):
        document: dict[str, Any] = DOCUMENTS | {part: value}
        assert code_of(lambda document=document: Collateral.from_json(document)) == "collateral-field"  # type: ignore[misc]  # mypy cannot type a lambda's default
    assert code_of(lambda: Collateral.from_json([])) == "collateral-field"  # type: ignore[arg-type]  # a hostile document
