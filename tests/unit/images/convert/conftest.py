from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kloister.formats.enclave.launch import Broker
from kloister.formats.enclave.runtime import LOADER, MAIN
from kloister.images.convert import ConvertOptions
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.runtime_layer.build import File, archive
from tests.support.images import directory, file, hardlink, symlink, tar

DATE = dt.date(2026, 11, 22)
MARKER = b"weights-of-the-model-7f3a" * 40

BASE = tar(
    directory("bin/"),
    file("bin/app", b"#!program", 0o755),
    hardlink("bin/again", "bin/app"),
    directory("etc/"),
    file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nclinic:x:1000:1001:Clinic:/home/clinic:/bin/sh\n"),
    file("etc/group", b"root:x:0:\nclinic:x:1001:\ndata:x:2000:other,clinic\n"),
    file("etc/hosts", b"127.0.0.1 localhost\n"),
    file("etc/old", b"older settings"),
    symlink("sbin", "bin"),
    directory("var/"),
    symlink("var/run", "/run"),
)
APP = tar(
    directory("etc/", 0o750),
    file("etc/.wh.old"),
    directory("srv/"),
    directory("srv/model/", 0o700),
    file("srv/model/weights", MARKER, 0o640, uid=1000),
    hardlink("srv/model/copy", "srv/model/weights"),
    symlink("srv/model/now", "weights"),
)
TOP = tar(file("srv/readme", b"read me"))


@pytest.fixture(scope="session")
def signing_key() -> RSAPrivateKey:
    return rsa.generate_private_key(3, 3072)


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> RuntimeLayer:
    """A runtime layer with the machine's real loader and nothing else that takes time to hash."""
    folder = tmp_path_factory.mktemp("runtime")
    loader = Path("/lib64/ld-linux-x86-64.so.2").read_bytes()
    plain = archive({LOADER: File(0o755, loader), MAIN: File(0o644, b"byte code")})
    blob = gzip.compress(plain, 1, mtime=0)
    (folder / "blob").write_bytes(blob)
    (folder / "ld.so").write_bytes(loader)
    digests = ["sha256:" + hashlib.sha256(data).hexdigest() for data in (blob, plain)]
    return RuntimeLayer("test", digests[0], digests[1], len(blob), folder / "blob", folder / "ld.so")


@pytest.fixture
def options() -> ConvertOptions:
    return ConvertOptions(DATE, ("clinic", "inference"))


@pytest.fixture
def pinned() -> ConvertOptions:
    broker = Broker("-----BEGIN CERTIFICATE-----\n", "clinic", "inference", "app")
    return ConvertOptions(DATE, ("clinic", "inference"), broker)
