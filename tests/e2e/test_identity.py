"""Who the platform takes for an enclave: not a process of the same user that merely has redis's image."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.formats.protocol.events import Refused, Started
from kloister.formats.wire import b64url
from kloister.serve.demo.world import REDIS, World, redis_policy
from kloister.tee.simulated.client import PlatformClient
from tests.support.stacks import world_at

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stack with redis converted and approved."""
    world = world_at(tmp_path_factory.mktemp("world"))
    try:
        world.up()
        world.convert("redis", "redis", REDIS, redis_policy(world.redis_port))
        world.approve("redis", REDIS, {"password": world.password.encode()})
        yield world
    finally:
        world.close()


def _launch(world: World, pack: Path) -> KloisterError | None:
    """Load redis's manifest and signature with the files of `pack`; why it was refused, if it was."""
    genuine = world.pack(world.layout("redis"), "redis")
    manifest, sigstruct = (genuine.document(name).read_bytes() for name in ("manifest.sgx", "sigstruct"))
    with PlatformClient(world.state.control).launch(manifest, sigstruct, pack) as running:
        for event in running:
            if isinstance(event, Refused):
                return KloisterError(event.code, event.text, event.hint)
            if isinstance(event, Started):
                assert event.mrenclave == world.conversions["redis"].mrenclave.hex()
    return None


def _copy(world: World, tmp_path: Path) -> Path:
    genuine = world.pack(world.layout("redis"), "redis")
    return Path(shutil.copytree(genuine.path, tmp_path / "pack"))


def _entry(pack: Path, name: bytes) -> tuple[int, int]:
    """Offset in `contents` and size of a file of the pack."""
    offset = 0
    for line in (pack / "observed.tree").read_bytes().splitlines()[1:]:
        fields = line.split(b" ")
        if fields[0] == b"f":
            if fields[7] == name:
                return offset, int(fields[5])
            offset += int(fields[5])
    raise AssertionError(name)


def _overwrite(pack: Path, name: bytes) -> None:
    """The last byte of a file of the pack becomes another one."""
    offset, size = _entry(pack, name)
    with (pack / "contents").open("r+b") as contents:
        contents.seek(offset + size - 1)
        last = contents.read(1)[0]
        contents.seek(offset + size - 1)
        contents.write(bytes([last ^ 1]))


def test_redis_manifest_with_the_attackers_own_first_code(world: World, tmp_path: Path) -> None:
    pack = _copy(world, tmp_path)
    offset, _ = _entry(pack, b"/.kloister/runtime/ld.so")
    with (pack / "contents").open("r+b") as contents:
        contents.seek(offset + 0x2000)  # a page of the loader's code
        contents.write(b"\x90" * 16)
    refusal = _launch(world, pack)
    assert refusal is not None
    assert refusal.code == "sgx-invalid-measurement"


def test_redis_manifest_with_the_attackers_own_files(world: World, tmp_path: Path) -> None:
    pack = _copy(world, tmp_path)
    _overwrite(pack, b"/.kloister/runtime/main.pyc")
    refusal = _launch(world, pack)
    assert refusal is not None
    assert refusal.code == "file-changed"


def test_a_process_beside_a_running_enclave_is_not_the_enclave(world: World) -> None:
    with world.redis() as app:
        app.until(lambda: world.redis_says("PING") == "PONG")
        (door,) = world.state.platform.glob("run/*/socket")
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(60)
            stranger.connect(str(door))
            question = json.dumps({"op": "quote", "reportData": b64url(bytes(64))}, separators=(",", ":")).encode()
            stranger.sendall(len(question).to_bytes(4, "big") + question)
            answer = stranger.makefile("rb").read()
        assert json.loads(answer[4:])["error"]["code"] == "caller-outside"
        assert world.redis_says("PING") == "PONG"
