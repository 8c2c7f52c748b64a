"""When /dev/attestation is filled. What is in it then: tests/e2e/test_pod.py."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from kloister.errors import Denied
from kloister.runtime.linux import process
from kloister.runtime.pod.attestation import is_wanted, start
from kloister.runtime.pod.mounts import Mount
from kloister.runtime.pod.report import Report


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


def test_where_no_process_may_be_added_the_application_starts_without_the_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _started(tmp_path) == 0
    assert "the platform does not answer" in capfd.readouterr().err.lower(), "there is none in this test"
    assert _started(tmp_path, resource.RLIMIT_NPROC) == 0
    assert "Resource temporarily unavailable" in capfd.readouterr().err


def _started(base: Path, *limits: int) -> int:
    """What a process ends with that fills a directory, with a limit of 0."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(base)  # which another user could not reach by its name
            if os.geteuid() == 0:  # whom most limits do not hold
                os.chown(base, 65533, 65533)
                os.setgroups([])
                os.setresgid(65533, 65533, 65533)
                os.setresuid(65533, 65533, 65533)
            for limit in limits:
                resource.setrlimit(limit, (0, 0))
            process.no_new_privileges()
            start(Path(), "/nowhere", Report(base / "none"))
            os._exit(len(list(Path().iterdir())))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
