from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kloister.serve import ports


def test_a_free_port_is_none_that_a_connection_going_out_may_be_given() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < first for port in (ports.free_port() for _ in range(50)))


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        port = taken.getsockname()[1]
        draws = iter([port - ports._FIRST, port + 1 - ports._FIRST])
        monkeypatch.setattr("kloister.entropy.draw", lambda size: next(draws, 0).to_bytes(size, "big"))
        assert ports.free_port() != port
        assert ports.free_address(f"127.0.0.1:{port}") != f"127.0.0.1:{port}"
    assert ports.free_address(f"127.0.0.1:{port}") == f"127.0.0.1:{port}"


@pytest.mark.parametrize("said", ["1024 65535\n", "", "x y\n"])
def test_where_the_kernel_takes_them_all_or_says_nothing_there_is_one_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    (tmp_path / "range").write_text(said)
    monkeypatch.setattr(ports, "_OUTGOING", tmp_path / "range")
    assert 1024 <= ports.free_port() <= 65535
