from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave import repeated
from kloister.formats.enclave.manifest import Manifest

_HEAD = """
[libos]
entrypoint = "/app"
[loader.entrypoint]
uri = "file:/ld.so"
sha256 = "{digest}"
[sgx]
edmm_enable = true
""".format(digest="00" * 32)
_DIGEST = "5a" * 32


def _table(uri: str, digest: str = _DIGEST) -> str:
    return f'[[sgx.trusted_files]]\nuri = "{uri}"\nsha256 = "{digest}"\n\n'


def _joined(text: str) -> Any:
    """What `split` and a TOML parser make of the text together, or that it is refused."""
    head, tables = repeated.split(text)
    try:
        document = tomllib.loads(head)
    except tomllib.TOMLDecodeError:
        return "refused"
    if tables:
        document["sgx"]["trusted_files"] += [{"uri": uri, "sha256": digest} for uri, digest in tables]
    return document


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "refused"


_LINES = st.sampled_from(
    [
        *(_table("file:/a"), _table("file:/é"), _table(""), _table('a"b'), _table("a\\n"), _table("a\tb")),
        *('[[sgx.trusted_files]]\nuri = "file:/x"\n', "[sgx]\n", "[sgx.other]\n", "[[sgx.other]]\n", "\n", "# [[\n"),
        *('x = """\n', '"""\n', "'''\n", "trusted_files = []\n", "sgx = {}\n", "key = 1\n", "\r\n"),
        *(_table("b", "5A" * 32), _table("b", "5a"), _table("c").replace("\n", "\r\n"), '"sgx".a = 1\n'),
    ]
)


@given(st.lists(_LINES, max_size=8).map("".join), st.integers(0, 4))
def test_nothing_is_read_otherwise_than_by_the_parser(text: str, tables: int) -> None:
    text += "".join(_table(f"file:/{number}") for number in range(tables))
    assert _joined(text) == _parsed(text)


def test_a_long_end_is_split_off_after_its_first_table() -> None:
    tables = [_table(f"file:/{number}") for number in range(50)]
    head, rest = repeated.split(_HEAD + "".join(tables))
    assert head == _HEAD + tables[0]
    assert rest == [(f"file:/{number}", _DIGEST) for number in range(1, 50)]


def test_the_manifest_lists_every_file_in_order() -> None:
    text = _HEAD + "".join(_table(f"file:/{number}", f"{number:064x}") for number in range(300))
    files = Manifest.parse(text.encode()).trusted_files
    assert [(file.uri, file.sha256) for file in files] == [
        (f"file:/{number}", number.to_bytes(32, "big")) for number in range(300)
    ]


@pytest.mark.parametrize("before", ["trusted_files = []\n", 'x = """\n', "[sgx.trusted_files]\n"])
def test_what_the_parser_refuses_is_refused(before: str) -> None:
    end = _table("file:/a") + _table("file:/b")
    assert Manifest.parse((_HEAD + end).encode()).trusted_files
    with pytest.raises(Malformed) as refused:
        Manifest.parse((_HEAD + before + end).encode())
    assert refused.value.code == "manifest-toml"
