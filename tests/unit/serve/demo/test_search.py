from __future__ import annotations

import base64
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kloister.serve.demo.search import find, needles

_SECRETS = st.binary(min_size=12, max_size=40)


@given(_SECRETS, st.binary(max_size=9), st.binary(max_size=9))
def test_a_secret_is_found_inside_base64_wherever_it_starts(secret: bytes, before: bytes, behind: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        coded = encode(before + secret + behind)
        assert any(needle in coded for needle in needles(secret))


@given(_SECRETS)
def test_no_needle_is_so_short_that_it_is_found_everywhere(secret: bytes) -> None:
    assert all(len(needle) >= 8 for needle in needles(secret))


def test_files_are_named_with_the_secret_that_lies_in_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 100 + b"correct horse battery".hex().encode())
    (tmp_path / "other").write_bytes(b"nothing here")
    assert find(tmp_path, {"phrase": b"correct horse battery"}) == [("phrase", tmp_path / "deep" / "file")]
