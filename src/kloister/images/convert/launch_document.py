"""The launch document of an image: what its configuration says, resolved at conversion."""

from __future__ import annotations

import posixpath
import signal
from collections.abc import Iterable

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import Image, LaunchDocument, Private, may_be_shared
from kloister.formats.enclave.tree import Kind
from kloister.formats.oci.config import Execution
from kloister.images.convert.options import ConvertOptions
from kloister.images.convert.users import resolve_user
from kloister.images.layers.merged import MergedRoot

_ALWAYS_WRITABLE = ("/run", "/tmp")  # noqa: S108 - the places inside the enclave that every image expects to write
# What container engines set where the image says nothing (moby, daemon/oci_linux.go).
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN = ("/.kloister", "/proc", "/sys", "/dev")
_ROOM = 256 << 20  # bytes for writable places and secrets beside the image's own files
_STEP = 16 << 20  # bytes; memory is rounded up, so that the figure does not change with every byte


def launch_document(
    execution: Execution, root: MergedRoot, options: ConvertOptions, private: Private | None
) -> LaunchDocument:
    """What the launcher starts.

    Raises:
        Misconfigured: `image-arguments`, `image-user`, `image-workdir`, `image-signal`, `convert-writable`,
            `convert-mount`, `convert-memory`.
    """
    user, home = resolve_user(execution.user, root.read)
    image = Image(
        arguments=_arguments(execution),
        environment=_environment(execution.environment, home),
        user=user,
        workdir=_workdir(execution.workdir),
        stop_signal=_stop_signal(execution.stop_signal),
    )
    return LaunchDocument(
        image=image,
        writable=_writable([*_ALWAYS_WRITABLE, *execution.volumes, *options.writable], root),
        memory=_memory(root, options.memory),
        mounts=_mounts(options, root),
        broker=options.broker,
        private=private,
    )


def _arguments(execution: Execution) -> tuple[str, ...]:
    arguments = execution.entrypoint + execution.command
    if not arguments:
        raise Misconfigured(
            "image-arguments",
            "The image has neither an entrypoint nor a command: there is nothing to run.",
            "Set one, for instance with `kloister image import --entrypoint`.",
        )
    return arguments


def _environment(given: Iterable[str], home: str) -> tuple[str, ...]:
    kept = {item.partition("=")[0]: item for item in given if "=" in item[1:]}
    return tuple({"PATH": f"PATH={_PATH}", "HOME": f"HOME={home}", **kept}.values())


def _workdir(text: str) -> str:
    path = posixpath.normpath("/" + text)
    return "/" + path.lstrip("/")


def _stop_signal(text: str) -> str:
    """The name of a signal, as images write it: `SIGQUIT`, `QUIT`, `3`, or nothing."""
    if not text:
        return "SIGTERM"
    try:
        name = signal.Signals(int(text)).name if text.isdigit() else "SIG" + text.upper().removeprefix("SIG")
        if not name.startswith("SIGRT"):
            name = signal.Signals[name].name
    except (ValueError, KeyError):
        hint = "Set another one in the image (STOPSIGNAL)."
        raise Misconfigured("image-signal", f"The image's stop signal {text[:40]!r} is none of Linux.", hint) from None
    return name


def _writable(paths: Iterable[str], root: MergedRoot) -> tuple[str, ...]:
    """Real paths, sorted, without those that lie in another one."""
    real = sorted({_place(path, root, "convert-writable") for path in paths})
    return tuple(path for path in real if not any(path.startswith(other + "/") for other in real))


def _mounts(options: ConvertOptions, root: MergedRoot) -> dict[str, str]:
    mounts = {name: _place(path, root, "convert-mount") for name, path in sorted(options.mounts.items())}
    if len(set(mounts.values())) != len(mounts):
        raise Misconfigured("convert-mount", "Two mounts have the same place.", "Give each mount its own.")
    for path in mounts.values():
        if not may_be_shared(path):
            raise Misconfigured(
                "convert-mount",
                f"{path} cannot be a mount: the host would choose code or settings that run before the application.",
                "Name a directory that holds the application's data only.",
            )
    return mounts


def _place(text: str, root: MergedRoot, code: str) -> str:
    """A directory of the image, or a place where there is nothing yet, by its real path.

    A volume that is a symbolic link (`/var/run`) is the directory that it points to.
    """
    path = posixpath.normpath("/" + text.lstrip("/"))
    if not text.startswith("/") or path == "/" or any(path == own or path.startswith(own + "/") for own in _OWN):
        raise Misconfigured(
            code,
            f"{text!r} cannot be writable: it must be an absolute path below /, and not the enclave's own.",
            f"The enclave's own are {', '.join(_OWN)}.",
        )
    found = root.lookup(path.encode("utf-8"))
    if found is None:
        return path
    if found.entry.kind is not Kind.DIRECTORY:
        raise Misconfigured(code, f"{path} is a file of the image; only directories can be writable.")
    return found.entry.path.decode("utf-8", "replace")


def _memory(root: MergedRoot, chosen: int | None) -> int:
    used = sum(-(-entry.size // 4096) * 4096 for entry in root.tree().entries)
    if chosen is None:
        return -(-(used + _ROOM) // _STEP) * _STEP
    if chosen < used:
        raise Misconfigured(
            "convert-memory", f"The image's files take {used} bytes; --memory allows {chosen}.", "Raise --memory."
        )
    return chosen
