from __future__ import annotations

import array
import os
import socket
from pathlib import Path

import pytest

from kloister.errors import Denied
from kloister.tee.simulated import identity
from kloister.tee.simulated.identity import SCM_PIDFD, Credentials, Namespace, check, credentials
from tests.unit.tee.simulated.stage import Guest, make_pack, require_namespaces, running
from tests.unit.tee.simulated.worker import ask_at


def beside(kind: int, *numbers: int) -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, kind, array.array("i", numbers).tobytes()


@pytest.mark.parametrize(
    ("ancillary", "expected"),
    [
        ([], Credentials(None, ())),
        ([beside(SCM_PIDFD, 7)], Credentials(7, ())),
        ([beside(SCM_PIDFD, -3)], Credentials(None, (), exited=True)),
        ([beside(SCM_PIDFD, 7), beside(socket.SCM_RIGHTS, 8, 9)], Credentials(7, (8, 9))),
        ([beside(SCM_PIDFD, 7), beside(SCM_PIDFD, 8)], Credentials(None, (7, 8))),
        ([(socket.SOL_TCP, SCM_PIDFD, b"\0\0\0\0")], Credentials(None, ())),
        ([(socket.SOL_SOCKET, SCM_PIDFD, b"\0\0")], Credentials(None, ())),
    ],
)
def test_ancillary_data_is_sorted(ancillary: list[tuple[int, int, bytes]], expected: Credentials) -> None:
    assert credentials(ancillary) == expected


def refused(who: Credentials, own: Namespace) -> str:
    with pytest.raises(Denied) as error:
        check(who, own)
    return error.value.code


def test_only_a_living_process_of_the_namespace_passes() -> None:
    own, pidfd = Namespace.of_self(), os.pidfd_open(os.getpid())
    try:
        check(Credentials(pidfd, ()), own)
        assert refused(Credentials(pidfd, ()), Namespace(own.device, own.inode + 1)) == "caller-outside"
        assert refused(Credentials(pidfd, ()), Namespace(own.device + 1, own.inode)) == "caller-outside"
        assert refused(Credentials(pidfd, (0,)), own) == "caller-descriptors"
        assert refused(Credentials(None, ()), own) == "caller-unknown"
        assert refused(Credentials(None, (), exited=True), own) == "caller-exited"
        check(Credentials(pidfd, ()), own)
    finally:
        os.close(pidfd)


def test_a_namespace_that_cannot_be_read_is_not_ones_own() -> None:
    def unreadable(_pidfd: int) -> Namespace:
        raise PermissionError

    pidfd = os.pidfd_open(os.getpid())
    try:
        with pytest.raises(Denied) as error:
            check(Credentials(pidfd, ()), Namespace.of_self(), unreadable)
    finally:
        os.close(pidfd)
    assert error.value.code == "caller-outside"


def test_an_older_kernel_answers_the_inherited_socket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_namespaces()
    monkeypatch.setattr(identity, "mechanism", lambda: identity.INHERITED_ONLY)
    with running(tmp_path / "platform") as stage, Guest(stage, make_pack(tmp_path / "pack")) as guest:
        assert guest.ask("ask")["quote"]
        assert guest.ask("connect") == {"code": "caller-unknown"}
        assert ask_at(str(guest.socket)) == {"code": "caller-unknown"}
        status = stage.client.status()
        assert status["identity"] == "inherited-socket-only"
        assert any("SO_PASSPIDFD" in sentence for sentence in status["notHeld"])


def test_a_kernel_without_peer_pidfds_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SO_PASSPIDFD", 9999)  # an option that no kernel has
    assert identity.mechanism() == identity.INHERITED_ONLY
