"""The attacks: what each changes, and the one reason for which it must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from kloister import entropy
from kloister.errors import KloisterError, Misused
from kloister.formats.protocol.release import Bundle
from kloister.formats.sgx import Attributes, Flag
from kloister.formats.sgx.sigstruct import Sigstruct
from kloister.serve import stack
from kloister.serve.demo import tamper
from kloister.serve.demo.apps import App
from kloister.serve.demo.guest import Guest
from kloister.serve.demo.world import CLINIC, REDIS, World
from kloister.serve.state import State
from kloister.simulator.fuses import Fuses

_SERVER = "usr/bin/redis-check-rdb"  # the file; Debian's redis-server is this program under another name
_LINK = "usr/bin/redis-server"
_SIGSTRUCT = ".kloister/enclave/sigstruct"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: what is done, for the table.
        code: the reason code of its refusal.
        act: does it; must raise that refusal.
        frame: `redis`, `clinic` or `guest`: which unmodified request succeeds before and after.
    """

    name: str
    code: str
    act: Callable[[], object]
    frame: str


def ended(app: App) -> str:
    """Follow an attacked application to its end; its output, if nobody refused it.

    Raises:
        KloisterError: the refusal. Misused: `demo-output`, when the application wrote something before the refusal.
    """
    with app:
        try:
            code = app.wait()
        except KloisterError:
            app.close()
            if app.output:
                raise Misused("demo-output", f"The application ran: {app.output[:200]}") from None
            raise
    return f"exit {code}: {app.output[:200]}"


class Attacks:
    """Builds the attacks on a world; changed images are made when an attack is carried out."""

    def __init__(self, world: World) -> None:
        self._world = world

    def all(self) -> Iterator[Attack]:
        """In the order of the table."""
        yield from self._on_the_image()
        yield from self._on_the_measurement()
        yield from self._on_the_exchange()

    def _on_the_image(self) -> Iterator[Attack]:
        edits = (
            ("a byte of the application is changed", "file-changed", _SERVER, tamper.change_byte(_SERVER)),
            ("a file is added", "file-added", _SERVER, tamper.add_beside(_SERVER, "usr/bin/backdoor", b"#!/bin/sh\n")),
            ("a file is removed", "file-removed", _LINK, tamper.remove(_LINK)),
            ("a program is made setuid", "file-mode", _SERVER, tamper.change_mode(_SERVER, 0o4755)),
            ("a symbolic link is swapped", "link-changed", _LINK, tamper.change_target(_LINK, "/opt/evil")),
        )
        for name, code, path, edit in edits:
            yield Attack(name, code, partial(self._run_changed, path, edit), "redis")
        yield Attack("a byte of the encrypted layer is changed", "layer-changed", self._encrypted, "clinic")

    def _on_the_measurement(self) -> Iterator[Attack]:
        yield Attack("a debug enclave asks", "debug-not-allowed", self._debug, "redis")
        yield Attack("another enclave asks for the clinic's secrets", "measurement-not-allowed", self._other, "clinic")
        yield Attack("a platform whose root is not trusted", "root-untrusted", self._strange, "guest")

    def _on_the_exchange(self) -> Iterator[Attack]:
        world = self._world
        other = partial(self._guest_asks, Guest.ask_with_other_report_data)
        yield Attack("a quote made for another purpose", "purpose-mismatch", other, "guest")
        yield Attack(
            "an exchange is replayed", "nonce-unknown", lambda: world.guest("clinic", CLINIC).ask_twice(), "guest"
        )
        yield Attack("an impostor at the broker's address", "broker-impostor", self._impostor, "clinic")
        arguments = ("/usr/bin/redis-server", "--protected-mode", "no")
        yield Attack(
            "the host chooses the arguments",
            "host-arguments-refused",
            lambda: ended(world.redis(arguments=arguments)),
            "redis",
        )

    def _copy(self, name: str) -> tamper.Layout:
        return tamper.Layout(self._world.layout(name), self._world.base / f"attack-{entropy.identifier()}")

    def _changed(self, path: str, edit: tamper.Edit, *, debug: bool = False) -> App:
        layout = self._copy("redis")
        tamper.edit(layout, path, edit)
        return self._world.redis(layout.path, debug=debug)

    def _run_changed(self, path: str, edit: tamper.Edit) -> str:
        return ended(self._changed(path, edit))

    def _guest_asks(self, how: Callable[[Guest], Bundle]) -> Bundle:
        return how(self._world.guest("clinic", CLINIC))

    def _encrypted(self) -> object:
        layout = self._copy("clinic")
        tamper.flip_encrypted_byte(layout)
        return ended(self._world.clinic(layout.path))

    def _debug(self) -> object:
        """The same measurement under the attacker's own signature, with the debug attribute set."""
        pack = self._world.pack(self._world.layout("redis"), "redis")
        signed = Sigstruct.parse(pack.document("sigstruct").read_bytes())
        attributes = Attributes(signed.attributes.flags | Flag.DEBUG, signed.attributes.xfrm)
        key = rsa.generate_private_key(public_exponent=3, key_size=3072)
        forged = replace(signed, attributes=attributes).sign(key).build()
        return ended(self._changed(_SIGSTRUCT, tamper.replace_content(_SIGSTRUCT, forged), debug=True))

    def _other(self) -> object:
        """Redis, converted honestly, but for the clinic's policy, which does not name it."""
        world = self._world
        if not world.layout("thief").exists():
            world.convert("redis", "thief", CLINIC, "mrenclave: @MRENCLAVE@")
        return ended(world.clinic(name="thief"))

    def _strange(self) -> object:
        """The same enclave on a platform of other fuses: same measurement, another root."""
        fuses = Fuses.create(entropy.draw(Fuses.ENTROPY))
        return self._world.guest("clinic", CLINIC, fuses).ask()

    def _impostor(self) -> object:
        """Another broker, genuine in itself, at the address that the host names."""
        other = State.at(self._world.base / "impostor")
        address = stack.up(other)[0].address
        try:
            return ended(self._world.clinic(broker=address))
        finally:
            stack.down(other)


def secrets_of(world: World) -> dict[str, bytes]:
    """The secrets that the broker releases to the two applications, as an enclave sees them."""
    clinic = world.guest("clinic", CLINIC).ask()
    found = {"database password": clinic.environment["DB_PASSWORD"].encode(), "layer key": clinic.keys["layer"]}
    for file in clinic.files:
        if file.path.endswith(".key"):
            found["TLS key"] = file.content.splitlines()[1]
    redis = world.guest("redis", REDIS).ask()
    assert any(world.password.encode() in file.content for file in redis.files)  # noqa: S101 - else the search is blind
    found["redis password"] = world.password.encode()
    return found


def read_from_outside(secret: bytes) -> Path | None:
    """What root can do to a simulated enclave: find a secret in the environment of a process inside."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if secret in path.read_bytes():
                return path
        except OSError:
            continue
    return None
