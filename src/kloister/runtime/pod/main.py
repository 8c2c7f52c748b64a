"""The entry point of a converted image in an ordinary container. Its steps, with the numbers of the code below.

1. Refuse what the pod must not choose: arguments, code for the loader, another user.
2. Check the container's root against the measured tree, and the pod's mounts against the launch document.
3. Attach the enclave on the allocation's socket; fill /dev/attestation; get the secrets as everywhere
   (runtime/launcher).
4. Place private entries and released files in memory; join image's, host's and released environment.
5. Give up all rights that the application shall not have, and execute it in this process.

What is refused stands in the container's log and in its termination message, and the application is not started.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from kloister.errors import Denied, Misconfigured, Unavailable
from kloister.formats.enclave.launch import LaunchDocument, User
from kloister.formats.protocol.allocations import SOCKET
from kloister.formats.protocol.host import Host
from kloister.runtime.launcher import documents, inject
from kloister.runtime.launcher.channel import Channel
from kloister.runtime.launcher.main import get_secrets, hand_over, supervise
from kloister.runtime.linux import process
from kloister.runtime.pod import attestation, mounts, private
from kloister.runtime.pod.checking import require_tree
from kloister.runtime.pod.measured import Measured
from kloister.runtime.pod.memory import Memory
from kloister.runtime.pod.report import Report
from kloister.tee.device import Device

SOCKET_PATH = f"{mounts.ALLOCATION}/{SOCKET}"
SOCKET_VARIABLE = "KLOISTER_SOCKET"  # where the application finds its enclave
_CODE = ("LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES")  # what the loader would run or obey before our first line
_ROOT = Path("/")


def main() -> int:
    """Start the application; returns only when it is not started: 70 refused, 126 and 127 as a shell."""
    return supervise(Report(), start)


def start(channel: Channel) -> NoReturn:
    """All steps, in their order.

    Raises:
        KloisterError: why the application is not started.
    """
    require_plain(sys.argv[1:], os.environ)  # step 1
    if not os.path.lexists(SOCKET_PATH):
        raise _no_allocation()
    process.no_new_privileges()
    _leave_no_core()
    measured = Measured.read(_ROOT)
    launch = measured.launch
    require_user(launch.image.user)
    seen = mounts.read()
    if launch.private is not None:
        private.require_place(launch.private, seen)
    mounts.require_known(seen, launch)  # step 2
    require_tree(measured.tree, seen)
    answering = attestation.is_wanted(seen)
    device, _ = Device.attach(SOCKET_PATH, measured.attach)  # step 3
    if answering:
        attestation.start(Path(mounts.ATTESTATION), SOCKET_PATH, channel)  # before this process knows a secret
    with device:
        bundle = get_secrets(launch, _host(os.environ), device, channel)
    slots = documents.chosen(offered(os.environ, launch, bundle.slots), bundle.slots)  # step 1, after the release
    if launch.private is not None:
        private.place(launch.private, bundle.keys)
    inject.place_files(Memory(seen), bundle.files, launch)  # step 4
    home = inject.home_of(_ROOT, launch.image.user.uid)
    environment = {SOCKET_VARIABLE: SOCKET_PATH, **inject.environment(launch, slots, bundle, home)}
    arguments = launch.image.arguments if bundle.arguments is None else bundle.arguments
    hand_over(launch, bundle.output, arguments, environment, channel)  # step 5


def _leave_no_core() -> None:
    """Secrets in memory must not reach a disk: 1 also keeps a core from a handler behind a pipe (core(5))."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except ValueError:  # the hard limit is 0 already, which only a privileged process may raise
        return


def require_plain(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Refuse arguments of the pod (`args:`), and variables that put code into the entry point.

    Raises:
        Denied: `host-arguments-refused`, `pod-environment`.
    """
    documents.refuse_arguments(Host(arguments=tuple(arguments) or None))
    code = next((name for name in _CODE if environment.get(name)), None)
    if code is not None:
        raise Denied(
            "pod-environment",
            f"The pod sets {code}, which runs code of its choice in the image's entry point.",
            "Take it out of the pod's env; what the application needs belongs into the image.",
        )


def require_user(user: User) -> None:
    """Refuse to run as another user than the measured one: an ordinary container cannot switch.

    Raises:
        Misconfigured: `pod-user`.
    """
    here = (os.getuid(), os.getgid())
    missing = set(user.groups) - {here[1], *os.getgroups()}
    if here != (user.uid, user.gid) or missing:
        groups = f" and supplementalGroups: {sorted(user.groups)}" if user.groups else ""
        raise Misconfigured(
            "pod-user",
            f"The container runs as {here[0]}:{here[1]}; the image was measured to run as {user.uid}:{user.gid}.",
            f"Leave the user to the image, or set runAsUser: {user.uid}, runAsGroup: {user.gid}{groups}.",
        )


def offered(environment: Mapping[str, str], launch: LaunchDocument, slots: Mapping[str, str]) -> dict[str, str]:
    """What the pod's environment offers for the policy's slots; a value that the image sets itself is no offer."""
    image = dict(item.split("=", 1) for item in launch.image.environment)
    return {name: environment[name] for name in slots if name in environment and environment[name] != image.get(name)}


def _host(environment: Mapping[str, str]) -> Host:
    """The broker's address and the instance's name: hints, for the CA is pinned and the policy decides."""
    return Host(broker=environment.get("KLOISTER_BROKER", ""), instance=environment.get("KLOISTER_INSTANCE", ""))


def _no_allocation() -> Unavailable:
    return Unavailable(
        "pod-allocation",
        f"The container has no enclave: {SOCKET_PATH} is not there.",
        "Request EPC for it (resources: limits: sgx.intel.com/epc) on a node with `kloister serve node`.",
    )


if __name__ == "__main__":
    os._exit(main())
