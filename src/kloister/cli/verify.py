from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from kloister.cli.broker import standard_input
from kloister.cli.cases import Case
from kloister.cli.console import JsonFlag, guarded
from kloister.cli.endorsement import ChainOption, CrlOption, VekOption, is_snp, read_endorsement
from kloister.cli.sources import (
    CacheOption,
    Choice,
    NumberOption,
    SourceCaOption,
    SourceOption,
    TimeoutOption,
    UpdateOption,
)
from kloister.cli.verify_batch import BatchFiles, run_batch
from kloister.cli.verify_text import Manner, show
from kloister.cli.words import read_from
from kloister.errors import Malformed
from kloister.services.appraisal import (
    parse_collateral,
    parse_root,
    parse_time,
)
from kloister.services.appraisal.inputs import MAX_COLLATERAL, parse_any_root
from kloister.services.appraisal.peer import server_certificate
from kloister.services.appraisal.whatif import Question, Row, of_server, what_if
from kloister.services.collateral.bundle import MAX_SIZE as MAX_BUNDLE
from kloister.services.collateral.ports import Provided
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY
from kloister.trust.verifier import AMD_ROOTS, INTEL_ROOT, AmdRoot, Collateral, Root, SnpEndorsement

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
            help="Quote or SNP report (raw, hexadecimal, base64), Azure's HCL blob, RA-TLS certificate, KBS evidence, "
            "https://HOST:PORT; - is stdin.",
        ),
    ],
    *,
    collateral: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Collateral, one JSON document [default: held or fetched].", show_default=False
        ),
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Trust this root (DER or PEM) instead of the makers'; may be repeated."),
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
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing: use what is given or held.")] = False,
    source: SourceOption = None,
    source_ca: SourceCaOption = None,
    cache: CacheOption = None,
    update: UpdateOption = None,
    evaluation_number: NumberOption = None,
    fetch_timeout: TimeoutOption = None,
    bundle_out: Annotated[
        Path | None,
        typer.Option("--bundle-out", metavar="FILE", help="Write evidence, collateral, policy and time as one bundle."),
    ] = None,
    vek: VekOption = None,
    chain: ChainOption = None,
    crl: CrlOption = None,
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

      kloister verify quote.bin

      kloister verify quote.bin --collateral collateral.json

      kloister verify quote.bin --source pccs+https://localhost:8081 --bundle-out evidence.bundle

      kloister verify quote.hex --collateral c.json --proof-only --json

      kloister verify quote.bin --collateral c.json --root simulator-root.der --at 2026-01-15T00:00:00Z

      kloister verify quote.bin --collateral c.json --explain --what-if-collateral early.json --what-if-at 2027-01-01

      kloister verify report.bin

      kloister verify report.bin --vek vcek.der --chain cert_chain.pem

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
    choice = Choice(
        sources=source,
        ca=source_ca,
        cache=cache,
        update=update,
        number=evaluation_number,
        timeout=fetch_timeout,
        offline=offline,
    )
    case = Case.of(_evidence(thing), policy=_policy_text(policy), proof_only=proof_only, at=at)
    manner = Manner(as_json=as_json, explain=explain, proof_only=proof_only, show_identifiers=show_identifiers)
    if is_snp(case.evidence):
        if bundle_out is not None:
            raise typer.BadParameter("--bundle-out keeps quotes with their collateral; an SNP report has none.")
        ours = [_any_root(each) for each in root or ()] or AMD_ROOTS
        endorsement, more = _endorsed(read_endorsement(vek, chain, crl), case, choice, ours)
        asked = Question(case.evidence, ours, case.parsed_policy(policy), endorsement)
        _finish(what_if(asked, None, case.at, (), what_if_at or ()), manner, more)
        return
    roots = [_root(each) for each in root or ()] or [INTEL_ROOT]
    documents, provided = _documents(collateral, case, choice, roots)
    others = [(str(path), _collateral(path)) for path in what_if_collateral or ()]
    question = Question(case.evidence, roots, case.parsed_policy(policy))
    rows = what_if(question, documents, case.at, others, what_if_at or ())
    case.write(bundle_out, documents)
    if thing.startswith(_SERVER):
        rows = of_server(rows)
    _finish(rows, manner, {"collateral": provided.as_json()} if provided else {})


def _only(things: list[str]) -> str:
    if len(things) > 1:
        raise typer.BadParameter("Several things are judged with --batch.")
    return things[0]


def _finish(rows: Sequence[Row], manner: Manner, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    show(rows, manner, more)
    if not rows[0].appraisal.accepted:
        raise typer.Exit(1)


def _evidence(thing: str) -> bytes:
    if thing.startswith(_SERVER):
        return server_certificate(thing)
    return _read(None if thing == "-" else Path(thing), MAX_BUNDLE, "evidence")


def _endorsed(
    given: SnpEndorsement | None, case: Case, choice: Choice, roots: Sequence[Root | AmdRoot]
) -> tuple[SnpEndorsement | None, Mapping[str, Any]]:
    """What vouches for an SNP report, and where it comes from if it was fetched or held."""
    ours = [root for root in roots if isinstance(root, AmdRoot)]
    if given is not None or not ours:
        return given, {}
    fetched = choice.fetch_endorsement(case.evidence, ours)
    return fetched.endorsement, {"collateral": fetched.as_json()}


def _documents(
    path: Path | None, case: Case, choice: Choice, roots: Sequence[Root]
) -> tuple[Collateral, Provided | None]:
    """The collateral, and where it comes from if it was fetched or held: a file, else a bundle, else the sources."""
    given = _collateral(path) if path else case.collateral
    if given is not None:
        return given, None
    provided = choice.fetch(case.evidence, roots)
    return provided.collateral, provided


def _collateral(path: Path) -> Collateral:
    data = _read(path, MAX_COLLATERAL, "collateral")
    with read_from(path, "It is one JSON document, as `kloister simulator collateral` writes it."):
        return parse_collateral(data)


def _any_root(path: Path) -> Root | AmdRoot:
    data = _read(path, _MAX_ROOT, "root")
    with read_from(path, "A root is one certificate, DER or PEM."):
        return parse_any_root(data)


def _root(path: Path) -> Root:
    data = _read(path, _MAX_ROOT, "root")
    with read_from(path, "A root is one certificate, DER or PEM, as `kloister simulator root` writes it."):
        return parse_root(data)


def _policy_text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return _read(path, MAX_POLICY, "appraisal-policy").decode()
    except UnicodeDecodeError:
        raise Malformed("yaml-encoding", f"{path}: the policy is not UTF-8.", "Save it in UTF-8.") from None


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
