"""Mutations: of bytes anywhere, of the values inside JSON, of lengths inside DER."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz.target import LARGEST

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    b"\0", b"\xff", b"\n", b" ", b"..", b"/", b"%00", b"%2F", b'"', b"\\u0000", b"\\ud800", b"[" * 40, b"{" * 40,
    b"-", b"9" * 30, b"1e999", b"NaN", b"true", b"null", b"\xed\xa0\x80", b"\xc0\x80", "\u0130\u2028".encode(),
    b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"0" * 64, b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff", b"\x02\x01\xff", b"\x06\x09\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01",
    b"x 0000 0 0 0 - - /", b"12 path=/a\n",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, "", " ", "A", "\0", "\ud7ff", "é", "0" * 64,
    "..", "/", "a" * 5000, "2026-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z", [], {}, [[]], [{}],
    {"": ""}, list(range(20)),
)  # fmt: skip


def mutate(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A near relative of `data`, at most `LARGEST` bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data[:1] in (b"{", b"[") and rng.random() < 0.7:
            data = _json(rng, data)
        else:
            data = rng.choice(_STEPS)(rng, data, seeds)
    return data[:LARGEST]


def _flip(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _number(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """An edge value over an integer that may be there: of 1, 2 or 4 bytes, in either order."""
    size = rng.choice((1, 2, 4))
    at = rng.randrange(len(data) + 1)
    value = rng.choice(_NUMBERS) & (1 << 8 * size) - 1
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _cut(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def _insert(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    word = rng.choice(_WORDS) if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 40))
    over = len(word) if rng.random() < 0.5 else 0
    return data[:at] + word + data[at + over :]


def _splice(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    start, end = _span(rng, other)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[at if rng.random() < 0.5 else at + end - start :]


def _lines(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


_STEPS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _number, _number, _cut, _remove, _repeat, _insert, _insert, _splice, _lines,
)  # fmt: skip


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 512, 4096)))


def _json(rng: Random, data: bytes) -> bytes:
    """Another value at one place of a JSON document, or a member that is gone, doubled or renamed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(rng, data, ())
    places = _places(document)
    if not places:
        return data
    container, key = rng.choice(places)
    match rng.randrange(4):
        case 0 if isinstance(container, dict):
            container[rng.choice(("", "x", str(key).upper(), str(key) + " "))] = container.pop(key)
        case 1:
            del container[key]
        case 2 if isinstance(container[key], str) and container[key]:
            container[key] = mutate(rng, container[key].encode("utf-8", "replace"), [b"x"]).decode("utf-8", "replace")
        case _:
            container[key] = rng.choice(_VALUES)
    separators = (",", ":") if rng.random() < 0.9 else None
    return json.dumps(document, separators=separators, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        found.extend(_places(value[key]))
    return found
