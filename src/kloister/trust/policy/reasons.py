"""The reason codes of refusals: what each means and what would allow it, for `kloister explain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence on what a code means, and what would allow the request if that is wanted."""

    text: str
    allow: str


_APPLY = "then `kloister policy apply FILE`."

_REASONS = {
    "policy-unknown": Reason(
        "No policy of this name has been applied.",
        "Apply the policy that `kloister convert` wrote: `kloister policy apply FILE`.",
    ),
    "service-unknown": Reason(
        "The policy has no service of this name.", f"Add the service under services in the policy, {_APPLY}"
    ),
    "measurement-not-allowed": Reason(
        "The enclave is not one that the policy names: other code, other files or another configuration.",
        f"If this enclave is wanted, add its MRENCLAVE under attestation.any, {_APPLY}",
    ),
    "alternative-retired": Reason(
        "The policy's entry for this enclave has ended.",
        f"Move the day in retire, or remove it, {_APPLY}",
    ),
    "debug-not-allowed": Reason(
        "The enclave runs in debug mode: its memory can be read from outside.",
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
    "root-untrusted": Reason(
        "The evidence is signed under a root of trust that this broker does not admit.",
        "A simulated platform's root is admitted by starting the broker beside that platform (`kloister up`).",
    ),
    "collateral-expired": Reason(
        "The collateral that vouches for the platform is out of date.",
        "See that the broker reaches its source of collateral; it fetches anew by itself.",
    ),
    "tcb-revoked": Reason("Intel has revoked the platform's TCB level.", "Update the platform's firmware."),
    "policy-not-supported-yet": Reason(
        "The document uses a field of the policy language that this version cannot keep.", "Remove the field."
    ),
    "policy-unknown-field": Reason("The document has a field that does not exist.", "Check the spelling."),
    "policy-invalid": Reason("A field of the document has a value that it cannot have.", "Correct the named field."),
    "template-undefined": Reason(
        "A template uses a secret that the policy does not define.", "Define it under secrets."
    ),
    "template-part": Reason("A template uses a part that its secret does not have.", "Use a part that it has."),
    "template-syntax": Reason("Braces in a template are not {{ secrets.NAME.PART }}.", "Only secrets are filled in."),
    "yaml-ambiguous": Reason(
        "A scalar without quotes means different things to different YAML readers.", "Put it in quotes."
    ),
    "broker-impostor": Reason(
        "Whoever answered is not the broker whose authority was measured into the image.",
        "Point the workload at its own broker, or convert the image again for this one.",
    ),
}


def describe(code: str) -> Reason:
    """The reason behind a code; an empty one where the code is not ours to explain."""
    return _REASONS.get(code, Reason("", ""))


def codes() -> tuple[str, ...]:
    """Every code that has a description."""
    return tuple(_REASONS)
