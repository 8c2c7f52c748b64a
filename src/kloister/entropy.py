"""The only place where randomness is drawn; everything else takes it as an argument."""

from __future__ import annotations

import os


def draw(size: int) -> bytes:
    """`size` bytes from the operating system's generator."""
    return os.urandom(size)


def identifier() -> str:
    """A random name of 20 characters [a-z2-7] (100 bits), for instances, refusals and temporary files."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"  # 32 letters: five bits of a byte choose one of them evenly
    return "".join(alphabet[byte & 31] for byte in draw(20))
