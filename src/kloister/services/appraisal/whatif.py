"""The same evidence with other collateral or at another time: what it is now, what it will be, and from when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import MAXYEAR, datetime
from typing import Any

from kloister.errors import KloisterError, Malformed
from kloister.formats.dcap import QeIdentity, TcbInfo
from kloister.formats.pki import Crl
from kloister.services.appraisal.kinds import Kind
from kloister.services.appraisal.result import Appraisal
from kloister.services.appraisal.service import appraise
from kloister.services.appraisal.tokens import TokenKeys
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import AmdRoot, Collateral, Root, SnpEndorsement

SERVER, SERVICE = "ra-tls-server", "attestation-service"  # the kind of evidence that a server showed
GIVEN = "given"  # the collateral of the question itself


@dataclass(frozen=True, slots=True)
class Window:
    """When all documents of some collateral are valid; both ends included.

    Attributes:
        start, end: the period.
        evaluation_number: of the TCB info.
        standard: when Intel's standard baseline takes this evaluation. The newest date among its levels is that of the
            TCB recovery (`tcbDate` of PCS API v4, `tcbevaluationdatanumbers`), and `update=standard` is the newest
            evaluation whose recovery is twelve months old.
    """

    start: datetime
    end: datetime
    evaluation_number: int
    standard: datetime

    @classmethod
    def of(cls, collateral: Collateral) -> Window:
        """Read it from the documents, whose signatures the verification checks. Raises `Malformed`."""
        info, identity = TcbInfo.parse(collateral.tcb_info), QeIdentity.parse(collateral.qe_identity)
        lists = [Crl.parse(text.encode("ascii")) for text in (collateral.pck_crl, collateral.root_ca_crl)]
        starts = [info.issue_date, identity.issue_date, *(each.this_update for each in lists)]
        ends = [info.next_update, identity.next_update, *(each.next_update for each in lists)]
        dates = [level.date for level in info.levels]
        dates += [level.date for module in info.tdx_modules for level in module.levels]
        recovered = max(dates, default=info.issue_date)
        return cls(max(starts), min(ends), info.evaluation_number, _year_after(recovered))

    def nearest(self, at: datetime) -> datetime:
        """`at` itself if it is inside, otherwise the end that is nearer."""
        return max(self.start, min(at, self.end))


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Attributes:
        collateral: the name of the collateral that was used; `given` for that of the question.
        at: the time of judgement.
        evaluation_number: of the TCB info, None where it cannot be read.
        appraisal: what was found.
        says: the sentence for a person, empty where nothing changes.
    """

    collateral: str
    at: datetime
    evaluation_number: int | None
    appraisal: Appraisal
    says: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        found = self.appraisal
        return {
            "collateral": self.collateral,
            "at": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "evaluation_number": self.evaluation_number,
            "genuine": found.genuine,
            "verdict": "accept" if found.accepted else "reject",
            "tcb_status": found.tcb_status,
            "advisories": list(found.advisories),
            "reason": found.reason.code if found.reason else None,
            "says": self.says,
        }


@dataclass(frozen=True, slots=True)
class Question:
    """Evidence and how it is judged, but for collateral and time."""

    data: bytes
    roots: Sequence[Root | AmdRoot]
    policy: AppraisalPolicy | None
    endorsement: SnpEndorsement | None = None  # of an SNP report, which has no collateral
    token_keys: TokenKeys | None = None  # of a token, which has none either

    def ask(self, collateral: Collateral | None, at: datetime) -> Appraisal:
        """The appraisal with this collateral at this time."""
        return appraise(
            self.data,
            collateral,
            self.roots,
            at,
            self.policy,
            endorsement=self.endorsement,
            token_keys=self.token_keys,
        )


Other = Collateral | KloisterError  # an error: this collateral could not be had


def what_if(
    question: Question,
    given: Collateral | None,
    at: datetime,
    others: Sequence[tuple[str, Other]] = (),
    times: Sequence[datetime] = (),
) -> tuple[Row, ...]:
    """The first row is now; then every other collateral, at a time at which it is valid; then every other time.

    Args:
        question: the evidence, roots and policy.
        given: the collateral of the first row; none for an SNP report or a token.
        at: its time, aware.
        others: names and collateral to try, for instance `early`, or of another evaluation number.
        times: instants to try, aware, with the given collateral and with every other.
    """
    now = question.ask(given, at)
    first = Row(GIVEN, at, _number(given) if given else None, now, _expiry(now))
    rows = [first]
    known = [(name, other) for name, other in others if isinstance(other, Collateral)]
    for name, other in others:
        rows.append(
            _with_collateral(question, first, name, other)
            if isinstance(other, Collateral)
            else _not_had(first, name, other)
        )
    for time in times:
        if given is None:
            found = question.ask(None, time)
            rows.append(Row(GIVEN, time, None, found, found.reason.text if found.reason else ""))
            continue
        for name, collateral in ((GIVEN, given), *known):
            rows.append(_at_time(question, first, name, collateral, time))
    return tuple(rows)


