"""Nothing stays behind, whoever is killed: no process, no mount, no file."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.formats.protocol.spawner import GO
from kloister.tee.simulated.framing import send
from tests.unit.runtime.runner.sandboxes import PackMaker, Running, Spawning, listening, spawning


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    return found + [deeper for child in found for deeper in _descendants(child)]


def _gone(pidfds: list[int], patience: float = 60.0) -> bool:
    """Whether all these processes ended."""
    deadline = time.monotonic() + patience
    return all(select.select([pidfd], [], [], max(0, deadline - time.monotonic()))[0] for pidfd in pidfds)


def _is_alone(spawner: Spawning) -> None:
    """Wait until it has no child: the kernel takes one off its list a moment after the end can be seen."""
    deadline = time.monotonic() + 60
    while left := _children(spawner.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.fixture
def spawner() -> Iterator[Spawning]:
    with spawning() as started:
        yield started


@pytest.fixture
def running(spawner: Spawning, first: bytes, tmp_path: Path) -> Iterator[Running]:
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        sandbox = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
        assert sandbox.ask("daemon") == "forked"  # a process of its own session, as a server makes
        sandbox.settle()
        yield sandbox
        sandbox.close()


@pytest.fixture
def watched(spawner: Spawning, running: Running) -> Iterator[dict[str, int]]:
    """Pidfds of every process of the sandbox, by what it is."""
    del running
    monitor = _children(spawner.pid)[0]
    init = _children(monitor)[0]
    inside = _descendants(init)
    assert len(inside) == 2
    names = {"monitor": monitor, "init": init, "first": inside[0], "daemon": inside[1]}
    pidfds = {name: os.pidfd_open(pid) for name, pid in names.items()}
    yield pidfds
    for pidfd in pidfds.values():
        os.close(pidfd)


def test_success(running: Running, watched: dict[str, int], spawner: Spawning) -> None:
    running.tell("exit 0")
    assert running.last() == {"event": "exit", "status": 0}
    for name in ("init", "first", "daemon"):  # already gone when the last event comes
        assert _gone([watched[name]], 0.0), name
    assert _gone(list(watched.values()))
    _is_alone(spawner)


def test_the_daemon_closes_the_channel(running: Running, watched: dict[str, int]) -> None:
    running.channel.close()
    assert _gone(list(watched.values()))


@pytest.mark.parametrize("who", ["monitor", "init", "first"])
def test_a_process_of_the_sandbox_is_killed(running: Running, watched: dict[str, int], who: str) -> None:
    signal.pidfd_send_signal(watched[who], signal.SIGKILL)
    assert _gone(list(watched.values()))
    assert running.ask_or_end() == ""


def test_the_spawner_is_killed(watched: dict[str, int], spawner: Spawning) -> None:
    os.kill(spawner.pid, signal.SIGKILL)
    assert _gone(list(watched.values()))


def test_the_daemon_is_killed(first: bytes, tmp_path: Path) -> None:
    """The test forks a daemon that starts a sandbox and is then killed, so that nothing can clean up after itself."""
    reading, writing = os.pipe()
    manifest = PackMaker(tmp_path / "pack", first=first).make()
    with listening(tmp_path / "attestation"):
        daemon = os.fork()
        if daemon == 0:
            try:
                spawned = Spawning()
                running = spawned.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
                running.ask("daemon")
                os.write(writing, b"up")
                signal.pause()
            finally:
                os._exit(1)
        os.close(writing)
        assert os.read(reading, 2) == b"up"
        processes = _descendants(daemon)
        assert len(processes) == 5  # spawner, monitor, init, first process, its daemon
        pidfds = [os.pidfd_open(pid) for pid in processes]
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)
        assert _gone(pidfds)
    for descriptor in (*pidfds, reading):
        os.close(descriptor)


def test_a_refusal(spawner: Spawning, first: bytes, tmp_path: Path) -> None:
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        (tmp_path / "pack" / "contents").write_bytes(b"")
        refused = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
        assert refused.last()["code"] == "contents-size"
    _is_alone(spawner)


def test_mounts_and_files_of_the_host_are_as_before(spawner: Spawning, first: bytes, tmp_path: Path) -> None:
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        before = Path("/proc/self/mountinfo").read_text(), sorted(tmp_path.rglob("*"))
        for line in ("exit 0", "raise 9"):
            sandbox = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
            assert sandbox.ask("write /data/x y") == "0"
            assert Path("/proc/self/mountinfo").read_text() == before[0]
            sandbox.tell(line)
            sandbox.last()
        assert (Path("/proc/self/mountinfo").read_text(), sorted(tmp_path.rglob("*"))) == before


def test_a_malformed_request_ends_only_itself(spawner: Spawning, first: bytes, tmp_path: Path) -> None:
    send(spawner.sock, {"op": "stop"})
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        sandbox = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
        assert sandbox.ask("ids") == "2 1 0 0"


def _waits_for_the_daemon(sandbox: Running) -> None:
    sandbox.settle()
    assert not select.select([sandbox.channel], [], [], 0.2)[0]  # not even a phase ended
    assert Path(f"/proc/{sandbox.pid}/root").readlink() == Path("/")  # the host's root still


def test_nothing_happens_before_the_daemon_knows_the_sandbox(spawner: Spawning, first: bytes, tmp_path: Path) -> None:
    """The init hides its memory soon after, and a daemon that is not root could not look at its namespaces then."""
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        sandbox = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation", go=False)
        _waits_for_the_daemon(sandbox)
        send(sandbox.channel, GO)
        assert sandbox.ask("ids") == "2 1 0 0"


def test_the_daemon_does_not_want_the_sandbox(spawner: Spawning, first: bytes, tmp_path: Path) -> None:
    with listening(tmp_path / "attestation"):
        manifest = PackMaker(tmp_path / "pack", first=first).make()
        for words in ([], [{"op": "stop"}]):
            sandbox = spawner.start(tmp_path / "pack", manifest, first, tmp_path / "attestation", go=False)
            _waits_for_the_daemon(sandbox)
            for word in words:
                send(sandbox.channel, word)
            sandbox.channel.shutdown(socket.SHUT_WR)
            assert sandbox.last()["code"] == ("start-op" if words else "sandbox-died")
            assert _gone([sandbox.pidfd])
