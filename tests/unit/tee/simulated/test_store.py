from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.tee.simulated.store import Store, find_user


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "platform")
    yield store
    store.close()


def test_everything_is_private(store: Store) -> None:
    store.secret("fuses", lambda: b"x")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.path / "fuses").stat().st_mode) == 0o600
    with store.listen("control.sock", 0o600):
        assert stat.S_IMODE((store.path / "control.sock").stat().st_mode) == 0o600


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "platform").mkdir(mode=0o755)
    store = Store.open(tmp_path / "platform")
    store.close()
    assert stat.S_IMODE((tmp_path / "platform").stat().st_mode) == 0o700


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    for made in (b"first", b"second"):
        store = Store.open(tmp_path)
        assert store.secret("fuses", lambda made=made: made) == b"first"  # type: ignore[misc]
        store.close()


def test_one_daemon_per_directory(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        Store.open(store.path)
    assert refused.value.code == "platform-running"
    Store.open(tmp_path / "another").close()


def test_a_killed_daemon_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "platform"
    pid = os.fork()
    if pid == 0:
        store = Store.open(path)
        store.secret("fuses", lambda: b"kept")
        store.listen("control.sock", 0o600)
        store.make_room("enclave")
        store.listen("run/enclave/socket", 0o666)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (path / "run" / "enclave" / "socket").exists()
    store = Store.open(path)
    assert store.secret("fuses", lambda: b"made anew") == b"kept"
    assert not list((path / "run").iterdir())
    store.listen("control.sock", 0o600).close()
    store.close()
    assert sorted(entry.name for entry in path.iterdir()) == ["fuses", "lock"]


@pytest.mark.parametrize("damage", [b"", b"x" * (64 * 1024 + 1)])
def test_a_damaged_secret_is_not_replaced(store: Store, damage: bytes) -> None:
    (store.path / "fuses").write_bytes(damage)
    with pytest.raises(Malformed) as refused:
        store.secret("fuses", lambda: b"made anew")
    assert refused.value.code == "fuses-size"
    assert (store.path / "fuses").read_bytes() == damage


def test_a_symlink_in_the_place_of_a_secret_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"planted")
    (store.path / "fuses").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured) as refused:
        store.secret("fuses", lambda: b"x")
    assert refused.value.code == "platform-state"


def test_an_unusable_directory_is_the_operators(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Misconfigured) as refused:
        Store.open(tmp_path / "file")
    assert refused.value.code == "platform-state"


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    store = Store.open(tmp_path / ("d" * 120) / "platform")
    with store.listen("control.sock", 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{store.directory}/control.sock")
    store.close()


def test_rooms_come_and_go(store: Store) -> None:
    room = store.make_room("enclave")
    with pytest.raises(KloisterError):
        store.make_room("enclave")
    store.listen(f"{room}/socket", 0o666).close()
    store.drop_room("enclave")
    store.drop_room("enclave")
    assert not list((store.path / "run").iterdir())


def test_users_are_found_by_name() -> None:
    assert find_user("root") == (0, 0)
    assert find_user("no-such-user") is None


def test_the_umask_stays_what_it_was(store: Store) -> None:
    before = os.umask(0o022)
    try:
        store.listen("control.sock", 0o600).close()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_what_is_shared_with_the_daemons_user_is_ours(store: Store, tmp_path: Path) -> None:
    """The daemon's user may rename what stands in the folder; root must not open what its link names."""
    store.share_with(os.getgid())
    assert stat.S_IMODE((store.path / "attached").stat().st_mode) == 0o770
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (store.path / "attached").rename(tmp_path / "elsewhere")
    (store.path / "attached").symlink_to(other)
    with pytest.raises(Misconfigured) as refused:
        store.share_with(os.getgid())
    assert refused.value.code == "platform-state"
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    with pytest.raises(Misconfigured):
        store.attached()
