"""Messages of the platform: what is built is parsed, and whatever else is refused in one way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Denied, Malformed, Misused, Unavailable
from kloister.formats.protocol import allocations, events, platform, quoting, spawner, tee, typed
from kloister.formats.protocol.frames import CONTROL_LIMIT, TEE_LIMIT, Decoder, encode
from kloister.formats.protocol.host import Host
from kloister.formats.wire import canonical_json, load_json

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
short = texts.filter(lambda text: len(text) <= 20)
tables = st.dictionaries(texts, texts, max_size=4)
hosts = st.builds(
    Host,
    broker=texts,
    instance=texts,
    slots=tables,
    arguments=st.none() | st.lists(texts, max_size=4).map(tuple),
    mounts=tables,
)
data64, data512 = st.binary(min_size=64, max_size=64), st.binary(min_size=512, max_size=512)
data432 = st.binary(min_size=432, max_size=432)
tee_requests = st.one_of(
    st.builds(tee.QuoteRequest, data64),
    st.builds(tee.ReportRequest, data512, data64),
    st.builds(tee.TargetInfoRequest),
    st.builds(tee.KeyRequest, data512),
)
platform_requests = st.one_of(
    st.sampled_from(["status", "root", "collateral"]).map(platform.Plain),
    st.builds(platform.QuoteContent, st.binary(max_size=100), data64),
    st.builds(quoting.QuoteReport, data432),
    st.builds(quoting.QuoteReport, data432, st.binary(min_size=16, max_size=16), data512),
    st.builds(quoting.ReportContent, st.binary(max_size=100), data512, data64),
    st.builds(
        platform.Launch,
        st.binary(max_size=100),
        st.binary(min_size=1808, max_size=1808),
        st.booleans(),
        hosts,
    ),
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)
sizes = st.integers(0, 1 << 48)
allocates = st.builds(allocations.Allocate, names, sizes, texts)
attaches = st.builds(
    allocations.Attach,
    st.binary(max_size=100),
    st.binary(min_size=1808, max_size=1808),
    st.binary(max_size=100),
    st.booleans(),
)
allocated = st.builds(allocations.AllocationStatus, names, sizes, texts, sizes, short, short)
starts = st.builds(
    spawner.StartRequest, short, st.binary(max_size=100), texts, hosts, st.lists(texts, max_size=4).map(tuple)
)
some_events = st.one_of(
    st.builds(events.Started, texts, texts),
    st.builds(events.Sandbox, st.integers(1, 2**31 - 1)),
    st.builds(events.Phase, texts, st.integers(0, 2**53 - 1)),
    st.builds(events.Log, texts),
    st.builds(events.Exited, st.integers(0, 255)),
    st.builds(events.Exited, st.none(), st.integers(1, 64)),
    st.builds(events.Refused, texts, texts, texts),
)
PARSERS: list[tuple[st.SearchStrategy[Any], Callable[[dict[str, Any]], Any]]] = [
    (tee_requests, tee.parse_request),
    (platform_requests, platform.parse_request),
    (allocates | st.builds(allocations.Release, names), platform.parse_request),
    (attaches, allocations.Attach.parse),
    (allocated, allocations.AllocationStatus.parse),
    (
        st.builds(quoting.QeInfo, data512, st.binary(min_size=32, max_size=32), st.integers(1, 9999)),
        quoting.QeInfo.parse,
    ),
    (st.builds(quoting.Quoted, st.binary(max_size=99), st.none() | data432), quoting.Quoted.parse),
    (starts, spawner.StartRequest.parse),
    (some_events, events.parse_event),
    (hosts, Host.parse),
]
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=5) | st.just("A" * 86),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(PARSERS).flatmap(lambda pair: st.tuples(pair[0], st.just(pair[1]))))
def test_what_is_built_is_parsed(pair: tuple[Any, Callable[[dict[str, Any]], Any]]) -> None:
    message, parse = pair
    assert parse(load_json(canonical_json(message.build()), "test", CONTROL_LIMIT)) == message


@given(
    st.sampled_from(PARSERS).flatmap(lambda pair: st.tuples(pair[0], st.just(pair[1]))),
    st.data(),
    junk,
)
def test_a_changed_member_is_parsed_or_malformed(
    pair: tuple[Any, Callable[[dict[str, Any]], Any]], data: st.DataObject, value: Any
) -> None:
    message, parse = pair
    built = message.build()
    name = data.draw(st.sampled_from([*sorted(built), "unknown"]))
    if data.draw(st.booleans()):
        built.pop(name, None)
    else:
        built[name] = value
    with suppress(Malformed):
        parse(built)


@pytest.mark.parametrize(
    ("parse", "message", "code"),
    [
        (tee.parse_request, {"op": "seal"}, "tee-op"),
        (tee.parse_request, {"op": ["quote"]}, "tee-op"),
        (tee.parse_request, {"op": "targetInfo", "pid": 1}, "tee-member"),
        (tee.parse_request, {"op": "quote"}, "tee-reportdata"),
        (tee.parse_request, {"op": "quote", "reportData": "AA"}, "tee-reportdata"),
        (tee.parse_request, {"op": "quote", "reportData": "A=="}, "tee-reportdata-base64url"),
        (platform.parse_request, {"op": "fuses"}, "platform-op"),
        (platform.parse_request, {"op": "status", "x": 1}, "platform-member"),
        (platform.parse_request, {"op": "release", "id": "../a"}, "allocation-id"),
        (platform.parse_request, {"op": "allocate", "id": "a", "epc": -1, "directory": "/"}, "allocation-epc"),
        (allocations.Attach.parse, {"op": "quote"}, "allocation-op"),
        (platform.parse_signal, {"op": "signal", "number": 65}, "platform-number"),
        (platform.parse_signal, {"op": "signal", "number": True}, "platform-number"),
        (platform.parse_signal, {"op": "launch"}, "platform-op"),
        (spawner.StartRequest.parse, {"op": "stop"}, "start-op"),
        (events.parse_event, {"event": "born"}, "event-kind"),
        (events.parse_event, {"event": ["exit"]}, "event-kind"),
        (events.parse_event, {"event": "exit", "signal": 9, "status": 0}, "event-member"),
        (events.parse_event, {"event": "exit", "status": -1}, "event-status"),
        (events.parse_event, {"event": "log", "text": "a\0"}, "event-text"),
        (events.parse_event, {"event": "log", "text": "\ud800"}, "event-text"),
        (Host.parse, {"slots": {"A": 1}}, "host-slots"),
        (Host.parse, {"slots": []}, "host-slots"),
        (Host.parse, {"arguments": "sh"}, "host-arguments"),
    ],
)
def test_refusals_have_their_code(parse: Callable[[dict[str, Any]], Any], message: dict[str, Any], code: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(message)
    assert refused.value.code == code


def test_host_members_are_optional() -> None:
    assert Host.parse({}) == Host()


def test_a_launch_names_its_mounts_in_order_and_not_too_many() -> None:
    launch = platform.Launch(b"m", bytes(1808), host=Host(mounts={"b": "/b", "a": "/a"}))
    assert launch.mounts == ("a", "b")
    many = platform.Launch(b"m", bytes(1808), host=Host(mounts={str(number): "/" for number in range(65)}))
    with pytest.raises(Malformed) as refused:
        platform.parse_request(many.build())
    assert refused.value.code == "platform-mounts"


def test_signals_are_parsed_as_built() -> None:
    assert platform.parse_signal(platform.signal(15)) == 15


def test_answers_and_refusals_of_the_processor() -> None:
    assert tee.parse_answer(tee.answer("key", b"0123"), "key") == b"0123"
    with pytest.raises(Denied) as refused:
        tee.parse_answer(tee.refusal(Unavailable("epc-exhausted", "Full.", "Wait.")), "key")
    assert refused.value.as_json() == {"code": "epc-exhausted", "text": "Full.", "hint": "Wait."}
    wrong: tuple[dict[str, Any], ...] = ({"key": 1}, {}, {"error": 1}, {"error": {}}, {"quote": "AA", "key": "AA"})
    for message in wrong:
        with pytest.raises(Malformed):
            tee.parse_answer(message, "key")


def test_long_texts_of_events_are_cut() -> None:
    for event in (events.Log("x" * 100_000), events.Refused("code", "x" * 100_000)):
        assert events.parse_event(event.build())


@given(st.lists(some_events, max_size=4), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(messages: list[events.Event], step: int) -> None:
    stream = b"".join(encode(event.build(), TEE_LIMIT) for event in messages)
    decoder = Decoder(TEE_LIMIT, "test")
    seen: list[events.Event] = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        while message := decoder.take():
            seen.append(events.parse_event(message))
    assert seen == messages
    assert decoder.idle


@given(st.binary(max_size=60))
def test_any_bytes_are_frames_or_malformed(data: bytes) -> None:
    decoder = Decoder(TEE_LIMIT, "test")
    decoder.feed(data)
    with suppress(Malformed):
        while decoder.take() is not None:
            pass


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0\0\0\0", "test-size"),
        (b"\0\0\0\x0b", "test-size"),
        (b"\0\0\0\x02[]", "test-message"),
        (b"\0\0\0\x02{]", "test-json"),
    ],
)
def test_bad_frames_are_refused(data: bytes, code: str) -> None:
    decoder = Decoder(10, "test")
    decoder.feed(b"\0\0\0\x02{}")
    assert decoder.take() == {}
    decoder.feed(data)
    with pytest.raises(Malformed) as refused:
        decoder.take()
    assert refused.value.code == code


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    with pytest.raises(Misused) as refused:
        encode({"x": "y" * 20}, 10)
    assert refused.value.code == "frame-size"


def test_flags_and_lists_are_typed() -> None:
    assert typed.flag({"a": True}, "a", "test") is True
    with pytest.raises(Malformed):
        typed.flag({"a": 1}, "a", "test")
    with pytest.raises(Malformed):
        typed.strings({"a": ["b", 1]}, "a", "test", 2, 1)
    with pytest.raises(Malformed):
        typed.octets({"a": "AAAA"}, "a", "test", limit=2)
