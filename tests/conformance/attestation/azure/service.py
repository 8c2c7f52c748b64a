"""Three instances under names of Azure's, which judge the evidence of 2021 that comes with the SDKs' tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister.services.attestation.settings import Settings
from tests.support.attestation import BEARER, Signer, served
from tests.support.paths import vectors

LOCATION = "test"
SHARED = f"https://shared{LOCATION}.{LOCATION}.attest.azure.net"
AAD, ISOLATED = (f"https://{name}.{LOCATION}.attest.azure.net" for name in ("aad", "isolated"))
COLLATERAL = "auto/sgx-v3-00906ed50000-0c131b4f-e12-t2"  # FMSPC 00906ED50000, processor CA, of April 2022


@dataclass(frozen=True)
class Service:
    """A running server, and who signs policies: `owner` of the isolated instance, and `other`."""

    port: int
    ca: Path
    owner: Signer
    other: Signer

    @property
    def given(self) -> dict[str, Any]:
        """What an adapter is told."""
        return {
            "port": self.port,
            "ca": str(self.ca),
            "bearer": BEARER,
            "values": {
                "attestation_aad_url": AAD,
                "attestation_isolated_url": ISOLATED,
                "attestation_location_short_name": LOCATION,
                "attestation_isolated_signing_key": _bare(self.owner.key_pem),
                "attestation_isolated_signing_certificate": _bare(self.owner.pem),
                "attestation_policy_signing_key0": _bare(self.other.key_pem),
                "attestation_policy_signing_certificate0": _bare(self.other.pem),
            },
        }


@contextmanager
def running(directory: Path) -> Iterator[Service]:
    """The server, until the end."""
    owner, other = Signer.make("owner"), Signer.make("other")
    (directory / "owner.pem").write_text(owner.pem)
    entries = json.loads(vectors("evidence", "index.json").read_text())
    document = {
        "listen": "127.0.0.1:0",
        "auth": {"dangerous_bearer_tokens": [BEARER]},
        "collateral": {"directory": str(vectors("evidence", COLLATERAL))},
        "appraisal": {
            "accept": ["UpToDate", "OutOfDate"],
            "dangerous_at": next(each["verify_at"] for each in entries if each["set"] == COLLATERAL),
        },
        "limits": {"rate": 0},
        "logs": {"requests": False},
        "instances": [
            {"base_url": SHARED, "trust_model": "shared"},
            {"base_url": AAD, "trust_model": "aad"},
            {"base_url": ISOLATED, "trust_model": "isolated", "policy_certificates": ["owner.pem"]},
        ],
    }
    with served(Settings.read(document, directory, {}, {})) as port:
        yield Service(port, directory / "ca.pem", owner, other)


def _bare(pem: str) -> str:
    """The base64 of a PEM text without its first and last line."""
    return "".join(pem.splitlines()[1:-1])
