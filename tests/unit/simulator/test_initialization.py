from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kloister.errors import Malformed, Unverified
from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.sgx import Attributes, Flag, Misc, Secs, Sigstruct
from kloister.simulator.machine import EnclaveId, Machine
from tests.support.enclaves import MODE64, author_key, machine

PROGRAM = ContentEnclave.of(b"program")
ALL = (1 << 64) - 1
SIGNED = Sigstruct(enclavehash=PROGRAM.mrenclave(), attributes=MODE64, attribute_mask=Attributes(ALL, ALL))


def built(host: Machine, **secs: Any) -> EnclaveId:
    enclave = host.ecreate(Secs(**{"size": PROGRAM.size, "attributes": MODE64, **secs}))
    for run in PROGRAM.runs:
        host.add_page(enclave, run)
    return enclave


def sigstruct(**changes: Any) -> Sigstruct:
    return replace(SIGNED, **changes).sign(author_key())


def refusal(host: Machine, enclave: EnclaveId, structure: Sigstruct) -> str:
    with pytest.raises(Unverified) as refused:
        host.einit(enclave, structure)
    return refused.value.code


def test_einit_makes_the_identity() -> None:
    host = machine()
    structure = sigstruct(isvprodid=3, isvsvn=4)
    identity = host.einit(built(host), structure)
    assert identity.secs.mrenclave == PROGRAM.mrenclave()
    assert identity.secs.mrsigner == structure.mrsigner
    assert (identity.secs.isvprodid, identity.secs.isvsvn) == (3, 4)
    assert identity.secs.attributes == Attributes(Flag.INIT | Flag.MODE64BIT, 3)


def test_einit_happens_once() -> None:
    host = machine()
    enclave = built(host)
    host.einit(enclave, sigstruct())
    with pytest.raises(Malformed) as refused:
        host.einit(enclave, sigstruct())
    assert refused.value.code == "einit-done"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"enclavehash": bytes(32)}, "sgx-invalid-measurement"),
        ({"attributes": Attributes(Flag.MODE64BIT | Flag.DEBUG, 3)}, "sgx-invalid-attribute"),
        ({"attributes": Attributes(Flag.MODE64BIT, 7)}, "sgx-invalid-attribute"),
        ({"miscselect": Misc.EXINFO}, "sgx-invalid-attribute"),
        ({"vendor": 1}, "sgx-invalid-sig-struct"),
        ({"cet_mask": 1}, "sgx-invalid-sig-struct"),
        ({"cet_attributes": 1}, "sgx-invalid-sig-struct"),
        ({"isvfamilyid": b"\1" * 16}, "sgx-invalid-sig-struct"),
        ({"isvextprodid": b"\1" * 16}, "sgx-invalid-sig-struct"),
    ],
)
def test_einit_refuses_what_the_author_did_not_sign_for(changes: dict[str, Any], code: str) -> None:
    host = machine()
    assert refusal(host, built(host), sigstruct(**changes)) == code
    host.einit(built(host), sigstruct())


def test_einit_refuses_a_signature_that_is_none() -> None:
    host = machine()
    enclave = built(host)
    assert refusal(host, enclave, replace(sigstruct(), isvsvn=9)) == "sigstruct-signature"
    assert refusal(host, enclave, SIGNED) == "sigstruct-signature"
    host.einit(enclave, sigstruct())


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_one_changed_byte_of_a_page_is_another_enclave(part: int) -> None:
    host = machine()
    enclave = host.ecreate(Secs(size=PROGRAM.size, attributes=MODE64))
    for index, run in enumerate(PROGRAM.runs):
        content = bytearray(run.content.ljust(4096, b"\0"))
        content[32] ^= index == part  # in the TCS, the lowest byte of OENTRY
        host.add_page(enclave, replace(run, content=bytes(content)))
    assert refusal(host, enclave, sigstruct()) == "sgx-invalid-measurement"


def test_a_mask_leaves_the_host_its_choice() -> None:
    host = machine()
    loose = sigstruct(attribute_mask=Attributes(ALL & ~Flag.DEBUG, ALL & ~0x4), misc_mask=0xFFFFFFFE)
    debugged = built(host, attributes=Attributes(Flag.MODE64BIT | Flag.DEBUG, 7), miscselect=Misc.EXINFO)
    identity = host.einit(debugged, loose)
    assert identity.secs.attributes.has(Flag.DEBUG)
    assert identity.secs.attributes.xfrm == 7


def test_a_production_enclave_cannot_be_debugged() -> None:
    host = machine()
    debugged = built(host, attributes=Attributes(Flag.MODE64BIT | Flag.DEBUG, 3))
    assert refusal(host, debugged, sigstruct()) == "sgx-invalid-attribute"
    for_debugging = sigstruct(attributes=Attributes(Flag.MODE64BIT | Flag.DEBUG, 3))
    assert host.einit(debugged, for_debugging).secs.attributes.has(Flag.DEBUG)


@pytest.mark.parametrize("flag", [Flag.PROVISIONKEY, Flag.EINITTOKEN])
def test_privileges_are_for_the_platforms_own_signers(flag: Flag) -> None:
    attributes = Attributes(Flag.MODE64BIT | flag, 3)
    structure = sigstruct(attributes=attributes)
    host = machine()
    assert refusal(host, built(host, attributes=attributes), structure) == "launch-not-allowed"
    trusting = machine(launch_signers=frozenset({structure.mrsigner}))
    assert trusting.einit(built(trusting, attributes=attributes), structure).secs.attributes.has(flag)


def test_kss_fields_are_kept_where_kss_is_on() -> None:
    attributes = Attributes(Flag.MODE64BIT | Flag.KSS, 3)
    host = machine()
    enclave = built(host, attributes=attributes, configid=b"\7" * 64, configsvn=5)
    identity = host.einit(enclave, sigstruct(attributes=attributes, isvfamilyid=b"\1" * 16, isvextprodid=b"\2" * 16))
    assert (identity.isvfamilyid, identity.isvextprodid) == (b"\1" * 16, b"\2" * 16)
    assert (identity.secs.configid, identity.secs.configsvn) == (b"\7" * 64, 5)
