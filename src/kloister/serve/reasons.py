"""The tables of all wings in one, for `kloister explain CODE` and `docs/reference/reasons.md`."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from kloister.client import reasons as client
from kloister.errors import BUG, Reason
from kloister.formats import reasons as formats
from kloister.images import reasons as images
from kloister.kubernetes import reasons as kubernetes
from kloister.kubernetes.node import reasons as node
from kloister.kubernetes.node.quotes import reasons as quotes
from kloister.runtime import reasons as runtime
from kloister.services import reasons as services
from kloister.services.attestation import reasons as attestation
from kloister.simulator import reasons as simulator
from kloister.tee import reasons as tee
from kloister.trust.policy import reasons as policy
from kloister.trust.verifier import reasons as verifier

COMMANDS: Mapping[str, Reason] = MappingProxyType({
    # the embedded stack
    "stack-document": Reason("stack.json is damaged.", "Run `kloister up`: it is written anew."),
    "state-owner": Reason("The state directory belongs to another user.", "Choose one with --state DIR."),
    "broker-running": Reason("A broker serves this state already.", "Stop it with `kloister down` first."),
    "attestation-running": Reason(
        "An attestation service serves this state already.", "Stop it with `kloister down` first."
    ),
    "daemon-failed": Reason("A daemon did not start.", "Its log, under logs in the state directory, says why."),
    "platform-epc": Reason(
        "KLOISTER_PLATFORM_EPC is not a whole number of MiB, nor one for each NUMA node.",
        "Try 4096, or 2048,2048/2048,2048 for two packages of two nodes, or unset it.",
    ),
    "platform-busy": Reason("Other commands hold the platform all the time.", "Try again."),
    "author-key": Reason("The platform's author.pem is no RSA key.", "Delete it; it is made anew."),
    "enclave-lost": Reason("The platform went away while the enclave ran.", "See `kloister status` and its logs."),
    "image-unknown": Reason("There is no local image of this name.", "Make one: `kloister convert SRC NAME`."),
    # what was typed
    "destination-name": Reason("This is no place for an image.", "See `kloister convert --help`."),
    "option-pair": Reason("An option takes NAME=VALUE.", "Write it so."),
    "file-size": Reason("A file has more bytes than are read.", "Check the name."),
    "collateral-missing": Reason(
        "Without collateral a quote cannot be judged.",
        "Give it with --collateral FILE; `kloister simulator collateral` writes one, and `verify` fetches it.",
    ),
    "admin-settings": Reason(
        "KLOISTER_ADMIN names a broker, but not all of its settings are there.",
        "Set KLOISTER_ADMIN_NAME, _CA, _CERTIFICATE and _KEY, or unset KLOISTER_ADMIN to use the broker's socket.",
    ),
    "admin-key-mode": Reason("Others may read the administrator's key.", "chmod 600 on it."),
    "keys-policy": Reason("The keys file belongs to another policy.", "Name the one that conversion wrote."),
    "secret-private": Reason("A secret's value is shown to nobody.", "Its public part: add --public."),
    "audit-head": Reason("The log's end was not written with this broker's root key.", "Keep it as evidence."),
    "audit-expect": Reason("The noted head is not SEQUENCE:HASH.", "Take it from `kloister audit verify`."),
    "audit-rolled-back": Reason("The log no longer holds an entry as it was noted.", "An older copy was put back."),
    "os-*": Reason("The operating system refused; the rest of the code is its name for that.", "See errno(3)."),
    "internal": Reason("Something happened that was not foreseen.", BUG),
    # the demo
    "application-ended": Reason("An application of the demo ended early.", "Its output says why."),
    "application-silent": Reason("An application of the demo does not answer.", "Try again on a less busy machine."),
    "demo-output": Reason("An application ran although it had to be refused.", BUG),
    "demo-prediction": Reason("The clinic did not answer with a prediction.", BUG),
    "demo-search": Reason("The search of the disk did not find the marker that was planted for it.", BUG),
    "demo-secret-on-disk": Reason("A secret lies on the disk.", BUG),
    "tamper-path": Reason("The demo's attacker did not find a file that is to be changed.", BUG),
    "tamper-encrypted": Reason("The demo's attacker found no encrypted layer.", BUG),
})  # fmt: skip

# The wings from the bottom to the top; a code of several wings stands in the lowest of them
TABLES: Mapping[str, Mapping[str, Reason]] = MappingProxyType({
    "Formats and messages": formats.REASONS,
    "The verifier": verifier.REASONS,
    "Policies and the release exchange": policy.REASONS,
    "The simulated processor": simulator.REASONS,
    "The simulated platform": tee.REASONS,
    "Clients of the broker": client.REASONS,
    "Images": images.REASONS,
    "Runner and launcher": runtime.REASONS,
    "Broker and appraisal": services.REASONS,
    "Attestation service": attestation.REASONS,
    "Clusters": kubernetes.REASONS,
    "Nodes of a cluster": node.REASONS,
    "Quotes of a node": quotes.REASONS,
    "Commands and the embedded stack": COMMANDS,
})  # fmt: skip


def describe(code: str) -> Reason:
    """What a code means: its own entry, else that of the longest pattern it fits, else an empty one."""
    for table in TABLES.values():
        if code in table and "*" not in code:
            return table[code]
    patterns = [(key, table[key]) for table in TABLES.values() for key in table if "*" in key]
    fitting = [(len(key), reason) for key, reason in patterns if fnmatchcase(code, key)]
    return max(fitting, key=lambda one: one[0])[1] if fitting else Reason("")
