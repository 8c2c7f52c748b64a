from __future__ import annotations

import base64
import gzip
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.private import layer_key, open_private_trees
from kloister.formats.enclave.tree import Kind, Tree, differences
from kloister.formats.oci.crypt import Decryptor, PublicOptions
from kloister.formats.oci.mediatypes import is_encrypted
from kloister.images.convert import Conversion, ConvertOptions, convert, predict
from kloister.images.convert.split import topmost
from kloister.images.encrypt import KeyCache
from kloister.images.layers.merging import Merger
from kloister.images.measuring import measure_image
from kloister.images.pack import build_pack
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.sources import merge_image, open_source
from kloister.runtime.launcher.placing import Root
from kloister.runtime.launcher.private import place_private, taken
from tests.support.images import directory, file, hardlink, symlink, tar, write_image
from tests.unit.images.convert.conftest import APP, BASE, MARKER, TOP

LAYERS = (BASE, APP, TOP)


class Workshop:
    """Converts small images and looks at what came out."""

    def __init__(self, folder: Path, runtime: RuntimeLayer, key: RSAPrivateKey, options: ConvertOptions) -> None:
        self.folder, self.runtime, self.key, self.options = folder, runtime, key, options
        self.keys = KeyCache(folder / "keys", key)
        self.out = f"oci:{folder / 'out'}"

    def convert(self, layers: tuple[bytes, ...] = LAYERS, **change: object) -> Conversion:
        write_image(self.folder / "src", layers)
        with open_source(f"oci:{self.folder / 'src'}") as image:
            return convert(image, self.out, self.runtime, self.key, self.changed(change), self.keys)

    def refused(self, layers: tuple[bytes, ...] = LAYERS, **change: object) -> str:
        write_image(self.folder / "src", layers)
        with open_source(f"oci:{self.folder / 'src'}") as image, pytest.raises(Misconfigured) as refused:
            predict(image, self.runtime, self.key, self.changed(change), self.keys)
        return refused.value.code

    def changed(self, change: dict[str, object]) -> ConvertOptions:
        return replace(self.options, **change)  # type: ignore[arg-type]

    def original(self) -> Tree:
        with open_source(f"oci:{self.folder / 'src'}") as image, merge_image(image) as root:
            return root.tree()

    def public(self) -> Tree:
        with open_source(self.out) as image, merge_image(image) as root:
            tree = root.read(b"/.kloister/enclave/tree", 1 << 20)
            assert tree is not None
            assert differences(Tree.parse(tree), root.tree()) == []
            return root.tree()

    def launch(self) -> LaunchDocument:
        with open_source(self.out) as image, merge_image(image) as root:
            data = root.read(b"/.kloister/enclave/launch.json", 1 << 20)
        assert data is not None
        return LaunchDocument.parse(data)

    def private(self, secret: bytes) -> tuple[Tree, ...]:
        with open_source(self.out) as image, merge_image(image) as root:
            data = root.read(b"/.kloister/enclave/private.tree", 1 << 20)
        assert data is not None
        private = self.launch().private
        assert private is not None
        return open_private_trees(secret, data, len(private.layers))

    def decrypted(self, secret: bytes) -> Tree:
        """The root as somebody with the secret sees it, from the layout alone."""
        private = self.launch().private
        assert private is not None
        nonces = {layer.digest: base64.b64decode(layer.nonce) for layer in private.layers}
        with open_source(self.out) as image, Merger(image.limits) as merger:
            for index, layer in enumerate(image.layers):
                if not is_encrypted(layer.media_type):
                    merger.add(image.layer(index), index)
                    continue
                nonce, options = nonces[layer.digest], PublicOptions.of_annotations(layer.annotations)
                decryptor = Decryptor(layer_key(secret, nonce), nonce, options.hmac)
                plain = decryptor.update(b"".join(image.blob(layer)))
                decryptor.finish()
                merger.add(iter((gzip.decompress(plain),)), index)
            with merger.finish() as root:
                return without_ours(root.tree())

    def everything(self) -> bytes:
        """All bytes of the layout, gzip layers also unpacked."""
        result = b""
        with open_source(self.out) as image:
            for index, layer in enumerate(image.layers):
                result += b"".join(image.blob(layer))
                if not is_encrypted(layer.media_type):
                    result += b"".join(image.layer(index))
            return result + image.manifest_bytes + image.config_bytes


