"""What a batch judges: files, directories, and lines of JSON, read one after the other and never all at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAX_LINE = 4 * 1024 * 1024  # bytes of one line: evidence of the largest size with its collateral beside it
_BUFFER = 64 * 1024  # bytes read at once: several lines
COLLATERAL = "collateral.json"  # in a directory: the collateral of the evidence beside it
ENDORSEMENT = ("vek.der", "ask_ark.pem")  # the same of an SNP report: the certificates of its key
_EVIDENCE = {"", ".bin", ".dat", ".quote", ".report", ".hex", ".b64", ".base64", ".pem", ".der", ".crt", ".jwt"}
_BLOCK = 1 << 20  # bytes read at a time to count lines
_LINES = {".ndjson", ".jsonl"}
_COMPANIONS = {"root.der", "vcek.der", "vlek.der", COLLATERAL, *ENDORSEMENT}  # in a directory: of evidence, but none


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to judge, not yet read or parsed: that is the workers' part.

    Attributes:
        source: its name for people, unique within a batch: a path, or path and line number.
        path: the file with the evidence or the line, None for a line that came through a pipe.
        line: that line.
        span: where in the file the line is, offset and size in bytes; None: the file is the evidence.
        collateral: the file with its collateral, None where the line or the batch has it.
        endorsement: of an SNP report: the files with its key's certificate and the chain.
        failed: what was wrong already in reading, for instance a line that is too long.
    """

    source: str
    path: str | None = None
    line: bytes | None = field(default=None, repr=False)
    span: tuple[int, int] | None = None
    collateral: str | None = None
    endorsement: tuple[str, str] | None = None
    failed: str = ""

    def __reduce__(self) -> tuple[type[Item], tuple[object, ...]]:
        """As it travels to a worker: a third of the time of what dataclasses do."""
        return Item, (self.source, self.path, self.line, self.span, self.collateral, self.endorsement, self.failed)


def items(paths: Sequence[str], standard_input: BinaryIO | None = None) -> Iterator[Item]:
    """Everything under the paths: directories in the order of names, `-` is standard input, lines of JSON.

    In a directory, regular files without an extension, or with one of evidence or of lines, are taken, and
    `collateral.json` belongs to the files beside it, as `vek.der` and `ask_ark.pem` do; a file that is named itself is
    taken whatever its name.
    """
    for path in paths:
        if path == "-" and standard_input is not None:
            yield from _lines("-", standard_input)
        elif Path(path).is_dir():
            yield from _directory(path)
        else:
            yield from _file(path)


def count(paths: Sequence[str]) -> int | None:
    """How many pieces `items` will give, for a progress bar: None where standard input is among them.

    Lines are counted, not parsed, so that empty ones count too.
    """
    if "-" in paths:
        return None
    names = [name for path in paths for name in (_names(path) if Path(path).is_dir() else (path,))]
    return sum(_count_lines(name) if Path(name).suffix.lower() in _LINES else 1 for name in names)


def _count_lines(path: str) -> int:
    lines, last = 0, b"\n"
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                lines, last = lines + block.count(b"\n"), block[-1:]
    except OSError:
        return 1  # its row says why
    return lines + (last != b"\n")


def _directory(top: str) -> Iterator[Item]:
    for name in _names(top):
        yield from _file(name)


def passed_over(paths: Sequence[str]) -> list[str]:
    """The files in directories that `items` leaves out for their names alone, which their owner may not expect."""
    found = [Path(name) for path in paths if path != "-" and Path(path).is_dir() for name in _files(path)]
    return [str(path) for path in found if not _taken(path) and path.name not in _COMPANIONS]


def _names(top: str) -> Iterator[str]:
    """The files of a directory that are taken, in order."""
    return (name for name in _files(top) if _taken(Path(name)))


def _taken(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in _LINES or (suffix in _EVIDENCE and path.name not in _COMPANIONS and path.name[0] != ".")


def _files(top: str) -> Iterator[str]:
    for folder, folders, names in os.walk(top):
        folders.sort()
        for path in (Path(folder, name) for name in sorted(names)):
            if not _is_pipe(path):
                yield str(path)


def _is_pipe(path: Path) -> bool:
    """Or a socket or device: reading it might never end. What is not there is a file, whose row says so."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _file(path: str) -> Iterator[Item]:
    if Path(path).suffix.lower() in _LINES:
        try:
            with Path(path).open("rb", buffering=_BUFFER) as file:
                yield from _lines(path, file, in_place=file.seekable())
        except OSError as error:
            yield Item(path, failed=error.strerror or "it cannot be read")
        return
    folder = Path(path).parent
    beside, vek, chain = folder / COLLATERAL, folder / ENDORSEMENT[0], folder / ENDORSEMENT[1]
    yield Item(
        path,
        path=path,
        collateral=str(beside) if beside.is_file() else None,
        endorsement=(str(vek), str(chain)) if vek.is_file() and chain.is_file() else None,
    )


def _lines(name: str, file: BinaryIO, *, in_place: bool = False) -> Iterator[Item]:
    """The lines; with `in_place` only where they are, because workers read them faster than they travel."""
    number = end = 0
    while line := file.readline(MAX_LINE + 1):
        number, start, end = number + 1, end, end + len(line)
        source = f"{name}:{number}"
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
                end += len(line)
            yield Item(source, failed=f"the line has more than {MAX_LINE} bytes")
        elif line.strip():
            yield Item(source, path=name, span=(start, len(line))) if in_place else Item(source, line=line)
