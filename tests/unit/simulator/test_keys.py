from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from kloister.errors import Denied
from kloister.formats.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest
from kloister.simulator.fuses import Fuses
from kloister.simulator.keys import cmac
from kloister.simulator.machine import Machine, MachineConfig
from tests.support.enclaves import FUSES, KEYID, MODE64, machine, start

ALL = Attributes((1 << 64) - 1, (1 << 64) - 1)
KSS = Attributes(Flag.MODE64BIT | Flag.KSS, 3)
EVERY = Flag.MODE64BIT | Flag.KSS | Flag.PROVISIONKEY | Flag.EINITTOKEN
BY_ENCLAVE = KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE, attribute_mask=ALL)
BY_SIGNER = KeyRequest(KeyName.SEAL, KeyPolicy.MRSIGNER, attribute_mask=ALL)


def key(host: Machine, request: KeyRequest, content: bytes = b"program", **enclave: Any) -> bytes:
    return host.egetkey(start(host, content, **enclave), request)


def refusal(host: Machine, request: KeyRequest, **enclave: Any) -> str:
    with pytest.raises(Denied) as refused:
        key(host, request, **enclave)
    return refused.value.code


def test_cmac_is_that_of_the_standard() -> None:
    # NIST SP 800-38B, D.1, example 2
    sample = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    assert cmac(*sample).hex() == "070a16b46b4d4144f79bdd9dd04a287c"


def test_a_seal_key_is_the_same_for_the_same_enclave_and_lasts_over_power_cycles() -> None:
    assert key(machine(), BY_ENCLAVE) == key(machine(keyid=bytes(32)), BY_ENCLAVE)
    assert len(key(machine(), BY_ENCLAVE)) == 16


@pytest.mark.parametrize("request_", [BY_ENCLAVE, BY_SIGNER])
def test_another_platform_or_owner_has_other_seal_keys(request_: KeyRequest) -> None:
    config = MachineConfig(keyid=KEYID, cpusvn=machine().config.cpusvn)
    keys = {
        key(machine(), request_),
        key(Machine(Fuses.create(bytes(48)), config), request_),
        key(Machine(replace(FUSES, owner_epoch=bytes(16)), config), request_),
    }
    assert len(keys) == 3


def test_policies_say_whom_a_seal_key_belongs_to() -> None:
    host = machine()
    assert key(host, BY_ENCLAVE) != key(host, BY_ENCLAVE, b"other")
    assert key(host, BY_ENCLAVE) == key(host, BY_ENCLAVE, author=1)
    assert key(host, BY_SIGNER) == key(host, BY_SIGNER, b"other")
    assert key(host, BY_SIGNER) != key(host, BY_SIGNER, author=1)
    both = replace(BY_SIGNER, keypolicy=KeyPolicy.MRSIGNER | KeyPolicy.MRENCLAVE)
    assert key(host, both) != key(host, both, b"other")
    assert key(host, both) != key(host, both, author=1)


@pytest.mark.parametrize(
    "changes",
    [{"keyid": b"\1" * 32}, {"isvsvn": 1}, {"cpusvn": bytes([1] * 16)}, {"misc_mask": 1}, {"attribute_mask": MODE64}],
)
def test_everything_that_is_asked_enters_the_key(changes: dict[str, Any]) -> None:
    host = machine()
    assert key(host, BY_SIGNER, isvsvn=2) != key(host, replace(BY_SIGNER, **changes), isvsvn=2)


def test_another_product_of_the_author_has_another_key() -> None:
    host = machine()
    assert key(host, BY_SIGNER, isvprodid=1) != key(host, BY_SIGNER, isvprodid=2)


def test_masked_attributes_do_not_matter_but_debug_always_does() -> None:
    host = machine()
    with_avx = Attributes(Flag.MODE64BIT, 7)
    debug = Attributes(Flag.MODE64BIT | Flag.DEBUG, 3)
    blind = replace(BY_ENCLAVE, attribute_mask=Attributes(0, 0))
    assert key(host, blind) == key(host, blind, attributes=with_avx)
    assert key(host, BY_ENCLAVE) != key(host, BY_ENCLAVE, attributes=with_avx)
    assert key(host, blind) != key(host, blind, attributes=debug)


def test_an_updated_enclave_reads_old_seals_and_not_the_other_way() -> None:
    host = machine()
    old = replace(BY_SIGNER, isvsvn=1)
    assert key(host, old, b"v1", isvsvn=1) == key(host, old, b"v2", isvsvn=2)
    newer = replace(BY_SIGNER, isvsvn=2)
    key(host, newer, b"v2", isvsvn=2)
    assert refusal(host, newer, isvsvn=1) == "sgx-invalid-isvsvn"


