"""Debian's redis answers in an enclave exactly as it does outside."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from kloister.serve.demo.search import find
from kloister.serve.demo.world import REDIS, World, redis_policy
from tests.e2e.redis_commands import Failure, Redis, commands
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]

_COUNT = 1000
_BATCH = (1, 1, 1, 7, 20, 50)  # commands of one pipeline, in turn


@pytest.fixture(scope="module")
def inside(stage: World) -> Iterator[int]:
    """The port of redis in an enclave."""
    stage.convert("redis", "redis", REDIS, redis_policy(stage.redis_port))
    stage.approve("redis", REDIS, {"password": stage.password.encode()})
    with stage.redis() as app:
        app.until(lambda: _listens(stage.redis_port))
        yield stage.redis_port


@pytest.fixture(scope="module")
def outside(stage: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the same program without an enclave."""
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    configuration = directory / "redis.conf"
    configuration.write_text(f'bind 127.0.0.1\nport {port}\nsave ""\ndir {directory}\nrequirepass {stage.password}\n')
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["redis-server", str(configuration)], stdin=subprocess.DEVNULL, stdout=log)
    try:
        deadline = time.monotonic() + 60
        while not _listens(port) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def test_a_thousand_commands(stage: World, inside: int, outside: int) -> None:
    asked = list(commands(seed=20_260_101, count=_COUNT))
    failed = answered = 0
    with Redis(inside, stage.password) as one, Redis(outside, stage.password) as other:
        turn = 0
        while asked:
            size = _BATCH[turn % len(_BATCH)]
            batch, asked, turn = asked[:size], asked[size:], turn + 1
            for command, seen, expected in zip(batch, one.ask(*batch), other.ask(*batch), strict=True):
                assert seen == expected, command
                assert type(seen) is type(expected), command
                answered += 1
                failed += isinstance(seen, Failure)
    assert answered == _COUNT
    assert 50 < failed < 500  # both what works and what does not was compared
    for port in (inside, outside):
        with Redis(port, stage.password) as connection:
            assert connection.ask(("DBSIZE",))[0] > 5


def test_a_wrong_password(inside: int, outside: int) -> None:
    answers = []
    for port in (inside, outside):
        with Redis(port, "wrong") as connection:
            answers.append(connection.ask(("AUTH", "wrong"), ("GET", "string:0")))
    assert answers[0] == answers[1]
    assert all(isinstance(answer, Failure) for answer in answers[0])


def test_its_files_are_private_memory(stage: World, inside: int) -> None:
    """What redis saves is in the enclave's own memory: nothing of it appears outside."""
    with Redis(inside, stage.password) as connection:
        said = connection.ask(("SET", "saved", "a value to be found"), ("SAVE",), ("CONFIG", "GET", "dir"))
        assert said == [b"OK", b"OK", [b"dir", b"/data"]]
        connection.ask(("DEL", "saved"))
    assert not list(stage.base.rglob("dump.rdb"))
    assert find(stage.base, {"value": b"a value to be found"}) == []