def behind_links(workshop: Workshop, where: Path, secret: bytes) -> dict[bytes, Path]:
    """Place the private entries below a directory; own path -> where an entry is then."""
    private = workshop.launch().private
    assert private is not None
    assert private.links
    with open_source(workshop.out) as image, merge_image(image) as root, Root(str(where)) as placed:
        assert not any(is_encrypted(layer.media_type) for layer in image.layers)

        def part(name: str) -> bytes:
            folder = "enclave" if name == "private.tree" else "private"
            data = root.read(f"/.kloister/{folder}/{name}".encode(), 1 << 20)
            assert data is not None
            return data

        place_private(placed, part, private, {"layer": secret}, b"/private")
    listed = [entry.path for tree in workshop.private(secret) for entry in tree.entries]
    return {path: where / "private" / path[1:].decode() for path in listed}


def without_ours(tree: Tree) -> Tree:
    return Tree(tuple(entry for entry in tree.entries if not entry.path.startswith(b"/.kloister")))


def paths(tree: Tree) -> set[bytes]:
    return {entry.path for entry in tree.entries}


@pytest.fixture
def workshop(tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, pinned: ConvertOptions) -> Workshop:
    return Workshop(tmp_path, runtime, signing_key, pinned)


def test_the_marker_is_found_where_nothing_is_encrypted(workshop: Workshop) -> None:
    workshop.convert()
    assert MARKER in workshop.everything()


@pytest.mark.parametrize("encrypt", [("1",), ("-2",), ("app",), ("all",), ("0", "1", "2")])
def test_whoever_has_the_secret_sees_the_original_root(workshop: Workshop, encrypt: tuple[str, ...]) -> None:
    conversion = workshop.convert(encrypt=encrypt, base=1)
    secret = conversion.secrets["layer"]
    assert differences(workshop.original(), workshop.decrypted(secret)) == []
    assert MARKER not in workshop.everything()
    assert b"srv/model" not in workshop.everything()
    assert secret not in workshop.everything()


def test_public_and_private_entries_make_the_whole(workshop: Workshop) -> None:
    conversion = workshop.convert(encrypt=("1",))
    public, private = workshop.public(), workshop.private(conversion.secrets["layer"])
    assert b"/srv" in paths(public)  # a public file lies in it
    assert b"/srv/readme" in paths(public)
    assert b"/etc/old" not in paths(public)  # the private layer deleted it
    assert [paths(tree) for tree in private] == [
        {b"/srv/model", b"/srv/model/weights", b"/srv/model/copy", b"/srv/model/now"}
    ]
    etc = public.get(b"/etc")
    assert etc is not None
    assert etc.mode == 0o750  # the private layer has the last word on a directory that both have
    assert paths(without_ours(public)) | paths(private[0]) == paths(workshop.original())


def test_a_private_hard_link_stays_one(workshop: Workshop) -> None:
    conversion = workshop.convert(encrypt=("app",), base=1)
    entries = {entry.path: entry for tree in workshop.private(conversion.secrets["layer"]) for entry in tree.entries}
    assert entries[b"/srv/model/copy"].kind is Kind.FILE
    assert entries[b"/srv/model/weights"].kind is Kind.HARDLINK
    assert entries[b"/srv/model/weights"].target == b"/srv/model/copy"


def test_single_files_become_private_with_all_their_names(workshop: Workshop) -> None:
    conversion = workshop.convert(encrypt_files=("/srv/model/w*",))
    assert differences(workshop.original(), workshop.decrypted(conversion.secrets["layer"])) == []
    assert MARKER not in workshop.everything()
    private = workshop.private(conversion.secrets["layer"])
    assert [paths(tree) for tree in private] == [{b"/srv/model/weights", b"/srv/model/copy"}]
    assert b"/srv/model/now" in paths(workshop.public())


def test_older_copies_of_a_private_file_do_not_stay_behind(workshop: Workshop) -> None:
    older = tar(file("srv/model/weights", b"older " + MARKER))
    conversion = workshop.convert((BASE, older, APP, TOP), encrypt_files=("/srv/model/*",))
    assert MARKER not in workshop.everything()
    assert differences(workshop.original(), workshop.decrypted(conversion.secrets["layer"])) == []


def test_untouched_layers_stay_bit_for_bit(workshop: Workshop) -> None:
    workshop.convert(encrypt=("1",))
    with open_source(f"oci:{workshop.folder / 'src'}") as before, open_source(workshop.out) as after:
        assert [after.layers[0].digest, after.layers[1].digest] == [before.layers[0].digest, before.layers[2].digest]


def test_the_pack_has_the_encrypted_layer_and_the_measured_tree(workshop: Workshop) -> None:
    workshop.convert(encrypt=("1",))
    with open_source(workshop.out) as image:
        pack = build_pack(image, workshop.folder / "pack")
    private = workshop.launch().private
    assert private is not None
    assert pack.path.joinpath("observed.tree").read_bytes() == pack.path.joinpath("enclave/tree").read_bytes()
    stored = pack.path.joinpath("private", private.layers[0].digest.removeprefix("sha256:"))
    assert stored.stat().st_size == private.layers[0].size


