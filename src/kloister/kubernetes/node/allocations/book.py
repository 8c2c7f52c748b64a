from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from kloister import clock, entropy, files
from kloister.errors import KloisterError, Malformed
from kloister.kubernetes.node.allocations.record import LIMIT, Allocation
from kloister.kubernetes.node.kubelet.identity import Identity, identity

_LOG = logging.getLogger("kloister.node.allocations")
_FOLDER, _OPEN = 0o700, 0o755  # the folder of all is the agent's; one allocation's is its container's
_OF_ONE = "allocation-"  # codes of refusals that are of one allocation
_SUFFIX = ".json"
_NANOSECONDS = 1_000_000_000  # of a second
_HALF_MADE = 60  # seconds after which another agent that began an allocation is taken to have been killed


class Platform(Protocol):
    """Where enclaves are built for allocations; the simulated platform's control socket (architecture.md, 14).

    Every method raises `Unavailable` where nobody answers, and `Denied` where the platform does not want.
    """

    async def allocate(self, name: str, size: int, directory: Path) -> None:
        """Serve `directory`/enclave.sock for an allocation of `size` bytes; again after either side restarted."""
        ...

    async def release(self, name: str) -> None:
        """End its enclaves and its socket; one that is not there is released already."""
        ...

    async def allocations(self) -> Mapping[str, int]:
        """Bytes of EPC in use by each allocation that the platform knows."""
        ...


class Allocations:
    """The allocations of a node: folders and records below `directory`, which are the truth.

    They outlive an agent, and two agents share them while one is upgraded: `refresh` reads what the other one did.

    Args:
        directory: RUN/allocations, made private; on a tmpfs, because a reboot ends what it tells of.
        platform: None where the node's SGX is real: the kernel hands the EPC out then.
        now: seconds since 1970.
    """

    def __init__(self, directory: Path, platform: Platform | None, now: Callable[[], int] = clock.unix) -> None:
        self.directory = directory
        self.used: dict[str, int] | None = None
        """Bytes of EPC in use by id, as the platform said last; None where none does."""
        self._platform = platform
        self._now = now
        self._held: dict[str, Allocation] = {}
        self._seen: Identity | None = None  # the directory, whose time changes with its names
        self._turn = asyncio.Lock()  # what is told to the platform must not be overtaken by what it said before
        directory.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        self.refresh()

    @property
    def held(self) -> tuple[Allocation, ...]:
        """All that are held now."""
        return tuple(self._held.values())

    def folder(self, allocation: Allocation) -> Path:
        """What the container gets mounted."""
        return self.directory / allocation.id

    async def make(self, blocks: Iterable[str], size: int) -> Allocation:
        """A new allocation; one that still held any of the blocks is released, for the kubelet gives each block once.

        Raises:
            Unavailable: the platform does not answer.
            Denied: the platform refuses.
        """
        allocation = Allocation(entropy.identifier(), tuple(blocks), size, self._now())
        async with self._turn:
            wanted = set(allocation.blocks)
            ended = [one for one in self.held if not wanted.isdisjoint(one.blocks)]
            releases = [self._release(one, "its blocks were given to another container") for one in ended]
            done = await asyncio.gather(*releases, self._make(allocation), return_exceptions=True)  # all to their end
            for failure in filter(None, done):
                raise failure
        _LOG.info("allocated", extra={"allocation": allocation.id, "bytes": size})
        return allocation

    async def _make(self, allocation: Allocation) -> None:
        files.replace(self._record(allocation), allocation.build())
        folder = self.folder(allocation)
        folder.mkdir(mode=_OPEN)
        folder.chmod(_OPEN)  # whatever the umask: the container's user must reach the socket
        self._held[allocation.id] = allocation
        try:
            await self._serve(allocation)
        except KloisterError:
            self._forget(allocation)
            raise

    async def release(self, allocation: Allocation, why: str) -> None:
        """End an allocation; where the platform does not answer, it is told when it does (`keep`)."""
        async with self._turn:
            if allocation.id in self._held:
                await self._release(allocation, why)

    async def _release(self, allocation: Allocation, why: str) -> None:
        if self._platform is not None:
            try:
                await self._platform.release(allocation.id)
            except KloisterError as error:
                _LOG.warning("not released by the platform", extra={"allocation": allocation.id, "code": error.code})
        self._forget(allocation)
        _LOG.info("released", extra={"allocation": allocation.id, "bytes": allocation.size, "why": why})

    async def keep(self) -> None:
        """Make the platform's list ours: it forgets when it restarts, and we may have ended one while it was away.

        Raises:
            Unavailable: the platform does not answer.
            Denied: the platform refuses.
        """
        if self._platform is not None:
            async with self._turn:
                await self._agree(self._platform)

    async def _agree(self, platform: Platform) -> None:
        known = await platform.allocations()
        failures = [await self._tell(one) for one in self.held if one.id not in known]
        for name in known:
            if not (self.directory / name).exists():
                await platform.release(name)
        self.used = {name: size for name, size in known.items() if name in self._held}
        for failure in filter(None, failures):
            raise failure

    async def _tell(self, allocation: Allocation) -> KloisterError | None:
        """Why the platform cannot serve this one; it does not keep the others from theirs."""
        try:
            await self._serve(allocation)
        except KloisterError as error:
            if not error.code.startswith(_OF_ONE):
                raise  # the platform is away: nothing else would do better
            return error
        return None

    async def _serve(self, allocation: Allocation) -> None:
        if self._platform is not None:
            await self._platform.allocate(allocation.id, allocation.size, self.folder(allocation))

    def _record(self, allocation: Allocation) -> Path:
        return self.directory / f"{allocation.id}{_SUFFIX}"

    def _forget(self, allocation: Allocation) -> None:
        self._held.pop(allocation.id, None)
        shutil.rmtree(self.folder(allocation), ignore_errors=True)
        self._record(allocation).unlink(missing_ok=True)

    def refresh(self) -> None:
        """Read what is there, if it changed; what an agent left half made or half ended, a while ago, is removed."""
        seen = identity(self.directory)
        if seen is not None and seen == self._seen:
            return
        self._seen = seen if seen is not None and _is_past(seen) else None
        records = {path.stem: path for path in self.directory.glob(f"*{_SUFFIX}")}
        for name in self._held.keys() - records.keys():
            del self._held[name]
        for name in records.keys() - self._held.keys():
            self._read(records[name])
        for folder in self.directory.iterdir():
            if folder.suffix != _SUFFIX and folder.name not in records and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)  # its record is written before and removed after it

    def _read(self, path: Path) -> None:
        allocation = _parse(path)
        if allocation is not None and path == self._record(allocation) and self.folder(allocation).is_dir():
            self._held[allocation.id] = allocation
        elif allocation is None or path != self._record(allocation) or self._now() - allocation.made > _HALF_MADE:
            _LOG.warning("record set aside", extra={"record": path.name})
            path.unlink(missing_ok=True)
        else:
            self._seen = None  # another agent is at work: look again


def _is_past(seen: Identity) -> bool:
    """Whether a later change has a later time: kernels before 6.13 tell times by a tick of some milliseconds."""
    return seen[2] // _NANOSECONDS < clock.unix()


def _parse(path: Path) -> Allocation | None:
    try:
        with path.open("rb") as file:
            return Allocation.parse(file.read(LIMIT + 1))
    except (Malformed, OSError):
        return None
