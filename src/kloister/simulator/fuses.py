from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import ClassVar, Self

from kloister.errors import Malformed, Misused
from kloister.formats.sgx import KeyName
from kloister.formats.wire import Cursor, Writer

_MAGIC = b"kloister-fuses/1"  # 0, 16 bytes
_CHECK = 16  # bytes of SHA-256 at the end: tells a damaged file from another platform


@dataclass(frozen=True, slots=True)
class Fuses:
    """What makes one simulated processor different from all others; whoever knows it can forge everything."""

    ENTROPY: ClassVar[int] = 48  # bytes that `create` takes
    SIZE: ClassVar[int] = 80  # bytes that `build` gives

    root: bytes = field(repr=False)  # 16, 32 bytes
    owner_epoch: bytes = field(repr=False)  # 48, 16 bytes: enters the keys that change with the platform's owner

    @classmethod
    def create(cls, entropy: bytes) -> Self:
        """New fuses from 48 random bytes."""
        if len(entropy) != cls.ENTROPY:
            raise Misused("fuses-entropy", f"Fuses are made from {cls.ENTROPY} random bytes, not {len(entropy)}.")
        return cls(root=entropy[:32], owner_epoch=entropy[32:])

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed`: `fuses-*`."""
        cursor = Cursor(data, "fuses")
        if cursor.take(len(_MAGIC), "magic") != _MAGIC:
            raise Malformed("fuses-magic", "The file holds no fuses of a simulated platform.")
        fuses = cls(root=cursor.take(32, "root"), owner_epoch=cursor.take(16, "owner epoch"))
        check = cursor.take(_CHECK, "checksum")
        cursor.finish()
        if not hmac.compare_digest(check, _checksum(data[:-_CHECK])):
            raise Malformed("fuses-damaged", "The fuses of the simulated platform are damaged.", "Restore the file.")
        return fuses

    def build(self) -> bytes:
        """The 80 bytes to keep; they are a secret."""
        data = Writer().raw(_MAGIC).raw(self.root, 32).raw(self.owner_epoch, 16).build()
        return data + _checksum(data)

    def key_root(self, name: KeyName) -> bytes:
        """The 16-byte AES key that all keys of that name are derived with."""
        label = f"kloister/simulator/key/{name.name}".encode()
        return hmac.digest(self.root, label, "sha256")[:16]


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_CHECK]
