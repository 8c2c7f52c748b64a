"""What an imported image says about how it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from kloister.errors import Misconfigured
from kloister.formats.oci.config import Execution, ImageConfig
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.oci.tar import TarHeader
from kloister.images.sources.image import PLATFORM

_MAX_LEVEL = 9


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The image's configuration, and what of the source goes in.

    Attributes:
        exclude: shell patterns over absolute paths; what lies below a match is left out too.
        owner: (uid, gid) for all files; None keeps the source's.
        owners: absolute path -> (uid, gid), for single paths that differ.
        epoch: unix seconds, SOURCE_DATE_EPOCH; no file is younger in the image. None keeps the times.
        compression: gzip level 1..9.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    exclude: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    owners: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)
    epoch: int | None = None
    compression: int = 6
    limits: Limits = DEFAULT

    def __post_init__(self) -> None:
        for item in self.environment:
            _require("=" in item[1:], f"The environment entry {item!r} is not NAME=VALUE.")
        for path in (*self.volumes, *([self.workdir] if self.workdir else [])):
            _require(path.startswith("/"), f"{path!r} is not an absolute path.")
        for text in (*self.entrypoint, *self.command, *self.environment, *self.volumes, self.user, self.workdir):
            _require("\0" not in text, "A value holds a NUL character.")
        _require(1 <= self.compression <= _MAX_LEVEL, f"The compression level must be 1 to {_MAX_LEVEL}.")

    def excludes(self, path: bytes) -> bool:
        """Whether a path, or what it lies in, is to be left out."""
        if not self.exclude:
            return False
        text = path.decode("utf-8", "surrogateescape")
        return any(fnmatchcase(text, pattern) or fnmatchcase(text, pattern + "/*") for pattern in self.exclude)

    def apply(self, header: TarHeader) -> TarHeader:
        """The header with the owner and the clamped time."""
        uid, gid = self.owner or (header.uid, header.gid)
        if self.owners:
            uid, gid = self.owners.get(b"/" + header.name.strip(b"/"), (uid, gid))
        mtime = max(header.mtime, 0) if self.epoch is None else max(min(header.mtime, self.epoch), 0)
        return TarHeader(header.name, header.kind, header.mode, uid, gid, header.size, mtime, header.target)

    def config(self, diff_id: str) -> ImageConfig:
        """The image configuration."""
        execution = Execution(
            user=self.user,
            environment=self.environment,
            entrypoint=self.entrypoint,
            command=self.command,
            workdir=self.workdir,
            volumes=tuple(sorted(set(self.volumes))),
            labels=self.labels,
            stop_signal=self.stop_signal,
        )
        created = "" if self.epoch is None else _iso(self.epoch)
        history = ({"created_by": "kloister image import"} | ({"created": created} if created else {}),)
        return ImageConfig(PLATFORM, execution, (diff_id,), created, history)


def _iso(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _require(condition: object, text: str) -> None:
    if not condition:
        raise Misconfigured("import-option", text, "See kloister image import --help.")
