"""What the user names on the command line, read and checked before anything is done."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kloister.errors import Misconfigured
from kloister.formats.wire import is_name
from kloister.images.sources.image import SourceImage

_MAX_CA = 64 << 10  # bytes of a PEM file; one certificate has 2,000
_MAX_TEMPLATE = 1 << 20  # bytes, as the broker's limit for a policy
_SIZE = re.compile(r"([1-9][0-9]{0,11})([KMG]?)")
_UNIT = {"": 0, "K": 10, "M": 20, "G": 30}


def read_ca(path: Path) -> str:
    """The certificate of the broker's CA, as the one PEM block that is pinned.

    Raises:
        Misconfigured: `broker-ca`.
    """
    hint = "Name the file ca.pem of the broker (`kloister status` says where it is)."
    try:
        certificates = x509.load_pem_x509_certificates(_read(path, _MAX_CA, "broker-ca"))
    except ValueError:
        raise Misconfigured("broker-ca", f"{path} holds no certificate in PEM.", hint) from None
    if len(certificates) != 1:
        raise Misconfigured("broker-ca", f"{path} holds {len(certificates)} certificates; one CA is pinned.", hint)
    return certificates[0].public_bytes(Encoding.PEM).decode("ascii")


def read_template(path: Path) -> str:
    """A policy written by hand.

    Raises:
        Misconfigured: `policy-template`.
    """
    try:
        return _read(path, _MAX_TEMPLATE, "policy-template").decode("utf-8")
    except UnicodeDecodeError:
        raise Misconfigured("policy-template", f"{path} is not a text in UTF-8.") from None


def parse_policy_name(text: str) -> tuple[str, str]:
    """`namespace/name`.

    Raises:
        Misconfigured: `policy-name`.
    """
    namespace, _, name = text.partition("/")
    if not is_name(namespace) or not is_name(name):
        hint = "Use a-z, 0-9 and inner hyphens, at most 63 characters each, for instance clinic/inference."
        raise Misconfigured("policy-name", f"{text!r} is not NAMESPACE/NAME.", hint)
    return namespace, name


def parse_size(text: str) -> int:
    """Bytes from `1073741824`, `1024M` or `1G`.

    Raises:
        Misconfigured: `convert-size`.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Misconfigured("convert-size", f"{text!r} is not a size.", "Write it like 512M or 2G.")
    return int(match[1]) << _UNIT[match[2]]


def parse_mounts(items: list[str]) -> dict[str, str]:
    """`NAME=/path` items.

    Raises:
        Misconfigured: `convert-mount`.
    """
    mounts: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or name in mounts or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
            raise Misconfigured("convert-mount", f"{item!r} is not NAME=/path, or its name is there twice.")
        mounts[name] = path
    return mounts


def signing_date(epoch: str, now: dt.datetime) -> dt.date:
    """The day that SIGSTRUCT bears: that of SOURCE_DATE_EPOCH where it is set, else today (UTC).

    Raises:
        Misconfigured: `source-date-epoch`.
    """
    if not epoch:
        return now.astimezone(dt.UTC).date()
    try:
        return dt.datetime.fromtimestamp(int(epoch), dt.UTC).date()
    except (ValueError, OverflowError, OSError):
        raise Misconfigured(
            "source-date-epoch", "SOURCE_DATE_EPOCH is not a number of seconds since 1970.", "Unset it, or mend it."
        ) from None


def base_layers(image: SourceImage, base: SourceImage) -> int:
    """How many layers of the image are those of its base.

    Raises:
        Misconfigured: `encrypt-base`.
    """
    ours, theirs = image.config.diff_ids, base.config.diff_ids
    if not theirs or ours[: len(theirs)] != theirs:
        text = f"{image.reference} does not start with the layers of {base.reference}."
        raise Misconfigured("encrypt-base", text, "Name the image that it was built from, or a number of layers.")
    return len(theirs)


def _read(path: Path, limit: int, code: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Misconfigured(code, f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from None
    if len(data) > limit:
        raise Misconfigured(code, f"{path} has more than {limit} bytes.", "Name the right file.")
    return data
