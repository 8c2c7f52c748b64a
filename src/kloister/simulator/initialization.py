"""What EINIT refuses (Intel SDM 3D, chapter 38, EINIT): signature, measurement, attributes, launch control."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from kloister.errors import Unverified
from kloister.formats.sgx import Attributes, Flag, Secs, Sigstruct
from kloister.simulator.keys import Identity

_VENDORS: Final = (0, 0x8086)
_PRIVILEGED: Final = Flag.PROVISIONKEY | Flag.EINITTOKEN


def initialize(secs: Secs, mrenclave: bytes, sigstruct: Sigstruct, launch_signers: AbstractSet[bytes]) -> Identity:
    """EINIT: who the enclave is from now on.

    Args:
        secs: as ECREATE took it.
        mrenclave: 32 bytes, as measured.
        sigstruct: its author's certificate; its layout and constants were checked when it was parsed.
        launch_signers: MRSIGNERs whose enclaves may hold PROVISIONKEY and EINITTOKEN.

    Raises:
        Unverified: `sigstruct-signature`, `sgx-invalid-sig-struct`, `sgx-invalid-measurement`,
            `sgx-invalid-attribute`, `launch-not-allowed`.
    """
    sigstruct.verify()
    _check_constants(secs, sigstruct)
    if sigstruct.enclavehash != mrenclave:
        raise Unverified(
            "sgx-invalid-measurement",
            f"The enclave measures {mrenclave.hex()}, its SIGSTRUCT says {sigstruct.enclavehash.hex()}.",
            "Convert the image again: manifest, loader and SIGSTRUCT belong together.",
        )
    _check_attributes(secs, sigstruct)
    if secs.attributes.flags & _PRIVILEGED and sigstruct.mrsigner not in launch_signers:
        raise Unverified(
            "launch-not-allowed",
            "Only the platform's own enclaves may hold ATTRIBUTES.PROVISIONKEY or EINITTOKEN.",
            "Leave these attributes out when you sign the enclave.",
        )
    attributes = Attributes(secs.attributes.flags | Flag.INIT, secs.attributes.xfrm)
    measured = replace(
        secs,
        attributes=attributes,
        mrenclave=mrenclave,
        mrsigner=sigstruct.mrsigner,
        isvprodid=sigstruct.isvprodid,
        isvsvn=sigstruct.isvsvn,
    )
    return Identity(measured, sigstruct.isvfamilyid, sigstruct.isvextprodid)


def _check_constants(secs: Secs, sigstruct: Sigstruct) -> None:
    if sigstruct.vendor not in _VENDORS:
        raise Unverified("sgx-invalid-sig-struct", f"The SIGSTRUCT's vendor {sigstruct.vendor:#x} is none.")
    if sigstruct.cet_attributes or sigstruct.cet_mask:
        raise Unverified("sgx-invalid-sig-struct", "The SIGSTRUCT asks for CET, which this processor has not.")
    if not secs.attributes.has(Flag.KSS) and (any(sigstruct.isvfamilyid) or any(sigstruct.isvextprodid)):
        raise Unverified("sgx-invalid-sig-struct", "ISVFAMILYID and ISVEXTPRODID need ATTRIBUTES.KSS.")


def _check_attributes(secs: Secs, sigstruct: Sigstruct) -> None:
    mask = sigstruct.attribute_mask
    if secs.attributes & mask != sigstruct.attributes & mask:
        raise Unverified(
            "sgx-invalid-attribute",
            f"The enclave has ATTRIBUTES {secs.attributes.build().hex()}, its SIGSTRUCT allows"
            f" {sigstruct.attributes.build().hex()} under the mask {mask.build().hex()}.",
            "An enclave that was signed for production cannot be started for debugging: sign it with sgx.debug = true.",
        )
    if secs.miscselect & sigstruct.misc_mask != sigstruct.miscselect & sigstruct.misc_mask:
        raise Unverified(
            "sgx-invalid-attribute",
            f"The enclave has MISCSELECT {secs.miscselect:#x}, its SIGSTRUCT allows {sigstruct.miscselect:#x}.",
        )
