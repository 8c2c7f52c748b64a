"""The demo from its first line to its table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from kloister.errors import KloisterError
from kloister.serve.demo.attacks import Attacks, read_from_outside, secrets_of
from kloister.serve.demo.ledger import FAILED, OPEN, SKIPPED, Ledger, Row
from kloister.serve.demo.search import find
from kloister.serve.demo.world import CLINIC, REDIS, World, redis_policy, running

_CLINIC_POLICY = Path(__file__).resolve().parents[4] / "examples" / "clinic" / "policy.yaml"


def show(on_row: Callable[[Row], None], place: Path | None = None) -> Ledger:
    """Run the demo in a temporary directory and take everything away again.

    Args:
        on_row: told of each step as it ends.
        place: where the temporary directory is made, the system's own by default.
    """
    ledger = Ledger(on_row)
    with tempfile.TemporaryDirectory(prefix="kloister-demo-", dir=place) as base:
        world = World(Path(base))
        try:
            _prepare(world, ledger)
            _attack(world, ledger)
            _look_around(world, ledger)
        except KloisterError as error:
            if not ledger.failed:
                ledger.note("the demo", FAILED, str(error))
        finally:
            world.close()
    return ledger


def _prepare(world: World, ledger: Ledger) -> None:
    with ledger.step("start the stack: simulated platform, broker") as said:
        world.up()
        said.append(f"broker at https://{world.address}")
    with ledger.step("make two ordinary images: clinic (Python), redis (Debian)"):
        world.plain("clinic")
        world.plain("redis")
    with ledger.step("convert them: measure, pin the broker, encrypt the clinic's application, sign") as said:
        clinic = world.convert("clinic", "clinic", CLINIC, _CLINIC_POLICY.read_text(), "/app/*")
        redis = world.convert("redis", "redis", REDIS, redis_policy(world.redis_port))
        said += [f"clinic {clinic.mrenclave.hex()[:16]}...", f"redis {redis.mrenclave.hex()[:16]}..."]
    with ledger.step("approve their policies; the broker generates password, CA, certificate"):
        world.approve("clinic", CLINIC, dict(clinic.secrets))
        world.approve("redis", REDIS, {"password": world.password.encode()})
    with ledger.step("run the clinic: attested, then a prediction over TLS under the policy's CA") as said:
        said.append(_clinic(world))
    with ledger.step("run redis: attested, its password from the broker, PING") as said:
        said.append(_redis(world))


def _clinic(world: World) -> str:
    answer: dict[str, object] = {}

    def predicted() -> bool:
        answer.update(world.predict() or {})
        return "risk" in answer

    running(world.clinic(), predicted)
    return f"risk {answer['risk']}, class {answer['class']}"


def _redis(world: World) -> str:
    running(world.redis(), lambda: world.redis_says("PING") == "PONG")
    return "PONG"


def _attack(world: World, ledger: Ledger) -> None:
    frames: dict[str, Callable[[], object]] = {
        "clinic": lambda: _clinic(world),
        "redis": lambda: _redis(world),
        "guest": lambda: sorted(world.guest("clinic", CLINIC).ask().keys),
    }
    last = ""
    for attack in Attacks(world).all():
        if attack.frame != last:
            _frame(ledger, frames, attack.frame)
        ledger.attack(attack.name, attack.code, attack.act)
        _frame(ledger, frames, attack.frame)
        last = attack.frame


def _frame(ledger: Ledger, frames: dict[str, Callable[[], object]], name: str) -> None:
    """The unmodified request must succeed, or the refusals beside it prove nothing."""
    with ledger.step(f"  unmodified ({name})"):
        frames[name]()


def _look_around(world: World, ledger: Ledger) -> None:
    secrets = secrets_of(world)
    with ledger.step("search the disk for every secret: raw, hex, base64 in three phases") as said:
        planted = world.base / "planted"
        planted.write_bytes(b"xx" + next(iter(secrets.values())).hex().encode() + b"yy")
        hits = find(world.base, secrets)
        planted.unlink()
        _judge(hits, planted)
        said.append(f"{len(secrets)} secrets, nothing but the marker that was planted to prove the search")
    _not_held(world, ledger, secrets["database password"])


def _judge(hits: list[tuple[str, Path]], planted: Path) -> None:
    if planted not in {path for _, path in hits}:
        raise KloisterError("demo-search", "The search did not find the marker that was planted for it.")
    found = [f"{name} in {path}" for name, path in hits if path != planted]
    if found:
        raise KloisterError("demo-secret-on-disk", f"Secrets lie on the disk: {', '.join(found)}")


def _not_held(world: World, ledger: Ledger, secret: bytes) -> None:
    step = "NOT protected here: root reads a simulated enclave's memory"
    with world.clinic() as app:
        app.until(lambda: bool(world.predict()))
        where = read_from_outside(secret)
    if where:
        ledger.note(step, OPEN, f"the database password was read from {where}; on SGX hardware it could not be")
    else:
        ledger.note(step, SKIPPED, "this user may not read the process; root may")
