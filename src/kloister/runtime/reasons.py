"""The reason codes of the runner, outside, and of the launcher, inside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_REBUILD = "Delete the pack under cache/packs: it is made again. If it happens again, the image was changed."
_CONVERT = "Convert the image again."
_DOCTOR = "Run `kloister doctor`; it names the setting."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # what was measured, compared with what is there
    "*-changed": Reason("A document is not the one that was measured.", _REBUILD),
    "*-unmeasured": Reason("The manifest does not measure a document that it must measure.", _CONVERT),
    "*-missing": Reason("A document that the launcher needs is missing.", _CONVERT),
    "first-code-changed": Reason("The file of the enclave's first code is not the measured one.", _REBUILD),
    "layer-changed": Reason("An encrypted part is not what was measured.", _REBUILD),
    "contents-size": Reason("The pack's contents have another size than its list of files says.", _REBUILD),
    "pack-file": Reason("A file of the pack cannot be read or is no regular file.", _REBUILD),
    "pack-size": Reason("A file of the pack is larger than is read.", _REBUILD),
    # what the host may choose
    "host-arguments-refused": Reason(
        "The host wants other arguments than those that were measured.",
        "Put them into the image, or have the policy release them (services: arguments).",
    ),
    "slot-refused": Reason(
        "The host chose a variable that the policy does not name as a slot, or a value that its pattern refuses.",
        "Allow it in the policy (services: slots), or leave it out.",
    ),
    "host-object": Reason("What the host says is not an object.", BUG),
    "mount-unknown": Reason("The image allows no mount of this name.", "Convert with --mount NAME=/PATH to allow it."),
    "mount-kind": Reason("What the host offers for a mount is not a directory.", "Name a directory."),
    "mount-unreachable": Reason("A directory cannot be shown inside the sandbox.", "Check the path and its rights."),
    # what the policy releases
    "output-unsupported": Reason("The policy wants encrypted output, which is not made yet.", "Use output: clear."),
    "preload-lost": Reason(
        "The image's /etc/ld.so.preload, which is kept from the launcher's loader, cannot be put back.",
        "Let the image's /etc be a directory that its owner may write to.",
    ),
    "place-shared": Reason(
        "A private or released file would lie in a named mount, where the host reads it.",
        "Give the mount another place (`kloister convert --mount`), or run without it.",
    ),
    "arguments-empty": Reason("The policy releases an empty command line.", "Name a program in services: arguments."),
    "secret-path": Reason("A file of the policy cannot be placed.", "Change its path in the policy (services: files)."),
    # private layers
    "private-key-missing": Reason(
        "The policy releases no key for the private layers.",
        "`kloister policy apply POLICY --keys KEYS` uploads the key that conversion made.",
    ),
    "private-missing": Reason("An encrypted part of the image is missing.", _REBUILD),
    "private-collision": Reason("A private file would replace a public one.", _CONVERT),
    "private-content": Reason("An encrypted layer does not hold what is listed for it.", _CONVERT),
    "private-media-type": Reason("Private layers in Zstandard are not read.", "Encrypt them as gzip."),
    # placing files
    "place-refused": Reason("A link, or something of another kind, is in the way of a file.", "Name the real path."),
    "place-conflict": Reason("The image has no directory where a place has to be made.", "Name its real path."),
    "place-failed": Reason("A file cannot be placed.", _DOCTOR),
    "memory-full": Reason("The files need more than the measured private memory.", "Convert with a larger --memory."),
    "fill-failed": Reason("The sandbox's root could not be filled.", "Free some memory, and try again."),
    "attestation-files": Reason("The files of /dev/attestation cannot be written.", "Free some memory."),
    "attestation-data": Reason(
        "What the application wrote to user_report_data or target_info is not what a report holds.",
        "Write at most 64 bytes to user_report_data, at most 512 to target_info.",
    ),
    # starting the application
    "program-not-found": Reason("The program to run is not in the image.", "Correct the image's entry point."),
    "program-not-executable": Reason("The program to run cannot be executed.", "Correct the image's entry point."),
    "workdir": Reason("The working directory cannot be entered.", "Correct the image."),
    "user-switch": Reason("The image's user does not exist in the sandbox.", "Install newuidmap (package uidmap)."),
    "launcher-failed": Reason("The launcher failed in a way that was not foreseen.", "Please report it."),
    # in an ordinary container
    "pod-allocation": Reason(
        "The container has no enclave: no allocation is mounted.",
        "Request EPC (resources: limits: sgx.intel.com/epc) on a node that runs `kloister serve node`.",
    ),
    "pod-user": Reason(
        "The container runs as another user than the measured one, and cannot switch.",
        "Leave the user to the image, or set runAsUser and runAsGroup as the text says.",
    ),
    "pod-mount": Reason(
        "The pod mounts something where the image was measured without a mount.",
        "Mount memory, in writable places only; convert with --mount NAME=/PATH for a volume.",
    ),
    "pod-environment": Reason(
        "The pod sets a variable that runs code in the image's entry point.", "Take it out of the pod's env."
    ),
    "pod-attestation": Reason(
        "Somebody else has put something into the container's /dev/attestation.",
        "Mount an emptyDir of medium Memory there for this container alone, as the webhook does.",
    ),
    "pod-private": Reason(
        "An ordinary container cannot decrypt layers into its root.",
        "Convert with --private-links, or use `kloister run`.",
    ),
    "pod-private-memory": Reason(
        "The container has no memory, or not enough, to decrypt its private files into.",
        "Annotate the pod with kloister.dev/private-memory: SIZE.",
    ),
    "pod-secret-place": Reason(
        "A released file has no place in memory.",
        "Mount an emptyDir of medium Memory at the file's directory or at /.kloister/memory.",
    ),
    "file-unreadable": Reason(
        "A file can be used but not read, so nobody can say whether it was changed.",
        "Give it read permission in the image, or take the permission to execute or search away.",
    ),
    "tree-unreadable": Reason("The container's files cannot be read.", "Start the container again."),
    "mounts-line": Reason("The kernel's list of mounts cannot be read.", BUG),
    # what the machine must allow
    "user-namespaces": Reason("This machine does not let this user make namespaces.", _DOCTOR),
    "image-needs-more-users": Reason(
        "The image has files or users of several ids, but only one can be made in a sandbox here.",
        "Install newuidmap (package uidmap) and give yourself subordinate ids (/etc/subuid, /etc/subgid).",
    ),
    "id-map": Reason("The map of user ids was refused.", "Check /etc/subuid and /etc/subgid; see `kloister doctor`."),
    "landlock-missing": Reason("The kernel cannot limit where the application writes.", "Use a kernel with Landlock."),
    "seccomp-missing": Reason("The kernel cannot filter system calls with notification.", "Use Linux 5.0 or newer."),
    "sandbox-mounts": Reason("The sandbox's file systems could not be mounted.", _DOCTOR),
    "device-missing": Reason("A device that the sandbox shows is missing on this machine.", "Check /dev."),
    "monitor-gone": Reason("The process that watches the sandbox is gone.", "Start the enclave again."),
    "start-descriptors": Reason("A start request came with a wrong number of descriptors.", BUG),
    "channel-talk": Reason("A monitor was sent something.", BUG),
})  # fmt: skip
