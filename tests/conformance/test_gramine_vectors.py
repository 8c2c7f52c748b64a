"""The simulated machine against enclaves that Gramine 1.9's own tools measured and signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kloister.errors import Malformed, Unverified
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_pages, gramine_runs, mrenclave
from kloister.formats.enclave.signing import unsigned_sigstruct
from kloister.formats.sgx import PAGE_SIZE, Attributes, Flag, Page, Run, Secs, Sigstruct
from kloister.simulator.epc import EpcNode
from kloister.simulator.keys import Identity
from kloister.simulator.machine import EnclaveId, Machine
from kloister.simulator.platform import SimulatedPlatform
from tests.support.enclaves import FUSES, KEYID, VECTOR_NAMES, GramineVector, gramine_vector, machine

names = pytest.mark.parametrize("name", VECTOR_NAMES)
GIB = 1 << 30


def runs_of(vector: GramineVector) -> tuple[Run, ...]:
    wanted = Manifest.parse(vector.manifest)
    return gramine_runs(vector.manifest, vector.pal, wanted.enclave_size, wanted.max_threads, wanted.edmm_enable)


def created(host: Machine, vector: GramineVector, **secs: Attributes) -> EnclaveId:
    signed = Sigstruct.parse(vector.sigstruct)
    size = Manifest.parse(vector.manifest).enclave_size
    return host.ecreate(Secs(**{"size": size, "attributes": signed.attributes, **secs}))  # type: ignore[arg-type]  # as named


def step_by_step(host: Machine, enclave: EnclaveId, page: Page) -> None:
    host.eadd(enclave, page)
    if page.measured:
        for at in range(0, PAGE_SIZE, 256):
            host.eextend(enclave, page.offset + at)


def check(identity: Identity, vector: GramineVector) -> None:
    secs = identity.secs
    assert secs.mrenclave == vector.mrenclave
    assert secs.mrsigner.hex() == vector.index["mrsigner"]
    assert (secs.isvprodid, secs.isvsvn) == (vector.index["prod"], vector.index["svn"])


@names
def test_the_manifest_predicts_measurement_and_signed_bytes(name: str) -> None:
    vector = gramine_vector(name)
    wanted, signed = Manifest.parse(vector.manifest), Sigstruct.parse(vector.sigstruct)
    assert mrenclave(runs_of(vector), wanted.enclave_size) == vector.mrenclave
    assert signed.mrsigner.hex() == vector.index["mrsigner"]
    assert signed.build() == vector.sigstruct
    assert signed.attributes.build().hex() == vector.index["attributes"]
    predicted = unsigned_sigstruct(wanted, vector.mrenclave, signed.date)
    assert predicted.signed_bytes() == signed.signed_bytes()
    signed.verify()


@names
def test_the_machine_builds_it_in_runs(name: str) -> None:
    vector = gramine_vector(name)
    platform = SimulatedPlatform(FUSES, KEYID, (EpcNode(GIB),))
    enclave = platform.start(vector.manifest, vector.pal, vector.sigstruct)
    check(enclave.identity, vector)


@names
def test_the_machine_builds_it_page_by_page(name: str) -> None:
    vector = gramine_vector(name)
    wanted = Manifest.parse(vector.manifest)
    host = machine(epc_bytes=GIB)
    enclave = created(host, vector)
    for page in gramine_pages(vector.manifest, vector.pal, wanted.enclave_size, wanted.max_threads, wanted.edmm_enable):
        host.add_page(enclave, page)
    check(host.einit(enclave, Sigstruct.parse(vector.sigstruct)), vector)


@names
def test_the_machine_builds_it_instruction_by_instruction(name: str) -> None:
    vector = gramine_vector(name)
    host = machine(epc_bytes=GIB)
    enclave = created(host, vector)
    for run in runs_of(vector):
        for page in run.pages():
            step_by_step(host, enclave, page)
    check(host.einit(enclave, Sigstruct.parse(vector.sigstruct)), vector)


def test_one_flipped_bit_of_any_area_is_refused() -> None:
    vector = gramine_vector("edmm")
    signed = Sigstruct.parse(vector.sigstruct)
    runs = runs_of(vector)
    host = machine(epc_bytes=GIB)
    for changed, run in enumerate(runs):
        enclave = created(host, vector)
        at = 0x20 if run.flags == 0x100 else len(run.content) // 2  # in a TCS, a byte that EADD takes
        content = bytearray(run.content.ljust(at + 1, b"\0"))
        content[at] ^= 1
        for index, each in enumerate(runs):
            host.add_page(enclave, replace(each, content=bytes(content)) if index == changed else each)
        with pytest.raises(Unverified) as refused:
            host.einit(enclave, signed)
        assert refused.value.code == "sgx-invalid-measurement"
        host.eremove(enclave)
    enclave = created(host, vector)
    for run in runs:
        host.add_page(enclave, run)
    check(host.einit(enclave, signed), vector)


@pytest.mark.parametrize("permission", [2, 4])
def test_another_permission_is_another_enclave(permission: int) -> None:
    vector = gramine_vector("small")
    host = machine(epc_bytes=GIB)
    enclave = created(host, vector)
    for run in runs_of(vector):
        host.add_page(enclave, replace(run, flags=run.flags ^ permission) if run.flags == 0x205 else run)
    with pytest.raises(Unverified) as refused:
        host.einit(enclave, Sigstruct.parse(vector.sigstruct))
    assert refused.value.code == "sgx-invalid-measurement"


def test_every_flipped_byte_of_the_sigstruct_is_refused() -> None:
    vector = gramine_vector("small")
    host = machine(epc_bytes=GIB)
    enclave = created(host, vector)
    for run in runs_of(vector):
        host.add_page(enclave, run)
    for at in range(Sigstruct.SIZE):
        data = bytearray(vector.sigstruct)
        data[at] ^= 1
        with pytest.raises((Malformed, Unverified)) as refused:
            host.einit(enclave, Sigstruct.parse(bytes(data)))
        assert refused.value.code.startswith("sigstruct-")
    check(host.einit(enclave, Sigstruct.parse(vector.sigstruct)), vector)


@pytest.mark.parametrize(
    "attributes",
    [Attributes(Flag.MODE64BIT | Flag.DEBUG, 3), Attributes(Flag.MODE64BIT | Flag.KSS, 3)],
)
def test_other_attributes_are_refused(attributes: Attributes) -> None:
    vector = gramine_vector("small")
    host = machine(epc_bytes=GIB)
    for secs, accepted in ((attributes, False), (Attributes(Flag.MODE64BIT, 3), True)):
        enclave = created(host, vector, attributes=secs)
        for run in runs_of(vector):
            host.add_page(enclave, run)
        if accepted:
            check(host.einit(enclave, Sigstruct.parse(vector.sigstruct)), vector)
        else:
            with pytest.raises(Unverified) as refused:
                host.einit(enclave, Sigstruct.parse(vector.sigstruct))
            assert refused.value.code == "sgx-invalid-attribute"


def test_the_processor_may_have_more_features_where_the_manifest_leaves_them_open() -> None:
    vector = gramine_vector("small")
    host = machine(epc_bytes=GIB)
    enclave = created(host, vector, attributes=Attributes(Flag.MODE64BIT, 0xE7))
    for run in runs_of(vector):
        host.add_page(enclave, run)
    check(host.einit(enclave, Sigstruct.parse(vector.sigstruct)), vector)
