"""Judges many pieces of evidence on all cores; one that cannot be read is rejected and stops no other."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kloister.errors import KloisterError, Malformed, Unavailable
from kloister.formats.snp import HclBlob
from kloister.formats.tokens import JwkSet
from kloister.formats.wire import load_json
from kloister.services.appraisal.batch_items import MAX_LINE, Item
from kloister.services.appraisal.inputs import (
    MAX_COLLATERAL,
    parse_any_root,
    parse_collateral,
    parse_policy,
    parse_time,
)
from kloister.services.appraisal.recognise import MAX_SIZE, SNP_KINDS, TOKEN_KINDS, Kind, identify, unwrap
from kloister.services.appraisal.result import Appraisal
from kloister.services.appraisal.service import OPERATOR_NAMED, appraise
from kloister.services.appraisal.tokens import TokenKeys
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import AMD_ROOTS, INTEL_ROOT, AmdRoot, Collateral, Root, SnpEndorsement, VerifierCache

CHUNK = 256  # items that travel to a worker together, ..
_CHUNK_BYTES = 4 * 1024 * 1024  # .. or fewer, whose lines have at least so many bytes together
_AHEAD = 3  # chunks per worker that wait or run: bounds the memory, and keeps every worker busy
_HELD = 64  # collateral of so many platforms is kept parsed by each worker
_MEMBERS = {"quote", "collateral", "at", "id"}
_MAX_ID = 256  # characters of the name that a line gives its piece


@dataclass(frozen=True, slots=True)
class Row:
    """What was found about one item, small, because it travels between processes.

    Attributes:
        source: the item's name.
        accepted, genuine, tee, platform, status: as in `Appraisal`; platform is the FMSPC, or AMD's product line.
        reason: the code of a refusal.
        text: one line of JSON: `source`, the line's own `id`, and the object of `Appraisal.as_json`; empty if it was
            not asked for.
    """

    source: str
    accepted: bool
    genuine: bool
    tee: str | None
    platform: str | None
    status: str | None
    reason: str | None
    text: str = field(repr=False)

    def __reduce__(self) -> tuple[type[Row], tuple[object, ...]]:
        """As it travels from a worker: a third of the time of what dataclasses do."""
        found = (self.accepted, self.genuine, self.tee, self.platform, self.status, self.reason)
        return Row, (self.source, *found, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How everything is judged, as plain bytes, which travel to other processes.

    Attributes:
        roots: certificates, DER or PEM; none: Intel's and AMD's.
        policy: an appraisal policy; None: the defaults.
        proof_only: no policy at all.
        collateral: JSON, for items that have none of their own.
        at: the time of judgement, for items that have none of their own.
        show_identifiers: whether what names a machine is in the JSON.
        as_json: whether rows have their line of JSON.
        keys: a set of keys (JWKS), for tokens.
        issuer: who must have issued them.
        provider: makes, in each process, what fetches for items that have nothing that vouches for them; None: they
            are refused.
    """

    roots: tuple[bytes, ...] = field(default=(), repr=False)
    policy: bytes | None = None
    proof_only: bool = False
    collateral: bytes | None = field(default=None, repr=False)
    at: datetime
    show_identifiers: bool = False
    as_json: bool = True
    keys: bytes | None = field(default=None, repr=False)
    issuer: str | None = None
    provider: Callable[[Sequence[Root | AmdRoot]], Provider] | None = None


class Provider(Protocol):
    """What vouches for evidence, held or fetched; each thing once, whoever asks."""

    def collateral(self, quote: bytes) -> Collateral | None:
        """For the platform of a quote, None: nobody is asked. Raises `Unavailable`, `Unverified`, `Malformed`."""

    def endorsement(self, report: bytes, vek: bytes | None = None) -> SnpEndorsement | None:
        """For the chip of an SNP report, likewise; `vek` is the certificate of its key, if that came with it."""


