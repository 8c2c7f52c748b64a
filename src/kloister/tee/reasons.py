"""The reason codes of the simulated platform's daemon, its clients and the enclave's device."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_UP = "Start it with `kloister up`."
_INSIDE = "Only the enclave's own processes get quotes, reports and keys; run the program inside."
_PACK = "Delete the pack under cache/packs; it is made again from the image."

REASONS: Mapping[str, Reason] = MappingProxyType({
    "caller-outside": Reason("The sender is not a process of this enclave: its pid namespace is another.", _INSIDE),
    "caller-exited": Reason(
        "The process that sent the message has ended, so nobody can say that it was the enclave.",
        "Keep the asking process alive until the answer is there.",
    ),
    "caller-descriptors": Reason("A descriptor was passed on an enclave's socket.", "Send messages only."),
    "caller-unknown": Reason(
        "The kernel does not say who sent the message.", "Linux 6.5 or newer says it; see `kloister doctor`."
    ),
    "attached-record": Reason(
        "What the platform remembers of an attached container is damaged.",
        "The container's enclave is gone after the platform's restart: start the container anew.",
    ),
    "caller-not-first": Reason(
        "The sender is not the first process of a container with processes of its own.",
        "Start the image by its own entry point, without hostPID and without shareProcessNamespace.",
    ),
    "allocation-attached": Reason(
        "A container holds this allocation's enclave already.",
        "Let each container request its own (sgx.intel.com/epc); do not mount one's folder into another.",
    ),
    "allocation-exists": Reason("There is an allocation of this name already.", "Release it first."),
    "allocation-unknown": Reason("There is no allocation of this name.", "Ask for `allocations`."),
    "allocation-limit": Reason("The node has more allocations than are served.", "Release some."),
    "allocation-socket": Reason("An allocation came without its one listening socket.", BUG),
    "peer-not-owner": Reason(
        "The platform answers the user who owns its state, and root.",
        "Run the command as that user, or use a state of your own with --state DIR.",
    ),
    "peer-gone": Reason("The other side closed the connection.", "Try again."),
    "peer-silent": Reason("The other side did not answer in time.", "Try again; see `kloister status`."),
    "platform-unreachable": Reason("The simulated platform does not answer.", _UP),
    "platform-gone": Reason("The platform ended, and its enclaves with it.", _UP),
    "platform-running": Reason(
        "Another daemon serves this platform already.", "Use it, or choose another directory with --state DIR."
    ),
    "platform-state": Reason(
        "The platform's directory cannot be used.", "Mend rights and space, or choose another with --state DIR."
    ),
    "platform-user": Reason(
        "The platform cannot become the user that KLOISTER_PLATFORM_USER names.", "Start it as root, or unset it."
    ),
    "platform-allocations": Reason("The platform's answer is not a list of allocations.", BUG),
    "allocation-unreadable": Reason("No socket can be made in an allocation's folder.", "Check the folder's rights."),
    "platform-descriptors": Reason("A message came with other descriptors than it needs.", BUG),
    "*-descriptors": Reason("More descriptors were passed than are taken.", "Pass fewer."),
    "platform-internal": Reason("The platform failed while it served a request.", "Its log says where; report it."),
    "spawner-gone": Reason(
        "The process that starts sandboxes is gone.", "`kloister down`, then `kloister up` start it anew."
    ),
    "sandbox-namespace": Reason("The sandbox has no living pid namespace of its own.", "See `kloister doctor`."),
    "event-sandbox": Reason("The runner named the sandbox twice, or without its descriptors.", BUG),
    "memory-file": Reason("The enclave's first code cannot be held in memory.", "Free some memory."),
    "*-unreadable": Reason("A directory cannot be opened.", "Check the path and its permissions."),
    "pack-*": Reason("A file of the pack cannot be read.", _PACK),
    "pack-tree": Reason("The pack's list of files is empty or larger than is read.", _PACK),
    "pack-contents": Reason("The pack is shorter than its list of files says.", _PACK),
    "pack-pal": Reason("The pack has no usable first code.", "Convert the image again with this version of Kloister."),
})  # fmt: skip
