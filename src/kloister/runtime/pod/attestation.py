"""`/dev/attestation` of a pod: the files that programs written for Gramine read and write (ADR 10).

A process of the container of its own makes their contents. It was forked from the entry point before any secret was
released, asks the platform at the allocation's socket as every process of the enclave may, and can write nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.sgx import Attributes, KeyRequest, Report
from kloister.formats.sgx.keyrequest import KeyName, KeyPolicy
from kloister.runtime.launcher.channel import Channel
from kloister.runtime.launcher.handover import close_descriptors
from kloister.runtime.launcher.lockdown import restrict_writes
from kloister.runtime.linux import process, seccomp
from kloister.runtime.pod.memory import clear
from kloister.runtime.pod.mounts import ATTESTATION, Mount
from kloister.runtime.pod.pseudofiles import PseudoFiles
from kloister.tee.device import Device

_REPORT_DATA, _TARGET_INFO = 64, 512  # bytes
_SEAL_FLAGS, _SEAL_XFRM, _SEAL_MISC = (1 << 64) - 1, 0xFFFFFFFFFFF9FF1B, (1 << 32) - 1  # Gramine's sgx.seal_key.*_mask
_READY = b"+"
_HINT = f"Mount an emptyDir of medium Memory at {ATTESTATION} for this container alone, as the webhook does."


def is_wanted(mounts: Iterable[Mount], directory: Path = Path(ATTESTATION)) -> bool:
    """Whether memory is mounted for the files.

    Args:
        mounts: of this container, of which `require_known` thinks well.
        directory: where the files are looked for; another one for tests.

    Raises:
        Denied: `pod-attestation`: what is there came with a mount above, and an application would take it for ours.
    """
    if any(mount.point == str(directory) for mount in mounts):
        return True
    if os.path.lexists(directory):
        raise Denied("pod-attestation", f"What is at {directory} is no memory of this container.", _HINT)
    return False


def start(directory: Path, socket: str, channel: Channel) -> None:
    """Fill the directory and start the process that answers; where that is impossible, say so and leave it empty.

    Args:
        directory: mounted for this container alone, in memory; what is in it is removed.
        socket: path of the allocation's socket, where the enclave is attached already.
        channel: for remarks.

    Raises:
        Denied: `pod-attestation`: something of another user is in the directory.
    """
    _empty(directory)
    ours, theirs = os.pipe()
    try:
        child = process.fork_unseen()
    except OSError as error:  # the pod's limit of processes, or its memory
        os.write(theirs, str(error.strerror).encode())
    else:
        if child == 0:
            _answer(directory, Processor(directory, socket), theirs, channel)
    os.close(theirs)
    said = os.read(ours, 1024)  # nothing where it ended
    os.close(ours)
    if said != _READY:
        _empty(directory)
        channel.log(f"there is no /dev/attestation: {said.decode('utf-8', 'replace') or 'its process ended'}")


class Processor:
    """What the files say, each time that they are opened.

    Args:
        directory: where the program writes `user_report_data` and `target_info`.
        socket: path of the allocation's socket.
    """

    def __init__(self, directory: Path, socket: str) -> None:
        self._directory = directory
        self._socket = socket
        self._device: Device | None = None

    def contents(self) -> Mapping[str, Callable[[], bytes]]:
        """Name -> what makes its content; they raise `KloisterError`."""
        return {
            "quote": lambda: self._ask(lambda device: device.quote(self._report_data())),
            "report": lambda: self._ask(lambda device: device.report(self._wanted_target(), self._report_data())),
            "keys/_sgx_mrenclave": lambda: self._ask(lambda device: seal_key(device, KeyPolicy.MRENCLAVE)),
            "keys/_sgx_mrsigner": lambda: self._ask(lambda device: seal_key(device, KeyPolicy.MRSIGNER)),
        }

    def target_info(self) -> bytes:
        """Of this enclave; raises `KloisterError`."""
        return self._ask(Device.target_info)

    def _ask(self, question: Callable[[Device], bytes]) -> bytes:
        """The answer; on a new connection where the one before has ended."""
        if self._device is not None:
            try:
                return question(self._device)
            except Unavailable:
                self._device.close()
        self._device = None
        self._device = Device.connect(self._socket)
        return question(self._device)

    def _report_data(self) -> bytes:
        return _written(self._directory / "user_report_data", _REPORT_DATA)

    def _wanted_target(self) -> bytes:
        return _written(self._directory / "target_info", _TARGET_INFO)


def seal_key(device: Device, policy: KeyPolicy) -> bytes:
    """The key of 16 bytes that Gramine gives for `_sgx_mrenclave` and `_sgx_mrsigner` (sgx_get_seal_key)."""
    body = Report.parse(device.report(device.target_info(), bytes(_REPORT_DATA))).body
    request = KeyRequest(
        keyname=KeyName.SEAL,
        keypolicy=policy,
        isvsvn=body.isvsvn,
        cpusvn=body.cpusvn,
        attribute_mask=Attributes(_SEAL_FLAGS, _SEAL_XFRM),
        misc_mask=_SEAL_MISC,
        configsvn=body.configsvn,
    )
    return device.key(request.build())


def _written(path: Path, size: int) -> bytes:
    """What a program wrote, filled up with zeros."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise Malformed("attestation-data", f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > size:
        raise Malformed("attestation-data", f"{path} has more than {size} bytes.")
    return data.ljust(size, b"\0")


def _empty(directory: Path) -> None:
    """Remove what the container's process before this one has left, or whoever else had the volume."""
    try:
        clear(directory)
    except OSError as error:
        raise Denied(
            "pod-attestation",
            f"{directory} has something of somebody else ({error.filename}: {error.strerror}).",
            _HINT,
        ) from None


def _answer(directory: Path, processor: Processor, ready: int, channel: Channel) -> NoReturn:
    """The process that answers, for as long as the container lives; why it cannot begin is written to `ready`."""
    try:
        os.setsid()
        process.set_name(b"attestation")
        _keep(ready)
        files = PseudoFiles(directory, processor.contents(), lambda text: channel.log(f"/dev/attestation/{text}"))
        target_info = processor.target_info()
        restrict_writes([str(directory)])  # before the first name is followed that another container may have made
        _make(directory, target_info, files)
        seccomp.install(seccomp.program(notify=False), notify=False)
        os.write(ready, _READY)
        os.close(ready)
    except KloisterError as error:
        os.write(ready, error.text.encode())
    except OSError as error:
        os.write(ready, f"{error.filename or 'it'}: {error.strerror}".encode())
    else:
        _serve(files, channel)
    finally:
        os._exit(1)


def _serve(files: PseudoFiles, channel: Channel) -> NoReturn:
    try:
        while True:
            files.serve()
    except Exception as error:
        channel.log(f"/dev/attestation answers no more ({type(error).__name__}).")
        raise


def _keep(ready: int) -> None:
    """Close what was inherited, but for the pipe and stderr."""
    nowhere = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    close_descriptors(ready)


def _make(directory: Path, target_info: bytes, files: PseudoFiles) -> None:
    keys = directory / "keys"
    keys.mkdir()
    keys.chmod(0o1777)  # each process may set a key of its own, as in Gramine
    plain = {
        "attestation_type": (b"dcap", 0o444),  # no line feed, as in Gramine
        "my_target_info": (target_info, 0o444),
        "user_report_data": (bytes(_REPORT_DATA), 0o666),
        "target_info": (bytes(_TARGET_INFO), 0o666),
    }
    for name, (content, mode) in plain.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(mode)
    files.make()
