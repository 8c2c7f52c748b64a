"""AMD's key distribution service, as the tests' own server speaks it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.formats.snp import Product
from kloister.services.collateral import Freshness, Kind
from kloister.services.collateral.backoff import Backoff
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.holding import Shelf
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
        family = forge.kind.name.lower()
        line = f"/vcek/v1/{forge.product}"
        size = 8 if forge.product is Product.TURIN else 64
        if path == f"/{family}/v1/{forge.product}/cert_chain":
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
    kept = Store(store) if store else None
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
    assert when.slept == [9]


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


def test_a_vlek_is_given_once_and_kept(tmp_path: Path) -> None:
    forge = SnpForge.vlek()
    with pcs.serving(kds(forge)) as server:
        given = source(server, Time(NOW), forge, tmp_path).endorsement(forge.report, vek=forge.vek_der())
        assert [path for path in server.asked if "vlek" in path] == ["/vlek/v1/Milan/cert_chain"]
    assert forge.verify(endorsement=given.endorsement).claims["signing_key"] == "vlek"
    held = source(None, Time(NOW), forge, tmp_path).endorsement(forge.report)
    assert held.endorsement == given.endorsement


@pytest.mark.parametrize(
    ("vek", "code"),
    [
        (MILAN.vek_der(), "collateral-other"),
        (replace(SnpForge.vlek(), levels={1: 4, 2: 1, 3: 24, 8: 218}).vek_der(), "collateral-other"),
        (replace(SnpForge.vlek(), vek=Issued(signer=(2, 3))).vek_der(), "vek-signature"),
    ],
)
def test_a_certificate_that_is_given_must_be_the_reports(tmp_path: Path, vek: bytes, code: str) -> None:
    forge = SnpForge.vlek()
    both = forge.chain() + MILAN.chain()
    with pcs.serving(
        lambda path, query: (
            replace(kds(forge)(path, query), body=both) if "chain" in path else (kds(forge)(path, query))
        )
    ) as server:
        with pytest.raises(KloisterError) as caught:
            source(server, Time(NOW), forge, tmp_path).endorsement(forge.report, vek=vek)
        assert caught.value.code == code
        assert not list(tmp_path.glob("vlek-*"))
        assert source(server, Time(NOW), forge, tmp_path).endorsement(forge.report, vek=forge.vek_der()).items


def test_a_masked_chip_takes_the_certificate_that_is_given(server: pcs.Server) -> None:
    masked = replace(MILAN, report=replace(MILAN.report, chip_id=bytes(64)))
    found = source(server, Time(NOW)).endorsement(masked.report, vek=MILAN.vek_der())
    assert masked.verify(endorsement=found.endorsement)


def test_what_is_held_of_amds_is_listed_and_taken_elsewhere(server: pcs.Server, tmp_path: Path) -> None:
    here, there = (source(server, Time(NOW), store=tmp_path / name) for name in ("here", "there"))
    provided = here.endorsement(MILAN.report)
    assert {held.item.sha256 for held in here.held()} == {held.item.sha256 for held in provided.items}
    assert [held.window for held in here.windows()] == [held.window for held in here.held()]
    items = [held.item for held in here.held()][::-1]
    taken, refused = there.take(items)
    assert (len(taken), refused) == (3, [])
    assert source(None, Time(NOW), store=tmp_path / "there").endorsement(MILAN.report).endorsement == (
        provided.endorsement
    )
    forged = [replace(item, body=SWAPPED["forged"].vek_der()) for item in items if item.key.kind is Kind.VCEK]
    assert [error.code for _, error in there.take(forged)[1]] == ["vek-signature"]
    alone = source(None, Time(NOW), store=tmp_path / "none").take(forged)[1]
    assert [error.code for _, error in alone] == ["collateral-not-held"]


def test_a_shelf_refuses_what_no_root_vouches_for(server: pcs.Server) -> None:
    amd = source(server, Time(NOW))
    provided = amd.endorsement(MILAN.report)
    items = [held.item for held in provided.items]
    assert (len(Shelf([amd]).held()), len(Shelf([amd]).windows()), Shelf([]).held()) == (3, 3, [])
    taken, refused = Shelf([]).take(items)
    assert (taken, {error.code for _, error in refused}) == ([], {"root-untrusted"})
    assert len(Shelf([amd]).take(items)[0]) == 3


def test_amds_own_address() -> None:
    assert {one.host for one in KdsSource().endpoints} == {"kdsintf.amd.com"}
