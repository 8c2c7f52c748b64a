from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kloister.serve.attestation import AttestationProcess
from tests.support.attestation import AAD, ISOLATED, SHARED, STRICT, Signer, running, settings


@pytest.fixture(scope="session")
def owner() -> Signer:
    return Signer.make("owner")


@pytest.fixture(scope="session")
def curve_owner() -> Signer:
    return Signer.make("curve owner", curve=True)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, owner: Signer) -> Iterator[AttestationProcess]:
    """A service with one instance of each trust model, and one that is not declared simulated."""
    directory = tmp_path_factory.mktemp("attestation")
    (directory / "owner.pem").write_text(owner.pem)
    instances: list[dict[str, Any]] = [
        {"base_url": AAD, "simulated": True},
        {"base_url": ISOLATED, "simulated": True, "trust_model": "isolated", "policy_certificates": ["owner.pem"]},
        {"base_url": SHARED, "simulated": True, "trust_model": "shared"},
        {"base_url": STRICT},
    ]
    with running(settings(directory, instances)) as made:
        yield made
