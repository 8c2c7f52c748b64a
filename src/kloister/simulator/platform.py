from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from kloister.errors import Denied, KloisterError, Misconfigured
from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_runs
from kloister.formats.protocol.quoting import QeInfo, Quoted, QuoteReport, ReportContent
from kloister.formats.sgx import (
    PAGE_SIZE,
    Attributes,
    Flag,
    KeyRequest,
    Report,
    Run,
    Secs,
    Signer,
    Sigstruct,
    TargetInfo,
)
from kloister.simulator.architectural import LAUNCH_SIGNERS, PCE, QE, Architectural
from kloister.simulator.documents import QeValues, TcbStage, collateral
from kloister.simulator.epc import EpcNode
from kloister.simulator.fuses import Fuses
from kloister.simulator.keys import Identity
from kloister.simulator.machine import EnclaveId, Machine, MachineConfig
from kloister.simulator.pce import ProvisioningCertificationEnclave
from kloister.simulator.pki import SimulatedPki
from kloister.simulator.qe import QuotingEnclave
from kloister.simulator.recovery import Recovery

DEFAULT_NODES: Final = (EpcNode(4 << 30),)  # a server's; what a simulated enclave takes of it is only counted

_NO_CONFIG: Final = bytes(64)


class SimulatedEnclave:
    """An initialised enclave as its host and its own code reach it: bytes in, bytes out.

    Args:
        platform: where it runs.
        enclave: its name there.
    """

    def __init__(self, platform: SimulatedPlatform, enclave: EnclaveId) -> None:
        self._platform = platform
        self._machine = platform.machine
        self.id = enclave

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self._machine.identity(self.id)

    @property
    def mrenclave(self) -> bytes:
        """32 bytes."""
        return self.identity.secs.mrenclave

    @property
    def epc(self) -> int:
        """Bytes of EPC that it holds, with its SECS."""
        return self._machine.status()[self.id].epc_pages * PAGE_SIZE

    def target_info(self) -> bytes:
        """The 512 bytes that another enclave needs to make a report for this one."""
        return self._machine.target_info(self.id).build()

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """EREPORT: 432 bytes for the target. Raises `Malformed` (`targetinfo-*`, `report-data-size`)."""
        return self._machine.ereport(self.id, TargetInfo.parse(target_info), report_data).build()

    def quote(self, report_data: bytes) -> bytes:
        """A DCAP quote (version 3, certification data 5). Raises `Malformed` (`report-data-size`)."""
        qe = self._platform.qe
        return qe.quote(self._machine.ereport(self.id, qe.target_info(), report_data))

    def key(self, request: bytes) -> bytes:
        """EGETKEY: 16 bytes for a KEYREQUEST of 512. Raises `Malformed` (`keyrequest-*`), `Denied`."""
        return self._machine.egetkey(self.id, KeyRequest.parse(request))

    def remove(self) -> None:
        """EREMOVE all of it; whatever is asked of it afterwards is `Misused` (`enclave-unknown`)."""
        self._machine.eremove(self.id)


