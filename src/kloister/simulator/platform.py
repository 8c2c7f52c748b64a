from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from kloister.errors import KloisterError
from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_runs
from kloister.formats.sgx import Attributes, Flag, KeyRequest, Report, Run, Secs, Sigstruct, TargetInfo
from kloister.simulator.architectural import LAUNCH_SIGNERS, PCE, QE, Architectural
from kloister.simulator.documents import QeValues, TcbStage, collateral
from kloister.simulator.fuses import Fuses
from kloister.simulator.keys import Identity
from kloister.simulator.machine import EnclaveId, EnclaveStatus, Machine, MachineConfig
from kloister.simulator.pce import ProvisioningCertificationEnclave
from kloister.simulator.pki import SimulatedPki
from kloister.simulator.qe import QuotingEnclave

DEFAULT_EPC: Final = 4 << 30  # bytes: a server's; what a simulated enclave takes of it is only counted


class SimulatedPlatform:
    """A machine with SGX, its QE and PCE and its certificates: all that a host needs to run and quote enclaves.

    Args:
        fuses: the secrets of the processor.
        keyid: 32 random bytes, new at each start.
        epc_bytes: size of the enclave page cache.
        pki: certificates; those that follow from the fuses where it is None.
    """

    def __init__(
        self, fuses: Fuses, keyid: bytes, epc_bytes: int = DEFAULT_EPC, pki: SimulatedPki | None = None
    ) -> None:
        self.pki = pki or SimulatedPki.derive(fuses.root)
        self.machine = Machine(
            fuses,
            MachineConfig(keyid=keyid, cpusvn=self.pki.tcb.cpusvn, epc_bytes=epc_bytes, launch_signers=LAUNCH_SIGNERS),
        )
        pce = ProvisioningCertificationEnclave(self.machine, self._own(PCE), self.pki.sign_as_pck)
        self.qe = QuotingEnclave(self.machine, self._own(QE), pce, self.pki.pck_chain_pem())

    def start_enclave(self, manifest: bytes, pal: bytes, sigstruct: bytes, *, debug: bool | None = None) -> EnclaveId:
        """Build the enclave of a Gramine manifest, as Gramine's loader would.

        Args:
            manifest: exact bytes of `manifest.sgx`.
            pal: the ELF file of the enclave's first instruction.
            sigstruct: 1808 bytes.
            debug: ATTRIBUTES.DEBUG; what the manifest says where it is None.

        Raises:
            Malformed: `manifest-*`, `elf-*`, `sigstruct-*`, `enclave-*`, `ecreate-*`.
            Unverified: what EINIT refuses.
            Unavailable: `epc-exhausted`.
        """
        wanted = Manifest.parse(manifest)
        runs = gramine_runs(manifest, pal, wanted.enclave_size, wanted.max_threads, wanted.edmm_enable)
        signed = Sigstruct.parse(sigstruct)
        return self._build(wanted.enclave_size, runs, signed, debug=wanted.debug if debug is None else debug)

    def start_content(self, content: bytes, sigstruct: bytes, *, debug: bool = False) -> EnclaveId:
        """Build the enclave whose measured content is given; arguments and errors as `start_enclave`."""
        enclave = ContentEnclave.of(content)
        return self._build(enclave.size, enclave.runs, Sigstruct.parse(sigstruct), debug=debug)

    def identity(self, enclave: EnclaveId) -> Identity:
        """Who the enclave is."""
        return self.machine.identity(enclave)

    def target_info(self, enclave: EnclaveId) -> TargetInfo:
        """What another enclave needs to make a report for this one."""
        return self.machine.target_info(enclave)

    def report(self, enclave: EnclaveId, target: TargetInfo, report_data: bytes) -> Report:
        """EREPORT for `target`, with 64 bytes of `report_data`."""
        return self.machine.ereport(enclave, target, report_data)

    def quote(self, enclave: EnclaveId, report_data: bytes) -> bytes:
        """A DCAP quote (version 3, certification data 5) of the enclave over 64 bytes of `report_data`."""
        return self.qe.quote(self.machine.ereport(enclave, self.qe.target_info(), report_data))

    def key(self, enclave: EnclaveId, request: KeyRequest) -> bytes:
        """EGETKEY: 16 bytes. Raises `Denied`."""
        return self.machine.egetkey(enclave, request)

    def remove(self, enclave: EnclaveId) -> None:
        """EREMOVE all of the enclave."""
        self.machine.eremove(enclave)

    def status(self) -> Mapping[EnclaveId, EnclaveStatus]:
        """All enclaves, the platform's own among them."""
        return self.machine.status()

    def collateral(self, now: datetime, stage: TcbStage | None = None) -> dict[str, str]:
        """What a verifier needs for this platform's quotes, with the keys of `Collateral.from_json`."""
        return collateral(self.pki, now, QeValues.of(self.qe.report), stage=stage)

    def root_der(self) -> bytes:
        """The root certificate that an operator would have to name to believe this platform."""
        return self.pki.root_der()

    def _own(self, architectural: Architectural) -> EnclaveId:
        enclave, sigstruct = architectural.enclave(), architectural.sigstruct()
        return self._build(enclave.size, enclave.runs, sigstruct, debug=False)

    def _build(self, size: int, runs: Iterable[Run], sigstruct: Sigstruct, *, debug: bool) -> EnclaveId:
        """ECREATE to EINIT; an enclave that is refused on the way leaves no page behind."""
        runs = tuple(runs)
        self.machine.require_epc(sum(run.count for run in runs))
        enclave = self.machine.ecreate(_secs(size, sigstruct, debug=debug))
        try:
            for run in runs:
                self.machine.add_page(enclave, run)
            self.machine.einit(enclave, sigstruct)
        except KloisterError:
            self.machine.eremove(enclave)
            raise
        return enclave


def _secs(size: int, sigstruct: Sigstruct, *, debug: bool) -> Secs:
    """The attributes that the author signed, but for DEBUG, which is the host's to ask for."""
    flags = sigstruct.attributes.flags & ~Flag.DEBUG | (Flag.DEBUG if debug else 0)
    attributes = Attributes(flags, sigstruct.attributes.xfrm)
    return Secs(size=size, attributes=attributes, miscselect=sigstruct.miscselect)
