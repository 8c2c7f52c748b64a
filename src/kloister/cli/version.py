from __future__ import annotations

from kloister import __version__
from kloister.cli.console import JsonFlag, print_json


def version(*, as_json: JsonFlag = False) -> None:
    """Print the version.

    Example:  kloister version --json
    """
    if as_json:
        print_json({"version": __version__})
    else:
        print(f"kloister {__version__}")
