"""The embedded stack: idempotent, side by side, and whatever is killed, nothing is lost and nothing stays behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kloister.client.admin import AdminClient
from kloister.errors import Misconfigured, Unavailable
from kloister.formats.protocol.events import Phase
from kloister.serve import launch, stack
from kloister.serve.demo.apps import App
from kloister.serve.demo.world import World
from kloister.serve.looking import look
from kloister.serve.state import State
from kloister.tee.simulated.client import PlatformClient
from tests.e2e.small import POLICY, make_small
from tests.support.ports import free_port
from tests.support.stacks import world_at

pytestmark = pytest.mark.e2e

_PATIENCE = 60.0  # seconds
_NAME = ("home", "cat")


def _descendants(pid: int) -> list[int]:
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return found + [deeper for child in found for deeper in _descendants(child)]


class Watched:
    """Processes by pidfd, which names the same process for ever."""

    def __init__(self, opened: ExitStack, *pids: int) -> None:
        self._pidfds = {pid: os.pidfd_open(pid) for pid in pids}
        for pidfd in self._pidfds.values():
            opened.callback(os.close, pidfd)

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        signal.pidfd_send_signal(self._pidfds[pid], signal.SIGKILL)
        assert select.select([self._pidfds[pid]], [], [], _PATIENCE)[0]

    def alive(self) -> list[int]:
        """Who has not ended in time."""
        return [pid for pid, pidfd in self._pidfds.items() if not select.select([pidfd], [], [], _PATIENCE)[0]]


def _pids(state: State) -> tuple[int, int]:
    """Platform and broker."""
    found = look(state)
    assert found.platform is not None
    assert found.broker is not None
    return found.platform.pid, found.broker.pid


def _everything(state: State) -> list[int]:
    """The stack's processes: daemons, spawner, and those of the enclaves."""
    return [pid for daemon in _pids(state) for pid in (daemon, *_descendants(daemon))]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stack of its own, to be killed, with the small image converted and approved."""
    world = world_at(tmp_path_factory.mktemp("stack"))
    try:
        world.up()
        base = world.base
        make_small(base / "root", f"oci:{base}/plain-small:small", "/run/word", "-")
        world.convert("small", "small", _NAME, POLICY)
        world.approve("small", _NAME, {"word": b"the secret word"})
        yield world
    finally:
        world.close()


@pytest.fixture
def up(world: World) -> World:
    """The stack, running, whatever the test before did to it."""
    world.up()
    _eventually(lambda: _nothing_of_enclaves(world))
    return world


@contextmanager
def _running(world: World, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`kloister run` of the small image, past the release of its secret, waiting for its standard input to end."""
    command = [sys.executable, "-m", "kloister", "run", "--state", str(world.state.root)]
    process = subprocess.Popen(
        [*command, f"oci:{world.layout('small')}:small", *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        try:
            if not more and process.stdout.readline() != b"the secret word\n":
                raise AssertionError(process.communicate()[1])
            yield process
        finally:
            process.kill()


def _intact(world: World) -> None:
    """Policies, secrets and the audit chain are as they were, and an enclave gets its secret."""
    admin = AdminClient(world.state.admin)
    assert [policy["name"] for policy in admin.policies()] == ["cat"]
    assert [secret["name"] for secret in admin.secrets(*_NAME)] == ["word"]
    assert admin.audit(0)["head"]["genuine"]
    options = launch.RunOptions(broker=world.address)
    with App(world.state, world.pack(world.layout("small"), "small"), options) as app:
        assert app.wait() == 0
    assert app.output == "the secret word\n"


def _nothing_of_enclaves(world: World) -> None:
    """No room, no EPC, no process but the spawner."""
    assert list((world.state.platform / "run").glob("*")) == []
    status = PlatformClient(world.state.control).status()
    assert status["enclaves"] == []
    platform, broker = _pids(world.state)
    assert len(_descendants(platform)) == 1
    assert _descendants(broker) == []


def test_up_and_down_twice(tmp_path: Path) -> None:
    state = State.at(tmp_path / "state")
    mounts = Path("/proc/self/mountinfo").read_text()
    with ExitStack() as opened:
        opened.callback(stack.down, state)
        first, started = stack.up(state)
        again, once_more = stack.up(state)
        assert (started, once_more) == (True, False)
        assert again == first
        everything = Watched(opened, *_everything(state))
        assert (stack.down(state), stack.down(state)) == (True, False)
        assert everything.alive() == []
    assert not look(state).running
    for name in ("platform", "broker"):  # a daemon that ended without this line was killed, or failed
        assert (state.logs / f"{name}.log").read_text().count("stopping: SIGTERM came\n") == 1
    assert [path for path in state.root.rglob("*") if path.is_socket()] == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_two_states_side_by_side(up: World, tmp_path: Path) -> None:
    other = State.at(tmp_path / "other")
    with ExitStack() as opened:
        opened.callback(stack.down, other)
        stack.up(other)
        assert look(other).address != up.address
        assert AdminClient(other.admin).policies() == []
        assert PlatformClient(other.control).root() != PlatformClient(up.state.control).root()
        stack.down(other)
    _intact(up)


def test_two_start_at_the_same_moment(tmp_path: Path) -> None:
    """Both would like the usual port; each gets one."""
    states = [State.at(tmp_path / name) for name in ("one", "two")]
    with ExitStack() as opened:
        commands = []
        for state in states:
            opened.callback(stack.down, state)
            command = [sys.executable, "-m", "kloister", "up", "--state", str(state.root)]
            commands.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        said = [command.communicate(timeout=_PATIENCE)[1].decode() for command in commands]
        assert [command.returncode for command in commands] == [0, 0], said
        assert look(states[0]).address != look(states[1]).address
        for state in states:
            assert AdminClient(state.admin).status()


def test_usual_ports_that_others_take_give_back_and_take_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks finds them free, whoever would listen there comes too late: there are others."""
    state = State.at(tmp_path / "state")
    with ExitStack() as opened:
        taken = [
            f"127.0.0.1:{opened.enter_context(socket.create_server(('127.0.0.1', 0))).getsockname()[1]}" for _ in "ab"
        ]
        monkeypatch.setattr("kloister.serve.stack.DEFAULT_ADDRESS", taken[0])
        monkeypatch.setattr("kloister.serve.stack_attestation.ATTESTATION_ADDRESS", taken[1])
        monkeypatch.setattr("kloister.serve.ports._is_free", lambda _host, _port: True)
        opened.callback(stack.down, state)
        found, _ = stack.up(state)
        assert found.running
        assert found.attested
        assert not {found.address, found.attestation_address} & set(taken)


def test_the_broker_may_have_the_attestation_services_usual_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, usual = State.at(tmp_path / "state"), f"127.0.0.1:{free_port()}"
    monkeypatch.setattr("kloister.serve.stack_attestation.ATTESTATION_ADDRESS", usual)
    with ExitStack() as opened:
        opened.callback(stack.down, state)
        found, _ = stack.up(state, usual)
        assert (found.address, found.attested) == (usual, True)
        assert found.attestation_address != usual


def test_an_up_that_fails_leaves_nothing(tmp_path: Path) -> None:
    state = State.at(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Misconfigured) as refusal:
        stack.up(state, f"127.0.0.1:{taken.getsockname()[1]}")
    assert refusal.value.code == "port-in-use"
    assert stack.status(state)["platform"] == {"running": False}
    with pytest.raises(Unavailable):
        PlatformClient(state.control).status()
    assert not state.control.exists()


@pytest.mark.parametrize("victims", [("broker",), ("platform",), ("platform", "broker")], ids="+".join)
def test_a_kill_loses_nothing(up: World, victims: tuple[str, ...]) -> None:
    before = dict(zip(("platform", "broker"), _pids(up.state), strict=True))
    root = PlatformClient(up.state.control).root()
    with ExitStack() as opened:
        watched = Watched(opened, *_everything(up.state))
        for victim in victims:
            watched.kill(before[victim])
        assert not look(up.state).running
        stale = [door for door in (up.state.control, up.state.admin) if door.exists()]
        assert len(stale) >= len(victims)  # a killed daemon removes nothing
        up.up()
        _intact(up)
        after = dict(zip(("platform", "broker"), _pids(up.state), strict=True))
        assert {name for name in after if after[name] != before[name]} >= set(victims)
        assert PlatformClient(up.state.control).root() == root  # the fuses are burnt once
        stack.down(up.state)
        assert watched.alive() == []
    assert [path for path in up.state.root.rglob("*") if path.is_socket()] == []


def test_run_is_killed(up: World) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with ExitStack() as opened, _running(up) as run:
        enclave = Watched(opened, *_descendants(_pids(up.state)[0])[1:])
        run.kill()
        assert enclave.alive() == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    _eventually(lambda: _nothing_of_enclaves(up))


def test_run_is_terminated(up: World) -> None:
    """SIGTERM is the application's, and its end is run's."""
    with ExitStack() as opened, _running(up) as run:
        enclave = Watched(opened, *_descendants(_pids(up.state)[0])[1:])
        run.terminate()
        assert run.wait(_PATIENCE) == 128 + signal.SIGTERM
        assert enclave.alive() == []
    _eventually(lambda: _nothing_of_enclaves(up))


@pytest.mark.parametrize("victim", ["platform", "spawner"])
def test_the_platform_is_killed_while_an_enclave_runs(up: World, victim: str) -> None:
    with ExitStack() as opened, _running(up) as run:
        platform = _pids(up.state)[0]
        below = _descendants(platform)
        enclave = Watched(opened, platform, *below)
        enclave.kill(platform if victim == "platform" else below[0])
        _, said = run.communicate(timeout=_PATIENCE)
        assert run.returncode == 1
        assert (b"[platform-gone]" if victim == "platform" else b"[sandbox-lost]") in said
        stack.down(up.state)
        assert enclave.alive() == []
    up.up()
    assert list((up.state.platform / "run").glob("*")) == []
    _intact(up)


def test_the_end_of_an_application(up: World) -> None:
    with ExitStack() as opened, _running(up) as run:
        enclave = Watched(opened, *_descendants(_pids(up.state)[0])[1:])
        out, _ = run.communicate(b"and more", timeout=_PATIENCE)
        assert (out, run.returncode) == (b"and more", 0)
        assert enclave.alive() == []
    _eventually(lambda: _nothing_of_enclaves(up))


def test_a_refusal(up: World) -> None:
    with _running(up, "--", "/usr/bin/cat", "/etc/passwd") as run:
        out, said = run.communicate(timeout=_PATIENCE)
    assert (out, run.returncode) == (b"", 1)
    assert b"[host-arguments-refused]" in said
    _eventually(lambda: _nothing_of_enclaves(up))


def test_the_broker_is_away_for_a_moment(up: World) -> None:
    """An enclave that starts meanwhile waits for it."""
    broker = _pids(up.state)[1]
    with ExitStack() as opened:
        Watched(opened, broker).kill(broker)
        options = launch.RunOptions(broker=up.address)
        with App(up.state, up.pack(up.layout("small"), "small"), options) as app:
            _eventually(lambda: _asks(app))
            up.up()
            assert app.wait() == 0
    assert app.output == "the secret word\n"


def _asks(app: App) -> None:
    """The launcher has read its documents, so that it asks the broker now."""
    assert "documents" in [event.name for event in app.events if isinstance(event, Phase)]


def _eventually(check: Callable[[], None]) -> None:
    """The daemon and the kernel's lists know of an end a moment later than whoever waited for the processes."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