def test_encrypted_blobs_repeat_through_the_key_cache(workshop: Workshop) -> None:
    first = workshop.convert(encrypt=("1",))
    with open_source(f"oci:{workshop.folder / 'src'}") as image:
        again = predict(image, workshop.runtime, workshop.key, workshop.changed({"encrypt": ("1",)}), workshop.keys)
        other = workshop.changed({"encrypt": ("1",), "policy": ("clinic", "other")})
        elsewhere = predict(image, workshop.runtime, workshop.key, other, workshop.keys)
    assert (again.digest, again.mrenclave, again.secrets) == (first.digest, first.mrenclave, first.secrets)
    assert not elsewhere.secrets
    assert any("not drawn yet" in note for note in elsewhere.notes)
    assert not any("not drawn yet" in note for note in again.notes)


def test_without_a_cache_every_conversion_has_a_secret_of_its_own(workshop: Workshop) -> None:
    secrets = set()
    for _ in range(2):
        write_image(workshop.folder / "src", LAYERS)
        with open_source(f"oci:{workshop.folder / 'src'}") as image:
            options = workshop.changed({"encrypt": ("1",)})
            secrets.add(convert(image, workshop.out, workshop.runtime, workshop.key, options).secrets["layer"])
    assert len(secrets) == 2


def test_the_policy_asks_for_the_key(workshop: Workshop) -> None:
    assert 'name: "layer"' not in workshop.convert().policy
    conversion = workshop.convert(encrypt=("1",))
    assert 'name: "layer"' in conversion.policy
    assert conversion.secrets["layer"].hex() not in conversion.policy
    assert str(conversion.secrets["layer"]) not in repr(conversion)


@pytest.mark.parametrize("word", ["3", "-4", "sha256:00", "sha256:", "last", ""])
def test_unknown_layers(workshop: Workshop, word: str) -> None:
    assert workshop.refused(encrypt=(word,)) == "encrypt-layer"


def test_a_layer_by_its_digest(workshop: Workshop) -> None:
    write_image(workshop.folder / "src", LAYERS)
    with open_source(f"oci:{workshop.folder / 'src'}") as image:
        word = image.layers[1].digest[:20]
    assert workshop.convert(encrypt=(word,)).private_layers == 1


def test_patterns_that_match_nothing(workshop: Workshop) -> None:
    assert workshop.refused(encrypt_files=("/nowhere/*",)) == "encrypt-file"


def test_layers_without_files(workshop: Workshop) -> None:
    assert workshop.refused((BASE, tar(directory("etc/"))), encrypt=("1",)) == "encrypt-nothing"
    assert workshop.refused((BASE, TOP, tar(file("srv/.wh.readme"))), encrypt=("1",)) == "encrypt-nothing"


def test_public_files_that_rest_on_private_ones(workshop: Workshop) -> None:
    linked = tar(hardlink("srv/outside", "srv/model/weights"))
    assert workshop.convert((BASE, APP, linked), encrypt=("1", "2")).private_layers == 2
    assert workshop.refused((BASE, APP, linked), encrypt=("1",)) == "encrypt-overlap"


def test_a_private_file_in_the_place_of_a_public_one(workshop: Workshop) -> None:
    conversion = workshop.convert((BASE, tar(file("bin/app", b"private program", 0o755))), encrypt=("1",))
    assert b"/bin/app" not in paths(workshop.public())
    assert differences(workshop.original(), workshop.decrypted(conversion.secrets["layer"])) == []


def test_a_private_directory_in_the_place_of_a_public_tree(workshop: Workshop) -> None:
    replaced = tar(file("etc/.wh.passwd"), directory("etc/passwd/"), file("etc/passwd/x", b"x"))
    conversion = workshop.convert((BASE, replaced), encrypt=("1",))
    assert differences(workshop.original(), workshop.decrypted(conversion.secrets["layer"])) == []


def test_the_launcher_places_what_conversion_made(workshop: Workshop, tmp_path: Path) -> None:
    conversion = workshop.convert(encrypt=("1",))
    private = workshop.launch().private
    assert private is not None
    with open_source(workshop.out) as image:
        pack = build_pack(image, tmp_path / "pack")
    where = tmp_path / "root"
    for entry in workshop.public().entries:
        if entry.kind is Kind.DIRECTORY:
            where.joinpath(entry.path[1:].decode()).mkdir()
    (where / ".kloister/private").mkdir()
    for layer in private.layers:
        name = layer.digest.removeprefix("sha256:")
        shutil.copy(pack.private / name, where / ".kloister/private" / name)
    shutil.copy(pack.document("private.tree"), where / ".kloister/private/private.tree")
    with Root(str(where)) as root:
        place_private(root, taken(where / ".kloister/private"), private, conversion.secrets)
    assert (where / "srv/model/weights").read_bytes() == MARKER
    assert (where / "srv/model/copy").samefile(where / "srv/model/weights")
    assert (where / "srv/model/now").readlink() == Path("weights")
    assert (where / "srv/model").stat().st_mode & 0o777 == 0o700


