from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.images.runtime_layer.elf import SharedObject, trimmed
from kloister.images.runtime_layer.libraries import library_closure

PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
PROGRAM = PYTHON.read_bytes()


def test_reads_what_the_interpreter_needs() -> None:
    shared = SharedObject.parse(PROGRAM)
    assert "libc.so.6" in shared.needed
    assert Path(shared.interpreter).exists()


def test_closure_finds_every_library_and_their_needs() -> None:
    found = library_closure([PYTHON])
    assert found["libc.so.6"].is_file()
    for path in found.values():
        needs = SharedObject.parse(path.read_bytes()).needed
        assert {name for name in needs if not name.startswith("ld-")} <= found.keys()


def test_trimming_keeps_what_is_loaded_and_is_done_once() -> None:
    small = trimmed(PROGRAM)
    assert len(small) < len(PROGRAM)
    assert trimmed(small) == small
    before, after = SharedObject.parse(PROGRAM), SharedObject.parse(small)
    assert before == after
    assert small[64 : after.end] == PROGRAM[64 : after.end]


def test_something_else_is_refused() -> None:
    with pytest.raises(Malformed) as refused:
        SharedObject.parse(b"#!/bin/sh\n" + bytes(100))
    assert refused.value.code == "elf-header"


@given(st.integers(0, 4095))
def test_cut_files_are_refused(size: int) -> None:
    with pytest.raises(Malformed):
        SharedObject.parse(PROGRAM[:size])


@given(st.integers(0, 1023), st.integers(1, 255))
def test_flipped_bytes_are_refused_or_read(offset: int, change: int) -> None:
    data = bytearray(PROGRAM[:65536])
    data[offset] ^= change
    with contextlib.suppress(Malformed):
        assert len(trimmed(bytes(data))) <= len(data)
