"""Where a bed keeps what it has, and what its machines are called."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.bed.processes import BedError

SETTING = "KLOISTER_CLUSTER_STATE"
SERVICES = "10.96.0.0/16"
PODS = "10.97.0.0/16"
_HIDDEN = ("/dev", "/proc", "/run", "/sys", "/var")  # a node has its own of these


@dataclass(frozen=True, slots=True)
class Site:
    """A machine's place in the network.

    Attributes:
        address: on the network between the machines.
        pods: the network of the pods on it; empty where none run.
    """

    name: str
    address: str
    pods: str = ""


CONTROL = Site("control", "10.98.0.1")
NODES = (Site("confidential", "10.98.0.11", "10.97.1.0/24"), Site("ordinary", "10.98.0.12", "10.97.2.0/24"))


@dataclass(frozen=True, slots=True)
class Layout:
    """A bed's state directory; everything that the bed writes lies below it."""

    state: Path

    @property
    def identity(self) -> str:
        """Names the bed's control groups; the same for the same directory, so that a crashed bed is found again."""
        return "kloister-" + hashlib.sha256(os.fsencode(self.state)).hexdigest()[:8]

    @property
    def mark(self) -> Path:
        """Says that the directory is a bed's, and so may be removed."""
        return self.state / "bed"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for programs on this machine."""
        return self.state / "kubeconfig"

    @property
    def keys(self) -> Path:
        """Certificates and keys."""
        return self.state / "keys"

    @property
    def init(self) -> Path:
        """The first process of each machine."""
        return self.state / "init"

    def node(self, name: str) -> Path:
        """What would be a node's disk."""
        return self.state / "nodes" / name

    def log(self, machine: str, program: str) -> Path:
        """A program's output."""
        return self.state / "logs" / f"{machine}-{program}.log"

    def first(self, machine: str) -> Path:
        """The first process of a machine, as this machine numbers it."""
        return self.state / "pids" / machine

    def pid(self, machine: str, program: str) -> Path:
        """The process that waits for the program, as this machine numbers it."""
        return self.state / "pids" / f"{machine}-{program}"


def layout(given: str | None = None) -> Layout:
    """The bed in `given`, `$KLOISTER_CLUSTER_STATE` or a temporary directory of this user's.

    Raises:
        BedError: a node could not see that directory.
    """
    state = Path(given or os.environ.get(SETTING) or f"/tmp/kloister-cluster-{os.getuid()}").resolve()  # noqa: S108 (owner is checked)
    if any(state.is_relative_to(hidden) for hidden in _HIDDEN):
        raise BedError(f"{state}: a bed's directory must not lie in {', '.join(_HIDDEN)}; set {SETTING}")
    return Layout(state)