def judge_all(items: Iterable[Item], setup: Setup, jobs: int) -> Iterator[Row]:
    """A row per item, in their order.

    Memory does not grow with the number of items. Processes and not threads: only the signatures leave Python's lock,
    and with caches the rest is half of the time.

    Raises:
        Malformed: roots, policy or collateral of the setup are unfit.
    """
    _Worker(setup)  # what is wrong for all is said once, before anything starts
    chunks = _chunks(items)
    if jobs == 1:
        worker = _Worker(setup)
        for chunk in chunks:
            yield from worker.judge(chunk)
        return
    context = multiprocessing.get_context("forkserver")  # a fork of a program with threads may hang
    context.set_forkserver_preload([__name__])  # loaded once and not by every worker
    with ProcessPoolExecutor(jobs, context, _start, (setup,)) as pool:
        waiting: deque[Future[list[Row]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_judge, chunk))
            if len(waiting) > jobs * _AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.line or b"")
        if len(chunk) == CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Line(NamedTuple):
    """What a line says."""

    evidence: bytes
    collateral: str | dict[str, Any] | None  # a path or an object
    at: datetime | None
    id: str | int | None


class _LineFile:
    """Reads lines where they are; the file stays open for the next one."""

    def __init__(self) -> None:
        self._path = ""
        self._file: FileIO | None = None

    def read(self, item: Item) -> bytes:
        """The item's line."""
        if item.line is not None or item.span is None:
            return item.line or b""
        if self._file is None or item.path != self._path:
            self.close()
            self._path = item.path or ""
            self._file = FileIO(self._path)
        self._file.seek(item.span[0])
        return self._file.read(item.span[1])

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._file is not None:
            self._file.close()


class _Worker:
    """Judges items with caches of its own."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._roots: list[Root | AmdRoot] = [parse_any_root(each) for each in setup.roots] or [INTEL_ROOT, *AMD_ROOTS]
        self._policy = _policy(setup)
        self._cache = VerifierCache()
        self._given = None if setup.collateral is None else parse_collateral(setup.collateral)
        self._held: OrderedDict[str | bytes, Collateral] = OrderedDict()
        self._keys = None if setup.keys is None else TokenKeys(JwkSet.parse(setup.keys), setup.issuer)
        self._provider = None if setup.provider is None else setup.provider(self._roots)

    def judge(self, chunk: list[Item]) -> list[Row]:
        """A row per item."""
        with closing(_LineFile()) as lines:
            return [self._row(item, lines) for item in chunk]

    def _row(self, item: Item, lines: _LineFile) -> Row:
        name = None
        try:
            line = _line(lines.read(item)) if item.line is not None or item.span is not None else None
            name = None if line is None else line.id
            appraisal = self._appraise(item, line)
        except KloisterError as error:
            appraisal = Appraisal(genuine=False, accepted=False, reason=error)
        except OSError as error:
            appraisal = Appraisal(genuine=False, accepted=False, reason=_unreadable(item, error.strerror or ""))
        return self._told(item.source, name, appraisal)

    def _told(self, source: str, name: str | int | None, found: Appraisal) -> Row:
        text = ""
        if self._setup.as_json:
            document = found.as_json(show_identifiers=self._setup.show_identifiers)
            text = json.dumps({"source": source, **({} if name is None else {"id": name}), **document})
        reason = found.reason.code if found.reason else None
        product = (found.claims or {}).get("product")
        platform = found.fmspc or (None if product is None else str(product))
        return Row(source, found.accepted, found.genuine, found.tee, platform, found.tcb_status, reason, text)

    def _appraise(self, item: Item, line: _Line | None) -> Appraisal:
        if item.failed:
            raise _unreadable(item, item.failed)
        at, collateral = self._setup.at, self._given
        if line is not None:
            data, at = line.evidence, line.at or at
            collateral = self._own(line.collateral) or collateral
        else:
            data = _read(item.path or "", MAX_SIZE)
            collateral = self._own(item.collateral) or collateral
        vouched = None
        if item.endorsement is not None:
            vek, chain = (_read(each, MAX_SIZE) for each in item.endorsement)
            vouched = SnpEndorsement(vek=vek, chain=chain)
        if self._provider is not None and collateral is None and vouched is None:
            collateral, vouched = provided(data, self._provider)
        return appraise(data, collateral, self._roots, at, self._policy, self._cache, vouched, self._keys)

    def _own(self, named: str | dict[str, Any] | None) -> Collateral | None:
        """An item's own collateral, by path or as an object; the last ones are kept."""
        if named is None:
            return None
        key = named if isinstance(named, str) else json.dumps(named, sort_keys=True).encode()
        held = self._held.pop(key, None)
        if held is None:
            held = (
                parse_collateral(_read(named, MAX_COLLATERAL))
                if isinstance(named, str)
                else Collateral.from_json(named)
            )
        self._held[key] = held
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return held


