"""Gramine's manifest: TOML whose exact bytes are measured (Gramine 1.9, `Documentation/manifest-syntax.rst`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from kloister.errors import Malformed
from kloister.formats.enclave import repeated
from kloister.formats.enclave.toml import emit
from kloister.formats.wire import unhex

MAX_MANIFEST: Final = 16 << 20  # bytes: 130,000 trusted files of 120 bytes
MAX_THREADS: Final = 4096  # Gramine's own limit
MAX_ENCLAVE: Final = 1 << 40  # bytes: Gramine's default with EDMM; processors allow more
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})([KMG]?)")
_PASSTHROUGH = {"passthrough": True}
_UNIT = {"": 0, "K": 10, "M": 20, "G": 30}
# Gramine ignores or refuses these since the version named: a manifest that has them does not mean what it says.
_REMOVED = {
    "thread_num": "sgx.max_threads",
    "protected_files": "fs.mounts with type = 'encrypted'",
    "sigfile": "gramine-sgx --sig",
    "enable_token": "nothing: tokens are gone",
    "ra_client_spid": "sgx.remote_attestation = 'dcap'",
    "nonpie_binary": "nothing: always supported",
}


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """A file that the enclave opens only with this content."""

    uri: str  # `file:/path`
    sha256: bytes | None  # 32 bytes; None before the hash is filled in


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest and what Kloister reads of it; `data` is what is measured."""

    data: bytes = field(repr=False)
    libos_entrypoint: str  # path inside the enclave's file system
    loader_entrypoint: TrustedFile
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]  # fixed by the manifest, in its order
    env_passthrough: tuple[str, ...]  # names that the host may set
    enclave_size: int  # bytes, a power of two
    max_threads: int
    edmm_enable: bool
    debug: bool
    use_exinfo: bool
    isvprodid: int
    isvsvn: int
    remote_attestation: str  # `none` or `dcap`
    cpu_features: tuple[tuple[str, str], ...]  # feature and `unspecified`, `disabled` or `required`
    trusted_files: tuple[TrustedFile, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the keys named above strictly and lets the others be.

        Raises:
            Malformed: `manifest-size`, `manifest-toml`, `manifest-key` (missing, removed, of another type),
                `manifest-value` (outside what Gramine takes).
        """
        document, further = _load(data)
        root = _Section(document, "")
        loader, sgx = root.section("loader"), root.section("sgx")
        for name, instead in _REMOVED.items():
            if name in sgx.table:
                raise Malformed("manifest-key", f"sgx.{name} is no key of the manifest any more.", f"Use {instead}.")
        entrypoint = root.section("libos").text("entrypoint")
        env = loader.section("env")
        edmm = sgx.flag("edmm_enable")
        return cls(
            data=data,
            libos_entrypoint=entrypoint,
            loader_entrypoint=_trusted_file(loader.section("entrypoint").table, "loader.entrypoint"),
            argv=loader.texts("argv", (entrypoint,)),
            env=tuple(_fixed_env(env)),
            env_passthrough=tuple(_passthrough(env)),
            enclave_size=_enclave_size(sgx.text("enclave_size", "1024G" if edmm else "256M")),
            max_threads=sgx.integer("max_threads", 4, range(1, MAX_THREADS + 1)),
            edmm_enable=edmm,
            debug=sgx.flag("debug"),
            use_exinfo=sgx.flag("use_exinfo"),
            isvprodid=sgx.integer("isvprodid", 0, range(1 << 16)),
            isvsvn=sgx.integer("isvsvn", 0, range(1 << 16)),
            remote_attestation=sgx.choice("remote_attestation", ("none", "dcap"), "none"),
            cpu_features=tuple(_cpu_features(sgx.section("cpu_features"))),
            trusted_files=(
                *(_trusted_file(item, "sgx.trusted_files") for item in sgx.items("trusted_files")),
                *(TrustedFile(uri, bytes.fromhex(digest)) for uri, digest in further),
            ),
        )

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The manifest that says `document`, in TOML whose bytes depend on the document alone."""
        return cls.parse(emit(document))

    def build(self) -> bytes:
        """The exact bytes that were parsed."""
        return self.data


@dataclass(frozen=True, slots=True)
class _Section:
    """A table of the document; every reader names the key in its refusal."""

    table: Mapping[str, Any]
    path: str

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str, kind: type, default: Any) -> Any:
        value = self.table.get(key, default)
        if value is None:
            raise Malformed("manifest-key", f"The manifest has no {self.name(key)}.")
        if type(value) is not kind:  # exactly: TOML's booleans are no integers
            raise Malformed("manifest-key", f"{self.name(key)} is a {type(value).__name__}, not a {kind.__name__}.")
        return value

    def section(self, key: str) -> _Section:
        return _Section(self.get(key, dict, {}), self.name(key))

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self.get(key, str, default)
        if "\0" in value:
            raise Malformed("manifest-value", f"{self.name(key)} holds a NUL.")
        return value

    def flag(self, key: str) -> bool:
        value: bool = self.get(key, bool, False)
        return value

    def integer(self, key: str, default: int, allowed: range) -> int:
        value: int = self.get(key, int, default)
        if value not in allowed:
            raise Malformed("manifest-value", f"{self.name(key)} must be {allowed[0]} to {allowed[-1]}, not {value}.")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise Malformed("manifest-value", f"{self.name(key)} must be one of {', '.join(allowed)}.")
        return value

    def items(self, key: str) -> list[Any]:
        value: list[Any] = self.get(key, list, [])
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        if key not in self.table:
            return default
        values = self.items(key)
        if not values or not all(type(value) is str and "\0" not in value for value in values):
            raise Malformed("manifest-value", f"{self.name(key)} must be a list of one string or more, without NUL.")
        return tuple(values)


