from __future__ import annotations

import pytest

from kloister.errors import Misused
from kloister.formats.dcap import PckExtension
from kloister.formats.dcap.pck_extension import OID
from kloister.formats.pki import Certificate, parse_chain
from kloister.simulator.pki import CaType, Configuration, PlatformTcb, SimulatedPki, derive_key, derive_serial, pck_role
from tests.support.evidence import SEED, point


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    one, again, other = (SimulatedPki.derive(seed) for seed in (SEED, SEED, SEED[::-1]))
    assert one.root_der() == again.root_der() != other.root_der()
    assert one.pck_chain_pem() == again.pck_chain_pem() != other.pck_chain_pem()
    assert one.fmspc == again.fmspc != other.fmspc
    assert one.sign_as_pck(b"report") == again.sign_as_pck(b"report")


def test_every_role_has_a_key_and_a_serial_of_its_own() -> None:
    roles = ("root", "ca", "pck", "tcb_signer")
    assert len({point(derive_key(SEED, role)) for role in roles}) == 4
    serials = {derive_serial(SEED, role) for role in roles}
    assert len(serials) == 4
    assert all(0 < serial < 1 << 159 for serial in serials)


@pytest.mark.parametrize("ca_type", list(CaType))
def test_names_follow_intels_rules_and_say_simulator(ca_type: CaType) -> None:
    pki = SimulatedPki.derive(SEED, ca_type=ca_type)
    names = [each.common_name for each in parse_chain(pki.pck_chain_pem().encode(), "chain")]
    assert names == [
        "Kloister Simulator SGX PCK Certificate",
        f"Kloister Simulator SGX PCK {ca_type.capitalize()} CA",
        "Kloister Simulator SGX Root CA",
    ]
    assert pki.tcb_signer.certificate.common_name == "Kloister Simulator SGX TCB Signing"
    has_instance = pki.extension.platform_instance_id is not None
    assert has_instance == (ca_type is CaType.PLATFORM)


def test_the_pck_certificate_says_what_was_asked_for() -> None:
    tcb = PlatformTcb(components=tuple(range(200, 216)), pcesvn=300)
    pki = SimulatedPki.derive(SEED, tcb=tcb, fmspc=bytes(6), pceid=b"\1\2")
    extension = PckExtension.parse(Certificate.parse(pki.pck.certificate.der).extensions[OID])
    assert (extension.components, extension.pcesvn) == (tcb.components, 300)
    assert extension.cpusvn == tcb.cpusvn == bytes(range(200, 216))
    assert (extension.fmspc, extension.pceid) == (bytes(6), b"\1\2")


@pytest.mark.parametrize(
    "said", [Configuration(), Configuration(dynamic_platform=False, cached_keys=True, smt_enabled=False)]
)
def test_a_platform_of_packages_has_an_instance_and_a_configuration(said: Configuration) -> None:
    pki = SimulatedPki.derive(SEED, configuration=said)
    extension = PckExtension.parse(pki.pck.certificate.extensions[OID])
    assert extension.platform_instance_id is not None
    assert len(extension.platform_instance_id) == 16
    seen = (extension.dynamic_platform, extension.cached_keys, extension.smt_enabled)
    assert seen == (said.dynamic_platform, said.cached_keys, said.smt_enabled)
    alone = SimulatedPki.derive(SEED, ca_type=CaType.PROCESSOR, configuration=said).extension
    assert (alone.dynamic_platform, alone.cached_keys, alone.smt_enabled) == (None, None, None)


def test_each_tcb_has_a_pck_of_its_own_under_the_same_root() -> None:
    old = SimulatedPki.derive(SEED)
    newer = SimulatedPki.derive(SEED, tcb=PlatformTcb(components=(6, *old.tcb.components[1:])))
    assert point(old.pck.key) != point(newer.pck.key)
    assert old.pck.certificate.serial != newer.pck.certificate.serial
    assert (old.root_der(), old.fmspc, old.extension.ppid) == (newer.root_der(), newer.fmspc, newer.extension.ppid)
    assert old.extension.platform_instance_id == newer.extension.platform_instance_id


def test_a_short_seed_is_a_bug_of_ours() -> None:
    with pytest.raises(Misused):
        SimulatedPki.derive(SEED[:31])


def test_no_key_is_printed() -> None:
    pki = SimulatedPki.derive(SEED)
    secret = derive_key(SEED, pck_role(PlatformTcb())).private_numbers().private_value
    assert str(secret) not in repr(pki)
    assert "PrivateKey" not in repr(pki)
