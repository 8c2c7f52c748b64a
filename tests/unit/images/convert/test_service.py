from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_pages, mrenclave
from kloister.formats.enclave.runtime import LOADER, POD_ARGV, RUNTIME_ARGV
from kloister.formats.enclave.tree import Tree, differences
from kloister.formats.oci.config import Execution
from kloister.formats.sgx.sigstruct import Sigstruct
from kloister.images.convert import ConvertOptions, convert, predict
from kloister.images.pack import build_pack
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.sources import merge_image, open_source
from tests.support.images import file, tar, write_image
from tests.unit.images.convert.conftest import APP, BASE, DATE, TOP


def document(reference: str, name: str) -> bytes:
    with open_source(reference) as image, merge_image(image) as root:
        data = root.read(b"/.kloister/enclave/" + name.encode(), 1 << 20)
    assert data is not None
    return data


def source(path: Path, *more: bytes) -> str:
    write_image(path, [BASE, APP, TOP, *more], execution=Execution(user="clinic", entrypoint=("/bin/app",)))
    return f"oci:{path}"


def measured(where: Path, runtime: RuntimeLayer, key: RSAPrivateKey, options: ConvertOptions, *more: bytes) -> bytes:
    with open_source(source(where / "src", *more)) as image:
        return predict(image, runtime, key, options).mrenclave


