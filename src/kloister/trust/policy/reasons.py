"""The reason codes of policies and of the release exchange: what each means and what would allow it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_APPLY = "then `kloister policy apply FILE`."
_NAME_IT = "If this evidence is wanted, say so in the appraisal policy; the condition names the field."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # conditions on tokens of attestation services
    "token-not-understood": Reason(
        "The token is genuine, but says nothing that a policy could judge.", "Use --proof-only and judge its claims."
    ),
    "ear-not-affirming": Reason("The issuer of the attestation result does not vouch.", "Ask the issuer why."),
    # conditions of a release policy
    "policy-unknown": Reason(
        "No policy of this name has been applied.",
        "Apply the policy that `kloister convert` wrote: `kloister policy apply FILE`.",
    ),
    "service-unknown": Reason(
        "The policy has no service of this name.", f"Add the service under services in the policy, {_APPLY}"
    ),
    "measurement-not-allowed": Reason(
        "The enclave or virtual machine is not one that the policy names: other code, files or configuration.",
        f"If this enclave is wanted, add its MRENCLAVE under attestation.any, {_APPLY}",
    ),
    "alternative-retired": Reason(
        "The policy's entry for this enclave has ended.",
        f"Move the day in retire, or remove it, {_APPLY}",
    ),
    "debug-not-allowed": Reason(
        "The enclave or virtual machine runs in debug mode: its memory can be read from outside.",
        f"Start it without debug. For a test only: debug: true beside its mrenclave, {_APPLY}",
    ),
    "signer-not-allowed": Reason(
        "The enclave was signed with a key that the policy does not name.",
        f"If this signer is wanted, add its MRSIGNER under attestation.any, {_APPLY}",
    ),
    "signer-product": Reason(
        "The enclave is another product of the signer.", f"Name its isvprodid under attestation.any, {_APPLY}"
    ),
    "signer-svn": Reason(
        "The enclave's security version is lower than the policy asks for.",
        f"Use a newer build, or lower isvsvn under attestation.any, {_APPLY}",
    ),
    "tcb-not-accepted": Reason(
        "The platform's firmware or settings are not up to date in Intel's eyes.",
        "Update the platform. Otherwise accept the status under attestation.tcb.accept, or waive each advisory: "
        f'attestation.tcb.waive: - {{advisory: INTEL-SA-NNNNN, until: "YYYY-MM-DD", reason: "..."}}, {_APPLY}',
    ),
    "waiver-expired": Reason(
        "The waiver of an advisory has ended.",
        f"Update the platform, or move the waiver's until, {_APPLY}",
    ),
    "simulated-not-allowed": Reason(
        "The evidence comes from a simulated platform, which proves nothing about hardware.",
        f"For development only: simulated: allow under attestation, {_APPLY}",
    ),
    "nonce-unknown": Reason(
        "The request's nonce was never given out, has expired, was given for another policy, or was used already: "
        "a replayed exchange looks like this.",
        "Nothing allows a replay. Start the workload again; it asks for a nonce of its own.",
    ),
    "purpose-mismatch": Reason(
        "The quote is genuine but was made for another purpose: its report data is not that of this exchange, "
        "this broker, policy, service and instance.",
        "Nothing allows another purpose's quote. Start the workload again with the launcher.",
    ),
    "too-many-challenges": Reason(
        "Too many nonces are given out and not used.", "Wait two minutes; nonces expire by themselves."
    ),
    "secret-missing": Reason(
        "A secret of the policy has to be uploaded and has not been.",
        "Upload it: `kloister secret set NAMESPACE/POLICY SECRET --file FILE`.",
    ),
    "secret-not-text": Reason(
        "An uploaded secret is not text, but an argument or a variable uses it.",
        "Upload text, or use the part hex or base64 in the policy.",
    ),
    "template-undefined": Reason(
        "A template uses a secret that the policy does not define.", "Define it under secrets."
    ),
    "template-part": Reason("A template uses a part that its secret does not have.", "Use a part that it has."),
    "template-syntax": Reason("Braces in a template are not {{ secrets.NAME.PART }}.", "Only secrets are filled in."),
    # conditions of an appraisal policy, beside those that it shares with release policies
    "tee-not-allowed": Reason(
        "The evidence is of a kind of TEE that the appraisal policy does not name.",
        "Add a section sgx, tdx or snp to the policy if that kind is wanted.",
    ),
    "tcb-too-old": Reason(
        "The platform's TCB level is older than the policy asks for.",
        "Update the platform's firmware and microcode, or lower tcb.minimumDate.",
    ),
    "evaluation-number-too-low": Reason(
        "The collateral is of an earlier evaluation than the policy asks for.",
        "Fetch newer collateral, or lower tcb.minimumEvaluationNumber.",
    ),
    "collateral-too-old": Reason(
        "The collateral was issued longer ago than the policy allows.",
        "Fetch newer collateral, or raise collateral.maximumAge.",
    ),
    "module-not-allowed": Reason("The TDX module is not one that the policy names.", _NAME_IT),
    "configuration-not-allowed": Reason("The evidence carries another configuration than the policy wants.", _NAME_IT),
    "report-data-not-allowed": Reason(
        "The report data are not those that the policy wants: the evidence was made for another purpose.", _NAME_IT
    ),
    "host-data-not-allowed": Reason("The host data are not those that the policy wants.", _NAME_IT),
    "service-td-not-allowed": Reason("A service TD that the policy does not name is bound to this TD.", _NAME_IT),
    "sept-ve-disable-not-set": Reason(
        "SEPT_VE_DISABLE is not as the policy wants it: without it the host can make the TD's pages fault.",
        "Start the TD with SEPT_VE_DISABLE, or change tdx.septVeDisable.",
    ),
    "vmpl-not-allowed": Reason("The report was asked for at another privilege level than the policy wants.", _NAME_IT),
    "snp-tcb-too-low": Reason(
        "A part of the platform's reported TCB is older than the policy asks for.",
        "Update the platform's firmware and microcode, or lower snp.minimumTcb.",
    ),
    "chip-not-allowed": Reason("The evidence comes from a chip that the policy does not name.", _NAME_IT),
    "appraisal-policy-field": Reason(
        "A field of the appraisal policy does not exist or has a value that it cannot have.",
        "See `docs/reference/appraisal-policy.md`.",
    ),
    # Azure Attestation's policy language
    "maa-parsing": Reason(
        "The text is no policy of Azure Attestation's language; line and column say where it stops being one.",
        "`kloister policy lint --language maa FILE` shows the place.",
    ),
    "maa-denied": Reason(
        "A deny rule of the attestation policy applies to this evidence.",
        "`kloister policy test --language maa --explain` shows which rule, and on what value.",
    ),
    "maa-not-permitted": Reason(
        "No permit rule of the attestation policy applies to this evidence.",
        "`kloister policy test --language maa --explain` shows which condition failed, and on what value.",
    ),
    "maa-evaluation": Reason(
        "A rule of the attestation policy cannot be evaluated on this evidence: a function or a comparison was given "
        "what it does not take.",
        "The sentence names the rule's line. Ask for the value's type in a condition before it.",
    ),
    "maa-read-only": Reason(
        "A rule of the attestation policy would issue a claim that must not leave in a token, or what is computed "
        "from one.",
        "Issue what IsSubsetOf or ContainsOnlyValue says of it.",
    ),
    "maa-limit": Reason(
        "The attestation policy takes more claims, steps or nesting on this evidence than are allowed.",
        "Name types in conditions, and use fewer rules.",
    ),
    "maa-jmespath-missing": Reason(
        "The attestation policy uses JmesPath, and the package jmespath is not installed.",
        "Install it: pip install 'kloister[service]'.",
    ),
    "maa-claim-value": Reason("A claim for the policy is neither text nor integer nor boolean.", BUG),
    "decision-made-elsewhere": Reason("Something else than the policy made a decision.", BUG),
})  # fmt: skip


def describe(code: str) -> Reason:
    """The reason behind a code of this table; an empty one for any other. `serve/reasons.py` knows all tables."""
    return REASONS.get(code, Reason(""))


def codes() -> tuple[str, ...]:
    """Every code of this table."""
    return tuple(REASONS)
