from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.kubernetes.node.quotes import SimulatedBackend
from kloister.tee.simulated.client import PlatformClient
from tests.unit.kubernetes.node.quotes.helper import Helper, helping
from tests.unit.serve.test_platform import served


@pytest.fixture(scope="package")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The control socket of a simulated platform that runs as a process."""
    state = tmp_path_factory.mktemp("platform")
    with served(state):
        yield state / "platform" / "control.sock"


@pytest.fixture(scope="package")
def platform(control: Path) -> PlatformClient:
    """That platform."""
    return PlatformClient(control)


@pytest.fixture(scope="module")
def helper(control: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helper]:
    """A helper of the module's own."""
    with helping(tmp_path_factory.mktemp("aesmd") / "aesm.socket", SimulatedBackend(control)) as helper:
        yield helper


@pytest.fixture
def report(helper: Helper, platform: PlatformClient) -> bytes:
    """A REPORT of an enclave of the platform, made for its quoting enclave."""
    return platform.report_content(b"application", helper.client.target_info(), bytes(range(64)))
