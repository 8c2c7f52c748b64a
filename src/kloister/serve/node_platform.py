"""The simulated platform beside a node agent: its allocations, and whether both speak of the same EPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kloister import clock
from kloister.errors import Denied, Malformed, Misconfigured, Unavailable
from kloister.formats.protocol import typed
from kloister.formats.protocol.platform import Plain
from kloister.kubernetes.node.epc import EpcSection
from kloister.tee.simulated import asking
from kloister.tee.simulated.client import PlatformClient

ITS_OWN = "platform"
"""What `--simulate` says for: as much EPC as the platform has."""

_PATIENCE = 60.0  # seconds that a platform which starts beside the agent is waited for
_WHAT = "platform"


def sections_of(status: Mapping[str, Any]) -> tuple[EpcSection, ...]:
    """EPC by NUMA node, as the platform's `status` tells it. Raises `Malformed` `platform-*`."""
    nodes = status.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise Malformed("platform-nodes", "The platform does not tell its NUMA nodes.", "Bring both to one version.")
    sizes = [typed.integer(node, "epcTotal", _WHAT, 0, 1 << 48) for node in nodes]
    return tuple(EpcSection(number, size, "simulated") for number, size in enumerate(sizes))


def sections_at(control: Path | None) -> tuple[EpcSection, ...]:
    """The EPC of the platform at a control socket, once it is there.

    Raises:
        Misconfigured: `simulated-epc`: no platform is named.
        Unavailable: `platform-unreachable` and others, after a minute.
    """
    if control is None:
        raise Misconfigured("simulated-epc", "No platform was named.", "Name it with --platform SOCKET.")
    until = clock.monotonic() + _PATIENCE
    while True:
        try:
            return sections_of(PlatformClient(control).status())
        except Unavailable:
            if clock.monotonic() > until:
                raise
            time.sleep(0.2)


class SimulatedPlatform:
    """Allocations at the simulated platform's control socket.

    Args:
        control: its control socket.
        directory: where our allocations are; the platform may serve those of others, which are not touched.
        sections: the EPC that we offer; every method raises `Misconfigured` `simulated-epc-differs` for another.
    """

    def __init__(self, control: Path, directory: Path, sections: Sequence[EpcSection]) -> None:
        self._control = control
        self._within = f"{directory}/"
        self._sizes = [section.bytes for section in sections]
        self._same = False

    async def allocate(self, name: str, size: int, directory: Path) -> None:
        """See the port."""
        await self._compare()
        await asking.allocate(self._control, name, size, directory)

    async def release(self, name: str) -> None:
        """See the port."""
        try:
            await asking.release(self._control, name)
        except Denied as error:
            if error.code != "allocation-unknown":
                raise

    async def allocations(self) -> Mapping[str, int]:
        """See the port."""
        try:
            await self._compare()
            known = await asking.allocations(self._control)
        except Unavailable:
            self._same = False  # what comes back may be another one
            raise
        return {one.id: one.used for one in known if one.directory.startswith(self._within)}

    async def _compare(self) -> None:
        if self._same:
            return
        status = typed.mapping(await asking.ask(self._control, Plain("status").build()), "status", _WHAT, 64)
        theirs = [section.bytes for section in sections_of(status)]
        if theirs != self._sizes:
            raise Misconfigured(
                "simulated-epc-differs",
                f"The node offers {_said(self._sizes)} of EPC, and its simulated platform has {_said(theirs)}.",
                f"Give --simulate and KLOISTER_PLATFORM_EPC the same sizes, or say --simulate {ITS_OWN}.",
            )
        self._same = True


def _said(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size >> 20} MiB" for size in sizes) or "nothing"
