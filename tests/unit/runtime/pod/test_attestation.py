"""When /dev/attestation is filled. What is in it then: tests/e2e/test_pod.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from kloister.errors import Denied
from kloister.runtime.pod.attestation import is_wanted
from kloister.runtime.pod.mounts import Mount


def test_what_is_there_without_memory_of_its_own_is_not_left_to_the_application(tmp_path: Path) -> None:
    directory = tmp_path / "attestation"
    own = Mount(str(directory), memory=True)
    assert not is_wanted([Mount("/dev", memory=True)], directory)
    (directory / "keys").mkdir(parents=True)
    (directory / "keys/_sgx_mrenclave").write_bytes(bytes(16))
    assert is_wanted([Mount("/dev", memory=True), own], directory)
    with pytest.raises(Denied) as refused:
        is_wanted([Mount("/dev", memory=True)], directory)
    assert refused.value.code == "pod-attestation"
