"""What anybody may read of an instance: its keys, and its OpenID metadata."""

from __future__ import annotations

import json
from typing import Any

from kloister.services.attestation.instances import Snapshot

_CLAIMS = (
    "exp", "iat", "iss", "jti", "nbf", "nonce", "x-ms-attestation-type", "x-ms-inittime", "x-ms-policy",
    "x-ms-policy-hash", "x-ms-policy-signer", "x-ms-runtime", "x-ms-ver", "x-ms-sgx-collateral", "x-ms-sgx-ehd",
    "x-ms-sgx-is-debuggable", "x-ms-sgx-mrenclave", "x-ms-sgx-mrsigner", "x-ms-sgx-product-id",
    "x-ms-sgx-report-data", "x-ms-sgx-svn", "x-ms-sevsnpvm-hostdata", "x-ms-sevsnpvm-launchmeasurement",
    "x-ms-sevsnpvm-reportdata", "tdx_mrtd", "tdx_report_data", "attester_tcb_status", "kloister-advisories",
    "kloister-simulated", "kloister-tcb-date", "kloister-tcb-status",
)  # fmt: skip


def openid_configuration(base_url: str, algorithm: str) -> bytes:
    """`/.well-known/openid-configuration`."""
    document: dict[str, Any] = {
        "issuer": base_url,
        "jwks_uri": f"{base_url}/certs",
        "response_types_supported": ["token", "none"],
        "id_token_signing_alg_values_supported": [algorithm],
        "revocation_endpoint": f"{base_url}/revoke",
        "claims_supported": list(_CLAIMS),
    }
    return json.dumps(document).encode("ascii")


def jwks(snapshot: Snapshot) -> bytes:
    """`/certs`."""
    return json.dumps(snapshot.ring.jwks).encode("ascii")