def _load(data: bytes) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    if len(data) > MAX_MANIFEST:
        raise Malformed("manifest-size", f"The manifest has {len(data)} bytes; at most {MAX_MANIFEST} are read.")
    try:
        text, further = repeated.split(data.decode("utf-8"))
        return tomllib.loads(text), further
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise Malformed("manifest-toml", f"The manifest is not well-formed TOML: {reason}.") from None


def _enclave_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(match[1]) << _UNIT[match[2]] if match else 0
    if size & (size - 1) or not 1 << 16 <= size <= MAX_ENCLAVE:
        raise Malformed(
            "manifest-value",
            f"sgx.enclave_size must be a power of two from 64K to 1024G, not {text[:40]!r}.",
            "Write it like 256M or 1G.",
        )
    return size


def _trusted_file(item: Any, name: str) -> TrustedFile:
    section = _Section({"uri": item} if type(item) is str else item if type(item) is dict else {}, name)
    digest = section.table.get("sha256")
    sha256 = None if digest is None else unhex(section.text("sha256"), "manifest-sha256", 32)
    return TrustedFile(uri=section.text("uri"), sha256=sha256)


def _fixed_env(env: _Section) -> list[tuple[str, str]]:
    pairs = []
    for name, value in env.table.items():
        if value == _PASSTHROUGH:
            continue
        written_out = type(value) is dict and value.keys() == {"value"}
        text = env.section(name).text("value") if written_out else env.text(name)
        pairs.append((_env_name(name), text))
    return pairs


def _passthrough(env: _Section) -> list[str]:
    return [_env_name(name) for name, value in env.table.items() if value == _PASSTHROUGH]


def _env_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise Malformed("manifest-value", f"loader.env has the name {name[:40]!r}, which no environment can hold.")
    return name


def _cpu_features(features: _Section) -> list[tuple[str, str]]:
    allowed = ("unspecified", "disabled", "required")
    return [(name, features.choice(name, allowed, "unspecified")) for name in features.table]
