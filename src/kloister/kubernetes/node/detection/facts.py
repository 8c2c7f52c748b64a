from __future__ import annotations

from dataclasses import dataclass, field

from kloister.kubernetes.node.epc import EpcSection, block_size, total

FLAGS = ("sgx", "sgx1", "sgx2", "flc", "kss", "fsgsbase")
"""`sgx`: the kernel uses it; `sgx1`, `sgx2`, `flc`, `kss`: the processor has it; `fsgsbase`: programs may use it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: a code (`kloister explain CODE`), a sentence, and what mends it, where anything has to be."""

    code: str
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """For `--json` and the ConfidentialNode resource."""
        return {"code": self.code, "text": self.text, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node of SGX.

    Attributes:
        role: `enclave` or `provision`.
        host: the node itself, all links resolved.
        names: under which containers get it, the new name first.
    """

    role: str
    host: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guest:
    """A confidential virtual machine that this node is itself.

    Attributes:
        kind: `tdx` or `snp`.
        reports: configfs-tsm, the kernel's interface to evidence, is there.
    """

    kind: str
    reports: bool


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node has; `None` as a flag's value: nobody tells."""

    epc: tuple[EpcSection, ...] = ()
    flags: dict[str, bool | None] = field(default_factory=dict)
    kernel: str = ""
    devices: tuple[DeviceNode, ...] = ()
    guests: tuple[Guest, ...] = ()
    findings: tuple[Finding, ...] = ()
    simulated: bool = False
    block: int = 0  # bytes of one block where the cluster decides it; 0: by the node's own EPC

    @property
    def epc_bytes(self) -> int:
        """EPC of all NUMA nodes."""
        return total(self.epc)

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of the device plugin."""
        return self.block or block_size(self.epc_bytes)

    @property
    def capable(self) -> bool:
        """Whether enclaves can be built here: EPC, and the device that the kernel gives only where it uses SGX."""
        return self.epc_bytes > 0 and self.device("enclave") is not None

    def device(self, role: str) -> DeviceNode | None:
        """The device of a role, if the node has it."""
        return next((device for device in self.devices if device.role == role), None)
