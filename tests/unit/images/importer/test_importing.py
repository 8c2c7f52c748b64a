from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.enclave.tree import Kind
from kloister.formats.oci.limits import Limits
from kloister.images.importer import Imported, ImportOptions, import_image
from kloister.images.sources import merge_image, open_source

OPTIONS = ImportOptions(
    entrypoint=("/bin/busybox", "sh"), environment=("A=b",), user="1000", volumes=("/data",), epoch=1000
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small root with everything that a file system may hold."""
    base = tmp_path / "root"
    (base / "bin").mkdir(parents=True)
    (base / "etc").mkdir()
    (base / "etc" / "é ü").write_bytes(b"name")
    (base / "bin" / "tool").write_bytes(b"#!" * 5000)
    (base / "bin" / "tool").chmod(0o4755)
    (base / "bin" / "again").hardlink_to(base / "bin" / "tool")
    (base / "sh").symlink_to("/bin/tool")
    (base / "outside").symlink_to(tmp_path / "secret")
    (base / ("n" * 150)).write_bytes(b"")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"never in the image")
    os.mkfifo(base / "pipe")
    return base


def made(source: Path, ref: str, options: ImportOptions = OPTIONS) -> tuple[Imported, dict[str, Kind]]:
    imported = import_image(source, ref, options)
    with open_source(ref) as image, merge_image(image) as merged:
        return imported, {entry.path.decode(): entry.kind for entry in merged.tree().entries}


def test_a_directory_becomes_an_image(tmp_path: Path, root: Path) -> None:
    imported, found = made(root, f"oci:{tmp_path}/l:v1")
    assert found == {
        "/": Kind.DIRECTORY, "/bin": Kind.DIRECTORY, "/bin/again": Kind.FILE, "/bin/tool": Kind.HARDLINK,
        "/sh": Kind.SYMLINK, "/outside": Kind.SYMLINK, "/etc": Kind.DIRECTORY, "/etc/é ü": Kind.FILE,
        "/" + "n" * 150: Kind.FILE,
    }  # fmt: skip
    assert [(note.code, note.path) for note in imported.notes] == [("entry-skipped", b"/pipe")]
    assert (imported.entries, imported.size) == (9, 10_004)
    with open_source(f"oci:{tmp_path}/l:v1") as image:
        assert image.digest == imported.digest
        assert image.config.execution.entrypoint == ("/bin/busybox", "sh")
        assert image.config.created == "1970-01-01T00:16:40Z"
        assert b"never in the image" not in b"".join(image.layer(0))
        with merge_image(image) as merged:
            entries = {entry.path: entry for entry in merged.tree().entries}
            assert entries[b"/bin/again"].mode == 0o4755
            assert {entry.mtime for entry in entries.values()} == {1000}


def test_the_same_input_gives_the_same_bytes_elsewhere_and_later(tmp_path: Path, root: Path) -> None:
    one, _ = made(root, f"oci-archive:{tmp_path}/one")
    shutil.copytree(root, tmp_path / "copy", symlinks=True, ignore=lambda *_: {"pipe", "again"})
    (tmp_path / "copy" / "bin" / "again").hardlink_to(tmp_path / "copy" / "bin" / "tool")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (5e8, 5e8), follow_symlinks=False)
    two, _ = made(tmp_path / "copy", f"oci-archive:{tmp_path}/two")
    assert one.digest == two.digest
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_becomes_the_same_image_as_its_directory(tmp_path: Path, root: Path, *, compressed: bool) -> None:
    (root / "pipe").unlink()
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", root, "-cf" if not compressed else "-czf", archive, "."], check=True)
    one, _ = made(root, f"oci:{tmp_path}/l:one")
    two, _ = made(archive, f"oci:{tmp_path}/l:two")
    assert one.digest == two.digest


def test_what_is_excluded_stays_out(tmp_path: Path, root: Path) -> None:
    for source in (root, tmp_path / "root.tar"):
        subprocess.run(["tar", "-C", root, "-cf", tmp_path / "root.tar", "."], check=True)
        _, found = made(source, f"oci:{tmp_path}/l", ImportOptions(exclude=("/bin", "*ü", "/nnn*")))
        assert sorted(found) == ["/", "/etc", "/outside", "/sh"]


def test_owners_are_set(tmp_path: Path, root: Path) -> None:
    made(root, f"oci:{tmp_path}/l", ImportOptions(owner=(7, 8), owners={b"/etc": (1, 2)}))
    with open_source(f"oci:{tmp_path}/l") as image, merge_image(image) as merged:
        owners = {(entry.uid, entry.gid): entry.path for entry in merged.tree().entries}
        assert owners.keys() == {(7, 8), (1, 2)}
        assert owners[1, 2] == b"/etc"


def test_a_dry_run_writes_nothing_and_says_the_same(tmp_path: Path, root: Path) -> None:
    dry = import_image(root, f"oci:{tmp_path}/l", OPTIONS, dry_run=True)
    assert not (tmp_path / "l").exists()
    told: list[int] = []
    wet = import_image(root, f"oci:{tmp_path}/l", OPTIONS, progress=told.append)
    assert (dry.entries, dry.size, dry.notes, dry.digest) == (wet.entries, wet.size, wet.notes, "")
    assert sum(told) == wet.size


@pytest.mark.parametrize(
    "options",
    [
        {"environment": ("A",)},
        {"environment": ("=A",)},
        {"volumes": ("data",)},
        {"workdir": "data"},
        {"command": ("a\0",)},
        {"compression": 10},
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Misconfigured) as caught:
        ImportOptions(**options)  # type: ignore[arg-type]
    assert caught.value.code == "import-option"


def test_sources_that_cannot_be_read_leave_nothing(tmp_path: Path, root: Path) -> None:
    (tmp_path / "junk").write_bytes(b"no tar" * 500)
    cases: list[tuple[Path, ImportOptions, type[KloisterError], str]] = [
        (tmp_path / "none", OPTIONS, Misconfigured, "import-missing"),
        (tmp_path / "junk", OPTIONS, Malformed, "layer-header"),
        (root, ImportOptions(limits=Limits(entries=3)), Malformed, "layer-bomb"),
        (root, ImportOptions(limits=Limits(unpacked=100)), Malformed, "layer-bomb"),
    ]
    for source, options, family, code in cases:
        with pytest.raises(family) as caught:
            import_image(source, f"oci:{tmp_path}/l", options)
        assert caught.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junk", "root", "secret"]


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, root: Path) -> None:
    changed = root / "zzz"
    changed.write_bytes(b"x" * 10)

    def grow(_: int) -> None:
        changed.write_bytes(b"x" * 20)

    with pytest.raises(Misconfigured) as caught:
        import_image(root, f"oci:{tmp_path}/l", OPTIONS, progress=grow)
    assert caught.value.code == "import-changed"
    assert not (tmp_path / "l").exists()


def test_sockets_are_left_out(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("door")
    imported, found = made(root, f"oci:{tmp_path}/l")
    assert "/door" not in found
    assert [note.text for note in imported.notes] == ["a socket was left out", "a named pipe was left out"]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path, root: Path) -> None:
    imported, found = made(root, f"oci:{tmp_path}/l:v1")
    shown = json.loads(
        subprocess.run(["skopeo", "inspect", f"oci:{tmp_path}/l:v1"], check=True, capture_output=True).stdout
    )
    assert shown["Digest"] == imported.digest
    assert shown["Env"] == ["A=b"]
    made(root, f"oci-archive:{tmp_path}/a.tar:v1")
    for number, source in enumerate((f"oci:{tmp_path}/l:v1", f"oci-archive:{tmp_path}/a.tar:v1")):
        for target, tag in (("oci", "v1"), ("oci-archive", "v1"), ("docker-archive", "name:v1")):
            place = f"{target}:{tmp_path}/{target}-{number}:{tag}"
            subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, place], check=True)
            with open_source(place) as image, merge_image(image) as merged:
                assert {entry.path.decode() for entry in merged.tree().entries} == set(found)
                assert image.config.execution.entrypoint == ("/bin/busybox", "sh")


BUSYBOX = next((path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists()), None)


@pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")
def test_a_static_busybox_makes_an_image(tmp_path: Path) -> None:
    assert BUSYBOX is not None
    (tmp_path / "root" / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, tmp_path / "root" / "bin" / "busybox")
    (tmp_path / "root" / "bin" / "sh").symlink_to("busybox")
    made(tmp_path / "root", f"oci:{tmp_path}/l")
    with open_source(f"oci:{tmp_path}/l") as image, merge_image(image) as merged:
        assert merged.read(b"/bin/sh", 8 << 20) == BUSYBOX.read_bytes()
