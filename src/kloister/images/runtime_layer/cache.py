"""Keeps the built layer: it is made once, and again when one of the files it was made of changes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from kloister import entropy
from kloister.errors import Malformed, Misconfigured
from kloister.images.runtime_layer import build as builder
from kloister.images.runtime_layer.layer import MAX_COMPRESSED, RuntimeLayer, digest_of
from kloister.images.staging import staging

_MAX_INDEX = 4 << 20  # bytes: some hundred paths


def cache_directory() -> Path:
    """`KLOISTER_CACHE`, else `kloister` in the user's cache directory (XDG)."""
    chosen = os.environ.get("KLOISTER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kloister"


def runtime_layer(cache: Path | None = None) -> RuntimeLayer:
    """The runtime layer of this interpreter and this Kloister, built if it is not in the cache.

    Args:
        cache: the cache's directory, default `cache_directory()`.

    Raises:
        Misconfigured: what is missing on this machine; `runtime-too-large`.
    """
    parent = (cache or cache_directory()) / "runtime"
    place = parent / _key()
    found = _read(place)
    return found if found is not None else _make(parent, place)


def _key() -> str:
    """Names what is built; whether the inputs have changed is asked of the index."""
    parts = (builder.version(), sys.version, sys.executable, str(Path(builder.__file__).resolve()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _read(place: Path) -> RuntimeLayer | None:
    try:
        index = json.loads((place / "index.json").read_bytes()[:_MAX_INDEX])
        if index["inputs"] != _stamps([Path(path) for path in index["inputs"]]):
            return None
        return RuntimeLayer.from_json(index["layer"], place)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Malformed):
        return None  # not there, stale or damaged: build it again


def _make(parent: Path, place: Path) -> RuntimeLayer:
    built = builder.build()
    if len(built.blob) > MAX_COMPRESSED:
        raise Misconfigured(
            "runtime-too-large",
            f"The runtime layer has {len(built.blob)} bytes; {MAX_COMPRESSED} is the limit.",
            "Use an interpreter without built-in debug parts, for instance the distribution's.",
        )
    layer = RuntimeLayer(
        built.version, digest_of(built.blob), digest_of(built.tar), len(built.blob), place / "layer.tar.gz",
        place / "ld.so",
    )  # fmt: skip
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with staging(place) as scratch:
        (scratch / "layer.tar.gz").write_bytes(built.blob)
        (scratch / "ld.so").write_bytes(built.loader)
        index = {"layer": layer.as_json(), "inputs": _stamps(list(built.inputs))}
        (scratch / "index.json").write_text(json.dumps(index), "utf-8")
        _swap(scratch, place)
    return layer


def _swap(scratch: Path, place: Path) -> None:
    """Put a whole directory in place, which replaces one of other inputs or a damaged one.

    Where another process was faster with the same inputs its files stay: somebody may be about to read them.
    """
    with staging(place) as aside:
        for last in (False, False, True):
            if _read(place) is not None:
                return
            with suppress(OSError):
                place.rename(aside / entropy.identifier())
            try:
                scratch.rename(place)
            except OSError:  # another one came between the two
                if last:
                    raise
            else:
                return


def _stamps(paths: list[Path]) -> dict[str, Any]:
    """Size and time of change of every input, nothing for one that is gone."""
    result: dict[str, Any] = {}
    for path in paths:
        try:
            status = path.stat()
            result[str(path)] = [status.st_size, status.st_mtime_ns]
        except OSError:
            result[str(path)] = None
    return result
