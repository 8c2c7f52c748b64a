from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from kloister import clock
from kloister.cli.broker import standard_input
from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.words import read_from
from kloister.errors import Malformed, Misconfigured
from kloister.services.appraisal import (
    OPERATOR_NAMED,
    Appraisal,
    appraise,
    parse_collateral,
    parse_policy,
    parse_root,
    parse_time,
)
from kloister.services.appraisal.inputs import MAX_COLLATERAL
from kloister.services.appraisal.recognise import MAX_SIZE as MAX_EVIDENCE
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root

_MAX_ROOT = 64 * 1024  # bytes of a certificate file
_MEASURED = ("mrenclave", "mrsigner", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data")  # a person reads these
_SIMULATED = "This platform is SIMULATED: the evidence proves nothing about hardware."


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except Malformed as error:
        raise typer.BadParameter(f"{error.text} {error.hint}") from None


@guarded
def verify(
    thing: Annotated[
        str, typer.Argument(metavar="FILE", help="SGX or TDX quote: raw, hexadecimal, base64; - reads standard input.")
    ],
    *,
    collateral: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Collateral, one JSON document.", show_default=False)
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Trust this root (DER or PEM) instead of Intel's; may be repeated."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=_time, help="Judge at this time: unix seconds or ISO 8601 [default: now]."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Appraisal policy, JSON or YAML [default: UpToDate, no debug enclaves]."),
    ] = None,
    proof_only: Annotated[
        bool, typer.Option("--proof-only", help="Apply no policy: is it genuine, whatever its TCB status?")
    ] = False,
    offline: Annotated[  # noqa: ARG001 -- this version never fetches; the flag promises that it stays so
        bool, typer.Option("--offline", help="Fetch nothing; use only what is given.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say whether evidence is genuine and acceptable.

    Exit code 0: accepted (with --proof-only: genuine). 1: refused or failed. 2: misuse.

    For example:

      kloister verify quote.bin --collateral collateral.json

      kloister verify quote.hex --collateral c.json --proof-only --json

      kloister verify quote.bin --collateral c.json --root simulator-root.der --at 2026-01-15T00:00:00Z
    """
    if policy is not None and proof_only:
        raise typer.BadParameter("--policy and --proof-only exclude each other.")
    data = _read(None if thing == "-" else Path(thing), MAX_EVIDENCE, "evidence")
    appraisal = appraise(
        data,
        _collateral(collateral),
        [_root(each) for each in root or ()] or [INTEL_ROOT],
        at or clock.now(),
        None if proof_only else _policy(policy),
    )
    if appraisal.simulated:
        say(_SIMULATED)
    if as_json:
        print_json(appraisal.as_json())
    else:
        _print(appraisal, proof_only=proof_only)
    if not appraisal.accepted:
        raise typer.Exit(1)


def _collateral(path: Path | None) -> Collateral:
    if path is None:
        raise Misconfigured(
            "collateral-missing",
            "Without collateral a quote cannot be judged, and this version does not fetch it.",
            "Give it with --collateral FILE, one JSON document as `kloister simulator collateral` writes it.",
        )
    data = _read(path, MAX_COLLATERAL, "collateral")
    with read_from(path, "It is one JSON document, as `kloister simulator collateral` writes it."):
        return parse_collateral(data)


def _root(path: Path) -> Root:
    data = _read(path, _MAX_ROOT, "root")
    with read_from(path, "A root is one certificate, DER or PEM, as `kloister simulator root` writes it."):
        return parse_root(data)


def _policy(path: Path | None) -> AppraisalPolicy:
    if path is None:
        return OPERATOR_NAMED
    data = _read(path, MAX_POLICY, "appraisal-policy")
    with read_from(path, "It is one object in JSON or YAML; the default is {}."):
        return parse_policy(data)


def _read(path: Path | None, limit: int, what: str) -> bytes:
    """A whole file, or standard input, of at most `limit` bytes; one byte more is read to notice a longer one."""
    if path is None:
        data = standard_input().read(limit + 1)
    else:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        name = path or "standard input"
        raise Malformed(f"{what}-size", f"{name} has more than {limit} bytes, too many for this.", "Check the name.")
    return data


def _print(appraisal: Appraisal, *, proof_only: bool) -> None:
    for name, value in _lines(appraisal):
        print(f"{name:<12} {value}")
    if appraisal.reason:
        print(f"{'reason':<12} {appraisal.reason.text} [{appraisal.reason.code}]")
        if appraisal.reason.hint:
            print(f"{'':<12} {appraisal.reason.hint}")
    elif proof_only:
        say("No policy was applied: genuine does not mean acceptable.")


def _lines(appraisal: Appraisal) -> list[tuple[str, str]]:
    """What a person reads first; the whole is in the JSON object."""
    claims = appraisal.claims or {}
    lines = [
        ("genuine", "yes" if appraisal.genuine else "no"),
        ("verdict", "accept" if appraisal.accepted else "reject"),
        ("tee", appraisal.tee),
        ("tcb status", appraisal.tcb_status),
        ("advisories", ", ".join(appraisal.advisories)),
        ("tcb date", f"{appraisal.tcb_date:%Y-%m-%d}" if appraisal.tcb_date else None),
        ("fmspc", appraisal.fmspc),
        *((name, str(claims[name])) for name in _MEASURED if name in claims),
        ("isv", f"product {claims['isvprodid']}, version {claims['isvsvn']}" if "isvsvn" in claims else None),
        ("debug", "yes" if claims.get("debug") else None),
        ("simulated", "yes" if appraisal.simulated else None),
    ]
    return [(name, value) for name, value in lines if value]
