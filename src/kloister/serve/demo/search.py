"""Looks for secrets in every file below a directory: raw, hexadecimal, and base64 in its three phases."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

_PHASES = 3  # a secret may start at any of three offsets inside base64's groups of three bytes
_CHUNK = 8 << 20  # bytes read at once


def needles(secret: bytes) -> Iterator[bytes]:
    """Every form in which `secret` could lie inside a file."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for phase in range(_PHASES):
        # The first group also holds what stands before the secret, the last one what stands behind it.
        first, last = (4 if phase else 0), (phase + len(secret)) // 3 * 4
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(phase) + secret)[first:last]


def find(root: Path, secrets: Mapping[str, bytes]) -> list[tuple[str, Path]]:
    """The names of the secrets that lie in a file below `root`, with the file."""
    wanted = [(name, needle) for name, secret in secrets.items() for needle in set(needles(secret))]
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found += [(name, path) for name in _inside(path, wanted)]
    return found


def _inside(path: Path, wanted: list[tuple[str, bytes]]) -> set[str]:
    overlap = max((len(needle) for _, needle in wanted), default=1)
    hits: set[str] = set()
    tail = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                window = tail + chunk
                hits |= {name for name, needle in wanted if needle in window}
                tail = window[-overlap:]
    except FileNotFoundError:
        return hits  # a journal of the database may go while we look
    return hits
