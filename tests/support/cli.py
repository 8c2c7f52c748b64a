"""The command line inside the test process, which makes hundreds of runs affordable, and what bad input is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister.cli.main import run

SPARSE = 1 << 36  # bytes; 64 GiB with no block on the disk: who reads them all is found out


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error that `--json` printed, its shape checked."""
        error = self.json["error"]
        assert set(error) == {"code", "text", "hint"}
        return {name: str(value) for name, value in error.items()}


def kloister(*arguments: str | Path, stdin: bytes = b"") -> Done:
    """Run `kloister` with these arguments; its environment is the test's."""
    with _streams(stdin) as (out, err):
        try:
            run([os.fspath(argument) for argument in arguments])
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return Done(code, out.getvalue().decode(), err.getvalue().decode())


@contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    before = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    texts = [io.TextIOWrapper(one, "utf-8", write_through=True) for one in (io.BytesIO(stdin), out, err)]
    sys.stdin, sys.stdout, sys.stderr = texts
    try:
        yield out, err
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for text in texts:
            text.detach()


def assert_refused(done: Done, code: str | None = None, *, status: int = 1, hint: str = "") -> None:
    """The exit status and a sentence with its code for a person, and nothing that only a developer understands."""
    said = f"{hint} exit {done.code}\n{done.out}\n{done.err}"
    assert done.code == status, said
    assert "Traceback" not in said, said
    assert "[internal]" not in said, said
    last = [line for line in done.err.splitlines() if line.startswith("kloister: ")]
    assert last, said
    assert last[-1].endswith(f"[{code}]" if code else "]"), said


def assert_refused_in_json(done: Done, code: str | None = None, *, status: int = 1) -> None:
    """The same as one JSON object on stdout."""
    assert done.code == status, done
    assert "Traceback" not in done.err, done
    error = done.error
    assert error["code"] not in ("", "internal"), done
    assert code in (None, error["code"]), done
    assert error["text"].endswith((".", ")")), done


def bad_contents(good: bytes) -> dict[str, bytes]:
    """What a file can hold instead of `good`, by what is wrong with it; none of it is good for anything."""
    return {
        "empty": b"",
        "one-byte": good[:1],
        "cut-in-the-middle": good[: len(good) // 2],
        "cut-at-its-end": good.rstrip()[:-1],
        "random": random.Random(7).randbytes(2000),
        "zeros": bytes(500),
        "not-utf-8": b'{"a": "\xff\xfe"}',
        "deep": b"[" * 100_000,
        "deep-objects": b'{"a":' * 20_000,
        "null": b"null",
        "list": b"[]",
        "text": b'"x"',
        "great-number": b"1" * 5000,
    }


def bad_files(folder: Path, good: bytes) -> dict[str, Path]:
    """What can be named instead of a good file, by what is wrong with it."""
    folder.mkdir()
    contents = bad_contents(good)
    found = {name: folder / name for name in contents}
    for name, path in found.items():
        path.write_bytes(contents[name])
        path.chmod(0o600)  # as a key must be
    return found | bad_places(folder)


def bad_places(folder: Path) -> dict[str, Path]:
    """Names below `folder` that cannot be read to their end."""
    folder.mkdir(exist_ok=True)
    found = {name: folder / name for name in ("missing", "directory", "dangling", "loop", "huge")}
    found["directory"].mkdir()
    found["dangling"].symlink_to(folder / "nowhere")
    found["loop"].symlink_to(found["loop"])
    with found["huge"].open("wb") as file:
        file.truncate(SPARSE)
    return found | {
        "below-a-file": found["huge"] / "file",
        "long-name": folder / ("n" * 300),
        "endless": Path("/dev/zero"),
    }


COMMAND = (sys.executable, "-P", "-m", "kloister")


def process(*arguments: str | Path, prefix: Sequence[str] = (), **settings: str) -> Done:
    """Run `kloister` as a process of its own, for what uses real descriptors.

    Args:
        arguments: the command line behind `kloister`.
        prefix: a program that runs it, and its arguments.
        settings: for its environment.
    """
    done = subprocess.run(
        [*prefix, *COMMAND, *(str(argument) for argument in arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
        env=os.environ | settings,
    )  # fmt: skip
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def processes_of(state: Path) -> list[int]:
    """The daemons that serve a state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(state) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def settled(state: Path, daemons: int) -> None:
    """Wait until so many processes serve a state directory: one that was just begun, or forked, is two for a moment."""
    deadline = time.monotonic() + 60
    while len(found := processes_of(state)) != daemons:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def partials(*folders: Path) -> list[str]:
    """What a killed or failed command has left half-written anywhere below these folders."""
    everything = [path for folder in folders for path in folder.rglob("*")]
    return sorted(str(path) for path in everything if ".partial-" in path.name)
