from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.snp import HclBlob
from tests.support.evidence import code_of
from tests.support.snp import report

RUNTIME = b'{"keys": [{"kid": "HCLAkPub"}], "user-data": "00"}'
BLOB = HclBlob(report=report().build(), runtime=RUNTIME)
_TYPE_AT, _SIZE_AT, _RUNTIME_AT = 0x4C0 + 8, 0x4C0 + 16, 0x4D4


def test_a_blob_has_azures_layout() -> None:
    data = BLOB.build()
    assert data[:4] == b"HCLA"
    assert data[0x20 : 0x20 + 1184] == BLOB.report
    assert data[_RUNTIME_AT:] == RUNTIME
    assert BLOB.binding == hashlib.sha256(RUNTIME).digest()
    assert BLOB.claims()["user-data"] == "00"


@given(st.binary(min_size=1184, max_size=1184), st.binary(min_size=1, max_size=300), st.integers(0, 2**32 - 1))
def test_what_is_built_is_parsed(inner: bytes, runtime: bytes, version: int) -> None:
    blob = HclBlob(report=inner, runtime=runtime, version=version)
    assert HclBlob.parse(blob.build()) == blob
    assert HclBlob.parse(blob.build() + bytes(700)) == blob  # the rest of the NV index


@given(st.integers(0, len(BLOB.build()) - 1))
def test_every_cut_is_malformed(size: int) -> None:
    with pytest.raises(Malformed):
        HclBlob.parse(BLOB.build()[:size])


@given(st.binary(max_size=2000))
def test_other_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        HclBlob.parse(data)


@given(st.integers(0, len(BLOB.build()) * 8 - 1))
def test_a_flipped_bit_raises_nothing_else(bit: int) -> None:
    data = bytearray(BLOB.build())
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(Malformed):  # no other exception
        HclBlob.parse(bytes(data)).claims()


def _with(at: int, value: int) -> bytes:
    data = bytearray(BLOB.build())
    data[at : at + 4] = value.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (BLOB.build(), "accepted"),
        (_with(0, 0x414C4349), "hcl-magic"),
        (_with(_TYPE_AT, 4), "hcl-report-type"),
        (_with(_TYPE_AT + 4, 2), "hcl-hash-type"),
        (_with(_SIZE_AT, 0), "hcl-truncated"),
        (_with(_SIZE_AT, len(RUNTIME) + 1), "hcl-truncated"),
        (_with(_SIZE_AT, 0xFFFFFFFF), "hcl-truncated"),
        (BLOB.build() + b"\0\1", "hcl-reserved"),
        (BLOB.build() + bytes(64 * 1024), "hcl-size"),
    ],
)
def test_a_damaged_blob_has_its_reason(data: bytes, code: str) -> None:
    assert code_of(lambda: HclBlob.parse(data)) == code


@pytest.mark.parametrize("runtime", [b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff"])
def test_runtime_data_is_a_json_object(runtime: bytes) -> None:
    blob = HclBlob.parse(HclBlob(report=BLOB.report, runtime=runtime).build())
    assert code_of(blob.claims) == "hcl-runtime-json"
