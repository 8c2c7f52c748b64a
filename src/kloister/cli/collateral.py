from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from kloister import clock, files
from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.sources import (
    CacheOption,
    Choice,
    NumberOption,
    SourceCaOption,
    SourceOption,
    TimeoutOption,
    UpdateOption,
)
from kloister.cli.words import read_from
from kloister.errors import Malformed
from kloister.services.appraisal.inputs import parse_any_root
from kloister.services.appraisal.recognise import MAX_SIZE as MAX_EVIDENCE
from kloister.services.appraisal.recognise import Vouched, identify, vouched_by
from kloister.services.collateral.model import Held, instant
from kloister.services.collateral.pack import MAX_SIZE, Pack, State, state_of
from kloister.trust.verifier import AMD_ROOTS, INTEL_ROOT, AmdRoot, Root

collateral_app = typer.Typer(
    no_args_is_help=True, help="Keep collateral for places without a network.", rich_markup_mode=None
)

_MAX_ROOT = 64 * 1024  # bytes of a certificate file
_HOUR = 3600

RootOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--root", metavar="FILE", help="Trust this root (DER or PEM) instead of the makers'; may be repeated."
    ),
]


@collateral_app.command()
@guarded
def export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the pack.")],
    quote: Annotated[
        list[Path] | None,
        typer.Option("--for", metavar="FILE", help="Fetch first what this evidence needs; may be repeated."),
    ] = None,
    root: RootOption = None,
    source: SourceOption = None,
    source_ca: SourceCaOption = None,
    cache: CacheOption = None,
    update: UpdateOption = None,
    evaluation_number: NumberOption = None,
    fetch_timeout: TimeoutOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Write all collateral that is held and valid into one file.

    Example:  kloister collateral export --for quote.bin --out collateral.pack
    """
    from kloister.serve.collateral import open_shelf

    choice = Choice(
        sources=source,
        ca=source_ca,
        cache=cache,
        update=update,
        number=evaluation_number,
        timeout=fetch_timeout,
    )
    roots = _roots(root)
    for each in quote or ():
        _fetch(choice, _read(each, MAX_EVIDENCE), roots)
    held = open_shelf(choice.settings(), roots).held()
    files.replace(out, Pack(clock.now(), tuple(held)).build(), mode=None)
    if as_json:
        print_json({"file": str(out), "items": [one.as_json() for one in held]})
    else:
        print(f"pack: {out} ({len(held)} items)")


@collateral_app.command("import")
@guarded
def import_(
    pack: Annotated[Path, typer.Argument(metavar="FILE", help="A pack that `export` wrote.")],
    root: RootOption = None,
    cache: CacheOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Take the collateral of a pack; each item is verified as if it were fetched now. Exit code 1: some were refused.

    Example:  kloister collateral import collateral.pack
    """
    from kloister.serve.collateral import open_shelf

    items = [held.item for held in _pack(pack).items]
    taken, refused = open_shelf(Choice(cache=cache).settings(), _roots(root)).take(items)
    if as_json:
        lines = [{"item": item.key.label, "reason": error.as_json()} for item, error in refused]
        print_json({"taken": [held.as_json() for held in taken], "refused": lines})
    else:
        print(f"taken: {len(taken)}")
        for item, error in refused:
            say(f"refused: {item.key.label}: {error.text} [{error.code}]")
    if refused:
        raise typer.Exit(1)


@collateral_app.command()
@guarded
def show(
    pack: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A pack [default: what is held].")] = None,
    warn_days: Annotated[int, typer.Option(min=0, max=3650, help="Warn so many days before something expires.")] = 7,
    root: RootOption = None,
    cache: CacheOption = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look at this time: unix seconds or ISO 8601 [default: now].")
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show collateral with its ages and windows. Exit code 1: something has expired, or nothing is there.

    Example:  kloister collateral show --warn-days 10
    """
    from kloister.serve.collateral import open_shelf

    now = _time(at)
    if pack is not None:
        held = list(_pack(pack).items)
    else:
        held = open_shelf(Choice(cache=cache).settings(), _roots(root)).windows()
    rows = [_row(one, now, timedelta(days=warn_days)) for one in held]
    if as_json:
        print_json({"at": instant(now), "items": rows})
    else:
        _print(rows)
    if not rows or any(row["state"] == State.EXPIRED for row in rows):
        raise typer.Exit(1)


def _row(held: Held, now: datetime, warn: timedelta) -> dict[str, Any]:
    age = max((now - held.item.fetched).total_seconds(), 0)
    return {**held.as_json(), "age_hours": int(age // _HOUR), "state": str(state_of(held.window, now, warn))}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['item']}")
        print(f"  {row['issued']} to {row['expires']}, {row['age_hours']} h old, from {row['source']}")
        if row["state"] != State.VALID:
            say(f"{row['item']}: {row['state']} ({row['expires']})")
    if not rows:
        say("No collateral is held.")


def _time(text: str | None) -> datetime:
    from kloister.cli.words import options
    from kloister.services.appraisal import parse_time

    if text is None:
        return clock.now()
    with options():
        return parse_time(text)


def _fetch(choice: Choice, evidence: bytes, roots: Sequence[Root | AmdRoot]) -> None:
    intel = [root for root in roots if isinstance(root, Root)]
    amd = [root for root in roots if isinstance(root, AmdRoot)]
    vouched = vouched_by(*identify(evidence))
    if vouched is Vouched.ENDORSEMENT and amd:
        choice.fetch_endorsement(evidence, amd)
    elif vouched is Vouched.COLLATERAL and intel:
        choice.fetch(evidence, intel)
    else:
        raise typer.BadParameter("No root was named that could vouch for the evidence after --for.")


def _roots(paths: Sequence[Path] | None) -> list[Root | AmdRoot]:
    return [_root(path) for path in paths or ()] or [INTEL_ROOT, *AMD_ROOTS]


def _root(path: Path) -> Root | AmdRoot:
    with read_from(path, "A root is one certificate, DER or PEM, as `kloister simulator root` writes it."):
        return parse_any_root(_read(path, _MAX_ROOT))


def _pack(path: Path) -> Pack:
    with read_from(path, "`kloister collateral export` writes packs."):
        return Pack.parse(_read(path, MAX_SIZE))


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed("file-size", f"{path} has more than {limit} bytes.", "Check the name.")
    return data
