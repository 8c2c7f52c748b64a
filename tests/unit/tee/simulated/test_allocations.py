"""Allocations: sockets that containers attach by. A container is a pid namespace and its first process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.protocol.allocations import SOCKET, Allocate, AllocationStatus, Attach
from kloister.formats.protocol.frames import CONTROL_LIMIT
from kloister.formats.wire import canonical_json
from kloister.tee.device import Device
from kloister.tee.simulated import framing
from kloister.tee.simulated.remembering import Remembered, recall
from tests.unit.tee.simulated.stage import PAL, Stage, libc, require_namespaces, running, unshare_pids
from tests.unit.tee.simulated.worker import DATA, ask, ask_at

EPC = 1 << 20
CLONE_NEWPID = 0x20000000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    require_namespaces()
    with running(tmp_path / "platform") as stage:
        yield stage


@pytest.fixture
def folder(stage: Stage, tmp_path: Path) -> Path:
    folder = tmp_path / "a"
    folder.mkdir()
    stage.client.allocate("a", EPC, folder)
    return folder


class Container:
    """The first process of a pid namespace; attaches, then does what it is told, one answer to each line.

    With `early` it only connects at first, and attaches when it is told to.
    """

    def __init__(
        self, path: Path, manifest: bytes = b"manifest", *, sigstruct: bytes = bytes(1808), early: bool = False
    ) -> None:
        reading, self._to = os.pipe()
        self._from, writing = os.pipe()
        self._starter = os.fork()
        if self._starter == 0:
            os.close(self._to)
            _start(reading, writing, str(path), Attach(manifest, sigstruct, PAL), early=early)
        os.close(reading)
        os.close(writing)
        self.answers = os.fdopen(self._from, "rb")
        self.first = self._hear()

    def ask(self, command: str) -> Any:
        os.write(self._to, command.encode() + b"\n")
        return self._hear()

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._to, b"end\n")  # closing alone does not do it: a daemon forked later holds a copy
        os.close(self._to)
        os.waitpid(self._starter, 0)
        self.answers.close()

    def _hear(self) -> Any:
        return json.loads(self.answers.readline() or b"null")


def _start(reading: int, writing: int, path: str, request: Attach, *, early: bool) -> None:
    for number in range(3, 256):  # the pipes of other containers end with them
        if number not in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(number)
    unshare_pids()
    pid = os.fork()
    if pid:
        os.close(reading)
        os.close(writing)
        os._exit(os.waitpid(pid, 0)[1] and 1)
    try:
        if early:
            _be_early(reading, writing, path, request)
        _be_container(reading, writing, path, request)
    finally:
        os._exit(1)


def _be_early(reading: int, writing: int, path: str, request: Attach) -> None:
    with Device.connect(path) as device:
        os.write(writing, canonical_json({"connected": True}) + b"\n")
        os.read(reading, 16)
        message = device.exchange(request.build(), CONTROL_LIMIT)
    os.write(writing, canonical_json({"code": message.get("error", {}).get("code", "")}) + b"\n")
    os._exit(0)


def _be_container(reading: int, writing: int, path: str, request: Attach) -> None:
    device: Device | None = None
    try:
        device, mrenclave = Device.attach(path, request)
        answer: dict[str, str] = {"mrenclave": mrenclave.hex()}
    except KloisterError as error:
        answer = {"code": error.code}
    os.write(writing, canonical_json(answer) + b"\n")
    with os.fdopen(reading) as lines:
        for line in lines:
            match line.strip():
                case "quote" if device is not None:
                    answer = ask(device)
                case "end":
                    break
                case "close" if device is not None:
                    device.close()
                case "descendant":
                    answer = _in_child(lambda: ask_at(path))
                case "deeper":
                    answer = _in_child(lambda: ask_at(path), deeper=True)
            os.write(writing, canonical_json(answer) + b"\n")
    os._exit(0)


def _in_child(action: Any, *, deeper: bool = False) -> Any:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if deeper:
            libc.unshare(CLONE_NEWPID)
            if os.fork():
                os.wait()
                os._exit(0)
        os.write(writing, canonical_json(action()))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


def _wait_until_free(stage: Stage) -> None:
    deadline = clock.monotonic() + 60
    while any(one.enclave for one in stage.client.allocations()):
        assert clock.monotonic() < deadline, "the enclave outlives its first process"
        select.select([], [], [], 0.01)


def test_the_life_of_an_allocation(stage: Stage, folder: Path) -> None:
    assert stage.client.allocations() == [AllocationStatus("a", EPC, str(folder))]
    container = Container(folder / SOCKET)
    quote = container.ask("quote")["quote"]
    assert quote == (b"quote" + bytes.fromhex(container.first["mrenclave"]) + DATA).hex()
    assert container.ask("descendant")["quote"] == quote, "its processes ask over the named socket"
    (status,) = stage.client.allocations()
    assert (status.used, status.mrenclave) == (EPC, container.first["mrenclave"])
    assert stage.client.status()["enclaves"] == [{"enclave": status.enclave, "mrenclave": status.mrenclave}]
    container.ask("close")
    assert container.ask("descendant")["quote"] == quote, "the enclave lives as long as the first process"
    container.end()
    _wait_until_free(stage)
    assert stage.client.status()["epcUsed"] == 0
    again = Container(folder / SOCKET, b"another")
    assert again.first["mrenclave"] != status.mrenclave
    again.end()


def test_who_is_no_container_gets_nothing(stage: Stage, folder: Path) -> None:
    path = str(folder / SOCKET)
    assert ask_at(path) == {"code": "caller-not-first"}, "before anything is attached"
    with pytest.raises(Denied) as refused:
        Device.attach(path, Attach(b"manifest", bytes(1808), PAL))
    assert refused.value.code == "caller-not-first"
    container = Container(folder / SOCKET)
    assert container.ask("quote")["quote"]
    assert ask_at(path) == {"code": "caller-outside"}
    assert container.ask("deeper") == {"code": "caller-outside"}
    assert container.ask("quote")["quote"]
    container.end()
    assert stage.client.status()["epcUsed"] in {0, EPC}


def test_two_containers_do_not_share_an_identity(stage: Stage, folder: Path, tmp_path: Path) -> None:
    first = Container(folder / SOCKET, b"one")
    second = Container(folder / SOCKET, b"two")
    assert second.first == {"code": "caller-outside"}
    other = tmp_path / "b"
    other.mkdir()
    stage.client.allocate("b", EPC, other)
    third = Container(other / SOCKET, b"one")
    assert third.first["mrenclave"] == first.first["mrenclave"]
    assert third.ask("quote")["quote"] == first.ask("quote")["quote"]
    for container in (first, second, third):
        container.end()


def test_who_connected_before_comes_too_late(folder: Path) -> None:
    early = Container(folder / SOCKET, early=True)
    assert early.first == {"connected": True}
    container = Container(folder / SOCKET)
    assert container.first["mrenclave"]
    assert early.ask("attach") == {"code": "allocation-attached"}
    assert container.ask("quote")["quote"]
    for one in (early, container):
        one.end()


def test_an_enclave_larger_than_its_request_is_refused(stage: Stage, folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    stage.client.allocate("small", EPC - 1, small)
    refused, built = Container(small / SOCKET), Container(folder / SOCKET)
    assert refused.first == {"code": "epc-over-request"}
    assert built.first["mrenclave"]
    assert [one.used for one in stage.client.allocations()] == [EPC, 0]
    refused.end()
    built.end()


def test_what_einit_refuses_is_said_and_leaves_nothing(stage: Stage, folder: Path) -> None:
    container = Container(folder / SOCKET, sigstruct=b"!" * 1808)
    assert container.first == {"code": "einit-attributes"}
    assert stage.client.status()["epcUsed"] == 0
    container.end()
    container = Container(folder / SOCKET)
    assert container.first["mrenclave"]
    container.end()


def test_release_takes_the_enclave_along(stage: Stage, folder: Path) -> None:
    container = Container(folder / SOCKET)
    assert container.ask("quote")["quote"]
    stage.client.release("a")
    assert container.ask("quote") == {"code": "platform-gone"}
    assert stage.client.allocations() == []
    assert stage.client.status()["epcUsed"] == 0
    with pytest.raises(Denied) as refused:
        stage.client.release("a")
    assert refused.value.code == "allocation-unknown"
    container.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_running_container_has_its_enclave_again_after_the_platform_restarted(tmp_path: Path, number: int) -> None:
    require_namespaces()
    folder, state = tmp_path / "a", tmp_path / "platform"
    folder.mkdir()
    with running(state) as stage:
        stage.client.allocate("a", EPC, folder)
        container = Container(folder / SOCKET)
        quote = container.ask("quote")["quote"]
        os.kill(stage.pid, number)
        stage.wait()
    assert container.ask("quote") == {"code": "platform-gone"}
    with running(state) as stage:
        assert stage.client.allocations() == []
        stage.client.allocate("a", EPC, folder)  # as the agent does when it finds that the platform forgot
        (status,) = stage.client.allocations()
        assert (status.used, status.mrenclave) == (EPC, container.first["mrenclave"])
        assert container.ask("descendant")["quote"] == quote
        assert container.ask("deeper") == {"code": "caller-outside"}
        other = Container(folder / SOCKET, b"another")
        assert other.first == {"code": "caller-outside"}
        for one in (other, container):
            one.end()
        _wait_until_free(stage)
        assert stage.client.status()["epcUsed"] == 0
    with running(state) as stage:
        stage.client.allocate("a", EPC, folder)
        assert [one.used for one in stage.client.allocations()] == [0]


def test_what_ended_while_the_platform_was_away_is_not_built_again(tmp_path: Path) -> None:
    require_namespaces()
    folder, state = tmp_path / "a", tmp_path / "platform"
    folder.mkdir()
    with running(state) as stage:
        stage.client.allocate("a", EPC, folder)
        container = Container(folder / SOCKET)
        assert container.first["mrenclave"]
    record = state / "attached" / "a"
    data = record.read_bytes()
    container.end()
    with running(state) as stage:
        assert not record.exists()
        stage.client.allocate("a", EPC, folder)
        assert [one.used for one in stage.client.allocations()] == [0]
    assert recall(data) is None
    assert Remembered.parse(data).build() == data
    for damaged in (b"", b"[]", data[:-1], data.replace(b'"pid":', b'"pid":-'), data.replace(b'"mark":', b'"nark":')):
        assert recall(damaged) is None


def test_another_process_of_the_same_number_is_not_taken_for_the_container(tmp_path: Path) -> None:
    require_namespaces()
    folder, state = tmp_path / "a", tmp_path / "platform"
    folder.mkdir()
    with running(state) as stage:
        stage.client.allocate("a", EPC, folder)
        container = Container(folder / SOCKET)
        assert container.first["mrenclave"]
        known = Remembered.parse((state / "attached" / "a").read_bytes())
    pidfd = known.open()
    assert pidfd is not None
    os.close(pidfd)
    boot, started, own = known.mark
    for mark in (("another", started, own), (boot, str(int(started) + 1), own), (boot, started, "0:1")):
        assert replace(known, mark=mark).open() is None
    assert replace(known, pid=os.getpid()).open() is None
    container.end()


def test_an_id_is_given_once_and_the_socket_stays_who_has_it(stage: Stage, folder: Path) -> None:
    with pytest.raises(Denied) as refused:
        stage.client.allocate("a", EPC, folder)
    assert refused.value.code == "allocation-exists"
    container = Container(folder / SOCKET)
    assert container.first["mrenclave"]
    container.end()


def test_a_folder_that_is_none_is_refused(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        stage.client.allocate("a", EPC, tmp_path / "none")
    assert refused.value.code == "allocation-unreadable"
    with pytest.raises(Malformed) as malformed:
        Allocate.parse(Allocate("../a", EPC, "/").build())
    assert malformed.value.code == "allocation-id"


def test_other_descriptors_than_a_listener_are_refused(stage: Stage) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs, Path(os.devnull).open() as null:
        for passed in ([], [ours.fileno()], [null.fileno()], [ours.fileno(), theirs.fileno()]):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(str(stage.path / "control.sock"))
                framing.send(sock, Allocate("a", EPC, "/").build(), passed)
                received = framing.Reader(sock, "test").receive()
            assert received is not None
            assert received[0]["error"]["code"] == "allocation-socket"
    assert stage.client.allocations() == []


def test_silent_visitors_do_not_keep_a_container_out(stage: Stage, folder: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(20)]
    for sock in silent:
        sock.connect(str(folder / SOCKET))
    container = Container(folder / SOCKET)
    assert container.first["mrenclave"]
    container.end()
    for sock in silent:
        sock.close()
    assert stage.client.status()["pid"] == stage.pid
