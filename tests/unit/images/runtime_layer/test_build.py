from __future__ import annotations

import hashlib
import io
import shutil
import ssl
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import kloister
from kloister.errors import Misconfigured
from kloister.formats.enclave.runtime import ENTRY_POINT, LOADER, RUNTIME_ROOT
from kloister.images.runtime_layer import closure
from kloister.images.runtime_layer.build import ENTRY_POINTS, PYTHON_FOLDER, Build, File, archive
from kloister.images.runtime_layer.closure import ALWAYS, import_closure
from kloister.images.runtime_layer.elf import SharedObject
from kloister.images.runtime_layer.layer import MAX_COMPRESSED
from tests.unit.images.runtime_layer.conftest import Inside

ENTRY = ENTRY_POINT.partition(":")[0]
FOREIGN = """
import sys, json, socket, ssl, hashlib
import {entry}
files = [getattr(module, "__file__", None) or {root!r} for module in sys.modules.values()]
outside = [file for file in files if not file.startswith({root!r})]
print(json.dumps({{"path": sys.path, "outside": outside, "sha": hashlib.sha256(b"").hexdigest()}}))
"""


def names(built: Build) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(built.tar)) as tar:
        return {"/" + member.name: member for member in tar}


def test_compressed_size_keeps_the_limit(built: Build) -> None:
    assert len(built.blob) <= MAX_COMPRESSED


def test_holds_only_files_and_directories_of_root_without_dates(built: Build) -> None:
    members = names(built)
    assert members[LOADER].mode == 0o755
    for path, member in members.items():
        assert path == "/.kloister" or path.startswith(RUNTIME_ROOT)
        assert member.isfile() or member.isdir()
        assert (member.uid, member.gid, member.mtime, member.uname) == (0, 0, 0, "")


def test_the_loader_starts_at_zero_and_is_the_whole_file(built: Build) -> None:
    assert SharedObject.parse(built.loader).relocatable


def test_byte_code_names_no_folder_of_this_machine(built: Build) -> None:
    folders = [str(Path(kloister.__file__).parent).encode(), str(Path(sys.prefix)).encode()]
    with tarfile.open(fileobj=io.BytesIO(built.tar)) as tar:
        modules = [member for member in tar if member.name.endswith(".pyc")]
        assert modules
        for member in modules:
            reader = tar.extractfile(member)
            assert reader is not None
            data = reader.read()
            assert not any(folder in data for folder in folders), member.name


def test_another_folder_and_another_process_give_the_same_bytes(built: Build, tmp_path: Path) -> None:
    source = Path(kloister.__file__).parent
    shutil.copytree(source, tmp_path / "kloister", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "import kloister; assert kloister.__file__.startswith(sys.argv[1])\n"
        "from kloister.images.runtime_layer.build import build\n"
        "built = build(); print(hashlib.sha256(built.tar).hexdigest(), hashlib.sha256(built.blob).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert run.stdout.split() == [hashlib.sha256(data).hexdigest() for data in (built.tar, built.blob)]


def test_runs_in_an_empty_root(unpacked: Path, inside: Inside) -> None:
    assert [path.name for path in unpacked.iterdir()] == [".kloister"]
    run = inside(unpacked, FOREIGN.format(entry=ENTRY, root=RUNTIME_ROOT))
    assert run.returncode == 0, run.stderr
    assert '"outside": []' in run.stdout
    assert run.stderr == ""


def test_runs_beside_a_static_program_of_another_libc(unpacked: Path, inside: Inside, tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None or SharedObject.parse(Path(busybox).read_bytes()).interpreter:
        pytest.skip("no static busybox on this machine (Debian: busybox-static)")
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(busybox, tmp_path / "bin/sh")
    run = inside(tmp_path, f"import {ENTRY}, os; os.execv('/bin/sh', ['sh', '-c', 'echo $((6*7))'])")
    assert (run.returncode, run.stdout) == (0, "42\n"), run.stderr


def test_the_images_openssl_settings_are_not_the_launchers(unpacked: Path, inside: Inside, tmp_path: Path) -> None:
    """They may load modules of the image into it, and are made for another OpenSSL."""
    root = tmp_path / "root"
    shutil.copytree(unpacked, root, symlinks=True)
    default = Path(ssl.get_default_verify_paths().openssl_cafile).parent / "openssl.cnf"
    settings = root / default.relative_to("/")
    settings.parent.mkdir(parents=True)
    settings.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n")
    text = "import ssl\nprint(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).maximum_version.name)"
    ran = inside(root, text)
    assert (ran.returncode, ran.stdout) == (0, "MAXIMUM_SUPPORTED\n"), ran.stderr


def test_equals_its_import_closure(built: Build, unpacked: Path, inside: Inside) -> None:
    entries = [entry.partition(":")[0] for entry in ENTRY_POINTS.values()]
    modules = import_closure(*entries)
    roots = sorted({*ALWAYS, *(name for entry in entries for name in closure._neighbours(entry))})
    late = {name for module in modules for name in closure._late_imports(module) if "kloister" in module.name}
    text = f"import sys\nfor name in {sorted({*roots, *late})!r}: __import__(name)\nprint(*sys.modules)"
    run = inside(unpacked, text)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    stored = {path for path, member in names(built).items() if path.startswith(PYTHON_FOLDER) and member.isfile()}
    assert stored == {f"{PYTHON_FOLDER}/{module.place}" for module in modules if module.name in loaded}


def test_libraries_equal_what_the_programs_need(built: Build) -> None:
    wanted, present = set(), set()
    with tarfile.open(fileobj=io.BytesIO(built.tar)) as tar:
        for member in tar:
            reader = tar.extractfile(member)
            if reader is None or not (data := reader.read()).startswith(b"\x7fELF"):
                continue
            wanted |= {name for name in SharedObject.parse(data).needed if not name.startswith("ld-")}
            if ".so." in member.name:
                present.add(member.name.rpartition("/")[2])
    assert wanted == present


def test_a_module_that_cannot_be_imported_is_named() -> None:
    assert import_closure("json.decoder")
    with pytest.raises(Misconfigured) as refused:
        import_closure("kloister_does_not_exist")
    assert refused.value.code == "runtime-import"
    assert "kloister_does_not_exist" in refused.value.text


def test_archive_has_each_parent_once() -> None:
    tar = archive({"/.kloister/runtime/a/b": File(0o644, b"x"), "/.kloister/runtime/a/c": File(0o755, b"y")})
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        listed = members.getnames()
    assert listed == sorted(set(listed))
    assert ".kloister/runtime/a" in listed


def test_what_the_launcher_never_asks_for_is_left_out(built: Build, unpacked: Path, inside: Inside) -> None:
    stored = {Path(path).stem for path in names(built)}
    assert "dataclasses" in stored
    assert not stored & {"inspect", "ast", "dis", "tokenize"}
    text = (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass A:\n    x: int = 1\n"
        "print(A(2), A(2) == A(2), hash(A()) == hash(A(1)))"
    )
    assert inside(unpacked, text).stdout == "A(x=2) True True\n"
