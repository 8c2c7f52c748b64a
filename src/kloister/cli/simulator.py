from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.options import StateOption
from kloister.cli.words import options
from kloister.errors import Malformed

simulator_app = typer.Typer(no_args_is_help=True, help="Work with the simulated SGX platform.", rich_markup_mode=None)

_REPORT_DATA = 64  # bytes, SDM volume 3D, REPORT
_CONTENT_LIMIT = 8 * 1024 * 1024  # bytes; the content becomes measured pages of an enclave

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")]


def _open(state: Path | None) -> Any:
    from kloister.cli.words import SIMULATED
    from kloister.serve.simulator import simulator
    from kloister.serve.state import State

    say(SIMULATED)
    return simulator(State.at(state).platform)


def _write(path: Path, data: bytes, what: str, *, as_json: bool) -> None:
    from kloister.serve.state import write_atomic

    write_atomic(path, data, 0o644)
    if as_json:
        print_json({"file": str(path), "bytes": len(data)})
    else:
        print(f"{what}: {path} ({len(data)} bytes)")


@simulator_app.command()
@guarded
def init(state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Make the platform's fuses, once; doing it again changes nothing.

    Example:  kloister simulator init --state /tmp/one
    """
    status(state, as_json=as_json)


@simulator_app.command()
@guarded
def status(state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Say which platform it is, its FMSPC, and how much of its EPC is used."""
    with _open(state) as platform:
        figures = platform.status()
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        print(f"{name}: {value}")


@simulator_app.command()
@guarded
def root(out: OutOption, state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Write the platform's root certificate (DER): whoever names it as a root believes this simulation.

    Example:  kloister simulator root --out root.der
    """
    with _open(state) as platform:
        _write(out, platform.root(), "root certificate", as_json=as_json)


@simulator_app.command()
@guarded
def collateral(out: OutOption, state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Write the collateral that a verifier of this platform's quotes needs (JSON, valid now).

    Example:  kloister simulator collateral --out collateral.json
    """
    with _open(state) as platform:
        data = json.dumps(platform.collateral(), indent=1).encode()
    _write(out, data, "collateral", as_json=as_json)


def _report_data(text: str) -> bytes:
    from kloister.formats.wire import unhex

    data = unhex(text, "report-data")
    if len(data) > _REPORT_DATA:
        raise Malformed("report-data-size", f"Report data has {_REPORT_DATA} bytes at most.", "Hash what is longer.")
    return data.ljust(_REPORT_DATA, b"\0")


@simulator_app.command()
@guarded
def quote(
    enclave: Annotated[Path, typer.Option(metavar="FILE", help="The measured content of the enclave.")],
    report_data: Annotated[str, typer.Option(metavar="HEX", help="Up to 64 bytes; zeros follow.")],
    out: OutOption,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Write a quote of an enclave whose measured content is FILE.

    Example:  kloister simulator quote --enclave app.bin --report-data 00ff --out quote.bin
    """
    with options():
        data = _report_data(report_data)
    with enclave.open("rb") as file:
        content = file.read(_CONTENT_LIMIT + 1)
    if len(content) > _CONTENT_LIMIT:
        raise Malformed("content-size", f"{enclave} is larger than {_CONTENT_LIMIT >> 20} MiB.", "Measure its hash.")
    with _open(state) as platform:
        _write(out, platform.quote_content(content, data), "quote", as_json=as_json)