def test_an_updated_processor_reads_old_seals_and_not_the_other_way() -> None:
    old, new = machine(cpusvn=bytes([4] * 16)), machine(cpusvn=bytes([4] * 15 + [5]))
    assert key(old, replace(BY_SIGNER, cpusvn=old.config.cpusvn)) == key(
        new, replace(BY_SIGNER, cpusvn=old.config.cpusvn)
    )
    assert refusal(old, replace(BY_SIGNER, cpusvn=new.config.cpusvn)) == "sgx-invalid-cpusvn"
    higher_elsewhere = replace(BY_SIGNER, cpusvn=bytes([5] + [0] * 15))
    assert refusal(new, higher_elsewhere) == "sgx-invalid-cpusvn"


def test_a_seal_key_for_nobody_in_particular_is_refused() -> None:
    host = machine()
    assert refusal(host, KeyRequest(KeyName.SEAL)) == "egetkey-seal-policy"
    assert refusal(host, KeyRequest(KeyName.SEAL, KeyPolicy.CONFIGID), attributes=KSS) == "egetkey-seal-policy"
    key(host, BY_ENCLAVE)


@pytest.mark.parametrize("keyname", [5, 255, 0xFFFF])
def test_an_unknown_name_is_refused(keyname: int) -> None:
    assert refusal(machine(), replace(BY_ENCLAVE, keyname=keyname)) == "sgx-invalid-keyname"


@pytest.mark.parametrize("changes", [{"keypolicy": 0x41}, {"keypolicy": 0x8001}, {"cet_mask": 1}])
def test_unknown_policies_are_refused(changes: dict[str, Any]) -> None:
    assert refusal(machine(), replace(BY_ENCLAVE, **changes)) == "egetkey-policy"


@pytest.mark.parametrize("policy", [4, 8, 0x10, 0x20])
def test_kss_policies_need_kss(policy: int) -> None:
    host = machine()
    wanted = replace(BY_SIGNER, keypolicy=KeyPolicy.MRSIGNER | policy)
    assert refusal(host, wanted) == "egetkey-kss"
    assert key(host, wanted, attributes=KSS) != key(host, BY_SIGNER, attributes=KSS)


@pytest.mark.parametrize(
    ("policy", "field", "value"),
    [
        (KeyPolicy.CONFIGID, "secs_configid", b"\1" * 64),
        (KeyPolicy.ISVFAMILYID, "isvfamilyid", b"\1" * 16),
        (KeyPolicy.ISVEXTPRODID, "isvextprodid", b"\1" * 16),
    ],
)
def test_kss_policies_bind_what_they_name_and_only_then(policy: int, field: str, value: bytes) -> None:
    host = machine()
    wanted = replace(BY_SIGNER, keypolicy=KeyPolicy.MRSIGNER | policy)
    assert key(host, wanted, attributes=KSS) != key(host, wanted, attributes=KSS, **{field: value})
    assert key(host, BY_SIGNER, attributes=KSS) == key(host, BY_SIGNER, attributes=KSS, **{field: value})


def test_noisvprodid_is_for_all_products_of_an_author() -> None:
    host = machine()
    wanted = replace(BY_SIGNER, keypolicy=KeyPolicy.MRSIGNER | KeyPolicy.NOISVPRODID)
    assert key(host, wanted, attributes=KSS, isvprodid=1) == key(host, wanted, attributes=KSS, isvprodid=2)


def test_config_svn_cannot_be_newer_than_the_enclaves() -> None:
    host = machine()
    wanted = replace(BY_SIGNER, keypolicy=KeyPolicy.MRSIGNER | KeyPolicy.CONFIGID, configsvn=2)
    key(host, wanted, attributes=KSS, secs_configsvn=2)
    assert refusal(host, wanted, attributes=KSS, secs_configsvn=1) == "sgx-invalid-isvsvn"
    assert refusal(host, replace(BY_SIGNER, configsvn=2)) == "egetkey-kss"


def test_the_report_key_is_the_targets_own() -> None:
    host = machine()
    one, two = start(host, b"one"), start(host, b"two")
    report = host.ereport(one, host.target_info(two), bytes(64))
    mine = host.egetkey(two, KeyRequest(KeyName.REPORT, keyid=report.keyid))
    state = CMAC(AES(mine))
    state.update(report.body.build())
    state.verify(report.mac)
    assert host.egetkey(one, KeyRequest(KeyName.REPORT, keyid=report.keyid)) != mine
    assert host.egetkey(two, KeyRequest(KeyName.REPORT, keyid=bytes(32))) != mine


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        (KeyName.PROVISION, Flag.PROVISIONKEY),
        (KeyName.PROVISION_SEAL, Flag.PROVISIONKEY),
        (KeyName.EINITTOKEN, Flag.EINITTOKEN),
    ],
)
def test_privileged_keys_need_their_attribute(name: KeyName, flag: Flag) -> None:
    host = machine()
    signer = host.identity(start(host)).secs.mrsigner
    trusting = machine(launch_signers=frozenset({signer}))
    wanted = KeyRequest(name, attribute_mask=ALL)
    assert refusal(trusting, wanted) == "sgx-invalid-attribute"
    privileged = Attributes(Flag.MODE64BIT | flag, 3)
    made = key(trusting, wanted, attributes=privileged)
    assert made == key(trusting, wanted, b"other", attributes=privileged)
    assert made != key(trusting, wanted, attributes=privileged, isvprodid=1)


