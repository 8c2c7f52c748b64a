"""What `kloister serve node` becomes: the agent alone. It runs on every node, so it leaves Typer's 16 MB behind."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from kloister.cli.words import told
from kloister.serve.node import Options, run

_PATHS = ("kubelet", "run", "quotes", "platform", "aesm", "root", "cdi", "account")


def become(options: Options) -> NoReturn:
    """Replace this process, whose number stays, by the agent."""
    document = json.dumps(asdict(options), default=str)
    apart = "-I" if sys.flags.isolated else "-P"  # nothing is imported from where we were started
    os.execv(sys.executable, [sys.executable, apart, "-m", __name__, document])  # noqa: S606 -- ourselves, without a shell


def main(document: str) -> int:
    """Run the agent; the exit status."""
    values = json.loads(document)
    values |= {name: Path(values[name]) for name in _PATHS if values[name] is not None}
    try:
        run(Options(**values))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- no traceback reaches a user
        return told(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
