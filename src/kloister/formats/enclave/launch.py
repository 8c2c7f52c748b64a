"""The launch document: what the launcher starts, where it asks for secrets, what it may write (architecture.md, 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.wire import canonical_json, is_unicode, load_json

VERSION = 1
MAX_DOCUMENT = 4 << 20  # bytes, as an image's manifest: arguments, environment and a certificate fit many times
HOST_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_OWN = ("/.kloister", "/proc", "/sys", "/dev")  # the enclave's own: no mount at, above or below
_LOADED = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")  # the same: code that any process loads
_READ = ("/etc",)  # no mount at or above: ld.so.preload, passwd, nsswitch.conf; below it is the application's affair
_MAX_ID = 2**32 - 2  # uid and gid: 2^32-1 means "unchanged" to the kernel
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SIGNAL = re.compile(r"SIG[A-Z0-9+-]{1,12}")
_B64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class User:
    """Who the application runs as, resolved at conversion from the image's own passwd and group files."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """The part of the image's configuration that decides what runs."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    user: User
    workdir: str = "/"
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True, slots=True)
class Broker:
    """Whom the launcher trusts (`ca`, PEM) and which policy it asks for."""

    ca: str
    namespace: str
    policy: str
    service: str


@dataclass(frozen=True, slots=True)
class PrivateLayer:
    """An encrypted layer as stored: its digest, media type, and the public half of its encryption (base64)."""

    digest: str
    size: int
    media_type: str
    hmac: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Private:
    """The encrypted part of the image.

    Attributes:
        secret: name of the policy's key that opens it.
        tree_digest: of the encrypted tree of the private entries, as `sha256:..`; `tree_size` its bytes.
        layers: the encrypted layers.
        links: the public root has links at the topmost private paths, which lead into `PRIVATE_ROOT`: the entries are
            placed there. Otherwise they are placed at their own paths, and the document says nothing of it, as before
            there were links: what was converted then is read, and measured, as it was.
    """

    secret: str
    tree_digest: str
    tree_size: int
    layers: tuple[PrivateLayer, ...]
    links: bool = False


