"""A converted image measured again, and `kloister verify --image` against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kloister import clock
from kloister.errors import KloisterError
from kloister.formats.enclave.tree import Tree
from kloister.formats.oci.config import Execution
from kloister.images.convert import ConvertOptions, convert
from kloister.images.layers.merged import MergedRoot
from kloister.images.measuring import measure_image
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.sources import merge_image, open_source
from kloister.simulator.platform import SimulatedPlatform
from tests.support.cli import Done, kloister
from tests.support.enclaves import FUSES, KEYID
from tests.support.evidence import code_of
from tests.support.images import write_image
from tests.unit.images.convert.conftest import APP, BASE, TOP

PLATFORM = SimulatedPlatform(FUSES, KEYID)


@pytest.fixture
def converted(tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions) -> str:
    """A reference to a converted image in the layout of a state directory."""
    write_image(tmp_path / "src", [BASE, APP, TOP], execution=Execution(entrypoint=("/bin/app",)))
    place = tmp_path / "state" / "images"
    place.parent.mkdir()
    with open_source(f"oci:{tmp_path}/src") as image:
        convert(image, f"oci:{place}:clinic", runtime, signing_key, options)
    return f"oci:{place}:clinic"


def _quote(reference: str, debug: bool = False) -> bytes:  # noqa: FBT001, FBT002 -- a test's own
    with open_source(reference) as image, merge_image(image) as root:
        parts = [root.read(f"/.kloister/{name}".encode(), 1 << 24) for name in _PARTS]
    manifest, code, sigstruct = (part or b"" for part in parts)
    return PLATFORM.start(manifest, code, sigstruct, debug=debug).quote(bytes(64))


_PARTS = ("enclave/manifest.sgx", "runtime/ld.so", "enclave/sigstruct")


def test_it_is_what_the_enclave_measures(converted: str) -> None:
    with open_source(converted) as image:
        measured = measure_image(image)
        annotated = image.manifest.annotations["dev.kloister.mrenclave"]
    assert measured.mrenclave.hex() == annotated
    assert measured.mrenclave in _quote(converted)
    assert measured.mrsigner in _quote(converted)


def _reads(name: str, change: Callable[[bytes], bytes]) -> Callable[[pytest.MonkeyPatch], None]:
    """Somebody put another file into the image's layers."""
    real = MergedRoot.read

    def read(root: MergedRoot, path: bytes, limit: int) -> bytes | None:
        data = real(root, path, limit)
        return change(data) if data is not None and path.decode().endswith(name) else data

    return lambda patch: patch.setattr(MergedRoot, "read", read)


def _tree(patch: pytest.MonkeyPatch) -> None:
    real = MergedRoot.tree

    def tree(root: MergedRoot, *arguments: Any) -> Tree:
        first, *others = real(root, *arguments).entries
        return Tree((replace(first, mode=0o700), *others))

    patch.setattr(MergedRoot, "tree", tree)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_reads("enclave/tree", lambda data: data + b"x"), "image-changed"),
        (_reads("enclave/launch.json", lambda data: data.replace(b"clinic", b"cynics")[:-1] + b" }"), "image-changed"),
        (_reads("ld.so", lambda data: data + b"x"), "image-changed"),
        (_reads("sigstruct", lambda data: data[:-1] + b"x"), "sigstruct-signature"),
        (_reads("manifest.sgx", lambda data: data + b"\n"), "image-changed"),
        (_reads("manifest.sgx", lambda data: data.replace(b"/enclave/tree", b"/enclave/leaf")), "tree-unmeasured"),
        (_tree, "image-changed"),
    ],
)
def test_whatever_was_changed_is_refused(
    converted: str, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], code: str
) -> None:
    with open_source(converted) as image:
        assert code_of(lambda: measure_image(image)) == "accepted"
        change(monkeypatch)
        with pytest.raises(KloisterError) as caught:
            measure_image(image)
    assert caught.value.code == code


def test_an_ordinary_image_is_not_measured(converted: str, tmp_path: Path) -> None:
    assert converted
    with open_source(f"oci:{tmp_path}/src") as image:
        assert code_of(lambda: measure_image(image)) == "image-not-converted"


def test_evidence_must_be_of_the_image_that_is_named(converted: str, tmp_path: Path) -> None:
    (tmp_path / "quote.bin").write_bytes(_quote(converted))
    (tmp_path / "other.bin").write_bytes(
        SimulatedPlatform(FUSES, KEYID, author=_signer()).quote_content(b"x", bytes(64))
    )
    (tmp_path / "root.der").write_bytes(PLATFORM.root())
    (tmp_path / "collateral.json").write_text(json.dumps(PLATFORM.collateral(clock.now())))

    def verify(thing: str, *more: str) -> Done:
        fixed = ["--collateral", str(tmp_path / "collateral.json"), "--root", str(tmp_path / "root.der"), "--json"]
        return kloister("verify", str(tmp_path / thing), *fixed, "--state", str(tmp_path / "state"), *more)

    for name in ("clinic", converted):
        done = verify("quote.bin", "--image", name)
        assert (done.code, done.json["verdict"]) == (0, "accept")
        assert done.json["image"]["mrenclave"] == done.json["claims"]["mrenclave"]
        other = verify("other.bin", "--image", name, "--proof-only")
        assert (other.code, other.json["genuine"]) == (1, True)
        assert other.json["reason"]["code"] == "image-measurement"
        assert [each["expected"] for each in other.json["conditions"]] == [done.json["image"]["mrenclave"]]
    assert verify("quote.bin", "--image", "nothing").error["code"] == "image-tag"
    assert verify("quote.bin", "--image", "clinic", "--batch").code == 2


def _signer() -> Any:
    from tests.support.enclaves import signer

    return signer()
