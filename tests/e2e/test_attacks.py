"""The demo's attacks as tests: each refused for its own reason, framed by the unmodified request succeeding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.serve.demo.attacks import Attack, Attacks, read_from_outside, secrets_of
from kloister.serve.demo.search import find
from kloister.serve.demo.world import CLINIC, REDIS, World, redis_policy, running
from tests.support.paths import ROOT
from tests.support.stacks import world_at

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stack with both samples converted and their policies approved."""
    world = world_at(tmp_path_factory.mktemp("world"))
    try:
        world.up()
        template = (ROOT / "examples" / "clinic" / "policy.yaml").read_text()
        clinic = world.convert("clinic", "clinic", CLINIC, template, "/app/*")
        world.convert("redis", "redis", REDIS, redis_policy(world.redis_port))
        world.approve("clinic", CLINIC, dict(clinic.secrets))
        world.approve("redis", REDIS, {"password": world.password.encode()})
        yield world
    finally:
        world.close()


def _predicts(world: World) -> bool:
    return "risk" in (world.predict() or {})


@pytest.fixture
def refused(world: World) -> Callable[[str], None]:
    """Carries out the attacks whose reason code is given, each between two unmodified requests."""
    frames: dict[str, Callable[[], None]] = {
        "clinic": lambda: running(world.clinic(), lambda: _predicts(world)),
        "redis": lambda: running(world.redis(), lambda: world.redis_says("PING") == "PONG"),
        "guest": lambda: _released(world),
    }

    def check(code: str) -> None:
        (attack,) = [attack for attack in Attacks(world).all() if attack.code == code]
        frames[attack.frame]()
        _refused(attack)
        frames[attack.frame]()

    return check


def _released(world: World) -> None:
    assert world.guest("clinic", CLINIC).ask().environment["DB_PASSWORD"]


def _refused(attack: Attack) -> None:
    with pytest.raises(KloisterError) as refusal:
        attack.act()
    assert refusal.value.code == attack.code
    assert refusal.value.text.endswith((".", ")", "]"))


def test_a_changed_byte(refused: Callable[[str], None]) -> None:
    refused("file-changed")


@pytest.mark.parametrize("code", ["file-added", "file-removed", "file-mode", "link-changed"])
def test_the_tree(refused: Callable[[str], None], code: str) -> None:
    refused(code)


def test_an_encrypted_layer(refused: Callable[[str], None]) -> None:
    refused("layer-changed")


def test_a_debug_enclave(refused: Callable[[str], None]) -> None:
    refused("debug-not-allowed")


def test_another_enclave(refused: Callable[[str], None]) -> None:
    refused("measurement-not-allowed")


def test_a_strange_platform(refused: Callable[[str], None]) -> None:
    refused("root-untrusted")


def test_another_purpose(refused: Callable[[str], None]) -> None:
    refused("purpose-mismatch")


def test_a_replay(refused: Callable[[str], None]) -> None:
    refused("nonce-unknown")


def test_an_impostor_broker(refused: Callable[[str], None]) -> None:
    refused("broker-impostor")


def test_host_arguments(refused: Callable[[str], None]) -> None:
    refused("host-arguments-refused")


def test_a_refusal_is_explained(world: World) -> None:
    from kloister.client.admin import AdminClient

    (attack,) = [attack for attack in Attacks(world).all() if attack.code == "measurement-not-allowed"]
    with pytest.raises(KloisterError) as refusal:
        attack.act()
    identifier = refusal.value.text.partition("refusal ")[2].rstrip(")")
    explained = AdminClient(world.state.admin).refusal(identifier)
    assert explained["code"] == "measurement-not-allowed"
    assert world.conversions["thief"].mrenclave.hex() in str(explained)  # what was seen
    assert world.conversions["clinic"].mrenclave.hex() in str(explained)  # what was expected


def test_no_secret_on_disk(world: World, tmp_path: Path) -> None:
    secrets = secrets_of(world)
    assert set(secrets) == {"database password", "layer key", "TLS key", "redis password"}
    running(world.clinic(), lambda: _predicts(world))
    for name, secret in secrets.items():
        (tmp_path / "planted").write_bytes(b"-" + secret.hex().encode() + b"-")
        assert [found for found, _ in find(tmp_path, {name: secret})] == [name]
    assert find(world.base, secrets) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is sure to be able to read an enclave's memory")
def test_root_reads_a_simulated_enclave(world: World) -> None:
    """Not held, and shown rather than hidden: the secret stands in the memory of a process that root can read."""
    secret = secrets_of(world)["database password"]
    assert read_from_outside(secret) is None
    with world.clinic() as app:
        app.until(lambda: _predicts(world))
        assert read_from_outside(secret) is not None
