from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misconfigured
from kloister.images.convert import Conversion, Sidecars
from kloister.images.convert.sidecars import keys_document, parse_keys

CONVERSION = Conversion(
    bytes(32), bytes(32), "sha256:a", "sha256:b", "sha256:c", 1, 1, "kind: Policy\n", {"layer": b"k"}
)


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        ("oci:/x/out", "out"),
        ("oci:/x/out:latest", "out"),
        ("oci:/x/out:v1", "out.v1"),
        ("oci:/x/out:a/b", "out.a_b"),
        ("oci-archive:/x/out.tar", "out.tar"),
    ],
)
def test_places(destination: str, name: str) -> None:
    assert Sidecars.beside(destination) == Sidecars(Path(f"/x/{name}.policy.yaml"), Path(f"/x/{name}.keys.json"))


def test_the_keys_are_private(tmp_path: Path) -> None:
    sidecars = Sidecars.named(tmp_path / "new", "image")
    assert sidecars.write(CONVERSION, ("clinic", "inference")) == (sidecars.policy, sidecars.keys)
    assert sidecars.policy.read_text() == "kind: Policy\n"
    assert json.loads(sidecars.keys.read_bytes()) == {"policy": "clinic/inference", "secrets": {"layer": "6b"}}
    assert sidecars.keys.stat().st_mode & 0o777 == 0o600


def test_old_keys_do_not_stay(tmp_path: Path) -> None:
    sidecars = Sidecars.named(tmp_path, "image")
    sidecars.write(CONVERSION, ("clinic", "inference"))
    public = Conversion(bytes(32), bytes(32), "sha256:a", "sha256:b", "sha256:c", 1, 0, "kind: Policy\n")
    assert sidecars.write(public, ("clinic", "inference")) == (sidecars.policy,)
    assert not sidecars.keys.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Misconfigured) as refused:
        Sidecars.named(tmp_path / "file", "image").write(CONVERSION, ("clinic", "inference"))
    assert refused.value.code == "destination-unwritable"


@given(st.dictionaries(st.text(max_size=9), st.binary(min_size=1, max_size=40), max_size=3))
def test_the_keys_file_reads_back(secrets: dict[str, bytes]) -> None:
    assert parse_keys(keys_document(replace(CONVERSION, secrets=secrets), ("a", "b"))) == ("a/b", secrets)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_keys_file_is_refused_or_names_other_keys(at: int, change: int) -> None:
    data = bytearray(keys_document(CONVERSION, ("clinic", "inference")))
    data[at % len(data)] ^= change
    with contextlib.suppress(Malformed):
        policy, secrets = parse_keys(bytes(data))
        assert isinstance(policy, str)
        assert all(isinstance(value, bytes) for value in secrets.values())


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"policy":1,"secrets":{}}', b'{"policy":"a/b","secrets":[]}'])
def test_what_is_no_keys_file(data: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse_keys(data)
    assert refused.value.code == "keys-fields"
