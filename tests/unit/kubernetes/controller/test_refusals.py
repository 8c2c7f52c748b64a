from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.formats.protocol.events import Refused
from kloister.kubernetes.controller.refusals import REASON, refusals
from kloister.kubernetes.controller.telling import Pace

Json = dict[str, Any]
WHEN = "2026-11-22T12:00:00Z"


def ended(message: str, code: int = 70) -> Json:
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": WHEN}}


def said(code: str = "file-changed", text: str = "A file was changed.") -> str:
    return json.dumps(Refused(code, text, "Pull it again.").build())


def pod(name: str = "clinic-7d4", limit: str = "sgx.intel.com/epc", **status: Any) -> Json:
    container = {"name": "app", "resources": {"limits": {limit: "40Mi"}}}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": "u-1"},
        "spec": {"nodeName": "n1", "containers": [container]},
        "status": {"containerStatuses": [{"name": "app", "restartCount": 2, **status}]},
    }


def test_a_refusal_becomes_an_event_of_the_pod() -> None:
    (event,) = refusals(pod(state=ended(said())))
    assert event["reason"] == REASON
    assert event["message"] == "app was not started [file-changed]: A file was changed. Pull it again."
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "clinic-7d4", "uid": "u-1",
        "fieldPath": "spec.containers{app}",
    }  # fmt: skip
    assert (event["count"], event["lastTimestamp"], event["source"]["host"]) == (3, WHEN, "n1")


def test_while_it_waits_for_its_restart_the_event_stays_the_same() -> None:
    waiting = pod(state={"waiting": {}}, lastState=ended(said()), restartCount=3)
    assert refusals(waiting) == refusals(pod(state=ended(said())))


def test_another_reason_is_another_event() -> None:
    (one,), (other,) = refusals(pod(state=ended(said()))), refusals(pod(state=ended(said("tcb-revoked"))))
    assert one["metadata"]["name"] != other["metadata"]["name"]


@pytest.mark.parametrize(
    "other",
    [
        pod(state=ended(said(), 1)),
        pod(state=ended("no JSON")),
        pod(state=ended("[]")),
        pod(state=ended('{"event":"log","text":"x"}')),
        pod(state={"running": {}}),
        pod(limit="memory", state=ended(said())),
        {"metadata": {}, "spec": {}},
    ],
)
def test_nothing_else_becomes_one(other: Json) -> None:
    assert refusals(other) == []


@given(st.text(max_size=3000), st.integers(1, 253))
def test_any_text_fits_in_an_event(text: str, length: int) -> None:
    for event in refusals(pod("n" * length, state=ended(said(text=text)))):
        assert len(event["message"].encode()) <= 1024
        assert event["message"].isprintable()
        assert len(event["metadata"]["name"]) <= 253


def event(count: int, name: str = "e", namespace: str = "shop") -> Json:
    return {"metadata": {"namespace": namespace, "name": name}, "count": count}


def test_what_was_said_is_not_said_again_and_a_count_seldom() -> None:
    pace = Pace()
    assert pace.allows(event(1), 0)
    assert not pace.allows(event(1), 100)
    assert pace.allows(event(2), 101)
    assert not pace.allows(event(3), 110)
    assert pace.allows(event(4), 170)


def test_many_events_of_one_minute_are_cut_off() -> None:
    pace = Pace()
    allowed = [pace.allows(event(1, str(number), f"n{number % 20}"), 5.0) for number in range(1000)]
    assert allowed.count(True) == 300
    assert pace.allows(event(1, "later"), 66.0)
