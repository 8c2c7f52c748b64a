from __future__ import annotations

from pathlib import Path

import pytest

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.enclave.tree import Kind
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import Execution, ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform
from kloister.formats.oci.manifest import Manifest
from kloister.images.layout import LayoutWriter
from kloister.images.pack import Pack, build_pack, ensure_pack
from kloister.images.sources import open_source
from tests.support.images import ENCLAVE_DOCUMENTS, digest, directory, file, hardlink, symlink, tar, write_image

BASE = tar(file("b", b"bb"), file("a", b"a"), hardlink("c", "b"), symlink("l", "a"), directory("d"))
TOP = tar(*ENCLAVE_DOCUMENTS, file(".kloister/enclave/private.tree", b"sealed"))


def _encrypted(path: Path, blob: bytes) -> Descriptor:
    with LayoutWriter(path) as writer:
        layers = [writer.put_blob(mediatypes.OCI_LAYER, layer) for layer in (BASE, TOP)]
        sealed = writer.put_blob(mediatypes.OCI_LAYER_GZIP + mediatypes.ENCRYPTED, blob)
        config = ImageConfig(Platform("linux", "amd64"), Execution(), (digest(BASE), digest(TOP), digest(b"plain")))
        writer.add_manifest(Manifest(writer.add_config(config), (*layers, sealed)), "v")
    return sealed


def test_a_pack_holds_what_the_layers_hold(tmp_path: Path) -> None:
    sealed = _encrypted(tmp_path / "l", b"ciphertext")
    with open_source(f"oci:{tmp_path}/l") as image:
        pack = build_pack(image, tmp_path / "pack")
    tree = pack.tree()
    files = [entry for entry in tree.entries if entry.kind is Kind.FILE]
    assert [entry.path for entry in files] == [b"/.kloister/enclave/private.tree", b"/a", b"/b"]
    assert pack.contents.read_bytes() == b"sealed" + b"a" + b"bb"
    assert pack.document("manifest.sgx").read_bytes() == b"bytes of manifest.sgx"
    assert pack.document("private.tree").read_bytes() == b"sealed"
    assert [path.name for path in pack.private.iterdir()] == [sealed.hex]
    assert (pack.private / sealed.hex).read_bytes() == b"ciphertext"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l", "pack"]


def test_the_cache_is_used_until_it_is_damaged(tmp_path: Path) -> None:
    write_image(tmp_path / "l", [BASE, TOP])
    with open_source(f"oci:{tmp_path}/l") as image:
        pack = ensure_pack(tmp_path / "packs", image)
        assert pack.path.name == image.digest[7:]
        stamp = pack.contents.stat().st_ino
        assert ensure_pack(tmp_path / "packs", image).contents.stat().st_ino == stamp
        pack.contents.unlink()
        with pytest.raises(Misconfigured) as caught:
            Pack.open(pack.path)
        assert caught.value.code == "pack-incomplete"
        assert ensure_pack(tmp_path / "packs", image).contents.read_bytes()
    assert len(list((tmp_path / "packs").iterdir())) == 1


def test_an_image_that_is_not_converted_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "l", [BASE])
    with open_source(f"oci:{tmp_path}/l") as image, pytest.raises(Misconfigured) as caught:
        build_pack(image, tmp_path / "pack")
    assert caught.value.code == "image-not-converted"
    assert "kloister convert" in caught.value.hint
    assert not (tmp_path / "pack").exists()


def test_a_changed_private_layer_is_found(tmp_path: Path) -> None:
    sealed = _encrypted(tmp_path / "l", b"ciphertext")
    (tmp_path / "l" / "blobs" / "sha256" / sealed.hex).write_bytes(b"ciphertexT")
    with open_source(f"oci:{tmp_path}/l") as image, pytest.raises(Malformed) as caught:
        build_pack(image, tmp_path / "pack")
    assert caught.value.code == "blob-digest"
    assert not (tmp_path / "pack").exists()


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    write_image(tmp_path / "l", [BASE, TOP])
    (tmp_path / "pack").write_bytes(b"mine")
    with open_source(f"oci:{tmp_path}/l") as image, pytest.raises(KloisterError) as caught:
        build_pack(image, tmp_path / "pack")
    assert caught.value.code == "pack-occupied"
    assert (tmp_path / "pack").read_bytes() == b"mine"
