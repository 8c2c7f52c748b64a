"""The first code that runs inside. Its steps, with the numbers that they have in the code below.

1. Read the launch document (measured) and what the host says (never trusted).
2. Refuse arguments of the host; its values for variables must fit slots that the policy releases.
3. If the image has a broker: get a quote over a fresh key and the broker's nonce, and with it the secrets.
4. Decrypt the private layers, and place exactly the entries of the private trees.
5. Place the released files (over files of the image, if so wished); join image's, host's and released environment.
6. Leave /dev/attestation for the application.
7. Become the image's user, give up all rights that the application shall not have, and execute it.

Whatever is refused is said to pid 1 with a code, and the application's first instruction is never reached.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kloister.errors import Denied, KloisterError
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.runtime import PRIVATE_PARTS, PRIVATE_ROOT
from kloister.formats.protocol.bundle import Bundle
from kloister.formats.protocol.host import Host
from kloister.runtime import preload
from kloister.runtime.launcher import attestation, documents, handover, inject, lockdown
from kloister.runtime.launcher.channel import Channel
from kloister.runtime.launcher.placing import Root
from kloister.tee.device import Device

REFUSED = 70  # EX_SOFTWARE of sysexits.h: told from every status of the application by the refusal on the channel
_ROOT = Path("/")


def main() -> int:
    """Start the application; returns only when it is not started.

    Returns:
        Exit status: 70 refused, 126 and 127 where the application cannot be executed.
    """
    channel = Channel.inherited()
    channel.started()
    return supervise(channel, start)


def supervise(channel: Channel, start: Callable[[Channel], NoReturn]) -> int:
    """Run `start`; whatever it raises is said on the channel and becomes an exit status (see `main`)."""
    try:
        start(channel)
    except handover.NotStarted as error:
        channel.refuse(error)
        return error.status
    except KloisterError as error:
        channel.refuse(error)
    except Exception as error:  # noqa: BLE001 -- no traceback may show what a secret was; the kind of error may
        channel.refuse(Denied("launcher-failed", f"The launcher failed unexpectedly ({type(error).__name__})."))
    return REFUSED


def start(channel: Channel) -> NoReturn:
    """All steps, in their order.

    Raises:
        KloisterError: why the application is not started.
    """
    preload.put_back()  # before anything looks at the image's files
    launch, host = documents.read_launch(_ROOT), documents.read_host(_ROOT)  # step 1
    documents.refuse_arguments(host)  # step 2
    channel.phase("documents")
    with Device.inherited() as device:
        bundle = get_secrets(launch, host, device, channel)  # step 3
        slots = documents.chosen(host.slots, bundle.slots)  # step 2, for which the policy's slots had to come first
        with Root() as root:
            _private(root, launch, bundle, channel)  # step 4
            inject.place_files(root, bundle.files, launch)  # step 5
        attestation.place_evidence(_ROOT, device)  # step 6
    channel.phase("inject")
    home = inject.home_of(_ROOT, launch.image.user.uid)
    environment = inject.environment(launch, slots, bundle, home)  # step 5
    arguments = launch.image.arguments if bundle.arguments is None else bundle.arguments
    hand_over(launch, bundle.output, arguments, environment, channel)  # step 7


def get_secrets(launch: LaunchDocument, host: Host, device: Device, channel: Channel) -> Bundle:
    """What the broker releases to this enclave; nothing where no broker is measured."""
    if launch.broker is None:
        return Bundle()
    from kloister.runtime.launcher.release import released  # noqa: PLC0415 -- 50 ms that an image without broker saves

    bundle = released(launch.broker, host, device)
    channel.phase("release")
    return bundle


def _private(root: Root, launch: LaunchDocument, bundle: Bundle, channel: Channel) -> None:
    if launch.private is None:
        return
    from kloister.runtime.launcher.private import place_private, taken  # noqa: PLC0415 -- as above

    at = PRIVATE_ROOT.encode() if launch.private.links else b""
    place_private(root, taken(_ROOT / PRIVATE_PARTS[1:]), launch.private, bundle.keys, at)
    channel.phase("private")


def hand_over(
    launch: LaunchDocument, output: str, arguments: tuple[str, ...], environment: dict[str, str], channel: Channel
) -> NoReturn:
    """Step 7. Raises what `lockdown` and `handover` refuse, `Denied` (`output-unsupported`, `arguments-empty`)."""
    if output == "encrypted":
        raise Denied("output-unsupported", "The policy wants encrypted output, which this version does not make.")
    if not arguments:
        raise Denied("arguments-empty", "The policy releases an empty command line.", "Name a program in it.")
    lockdown.lock_down(launch, channel)
    handover.enter(launch.image.workdir)
    program = handover.find_program(arguments[0], environment["PATH"])
    if output == "drop":
        handover.discard_output()
    channel.phase("lockdown")
    handover.close_descriptors(channel.descriptor)
    handover.execute(program, arguments, environment)


if __name__ == "__main__":
    os._exit(main())
