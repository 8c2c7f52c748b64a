"""Tar headers as layers use them: ustar, GNU long names and PAX records (POSIX.1-2017 pax; GNU tar manual).

Only headers are read and written here; the bytes between them belong to the caller. Offsets are into the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from kloister.errors import Malformed, Misused

BLOCK = 512
END = bytes(2 * BLOCK)
_POSIX = b"ustar\x0000"  # magic and version, offset 257
_GNU = b"ustar  \x00"
_V7 = bytes(8)
_NAME = 100  # bytes of the name and link fields
_MODE_BITS = 0o7777
_DIGITS = 18  # of a decimal PAX number: below 2^63


class TarKind(Enum):
    """What a header announces; the value is its typeflag (offset 156)."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"
    PAX = b"x"
    PAX_GLOBAL = b"g"
    LONG_NAME = b"L"
    LONG_LINK = b"K"
    VOLUME_LABEL = b"V"


_FLAGS = {kind.value: kind for kind in TarKind} | {b"\0": TarKind.FILE, b"7": TarKind.FILE}


@dataclass(frozen=True, slots=True)
class TarHeader:
    """One entry; names as raw bytes, exactly as stored. `mtime` is in whole seconds, rounded down."""

    name: bytes
    kind: TarKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: bytes = b""

    @property
    def padding(self) -> int:
        """Bytes after the content up to the next block."""
        return -self.size % BLOCK


