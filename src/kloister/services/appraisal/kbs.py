"""Evidence as guests send it to a key broker: JSON around a quote, a report in JSON, or Azure's blob and TPM quote.

Source: KBS protocol 0.2.0 to 0.4.0, "Attestation" and the shapes of `tee-evidence`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kloister.errors import Malformed, Misused
from kloister.formats.snp import HclBlob, SigningKey, parse_certificates
from kloister.formats.snp.hcl import TDX
from kloister.formats.snp.serde import octets_of, report_of_json
from kloister.formats.wire import load_json, unhex
from kloister.services.appraisal.kinds import Evidence, Kind
from kloister.trust.verifier import SnpEndorsement
from kloister.trust.verifier.binding import Binding, KbsBinding
from kloister.trust.verifier.vtpm import VtpmEvidence

MAX_SIZE = 1024 * 1024  # bytes of KBS evidence; a TDX event log, which is left alone, has some 100 KiB
_KIND = Kind.KBS_EVIDENCE
# Of Azure's evidence, both of one shape: a guest's agent writes 1 for TDX, and for SNP until it also put the nonce into
# the runtime data. The one before had no number, but arrays of numbers.
_VTPM_VERSIONS = (1, 2)
_FIRST = {"quote", "report", "vcek"}  # members of the one before, of SNP
_VEKS = {each.name for each in (SigningKey.VCEK, SigningKey.VLEK)}
_ISSUERS = ("ASK", "ASVK", "ARK")
_MAX_CERTIFICATES = 16  # of a report's table; a host puts four in
_OTHERS = {
    "svn": "the sample attester's, which proves nothing",
    "cca": "of Arm CCA",
    "cca_token": "of Arm CCA",
    "tpm_quote": "of a TPM alone, whose key nothing vouches for",
}


def open_kbs(data: bytes) -> Evidence:
    """The evidence in what a guest sends, and what must be bound if the session's data are there.

    Three shapes: the evidence of one TEE; the body of an attestation request 0.2.0, `{"tee-evidence": evidence}`; and
    of 0.4.0, `{"runtime-data": {"nonce", "tee-pubkey"}, "tee-evidence": {"primary_evidence": evidence,
    "additional_evidence": text}}`. Evidence is `{"quote"}` of SGX and TDX, `{"attestation_report", "cert_chain"}` of
    SNP, `{"version", "tpm_quote", "hcl_report"}` with `vcek` or `td_quote` of a VM on Azure.

    Raises:
        Malformed: `kbs-evidence`, `kbs-evidence-json`, `evidence-not-supported`, `snp-json-field`, `hcl-*`.
    """
    document = load_json(data, "kbs-evidence", MAX_SIZE)
    if not isinstance(document, dict):
        raise _unfit("is no object")
    inner = document.get("tee-evidence", document)
    if not isinstance(inner, dict):
        raise _unfit("has a tee-evidence that is no object")
    binding = None
    primary = inner.get("primary_evidence")
    if primary is not None and "runtime-data" in document:
        binding = _binding(document["runtime-data"], inner.get("additional_evidence", ""))
    return _opened(inner if primary is None else primary, binding)


def _binding(runtime: Any, additional: Any) -> Binding:
    if not isinstance(runtime, dict) or not isinstance(additional, str):
        raise _unfit("has runtime-data or additional_evidence of a wrong type")
    try:
        return KbsBinding.of(runtime, additional)
    except (Misused, UnicodeError, RecursionError):
        raise _unfit("has runtime-data that no key and nonce can be") from None


def _opened(evidence: Any, binding: Binding | None) -> Evidence:
    if not isinstance(evidence, dict):
        raise _unfit("holds evidence that is no object")
    if "hcl_report" in evidence or set(evidence) >= _FIRST:
        return _azure(evidence, binding)
    if "attestation_report" in evidence:
        return _snp(evidence, binding)
    if isinstance(evidence.get("quote"), str):
        return Evidence(_KIND, _base64(evidence["quote"], "quote"), binding=binding)
    names = ", ".join(sorted(str(name) for name in evidence)[:8]) or "nothing"
    other = next((what for name, what in _OTHERS.items() if name in evidence), f"of no TEE that is known: {names!a}")
    raise Malformed(
        "evidence-not-supported",
        f"This JSON object holds evidence {other[:200]}.",
        'Evidence for a key broker is {"quote": base64} of SGX and TDX, or the report of SNP.',
    )


def _snp(evidence: dict[str, Any], binding: Binding | None) -> Evidence:
    report = report_of_json(evidence["attestation_report"])
    table = evidence.get("cert_chain")
    endorsement, vek = (None, None) if table is None else _endorsed(table)
    return Evidence(_KIND, report, Kind.SNP_REPORT, binding, endorsement, vek)


def _endorsed(table: Any) -> tuple[SnpEndorsement | None, bytes | None]:
    """The host's table of certificates: `[{"cert_type": name, "data": array of numbers}]`."""
    if not isinstance(table, list) or len(table) > _MAX_CERTIFICATES:
        raise _unfit("has a cert_chain that is no list")
    found: dict[str, bytes] = {}
    for entry in table:
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), list):
            raise _unfit("has a cert_chain with an entry of a wrong type")
        if isinstance(entry.get("cert_type"), str):
            found[entry["cert_type"]] = octets_of(entry["data"], "cert_chain")
    vek = next((data for name, data in found.items() if name in _VEKS), None)
    issuers = b"".join(_pem(data) for name, data in found.items() if name in _ISSUERS)
    if vek is None or not {"ASK", "ASVK"} & set(found):
        return None, vek
    return SnpEndorsement(vek=vek, chain=issuers), None