def test_the_converted_image_is_what_its_tree_says(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    with open_source(source(tmp_path / "src")) as image:
        conversion = convert(image, out, runtime, signing_key, options)
        with merge_image(image) as before:
            original = before.tree()
    with open_source(out) as converted, merge_image(converted) as root:
        seen = root.tree()
        assert converted.digest == conversion.digest
        execution, user = converted.config.execution, LaunchDocument.parse(document(out, "launch.json")).image.user
        assert (execution.entrypoint, execution.command) == (POD_ARGV, ())
        assert (execution.user, execution.volumes) == (f"{user.uid}:{user.gid}", ())
        assert converted.manifest.annotations["dev.kloister.mrenclave"] == conversion.mrenclave.hex()
        assert [layer.digest for layer in converted.layers[:3]] == [layer.digest for layer in image.layers]
        assert converted.layers[3].digest == runtime.digest
    tree = Tree.parse(document(out, "tree"))
    assert differences(tree, seen) == []
    assert [entry for entry in tree.entries if not entry.path.startswith(b"/.kloister")] == list(original.entries)
    assert conversion.files == len(tree.entries)


def test_the_pack_shows_the_measured_tree(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    out = f"oci-archive:{tmp_path / 'out.tar'}"
    with open_source(source(tmp_path / "src")) as image:
        convert(image, out, runtime, signing_key, options)
    with open_source(out) as converted:
        pack = build_pack(converted, tmp_path / "pack")
    assert (tmp_path / "pack/observed.tree").read_bytes() == (tmp_path / "pack/enclave/tree").read_bytes()
    assert pack.path.is_dir()


def test_mrenclave_follows_from_manifest_and_loader(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    with open_source(source(tmp_path / "src")) as image:
        conversion = convert(image, out, runtime, signing_key, replace(options, isvprodid=3, isvsvn=4))
        assert predict(image, runtime, None, replace(options, isvprodid=3, isvsvn=4)).mrenclave == conversion.mrenclave
    manifest = Manifest.parse(document(out, "manifest.sgx"))
    pages = gramine_pages(manifest.data, runtime.loader_bytes(), 256 << 20, 4, edmm=True)
    assert mrenclave(pages, 256 << 20) == conversion.mrenclave
    sigstruct = Sigstruct.parse(document(out, "sigstruct"))
    sigstruct.verify()
    assert (sigstruct.enclavehash, sigstruct.mrsigner) == (conversion.mrenclave, conversion.mrsigner)
    assert (sigstruct.date, sigstruct.isvprodid, sigstruct.isvsvn) == (DATE, 3, 4)


def test_the_manifest_trusts_every_file_by_its_hash(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    with open_source(source(tmp_path / "src")) as image:
        convert(image, out, runtime, signing_key, options)
    manifest = Manifest.parse(document(out, "manifest.sgx"))
    trusted = {item.uri: item.sha256 for item in manifest.trusted_files}
    for name in ("tree", "launch.json"):
        assert trusted[f"file:/.kloister/enclave/{name}"] == hashlib.sha256(document(out, name)).digest()
    assert trusted["file:/bin/app"] == trusted["file:/bin/again"] == hashlib.sha256(b"#!program").digest()
    assert trusted[f"file:{LOADER}"] == hashlib.sha256(runtime.loader_bytes()).digest()
    assert "file:/etc/hosts" not in trusted
    assert manifest.argv == RUNTIME_ARGV


def test_the_launch_document_says_what_the_configuration_says(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, pinned: ConvertOptions
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    with open_source(source(tmp_path / "src")) as image:
        convert(image, out, runtime, signing_key, replace(pinned, writable=("/srv/cache",), mounts={"in": "/in"}))
    launch = LaunchDocument.parse(document(out, "launch.json"))
    assert (launch.image.arguments, launch.image.user.uid, launch.image.user.gid) == (("/bin/app",), 1000, 1001)
    assert launch.image.user.groups == (2000,)
    assert launch.writable == ("/run", "/srv/cache", "/tmp")  # noqa: S108 - places inside the image
    assert launch.mounts == {"in": "/in"}
    assert launch.broker == pinned.broker
    assert launch.private is None


def test_other_folders_and_other_days_give_the_same_bytes(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    blobs = []
    for folder in ("one", "two/three"):
        place = tmp_path / folder
        place.mkdir(parents=True)
        with open_source(source(place / "src")) as image:
            convert(image, f"oci:{place / 'out'}", runtime, signing_key, options)
        files = sorted((place / "out").rglob("*"))
        blobs.append({str(item.relative_to(place)): item.read_bytes() for item in files if item.is_file()})
    assert blobs[0] == blobs[1]


@pytest.mark.parametrize(
    "more",
    [
        file("bin/app", b"#!Program", 0o755),
        file("bin/app", b"#!program", 0o4755),
        file("bin/app", b"#!program", 0o755, uid=1),
        file("bin/new"),
        file("etc/.wh.passwd.bak"),
    ],
    ids=["content", "mode", "owner", "added", "nothing"],
)
def test_every_change_of_a_file_changes_mrenclave(
    tmp_path: Path,
    runtime: RuntimeLayer,
    signing_key: RSAPrivateKey,
    options: ConvertOptions,
    more: tuple[object, bytes],
    request: pytest.FixtureRequest,
) -> None:
    before = measured(tmp_path / "a", runtime, signing_key, options)
    after = measured(tmp_path / "b", runtime, signing_key, options, tar(more))  # type: ignore[arg-type]
    assert (before == after) == request.node.callspec.id.endswith("nothing")


def test_options_are_measured(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions, pinned: ConvertOptions
) -> None:
    variants = [
        options,
        pinned,
        replace(options, memory=1 << 30),
        replace(options, writable=("/x",)),
        replace(options, max_threads=5),
        replace(options, enclave_size="512M"),
    ]
    with open_source(source(tmp_path / "src")) as image:
        found = {predict(image, runtime, signing_key, variant).mrenclave for variant in variants}
    assert len(found) == len(variants)


def test_nothing_is_written_when_the_source_is_damaged(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    reference = source(tmp_path / "src")
    with open_source(reference) as image:
        blob = tmp_path / "src/blobs/sha256" / image.layers[2].hex
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(Malformed):
            convert(image, f"oci:{tmp_path / 'out'}", runtime, signing_key, options)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["src"]


def test_a_converted_image_is_not_converted_again(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    out = f"oci:{tmp_path / 'out'}"
    with open_source(source(tmp_path / "src")) as image:
        convert(image, out, runtime, signing_key, options)
    with open_source(out) as image, pytest.raises(Misconfigured) as refused:
        predict(image, runtime, signing_key, options)
    assert refused.value.code == "convert-twice"
    with (
        open_source(source(tmp_path / "planted", tar(file(".kloister/host.json", b"{}")))) as image,
        pytest.raises(Misconfigured) as refused,
    ):
        predict(image, runtime, signing_key, options)
    assert refused.value.code == "convert-twice"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"writable": ("tmp",)}, "convert-writable"),
        ({"writable": ("/",)}, "convert-writable"),
        ({"writable": ("/.kloister/enclave",)}, "convert-writable"),
        ({"writable": ("/etc/passwd",)}, "convert-writable"),
        ({"mounts": {"a": "/data", "b": "/data"}}, "convert-mount"),
        ({"mounts": {"a": "/proc/x"}}, "convert-mount"),
        ({"memory": 1000}, "convert-memory"),
        ({"enclave_size": "100M"}, "manifest-value"),
        ({"enclave_size": "1M"}, "enclave-too-small"),
        ({"encrypt": ("app",)}, "encrypt-without-broker"),
        ({"policy": ("clinic", "Not A Name")}, "policy-invalid"),
        ({"template": "kind: Policy"}, "policy-template"),
    ],
)
def test_refusals_by_their_codes(
    tmp_path: Path,
    runtime: RuntimeLayer,
    signing_key: RSAPrivateKey,
    options: ConvertOptions,
    change: dict[str, object],
    code: str,
) -> None:
    with open_source(source(tmp_path / "src")) as image:
        assert predict(image, runtime, signing_key, options).mrenclave
        with pytest.raises(KloisterError) as refused:
            predict(image, runtime, signing_key, replace(options, **change))  # type: ignore[arg-type]
    assert refused.value.code == code


def test_devices_are_left_out_with_a_note(
    tmp_path: Path, runtime: RuntimeLayer, signing_key: RSAPrivateKey, options: ConvertOptions
) -> None:
    from kloister.formats.oci.tar import TarKind
    from tests.support.images import special

    nodes = tar(*(special(f"dev{number}", TarKind.CHARACTER) for number in range(25)))
    with open_source(source(tmp_path / "src", nodes)) as image:
        notes = predict(image, runtime, signing_key, replace(options, simulated=True, debug=True)).notes
    assert "/dev0: a character device was left out" in notes
    assert "5 more entries were left out." in notes
    assert any("simulated" in note for note in notes)
    template = "{simulated: allow, mrenclave: '@MRENCLAVE@'}"
    with open_source(f"oci:{tmp_path / 'src'}") as image:
        by_hand = predict(image, runtime, signing_key, replace(options, template=template)).notes
        plain = predict(image, runtime, signing_key, options).notes
    assert [any("simulated" in note for note in found) for found in (by_hand, plain)] == [True, False]
    assert any("debug" in note for note in notes)
