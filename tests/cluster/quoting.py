"""Quotes asked for inside a pod, over the socket that it was given, and judged by the verifier's command."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from kloister.formats.protocol.quoting import ReportContent
from kloister.formats.protocol.typed import octets
from kloister.kubernetes.node.quotes.link import PlatformLink
from tests.cluster.access import Cluster
from tests.support.aesm import AesmClient, unpadded
from tests.support.cli import Done, kloister

SOCKET = "/var/run/aesmd/aesm.socket"
_TALK = """
import socket, sys
talk = socket.socket(socket.AF_UNIX)
talk.connect(sys.argv[1])
talk.sendall(bytes.fromhex(sys.argv[2]))
answer = talk.recv(4, socket.MSG_WAITALL)
print(talk.recv(int.from_bytes(answer, "little"), socket.MSG_WAITALL).hex())
"""


@dataclass(frozen=True, slots=True)
class PodClient(AesmClient):
    """AESM's client in a pod whose image has Python."""

    cluster: Cluster | None = None
    pod: str = ""

    def raw(self, data: bytes) -> bytes:
        """See there."""
        assert self.cluster
        words = ("exec", self.pod, "--", "python3", "-c", _TALK, str(self.address), data.hex())
        return bytes.fromhex(self.cluster.kubectl(*words))


def quote_from(cluster: Cluster, pod: str, state: Path, data: bytes) -> bytes:
    """A quote over 64 bytes, of a report that the platform at `state` made for the pod's quoting enclave."""
    client = PodClient(SOCKET, cluster=cluster, pod=pod)
    asked = ReportContent(b"an enclave of the tests\n", client.target_info(), data)
    answer = asyncio.run(_ask(state / "platform" / "control.sock", asked))
    return unpadded(client.get(octets(answer, "report", "platform")).quote)


def judged(quote: bytes, state: Path, folder: Path) -> Done:
    """What `kloister verify` says, trusting this platform's root."""
    evidence, collateral, root = folder / "quote.bin", folder / "collateral.json", folder / "root.der"
    evidence.write_bytes(quote)
    assert kloister("simulator", "collateral", "--state", state, "--out", collateral).code == 0
    assert kloister("simulator", "root", "--state", state, "--out", root).code == 0
    return kloister("verify", evidence, "--collateral", collateral, "--root", root, "--json")


async def _ask(control: Path, asked: ReportContent) -> dict[str, object]:
    link = PlatformLink(control)
    try:
        return await link.ask(asked.build())
    finally:
        link.close()