def of_server(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows about a certificate that a server showed: its own, whose key the handshake proved, or of its tokens."""
    kinds = [SERVICE if row.appraisal.kind == Kind.SIGNING_CERTIFICATE else SERVER for row in rows]
    pairs = zip(rows, kinds, strict=True)
    return tuple(replace(row, appraisal=replace(row.appraisal, kind=kind)) for row, kind in pairs)


def _with_collateral(question: Question, first: Row, name: str, collateral: Collateral) -> Row:
    try:
        window = Window.of(collateral)
    except Malformed as error:
        return _not_had(first, name, error)
    at = window.nearest(first.at)
    found = question.ask(collateral, at)
    return Row(name, at, window.evaluation_number, found, " ".join(_changes(first, found, window)))


def _not_had(first: Row, name: str, error: KloisterError) -> Row:
    return Row(name, first.at, None, Appraisal(genuine=False, accepted=False, reason=error), error.text)


def _changes(first: Row, found: Appraisal, window: Window) -> Iterator[str]:
    before, after = first.appraisal.tcb_status, found.tcb_status
    if window.end < first.at:
        yield f"This collateral expired {window.end:%Y-%m-%d}."
    if after is None:
        yield f"Not genuine: {found.reason.text}" if found.reason else ""
        return
    if after != before:
        yield _difference(first, found, window, first.at)
    fresh = sorted(set(found.advisories) - set(first.appraisal.advisories))
    if fresh:
        yield f"New advisories: {', '.join(fresh)}."
    if first.appraisal.accepted != found.accepted:
        yield f"It would be {'accepted' if found.accepted else 'refused'}."


def _difference(first: Row, found: Appraisal, window: Window, at: datetime) -> str:
    """That a status is not the one of now, and from when: a newer evaluation is counted by the early baseline first."""
    status, number, known = found.tcb_status, window.evaluation_number, first.evaluation_number
    newer = known is not None and number > known
    start = max(window.start, window.standard) if newer else window.start
    if known is not None and number < known:
        return f"Is {status} with the older evaluation {number}."
    if start > at:
        why = f", when evaluation {number} is the standard baseline" if newer and start == window.standard else ""
        return f"Will be {status} from {start:%Y-%m-%d} on{why}."
    if newer:
        return f"Is {status} with evaluation {number}, the standard baseline since {window.standard:%Y-%m-%d}."
    return f"Is {status} with this collateral."


def _at_time(question: Question, first: Row, name: str, collateral: Collateral, time: datetime) -> Row:
    found = question.ask(collateral, time)
    try:
        window = Window.of(collateral)
    except Malformed as error:
        return Row(name, time, None, found, error.text)
    says = ""
    if time > window.end:
        last = question.ask(collateral, window.end)
        until = f" Until then: {last.tcb_status}." if last.tcb_status else ""
        says = f"Collateral expires {window.end:%Y-%m-%d}.{until}"
    elif time < window.start:
        says = f"Collateral is valid from {window.start:%Y-%m-%d} on."
    elif found.reason is not None and found.tcb_status is None:
        says = found.reason.text
    elif found.tcb_status != first.appraisal.tcb_status:
        says = _difference(first, found, window, time)
    elif found.accepted != first.appraisal.accepted and found.reason is not None:
        says = found.reason.text  # a waiver that ends, collateral that becomes too old
    return Row(name, time, window.evaluation_number, found, says)


def _expiry(found: Appraisal) -> str:
    return f"Collateral expires {found.expires:%Y-%m-%d}." if found.expires else ""


def _year_after(day: datetime) -> datetime:
    if day.year == MAXYEAR:  # whoever wrote the documents may write any
        return day
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # the 29th of February
        return day.replace(year=day.year + 1, month=3, day=1)


def _number(collateral: Collateral) -> int | None:
    try:
        return TcbInfo.parse(collateral.tcb_info).evaluation_number
    except Malformed:
        return None
