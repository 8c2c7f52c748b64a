"""A pack that is there: where its parts lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kloister.errors import Misconfigured
from kloister.formats.enclave.tree import Tree

DOCUMENTS = ("manifest.sgx", "sigstruct", "tree", "launch.json")


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack's directory and its parts."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """A pack that is there.

        Raises:
            Misconfigured: `pack-incomplete`.
        """
        pack = cls(path)
        wanted = [pack.observed, pack.contents, *(pack.document(name) for name in DOCUMENTS)]
        missing = [item.name for item in wanted if not item.is_file()]
        if missing:
            text = f"The pack {path} lacks {', '.join(missing)}."
            raise Misconfigured("pack-incomplete", text, "Remove the directory: it is built again from the image.")
        return pack

    @property
    def observed(self) -> Path:
        """The tree document of what the layers hold."""
        return self.path / "observed.tree"

    @property
    def contents(self) -> Path:
        """The bytes of all regular files of the observed tree, in its order."""
        return self.path / "contents"

    @property
    def private(self) -> Path:
        """The directory of the encrypted layers, named by their digests' hexadecimal digits."""
        return self.path / "private"

    def document(self, name: str) -> Path:
        """One of `manifest.sgx`, `sigstruct`, `tree`, `launch.json`, `private.tree`."""
        return self.path / "enclave" / name

    def tree(self) -> Tree:
        """The observed tree."""
        return Tree.parse(self.observed.read_bytes())
