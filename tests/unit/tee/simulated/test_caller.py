"""Who is the enclave, and who is not: every caller is a real process, every refusal stands between two successes."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kloister.errors import Denied
from kloister.tee.simulated import identity
from kloister.tee.simulated.framing import descriptors
from tests.unit.tee.simulated.stage import NOBODY, Guest, Stage, in_child, make_pack, require_namespaces, running
from tests.unit.tee.simulated.worker import answer_on, ask_at, ask_in_the_name_of, in_grandchild, request, send_and_exit


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require_namespaces()
    if identity.mechanism() != identity.PIDFD:
        pytest.skip("this kernel does not name the senders of messages (Linux 6.5)")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path / "platform") as stage:
        yield stage


@pytest.fixture
def guest(stage: Stage, tmp_path: Path) -> Iterator[Guest]:
    with Guest(stage, make_pack(tmp_path / "pack")) as guest:
        genuine(guest)
        yield guest
        genuine(guest)


def genuine(guest: Guest) -> None:
    """The enclave's own processes get its quote over both sockets."""
    assert guest.mrenclave.hex() in guest.ask("ask")["quote"]
    assert guest.mrenclave.hex() in guest.ask("connect")["quote"]


def test_an_enclave_gets_quotes_reports_and_keys_of_its_own(guest: Guest) -> None:
    everything = guest.ask("everything")
    assert everything["info"].startswith(guest.mrenclave.hex())
    assert guest.mrenclave.hex() in everything["report"]
    assert len(everything["key"]) == 32


def test_a_process_of_the_same_user_is_refused(guest: Guest) -> None:
    assert ask_at(str(guest.socket)) == {"code": "caller-outside"}


def test_another_enclave_is_refused(stage: Stage, guest: Guest, tmp_path: Path) -> None:
    with Guest(stage, tmp_path / "pack", b"another manifest") as other:
        genuine(other)
        assert other.ask("connect", path=str(guest.socket)) == {"code": "caller-outside"}
        genuine(other)


def test_a_process_whose_parents_are_gone_is_refused(guest: Guest) -> None:
    assert in_grandchild(lambda: ask_at(str(guest.socket))) == {"code": "caller-outside"}
    assert guest.mrenclave.hex() in guest.ask("double-fork")["quote"], "inside, an orphan is still the enclave"


def test_a_connector_outside_that_has_exited_is_refused(stage: Stage, guest: Guest) -> None:
    with stage.paused():
        left = send_and_exit(str(guest.socket))
    with left:
        assert answer_on(left) == {"code": "caller-exited"}


def test_a_connector_inside_that_has_exited_is_refused(stage: Stage, guest: Guest) -> None:
    with stage.paused():
        assert guest.ask("send-and-exit") is None
    assert guest.ask("answer") == {"code": "caller-exited"}


