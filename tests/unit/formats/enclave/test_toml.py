from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misused
from kloister.formats.enclave.toml import emit

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(text, st.integers(-(2**63), 2**63 - 1), st.booleans())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=12
)
documents = st.dictionaries(text, values, max_size=5)


@given(documents)
def test_a_standard_reader_reads_what_was_written(document: dict[str, Any]) -> None:
    assert tomllib.loads(emit(document).decode()) == document


def test_the_layout_is_gramines() -> None:
    document = {
        "libos": {"entrypoint": "/app"},
        "sgx": {"debug": False, "max_threads": 4, "trusted_files": [{"uri": "file:/a", "sha256": "00"}]},
        "fs": {"mounts": [{"path": "/a b"}], "root": {}},
        "loader": {"argv": ["a", 'quo"te\x7f'], "env": {"A.B": {"passthrough": True}}},
    }
    assert emit(document).decode() == (
        '[libos]\nentrypoint = "/app"\n\n'
        '[sgx]\ndebug = false\nmax_threads = 4\n\n[[sgx.trusted_files]]\nuri = "file:/a"\nsha256 = "00"\n\n'
        '[fs]\n\n[[fs.mounts]]\npath = "/a b"\n\n[fs.root]\n\n'
        '[loader]\nargv = ["a", "quo\\"te\\u007F"]\n\n[loader.env]\n\n[loader.env."A.B"]\npassthrough = true\n'
    )


@pytest.mark.parametrize("value", [1.5, None, b"bytes", {1}])
def test_other_types_are_a_bug(value: object) -> None:
    with pytest.raises(Misused):
        emit({"key": value})


def test_a_lone_surrogate_is_a_bug() -> None:
    with pytest.raises(Misused):
        emit({"key": "\ud800"})