def _pem(data: bytes) -> bytes:
    blocks = []
    for each in parse_certificates(data, "ask-chain"):
        text = base64.encodebytes(each.raw)
        blocks.append(b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n")
    return b"".join(blocks)


def _azure(evidence: dict[str, Any], binding: Binding | None) -> Evidence:
    if evidence.get("version") not in _VTPM_VERSIONS:
        raise Malformed(
            "evidence-not-supported",
            "This evidence of a VM on Azure is of another version than 1 and 2.",
            "Update the guest's attestation agent.",
        )
    blob, vtpm = _base64(evidence.get("hcl_report"), "hcl_report"), _tpm(evidence.get("tpm_quote"))
    if "td_quote" in evidence:
        quote = _base64(evidence["td_quote"], "td_quote")
        return Evidence(_KIND, quote, binding=binding, vtpm=vtpm, blob=HclBlob.parse(blob, TDX))
    vek = _base64(evidence["vcek"], "vcek") if evidence.get("vcek") is not None else None
    return Evidence(_KIND, blob, Kind.AZURE_HCL, binding, vek=vek, vtpm=vtpm, blob=HclBlob.parse(blob))


def _tpm(value: Any) -> VtpmEvidence:
    if not isinstance(value, dict) or not isinstance(value.get("pcrs"), list):
        raise _unfit("has no tpm_quote with signature, message and pcrs")
    message, signature = (unhex(value.get(name, ""), "kbs-tpm-quote") for name in ("message", "signature"))
    return VtpmEvidence(message, signature, [unhex(each, "kbs-tpm-quote") for each in value["pcrs"]])


def _base64(text: Any, name: str) -> bytes:
    if not isinstance(text, str):
        raise _unfit(f"has no {name}")
    try:
        bare = text.rstrip("=").encode("ascii")
        altchars = b"-_" if {"-", "_"} & set(text) else None
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=altchars, validate=True)
    except (ValueError, binascii.Error):
        raise _unfit(f"has a {name} that is not base64") from None


def _unfit(what: str) -> Malformed:
    return Malformed(
        "kbs-evidence", f"The KBS evidence {what}.", 'Evidence is {"quote": base64}, or an attestation body.'
    )
