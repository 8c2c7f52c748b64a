"""The reason codes of the attestation service."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import Reason

_GUIDE = "See docs/how-to/attestation.md."
_OPENAPI = "See /openapi.json of the service."
_SIGN = "Sign it with the key of a policy management certificate; GET /certificates lists them."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # requests
    "attestation-path": Reason("There is nothing at this path of the attestation service.", _OPENAPI),
    "attestation-method": Reason("The path takes another method.", _OPENAPI),
    "attestation-host": Reason("The service has no instance of this name.", "Use an instance's base_url."),
    "attestation-type": Reason("Evidence of this type is not judged here.", _OPENAPI),
    "api-version": Reason("The api-version is missing or not known.", "Say api-version=2022-08-01."),
    "query-size": Reason("The query has more parameters than are read.", "Send api-version alone."),
    "rate-exceeded": Reason("This client asks too often.", "Wait, or ask the operator to raise limits.rate."),
    "request-late": Reason("The request took longer than it may.", "Try again; limits.seconds says how long."),
    "bearer-missing": Reason("An administrative request needs a bearer token.", "Send Authorization: Bearer TOKEN."),
    "bearer-refused": Reason(
        "The bearer token is not one that administers this service.", "Get one of its issuer, for its audience."
    ),
    "bearer-right": Reason(
        "The bearer token is genuine, but its subject was not given the right to do this.",
        "Name it in auth.oidc_subjects or auth.oidc_readers, or let its issuer give it a role: Attestation Reader, "
        "Attestation Contributor.",
    ),
    "oidc-metadata": Reason("The issuer's metadata do not name it, or no keys.", "Check auth.oidc_issuer."),
    "oidc-status": Reason("The issuer of bearer tokens refused to show its keys.", "Check auth.oidc_issuer."),
    # evidence
    "collateral-none": Reason(
        "The service has no collateral for this platform family.", "Ask its operator to add it."
    ),
    "genuine-not-allowed": Reason(
        "The instance is declared simulated, and no key signs claims of both kinds of platforms.",
        "Ask an instance that is not declared simulated.",
    ),
    "tcb-identifier": Reason("The policy names a TCB baseline that is no number.", "Correct configurationrules."),
    "tpm-message": Reason("This message of TPM attestation is not answered here.", "Only the first round is."),
    "attestation-nonce": Reason("The nonce in the runtime data is not one of this instance's.", "POST /v1/nonce."),
    "attestation-nonce-expired": Reason("The nonce in the runtime data is too old.", "POST /v1/nonce again."),
    # policies
    "policy-missing": Reason("No policy was set for this attestation type, which has no default.", "Set one."),
    "policy-shared": Reason("The policies of a shared instance cannot be changed.", "Use an instance of your own."),
    "policy-unsigned": Reason("An isolated instance takes signed policies only.", _SIGN),
    "policy-signer": Reason("The policy's signer may not change this instance.", _SIGN),
    "policy-replayed": Reason(
        "The policy is not newer than one that was in force before.", "Sign it again with a later iat."
    ),
    "certificates-not-isolated": Reason(
        "Only isolated instances have policy management certificates.", "Declare the instance isolated."
    ),
    "certificates-many": Reason("The instance has as many certificates as it may have.", "Remove one first."),
    "certificate-last": Reason("The last certificate cannot be removed: nobody could sign.", "Add another first."),
    # the operator's
    "attestation-settings": Reason("The settings file cannot be read.", _GUIDE),
    "attestation-setting": Reason("A setting is not what it must be.", _GUIDE),
    "collateral-directory": Reason("The directory of collateral holds none.", _GUIDE),
    "tls-files": Reason("TLS certificate and key do not belong together, or cannot be read.", "Name others."),
    "storage-url": Reason("The database cannot be used, or its URL is of no known kind.", _GUIDE),
    "attestation-key-missing": Reason("There is no key that signs now.", "Restart the service: it makes one."),
    "attestation-key-damaged": Reason(
        "A signing key cannot be decrypted with this root key.",
        "Restore the database and the root key together, from the same moment.",
    ),
})  # fmt: skip
