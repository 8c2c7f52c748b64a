from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kloister.cli.main import build
from kloister.runtime.linux import landlock, mounts, process
from kloister.serve import doctor
from kloister.serve.doctor import Finding, Level
from kloister.tee.simulated import identity


def _level(finding: Finding) -> Level:
    """The level; whatever is not ok says what to do."""
    assert (finding.level is Level.OK) == (finding.remedy == "")
    assert finding.text
    return finding.level


def test_versions() -> None:
    assert _level(doctor.python((3, 11, 0))) is Level.OK
    assert _level(doctor.python((3, 10, 9))) is Level.BAD
    assert _level(doctor.processor("x86_64")) is Level.OK
    assert _level(doctor.processor("aarch64")) is Level.BAD
    assert _level(doctor.kernel("6.18.44-fc")) is Level.OK
    assert _level(doctor.kernel("5.13.0-1-amd64")) is Level.OK
    assert _level(doctor.kernel("5.4.0-42-generic")) is Level.BAD


def test_what_this_machine_can_do_is_tried() -> None:
    """The other tests of the runner run here, so these must be fine."""
    assert _level(doctor.user_namespaces()) is Level.OK
    assert _level(doctor.system_call_filter()) is Level.OK
    assert _level(doctor.write_protection()) is (Level.OK if landlock.abi() >= 3 else Level.WARN)


def test_the_machine_is_as_it_was_after_trying() -> None:
    def seen() -> tuple[str, int]:
        return Path("/proc/self/mountinfo").read_text(), len(list(Path("/proc/self/fd").iterdir()))

    def trial() -> None:
        """In a process apart, in whose mounts and descriptors no other test meddles."""
        uid, gid = os.geteuid(), os.getegid()
        process.unshare(process.NEW_USER | process.NEW_MOUNT)
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(line)
        mounts.make_private()
        before = seen()
        assert _level(doctor.user_namespaces()) is Level.OK
        assert _level(doctor.system_call_filter()) is Level.OK
        assert seen() == before

    assert doctor._in_child(trial) == ""


def test_namespaces_that_are_forbidden(tmp_path: Path) -> None:
    """A user namespace in which none may be made stands for a machine that forbids them."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            uid = os.geteuid()
            process.unshare(process.NEW_USER)
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            os.write(writing, json.dumps(doctor.user_namespaces(tmp_path).as_json()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert said["level"] == "bad"
    assert "container" in said["remedy"]


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces="),
    ],
)
def test_the_setting_that_forbids_namespaces_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(value + "\n")
    assert _level(doctor.user_namespaces(tmp_path)) is Level.OK  # what can be done counts, not the setting
    monkeypatch.setattr(doctor, "_make_namespaces", lambda: process.unshare(1))
    assert remedy in doctor.user_namespaces(tmp_path).remedy


def test_caller_identity() -> None:
    assert _level(doctor.caller_identity(identity.PIDFD)) is Level.OK
    assert _level(doctor.caller_identity(identity.INHERITED_ONLY)) is Level.WARN


def test_swap(tmp_path: Path) -> None:
    swaps = tmp_path / "swaps"
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n")
    assert _level(doctor.swap(swaps)) is Level.OK
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n")
    assert _level(doctor.swap(swaps)) is Level.WARN


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert _level(doctor.ports(f"127.0.0.1:{taken.getsockname()[1]}")) is Level.WARN
    assert _level(doctor.ports("127.0.0.1:0")) is Level.OK


def test_space_and_memory(tmp_path: Path) -> None:
    assert _level(doctor.space(10 << 30)) is Level.OK
    assert _level(doctor.space(1 << 30)) is Level.WARN
    assert _level(doctor.space(1 << 20)) is Level.BAD
    (tmp_path / "meminfo").write_text("MemTotal: 16 kB\nMemAvailable:    2097152 kB\n")
    assert _level(doctor.memory(tmp_path / "meminfo")) is Level.OK
    (tmp_path / "meminfo").write_text("MemTotal: 16 kB\n")
    assert _level(doctor.memory(tmp_path / "meminfo")) is Level.WARN


def test_fuse(tmp_path: Path) -> None:
    assert _level(doctor.fuse(tmp_path / "absent")) is Level.WARN


def _run(arguments: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(build("doctor"), ["doctor", *arguments])
    return result.exit_code, result.stdout


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed = _run(["--json"])
    said = json.loads(printed)
    assert code == (0 if said["fit"] else 1)
    assert [finding["name"] for finding in said["findings"]][:3] == ["python", "processor", "kernel"]
    code, printed = _run([])
    assert "Python 3" in printed
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.processor("s390x"),))
    code, printed = _run(["--json"])
    assert (code, json.loads(printed)["fit"]) == (1, False)
    code, printed = _run([])
    assert code == 1
    assert "-> Use an x86-64 machine." in printed


def test_what_a_machine_has_of_sgx_is_told_with_its_remedy(tmp_path: Path) -> None:
    """A machine whose kernel uses SGX, seen from a container that has not its /dev."""
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0\n")
    assert [finding.name for finding in doctor.confidential(tmp_path)] == ["sgx-absent"]
    assert _level(doctor.confidential(tmp_path)[0]) is Level.OK
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sgx_enclave").touch()
    found = {finding.name: _level(finding) for finding in doctor.confidential(tmp_path)}
    assert found == {"sgx-device-kind": Level.WARN, "sgx-kernel-off": Level.WARN}
    assert doctor.examine()[-1].name.startswith(("sgx-", "guest-", "cpuid-", "dev-", "fsgsbase-"))
