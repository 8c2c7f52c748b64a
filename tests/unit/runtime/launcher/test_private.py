from __future__ import annotations

import base64
import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from kloister.errors import Denied, KloisterError, Malformed, Unverified
from kloister.formats.enclave.launch import Private, PrivateLayer
from kloister.formats.enclave.private import layer_key, layer_nonce, seal_private_trees
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.formats.oci.crypt import Encryptor
from kloister.formats.oci.mediatypes import OCI_LAYER_GZIP
from kloister.runtime.launcher.placing import Root
from kloister.runtime.launcher.private import place_private, taken

UID, GID = os.getuid(), os.getgid()
SECRET = bytes(range(32))
KEYS = {"layer": SECRET}


def file(path: bytes, content: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, Kind.FILE, mode, UID, GID, 1000, len(content), sha256(content).digest())


def tar(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


FIRST = tar(("srv/model.bin", b"overwritten"), ("srv/model.bin", b"model"), ("srv/gone", b"whiteout later"))
SECOND = tar(("./etc/app.conf", b"conf"), ("etc/hosts", b"host's own"))
TREES = (
    Tree.of(
        [
            Entry(b"/srv", Kind.DIRECTORY, 0o750, UID, GID, 500),
            file(b"/srv/model.bin", b"model", 0o440),
            Entry(b"/srv/link", Kind.SYMLINK, 0o777, UID, GID, 700, target=b"model.bin"),
            Entry(b"/srv/second", Kind.HARDLINK, 0o440, UID, GID, 1000, target=b"/srv/model.bin"),
            Entry(b"/proc", Kind.DIRECTORY, 0o555, UID, GID, 1),
        ]
    ),
    Tree.of([file(b"/etc/app.conf", b"conf")]),
)


class Image:
    """A root as the runner leaves it: public part, encrypted parts, nothing decrypted."""

    def __init__(self, root: Path, trees: tuple[Tree, ...] = TREES, blobs: tuple[bytes, ...] = (FIRST, SECOND)) -> None:
        self.root = root
        self.folder = root / ".kloister/private"
        self.folder.mkdir(parents=True)
        (root / "etc").mkdir()
        os.utime(root / "etc", (300, 300))
        sealed = seal_private_trees(SECRET, trees)
        (self.folder / "private.tree").write_bytes(sealed)
        layers = tuple(self._encrypted(blob) for blob in blobs)
        self.private = Private("layer", f"sha256:{sha256(sealed).hexdigest()}", len(sealed), layers)

    def _encrypted(self, blob: bytes) -> PrivateLayer:
        nonce = layer_nonce(SECRET, f"sha256:{sha256(blob).hexdigest()}")
        encryptor = Encryptor(layer_key(SECRET, nonce), nonce)
        data = encryptor.update(blob)
        digest = sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        mac, public = (base64.b64encode(item).decode() for item in (encryptor.finish(), nonce))
        return PrivateLayer(f"sha256:{digest}", len(data), OCI_LAYER_GZIP + "+encrypted", mac, public)

    def place(self, keys: dict[str, bytes] | None = None) -> None:
        with Root(str(self.root)) as root:
            place_private(root, taken(self.folder), self.private, KEYS if keys is None else keys)

    def blob(self, number: int = 0) -> Path:
        return self.folder / self.private.layers[number].digest.removeprefix("sha256:")


def test_exactly_what_is_listed_is_placed(tmp_path: Path) -> None:
    image = Image(tmp_path)
    image.place()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert found == {
        ".kloister",
        ".kloister/private",
        "etc",
        "etc/app.conf",
        "srv",
        "srv/model.bin",
        "srv/link",
        "srv/second",
    }
    model, srv = (tmp_path / "srv/model.bin").stat(), (tmp_path / "srv").stat()
    assert (tmp_path / "srv/model.bin").read_bytes() == b"model"
    assert (stat.S_IMODE(model.st_mode), model.st_mtime, model.st_nlink) == (0o440, 1000, 2)
    assert (stat.S_IMODE(srv.st_mode), srv.st_mtime) == (0o750, 500)
    assert (tmp_path / "srv/link").readlink() == Path("model.bin")
    assert (tmp_path / "etc").stat().st_mtime == 300  # measured, and left as it was


def flip(path: Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def swap_layers(image: Image) -> None:
    image.private = replace(image.private, layers=image.private.layers[::-1])


DAMAGE: dict[str, tuple[Callable[[Image], object], type[KloisterError], str]] = {
    "layer": (lambda image: flip(image.blob()), Unverified, "layer-hmac"),
    "tree": (lambda image: flip(image.folder / "private.tree"), Unverified, "private-tree"),
    "short tree": (lambda image: (image.folder / "private.tree").write_bytes(b"x"), Unverified, "private-tree"),
    "no layer": (lambda image: image.blob(1).unlink(), Malformed, "private-missing"),
    "no tree": (lambda image: (image.folder / "private.tree").unlink(), Malformed, "private-missing"),
    "order": (swap_layers, Unverified, "private-content"),
    "collision": (lambda image: (image.root / "etc/app.conf").write_text("public"), Denied, "private-collision"),
    "link on the way": (lambda image: (image.root / "srv").symlink_to("etc"), Denied, "place-refused"),
}


@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_damage_is_refused_with_its_reason(tmp_path: Path, what: str) -> None:
    damage, family, code = DAMAGE[what]
    image = Image(tmp_path)
    damage(image)
    with pytest.raises(KloisterError) as caught:
        image.place()
    assert (type(caught.value), caught.value.code) == (family, code)


def test_nothing_of_a_damaged_layer_is_placed(tmp_path: Path) -> None:
    image = Image(tmp_path)
    flip(image.blob(), -1)
    with pytest.raises(Unverified):
        image.place()
    assert not (tmp_path / "srv/model.bin").exists()


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({}, "private-key-missing"),
        ({"layer": b"short"}, "private-key-missing"),
        ({"other": SECRET}, "private-key-missing"),
        ({"layer": bytes(32)}, "private-tree"),
    ],
)
def test_another_key_opens_nothing(tmp_path: Path, keys: dict[str, bytes], code: str) -> None:
    image = Image(tmp_path)
    with pytest.raises(KloisterError) as caught:
        image.place(keys)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (([file(b"/.kloister/x", b"")], []), "private-collision"),
        (([file(b"/a", b"")], [file(b"/a", b"")]), "private-tree"),
        (([file(b"/srv/model.bin", b"not in it")], []), "private-content"),
        (([Entry(b"/h", Kind.HARDLINK, 0o644, UID, GID, 1, target=b"/etc")], []), "place-refused"),
    ],
)
def test_trees_that_no_conversion_makes(tmp_path: Path, entries: tuple[list[Entry], list[Entry]], code: str) -> None:
    image = Image(tmp_path, tuple(Tree.of(listed) for listed in entries))
    with pytest.raises(KloisterError) as caught:
        image.place()
    assert caught.value.code == code