class SimulatedPlatform:
    """A machine with SGX, its QE and PCE and its certificates: all that a host needs to run and quote enclaves.

    Args:
        fuses: the secrets of the processor.
        keyid: 32 random bytes, new at each start.
        nodes: the enclave page cache by NUMA node, on one or more processor packages.
        pki: certificates; those that follow from the fuses where it is None.
        author: signs the enclaves that `quote_content` makes; not needed for anything else.
        recovery: says, each time collateral is asked for, where the platform stands.
    """

    def __init__(
        self,
        fuses: Fuses,
        keyid: bytes,
        nodes: tuple[EpcNode, ...] = DEFAULT_NODES,
        pki: SimulatedPki | None = None,
        author: Signer | None = None,
        recovery: Callable[[], Recovery] = Recovery,
    ) -> None:
        self.pki = pki or SimulatedPki.derive(fuses.root)
        self._author = author
        self._recovery = recovery
        config = MachineConfig(keyid=keyid, cpusvn=self.pki.tcb.cpusvn, nodes=nodes, launch_signers=LAUNCH_SIGNERS)
        self.machine = Machine(fuses, config)
        pce = ProvisioningCertificationEnclave(self.machine, self._own(PCE), self.pki.sign_as_pck)
        self.qe = QuotingEnclave(self.machine, self._own(QE), pce, self.pki.pck_chain_pem())

    def start(
        self, manifest: bytes, pal: bytes, sigstruct: bytes, *, debug: bool = False, epc: int | None = None
    ) -> SimulatedEnclave:
        """Build the enclave of a Gramine manifest, as Gramine's loader would.

        Args:
            manifest: exact bytes of `manifest.sgx`.
            pal: the ELF file of the enclave's first instruction.
            sigstruct: 1808 bytes.
            debug: ask for ATTRIBUTES.DEBUG even where the manifest does not.
            epc: bytes of EPC that it may take, with its SECS; None = what there is.

        Raises:
            Malformed: `manifest-*`, `elf-*`, `sigstruct-*`, `enclave-*`, `ecreate-*`.
            Unverified: what EINIT refuses.
            Denied: `epc-over-request`.
            Unavailable: `epc-exhausted`.
        """
        wanted = Manifest.parse(manifest)
        runs = gramine_runs(manifest, pal, wanted.enclave_size, wanted.max_threads, wanted.edmm_enable)
        signed = Sigstruct.parse(sigstruct)
        _require_within(epc, sum(run.count for run in runs) + 1)
        secs = _secs(wanted.enclave_size, signed, debug=debug or wanted.debug)
        return SimulatedEnclave(self, self._build(secs, runs, signed))

    def start_content(
        self, content: bytes, sigstruct: bytes, *, debug: bool = False, configid: bytes = _NO_CONFIG, configsvn: int = 0
    ) -> SimulatedEnclave:
        """Build the enclave whose measured content is given; arguments and errors as `start`, and two of KSS.

        Args:
            content: what is measured.
            sigstruct: 1808 bytes.
            debug: ask for ATTRIBUTES.DEBUG.
            configid: 64 bytes that the host chooses and reports tell; needs a SIGSTRUCT with ATTRIBUTES.KSS.
            configsvn: and their version.
        """
        enclave, signed = ContentEnclave.of(content), Sigstruct.parse(sigstruct)
        secs = replace(_secs(enclave.size, signed, debug=debug), configid=configid, configsvn=configsvn)
        return SimulatedEnclave(self, self._build(secs, enclave.runs, signed))

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        """A quote of an enclave whose measured content is given and that lives no longer than this call.

        Raises:
            Malformed: `content-size`, `report-data-size`.
            Misconfigured: `enclave-author` if the platform was made without one.
        """
        with self._shortly(content) as enclave:
            return enclave.quote(report_data)

    def report_content(self, request: ReportContent) -> bytes:
        """EREPORT, 432 bytes, of an enclave that lives no longer than this call.

        Raises:
            Malformed: `content-size`, `targetinfo-*`, `report-data-size`.
            Misconfigured: `enclave-author` if the platform was made without one.
        """
        with self._shortly(request.content) as enclave:
            return enclave.report(request.target, request.report_data)

    def qe_info(self) -> QeInfo:
        """What a client needs of the quoting enclave before it asks for a quote."""
        return QeInfo(self.qe.target_info().build(), self.qe.key_id, self.qe.quote_size)

    def quote_report(self, request: QuoteReport) -> Quoted:
        """A quote for a report that was made for the quoting enclave, and the QE's own report if it is wanted.

        Raises:
            Malformed: `report-*`, `targetinfo-*`.
            Unverified: `report-mac`.
        """
        quote = self.qe.quote(Report.parse(request.report))
        if request.nonce is None or request.target is None:
            return Quoted(quote)
        return Quoted(quote, self.qe.report_on(quote, request.nonce, TargetInfo.parse(request.target)).build())

    def root(self) -> bytes:
        """The root certificate (DER) that an operator would have to name to believe this platform."""
        return self.pki.root_der()

    def collateral(self, at: datetime, stage: TcbStage | None = None, *, early: bool = False) -> dict[str, str]:
        """What a verifier needs for this platform's quotes at that time, with the keys of `Collateral.from_json`.

        Args:
            at: aware.
            stage: where the platform stands; what its recovery says where it is None.
            early: by the early baseline instead of the standard one.
        """
        stage = stage or self._recovery().stage(early=early)
        return collateral(self.pki, at, QeValues.of(self.qe.report), stage=stage)

    def status(self) -> dict[str, Any]:
        """Public figures: `platform` (a hash that names it), `fmspc`, `epcUsed` and `epcTotal` in bytes, `nodes`."""
        return {
            "platform": hashlib.sha256(b"kloister/simulator/platform" + self.qe.id).hexdigest()[:32],
            "fmspc": self.pki.fmspc.hex(),
            "epcUsed": self.machine.epc_used * PAGE_SIZE,
            "epcTotal": self.machine.epc_total * PAGE_SIZE,
            "nodes": [
                {"package": node.package, "epcUsed": used * PAGE_SIZE, "epcTotal": node.pages * PAGE_SIZE}
                for node, used in zip(self.machine.config.nodes, self.machine.epc_used_by_node, strict=True)
            ],
        }

    @contextmanager
    def _shortly(self, content: bytes) -> Iterator[SimulatedEnclave]:
        if self._author is None:
            raise Misconfigured("enclave-author", "This platform has no key to sign enclaves with.")
        sigstruct = ContentEnclave.of(content).unsigned_sigstruct(None).sign_with(self._author)
        enclave = self.start_content(content, sigstruct.build())
        try:
            yield enclave
        finally:
            enclave.remove()

    def _own(self, architectural: Architectural) -> EnclaveId:
        enclave, sigstruct = architectural.enclave(), architectural.sigstruct()
        return self._build(_secs(enclave.size, sigstruct, debug=False), enclave.runs, sigstruct)

    def _build(self, secs: Secs, runs: tuple[Run, ...], sigstruct: Sigstruct) -> EnclaveId:
        """ECREATE to EINIT; an enclave that is refused on the way leaves no page behind."""
        self.machine.require_epc(sum(run.count for run in runs))
        enclave = self.machine.ecreate(secs)
        try:
            for run in runs:
                self.machine.add_page(enclave, run)
            self.machine.einit(enclave, sigstruct)
        except KloisterError:
            self.machine.eremove(enclave)
            raise
        return enclave


def _require_within(epc: int | None, pages: int) -> None:
    """Refuse an enclave of more pages, its SECS among them, than were requested for it."""
    wanted = pages * PAGE_SIZE
    if epc is not None and wanted > epc:
        raise Denied(
            "epc-over-request",
            f"The enclave takes {wanted} bytes of EPC; {epc} were requested for its container.",
            f"Request at least that much (limits: sgx.intel.com/epc: {wanted}), or convert with a smaller enclave.",
        )


def _secs(size: int, sigstruct: Sigstruct, *, debug: bool) -> Secs:
    """The attributes that the author signed, but for DEBUG, which is the host's to ask for."""
    flags = sigstruct.attributes.flags & ~int(Flag.DEBUG) | (Flag.DEBUG if debug else 0)
    attributes = Attributes(flags, sigstruct.attributes.xfrm)
    return Secs(size=size, attributes=attributes, miscselect=sigstruct.miscselect)
