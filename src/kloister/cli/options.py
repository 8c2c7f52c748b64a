"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StateOption = Annotated[
    Path | None,
    typer.Option("--state", envvar="KLOISTER_STATE", help="State directory [default: $XDG_DATA_HOME/kloister]."),
]
