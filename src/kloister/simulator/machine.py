from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Final, NewType

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.sgx import (
    PAGE_SIZE,
    KeyRequest,
    Measurement,
    Page,
    Report,
    ReportBody,
    Run,
    Secs,
    Sigstruct,
    TargetInfo,
)
from kloister.formats.sgx.measurement import EXTEND_SIZE
from kloister.simulator.creation import check_run, check_secs
from kloister.simulator.epc import Epc, EpcNode, PageMap
from kloister.simulator.fuses import Fuses
from kloister.simulator.initialization import initialize
from kloister.simulator.keys import Identity, cmac, get_key, report_key, target_of

EnclaveId = NewType("EnclaveId", int)

REPORT_DATA_SIZE: Final = 64  # bytes
_SECS_PAGES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """What is set when the machine is switched on."""

    keyid: bytes  # 32 random bytes, new in every power cycle: stands in its reports
    cpusvn: bytes = bytes(16)  # the processor's security version, one component per byte
    nodes: tuple[EpcNode, ...] = (EpcNode(128 << 20),)  # the enclave page cache, by NUMA node
    xfrm: int = 0x602E7  # XSAVE features of the processor: x87, SSE, AVX, AVX-512, PKRU, AMX
    launch_signers: frozenset[bytes] = frozenset()  # MRSIGNERs that may hold PROVISIONKEY and EINITTOKEN


@dataclass(slots=True)
class _Enclave:
    """One enclave's state; `identity` is there from EINIT on."""

    secs: Secs
    measurement: Measurement
    home: int  # its NUMA node
    placed: tuple[int, ...]  # pages on each node, with the SECS
    pages: PageMap = field(default_factory=PageMap)
    kept: dict[int, bytes] = field(default_factory=dict, repr=False)  # pages that EEXTEND may still measure
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class EnclaveStatus:
    """One enclave, for people to look at."""

    enclave: EnclaveId
    identity: Identity | None  # None before EINIT
    placed: tuple[int, ...]  # EPC pages on each NUMA node, with the SECS

    @property
    def epc_pages(self) -> int:
        """On all nodes."""
        return sum(self.placed)


