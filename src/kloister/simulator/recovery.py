"""A staged TCB recovery: what a platform's makers publish when its level has become too old."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.dcap import TcbStatus
from kloister.formats.wire import canonical_json, load_json
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage

STAGES = (
    TcbStatus.UP_TO_DATE,
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.REVOKED,
)
"""The order in which a recovery is met; `--stage N` counts from 0."""

MAX_SIZE = 64 * 1024  # bytes of the stored document
MAX_ADVISORIES = 100
_ALLOWED = frozenset(TcbStatus) - {TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED}
_ADVISORY = re.compile(r"[A-Z]{1,16}-[A-Z]{1,8}-[0-9]{1,8}")
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {"status", "advisories", "date", "early"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Where the platform stands.

    Attributes:
        status: of the platform's own level; anything but UpToDate means that a newer one exists.
        advisories: why, for instance INTEL-SA-00615.
        date: since when (tcbDate of the levels).
        early: the standard baseline does not count it yet, the early one does.
    """

    status: TcbStatus = TcbStatus.UP_TO_DATE
    advisories: tuple[str, ...] = ()
    date: datetime = TcbStage().date
    early: bool = False

    @classmethod
    def create(cls, status: str, advisories: tuple[str, ...], date: datetime, *, early: bool) -> Self:
        """A recovery as a person names it.

        Raises:
            Malformed: `recovery-status`, `recovery-advisory`.
        """
        known = {one.lower(): one for one in _ALLOWED}
        if status.lower() not in known:
            raise Malformed("recovery-status", f"{status[:40]!a} is no TCB status.", f"Try one of {', '.join(STAGES)}.")
        if len(advisories) > MAX_ADVISORIES or not all(_ADVISORY.fullmatch(one) for one in advisories):
            raise Malformed("recovery-advisory", "An advisory is named like INTEL-SA-00615.")
        date = date.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(status=known[status.lower()], advisories=advisories, date=date, early=early)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The stored document. Raises `Malformed`: `recovery-*`."""
        value: Any = load_json(data, "recovery", MAX_SIZE)
        if not isinstance(value, dict) or set(value) != _FIELDS or not isinstance(value["advisories"], list):
            raise Malformed("recovery-field", "The platform's TCB recovery is damaged.", "Set it anew.")
        texts = [value["status"], value["date"], *value["advisories"]]
        if not all(isinstance(text, str) for text in texts) or not isinstance(value["early"], bool):
            raise Malformed("recovery-field", "The platform's TCB recovery is damaged.", "Set it anew.")
        try:
            date = datetime.strptime(value["date"], _DATE).replace(tzinfo=UTC)
        except ValueError:
            raise Malformed("recovery-field", "The platform's TCB recovery is damaged.", "Set it anew.") from None
        return cls.create(value["status"], tuple(value["advisories"]), date, early=value["early"])

    def build(self) -> bytes:
        """The document to store."""
        return canonical_json(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The same as an object."""
        return {
            "status": self.status.value,
            "advisories": list(self.advisories),
            "date": self.date.strftime(_DATE),
            "early": self.early,
        }

    def stage(self, *, early: bool) -> TcbStage:
        """What a baseline says. A recovery has the next evaluation number, so that baselines can be told apart."""
        if self.status is TcbStatus.UP_TO_DATE or (self.early and not early):
            return TcbStage()
        staged = TcbStage(status=self.status, advisories=self.advisories, date=self.date)
        return replace(staged, evaluation_number=EVALUATION_NUMBER + 1)
