from __future__ import annotations

import json
import sys
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
    from kloister import files

    files.replace(path, data, mode=None)
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
    """Say which platform it is, its FMSPC, and how much of its EPC is used.

    Example:  kloister simulator status --json
    """
    with _open(state) as platform:
        figures = platform.status()
    if as_json:
        print_json(figures)
        return
    nodes = figures.pop("nodes", [])
    for name, value in figures.items():
        print(f"{name}: {value}")
    for number, node in enumerate(nodes):
        print(f"node {number}: package {node['package']}, {node['epcUsed']} of {node['epcTotal']} bytes of EPC used")


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
    bare: Annotated[
        bool, typer.Option("--bare", help="Name the platform in it instead of carrying its certificate.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a quote of an enclave whose measured content is FILE.

    Example:  kloister simulator quote --enclave app.bin --report-data 00ff --out quote.bin
    """
    from kloister.simulator.naming import without_certificate

    with options():
        data = _report_data(report_data)
    with enclave.open("rb") as file:
        content = file.read(_CONTENT_LIMIT + 1)
    if len(content) > _CONTENT_LIMIT:
        raise Malformed("content-size", f"{enclave} is larger than {_CONTENT_LIMIT >> 20} MiB.", "Measure its hash.")
    with _open(state) as platform:
        made = platform.quote_content(content, data)
    _write(out, without_certificate(made) if bare else made, "quote", as_json=as_json)


@simulator_app.command("tcb-recovery")
@guarded
def tcb_recovery(
    status: Annotated[
        str | None,
        typer.Argument(metavar="[STATUS]", help="UpToDate, SWHardeningNeeded, ConfigurationNeeded, OutOfDate, ..."),
    ] = None,
    stage: Annotated[
        int | None, typer.Option(min=0, max=4, help="The same by number, 0 UpToDate to 4 Revoked.")
    ] = None,
    advisory: Annotated[list[str] | None, typer.Option(metavar="ID", help="An advisory; may be repeated.")] = None,
    early: Annotated[bool, typer.Option("--early", help="The standard baseline does not count it yet.")] = False,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Stage a TCB recovery: from now on the collateral judges this platform so. Without STATUS, say where it stands.

    Example:  kloister simulator tcb-recovery OutOfDate --advisory INTEL-SA-00615
    """
    from kloister import clock
    from kloister.serve.recovery import read_recovery, write_recovery
    from kloister.serve.state import State
    from kloister.simulator.recovery import STAGES, Recovery

    directory = State.at(state).platform
    if status is not None and stage is not None:
        raise typer.BadParameter("STATUS and --stage exclude each other.")
    wanted = STAGES[stage] if stage is not None else status
    if wanted is None:
        recovery = read_recovery(directory)
    else:
        with options():
            recovery = Recovery.create(wanted, tuple(advisory or ()), clock.now(), early=early)
        write_recovery(directory, recovery)
    if as_json:
        print_json(recovery.as_json())
        return
    since = "" if recovery.status == STAGES[0] else f" since {recovery.date:%Y-%m-%d}"
    print(f"tcb status: {recovery.status}{since}{' (early baseline only)' if recovery.early else ''}")
    if recovery.advisories:
        print(f"advisories: {', '.join(recovery.advisories)}")


@simulator_app.command()
@guarded
def pcs(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:7444",
    plain: Annotated[bool, typer.Option("--plain", help="HTTP without TLS, for clients on this machine.")] = False,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Serve the platform's collateral as Intel's PCS does (API version 4), until SIGTERM.

    Example:  kloister simulator pcs --listen 127.0.0.1:7444
    """
    from kloister.cli.words import SIMULATED
    from kloister.serve.pcs import run
    from kloister.serve.state import State
    from kloister.services.broker.binding import parse_address

    with options():
        parse_address(listen)
    say(SIMULATED)

    def ready(url: str, ca: Path | None) -> None:
        if as_json:
            print_json({"url": url, "ca": str(ca) if ca else None})
        else:
            print(f"serving: {url}" + (f"\nca: {ca}" if ca else ""))
        sys.stdout.flush()

    run(State.at(state), listen, ready, plain=plain)