LINKED: list[dict[str, Any]] = [
    {"encrypt": ("1",)},
    {"encrypt": ("app",), "base": 1},
    {"encrypt": ("all",)},
    {"encrypt_files": ("/srv/model/*",)},
    {"encrypt_files": ("/srv/model/w*", "/etc/passwd")},
]


@pytest.mark.parametrize("change", LINKED)
def test_links_lead_to_everything_private(workshop: Workshop, tmp_path: Path, change: dict[str, Any]) -> None:
    conversion = workshop.convert(private_links=True, **change)
    assert MARKER not in workshop.everything()
    assert conversion.secrets["layer"] not in workshop.everything()
    public, original = workshop.public(), workshop.original()
    placed = behind_links(workshop, tmp_path, conversion.secrets["layer"])
    links = {e.path for e in public.entries if e.target == b"/.kloister/memory/private" + e.path}
    assert b"/srv/model/weights" in placed
    for path, place in placed.items():
        (link,) = {link for link in links if path == link or path.startswith(link + b"/")}
        entry = original.get(path)
        assert entry is not None
        if entry.kind is Kind.FILE:
            assert sha256(place.read_bytes()).digest() == entry.sha256, link
    plain = {e for e in public.entries if not e.path.startswith(b"/.kloister") and e.path not in links}
    assert plain | {e for e in original.entries if e.path in placed} == set(original.entries)


def test_a_directory_of_private_entries_is_one_link(workshop: Workshop, tmp_path: Path) -> None:
    conversion = workshop.convert(encrypt=("1",), private_links=True)
    assert paths(workshop.public()) & {b"/srv/model", b"/srv/model/weights"} == {b"/srv/model"}
    assert conversion.private_layers == 1
    with open_source(workshop.out) as image:
        assert measure_image(image).mrenclave == conversion.mrenclave
    placed = behind_links(workshop, tmp_path, conversion.secrets["layer"])
    assert placed[b"/srv/model/copy"].samefile(placed[b"/srv/model/weights"])
    assert placed[b"/srv/model/now"].readlink() == Path("/srv/model/weights"), "through the link, wherever it stands"


def test_where_something_may_be_mounted_stays_a_directory(workshop: Workshop) -> None:
    workshop.convert(encrypt=("all",), private_links=True, writable=("/srv/model",))
    public = workshop.public()
    kinds = {path: entry.kind for path in (b"/etc", b"/srv/model", b"/bin") if (entry := public.get(path))}
    assert kinds == {b"/etc": Kind.DIRECTORY, b"/srv/model": Kind.DIRECTORY, b"/bin": Kind.SYMLINK}


def test_what_leads_to_a_mount_stays_as_it_is(workshop: Workshop, tmp_path: Path) -> None:
    """Else Kubernetes would mount a service account's token into the memory of private files."""
    state = tar(directory("var/"), file("var/lib/state", b"state"), symlink("var/run", "../run"))
    conversion = workshop.convert((BASE, APP, state), encrypt=("all",), private_links=True)
    found = {entry.path: entry.target for entry in workshop.public().entries if entry.path.startswith(b"/var")}
    assert found == {b"/var": b"", b"/var/lib": b"/.kloister/memory/private/var/lib", b"/var/run": b"../run"}
    assert behind_links(workshop, tmp_path, conversion.secrets["layer"])[b"/var/lib/state"].read_bytes() == b"state"


def test_a_link_takes_the_place_of_what_public_layers_have(workshop: Workshop, tmp_path: Path) -> None:
    conversion = workshop.convert(
        (BASE, tar(file("bin/app", b"private program", 0o755))), encrypt=("1",), private_links=True
    )
    entry = workshop.public().get(b"/bin/app")
    assert entry is not None
    assert entry.target == b"/.kloister/memory/private/bin/app"
    placed = behind_links(workshop, tmp_path, conversion.secrets["layer"])
    assert placed[b"/bin/app"].read_bytes() == b"private program"


@given(st.lists(st.from_regex(rb"(/[ab!]{1,2}){1,3}", fullmatch=True)))
def test_the_topmost_of_paths(given_paths: list[bytes]) -> None:
    found = topmost(given_paths)
    for path in given_paths:
        assert sum(path == one or path.startswith(one + b"/") for one in found) == 1
    assert set(found) <= set(given_paths)
