from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.names import EPC_BLOCK
from kloister.kubernetes.node.kubelet.checkpoint import NAME, Checkpoint, CheckpointFile, Entry, parse


def _document(devices: Any) -> bytes:
    entry = {"PodUID": "u", "ContainerName": "c", "ResourceName": EPC_BLOCK, "DeviceIDs": devices, "AllocResp": ""}
    data = {"PodDeviceEntries": [entry], "RegisteredDevices": {EPC_BLOCK: ["epc0-0"], "a/b": None}}
    return json.dumps({"Data": data, "Checksum": 7}).encode()


EXPECTED = Checkpoint(
    (Entry("u", "c", EPC_BLOCK, frozenset(("epc0-0", "epc1-0"))),),
    {EPC_BLOCK: frozenset(("epc0-0",)), "a/b": frozenset()},
)


def test_devices_by_numa_node_and_as_before_1_20() -> None:
    assert parse(_document({"0": ["epc0-0"], "1": ["epc1-0"], "2": None})) == EXPECTED
    assert parse(_document(["epc0-0", "epc1-0"])) == EXPECTED


def test_an_empty_one() -> None:
    data = b'{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":1}'
    assert parse(data) == Checkpoint((), {})


def test_the_file_as_it_comes_and_goes(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path)
    assert file.read() is None
    (tmp_path / NAME).write_bytes(_document(["epc0-0", "epc1-0"]))
    assert file.read() == EXPECTED
    assert file.read() is file.read(), "what did not change is not parsed again"
    (tmp_path / NAME).write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(Malformed):
            file.read()
    (tmp_path / NAME).unlink()
    assert file.read() is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b'{"Data":[]}', b'{"Data":{"PodDeviceEntries":[{}]}}', b"[" * 100_000,
        b'{"Data":{"RegisteredDevices":[1]}}', _document([1]), _document("ids"), b"\xff",
    ],
)  # fmt: skip
def test_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse(data)
    assert refused.value.code == "kubelet-checkpoint"


@given(st.integers(0, len(_document(["epc0-0"])) - 1), st.integers(0, 255))
def test_damage_is_refused_or_read(place: int, value: int) -> None:
    data = bytearray(_document(["epc0-0"]))
    data[place] = value
    with contextlib.suppress(Malformed):
        assert isinstance(parse(bytes(data)), Checkpoint)
    with pytest.raises(Malformed):
        parse(bytes(data[:place]))
