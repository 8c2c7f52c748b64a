from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from kloister.errors import Denied
from kloister.runtime.launcher.channel import Channel


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Channel(ours), theirs


def test_events_come_one_by_one(pair: tuple[Channel, socket.socket]) -> None:
    channel, init = pair
    channel.phase("documents")
    channel.log("a line")
    channel.refuse(Denied("slot-refused", "No.", "Do."))
    phase, log, refused = (json.loads(init.recv(65536)) for _ in range(3))
    assert (phase["event"], phase["name"]) == ("phase", "documents")
    assert 0 <= phase["us"] < 10_000_000
    assert log == {"event": "log", "text": "a line"}
    assert refused == {"event": "refused", "code": "slot-refused", "text": "No.", "hint": "Do."}


def test_the_listener_is_handed_over(pair: tuple[Channel, socket.socket]) -> None:
    channel, init = pair
    reading, writing = os.pipe()
    channel.listener(writing)
    data, passed, _, _ = socket.recv_fds(init, 65536, 4)
    os.write(passed[0], b"x")
    assert (json.loads(data), os.read(reading, 1)) == ({"event": "listener"}, b"x")
    for descriptor in (reading, *passed):
        os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(writing)


def test_init_being_gone_is_no_reason_to_stop(pair: tuple[Channel, socket.socket]) -> None:
    channel, init = pair
    init.close()
    channel.log("nobody hears")
    channel.phase("x")


def test_without_init_a_refusal_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    channel = Channel(None)
    channel.phase("x")
    channel.refuse(Denied("slot-refused", "No."))
    assert capsys.readouterr().err == "kloister: No. [slot-refused]\n"
    assert channel.descriptor is None


def test_the_inherited_descriptor_closes_at_execve() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = ours.detach()
    os.set_inheritable(descriptor, True)
    channel = Channel.inherited(descriptor)
    assert channel.descriptor == descriptor
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    theirs.close()
    channel._socket.detach()  # type: ignore[union-attr]
    assert Channel.inherited(descriptor).descriptor is None
