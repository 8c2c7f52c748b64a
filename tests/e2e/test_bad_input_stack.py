"""Bad input where a stack runs: refused by the broker, the platform or the runner; what ran goes on running."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import TOKEN, Box, make_box
from tests.support.cli import (
    Done,
    assert_refused,
    assert_refused_in_json,
    bad_contents,
    bad_places,
    kloister,
    process,
    processes_of,
    settled,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    try:
        yield make_box(folder)
    finally:
        assert kloister("down", "--state", folder / "state").code == 0
        assert processes_of(folder / "state") == []


@pytest.fixture
def at(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """The same with its state named by the environment."""
    monkeypatch.setenv("KLOISTER_STATE", str(box.state))
    return box


def works(done: Done) -> bool:
    return done.code == 0 and f"TOKEN={TOKEN}" in done.out


def test_the_box_works(at: Box) -> None:
    assert works(at.run())
    assert kloister("status").code == 0
    assert kloister("secret", "show", "test/box", "tls", "--public").code == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("policy show test/none", "policy-unknown"),
        ("policy show a/b/c", "policy-name"),
        ("secret list test/none", "policy-unknown"),
        ("secret set test/box none --file {file}", "secret-unknown"),
        ("secret set test/box password --file {file}", "secret-generated"),
        ("secret set test/box token --file /dev/zero", "file-size"),
        ("secret set test/box token --file /dev/null", "secret-size"),
        ("secret show test/box password --public", "secret-not-public"),
        ("secret show test/box none --public", "secret-not-public"),
        ("secret show test/box password", "secret-private"),
        ("explain AAAAAAAA", "refusal-unknown"),
        ("explain no-such-code", "refusal-unknown"),
        ("audit verify --expect x", "audit-expect"),
        ("audit verify --expect 1:00", "audit-rolled-back"),
        ("audit verify --expect 999999999:00", "audit-rolled-back"),
        ("audit verify --expect -1:00", "audit-expect"),
        ("up --listen 192.0.2.1:7443", "listen-address"),
        ("simulator quote --enclave /dev/zero --report-data 00 --out out", "content-size"),
        ("run none", None),
        ("run box --mount none=/none", None),
    ],
)
@pytest.mark.usefixtures("at")
def test_a_name_that_names_nothing(tmp_path: Path, line: str, code: str | None) -> None:
    (tmp_path / "file").write_text("x")
    words = [word.format(file=tmp_path / "file") for word in line.split()]
    assert_refused(kloister(*words), code)
    if words[0] != "run":
        assert_refused_in_json(kloister(*words, "--json"), code)
    assert kloister("status", "--json").json["running"] is True


def test_policies_that_cannot_be_applied(at: Box, tmp_path: Path) -> None:
    before = kloister("policy", "list", "--json").json
    good = at.policy.read_bytes()
    assert kloister("policy", "apply", "-", stdin=good).code == 0  # unchanged: the same version
    versions = (b"kloister.dev/v1", b"kloister.dev/v9")
    later = good.replace(*versions)
    for content in [*bad_contents(good).values(), good + b"x: 1\n", later, b"a: " + b"x" * (1 << 20)]:
        assert_refused(kloister("policy", "apply", "-", stdin=content))
        assert_refused_in_json(kloister("policy", "apply", "-", "--json", stdin=content))
    for path in bad_places(tmp_path / "bad").values():
        assert_refused(kloister("policy", "apply", path))
    assert kloister("policy", "list", "--json").json == before


def test_keys_that_cannot_be_handed_over(at: Box, tmp_path: Path) -> None:
    good = json.dumps({"policy": "test/box", "secrets": {"layer": "00" * 32}}).encode()
    cases = {
        **bad_contents(good),
        "another policy": good.replace(b"test/box", b"test/none"),
        "no such secret": good,
        "odd": good.replace(b"00", b"0", 1),
        "numbers": json.dumps({"policy": 1, "secrets": {}}).encode(),
    }
    keys = tmp_path / "keys.json"
    for content in cases.values():
        keys.write_bytes(content)
        assert_refused(kloister("policy", "apply", at.policy, "--keys", keys))
        assert keys.read_bytes() == content  # not deleted: nobody else has them


@pytest.mark.usefixtures("at")
def test_a_second_daemon_and_a_port_in_use(tmp_path: Path) -> None:
    address = kloister("status", "--json").json["address"]
    assert_refused(process("serve", "platform"), "platform-running")
    assert_refused(process("serve", "broker", "--listen", "127.0.0.1:0"), "broker-running")
    other = tmp_path / "other"
    assert_refused(process("serve", "broker", "--listen", address, "--state", other), "port-in-use")
    assert_refused(kloister("up", "--listen", address, "--state", other), "port-in-use")
    assert kloister("status", "--state", other, "--json").json["broker"]["running"] is False
    up = kloister("up", "--state", other, "--json")
    assert (up.code, up.json["running"]) == (0, True)
    assert_refused(kloister("up", "--listen", up.json["address"]), "port-in-use")
    assert kloister("status").code == 0  # the refused change has stopped nothing
    assert kloister("down", "--state", other).code == 0
    assert processes_of(other) == []


@pytest.mark.parametrize("name", ["observed.tree", "contents", "manifest.sgx", "sigstruct", "tree", "launch.json"])
def test_a_damaged_pack(at: Box, name: str) -> None:
    if not list((at.state / "cache" / "packs").glob("[0-9a-f]*")):
        assert works(at.run())
    (pack,) = (at.state / "cache" / "packs").glob("[0-9a-f]*")
    place = pack / name if (pack / name).exists() else pack / "enclave" / name
    good = place.read_bytes()
    changed = {
        "tree": good.replace(b"kloister-tree/1", b"kloister-tree/2", 1),
        "launch.json": good.replace(b'"version":1', b'"version":2', 1),
    }.get(name, bytes([good[0] ^ 1]) + good[1:])
    assert changed != good
    try:
        for content in (good[: len(good) // 2], changed):
            place.write_bytes(content)
            assert_refused(at.run())
        place.unlink()
        place.mkdir()
        done = at.run()
        assert works(done) or done.code == 1  # made anew, or refused
        assert "internal" not in done.err
    finally:
        shutil.rmtree(pack)
    assert works(at.run())  # makes the pack again


def test_a_lost_stack_document(at: Box) -> None:
    """The daemons are found again by their sockets, and stopped or used, whatever the document says."""
    settled(at.state, 3)
    (at.state / "stack.json").write_bytes(b'{"platform": {"pid": 1, "started": 5}, "broker": null, "address": 5}')
    assert kloister("up").code == 0
    assert kloister("status").code == 0
    settled(at.state, 3)
    (at.state / "stack.json").write_bytes(b"]")
    assert kloister("down", "--json").json == {"stopped": True}
    assert processes_of(at.state) == []
    assert_refused(kloister("policy", "list"), "broker-unreachable")
    assert_refused(at.run(), "platform-unreachable")
    assert kloister("up").code == 0
    assert works(at.run())
