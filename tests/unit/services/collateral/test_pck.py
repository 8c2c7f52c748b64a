"""Quotes that only name their platform: certification data of types 1 to 3, and where its certificate comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kloister import clock
from kloister.errors import KloisterError
from kloister.formats.dcap import CertificationData, CertificationType
from kloister.services.collateral import CachedSource, wanted_by
from kloister.services.collateral.dialects import source_of
from kloister.simulator.naming import PlatformName
from kloister.simulator.pcs import SimulatedPcs
from kloister.simulator.pki import SimulatedPki
from kloister.trust.verifier import verify_sgx
from tests.support import pcs
from tests.support.cli import kloister
from tests.support.evidence import NOW, Forge, code_of
from tests.unit.services.collateral.test_clients import Time
from tests.unit.services.collateral.test_clients import source as source_under

FORGE = Forge()
PKI = FORGE.pki
PPID = bytes(range(16))
SVNS = PKI.tcb.cpusvn + PKI.tcb.pcesvn.to_bytes(2, "little") + bytes(2)
NAMES = {
    CertificationType.PPID_PLAIN: PPID,
    CertificationType.PPID_RSA2048: b"\x20" * 256,
    CertificationType.PPID_RSA3072: b"\x30" * 384,
}


def quote(kind: CertificationType, more: bytes = b"", size: int | None = None) -> bytes:
    data = (NAMES[kind] + SVNS + more)[:size]
    return replace(FORGE, certification=CertificationData(type=kind, data=data)).quote()


def service(pki: SimulatedPki = PKI, at: object = NOW) -> pcs.Answers:
    """A PCCS that knows one platform."""
    documents = FORGE.documents(now=at)  # type: ignore[arg-type]  # a time
    name = PlatformName.of(replace(FORGE, pki=pki).quote())
    return SimulatedPcs(ca="platform", standard=documents, early=documents, pck=name).answer


@pytest.fixture
def server() -> Iterator[pcs.Server]:
    with pcs.serving(service()) as running:
        yield running


def source(server: pcs.Server | None, kind: str = "pccs", store: Path | None = None) -> CachedSource:
    found = source_under([source_of(f"{kind}+{server.url}")] if server else [], Time(NOW), store=store)
    return CachedSource(found._cache, [FORGE.root])


BOUND = [kind for kind in NAMES if kind is not CertificationType.PPID_PLAIN]  # which the simulator's PPID is not


@pytest.mark.parametrize("kind", BOUND)
@pytest.mark.parametrize("server_kind", ["pccs", "pcs"])
def test_the_certificate_is_fetched_first(server: pcs.Server, kind: CertificationType, server_kind: str) -> None:
    data = quote(kind)
    provided = source(server, server_kind).collateral(wanted_by(data))
    assert verify_sgx(data, provided.collateral, [FORGE.root], NOW).fmspc == PKI.fmspc.hex()
    assert provided.items[-1].item.key.kind == "pck-certificate"
    (asked,) = [path for path in server.asked if "pckcert" in path]
    assert f"encrypted_ppid={NAMES[kind].hex()}" in asked
    assert ("qeid=" in asked) == (server_kind == "pccs")


def test_it_is_held_and_carried(server: pcs.Server, tmp_path: Path) -> None:
    wanted = wanted_by(quote(CertificationType.PPID_RSA3072))
    first = source(server, store=tmp_path / "here")
    provided = first.collateral(wanted)
    assert source(None, store=tmp_path / "here").collateral(wanted).collateral == provided.collateral
    assert len(first.held()) == len(first.windows()) == 5
    there = source(None, store=tmp_path / "there")
    assert len(there.take([held.item for held in first.held()][::-1])[0]) == 5
    assert there.collateral(wanted).collateral == provided.collateral


def test_without_a_source_the_platform_is_not_known(server: pcs.Server, tmp_path: Path) -> None:
    wanted = wanted_by(quote(CertificationType.PPID_RSA3072))
    held = source(server, store=tmp_path)
    held.collateral(wanted_by(FORGE.quote()))
    assert code_of(lambda: source(None, store=tmp_path).collateral(wanted)) == "collateral-no-pck"
    assert code_of(lambda: source(server, "pcs").collateral(wanted_by(quote(CertificationType.PPID_PLAIN)))) == (
        "collateral-no-pck"  # Intel is asked by the encrypted PPID only
    )
    unknown = replace(wanted, pck=replace(wanted.pck, about=tuple(
        (name, "0100" if name == "pceid" else value) for name, value in wanted.pck.about
    ))) if wanted.pck else wanted  # fmt: skip
    assert code_of(lambda: held.collateral(unknown)) == "collateral-no-pck"


def test_a_bare_ppid_must_be_that_of_the_certificate(server: pcs.Server) -> None:
    with pytest.raises(KloisterError) as caught:
        source(server).collateral(wanted_by(quote(CertificationType.PPID_PLAIN)))
    assert caught.value.code == "collateral-refused"
    assert "collateral-other" in caught.value.text


def test_what_is_not_genuine_is_refused(server: pcs.Server) -> None:
    wanted = wanted_by(quote(CertificationType.PPID_RSA3072))
    assert source(server).collateral(wanted).items
    server.answers = service(SimulatedPki.derive(bytes(32)))
    with pytest.raises(KloisterError) as caught:
        source(server).collateral(wanted)
    assert caught.value.code == "collateral-refused"
    assert "[root-untrusted]" in caught.value.text


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (quote(CertificationType.PPID_RSA3072, b"\0"), "certification-ppid-trailing"),
        (quote(CertificationType.PPID_RSA3072, size=403), "certification-ppid-truncated"),
        (
            replace(FORGE, certification=CertificationData(type=CertificationType.PLATFORM_MANIFEST, data=b"")).quote(),
            "collateral-no-pck",
        ),
    ],
)
def test_what_names_no_platform(data: bytes, code: str) -> None:
    assert code_of(lambda: wanted_by(quote(CertificationType.PPID_RSA3072))) == "accepted"
    assert code_of(lambda: wanted_by(data)) == code


def test_neither_ppid_nor_qe_id_stands_in_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "quote.bin").write_bytes(quote(CertificationType.PPID_RSA3072))
    (tmp_path / "root.der").write_bytes(PKI.root_der())
    fixed = ["verify", str(tmp_path / "quote.bin"), "--root", str(tmp_path / "root.der"), "--json"]
    raw = (NAMES[CertificationType.PPID_RSA3072].hex(), PPID.hex())
    with pcs.serving(service(at=clock.now() - timedelta(hours=1))) as server:
        done = kloister(*fixed, "--source", f"pccs+{server.url}", "--cache", str(tmp_path / "cache"), "--explain")
        server.always(pcs.status(404))
        failed = kloister(*fixed, "--source", f"pccs+{server.url}", "--cache", str(tmp_path / "new"))
    assert (done.code, done.json["verdict"]) == (0, "accept"), done
    assert failed.error["code"] in ("collateral-unknown", "collateral-no-pck")
    for text in (done.out, done.err, failed.out, failed.err, json.dumps([path.name for path in tmp_path.rglob("*")])):
        assert not [one for one in raw if one in text.lower()]