class Machine:
    """A processor with SGX: the instructions that make enclaves and those that enclaves call (SDM 3D, chapter 38).

    It is a pure state machine and decides alone who an enclave is; who may speak for an enclave is its caller's duty.

    Args:
        fuses: the secrets of this processor.
        config: what is set at power-on.
    """

    def __init__(self, fuses: Fuses, config: MachineConfig) -> None:
        self._fuses = fuses
        self.config = config
        self._epc = Epc(config.nodes)
        self._enclaves: dict[EnclaveId, _Enclave] = {}
        self._next = 1

    @property
    def epc_used(self) -> int:
        """Pages of EPC that enclaves hold."""
        return self._epc.used

    @property
    def epc_used_by_node(self) -> tuple[int, ...]:
        """The same for each NUMA node."""
        return self._epc.used_by_node

    @property
    def epc_total(self) -> int:
        """Pages of EPC."""
        return self._epc.total

    def require_epc(self, pages: int) -> None:
        """Raises `Unavailable` (`epc-exhausted`) unless an enclave of that many pages and its SECS would fit."""
        self._epc.require(pages + _SECS_PAGES)

    def ecreate(self, secs: Secs) -> EnclaveId:
        """Begin an enclave. Raises `Malformed` (`ecreate-*`), `Unavailable` (`epc-exhausted`)."""
        check_secs(secs, self.config.xfrm)
        home = self._epc.home()
        placed = self._epc.take(_SECS_PAGES, home)
        enclave, self._next = EnclaveId(self._next), self._next + 1
        self._enclaves[enclave] = _Enclave(secs, Measurement(secs.size, secs.ssa_frame_pages), home, placed)
        return enclave

    def eadd(self, enclave: EnclaveId, page: Page) -> None:
        """Add one page and keep it for EEXTEND; `page.measured` says nothing here.

        Raises:
            Malformed: `eadd-*`, `tcs-*`.
            Unavailable: `epc-exhausted`.
        """
        state = self._add(enclave, Run.of(page))
        state.measurement.eadd(page.offset, page.flags)
        state.kept[page.offset] = page.content

    def eextend(self, enclave: EnclaveId, offset: int) -> None:
        """Measure 256 bytes of a page that `eadd` added. Raises `Malformed` (`eextend-*`, `einit-done`)."""
        state = self._growing(enclave)
        if offset % EXTEND_SIZE:
            raise Malformed("eextend-alignment", f"The offset {offset:#x} is no multiple of {EXTEND_SIZE}.")
        page = state.kept.get(offset - offset % PAGE_SIZE)
        if page is None:
            raise Malformed("eextend-page", f"No page that EADD added holds the offset {offset:#x}.")
        start = offset % PAGE_SIZE
        state.measurement.eextend(offset, page[start : start + EXTEND_SIZE])

    def add_page(self, enclave: EnclaveId, page: Page | Run) -> None:
        """EADD and, where `measured` says so, EEXTEND of the whole page or run, without keeping its content.

        Raises:
            Malformed: `eadd-*`, `tcs-*`.
            Unavailable: `epc-exhausted`.
        """
        run = page if isinstance(page, Run) else Run.of(page)
        self._add(enclave, run).measurement.add_run(run)

    def einit(self, enclave: EnclaveId, sigstruct: Sigstruct) -> Identity:
        """Finish the enclave: from now on it runs and cannot grow.

        Raises:
            Malformed: `einit-done`.
            Unverified: what `initialize` refuses.
        """
        state = self._growing(enclave)
        measured = state.measurement.digest()
        state.identity = initialize(state.secs, measured, sigstruct, self.config.launch_signers)
        state.kept.clear()
        return state.identity

    def ereport(self, enclave: EnclaveId, target: TargetInfo, report_data: bytes) -> Report:
        """What the enclave is, for the target alone to check.

        Raises:
            Malformed: `report-data-size` unless `report_data` has 64 bytes.
        """
        if len(report_data) != REPORT_DATA_SIZE:
            raise Malformed("report-data-size", f"Report data has {REPORT_DATA_SIZE} bytes, not {len(report_data)}.")
        identity = self.identity(enclave)
        body = self._body(identity, report_data)
        key = report_key(self._fuses, target, self.config.cpusvn, self.config.keyid)
        return Report(body=body, keyid=self.config.keyid, mac=cmac(key, body.build()))

    def egetkey(self, enclave: EnclaveId, request: KeyRequest) -> bytes:
        """A 16-byte key of the enclave. Raises `Denied`, see `keys.get_key`."""
        return get_key(self._fuses, self.identity(enclave), self.config.cpusvn, request)

    def verify_report(self, enclave: EnclaveId, report: Report) -> None:
        """Local attestation by the enclave that a report was made for.

        Raises:
            Unverified: `report-mac` if it was made on another machine or for another
                enclave, or was changed.
        """
        target = target_of(self.identity(enclave).secs)
        key = report_key(self._fuses, target, self.config.cpusvn, report.keyid)
        if not hmac.compare_digest(cmac(key, report.body.build()), report.mac):
            raise Unverified("report-mac", "The report was not made on this platform for this enclave.")

    def eremove(self, enclave: EnclaveId) -> None:
        """Remove all pages of the enclave, whatever its state."""
        self._epc.give(self._state(enclave).placed)
        del self._enclaves[enclave]

    def identity(self, enclave: EnclaveId) -> Identity:
        """Who the initialised enclave is. Raises `Misused` (`enclave-unknown`, `enclave-not-initialized`)."""
        identity = self._state(enclave).identity
        if identity is None:
            raise Misused("enclave-not-initialized", f"Enclave {enclave} has not passed EINIT.")
        return identity

    def target_info(self, enclave: EnclaveId) -> TargetInfo:
        """What others put into EREPORT to make a report for this enclave."""
        return target_of(self.identity(enclave).secs)

    def status(self) -> Mapping[EnclaveId, EnclaveStatus]:
        """All enclaves there are."""
        return {
            enclave: EnclaveStatus(enclave, state.identity, state.placed) for enclave, state in self._enclaves.items()
        }

    def _add(self, enclave: EnclaveId, run: Run) -> _Enclave:
        state = self._growing(enclave)
        check_run(run, state.secs)
        self._epc.require(run.count)
        state.pages.add(run.offset, run.count)
        taken = self._epc.take(run.count, state.home)
        state.placed = tuple(map(add, state.placed, taken))
        return state

    def _growing(self, enclave: EnclaveId) -> _Enclave:
        state = self._state(enclave)
        if state.identity is not None:
            raise Malformed("einit-done", "The enclave has passed EINIT; no page can be added or measured any more.")
        return state

    def _state(self, enclave: EnclaveId) -> _Enclave:
        state = self._enclaves.get(enclave)
        if state is None:
            raise Misused("enclave-unknown", f"There is no enclave {enclave} on this machine.")
        return state

    def _body(self, identity: Identity, report_data: bytes) -> ReportBody:
        secs = identity.secs
        return ReportBody(
            cpusvn=self.config.cpusvn,
            miscselect=secs.miscselect,
            isvextprodid=identity.isvextprodid,
            attributes=secs.attributes,
            mrenclave=secs.mrenclave,
            mrsigner=secs.mrsigner,
            configid=secs.configid,
            isvprodid=secs.isvprodid,
            isvsvn=secs.isvsvn,
            configsvn=secs.configsvn,
            isvfamilyid=identity.isvfamilyid,
            report_data=report_data,
        )
