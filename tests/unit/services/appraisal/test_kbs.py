"""What guests send to a key broker: SNP reports in JSON, and Azure's blob with the quote of the VM's TPM."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.snp import HclBlob, Product, SnpReport
from kloister.formats.snp.hcl import TDX
from kloister.formats.snp.serde import report_of_json
from kloister.formats.tokens import jwk_of
from kloister.formats.tpm import TpmQuote
from kloister.formats.wire import canonical_json
from kloister.services.appraisal import Appraisal, appraise
from kloister.services.appraisal.kinds import Vouched
from kloister.services.appraisal.recognise import identify, recognise, vouched_by
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import Collateral, Root
from kloister.trust.verifier.endorsement import SnpEndorsement
from tests.support.evidence import NOW as NOW_TDX
from tests.support.evidence import code_of
from tests.support.serde import serde
from tests.support.snp import NOW, SnpForge, report, rsa_key, snp_cases
from tests.support.tokens import KEYS
from tests.support.trust_domains import TDX10, TdForge

PRODUCTS = [SnpForge.of(product) for product in Product]


def judged(
    data: bytes, forge: SnpForge, endorsement: SnpEndorsement | None = None, policy: AppraisalPolicy | None = None
) -> Appraisal:
    return appraise(data, None, [forge.root], NOW, policy, endorsement=endorsement)


def reason(data: bytes, forge: SnpForge, endorsement: SnpEndorsement | None = None) -> str:
    found = judged(data, forge, endorsement)
    assert found.genuine == (found.reason is None)
    return found.reason.code if found.reason else "accepted"


@pytest.mark.parametrize("forge", PRODUCTS, ids=lambda forge: str(forge.product))
@pytest.mark.parametrize("old", [False, True])
def test_a_report_in_json_is_put_together_again(forge: SnpForge, old: bool) -> None:  # noqa: FBT001 -- a row
    assert report_of_json(serde(forge.signed(), old)) == forge.signed()


def test_captured_reports_are_put_together_again() -> None:
    known = [case.report for case in snp_cases() if code_of(lambda c=case: SnpReport.parse(c.report)) == "accepted"]  # type: ignore[misc]
    assert len(known) > 5
    for data in known:
        assert report_of_json(serde(data))[:0x48] == data[:0x48]
        assert report_of_json(serde(data))[0x50:0x180] == data[0x50:0x180]


def _table(forge: SnpForge, *names: str) -> list[dict[str, Any]]:
    parts = {"VCEK": forge.vek_der(), "VLEK": forge.vek_der(), "ASK": forge.ask_der(), "ARK": forge.ark_der()}
    kinds = {"OTHER": {"OTHER": "00000000-0000-0000-0000-000000000000"}}
    return [{"cert_type": kinds.get(name, name), "data": list(parts.get(name, b""))} for name in names]


def _snp(forge: SnpForge, table: Any) -> dict[str, Any]:
    return {"attestation_report": serde(forge.signed()), "cert_chain": table}


def test_it_brings_what_vouches_for_it_or_part_of_that() -> None:
    forge = SnpForge()
    whole = json.dumps(_snp(forge, _table(forge, "ARK", "ASK", "VCEK", "OTHER")))
    found = judged(whole.encode(), forge)
    assert (found.kind, found.tee, found.accepted) == ("kbs-evidence", "snp", True)
    assert vouched_by(*identify(whole.encode())) is Vouched.ENDORSEMENT
    for table in (None, _table(forge, "VCEK"), _table(forge, "ASK", "ARK")):
        data = json.dumps(_snp(forge, table)).encode()
        assert recognise(data).endorsement is None
        assert (recognise(data).vek is not None) == (table is not None and len(table) == 1)
        assert reason(data, forge, forge.endorsement()) == "accepted"
    other = json.dumps(_snp(replace(forge, signing=2), _table(forge, "ARK", "ASK", "VCEK"))).encode()
    assert reason(other, forge) == "snp-report-signature"
    shapes: list[Any] = [{}, [1], [{"cert_type": "ASK", "data": "x"}], [{}] * 17]
    for bad in shapes:
        assert reason(json.dumps(_snp(forge, bad)).encode(), forge) == "kbs-evidence"
    assert reason(json.dumps(_snp(forge, [{"cert_type": "ASK", "data": [256]}])).encode(), forge) == "snp-json-field"


def test_it_is_bound_to_the_session() -> None:
    runtime = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC"}}
    bound = hashlib.sha384(canonical_json({"additional-evidence": "", **runtime})).digest().ljust(64, b"\0")
    forge = replace(SnpForge(), report=report(report_data=bound))
    evidence = {"primary_evidence": _snp(forge, _table(forge, "ARK", "ASK", "VCEK")), "additional_evidence": ""}
    for session, code in ((runtime, "accepted"), (runtime | {"nonce": "AAAB"}, "kbs-report-data")):
        assert reason(json.dumps({"runtime-data": session, "tee-evidence": evidence}).encode(), forge) == code


SERDE = serde(SnpForge().signed())


@pytest.mark.parametrize("value", [None, "x", -1, True, [], {}, [1.5] * 64, 1 << 70])
def test_every_field_is_of_its_kind(value: Any) -> None:
    for name in SERDE:
        optional = value is None and SERDE[name] is None
        if name not in ("sig_algo", "cpuid_fam_id", "cpuid_mod_id", "cpuid_step") and not optional:
            with pytest.raises(Malformed):
                report_of_json({**SERDE, name: value})


def test_what_is_no_report_in_json() -> None:
    assert code_of(lambda: report_of_json([])) == "snp-json-field"
    assert code_of(lambda: report_of_json({**SERDE, "version": 9})) == "snp-json-field"


# Azure ---------------------------------------------------------------------------------------------------------------

AK = rsa_key(0, 1)
REGISTERS = [bytes([number]) * 32 for number in range(24)]
KEY = {name: value for name, value in jwk_of(AK.public_key(), "HCLAkPub").items() if name in ("kid", "kty", "n", "e")}
RUNTIME: dict[str, Any] = {"keys": [{**KEY, "key_ops": ["sign"]}], "vm-configuration": {}, "user-data": "00"}
NONCE = b"\x5a" * 48


def tpm(nonce: bytes = NONCE, registers: tuple[int, ...] = tuple(range(24)), **changes: Any) -> TpmQuote:
    digest = hashlib.sha256(b"".join(REGISTERS[number] for number in registers)).digest()
    values = {"signer": b"\0\x0b" + bytes(32), "nonce": nonce, "selection": ((TpmQuote.SHA256, registers),)}
    return TpmQuote(**{**values, "pcr_digest": digest, **changes})


def tpm_json(quote: TpmQuote, key: Any = AK, registers: list[bytes] = REGISTERS) -> dict[str, Any]:
    signature = key.sign(quote.build(), padding.PKCS1v15(), hashes.SHA256())
    return {"signature": signature.hex(), "message": quote.build().hex(), "pcrs": [one.hex() for one in registers]}


def _blob(runtime: dict[str, Any]) -> tuple[SnpForge, bytes]:
    text = json.dumps(runtime).encode()
    forge = replace(SnpForge(), report=report(report_data=hashlib.sha256(text).digest().ljust(64, b"\0")))
    return forge, HclBlob(report=forge.signed(), runtime=text).build()


def azure(quote: Any = None, runtime: dict[str, Any] = RUNTIME, **members: Any) -> tuple[bytes, SnpForge]:
    forge, blob = _blob(runtime)
    text = base64.urlsafe_b64encode(blob).rstrip(b"=").decode()
    vcek = base64.urlsafe_b64encode(forge.vek_der()).decode()
    document = {"version": 2, "tpm_quote": quote or tpm_json(tpm()), "hcl_report": text, "vcek": vcek} | members
    return json.dumps(document).encode(), forge


def test_a_vm_on_azure_with_its_tpm() -> None:
    data, forge = azure()
    assert vouched_by(*identify(data)) is Vouched.ENDORSEMENT
    assert recognise(data).vek is not None
    found = judged(data, forge, forge.endorsement(), AppraisalPolicy())
    assert (found.kind, found.tee, found.accepted) == ("kbs-evidence", "snp", True)
    assert found.claims is not None
    assert (found.claims["tpm_nonce"], found.claims["pcr7"]) == (NONCE.hex(), "07" * 32)
    assert found.claims["user_data"] == "00"
    assert forge.report.chip_id.hex() not in json.dumps(found.as_json())
    few, forge = azure(tpm_json(tpm(registers=(0, 8))))
    claims = judged(few, forge, forge.endorsement()).claims or {}
    assert sorted(name for name in claims if name.startswith("pcr")) == ["pcr0", "pcr8"]


def test_both_numbered_versions_of_azures_evidence_are_read() -> None:
    for version in (1, 2):
        data, forge = azure(version=version)
        assert reason(data, forge, forge.endorsement()) == "accepted"
    for other in (0, 3, "2", None):
        data, forge = azure(version=other)
        assert reason(data, forge, forge.endorsement()) == "evidence-not-supported"
    first = judged(json.dumps({"quote": {"pcrs": []}, "report": [72], "vcek": "PEM"}).encode(), SnpForge()).reason
    assert first is not None
    assert (first.code, first.hint) == ("evidence-not-supported", "Update the guest's attestation agent.")


FOREIGN = {
    "vtpm-signature": azure(tpm_json(tpm(), rsa_key(2, 3))),
    "vtpm-registers": azure(tpm_json(tpm(pcr_digest=bytes(32)))),
    "vtpm-key": azure(runtime=RUNTIME | {"keys": [KEY | {"kid": "HCLEkPub"}]}),
    "vtpm-registers-size": azure(tpm_json(tpm(), registers=REGISTERS[:23])),
    "tpm-quote-selection": azure(tpm_json(tpm(selection=((TpmQuote.SHA256, (0,)),) * 17))),
    "kbs-evidence": azure(quote={"signature": ""}),
    "kbs-tpm-quote-hex": azure(quote={"signature": "x", "message": "", "pcrs": []}),
    "tpm-quote-truncated": azure(quote={"signature": "", "message": "ff", "pcrs": []}),
    "evidence-not-supported": azure(version=3),
    "hcl-truncated": azure(hcl_report="SENMQQ"),
}


@pytest.mark.parametrize("code", FOREIGN)
def test_each_foreign_part_has_its_code(code: str) -> None:
    data, forge = FOREIGN[code]
    assert reason(data, forge, forge.endorsement()) == code


@pytest.mark.parametrize(
    "quote",
    [
        tpm(selection=((0x0004, (0, 1)),)),  # the SHA-1 bank
        tpm(selection=((TpmQuote.SHA256, (0, 24)),)),
        tpm(registers=(0, 1), pcr_digest=hashlib.sha256(REGISTERS[1] + REGISTERS[0]).digest()),
    ],
)
def test_registers_that_were_not_signed_are_refused(quote: TpmQuote) -> None:
    data, forge = azure(tpm_json(quote))
    assert reason(data, forge, forge.endorsement()) == "vtpm-registers"


def test_a_key_of_another_kind_is_none() -> None:
    ec = jwk_of(KEYS["ES256"].public_key(), "HCLAkPub")
    for runtime, code in (
        ({"keys": [ec]}, "jwk-field"),
        ({"keys": [KEY | {"n": "AQAB"}]}, "jwk-key"),
        ({"keys": 1}, "vtpm-key"),
    ):
        data, forge = azure(runtime=runtime)
        assert reason(data, forge, forge.endorsement()) == code


@pytest.mark.parametrize(
    "cut", [lambda digest: digest, lambda digest: digest.ljust(64, b"\0"), lambda digest: digest[:32]]
)
def test_the_tpms_nonce_binds_the_session(cut: Callable[[bytes], bytes]) -> None:
    runtime = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC"}}
    nonce = cut(hashlib.sha384(canonical_json({"additional-evidence": "", **runtime})).digest())
    data, forge = azure(tpm_json(tpm(nonce)))
    evidence = {"primary_evidence": json.loads(data), "additional_evidence": ""}
    for session, code in ((runtime, "accepted"), (runtime | {"nonce": "AAAB"}, "kbs-report-data")):
        body = json.dumps({"runtime-data": session, "tee-evidence": evidence}).encode()
        assert reason(body, forge, forge.endorsement()) == code


def test_a_trust_domain_on_azure() -> None:
    text = json.dumps(RUNTIME).encode()
    blob = HclBlob(report=bytes(1184), runtime=text, report_type=TDX).build()
    bound = hashlib.sha256(text).digest().ljust(64, b"\0")
    forge = TdForge(report=replace(TDX10, report_data=bound))
    root, quote = Root.from_der(forge.pki.root_der()), forge.quote()
    parts = Collateral.from_json(forge.documents())
    document = {
        "version": 2, "tpm_quote": tpm_json(tpm()), "hcl_report": base64.urlsafe_b64encode(blob).decode(),
        "td_quote": base64.urlsafe_b64encode(quote).decode(),
    }  # fmt: skip
    found = appraise(json.dumps(document).encode(), parts, [root], NOW_TDX, None)
    assert (found.tee, found.genuine, (found.claims or {})["tpm_nonce"]) == ("tdx", True, NONCE.hex()), found.reason
    other = HclBlob(report=bytes(1184), runtime=text + b" ", report_type=TDX).build()
    document["hcl_report"] = base64.urlsafe_b64encode(other).decode()
    refused = appraise(json.dumps(document).encode(), parts, [root], NOW_TDX, None)
    assert refused.reason is not None
    assert refused.reason.code == "hcl-binding"


@given(st.integers(0, 200), st.integers(1, 255), st.booleans())
@settings(max_examples=60)
def test_a_changed_quote_of_a_tpm_never_verifies(place: int, change: int, cut: bool) -> None:  # noqa: FBT001 -- drawn
    good = tpm_json(tpm())
    message = bytearray(bytes.fromhex(good["message"]))
    if cut:
        del message[place % len(message) :]
    else:
        message[place % len(message)] ^= change
    data, forge = azure(good | {"message": message.hex()})
    assert reason(data, forge, forge.endorsement()) != "accepted"
