"""The quoting enclave: turns a report made for it into a DCAP quote (Intel SGX ECDSA QuoteLib, QE3)."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kloister.formats.dcap.quote import (
    HEADER_SIZE,
    Authentication,
    CertificationData,
    CertificationType,
    Header,
    Quote,
)
from kloister.formats.pki import sign_raw
from kloister.formats.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest, Report, ReportBody, TargetInfo
from kloister.simulator.keys import cmac
from kloister.simulator.machine import EnclaveId, Machine
from kloister.simulator.pce import ProvisioningCertificationEnclave

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4, D.1.2.3)
_AUTH_DATA: Final = bytes(range(32))  # as Intel's QE has it
_SEED: Final = 40  # bytes: 320 bits, so that the reduction leaves no bias (FIPS 186-5, A.2.1)
_SEAL_MASK: Final = Attributes((1 << 64) - 1 & ~int(Flag.MODE64BIT), 0)
_QE_ID_LABEL: Final = b"\0QE_ID_DER".ljust(14, b"\0") + b"\x00\x80"
_ATT_LABEL: Final = b"QE_ATT_DER".ljust(13, b"\0") + b"\x01\x40"
_V3: Final = 3
_SIGNATURE: Final = 64  # bytes: r and s


class QuotingEnclave:
    """QE: checks a report made for it and signs it with an attestation key that the PCE vouches for.

    The attestation key follows from the QE's seal key, so that it is the same until the platform's or the QE's
    security version changes.

    Args:
        machine: where it runs.
        enclave: the QE itself, initialised.
        pce: vouches for the attestation key.
        pck_chain_pem: leaf, CA and root of the PCE's key, for certification data 5.
    """

    def __init__(
        self, machine: Machine, enclave: EnclaveId, pce: ProvisioningCertificationEnclave, pck_chain_pem: str
    ) -> None:
        self._machine = machine
        self._enclave = enclave
        self._id = cmac(self._seal_key(isvsvn=0, cpusvn=bytes(16)), _QE_ID_LABEL)
        self._key = self._attestation_key()
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self._public = point[1:]  # x and y without the format's first byte
        self._certified = self.report_for(pce.target_info())
        self._certificate = pce.certify(self._certified)
        self._header = Header(version=_V3, qe_svn=self.report.isvsvn, pce_svn=pce.svn, user_data=self._id + bytes(4))
        authentication = self._authentication(pck_chain_pem)
        self._size = len(authentication).to_bytes(4, "little")
        self._vouched = authentication[_SIGNATURE:]

    @property
    def id(self) -> bytes:
        """QE_ID, 16 bytes: names this QE on this platform."""
        return self._id

    @property
    def report(self) -> ReportBody:
        """The QE's own report, as quotes carry it."""
        return self._certified.body

    def target_info(self) -> TargetInfo:
        """Who a report to quote is made for."""
        return self._machine.target_info(self._enclave)

    @property
    def key_id(self) -> bytes:
        """ECDSA_ID, 32 bytes: names the attestation key."""
        return hashlib.sha256(self._public + _AUTH_DATA).digest()

    def report_for(self, target: TargetInfo) -> Report:
        """The QE's report about its attestation key, for `target`."""
        return self._machine.ereport(self._enclave, target, self.key_id + bytes(32))

    def report_on(self, quote: bytes, nonce: bytes, target: TargetInfo) -> Report:
        """The QE's report that it made `quote` when asked with `nonce` (16 bytes), for `target`."""
        return self._machine.ereport(self._enclave, target, hashlib.sha256(nonce + quote).digest() + bytes(32))

    def quote(self, report: Report) -> bytes:
        """A quote of version 3 over the report's body, with the PCK chain (certification data 5).

        Raises:
            Unverified: `report-mac` if the report was not made for this QE on this platform.
        """
        self._machine.verify_report(self._enclave, report)
        signed = Quote.to_sign(self._header, report.body.build())
        return signed + self._size + sign_raw(self._key, signed) + self._vouched

    @property
    def quote_size(self) -> int:
        """Bytes of each quote."""
        return HEADER_SIZE + ReportBody.SIZE + len(self._size) + _SIGNATURE + len(self._vouched)

    def _authentication(self, pck_chain_pem: str) -> bytes:
        """What stands behind a quote's body, with a signature of zeros: only that differs between quotes."""
        return Authentication(
            signature=bytes(_SIGNATURE),
            attestation_key=self._public,
            qe_report=self.report.build(),
            qe_report_signature=self._certificate,
            qe_auth_data=_AUTH_DATA,
            # Intel's library ends the chain with a NUL; the verifiers in the field take it with and without.
            certification=CertificationData(
                type=CertificationType.PCK_CHAIN, data=pck_chain_pem.encode("ascii") + b"\0"
            ),
        ).build(_V3)

    def _seal_key(self, isvsvn: int, cpusvn: bytes) -> bytes:
        request = KeyRequest(
            keyname=KeyName.SEAL,
            keypolicy=KeyPolicy.MRSIGNER,
            isvsvn=isvsvn,
            cpusvn=cpusvn,
            attribute_mask=_SEAL_MASK,
        )
        return self._machine.egetkey(self._enclave, request)

    def _attestation_key(self) -> ec.EllipticCurvePrivateKey:
        isvsvn = self._machine.identity(self._enclave).secs.isvsvn
        seal = self._seal_key(isvsvn, self._machine.config.cpusvn)
        blocks = b"".join(cmac(seal, bytes([counter]) + _ATT_LABEL) for counter in (1, 2, 3))
        scalar = int.from_bytes(blocks[:_SEED], "big") % (_ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())
