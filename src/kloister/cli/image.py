"""`kloister image`: images made from directories, and looked into."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.streams import is_watched
from kloister.cli.words import options
from kloister.errors import Misconfigured

if TYPE_CHECKING:
    from kloister.images.importer import Imported, ImportOptions
    from kloister.images.sources import SourceImage

image_app = typer.Typer(no_args_is_help=True, help="Import and inspect images.", rich_markup_mode=None)

_OWNER = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")
_EPOCH = re.compile(r"[0-9]{1,12}")
_SHOWN_NOTES = 20  # more of them help nobody on a terminal; --json has all

Texts = list[str] | None


@image_app.command("import")
@guarded
def import_(
    source: Annotated[Path, typer.Argument(help="A directory, or a tar archive (plain or gzip).", metavar="DIR|TAR")],
    destination: Annotated[str, typer.Argument(help="oci:DIR[:TAG] or oci-archive:FILE[:TAG].", metavar="DST")],
    *,
    entrypoint: Annotated[
        Texts, typer.Option(help="The program; repeat it for its fixed arguments, or give a JSON list.")
    ] = None,
    cmd: Annotated[Texts, typer.Option(help="Arguments by default; repeat, or give a JSON list.")] = None,
    env: Annotated[Texts, typer.Option(help="NAME=VALUE; repeat.")] = None,
    user: Annotated[str, typer.Option(help="NAME, UID, NAME:GROUP or UID:GID.")] = "",
    workdir: Annotated[str, typer.Option(help="Where the program starts.")] = "",
    volume: Annotated[Texts, typer.Option(help="A place that the program writes to; repeat.")] = None,
    label: Annotated[Texts, typer.Option(help="NAME=VALUE; repeat.")] = None,
    stop_signal: Annotated[str, typer.Option(help="The signal that ends the program, SIGTERM by default.")] = "",
    exclude: Annotated[
        Texts, typer.Option(help="A shell pattern over absolute paths (/usr/share/doc); repeat.")
    ] = None,
    owner: Annotated[str, typer.Option(help="UID:GID for all files; the source's own by default.")] = "",
    compression: Annotated[int, typer.Option(min=1, max=9, help="gzip level.")] = 6,
    max_unpacked: Annotated[int, typer.Option(min=1, help="GiB that the files may have together.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, write nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make an image of a directory or a tar archive: one layer, the same bytes for the same input.

    Times are clamped to SOURCE_DATE_EPOCH where it is set. Devices, pipes and sockets are left out with a note.

    Example:  kloister image import ./root oci:./app --entrypoint /usr/bin/app --env MODE=production
    """
    from kloister.formats.oci.limits import GIB, Limits
    from kloister.images.importer import ImportOptions, import_image

    epoch = _epoch()
    with options():
        chosen = ImportOptions(
            entrypoint=_arguments(entrypoint),
            command=_arguments(cmd),
            environment=tuple(env or ()),
            user=user,
            workdir=workdir,
            volumes=tuple(volume or ()),
            labels=_labels(label),
            stop_signal=stop_signal,
            exclude=tuple(exclude or ()),
            owner=_owner(owner),
            epoch=epoch,
            compression=compression,
            limits=Limits(unpacked=max_unpacked * GIB),
        )
    imported = _with_progress(import_image, source, destination, chosen, dry_run=dry_run, quiet=as_json)
    _print_imported(imported, dry_run=dry_run, as_json=as_json)


