"""The reason codes of the verifier, by its steps (the list on top of `dcap.py`); step 1 is in `formats/reasons.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason
from kloister.trust.verifier import snp_reasons

_FRESH = "Get fresh collateral, or judge at a time inside its validity (--at)."
_CLOCK = "Check the clock, or the time given (--at)."
_PCK = "Get the platform's certificates again; if they stay so, the platform is not genuine."
_COLLATERAL = "Get the collateral again, from its source."
_TCB = "Update the platform's firmware and microcode."
_QE = "Update the platform's quoting enclave (Intel's DCAP packages), or get the QE identity that belongs to it."
_MODULE = "Update the platform's TDX module (it comes with firmware or the host's loader), or get newer TCB info."
_GENUINE = "Nothing allows this: the evidence is damaged, forged or put together from parts of others."

# the first part of a code: what it means, and where to get it again
_CERTIFICATES = {
    "pck": ("PCK certificate", _PCK),
    "pck-ca": ("CA certificate above the PCK", _PCK),
    "root": ("root certificate", _PCK),
    "tcb-info-signer": ("TCB info's signing certificate", _COLLATERAL),
    "qe-identity-signer": ("QE identity's signing certificate", _COLLATERAL),
}
_DATED = {
    **{code: what for code, (what, _) in _CERTIFICATES.items()},
    "root-crl": "root's revocation list",
    "pck-crl": "PCK CA's revocation list",
    "tcb-info": "TCB info",
    "qe-identity": "QE identity",
}


def _dates() -> dict[str, Reason]:
    late = {f"{code}-expired": Reason(f"The {what} was out of date.", _FRESH) for code, what in _DATED.items()}
    early = {f"{code}-not-yet-valid": Reason(f"The {what} is not valid yet.", _CLOCK) for code, what in _DATED.items()}
    return late | early


def _chains() -> dict[str, Reason]:
    codes = {}
    for code, (what, remedy) in _CERTIFICATES.items():
        codes[f"{code}-role"] = Reason(f"Another certificate stands where the {what} belongs.", remedy)
        codes[f"{code}-issuer"] = Reason(f"The {what} names another issuer than the next in the chain.", remedy)
        codes[f"{code}-signature"] = Reason(f"The signature of the {what} does not verify.", remedy)
        codes[f"{code}-usage"] = Reason(f"The {what} may not be used for what it is used for.", remedy)
        if code not in ("root", "pck-ca"):
            codes[f"{code}-chain"] = Reason(f"The chain of the {what} has a wrong length.", remedy)
        if code != "root":
            codes[f"{code}-revoked"] = Reason(f"The {what} is revoked.", "Nothing that it vouches for can be trusted.")
    return codes


_FOREIGN = "Somebody put foreign evidence into this certificate; do not trust its holder."

REASONS: Mapping[str, Reason] = MappingProxyType({
    "*-role": Reason("A certificate stands where another belongs.", _PCK),
    "*-issuer": Reason("Something names another issuer than the one that it must have.", _PCK),
    "*-signature": Reason("A signature does not verify.", _GENUINE),
    "*-usage": Reason("A certificate may not be used for what it is used for.", _PCK),
    "*-chain": Reason("A chain of certificates has a wrong length.", _PCK),
    "*-expired": Reason("Something was out of date at the time of judgement.", _FRESH),
    "*-not-yet-valid": Reason("Something is valid only after the time of judgement.", _CLOCK),
    "*-revoked": Reason("A certificate is revoked.", "Nothing that it vouches for can be trusted."),
    "time-naive": Reason("The time of judgement has no time zone.", BUG),
    "verified-made-elsewhere": Reason("Something else than the verifier called evidence genuine.", BUG),
    "precedent-frame": Reason("A quote was judged by that of another enclave.", BUG),
    "cache-capacity": Reason("A verifier's cache was asked to hold fewer than no entries.", BUG),
    "collateral-field": Reason("A part of the collateral is missing, not text, or too large.", _COLLATERAL),
    "tee-unexpected": Reason(
        "This is a quote of another TEE than the one asked for.", "Give a quote of that TEE, or ask for any."
    ),
    # step 2: the PCK certificate's chain
    "pck-chain-missing": Reason(
        "Neither the quote nor the collateral carries the PCK certificate.",
        "Add pck_certificate_chain to the collateral.",
    ),
    "pck-extension-missing": Reason("The PCK certificate lacks the SGX extension.", _PCK),
    "root-untrusted": Reason(
        "The evidence is signed under a root of trust that is not admitted here.",
        "`kloister verify --root FILE` names another root. A broker admits a simulated platform's root only where it "
        "is started beside that platform (`kloister up`).",
    ),
    "root-certificate": Reason("The certificate given as a root is not a self-signed CA.", "Give the root itself."),
    # step 3: revocation lists
    "root-crl-issuer": Reason("The root's revocation list was issued by another CA.", _COLLATERAL),
    "root-crl-signature": Reason("The signature of the root's revocation list does not verify.", _COLLATERAL),
    "pck-crl-issuer": Reason(
        "The PCK revocation list was issued by another CA than the PCK certificate.",
        "Fetch the list of the CA that issued this platform's certificate (platform or processor).",
    ),
    "pck-crl-signature": Reason("The signature of the PCK revocation list does not verify.", _COLLATERAL),
    # step 4: TCB info and QE identity
    "tcb-info-signature": Reason("The signature of the TCB info does not verify.", _COLLATERAL),
    "qe-identity-signature": Reason("The signature of the QE identity does not verify.", _COLLATERAL),
    # step 5: the TCB info belongs to this platform
    "tcb-info-tee": Reason("The TCB info is for another TEE.", "Get the TCB info for this TEE."),
    "tcb-info-fmspc": Reason("The TCB info is for another platform family.", "Get it for this platform's FMSPC."),
    "tcb-info-pceid": Reason("The TCB info is for another PCE.", "Get it for this platform's PCE ID."),
    # step 6: the quoting enclave's report
    "qe-report-signature": Reason("The PCK did not sign the quoting enclave's report.", _GENUINE),
    "qe-report-data": Reason("The quoting enclave's report binds another attestation key.", _GENUINE),
    # step 7: the quoting enclave
    "qe-identity-id": Reason("The QE identity is for another TEE's quoting enclave.", "Get the one for this TEE."),
    "qe-miscselect": Reason("The quoting enclave's MISCSELECT is not the one in the QE identity.", _QE),
    "qe-attributes": Reason("The quoting enclave's ATTRIBUTES are not those in the QE identity.", _QE),
    "qe-mrsigner": Reason("The quoting enclave was signed by another key than the QE identity says.", _QE),
    "qe-isvprodid": Reason("The quoting enclave is another product than the QE identity says.", _QE),
    "qe-svn-unsupported": Reason("The quoting enclave is older than every level of the QE identity.", _QE),
    # step 8: the quote
    "quote-signature": Reason("The attestation key did not sign this quote.", _GENUINE),
    # step 10: the TDX module
    "tdx-module-unknown": Reason("The TCB info does not know this version of the TDX module.", _MODULE),
    "tdx-module-signer": Reason("The TDX module was signed by another key than the TCB info says.", _MODULE),
    "tdx-module-attributes": Reason("The TDX module's attributes are not those in the TCB info.", _MODULE),
    "tdx-module-svn-unsupported": Reason("The TDX module is older than every level of its identity.", _MODULE),
    # what the evidence was made for
    "ratls-key-mismatch": Reason("The claims in an RA-TLS certificate are about another key.", _FOREIGN),
    "ratls-report-data": Reason("The quote in an RA-TLS certificate was made for another key.", _FOREIGN),
    "ratls-not-yet-valid": Reason("The RA-TLS certificate is valid only after the time of judgement.", _CLOCK),
    "ratls-expired": Reason("The RA-TLS certificate has ended.", "Let its holder make a new one."),
    "kbs-report-data": Reason("The quote was made for another session of a key broker.", "Attest again."),
    # the TPM of a confidential VM
    "vtpm-key": Reason("The VM's runtime data hold no attestation key of a TPM.", _FOREIGN),
    "vtpm-signature": Reason("The TPM's quote is not signed by the key of this VM's TPM.", _FOREIGN),
    "vtpm-registers-size": Reason("A TPM has 24 registers of 32 bytes in its SHA-256 bank.", _FOREIGN),
    "vtpm-registers": Reason("The TPM's quote was made over other registers.", _FOREIGN),
    # tokens of attestation services
    "token-key-unknown": Reason("The token's key is not among its issuer's.", "Get the issuer's keys again."),
    "token-issuer": Reason("Another issuer issued the token than the one that was named.", "Name the one you trust."),
    "token-no-expiry": Reason("The token does not say until when it is valid.", "Get one that does."),
    "token-expired": Reason("The token's validity has ended.", "Get a new one; or check the time given (--at)."),
    "token-not-yet-valid": Reason("The token is valid only after the time of judgement.", _CLOCK),
    # steps 9 and 11: the platform's level
    "tcb-unsupported": Reason("The platform is older than every level of the TCB info.", _TCB),
    "tcb-revoked": Reason("Intel has revoked the platform's TCB level.", _TCB),
    **_chains(),
    **_dates(),
    **snp_reasons.REASONS,
})  # fmt: skip
