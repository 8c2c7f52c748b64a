"""EGETKEY: who may have which key, and what it is derived from (Intel SDM 3D, 38.5, EGETKEY, and table 38-64)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from kloister.errors import Denied
from kloister.formats.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest, Secs, TargetInfo
from kloister.formats.wire import Writer
from kloister.simulator.fuses import Fuses

# Plain integers: the complement of an IntFlag has only the bits that the flag knows, and would let others pass.
_KSS_POLICY: Final = int(KeyPolicy.NOISVPRODID | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID)
_ALL_POLICY: Final = _KSS_POLICY | int(KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER)
_PRIVILEGE: Final = {
    KeyName.EINITTOKEN: Flag.EINITTOKEN,
    KeyName.PROVISION: Flag.PROVISIONKEY,
    KeyName.PROVISION_SEAL: Flag.PROVISIONKEY,
}
_ALWAYS: Final = Flag.INIT | Flag.DEBUG  # attributes that no mask can take out of a key
_NO_ID: Final = bytes(16)
_U32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an initialised enclave is: its SECS, and the two identifiers that the SECS keeps out of sight."""

    secs: Secs
    isvfamilyid: bytes = _NO_ID
    isvextprodid: bytes = _NO_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What one key depends on; fields that a key does not depend on stay zero."""

    name: KeyName
    policy: int = 0
    attributes: Attributes
    attribute_mask: Attributes = Attributes(0, 0)  # noqa: RUF009 -- frozen, so that sharing it is harmless
    miscselect: int = 0
    misc_mask: int = 0
    owner_epoch: bytes = bytes(16)
    cpusvn: bytes
    isvsvn: int = 0
    isvprodid: int = 0
    mrenclave: bytes = bytes(32)
    mrsigner: bytes = bytes(32)
    keyid: bytes = bytes(32)
    isvfamilyid: bytes = _NO_ID
    isvextprodid: bytes = _NO_ID
    configid: bytes = bytes(64)
    configsvn: int = 0

    def pack(self) -> bytes:
        writer = Writer().uint(self.name, 2).uint(self.policy, 2)
        writer.raw(self.attributes.build(), 16).raw(self.attribute_mask.build(), 16)
        writer.uint(self.miscselect, 4).uint(self.misc_mask, 4).raw(self.owner_epoch, 16)
        writer.raw(self.cpusvn, 16).uint(self.isvsvn, 2).uint(self.isvprodid, 2)
        writer.raw(self.mrenclave, 32).raw(self.mrsigner, 32).raw(self.keyid, 32)
        writer.raw(self.isvfamilyid, 16).raw(self.isvextprodid, 16)
        return writer.raw(self.configid, 64).uint(self.configsvn, 2).build()

    def derive(self, fuses: Fuses) -> bytes:
        return cmac(fuses.key_root(self.name), self.pack())


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-128-CMAC, 16 bytes (NIST SP 800-38B)."""
    state = CMAC(AES(key))
    state.update(data)
    return state.finalize()


def report_key(fuses: Fuses, target: TargetInfo, cpusvn: bytes, keyid: bytes) -> bytes:
    """The key that the target of a report gets by EGETKEY(REPORT), and EREPORT uses; 16 bytes."""
    return _Material(
        name=KeyName.REPORT,
        attributes=target.attributes,
        miscselect=target.miscselect,
        owner_epoch=fuses.owner_epoch,
        cpusvn=cpusvn,
        mrenclave=target.mrenclave,
        keyid=keyid,
        configid=target.configid,
        configsvn=target.configsvn,
    ).derive(fuses)


def target_of(secs: Secs) -> TargetInfo:
    """How others name an enclave when they make a report for it."""
    return TargetInfo(
        mrenclave=secs.mrenclave,
        attributes=secs.attributes,
        configsvn=secs.configsvn,
        miscselect=secs.miscselect,
        configid=secs.configid,
    )


def get_key(fuses: Fuses, identity: Identity, cpusvn: bytes, request: KeyRequest) -> bytes:
    """EGETKEY: the 16-byte key that `identity` asks for on a processor with `cpusvn`.

    Raises:
        Denied: `sgx-invalid-keyname`, `sgx-invalid-attribute`, `sgx-invalid-cpusvn`, `sgx-invalid-isvsvn` (the
            architecture's codes); `egetkey-policy`, `egetkey-kss` (#GP there); `egetkey-seal-policy` (the
            architecture allows a key that enclaves of every author share; this platform does not).
    """
    name = _check_name(request, identity)
    _check_policy(request, identity)
    if name is KeyName.REPORT:
        return report_key(fuses, target_of(identity.secs), cpusvn, request.keyid)
    _check_svns(request, identity.secs, cpusvn)
    return _material(fuses, name, identity, request).derive(fuses)