def parse_header(block: bytes) -> TarHeader:
    """Read one header block of 512 bytes.

    Raises:
        Malformed: `layer-header` (checksum, magic, numbers), `layer-entry-type`.
    """
    if len(block) != BLOCK:
        raise Malformed("layer-truncated", "The layer ends inside a tar header.")
    if _checksum(block) != _number(block, 148, 8, "checksum"):
        raise Malformed("layer-header", "A tar header of the layer has a wrong checksum.")
    magic = block[257:265]
    if magic not in (_POSIX, _GNU, _V7):
        raise Malformed("layer-header", "A tar header of the layer is of no known form.")
    name, flag = _text(block, 0, _NAME), block[156:157]
    if magic == _POSIX and block[345]:
        name = _text(block, 345, 155) + b"/" + name
    kind = _FLAGS.get(flag)
    if kind is None:
        hint = "Sparse and multi-volume entries are not read; pack the layer again without them."
        raise Malformed("layer-entry-type", f"The entry {_shown(name)} has the unknown type {flag!r}.", hint)
    if flag == b"\0" and name.endswith(b"/"):
        # the convention of version 7, from before there were types; a long name that is cut here may end so, too
        kind = TarKind.DIRECTORY
    return TarHeader(
        name,
        kind,
        _number(block, 100, 8, "mode") & _MODE_BITS,
        _number(block, 108, 8, "uid"),
        _number(block, 116, 8, "gid"),
        _number(block, 124, 12, "size"),
        _number(block, 136, 12, "mtime", signed=True),
        _text(block, 157, _NAME),
    )


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE LF` of a PAX header.

    Raises:
        Malformed: `layer-pax`.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        length, space, _ = data[at : at + 12].partition(b" ")
        end = at + int(length) if space and length.isdigit() else 0
        if end > len(data) or end <= at + len(length) + 1 or data[end - 1 : end] != b"\n":
            raise Malformed("layer-pax", f"A PAX header of the layer has a damaged record at offset {at}.")
        key, equals, value = data[at + len(length) + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise Malformed("layer-pax", f"A PAX header of the layer has a record without a name at offset {at}.")
        records[key] = value
        at = end
    return records


def with_pax(header: TarHeader, records: Mapping[bytes, bytes]) -> TarHeader:
    """The header with what its PAX records replace (pax, extended header keywords).

    Raises:
        Malformed: `layer-pax`, `layer-entry-type` (a sparse file).
    """
    if any(key.startswith(b"GNU.sparse.") for key in records):
        hint = "Pack the layer again without --sparse."
        raise Malformed(
            "layer-entry-type", f"The entry {_shown(header.name)} is a sparse file, which is not read.", hint
        )
    return TarHeader(
        records.get(b"path") or header.name,
        header.kind,
        header.mode,
        _decimal(records, b"uid", header.uid),
        _decimal(records, b"gid", header.gid),
        _decimal(records, b"size", header.size),
        _seconds(records.get(b"mtime"), header.mtime),
        records.get(b"linkpath") or header.target,
    )


def build_header(header: TarHeader) -> bytes:
    """The header's blocks: a ustar header, behind a PAX header where ustar cannot hold a value.

    Raises:
        Misused: `tar-field`, for values that no form holds.
    """
    if not header.name or b"\0" in header.name + header.target or header.size < 0 or not 0 <= header.mode <= _MODE_BITS:
        raise Misused("tar-field", f"The entry {_shown(header.name)} cannot be written as a tar header.")
    records: dict[bytes, bytes] = {}
    name, target = _short(records, b"path", header.name), _short(records, b"linkpath", header.target)
    uid, gid = _fits(records, b"uid", header.uid, 8), _fits(records, b"gid", header.gid, 8)
    size, mtime = _fits(records, b"size", header.size, 12), _fits(records, b"mtime", header.mtime, 12)
    plain = TarHeader(name, header.kind, header.mode, uid, gid, size, mtime, target)
    if not records:
        return _block(plain)
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    extended = TarHeader(b"././@PaxHeader", TarKind.PAX, 0o644, 0, 0, len(data), 0)
    return _block(extended) + data + bytes(-len(data) % BLOCK) + _block(plain)


def _block(header: TarHeader) -> bytes:
    fields = [
        header.name.ljust(_NAME, b"\0"),
        b"%07o\0" % header.mode,
        b"%07o\0" % header.uid,
        b"%07o\0" % header.gid,
        b"%011o\0" % header.size,
        b"%011o\0" % header.mtime,
        b" " * 8,
        header.kind.value,
        header.target.ljust(_NAME, b"\0"),
        _POSIX,
        bytes(64),
        b"0000000\0" * 2,
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _short(records: dict[bytes, bytes], key: bytes, value: bytes) -> bytes:
    if len(value) <= _NAME:
        return value
    records[key] = value
    return value[:_NAME]


def _fits(records: dict[bytes, bytes], key: bytes, value: int, width: int) -> int:
    if 0 <= value < 8 ** (width - 1):
        return value
    records[key] = b"%d" % value
    return 0


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3  # space, equals sign, line feed
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _checksum(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * 32  # the field itself counts as spaces


def _text(block: bytes, offset: int, size: int) -> bytes:
    return block[offset : offset + size].partition(b"\0")[0]


def _number(block: bytes, offset: int, size: int, what: str, *, signed: bool = False) -> int:
    raw = block[offset : offset + size]
    if raw[0] & 0x80:  # base 256, GNU: big-endian two's complement below the marker bit
        value = int.from_bytes(raw, "big") & ((1 << (8 * size - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * size - 1)
        if abs(value) >= 1 << 63 or (value < 0 and not signed):
            raise Malformed("layer-header", f"A tar header of the layer has a {what} out of range.")
        return value
    digits = raw.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if digits.translate(None, b"01234567"):
        raise Malformed("layer-header", f"A tar header of the layer has a {what} that is not a number.")
    return int(digits, 8)


def _decimal(records: Mapping[bytes, bytes], key: bytes, default: int) -> int:
    value = records.get(key)
    if not value:
        return default
    if not value.isdigit() or len(value) > _DIGITS:
        raise Malformed("layer-pax", f"A PAX header of the layer has a {key.decode('ascii')} that is not a number.")
    return int(value)


def _seconds(value: bytes | None, default: int) -> int:
    if not value:
        return default
    whole, dot, fraction = value.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _DIGITS or (dot and fraction and not fraction.isdigit()):
        raise Malformed("layer-pax", "A PAX header of the layer has an mtime that is not a number.")
    return int(whole) - (whole.startswith(b"-") and bool(fraction.strip(b"0")))


def _shown(name: bytes) -> str:
    return repr(name[:200].decode("utf-8", "backslashreplace"))
