from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.serve.attestation import Tls
from kloister.services.broker.certificates import issue_ca, issue_leaf, key_pem, new_key, pem
from tests.support.attestation import settings

KEY, LEAF_KEY = new_key(), new_key()
NOW = datetime.now(UTC)
AUTHORITY = issue_ca("CA", KEY, NOW, bytes(16))


def place(directory: Path, number: int) -> None:
    leaf = issue_leaf(
        "localhost", ["localhost"], LEAF_KEY, (AUTHORITY, KEY), NOW, bytes([number] * 16), timedelta(days=9)
    )
    (directory / "tls.pem").write_bytes(pem(leaf))
    (directory / "tls.key").write_bytes(key_pem(LEAF_KEY))


def serial(tls: Tls) -> int:
    """Of the certificate that a client is shown."""
    client = ssl.create_default_context(cadata=pem(AUTHORITY).decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = tls.context.wrap_bio(server_in, server_out, server_side=True)
    for _ in range(4):
        for one in (side, server):
            with suppress(ssl.SSLWantReadError):
                one.do_handshake()
            server_in.write(outgoing.read())
            incoming.write(server_out.read())
    certificate = side.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def test_a_replaced_certificate_is_read_again(tmp_path: Path) -> None:
    place(tmp_path, 1)
    tls = Tls(settings(tmp_path, tls={"certificate": "tls.pem", "key": "tls.key"}))
    first = serial(tls)
    tls.refresh()
    assert serial(tls) == first
    place(tmp_path, 2)
    tls.refresh()
    assert serial(tls) != first


def test_a_damaged_one_does_not_replace_it(tmp_path: Path) -> None:
    place(tmp_path, 1)
    tls = Tls(settings(tmp_path, tls={"certificate": "tls.pem", "key": "tls.key"}))
    first = serial(tls)
    (tmp_path / "tls.pem").write_text("half of it")
    with pytest.raises(Misconfigured) as caught:
        tls.refresh()
    assert caught.value.code == "tls-files"
    assert serial(tls) == first


def test_without_one_the_service_makes_its_own(tmp_path: Path) -> None:
    tls = Tls(settings(tmp_path))
    assert {path.name for path in tmp_path.glob("*.pem")} == {"ca.pem", "tls.pem"}
    before = (tmp_path / "tls.pem").read_bytes()
    tls.refresh()
    assert (tmp_path / "tls.pem").read_bytes() == before
    (tmp_path / "tls.pem").unlink()
    tls.refresh()
    assert (tmp_path / "tls.pem").read_bytes() != before
