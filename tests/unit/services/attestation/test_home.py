from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography import x509

from kloister.errors import Misconfigured
from kloister.formats.dcap import open_enclave
from kloister.formats.enclave.content import ContentEnclave
from kloister.serve.attestation import root_key
from kloister.services.appraisal import appraise
from kloister.services.attestation import home
from kloister.services.attestation.keys import KeyKeeper, key_digest
from kloister.services.broker.vault import Vault
from kloister.services.storage.attestation import AttestationStore
from kloister.simulator.fuses import Fuses
from kloister.simulator.platform import SimulatedEnclave, SimulatedPlatform
from kloister.trust.verifier import Collateral, Root, verify_sgx
from tests.support.attestation import AAD, ask, running, settings
from tests.support.enclaves import FUSES, signer
from tests.support.evidence import NOW


def platform(fuses: Fuses = FUSES) -> SimulatedPlatform:
    return SimulatedPlatform(fuses, bytes(32))


def enclave(content: bytes = b"service", on: SimulatedPlatform | None = None) -> SimulatedEnclave:
    signed = ContentEnclave.of(content).unsigned_sigstruct(None).sign_with(signer())
    return (on or platform()).start_content(content, signed.build())


def opened(tee: home.Tee, data: bytes) -> str:
    try:
        home.unseal(tee, data)
    except Misconfigured as error:
        return error.code
    return ""


def test_a_sealed_key_is_for_this_enclave_on_this_machine() -> None:
    root, on = os.urandom(32), platform()
    data = home.seal(enclave(on=on), root, os.urandom)
    assert root not in data
    assert home.unseal(enclave(on=on), data) == root
    for other in (enclave(b"another", on), enclave(on=platform(Fuses.create(bytes(48))))):
        assert opened(other, data) == "root-key-damaged"
    for at in (0, 20, 300, 511, 512, 530, len(data) - 1):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert opened(enclave(on=on), damaged) == "root-key-damaged", at
    assert opened(enclave(on=on), data[:100]) == "root-key-damaged"


def test_the_root_keys_file_is_the_sealed_one(tmp_path: Path) -> None:
    given, on = settings(tmp_path), platform()
    root = root_key(given, enclave(on=on))
    assert len(root) == 32
    assert root not in given.root_key.read_bytes()
    assert root_key(given, enclave(on=on)) == root
    with pytest.raises(Misconfigured):
        root_key(given, enclave(b"another", on))


def test_the_certificate_shows_where_the_key_was_made(tmp_path: Path) -> None:
    on = platform()
    tee = enclave(on=on)
    store = AttestationStore(f"sqlite:///{tmp_path / 'a.db'}")
    keeper = KeyKeeper(
        Vault(bytes(32), os.urandom), settings(tmp_path).tokens_algorithm, 86400, 60,
        lambda digest: home.evidence(tee, digest),
    )  # fmt: skip
    with store.write() as transaction:
        keeper.keep(transaction, AAD, int(NOW.timestamp()), os.urandom)
        (record,) = transaction.signing_keys(AAD)
    store.close()
    certificate = x509.load_der_x509_certificate(record.certificate)
    oid = x509.ObjectIdentifier(open_enclave.OID)
    report = certificate.extensions.get_extension_for_oid(oid).value.public_bytes()
    assert report[:8] == b"\1\0\0\0\2\0\0\0"
    assert int.from_bytes(report[8:16], "little") == len(report) - 16
    verified = verify_sgx(report[16:], Collateral.from_json(on.collateral(NOW)), [Root.from_der(on.root())], NOW)
    key = certificate.public_key()
    assert verified.report.report_data == key_digest(key) + bytes(32)  # type: ignore[arg-type]  # an RSA key
    assert verified.report.mrenclave == tee.mrenclave
    assert base64.b64encode(key_digest(key)).decode() == record.kid  # type: ignore[arg-type]  # same
    collateral, roots = Collateral.from_json(on.collateral(NOW)), [Root.from_der(on.root())]
    found = appraise(record.certificate, collateral, roots, NOW, None)
    assert (found.kind, found.genuine, found.tee) == ("signing-certificate", True, "sgx")


def test_outside_of_a_tee_there_is_no_such_extension(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as process:
        keys = ask(process, "GET", "/certs").json["keys"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(keys[0]["x5c"][0]))
    assert [each.oid.dotted_string for each in certificate.extensions] == ["2.5.29.19"]