@dataclass(frozen=True, slots=True)
class LaunchDocument:
    """Everything that the launcher does, measured.

    Attributes:
        writable: places that become a tmpfs, emptied at each start and seeded from the image's own files there.
        host_files: some of `HOST_FILES`: an image must not be shown any other file of the host.
        mounts: name -> place to which the host may bind a directory; see `may_be_shared`.
        memory: bytes of private memory that files may take.
        broker: None = no secret is asked for.
        private: None = nothing is encrypted.
    """

    image: Image
    writable: tuple[str, ...]
    memory: int
    host_files: tuple[str, ...] = HOST_FILES
    mounts: Mapping[str, str] = field(default_factory=dict)
    broker: Broker | None = None
    private: Private | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a launch document; unknown and missing fields are refused.

        Raises:
            Malformed: `launch-size`, `launch-json`, `launch-version`, `launch-field`, `launch-canonical`.
        """
        fields = _Fields(load_json(data, "launch", MAX_DOCUMENT), "launch document")
        if fields.take("version", int) != VERSION:
            raise Malformed("launch-version", f"Only version {VERSION} of the launch document is known.")
        document = cls(
            image=_image(fields.inner("image")),
            writable=fields.paths("writable"),
            host_files=_host_files(fields),
            mounts=_mounts(fields.take("mounts", dict)),
            memory=fields.number("memory"),
            broker=_broker(fields.optional("broker")),
            private=_private(fields.optional("private")),
        )
        fields.finish()
        if document.build() != data:
            raise Malformed("launch-canonical", "The launch document is not canonical JSON.")
        return document

    def build(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        image = self.image
        return canonical_json(
            {
                "version": VERSION,
                "image": {
                    "arguments": image.arguments,
                    "environment": image.environment,
                    "user": _user_json(image.user),
                    "workdir": image.workdir,
                    "stopSignal": image.stop_signal,
                },
                "writable": self.writable,
                "hostFiles": self.host_files,
                "mounts": dict(self.mounts),
                "memory": self.memory,
                "broker": _broker_json(self.broker),
                "private": _private_json(self.private),
            }
        )


def may_be_shared(place: str) -> bool:
    """Whether the host may bind a directory to `place`: not where it would choose the code that the launcher loads."""
    above = place.rstrip("/") + "/"
    if any((own + "/").startswith(above) for own in (*_OWN, *_LOADED, *_READ)):
        return False
    return not any(place.startswith(own + "/") for own in (*_OWN, *_LOADED))


def _user_json(user: User) -> dict[str, Any]:
    return {"name": user.name, "uid": user.uid, "gid": user.gid, "groups": user.groups}


def _broker_json(broker: Broker | None) -> dict[str, str] | None:
    if broker is None:
        return None
    return {"ca": broker.ca, "namespace": broker.namespace, "policy": broker.policy, "service": broker.service}


def _private_json(private: Private | None) -> dict[str, Any] | None:
    if private is None:
        return None
    return {
        "secret": private.secret,
        **({"links": True} if private.links else {}),
        "tree": {"digest": private.tree_digest, "size": private.tree_size},
        "layers": [
            {"digest": x.digest, "size": x.size, "mediaType": x.media_type, "hmac": x.hmac, "nonce": x.nonce}
            for x in private.layers
        ],
    }


class _Fields:
    """Takes fields out of a JSON object one by one, each with its type, and refuses what is left over."""

    def __init__(self, value: Any, what: str) -> None:
        self._what = what
        if not isinstance(value, dict):
            raise self._bad("", "is not an object")
        self._left: dict[str, Any] = dict(value)

    def _bad(self, name: str, text: str) -> Malformed:
        return Malformed("launch-field", f"The {self._what}{': ' + name if name else ''} {text}.")

    def take(self, name: str, kind: type) -> Any:
        """The field, which must be there and exactly of this type (a boolean is not an integer)."""
        if name not in self._left:
            raise self._bad(name, "is missing")
        value = self._left.pop(name)
        if type(value) is not kind:
            raise self._bad(name, f"is not of type {kind.__name__}")
        return value

    def number(self, name: str, limit: int = 2**53 - 1) -> int:
        """An integer of 0..limit."""
        value: int = self.take(name, int)
        if not 0 <= value <= limit:
            raise self._bad(name, "is out of range")
        return value

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """A string without NUL; with a pattern, all of it must match."""
        value: str = self.take(name, str)
        if not _plain(value) or (pattern is not None and not pattern.fullmatch(value)):
            raise self._bad(name, "holds characters that are not allowed")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings without NUL."""
        values = self.take(name, list)
        if not all(isinstance(value, str) and _plain(value) for value in values):
            raise self._bad(name, "is not a list of strings")
        return tuple(values)

    def paths(self, name: str) -> tuple[str, ...]:
        """A list of absolute, normal paths."""
        values = self.texts(name)
        if not all(_is_path(value) for value in values):
            raise self._bad(name, "holds a path that is not absolute and normal")
        return values

    def path(self, name: str) -> str:
        """An absolute, normal path."""
        value = self.text(name)
        if not _is_path(value):
            raise self._bad(name, "is not an absolute and normal path")
        return value

    def flag(self, name: str) -> bool:
        """A boolean; false where it is missing."""
        value: bool = self.take(name, bool) if name in self._left else False
        return value

    def inner(self, name: str) -> _Fields:
        """An object inside this one."""
        return _Fields(self.take(name, dict), f"{self._what}, {name}")

    def optional(self, name: str) -> _Fields | None:
        """An object inside this one, or null."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return self.inner(name)

    def objects(self, name: str) -> list[_Fields]:
        """A list of objects."""
        return [_Fields(value, f"{self._what}, {name}") for value in self.take(name, list)]

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        if self._left:
            raise self._bad(min(self._left), "is not known")


def _plain(text: str) -> bool:
    return "\0" not in text and is_unicode(text)


def _is_path(text: str) -> bool:
    parts = text.split("/")
    return text == "/" or (text.startswith("/") and not {"", ".", ".."} & set(parts[1:]))


def _host_files(fields: _Fields) -> tuple[str, ...]:
    paths = fields.paths("hostFiles")
    if not set(paths) <= set(HOST_FILES):
        raise Malformed("launch-field", f"The launch document's host files are not among {', '.join(HOST_FILES)}.")
    return paths


def _image(fields: _Fields) -> Image:
    user = fields.inner("user")
    groups = user.take("groups", list)
    if not all(type(group) is int and 0 <= group <= _MAX_ID for group in groups):
        raise Malformed("launch-field", "The launch document's groups are not numbers of groups.")
    who = User(user.text("name"), user.number("uid", _MAX_ID), user.number("gid", _MAX_ID), tuple(groups))
    user.finish()
    arguments, environment = fields.texts("arguments"), fields.texts("environment")
    if not arguments or not all("=" in item[1:] for item in environment):
        raise Malformed("launch-field", "The launch document has no arguments, or an environment entry without a name.")
    image = Image(arguments, environment, who, fields.path("workdir"), fields.text("stopSignal", _SIGNAL))
    fields.finish()
    return image


def _mounts(value: dict[str, Any]) -> dict[str, str]:
    for name, path in value.items():
        if not _NAME.fullmatch(name) or not isinstance(path, str) or not _plain(path) or not _is_path(path):
            raise Malformed("launch-field", "The launch document's mounts are not names of absolute paths.")
        if not may_be_shared(path):
            raise Malformed("launch-field", f"The launch document has a mount at {path!a}, which no host may choose.")
    return value


def _broker(fields: _Fields | None) -> Broker | None:
    if fields is None:
        return None
    broker = Broker(*(fields.text(name) for name in ("ca", "namespace", "policy", "service")))
    fields.finish()
    return broker


def _private(fields: _Fields | None) -> Private | None:
    if fields is None:
        return None
    tree = fields.inner("tree")
    private = Private(
        secret=fields.text("secret", _NAME),
        tree_digest=tree.text("digest", _DIGEST),
        tree_size=tree.number("size"),
        layers=tuple(_layer(layer) for layer in fields.objects("layers")),
        links=fields.flag("links"),
    )
    tree.finish()
    fields.finish()
    return private


def _layer(fields: _Fields) -> PrivateLayer:
    layer = PrivateLayer(
        digest=fields.text("digest", _DIGEST),
        size=fields.number("size"),
        media_type=fields.text("mediaType"),
        hmac=fields.text("hmac", _B64),
        nonce=fields.text("nonce", _B64),
    )
    fields.finish()
    return layer
