from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Denied, KloisterError, Malformed, Misconfigured
from kloister.formats.protocol.host import Host
from kloister.runtime.launcher.documents import chosen, read_host, read_launch, refuse_arguments
from tests.unit.runtime.launcher.documents import launch

SLOTS = {"LOG_LEVEL": "^(info|debug)$", "PORT": "[0-9]+"}


def test_both_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / ".kloister/enclave").mkdir(parents=True)
    (tmp_path / ".kloister/enclave/launch.json").write_bytes(launch().build())
    host = Host(broker="127.0.0.1:1", slots={"PORT": "80"})
    (tmp_path / ".kloister/host.json").write_text(json.dumps(host.build()))
    assert (read_launch(tmp_path), read_host(tmp_path)) == (launch(), host)


def test_missing_documents(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as first:
        read_launch(tmp_path)
    with pytest.raises(Misconfigured) as second:
        read_host(tmp_path)
    assert (first.value.code, second.value.code) == ("launch-missing", "host-missing")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[]", "host-object"),
        (b"{", "host-json"),
        (b'{"slots":{},"slots":{}}', "host-json"),
        (b'{"more":1}', "host-member"),
        (b" " * ((1 << 20) + 1), "host-size"),
    ],
)
def test_the_hosts_words_are_read_strictly(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / ".kloister").mkdir()
    (tmp_path / ".kloister/host.json").write_bytes(content)
    with pytest.raises(Malformed) as caught:
        read_host(tmp_path)
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_noise_from_the_host_is_malformed(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / ".kloister").mkdir()
    (root / ".kloister/host.json").write_bytes(noise)
    with pytest.raises(KloisterError) as caught:
        read_host(root)
    assert isinstance(caught.value, Malformed)


def test_arguments_of_the_host_are_refused() -> None:
    refuse_arguments(Host())
    for arguments in ((), ("--debug",)):
        with pytest.raises(Denied) as caught:
            refuse_arguments(Host(arguments=arguments))
        assert caught.value.code == "host-arguments-refused"


def test_a_slot_lets_the_host_choose() -> None:
    values = {"LOG_LEVEL": "debug", "PORT": "8080"}
    assert chosen(values, SLOTS) == values
    assert chosen({}, {}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "/evil.so"),
        ("LOG_LEVEL", "trace"),
        ("LOG_LEVEL", "info\n"),
        ("LOG_LEVEL", "xinfo"),
        ("PORT", ""),
        ("PORT", "80 --debug"),
        ("PORT", "1" * 4097),
        ("log_level", "info"),
    ],
)
def test_what_no_slot_allows_is_refused(name: str, value: str) -> None:
    with pytest.raises(Denied) as caught:
        chosen({name: value}, SLOTS)
    assert caught.value.code == "slot-refused"
