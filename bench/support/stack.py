"""A stack in a temporary state directory, and images converted for it; nothing is left of either."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kloister.serve.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
_COMMAND = (sys.executable, "-c", "from kloister.cli.main import run; run()")
_PATIENCE = 300  # seconds for any one command


@dataclass(frozen=True, slots=True)
class Bench:
    """A running stack below a temporary directory."""

    directory: Path

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self.directory / "state"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        return {**os.environ, "KLOISTER_STATE": str(self.state)}

    def kloister(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed; its failure ends the benchmark with its words."""
        run = subprocess.run(
            [*_COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=_PATIENCE,
            cwd=ROOT, check=False,
        )  # fmt: skip
        if run.returncode:
            sys.exit(f"kloister {' '.join(arguments)} failed:\n{run.stderr}")
        return run.stdout

    def start(self, *arguments: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start `kloister run`, its remarks readable as `stderr`."""
        return subprocess.Popen(
            [command(), "run", *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip

    def pack(self) -> Path:
        """The only pack there is: of the image that was run last."""
        (pack,) = (self.state / "cache" / "packs").iterdir()
        return pack


def command() -> str:
    """The installed `kloister` beside this interpreter."""
    return str(Path(sys.executable).with_name("kloister"))


@contextmanager
def bench() -> Iterator[Bench]:
    """A stack on loopback that is stopped and deleted at the end."""
    directory = Path(tempfile.mkdtemp(prefix="kloister-bench-"))
    made = Bench(directory)
    try:
        made.kloister("up", "--listen", f"127.0.0.1:{free_port()}")
        try:
            yield made
        finally:
            made.kloister("down")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def finish(process: subprocess.Popen[bytes], patience: float = 20) -> int:
    """Ask a process to end, insist if it does not; its exit status."""
    process.terminate()
    try:
        process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


def missing(programs: Sequence[str]) -> str | None:
    """The first of the programs that is not installed."""
    return next((name for name in programs if shutil.which(name) is None), None)
