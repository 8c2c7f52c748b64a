"""TCB baselines: which of Intel's evaluation numbers a policy names, and which there are to name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kloister.errors import Denied
from kloister.services.attestation.evidence import instant
from kloister.services.attestation.policies import ActivePolicy
from kloister.trust.policy.maa import configure
from kloister.trust.policy.maa.meter import MAX_STEPS

_PROPERTY = "x-ms-sgx-tcbidentifier"
DEFAULT = "azuredefault"


def evaluation_number(active: ActivePolicy, steps: int = MAX_STEPS) -> int | None:
    """Which of Intel's evaluation numbers the policy's configuration names; None: the newest in force.

    Raises:
        Denied: `tcb-identifier`. MaaPolicyError: the configuration fails.
    """
    if active.policy is None or not active.policy.configuration:
        return None
    found = [claim.value for claim in configure(active.policy, steps=steps) if claim.type == _PROPERTY]
    if not found or found[-1] == DEFAULT:
        return None
    text = str(found[-1])
    if not (text.isascii() and text.isdigit() and len(text) < 6):  # noqa: PLR2004  digits; numbers have two
        raise Denied(
            "tcb-identifier",
            f"The policy's {_PROPERTY} {text[:32]!a} is neither {DEFAULT} nor a number.",
            "Correct it in configurationrules.",
        )
    return int(text)


def baselines(held: Mapping[int, datetime], selected: int | None) -> dict[str, Any]:
    """The answer of `/tcbbaselines/{type}`.

    Args:
        held: the evaluation numbers that collateral is held of, each with when its newest level was defined.
        selected: the one that the policy names; None: the default, the newest.
    """
    listed = [_baseline(str(number), number, held[number], chosen=number == selected) for number in sorted(held)]
    if held:
        newest = max(held)
        listed.insert(0, _baseline(DEFAULT, newest, held[newest], chosen=selected is None))
    return {"tcbBaselines": listed}


def _baseline(identifier: str, number: int, released: datetime, *, chosen: bool) -> dict[str, Any]:
    """Which platform software a baseline needs stands in no document of Intel's: those two are empty."""
    return {
        "tcbIdentifier": identifier,
        "tcbEvaluationDataNumber": number,
        "tcbReleaseDate": instant(released),
        "minimumPswLinuxVersion": "",
        "minimumPswWindowsVersion": "",
        "isSelectedTcb": chosen,
    }
