"""Builds the images: interpreter, pinned packages, Kloister; an ordinary user; the same inputs give the same bytes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import kloister
from deploy.images.layers import Layer, pack, write_image
from deploy.images.roles import ROLES, USER, Role
from deploy.images.sbom import sbom
from kloister.images.importer import ImportOptions
from kloister.images.runtime_layer.build import version
from kloister.images.samples.python import VERSION, interpreter, module
from kloister.images.samples.root import EPOCH, LIBRARIES, Root

CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = f"usr/local/lib/{VERSION}/site-packages"
_LEFT_OUT = ("tests", "testing", "__pycache__", "bin")  # folders of packages that no daemon imports


class Builder:
    """Makes images of four layers: interpreter, packages, Kloister, bill of materials; those of several roles once.

    Args:
        scratch: an empty folder, which the layers stay in.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._made: dict[str, Layer] = {}

    def build(self, role: Role, destination: str) -> str:
        """Make one image; the digest of its manifest.

        Args:
            role: which.
            destination: `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.

        Raises:
            Misconfigured: `sample-library`, `destination-*`.
        """
        return write_image(self.layers(role), _options(role), destination)

    def layers(self, role: Role) -> list[Layer]:
        """Of a role's image, the lowest first."""
        packages = self._scratch / f"wheels-{Path(role.requirements).stem}"
        below = [
            self._layer("python", _interpreter, "interpreter and its libraries"),
            self._layer(f"packages-{packages.name}", partial(self._packages, role, packages), "Python's packages"),
            self._layer("kloister", _ourselves, "Kloister"),
        ]
        materials = partial(_materials, role, packages, [layer.root for layer in below])
        return [*below, self._layer(f"role-{role.name}", materials, "bill of materials")]

    def _layer(self, name: str, fill: Callable[[Root], None], description: str) -> Layer:
        if name not in self._made:
            root = Root(self._scratch / name)
            fill(root)
            root.finish()
            self._made[name] = pack(root.path, description)
        return self._made[name]

    def _packages(self, role: Role, packages: Path, image: Root) -> None:
        """The packages, and what libraries of this machine they need beside those of the interpreter."""
        _install(role, packages)
        image.libraries(_put(image, packages), _bundled(packages))
        for library in _libraries([image.path]):
            if (self._made["python"].root / library.relative_to(image.path)).exists():
                library.unlink()  # the same file of this machine


def _options(role: Role) -> ImportOptions:
    return ImportOptions(
        entrypoint=("/usr/local/bin/python3", "-I", "-m", "kloister", "serve", role.name),
        environment=("PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"),
        user="0:0" if role.root else f"{USER[1]}:{USER[1]}",
        workdir="/",
        labels={
            "org.opencontainers.image.title": f"kloister-{role.name}",
            "org.opencontainers.image.version": version(),
        },
        epoch=EPOCH,
    )


def _interpreter(image: Root) -> None:
    image.users({USER[0]: (USER[1], USER[1])})
    image.libraries(interpreter(image))


def _install(role: Role, target: Path) -> None:
    """The role's pinned packages in a folder, each with the hash that the pins name."""
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    pins = CHECKOUT / "requirements" / role.requirements
    command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)]
    subprocess.run([*command, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(pins)], check=True)


def _put(image: Root, packages: Path) -> Iterator[Path]:
    """Put the packages in; the shared objects among them, whose libraries are wanted."""
    for source in _files(packages):
        name = f"{_PACKAGES}/{source.relative_to(packages)}"
        if ".so" in source.suffixes:
            image.write(name, source.read_bytes(), 0o755)
            yield source
        else:
            module(image, name, source.read_bytes())


def _files(folder: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        for name in sorted(files):
            # the installer writes RECORD in the order of its threads, and where from it installed
            if name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock"):
                yield Path(directory, name)


def _bundled(packages: Path) -> list[Path]:
    """Folders with libraries that wheels bring along (`psycopg_binary.libs`)."""
    return sorted(path for path in packages.glob("*.libs") if path.is_dir())


def _ourselves(image: Root) -> None:
    base = Path(kloister.__file__).parent
    for source in _files(base):
        module(image, f"{_PACKAGES}/kloister/{source.relative_to(base)}", source.read_bytes())


def _materials(role: Role, packages: Path, below: list[Path], image: Root) -> None:
    own = [Path("/lib/x86_64-linux-gnu", place.name) for place in _libraries(below)]
    document = sbom(role.name, version(), packages, [path for path in own if path.exists()])
    image.write("usr/share/doc/kloister/sbom.json", document)


def _libraries(roots: list[Path]) -> list[Path]:
    """The shared libraries of this machine that went into these folders."""
    return sorted(place for root in roots for place in (root / LIBRARIES).glob("*.so*"))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    parser.add_argument("roles", nargs="*", help=f"of {', '.join(ROLES)}; all by default", choices=[*ROLES, []])
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build" / "images", help="an OCI layout")
    parser.add_argument("--json", action="store_true", help="print one object")
    given = parser.parse_args()
    made = {}
    with tempfile.TemporaryDirectory(prefix="kloister-images-") as scratch:
        builder = Builder(Path(scratch))
        for name in given.roles or ROLES:
            made[name] = builder.build(ROLES[name], f"oci:{given.out}:{name}")
            if not given.json:
                sys.stdout.write(f"{name:12} {made[name]}\n")
    if given.json:
        sys.stdout.write(json.dumps(made) + "\n")
    return 0
