"""Notices which allocations no pod holds any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kloister import clock
from kloister.errors import KloisterError, Malformed, Unavailable
from kloister.kubernetes.names import EPC_BLOCK
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.cgroups import Cgroups
from kloister.kubernetes.node.allocations.record import Allocation
from kloister.kubernetes.node.kubelet import pod_resources
from kloister.kubernetes.node.kubelet.checkpoint import CheckpointFile
from kloister.kubernetes.node.kubelet.pod_resources import Holder
from kloister.kubernetes.node.kubelet.registration import FOLDER

_LOG = logging.getLogger("kloister.node.allocations")
PAUSE = 4.0  # seconds between two looks
NEW = 15  # seconds; the kubelet lists a pod's devices only after Allocate has answered


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kubelet says; None for what it does not."""

    holders: Mapping[str, Holder] | None  # by block
    pods: Mapping[str, str] | None  # UID of the pod by block, of pods that ended lately too
    cgroups: dict[str, Path] | None  # by UID of the pod

    def pod(self, allocation: Allocation) -> str | None:
        """UID of the pod that holds, or lately held, an allocation's blocks."""
        return (
            next((self.pods[block] for block in allocation.blocks if block in self.pods), None) if self.pods else None
        )


class Watch:
    """Looks every few seconds at what the kubelet says of our blocks.

    Args:
        kubelet: the kubelet's folder, usually /var/lib/kubelet.
        allocations: what is held.
        cgroups: of the node's pods.
    """

    def __init__(self, kubelet: Path, allocations: Allocations, cgroups: Cgroups) -> None:
        self.holders: dict[str, Holder] = {}
        """The container of each allocation, by the allocation's id, as far as it is known."""
        self.platform_error: KloisterError | None = None
        """Why the platform could not be asked last time."""
        self.used: dict[str, int] | None = None
        """Bytes of EPC in use by allocation, of a pod with several at its first one; None where nobody tells."""
        self._kubelet = kubelet
        self._checkpoint = CheckpointFile(kubelet / FOLDER)
        self._allocations = allocations
        self._cgroups = cgroups
        self._told: set[str] = set()
        self._running: set[str | None] = set()  # pods of ours whose cgroup was seen

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Release what is held by nobody, and keep the platform's list ours."""
        self._allocations.refresh()
        seen = await self._see()
        now = clock.unix()
        before, now_there = self._running, seen.cgroups or {}
        pods = {seen.pod(one) for one in self._allocations.held}
        self._running = {pod for pod in pods if pod in before or pod in now_there}
        for allocation in self._allocations.held:
            if now - allocation.made >= NEW and not self._is_held(allocation, seen):
                await self._allocations.release(allocation, "no pod has its blocks any more")
        self._note(seen)
        try:
            await self._allocations.keep()
            self.platform_error = None
        except KloisterError as error:
            self._say(error)
            self.platform_error = error
        self.used = self._allocations.used if self._allocations.used is not None else self._counted(seen)

    def _is_held(self, allocation: Allocation, seen: Seen) -> bool:
        """Right after it started, the kubelet lists no pod yet: only what its checkpoint agrees to is let go."""
        if seen.holders is None and seen.pods is None:
            return True
        pod = seen.pod(allocation)
        if pod is not None and self._is_gone(pod, seen):
            return False
        listed = seen.holders is not None and any(block in seen.holders for block in allocation.blocks)
        return listed or pod is not None

    def _is_gone(self, pod: str, seen: Seen) -> bool:
        """Whether the kubelet has removed the pod's folder or its cgroup, as it does when its sandbox is gone.

        A cgroup counts only if it was seen before: those that we see may be another kubelet's.
        """
        pods = self._kubelet / "pods"
        removed = pods.is_dir() and not (pods / pod).exists()
        return removed or (pod in self._running and seen.cgroups is not None and pod not in seen.cgroups)

    def _counted(self, seen: Seen) -> dict[str, int] | None:
        """By the kernel, which knows pods only."""
        if seen.cgroups is None or not self._cgroups.tells_epc:
            return None
        found: dict[str, int] = {}
        for allocation in self._allocations.held:
            group = seen.cgroups.pop(seen.pod(allocation) or "", None)
            found[allocation.id] = (self._cgroups.epc(group) or 0) if group is not None else 0
        return found

    async def _see(self) -> Seen:
        holders: Mapping[str, Holder] | None = None
        pods: Mapping[str, str] | None = None
        try:
            holders = await pod_resources.holders(self._kubelet, EPC_BLOCK)
        except Unavailable as error:
            self._say(error)
        try:
            known = self._checkpoint.read()
            if known is not None:
                ours = [entry for entry in known.entries if entry.resource == EPC_BLOCK]
                pods = {device: entry.pod for entry in ours for device in entry.devices}
        except Malformed as error:
            self._say(error)
        return Seen(holders, pods, self._cgroups.pods() if pods is not None else None)

    def _note(self, seen: Seen) -> None:
        held = {one.id for one in self._allocations.held}
        self.holders = {name: holder for name, holder in self.holders.items() if name in held}
        for allocation in self._allocations.held if seen.holders is not None else ():
            with contextlib.suppress(KeyError):
                self.holders[allocation.id] = (seen.holders or {})[allocation.blocks[0]]

    def _say(self, error: KloisterError) -> None:
        """Once for each code: what stays broken would fill the log."""
        if error.code not in self._told:
            self._told.add(error.code)
            _LOG.warning(error.text, extra={"code": error.code, "hint": error.hint})
