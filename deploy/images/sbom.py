"""A bill of materials (CycloneDX 1.5, JSON) of an image; no time and no random number, so that it repeats."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def sbom(name: str, version: str, packages: Path, libraries: Iterable[Path]) -> bytes:
    """The document.

    Args:
        name: of the image.
        version: of Kloister.
        packages: the folder that Python's packages were installed to.
        libraries: shared libraries of this machine that went in; Debian's package of each is named.
    """
    components = [_interpreter(), *_python(packages), *_debian(libraries)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"kloister-{name}", "version": version}},
        "components": sorted(components, key=lambda item: item["bom-ref"]),
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _interpreter() -> Json:
    version = sysconfig.get_python_version() + f".{sys.version_info[2]}"
    return {"type": "platform", "name": "cpython", "version": version, "bom-ref": f"cpython@{version}"}


def _python(packages: Path) -> Iterator[Json]:
    for found in distributions(path=[str(packages)]):
        name, version = found.metadata["Name"], found.version
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
        yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl, **_licence(found)}


def _licence(found: Distribution) -> Json:
    text = found.metadata.json.get("license_expression")
    return {"licenses": [{"expression": text}]} if text else {}


def _debian(libraries: Iterable[Path]) -> Iterator[Json]:
    owners = sorted(_owners(libraries))
    listed = _output("dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *owners) if owners else ""
    for name, _, version in (line.partition(" ") for line in sorted(listed.splitlines())):
        purl = f"pkg:deb/debian/{name}@{version}"
        yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def _owners(libraries: Iterable[Path]) -> set[str]:
    """Debian's packages of these files, under the names that the packages gave them (merged /usr)."""
    places = {str(path) for library in libraries for path in (library, library.resolve())}
    names = {name for place in places for name in (place, place.removeprefix("/usr"))}
    found = _output("dpkg-query", "--search", *sorted(names)).splitlines() if names else []
    return {line.rpartition(": ")[0].split(", ")[0] for line in found}


def _output(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""  # no Debian: the interpreter's own libraries are then named by nobody
    return run.stdout  # what it does not know is said on stderr