@image_app.command()
@guarded
def sample(
    name: Annotated[str, typer.Argument(help="clinic (a Python web application) or redis.", metavar="NAME")],
    destination: Annotated[str, typer.Argument(help="oci:DIR[:TAG] or oci-archive:FILE[:TAG].", metavar="DST")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Make an example image from what is on this machine: no registry is asked.

    Examples:  kloister image sample clinic oci:plain:clinic;  kloister image sample redis oci:plain:redis
    """
    from kloister.images.samples import make_sample

    _print_imported(make_sample(name, destination), dry_run=False, as_json=as_json)


@image_app.command()
@guarded
def inspect(
    reference: Annotated[
        str, typer.Argument(help="oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF].")
    ],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Read all layers and check every digest and entry.")] = False,
    files: Annotated[
        bool, typer.Option("--files", help="Print the merged root, one line per path; implies --verify.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what an image is: its layers, how it is started, whether it is converted.

    Examples:  kloister image inspect oci:./app;  kloister image inspect --files docker-archive:app.tar
    """
    from kloister.images.sources import merge_image, open_source

    with open_source(reference) as image:
        result = _described(image)
        if verify or files:
            with merge_image(image) as root:
                tree = root.tree()
                result["entries"] = len(tree.entries)
                result["notes"] = [_note(note) for note in root.notes]
            if files and not as_json:
                sys.stdout.buffer.write(tree.build())
                return
            if files:
                result["files"] = [entry.line().decode("ascii") for entry in tree.entries]
    if as_json:
        print_json(result)
    else:
        _print_described(result)


def _described(image: SourceImage) -> dict[str, Any]:
    from kloister.formats.oci.mediatypes import is_encrypted

    execution = image.config.execution
    return {
        "reference": image.reference,
        "digest": image.digest,
        "platform": str(image.config.platform),
        "created": image.config.created or None,
        "entrypoint": list(execution.entrypoint),
        "cmd": list(execution.command),
        "environment": list(execution.environment),
        "user": execution.user,
        "workdir": execution.workdir,
        "volumes": list(execution.volumes),
        "labels": dict(execution.labels),
        "layers": [
            {
                "digest": item.digest,
                "size": item.size,
                "mediaType": item.media_type,
                "encrypted": is_encrypted(item.media_type),
            }
            for item in image.layers
        ],
    }


def _print_described(result: dict[str, Any]) -> None:
    for name in ("reference", "digest", "platform", "created", "user", "workdir"):
        if result[name]:
            print(f"{name:12} {result[name]}")
    print(f"{'starts':12} {json.dumps([*result['entrypoint'], *result['cmd']], ensure_ascii=False)}")
    for name in ("environment", "volumes"):
        for item in result[name]:
            print(f"{name:12} {item}")
    for layer in result["layers"]:
        print(f"{'layer':12} {layer['digest']} {layer['size']} bytes{' (encrypted)' if layer['encrypted'] else ''}")
    if "entries" in result:
        print(f"{'verified':12} {result['entries']} entries, every digest is right")
        _say_notes(result["notes"])


def _print_imported(imported: Imported, *, dry_run: bool, as_json: bool) -> None:
    result = {
        "reference": imported.reference,
        "digest": imported.digest or None,
        "entries": imported.entries,
        "size": imported.size,
        "stored": imported.stored or None,
        "dryRun": dry_run,
        "notes": [_note(note) for note in imported.notes],
    }
    if as_json:
        print_json(result)
        return
    _say_notes([_note(note) for note in imported.notes])
    done = "would be" if dry_run else "is"
    print(f"{imported.reference} {done} an image of {imported.entries} entries, {imported.size} bytes")
    if imported.digest:
        print(imported.digest)


def _note(note: Any) -> dict[str, str]:
    return {"code": note.code, "path": os.fsdecode(note.path), "text": note.text}


def _say_notes(notes: list[dict[str, str]]) -> None:
    for note in notes[:_SHOWN_NOTES]:
        say(f"note: {note['path']!r}: {note['text']} [{note['code']}]")
    if len(notes) > _SHOWN_NOTES:
        say(f"note: and {len(notes) - _SHOWN_NOTES} more; --json has all of them.")


def _with_progress(
    work: Callable[..., Imported], source: Path, destination: str, options: ImportOptions, *, dry_run: bool, quiet: bool
) -> Imported:
    if quiet or dry_run or not is_watched():
        return work(source, destination, options, dry_run=dry_run)
    total = work(source, destination, options, dry_run=True).size
    with _bar(total) as advance:
        return work(source, destination, options, progress=advance)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("import", total=total)
        yield lambda size: bar.advance(task, size)


def _arguments(values: Texts) -> tuple[str, ...]:
    if not values or len(values) > 1 or not values[0].startswith("["):
        return tuple(values or ())
    try:
        items = json.loads(values[0])
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise typer.BadParameter(f"{values[0]!r} is not a JSON list of strings")
    return tuple(items)


def _labels(values: Texts) -> dict[str, str]:
    pairs = [value.partition("=") for value in values or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise typer.BadParameter("a label is NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _owner(text: str) -> tuple[int, int] | None:
    match = _OWNER.fullmatch(text)
    if text and match is None:
        raise typer.BadParameter("an owner is UID:GID")
    return (int(match[1]), int(match[2])) if match else None


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not _EPOCH.fullmatch(text):
        raise Misconfigured("import-option", "SOURCE_DATE_EPOCH is not a number of seconds.", "Unset it, or mend it.")
    return int(text) if text else None