@pytest.mark.parametrize("begin", [0, 3, 20])
def test_a_descriptor_passed_outside_is_refused(guest: Guest, tmp_path: Path, begin: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as courier:
        courier.bind(str(tmp_path / "courier"))
        courier.listen()
        guest.tell("hand-out", to=str(tmp_path / "courier"), begin=begin)
        incoming, _ = courier.accept()
        with incoming:
            _, ancillary, _, _ = incoming.recvmsg(1, socket.CMSG_SPACE(4))
    assert guest.hear() is None
    with socket.socket(fileno=descriptors(ancillary)[0]) as passed:
        passed.sendall(request()[begin:])
        assert answer_on(passed) == {"code": "caller-outside"}


def test_a_descriptor_sent_to_the_platform_is_refused(guest: Guest) -> None:
    assert guest.ask("send-descriptor") == {"code": "caller-descriptors"}


def test_a_nested_pid_namespace_is_refused(guest: Guest) -> None:
    assert guest.ask("nest") == {"code": "caller-outside"}


def test_a_reused_pid_is_refused(stage: Stage, guest: Guest) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may choose the number of a process")
    with stage.paused():
        left, pid = _sent_by_a_number(guest.socket)
        assert guest.ask("take-pid", pid=pid) > 0, "a process of the enclave took the sender's number"
        assert Path(f"/proc/{pid}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()
    with left:
        assert answer_on(left) == {"code": "caller-exited"}


def _sent_by_a_number(path: Path) -> tuple[socket.socket, int]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        sock.connect(str(path))
        sock.sendall(request())
        os._exit(0)
    os.waitpid(pid, 0)
    return sock, pid


def test_a_pid_reused_while_its_namespace_is_read_is_refused(guest: Guest) -> None:
    """The fallback of older kernels reads by number: the sender exits and the enclave takes the number in between."""
    if os.geteuid() != 0:
        pytest.skip("only root may choose the number of a process")
    wait, go = os.pipe()
    sender = os.fork()
    if sender == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    own = _namespace_of(guest)
    pidfd = os.pidfd_open(sender)

    def read(_pidfd: int) -> identity.Namespace:
        os.close(go)
        os.waitpid(sender, 0)
        assert guest.ask("take-pid", pid=sender) > 0
        status = Path(f"/proc/{sender}/ns/pid").stat()
        return identity.Namespace(status.st_dev, status.st_ino)

    with pytest.raises(Denied) as refused:
        identity.check(identity.Credentials(pidfd, ()), own, read)
    os.close(pidfd)
    assert refused.value.code == "caller-exited"


def _namespace_of(guest: Guest) -> identity.Namespace:
    pid = _free_pid()
    assert guest.ask("take-pid", pid=pid) > 0
    status = Path(f"/proc/{pid}/ns/pid").stat()
    return identity.Namespace(status.st_dev, status.st_ino)


def _free_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.parametrize("read", [identity.namespace_by_ioctl, identity.namespace_by_proc])
def test_both_ways_to_read_a_namespace_agree(read: object) -> None:
    assert callable(read)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    pidfd = os.pidfd_open(pid)
    try:
        assert read(pidfd) == identity.Namespace.of_self()
        identity.check(identity.Credentials(pidfd, ()), identity.Namespace.of_self(), read)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
    with pytest.raises(Denied) as refused:
        identity.check(identity.Credentials(pidfd, ()), identity.Namespace.of_self(), read)
    os.close(pidfd)
    assert refused.value.code == "caller-exited"


@pytest.mark.parametrize(("uid", "daemon_uid"), [(NOBODY, 0), (0, NOBODY)])
def test_callers_are_told_apart_without_root(uid: int, daemon_uid: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start things as several users; the other tests ran as one")
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        os.chown(base, uid, uid)
        stage = stack.enter_context(running(base / "platform", uid=uid, daemon_uid=daemon_uid))
        guest = stack.enter_context(Guest(stage, make_pack(base / "pack")))
        genuine(guest)
        assert in_child(lambda: ask_at(str(guest.socket)), uid) == {"code": "caller-outside"}
        assert guest.ask("nest") == {"code": "caller-outside"}
        genuine(guest)


def test_an_ordinary_user_cannot_speak_in_the_name_of_an_enclave() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may choose the number of a process, to know the enclave's")
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        base.chmod(0o755)
        stage = stack.enter_context(running(base / "platform"))
        guest = stack.enter_context(Guest(stage, make_pack(base / "pack")))
        for path in (stage.path, stage.path / "run", guest.socket.parent):
            path.chmod(0o755)  # the directories are private: let the attacker as far as the socket
        pid = _free_pid()
        assert guest.ask("take-pid", pid=pid) > 0
        name = str(guest.socket)
        genuine(guest)
        assert in_child(lambda: ask_in_the_name_of(name, pid), NOBODY) == {"code": "EPERM"}
        assert in_child(lambda: ask_in_the_name_of(name, 0), NOBODY) == {"code": "caller-outside"}
        genuine(guest)
