"""Launch documents for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kloister.formats.enclave.launch import Image, LaunchDocument, User


def launch(user: User | None = None, arguments: tuple[str, ...] = ("/bin/app",), **changes: Any) -> LaunchDocument:
    """A small one without broker and private layers."""
    image = Image(arguments, ("A=image", "B=image"), user or User("app", 1000, 1000))
    plain = LaunchDocument(image, ("/tmp",), 1 << 20, mounts={"data": "/srv/data"})  # noqa: S108 -- a place inside
    return replace(plain, **changes)
