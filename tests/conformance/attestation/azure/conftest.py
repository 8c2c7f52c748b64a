from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.attestation.azure.service import Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as found:
        yield found
