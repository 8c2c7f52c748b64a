from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from kloister import clock
from kloister.cli.broker import standard_input
from kloister.cli.console import JsonFlag, guarded
from kloister.cli.verify_batch import BatchFiles, run_batch
from kloister.cli.verify_text import Manner, show
from kloister.cli.words import read_from
from kloister.errors import Malformed, Misconfigured
from kloister.services.appraisal import (
    OPERATOR_NAMED,
    parse_collateral,
    parse_policy,
    parse_root,
    parse_time,
)
from kloister.services.appraisal.inputs import MAX_COLLATERAL
from kloister.services.appraisal.peer import server_certificate
from kloister.services.appraisal.recognise import MAX_SIZE as MAX_EVIDENCE
from kloister.services.appraisal.whatif import Question, of_server, what_if
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root

_MAX_ROOT = 64 * 1024  # bytes of a certificate file
_SERVER = "https://"


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except Malformed as error:
        raise typer.BadParameter(f"{error.text} {error.hint}") from None


@guarded
def verify(
    things: Annotated[
        list[str],
        typer.Argument(
            metavar="THING...",
            help="Quote (raw, hexadecimal, base64), RA-TLS certificate, KBS evidence, https://HOST:PORT; - is stdin.",
        ),
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
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which levels were matched, what is short, and what to update.")
    ] = False,
    what_if_collateral: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Say what it would be with this collateral too; may be repeated."),
    ] = None,
    what_if_at: Annotated[
        list[datetime] | None,
        typer.Option(metavar="TIME", parser=_time, help="Say what it will be at this time too; may be repeated."),
    ] = None,
    show_identifiers: Annotated[
        bool, typer.Option("--show-identifiers", help="Print what names this one machine (PPID, CHIP_ID), not a hash.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Judge many: files, directories, NDJSON; a line each, sums at the end.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes for --batch [default: one per core].")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether evidence is genuine and acceptable.

    Exit code 0: accepted (with --proof-only: genuine). 1: refused or failed. 2: misuse.

    For example:

      kloister verify quote.bin --collateral collateral.json

      kloister verify quote.hex --collateral c.json --proof-only --json

      kloister verify quote.bin --collateral c.json --root simulator-root.der --at 2026-01-15T00:00:00Z

      kloister verify quote.bin --collateral c.json --explain --what-if-collateral early.json --what-if-at 2027-01-01

      kloister verify https://service.example:8443 --collateral c.json --policy wanted.yaml

      kloister verify --batch quotes/ more.ndjson --collateral c.json --json
    """
    if policy is not None and proof_only:
        raise typer.BadParameter("--policy and --proof-only exclude each other.")
    if batch:
        files = BatchFiles(
            roots=root or (),
            policy=policy,
            collateral=collateral,
            proof_only=proof_only,
            at=at,
            show_identifiers=show_identifiers,
            as_json=as_json,
        )
        raise typer.Exit(0 if run_batch(things, files.setup(_read), jobs) else 1)
    thing = _only(things)
    roots = [_root(each) for each in root or ()] or [INTEL_ROOT]
    given = _collateral(collateral)
    question = Question(_evidence(thing), roots, None if proof_only else _policy(policy))
    others = [(str(path), _collateral(path)) for path in what_if_collateral or ()]
    rows = what_if(question, given, at or clock.now(), others, what_if_at or ())
    if thing.startswith(_SERVER):
        rows = of_server(rows)
    manner = Manner(as_json=as_json, explain=explain, proof_only=proof_only, show_identifiers=show_identifiers)
    show(rows, manner)
    if not rows[0].appraisal.accepted:
        raise typer.Exit(1)


def _only(things: list[str]) -> str:
    if len(things) > 1:
        raise typer.BadParameter("Several things are judged with --batch.")
    return things[0]


def _evidence(thing: str) -> bytes:
    if thing.startswith(_SERVER):
        return server_certificate(thing)
    return _read(None if thing == "-" else Path(thing), MAX_EVIDENCE, "evidence")


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
