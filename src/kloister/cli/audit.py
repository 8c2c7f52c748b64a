from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from kloister.cli.broker import admin, moment
from kloister.cli.console import JsonFlag, guarded, print_json
from kloister.cli.options import StateOption
from kloister.errors import Malformed, Unverified

audit_app = typer.Typer(no_args_is_help=True, help="Show and verify the broker's audit log.")


@audit_app.command()
@guarded
def show(
    after: Annotated[int, typer.Option(min=0, help="Only entries after this sequence number.")] = 0,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show who did what, and which measurement got or was refused which secrets.

    Examples:  kloister audit show;  kloister audit show --after 100 --json
    """
    entries = [_body(entry) for page in _pages(state, after) for entry in page["entries"]]
    if as_json:
        print_json({"entries": entries})
        return
    for entry in entries:
        hidden = ("sequence", "at", "event", "previous", "evidence", "document")
        facts = "  ".join(f"{name}={_short(value)}" for name, value in entry.items() if name not in hidden)
        print(f"{entry['sequence']:>6}  {moment(entry['at'])}  {entry['event']}  {facts}")


@audit_app.command()
@guarded
def verify(
    expect: Annotated[
        str, typer.Option(help="A head (SEQUENCE:HASH) noted earlier that must still be part of the log.")
    ] = "",
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Recompute the chain from its start: any changed, removed or added entry is found.

    Examples:  kloister audit verify;  kloister audit verify --expect 42:9f3c...
    """
    from kloister.services.broker.audit import verify as verify_chain

    records: list[tuple[int, bytes, bytes]] = []
    head: dict[str, Any] | None = None
    for page in _pages(state, 0):
        head = page["head"]
        records += [(one["sequence"], one["body"].encode(), bytes.fromhex(one["hash"])) for one in page["entries"]]
    if head and not head["genuine"]:
        raise Unverified("audit-head", "The end of the audit log was not written with this broker's root key.")
    count = verify_chain(records, (head["sequence"], bytes.fromhex(head["hash"])) if head else None)
    noted = f"{count}:{head['hash'] if head else ''}"
    if expect:
        _expect(expect, records)
    if as_json:
        print_json({"entries": count, "head": noted})
    else:
        print(f"The audit log is whole: {count} entries. Note its head to detect an older copy put back: {noted}")


def _expect(noted: str, records: list[tuple[int, bytes, bytes]]) -> None:
    sequence, _, digest = noted.partition(":")
    if not sequence.isdigit():
        raise Malformed("audit-expect", f"{noted} is not SEQUENCE:HASH.", "Take it from `kloister audit verify`.")
    number = int(sequence)
    found = records[number - 1][2].hex() if 0 < number <= len(records) else ""
    if number and found != digest:
        raise Unverified("audit-rolled-back", f"The log no longer holds entry {number} as it was noted.")


def _pages(state: Any, after: int) -> Iterator[dict[str, Any]]:
    client = admin(state)
    while True:
        page = client.audit(after)
        yield page
        if not page["entries"]:
            return
        after = page["entries"][-1]["sequence"]
        if page["head"] and after >= page["head"]["sequence"]:
            return


def _body(entry: dict[str, Any]) -> dict[str, Any]:
    try:
        body = json.loads(entry["body"])
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Unverified("audit-broken", f"Entry {entry['sequence']} cannot be read.", "Run `kloister audit verify`.")
    return body


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(one.get("name", "")) if isinstance(one, dict) else str(one) for one in value) or "-"
    return str(value)