@dataclass(slots=True)
class Summary:
    """What a batch found, counted; genuine platforms are counted by their FMSPC or product line."""

    total: int = 0
    accepted: int = 0
    genuine: int = 0
    by: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)  # verdict, TEE, platform, status or reason

    def add(self, row: Row) -> None:
        """Count a row."""
        self.total += 1
        self.accepted += row.accepted
        self.genuine += row.genuine
        verdict, why = ("accept", row.status) if row.accepted else ("reject", row.reason)
        self.by[(verdict, row.tee or "-", row.platform or "-", why or "-")] += 1

    def lines(self) -> Iterator[str]:
        """For people: the sums, then one line per verdict, TEE, platform and status or reason."""
        rejected = self.total - self.accepted
        yield f"{self.total} judged: {self.accepted} accepted, {rejected} rejected, {self.genuine} genuine"
        for (verdict, tee, platform, why), count in sorted(
            self.by.items(), key=lambda one: (one[0][0], -one[1], one[0])
        ):
            yield f"{count:>8}  {verdict}  {tee:<4} {platform:<12}  {why}"


_worker: Callable[[list[Item]], list[Row]] | None = None


def _start(setup: Setup) -> None:
    """Make the worker of this process."""
    global _worker  # noqa: PLW0603 -- a pool's process has no other place for what it keeps
    _worker = _Worker(setup).judge


def _judge(chunk: list[Item]) -> list[Row]:
    return _worker(chunk) if _worker is not None else []


def provided(data: bytes, provider: Provider) -> tuple[Collateral | None, SnpEndorsement | None]:
    """What vouches for evidence of any kind; a token needs neither. Raises as the provider does, and `unwrap`."""
    kind, inner = identify(data)
    if kind in TOKEN_KINDS:
        return None, None
    found = unwrap(kind, inner)
    if found.inner not in SNP_KINDS:
        return provider.collateral(found.data), None
    if found.endorsement is not None:
        return None, found.endorsement
    report = HclBlob.parse(found.data).report if found.inner is Kind.AZURE_HCL else found.data
    return None, provider.endorsement(report, found.vek)


def _policy(setup: Setup) -> AppraisalPolicy | None:
    if setup.proof_only:
        return None
    return OPERATOR_NAMED if setup.policy is None else parse_policy(setup.policy)


def _line(line: bytes) -> _Line:
    """`{"quote", "collateral"?, "at"?, "id"?}`. Raises `Malformed`: `batch-line`, `batch-line-*`, `time-syntax`."""
    document = load_json(line, "batch-line", MAX_LINE)
    if not isinstance(document, dict) or not set(document) <= _MEMBERS or not isinstance(document.get("quote"), str):
        raise _unfit("is no object with quote, and perhaps collateral, at and id")
    collateral, at, name = document.get("collateral"), document.get("at"), document.get("id")
    if not isinstance(collateral, str | dict | None):
        raise _unfit("has a collateral that is neither a path nor an object")
    if isinstance(at, bool) or not isinstance(at, str | int | None):
        raise _unfit("has an at that is no time")
    if isinstance(name, bool) or not isinstance(name, str | int | None) or len(str(name)) > _MAX_ID:
        raise _unfit(f"has an id that is neither a number nor a text of at most {_MAX_ID} characters")
    return _Line(document["quote"].encode(), collateral, None if at is None else parse_time(str(at)), name)


def _read(path: str, limit: int) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed("evidence-size", f"{path} has more than {limit} bytes, too many for this.", "Check the name.")
    return data


def _unreadable(item: Item, why: str) -> Unavailable:
    return Unavailable("batch-unreadable", f"{item.source} cannot be read: {why}.", "Check the name and its mode.")


def _unfit(what: str) -> Malformed:
    return Malformed("batch-line", f"The line {what}.", 'A line is {"quote": base64 or hexadecimal, "collateral": ..}.')
