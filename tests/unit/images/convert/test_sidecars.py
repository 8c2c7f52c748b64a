from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.images.convert import Conversion, Sidecars

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