def test_provisioning_keys_outlive_the_owner_and_launch_keys_do_not() -> None:
    host = machine()
    allowed = frozenset({host.identity(start(host)).secs.mrsigner})
    flags = Attributes(Flag.MODE64BIT | Flag.PROVISIONKEY | Flag.EINITTOKEN, 3)
    config = MachineConfig(keyid=KEYID, launch_signers=allowed)
    first, second = Machine(FUSES, config), Machine(replace(FUSES, owner_epoch=bytes(16)), config)
    same = {
        name: key(first, KeyRequest(name), attributes=flags) == key(second, KeyRequest(name), attributes=flags)
        for name in (KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN)
    }
    assert same == {KeyName.PROVISION: True, KeyName.PROVISION_SEAL: True, KeyName.EINITTOKEN: False}


# What each key depends on (SDM 3D, table "Key derivation"): every fact about enclave, request and owner, by key name.
OF_THE_ENCLAVE: dict[str, dict[str, Any]] = {
    "mrenclave": {"content": b"other"},
    "mrsigner": {"author": 1},
    "attributes": {"attributes": Attributes(int(EVERY | Flag.DEBUG), 3)},
    "miscselect": {"secs_miscselect": 1, "miscselect": 1, "misc_mask": 0xFFFFFFFF},
    "isvprodid": {"isvprodid": 9},
    "isvfamilyid": {"isvfamilyid": b"f" * 16},
    "isvextprodid": {"isvextprodid": b"e" * 16},
    "configid": {"secs_configid": b"c" * 64},
}
OF_THE_REQUEST: dict[str, dict[str, Any]] = {
    "isvsvn": {"isvsvn": 1},
    "cpusvn": {"cpusvn": bytes([1] * 16)},
    "keyid": {"keyid": b"k" * 32},
    "configsvn": {"configsvn": 1},
    "attribute mask": {"attribute_mask": Attributes((1 << 64) - 1, 3)},
    "misc mask": {"misc_mask": 1},
}
COMMON = {"attributes", "miscselect", "mrsigner", "isvprodid", "isvsvn", "cpusvn"}
KSS_FACTS = {"isvfamilyid", "isvextprodid", "configid", "configsvn"}
DEPENDS: list[tuple[KeyName, int, set[str]]] = [
    (KeyName.EINITTOKEN, 0, COMMON | {"keyid", "owner"}),
    (KeyName.PROVISION, 0, COMMON | {"attribute mask", "misc mask"}),
    (KeyName.PROVISION_SEAL, 0, COMMON | {"attribute mask"}),
    (KeyName.PROVISION_SEAL, 0x38, COMMON | {"attribute mask"} | KSS_FACTS),
    (KeyName.PROVISION_SEAL, 0x04, COMMON - {"isvprodid"} | {"attribute mask"}),
    (KeyName.SEAL, 0x01, COMMON - {"mrsigner"} | {"mrenclave", "attribute mask", "misc mask", "keyid", "owner"}),
    (KeyName.SEAL, 0x02, COMMON | {"attribute mask", "misc mask", "keyid", "owner"}),
    (KeyName.SEAL, 0x03, COMMON | {"mrenclave", "attribute mask", "misc mask", "keyid", "owner"}),
    (KeyName.SEAL, 0x06, COMMON - {"isvprodid"} | {"attribute mask", "misc mask", "keyid", "owner"}),
    (KeyName.SEAL, 0x0A, COMMON | {"attribute mask", "misc mask", "keyid", "owner", "configid", "configsvn"}),
    (KeyName.SEAL, 0x12, COMMON | {"attribute mask", "misc mask", "keyid", "owner", "isvfamilyid"}),
    (KeyName.SEAL, 0x22, COMMON | {"attribute mask", "misc mask", "keyid", "owner", "isvextprodid"}),
    (KeyName.REPORT, 0, {"mrenclave", "attributes", "miscselect", "keyid", "owner", "configid"}),
]


@pytest.mark.parametrize(("name", "policy", "expected"), DEPENDS)
def test_each_key_depends_on_exactly_what_the_architecture_says(name: KeyName, policy: int, expected: set[str]) -> None:
    plain = machine()
    signers = frozenset(plain.identity(start(plain, author=author)).secs.mrsigner for author in (0, 1))
    host = machine(launch_signers=signers)
    usual: dict[str, Any] = {"attributes": Attributes(int(EVERY), 3), "isvsvn": 2, "secs_configsvn": 2}
    request = KeyRequest(name, policy, attribute_mask=ALL, misc_mask=0xFFFFFFFF)
    first = key(host, request, **usual)
    reborn = Machine(replace(FUSES, owner_epoch=bytes(16)), host.config)
    found = {"owner"} if key(reborn, request, **usual) != first else set()
    found |= {fact for fact, other in OF_THE_ENCLAVE.items() if key(host, request, **{**usual, **other}) != first}
    found |= {fact for fact, other in OF_THE_REQUEST.items() if key(host, replace(request, **other), **usual) != first}
    assert found == expected
