"""Builds the images: interpreter, pinned packages, Kloister; an ordinary user; the same inputs give the same bytes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kloister
from deploy.images.roles import ROLES, USER, Role
from deploy.images.sbom import sbom
from kloister.images.importer import Imported, ImportOptions, import_image
from kloister.images.runtime_layer.build import version
from kloister.images.samples.python import VERSION, interpreter, module
from kloister.images.samples.root import EPOCH, Root

CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = f"usr/local/lib/{VERSION}/site-packages"
_LEFT_OUT = ("tests", "testing", "__pycache__", "bin")  # folders of packages that no daemon imports


def build(role: Role, destination: str, scratch: Path) -> Imported:
    """Make one image.

    Args:
        role: which.
        destination: `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
        scratch: an empty folder.

    Raises:
        Misconfigured: `sample-library`, `destination-*`.
    """
    packages = _installed(role, scratch / "packages")
    image = Root(scratch / "root")
    image.users({USER[0]: (USER[1], USER[1])})
    programs = [*interpreter(image), *_packages(image, packages)]
    _ourselves(image)
    image.libraries(programs, _bundled(packages))
    image.write("usr/share/doc/kloister/sbom.json", sbom(role.name, version(), packages, _libraries(image)))
    image.finish()
    return import_image(scratch / "root", destination, _options(role))


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
        owner=(0, 0),
        epoch=EPOCH,
        compression=6,
    )


def _installed(role: Role, target: Path) -> Path:
    """The role's pinned packages in a folder, each with the hash that the pins name."""
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    pins = CHECKOUT / "requirements" / role.requirements
    command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)]
    subprocess.run([*command, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(pins)], check=True)
    return target


def _packages(image: Root, packages: Path) -> Iterator[Path]:
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


def _libraries(image: Root) -> Iterator[Path]:
    for place in sorted((image.path / "usr/lib/x86_64-linux-gnu").glob("*.so*")):
        yield next((path for path in (Path("/lib/x86_64-linux-gnu", place.name),) if path.exists()), place)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    parser.add_argument("roles", nargs="*", help=f"of {', '.join(ROLES)}; all by default", choices=[*ROLES, []])
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build" / "images", help="an OCI layout")
    parser.add_argument("--json", action="store_true", help="print one object")
    given = parser.parse_args()
    made = {}
    for name in given.roles or ROLES:
        with tempfile.TemporaryDirectory(prefix="kloister-image-") as scratch:
            image = build(ROLES[name], f"oci:{given.out}:{name}", Path(scratch))
        made[name] = image.digest
        if not given.json:
            sys.stdout.write(f"{name:12} {image.digest}\n")
    if given.json:
        sys.stdout.write(json.dumps(made) + "\n")
    return 0