def _check_name(request: KeyRequest, identity: Identity) -> KeyName:
    if request.keyname not in KeyName.__members__.values():
        raise Denied("sgx-invalid-keyname", f"There is no key with name {request.keyname}.")
    name = KeyName(request.keyname)
    privilege = _PRIVILEGE.get(name)
    if privilege is not None and not identity.secs.attributes.has(privilege):
        raise Denied("sgx-invalid-attribute", f"The key {name.name} needs an enclave with ATTRIBUTES.{privilege.name}.")
    return name


def _check_policy(request: KeyRequest, identity: Identity) -> None:
    if request.keypolicy & ~_ALL_POLICY or request.cet_mask:
        raise Denied("egetkey-policy", f"The processor has not all of KEYPOLICY {request.keypolicy:#x}.")
    wants_kss = request.keypolicy & _KSS_POLICY or request.configsvn
    if wants_kss and not identity.secs.attributes.has(Flag.KSS):
        raise Denied("egetkey-kss", "This key policy needs an enclave with ATTRIBUTES.KSS.")
    by_whom = KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER
    if request.keyname == KeyName.SEAL and not request.keypolicy & by_whom:
        raise Denied(
            "egetkey-seal-policy",
            "A seal key by neither MRENCLAVE nor MRSIGNER is one that enclaves of every author share.",
            "Ask with key policy 1 (MRENCLAVE) or 2 (MRSIGNER).",
        )


def _check_svns(request: KeyRequest, secs: Secs, cpusvn: bytes) -> None:
    if any(wanted > current for wanted, current in zip(request.cpusvn, cpusvn, strict=True)):
        raise Denied("sgx-invalid-cpusvn", "The key asked for is of a newer processor security version than this one.")
    if request.isvsvn > secs.isvsvn or request.configsvn > secs.configsvn:
        raise Denied("sgx-invalid-isvsvn", "The key asked for is of a newer version than this enclave.")


def _material(fuses: Fuses, name: KeyName, identity: Identity, request: KeyRequest) -> _Material:
    secs, policy = identity.secs, KeyPolicy(request.keypolicy)
    sealing = name in (KeyName.SEAL, KeyName.PROVISION_SEAL)
    by_policy = policy if sealing else KeyPolicy(0)
    mask = request.attribute_mask
    ever = Attributes(mask.flags | _ALWAYS, mask.xfrm)
    with_keyid = name in (KeyName.SEAL, KeyName.EINITTOKEN)
    with_mrsigner = name is not KeyName.SEAL or KeyPolicy.MRSIGNER in policy
    with_config = KeyPolicy.CONFIGID in by_policy
    return _Material(
        name=name,
        policy=by_policy,
        attributes=secs.attributes & ever,
        attribute_mask=Attributes(0, 0) if name is KeyName.EINITTOKEN else mask,
        miscselect=secs.miscselect & request.misc_mask,
        misc_mask=~request.misc_mask & _U32 if name in (KeyName.SEAL, KeyName.PROVISION) else 0,
        owner_epoch=fuses.owner_epoch if with_keyid else bytes(16),
        cpusvn=request.cpusvn,
        isvsvn=request.isvsvn,
        isvprodid=0 if KeyPolicy.NOISVPRODID in by_policy else secs.isvprodid,
        mrenclave=secs.mrenclave if name is KeyName.SEAL and KeyPolicy.MRENCLAVE in policy else bytes(32),
        mrsigner=secs.mrsigner if with_mrsigner else bytes(32),
        keyid=request.keyid if with_keyid else bytes(32),
        isvfamilyid=identity.isvfamilyid if KeyPolicy.ISVFAMILYID in by_policy else _NO_ID,
        isvextprodid=identity.isvextprodid if KeyPolicy.ISVEXTPRODID in by_policy else _NO_ID,
        configid=secs.configid if with_config else bytes(64),
        configsvn=request.configsvn if with_config else 0,
    )
