"""ConfidentialNode: the custom resource in which an agent says what its node has (kloister.dev, cluster scope).

The agent writes `spec` of the resource that has its node's name and nothing else in the cluster; the controller alone
touches nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kloister.errors import Malformed
from kloister.kubernetes.names import GROUP
from kloister.kubernetes.quantity import LARGEST

API_VERSION = f"{GROUP}/v1alpha1"
KIND = "ConfidentialNode"
PLURAL = "confidentialnodes"
_SECTIONS = 64  # NUMA nodes; far more than there are
_FLAGS = ("sgx1", "sgx2", "flc", "kss", "fsgsbase")
_TEES = ("tdx", "snp")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """EPC of one NUMA node, in bytes."""

    node: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ConfidentialNode:
    """What an agent reports.

    Attributes:
        name: the node's name.
        block: bytes of one EPC block of its device plugin.
        sections: EPC by NUMA node.
        flags: of sgx1, sgx2, flc, kss, fsgsbase those that the node has.
        simulated: the platform is simulated and keeps nothing confidential.
        tees: other guests' evidence that the node can give: tdx, snp.
        adopted: the name of another plugin whose resources are used; empty where ours are.
        quotes: quotes can be made at present.
        reason: why not, a code; empty where they can.
        seen: when the agent last wrote this.
    """

    name: str
    block: int
    sections: tuple[Section, ...]
    flags: frozenset[str]
    simulated: bool
    seen: datetime
    tees: tuple[str, ...] = ()
    adopted: str = ""
    quotes: bool = True
    reason: str = ""

    @property
    def epc(self) -> int:
        """Bytes of EPC in all."""
        return sum(section.bytes for section in self.sections)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> ConfidentialNode:
        """From the API server's object; `Malformed` `confidential-node`."""
        try:
            return cls._parse(document)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Malformed(
                "confidential-node", "A ConfidentialNode is not what an agent writes.", "Is another version at work?"
            ) from None

    @classmethod
    def _parse(cls, document: Mapping[str, Any]) -> ConfidentialNode:
        spec = document["spec"]
        sections = tuple(Section(_natural(item["node"]), _natural(item["bytes"])) for item in spec["sections"])
        if len(sections) > _SECTIONS or sum(section.bytes for section in sections) > LARGEST:
            raise ValueError
        return cls(
            name=str(document["metadata"]["name"]),
            block=_natural(spec["blockBytes"]),
            sections=sections,
            flags=frozenset(str(flag) for flag in spec["flags"]) & frozenset(_FLAGS),
            simulated=spec["simulated"] is not False,
            seen=datetime.strptime(spec["seen"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
            tees=tuple(tee for tee in spec.get("tees", ()) if tee in _TEES),  # they become labels of the node
            adopted=str(spec.get("adopted", "")),
            quotes=spec["quotes"]["ready"] is True,
            reason=str(spec["quotes"].get("reason", "")),
        )

    def build(self) -> Json:
        """The object for the API server."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name},
            "spec": {
                "epcBytes": self.epc,
                "blockBytes": self.block,
                "sections": [{"node": section.node, "bytes": section.bytes} for section in self.sections],
                "flags": sorted(self.flags),
                "simulated": self.simulated,
                "seen": f"{self.seen:%Y-%m-%dT%H:%M:%SZ}",
                "tees": list(self.tees),
                "adopted": self.adopted,
                "quotes": {"ready": self.quotes, "reason": self.reason},
            },
        }


def _natural(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value
