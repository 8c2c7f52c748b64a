from __future__ import annotations

from collections.abc import Callable

from kloister.errors import Denied
from kloister.formats.sgx import Flag, Report, TargetInfo
from kloister.simulator.machine import EnclaveId, Machine


class ProvisioningCertificationEnclave:
    """PCE: vouches with the platform's PCK key for a report of a quoting enclave.

    Args:
        machine: where it runs.
        enclave: the PCE itself, initialised.
        sign: the PCK key: ECDSA P-256 with SHA-256 over its argument, r and s of 32 bytes, big-endian.
    """

    def __init__(self, machine: Machine, enclave: EnclaveId, sign: Callable[[bytes], bytes]) -> None:
        self._machine = machine
        self._enclave = enclave
        self._sign = sign

    @property
    def svn(self) -> int:
        """Its ISVSVN: the PCESVN of quotes."""
        return self._machine.identity(self._enclave).secs.isvsvn

    def target_info(self) -> TargetInfo:
        """Who a report to certify is made for."""
        return self._machine.target_info(self._enclave)

    def certify(self, report: Report) -> bytes:
        """The PCK key's signature over the 384 bytes of the report's body, 64 bytes.

        Raises:
            Unverified: `report-mac` if the report was not made for the PCE on this platform.
            Denied: `pce-invalid-privilege` if the enclave has no ATTRIBUTES.PROVISIONKEY.
        """
        self._machine.verify_report(self._enclave, report)
        if not report.body.attributes.has(Flag.PROVISIONKEY):
            raise Denied("pce-invalid-privilege", "The PCE certifies only enclaves with ATTRIBUTES.PROVISIONKEY.")
        return self._sign(report.body.build())
