"""What a policy would see of evidence or of claims in a file: for trying policies before they are set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kloister.errors import Malformed, Misconfigured
from kloister.formats.dcap import Quote, TcbStatus, TeeType
from kloister.formats.protocol.maa import AttestRequest, ClientData, DataType, SnpEvidence
from kloister.formats.wire import is_unicode, load_json
from kloister.services.appraisal.kinds import SNP_KINDS, TOKEN_KINDS, Evidence
from kloister.services.appraisal.kinds import Kind as EvidenceKind
from kloister.services.appraisal.recognise import identify, unwrap
from kloister.services.attestation.collateral import Chosen, Need
from kloister.services.attestation.evidence import Judge, Judged, as_policy_claims, endorsement_of, judged_snp
from kloister.services.attestation.kinds import Kind
from kloister.services.collateral import Tee
from kloister.trust.policy.maa import ATTESTATION_POLICY, ATTESTATION_SERVICE, CUSTOM_CLAIM, Claim
from kloister.trust.verifier import AmdRoot, Collateral, Root, SnpEndorsement, verify_hcl, verify_snp

_MAA_MEMBER = b'"SnpReport"'  # of the object that Azure's clients send
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouching:
    """By what evidence is judged: `collateral` for quotes, `endorsement` for SNP reports that bring none."""

    collateral: Collateral | None = None
    endorsement: SnpEndorsement | None = None
    roots: Sequence[Root] = ()
    amd_roots: Sequence[AmdRoot] = ()
    at: datetime


def evidence_claims(data: bytes, vouching: Vouching) -> list[Claim]:
    """The claims of evidence once it is verified, whatever its TCB status.

    Args:
        data: a quote (SGX, TDX), an SNP report or Azure's blob with one, raw, as text or as a guest sends it to a key
            broker; or the JSON object that Azure's clients send as `report`.
        vouching: what judges it.

    Raises:
        Malformed, Unverified: it is not genuine; `policy-evidence-kind`, it is a token.
        Misconfigured: `collateral-missing`, `endorsement-missing`.
    """
    judged = _judged_of_client(data, vouching) if _MAA_MEMBER in data else _judged(data, vouching)
    return as_policy_claims({**judged.claims, **judged.own})


def _judged_of_client(data: bytes, vouching: Vouching) -> Judged:
    evidence = SnpEvidence.parse(data)
    endorsement = vouching.endorsement or endorsement_of(evidence)
    verified = verify_snp(evidence.report, endorsement, vouching.amd_roots, vouching.at)
    return judged_snp(verified, AttestRequest(evidence=b""))


def _judged(data: bytes, vouching: Vouching) -> Judged:
    kind, inner = identify(data)
    if kind in TOKEN_KINDS:
        raise Malformed("policy-evidence-kind", f"This is a {kind}, not evidence.", "Give its claims with --claims.")
    evidence = unwrap(kind, inner)
    return (_judged_report if evidence.inner in SNP_KINDS else _judged_quote)(evidence, vouching)


def _judged_report(evidence: Evidence, vouching: Vouching) -> Judged:
    endorsement = vouching.endorsement or evidence.endorsement
    if endorsement is None:
        raise Misconfigured(
            "endorsement-missing",
            "Without the certificates of the chip's key an SNP report cannot be judged.",
            "Give the VCEK or VLEK with --vek FILE and its issuers with --chain FILE.",
        )
    if evidence.inner is not EvidenceKind.AZURE_HCL:
        verified = verify_snp(evidence.data, endorsement, vouching.amd_roots, vouching.at)
        return judged_snp(verified, AttestRequest(evidence=b""))
    verified = verify_hcl(evidence.data, endorsement, vouching.amd_roots, vouching.at)
    runtime = ClientData(DataType.JSON, verified.runtime or b"")
    return judged_snp(verified, AttestRequest(evidence=b"", runtime=runtime))


def _judged_quote(evidence: Evidence, vouching: Vouching) -> Judged:
    if vouching.collateral is None:
        raise Misconfigured(
            "collateral-missing", "Without collateral a quote cannot be judged.", "Give it with --collateral FILE."
        )
    tdx = Quote.parse(evidence.data).header.tee_type == TeeType.TDX
    judge = Judge(
        roots=vouching.roots,
        amd_roots=(),
        accept=frozenset(TcbStatus),
        collateral=_One(Chosen.of(vouching.collateral)),
        at=vouching.at,
    )
    return judge.judge(
        Kind.TDX_VM if tdx else Kind.SGX_ENCLAVE,
        AttestRequest(evidence=evidence.data),
        simulated=None,
        now=vouching.at,
        evaluation_number=lambda: None,
        wait=True,
    )


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

    def baselines(self, _tee: Tee) -> dict[int, datetime]:
        return {}


def _unfit(what: str) -> Malformed:
    return Malformed("policy-claims-field", f"{what} cannot be given to a policy.", _HINT)
