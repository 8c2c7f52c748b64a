"""A folder with one good file of every kind, and command lines about them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.cli import kloister
from tests.support.images import directory, file, tar, write_image
from tests.support.paths import ROOT

SAMPLE = ROOT / "examples" / "clinic" / "policy.yaml"
VERIFY = "verify {d}/quote --root {d}/root.der --collateral {d}/c.json"
CONVERT = "convert oci:{d}/image oci:out"


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder with one good file of every kind; `args` fills in its names."""

    folder: Path

    def args(self, line: str, bad: str | Path = "") -> list[str]:
        names = {"d": str(self.folder), "bad": str(bad)}
        return [word.format(**names) for word in line.split()]

    def good(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def make_bench(folder: Path) -> Bench:
    """Make all of them in an empty folder."""
    bench = Bench(folder)
    (folder / "app").write_bytes(b"an enclave's content")
    shutil.copy(SAMPLE, folder / "policy.yaml")
    (folder / "tcb.json").write_bytes(b'{"simulated": "allow"}')
    (folder / "attestation.txt").write_bytes(b"version=1.0;authorizationrules{=>permit();};")
    (folder / "claims.json").write_bytes(b'{"x-ms-ver": "1.0"}')
    key = rsa.generate_private_key(3, 3072).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "key.pem").chmod(0o600)
    write_image(folder / "image", [tar(directory("bin/"), file("bin/app", b"#!x", 0o755)), tar(file("data", b"y"))])
    for line in (
        "simulator root --state {d}/state --out {d}/root.der",
        "simulator collateral --state {d}/state --out {d}/c.json",
        "simulator quote --state {d}/state --enclave {d}/app --report-data 00 --out {d}/quote",
        "image import {d}/image oci-archive:{d}/image.tar --entrypoint /x",
    ):
        done = kloister(*bench.args(line))
        assert done.code == 0, done
    return bench
