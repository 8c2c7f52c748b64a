"""AMD's key distribution service, as the tests' own server speaks it."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.formats.snp import Product
from kloister.services.collateral import Freshness
from kloister.services.collateral.backoff import Backoff
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.kds import AmdSource, KdsSource
from kloister.services.collateral.source import Cache
from kloister.services.collateral.store import Store
from kloister.services.collateral.transport import HttpTransport
from kloister.simulator.pcs import PcsAnswer
from tests.support import pcs
from tests.support.snp import NOW, Issued, SnpForge
from tests.unit.services.collateral.test_clients import Time

MILAN = SnpForge.of(Product.MILAN)
CHIP = MILAN.report.chip_id.hex()


def kds(forge: SnpForge, crl: bytes | None = None) -> pcs.Answers:
    listed = crl or forge.crl()

    def answer(path: str, query: Mapping[str, str]) -> PcsAnswer:
        line = f"/vcek/v1/{forge.product}"
        size = 8 if forge.product is Product.TURIN else 64
        if path == f"{line}/cert_chain":
            return PcsAnswer(200, "application/x-pem-file", forge.chain())
        if path == f"{line}/crl":
            return PcsAnswer(200, "application/x-pkcs7-crl", listed)
        levels = {"blSPL": "04", "teeSPL": "01", "snpSPL": "24", "ucodeSPL": "219"}
        if forge.product is Product.TURIN:
            levels["fmcSPL"] = "02"
        if path == f"{line}/{forge.report.chip_id[:size].hex()}" and query == levels:
            return PcsAnswer(200, "application/octet-stream", forge.vek_der())
        return PcsAnswer(404)

    return answer


def source(server: pcs.Server | None, when: Time, forge: SnpForge = MILAN, store: Path | None = None) -> AmdSource:
    fetcher = None
    if server is not None:
        named = KdsSource(server.url)
        transport = HttpTransport(named.endpoints, ssl.create_default_context(), when.monotonic)
        fetcher = Fetcher([named], transport, Backoff(bytes), when.clock())
    names = random.Random(1)
    kept = Store(store, lambda: f"{names.random()}") if store else None
    return AmdSource(Cache(fetcher, kept, when.clock(), Freshness(patience=30)), [forge.root])


@pytest.fixture
def server() -> Iterator[pcs.Server]:
    with pcs.serving(kds(MILAN)) as running:
        yield running


@pytest.mark.parametrize("product", Product)
def test_the_endorsement_of_a_report_verifies_it(product: Product) -> None:
    forge = SnpForge.of(product)
    crl = forge.crl()
    with pcs.serving(kds(forge, crl)) as server:
        provided = source(server, Time(NOW), forge).endorsement(forge.report)
    assert forge.verify(endorsement=provided.endorsement).product is product
    assert provided.endorsement.crl == crl
    assert {held.item.source for held in provided.items} == {f"kds {server.url[7:]}"}


def test_certificates_are_kept_for_ever_and_the_list_is_not(server: pcs.Server, tmp_path: Path) -> None:
    when = Time(NOW)
    source(server, when, store=tmp_path).endorsement(MILAN.report)
    assert len(server.asked) == 3
    when.later(days=10)
    again = source(server, when, store=tmp_path).endorsement(MILAN.report)
    assert [path.rpartition("/")[2] for path in server.asked[3:]] == ["crl"]
    assert source(None, when, store=tmp_path).endorsement(MILAN.report).endorsement == again.endorsement


def test_a_busy_service_is_waited_for(server: pcs.Server) -> None:
    server.fail(None, pcs.status(429, ("Retry-After", "9")))
    when = Time(NOW)
    assert source(server, when).endorsement(MILAN.report).items
    assert when.slept == [pytest.approx(9, abs=0.5)]


def test_the_chip_stands_in_no_error_and_in_no_file_name(server: pcs.Server, tmp_path: Path) -> None:
    source(server, Time(NOW), store=tmp_path).endorsement(MILAN.report)
    assert not [path for path in tmp_path.iterdir() if CHIP[:16] in path.name]
    other = replace(MILAN.report, chip_id=b"\x77" * 64)
    with pytest.raises(KloisterError) as caught:
        source(server, Time(NOW)).endorsement(other)
    assert caught.value.code == "collateral-unknown"
    assert "7777" not in str(caught.value)


SWAPPED = {
    "another-chip": replace(MILAN, hwid=b"\x77" * 64),
    "another-level": replace(MILAN, levels={1: 4, 2: 1, 3: 24, 8: 218}),
    "another-product": replace(MILAN, product_name="Genoa"),
    "expired": replace(MILAN, vek=Issued(end=NOW - timedelta(days=1))),
    "not-yet": replace(MILAN, vek=Issued(start=NOW + timedelta(days=1))),
    "forged": replace(MILAN, vek=Issued(signer=(2, 3))),
    "foreign-root": replace(MILAN, ark_key=(1, 2)),
}


@pytest.mark.parametrize("name", SWAPPED)
def test_what_is_not_the_chips_own_is_never_kept(server: pcs.Server, tmp_path: Path, name: str) -> None:
    when = Time(NOW)
    server.answers = kds(SWAPPED[name])
    with pytest.raises(KloisterError) as caught:
        source(server, when, store=tmp_path).endorsement(MILAN.report)
    assert caught.value.code == "collateral-refused"
    assert not list(tmp_path.glob("vcek-*"))
    server.answers = kds(MILAN)
    assert source(server, when, store=tmp_path).endorsement(MILAN.report).items


def test_a_list_of_another_or_out_of_date_is_refused(server: pcs.Server) -> None:
    for crl, code in (
        (MILAN.crl(signer=(2, 3)), "ark-crl-signature"),
        (MILAN.crl(issuer="ARK-Genoa"), "ark-crl-issuer"),
        (MILAN.crl(end=NOW - timedelta(hours=1)), "ark-crl-expired"),
        (b"<html>", "amd-crl-syntax"),
    ):
        server.answers = kds(MILAN, crl)
        with pytest.raises(KloisterError) as caught:
            source(server, Time(NOW)).endorsement(MILAN.report)
        assert f"[{code}]" in caught.value.text
    server.answers = kds(MILAN)
    assert source(server, Time(NOW)).endorsement(MILAN.report).items


def test_reports_whose_key_cannot_be_asked_for(server: pcs.Server) -> None:
    masked = replace(MILAN.report, chip_id=bytes(64))
    old = replace(MILAN.report, version=2, cpuid=None)
    asker = source(server, Time(NOW))
    for report, code in (
        (SnpForge.vlek().report, "collateral-vlek"),
        (masked, "collateral-chip-masked"),
        (old, "collateral-product"),
    ):
        with pytest.raises(KloisterError) as caught:
            asker.endorsement(report)
        assert caught.value.code == code
    assert server.asked == []
    assert asker.endorsement(old, Product.MILAN).endorsement == asker.endorsement(MILAN.report).endorsement


def test_amds_own_address() -> None:
    assert {one.host for one in KdsSource().endpoints} == {"kdsintf.amd.com"}
