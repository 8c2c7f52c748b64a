"""The only place where randomness is drawn; everything else takes it as an argument."""

from __future__ import annotations

import secrets


def draw(size: int) -> bytes:
    """`size` bytes from the operating system's generator."""
    return secrets.token_bytes(size)


def identifier() -> str:
    """A random name of 20 characters [a-z2-7] (100 bits), for instances, refusals and temporary files."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"  # 32 letters: five bits of a byte choose one of them evenly
    return "".join(alphabet[byte & 31] for byte in secrets.token_bytes(20))
