"""Steps 1 and 2: what was measured, what the host says, and how little of the latter counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kloister.errors import Denied, Malformed, Misconfigured
from kloister.formats.enclave.launch import MAX_DOCUMENT, LaunchDocument
from kloister.formats.enclave.runtime import ENCLAVE_ROOT, KLOISTER_ROOT
from kloister.formats.protocol.host import Host
from kloister.formats.wire import load_json

_MAX_HOST = 1 << 20  # bytes: slots and arguments; execve takes 2 MiB of both together
_MAX_VALUE = 4096  # characters of a slot's value: patterns are the policy's, and backtracking grows with the value


def read_launch(root: Path) -> LaunchDocument:
    """The launch document; the runner has checked it against the measured manifest.

    Raises:
        Misconfigured: `launch-missing`.
        Malformed: `launch-*`.
    """
    return LaunchDocument.parse(_read(root / ENCLAVE_ROOT[1:] / "launch.json", MAX_DOCUMENT, "launch"))


def read_host(root: Path) -> Host:
    """What the host says.

    Raises:
        Misconfigured: `host-missing`.
        Malformed: `host-*`.
    """
    message = load_json(_read(root / KLOISTER_ROOT[1:] / "host.json", _MAX_HOST, "host"), "host", _MAX_HOST)
    if not isinstance(message, dict):
        raise Malformed("host-object", "The host's document is not an object.")
    return Host.parse(message)


def refuse_arguments(host: Host) -> None:
    """The command line is measured, or the policy's; the host has no say in it.

    Raises:
        Denied: `host-arguments-refused`.
    """
    if host.arguments is not None:
        raise Denied(
            "host-arguments-refused",
            "The host wants other arguments than those that were measured.",
            "Put them into the image, or have the policy release them (services: arguments).",
        )


def chosen(values: Mapping[str, str], slots: Mapping[str, str]) -> dict[str, str]:
    """The host's values for variables, each of which a slot must name and whose pattern it must match as a whole.

    Raises:
        Denied: `slot-refused`.
    """
    for name, value in values.items():
        pattern = slots.get(name)
        if pattern is None:
            raise _refused(name, "no slot of the policy has that name")
        if len(value) > _MAX_VALUE or not re.fullmatch(pattern, value):
            raise _refused(name, f"the value does not match {pattern}")
    return dict(values)


def _refused(name: str, why: str) -> Denied:
    return Denied(
        "slot-refused",
        f"The host may not choose {name[:128]!r}: {why}.",
        "Allow it in the policy (services: slots), or leave it out.",
    )


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise Misconfigured(
            f"{what}-missing", f"{path.name} cannot be read: {error.strerror}.", "Convert the image again."
        ) from None
    if len(data) > limit:
        raise Malformed(f"{what}-size", f"{path.name} has more than {limit} bytes.")
    return data
