from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kloister.errors import Malformed, Misused
from kloister.formats.wire import canonical_json, load_json

TEE_LIMIT = 64 * 1024  # bytes of one frame on an enclave's socket: a quote and its base64url fit several times
CONTROL_LIMIT = 16 * 1024 * 1024  # bytes of one frame on the control and spawner sockets: a manifest and its figures
_PREFIX = 4  # bytes of the length, u32 big-endian


def encode(message: Mapping[str, Any], limit: int) -> bytes:
    """One frame: u32 big-endian length, then the message as canonical JSON (architecture.md, section 8).

    Raises:
        Misused: `frame-size`: the message has more than `limit` bytes.
    """
    body = canonical_json(dict(message))
    if len(body) > limit:
        raise Misused("frame-size", f"A message of {len(body)} bytes does not fit into a frame of {limit}.")
    return len(body).to_bytes(_PREFIX, "big") + body


class Decoder:
    """Collects bytes as they come and hands out whole messages; keeps at most one frame and one chunk.

    Args:
        limit: greatest length of a frame in bytes.
        what: name of the protocol, for error codes.
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._held = bytearray()

    @property
    def idle(self) -> bool:
        """Whether no part of an unfinished frame is held."""
        return not self._held

    @property
    def missing(self) -> int:
        """Bytes up to the end of what is known of the present frame: its length, then its body.

        Who reads no more than this never gets a part of the next frame, nor the descriptors that come with that.
        """
        if len(self._held) < _PREFIX:
            return _PREFIX - len(self._held)
        return max(0, _PREFIX + int.from_bytes(self._held[:_PREFIX], "big") - len(self._held))

    def feed(self, chunk: bytes) -> None:
        """Add bytes in the order they were received."""
        self._held += chunk

    def take(self) -> dict[str, Any] | None:
        """The next whole message, or None while it is incomplete.

        Raises:
            Malformed: `{what}-size` for a length beyond the limit or zero, `{what}-json`, `{what}-message`.
        """
        if len(self._held) < _PREFIX:
            return None
        size = int.from_bytes(self._held[:_PREFIX], "big")
        if not 0 < size <= self._limit:
            raise Malformed(f"{self._what}-size", f"A frame announces {size} bytes; 1 to {self._limit} are read.")
        if len(self._held) < _PREFIX + size:
            return None
        body = bytes(self._held[_PREFIX : _PREFIX + size])
        del self._held[: _PREFIX + size]
        message = load_json(body, self._what, self._limit)
        if not isinstance(message, dict):
            raise Malformed(f"{self._what}-message", "A frame must hold a JSON object.")
        return message
