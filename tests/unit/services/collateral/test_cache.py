"""What is kept, for how long, and what never takes its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Misconfigured
from kloister.services.collateral import CachedSource, Kind, Provided
from kloister.services.collateral.admission import IntelAdmission
from kloister.services.collateral.dialects import source_of
from kloister.services.collateral.store import Store
from kloister.simulator.documents import QeValues, collateral
from kloister.simulator.pcs import PcsAnswer, SimulatedPcs
from tests.support import pcs
from tests.unit.services.collateral.test_clients import NOW, OTHER, PCS, PLATFORM, ROOT, WANTED, Passing, Time, source


@pytest.fixture
def server() -> Iterator[pcs.Server]:
    with pcs.serving(PCS.answer) as running:
        yield running


def test_what_is_fresh_is_not_asked_for_again(server: pcs.Server) -> None:
    when = Time()
    held = source([source_of(server.url)], when)
    first = held.collateral(WANTED)
    when.later(minutes=59)
    assert held.collateral(WANTED) == first
    assert len(server.asked) == 4
    when.later(minutes=2)
    assert held.collateral(WANTED).collateral == first.collateral
    assert len(server.asked) == 8


def test_one_fetch_for_many_waiters(server: pcs.Server) -> None:
    waiting, release = threading.Semaphore(0), threading.Event()

    def held_up(handler: pcs.Handler, answer: PcsAnswer) -> None:
        waiting.release()
        release.wait(60)
        handler.good(answer)

    server.always(held_up)
    shared = source([source_of(server.url)], Time())
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(shared.collateral, WANTED) for _ in range(8)]
        assert waiting.acquire(timeout=60)
        release.set()
        assert len({result.result().collateral.tcb_info for result in results}) == 1
    assert len(server.asked) == len(set(server.asked)) == 4


def test_who_looked_before_another_had_it_fetches_nothing(server: pcs.Server) -> None:
    shared, key = source([source_of(server.url)], Time()), next(iter(WANTED.keys()))
    cache, under = shared._cache, key.under(shared._anchor)
    admit = IntelAdmission([ROOT]).admit
    assert cache._fetcher is not None
    first, second = (cache._fetch(cache._fetcher, under, admit, cache.deadline(), for_ever=False) for _ in range(2))
    assert first == second
    assert len(server.asked) == 1


def test_one_fetch_for_many_processes(server: pcs.Server, tmp_path: Path) -> None:
    """Two caches over one directory, as two processes have them: the lock is the file's, not the object's."""
    waiting, release = threading.Semaphore(0), threading.Event()

    def held_up(handler: pcs.Handler, answer: PcsAnswer) -> None:
        waiting.release()
        release.wait(60)
        handler.good(answer)

    server.always(held_up)
    with ThreadPoolExecutor(2) as pool:
        first, second = (
            pool.submit(source([source_of(server.url)], Passing(), store=tmp_path, patience=120.0).collateral, WANTED)
            for _ in range(2)
        )
        assert waiting.acquire(timeout=60)
        assert not waiting.acquire(timeout=0.2)  # the other waits for its turn
        release.set()
        assert first.result() == second.result()
    assert len(server.asked) == len(set(server.asked)) == 4
    assert not list(tmp_path.glob(".*"))


def test_who_waits_too_long_for_another_asks_himself(server: pcs.Server, tmp_path: Path) -> None:
    key = next(iter(WANTED.keys()))
    asker = source([source_of(server.url)], Time(), store=tmp_path)
    root_crl = key.under(asker._anchor)
    with Store(tmp_path).turn(root_crl, lambda: True) as ours:
        assert ours
        with Store(tmp_path).turn(root_crl, lambda: True) as again:
            assert not again
        with pytest.raises(KloisterError) as caught:
            asker.collateral(WANTED)  # its time is over when it stops waiting
        assert caught.value.code == "collateral-unreachable"
    # another one, for what the first has begun may still be about to fail
    assert source([source_of(server.url)], Passing(), store=tmp_path, patience=120.0).collateral(WANTED).items


def test_the_cache_outlives_the_process(server: pcs.Server, tmp_path: Path) -> None:
    when = Time()
    first = source([source_of(server.url)], when, store=tmp_path).collateral(WANTED)
    assert source([], when, store=tmp_path).collateral(WANTED) == first
    assert len(server.asked) == 4
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_without_a_source_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(KloisterError) as caught:
        source([], Time(), store=tmp_path).collateral(WANTED)
    assert caught.value.code == "collateral-not-held"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"kind":"tcb-info"', b"\xff" * 10])
def test_a_damaged_file_is_fetched_anew(server: pcs.Server, tmp_path: Path, damage: bytes) -> None:
    first = source([source_of(server.url)], Time(), store=tmp_path).collateral(WANTED)
    for path in tmp_path.iterdir():
        path.write_bytes(damage)
    assert source([source_of(server.url)], Time(), store=tmp_path).collateral(WANTED).collateral == first.collateral
    assert len(server.asked) == 8


def test_a_forged_file_is_not_believed(server: pcs.Server, tmp_path: Path) -> None:
    first = source([source_of(server.url)], Time(), store=tmp_path).collateral(WANTED)
    for path in tmp_path.glob("tcb-info-*"):
        text = path.read_text()
        path.write_text(text.replace('"body":"ey', '"body":"eY'))
        assert path.read_text() != text
    with pytest.raises(KloisterError) as caught:
        source([], Time(), store=tmp_path).collateral(WANTED)
    assert caught.value.code == "collateral-not-held"
    assert source([source_of(server.url)], Time(), store=tmp_path).collateral(WANTED).collateral == first.collateral


def test_a_file_under_another_name_is_not_taken(server: pcs.Server, tmp_path: Path) -> None:
    source([source_of(server.url)], Time(), store=tmp_path).collateral(WANTED)
    tcb, identity = next(tmp_path.glob("tcb-*")), next(tmp_path.glob("qe-*"))
    identity.write_bytes(tcb.read_bytes())
    with pytest.raises(KloisterError) as caught:
        source([], Time(), store=tmp_path).collateral(WANTED)
    assert "qe-identity" in caught.value.text


def test_a_cache_that_cannot_be_written_is_said(server: pcs.Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured) as caught:
        source([source_of(server.url)], Time(), store=tmp_path / "file").collateral(WANTED)
    assert caught.value.code == "cache-unusable"


def stale_codes(provided: Provided) -> set[str]:
    return {held.stale.code for held in provided.items if held.stale}


def test_stale_collateral_is_used_until_the_hard_limit(server: pcs.Server) -> None:
    when = Time()
    held = source([source_of(server.url)], when)
    first = held.collateral(WANTED)
    server.always(pcs.status(500))
    when.later(days=6)
    again = held.collateral(WANTED)
    assert again.collateral == first.collateral
    assert stale_codes(again) == {"collateral-unreachable"}
    when.later(days=2)
    with pytest.raises(KloisterError) as caught:
        held.collateral(WANTED)
    assert caught.value.code == "collateral-unreachable"


def test_expired_collateral_is_never_used(server: pcs.Server) -> None:
    when = Time()
    held = source([source_of(server.url)], when, hard=None)
    assert held.collateral(WANTED).items
    server.always(pcs.status(500))
    when.later(days=29)
    assert stale_codes(held.collateral(WANTED)) == {"collateral-unreachable"}
    when.later(days=2)
    with pytest.raises(KloisterError) as caught:
        held.collateral(WANTED)
    assert caught.value.code == "collateral-unreachable"


def test_a_service_answers_at_once_and_refreshes_meanwhile(server: pcs.Server) -> None:
    when, asked = Time(), threading.Semaphore(0)
    held = source([source_of(server.url)], when, background=True)
    first = held.collateral(WANTED)

    def counted(handler: pcs.Handler, answer: PcsAnswer) -> None:
        handler.good(answer)
        asked.release()

    server.always(counted)
    when.later(hours=2)
    assert held.collateral(WANTED) == first
    for _ in range(4):
        assert asked.acquire(timeout=60)
    deadline = time.monotonic() + 60
    while {one.item.fetched for one in held.collateral(WANTED).items} != {when.at}:
        assert time.monotonic() < deadline, "what was fetched is not used"
        time.sleep(0.01)


def test_a_genuine_but_older_document_does_not_replace_a_newer_one(server: pcs.Server) -> None:
    """A replay: yesterday's documents are still valid."""
    when = Time()
    held = source([source_of(server.url)], when, fresh=timedelta(0))
    first = held.collateral(WANTED)
    server.answers = pcs.pcs_of(PLATFORM, NOW - timedelta(days=1)).answer
    assert held.collateral(WANTED).collateral == first.collateral
    server.answers = pcs.pcs_of(PLATFORM, NOW + timedelta(days=1)).answer
    when.later(days=1)
    assert held.collateral(WANTED).collateral != first.collateral


def revoking(*serials: int) -> SimulatedPcs:
    documents = collateral(PLATFORM.pki, NOW, QeValues.of(PLATFORM.qe.report), revoked_authorities=serials)
    return SimulatedPcs(ca="platform", standard=documents, early=documents)


@pytest.mark.parametrize(("authority", "code"), [("ca", "pck-ca-revoked"), ("tcb_signer", "tcb-info-signer-revoked")])
def test_whom_the_root_revoked_cannot_vouch(authority: str, code: str) -> None:
    pki = PLATFORM.pki
    serial = {"ca": pki.ca, "tcb_signer": pki.tcb_signer}[authority].certificate.serial
    with pcs.serving(revoking(serial).answer) as server, pytest.raises(KloisterError) as caught:
        source([source_of(server.url)], Time()).collateral(WANTED)
    assert f"[{code}]" in caught.value.text
    with pcs.serving(revoking(1).answer) as server:
        assert source([source_of(server.url)], Time()).collateral(WANTED).items


def test_a_pack_brings_collateral_to_where_no_network_is(server: pcs.Server, tmp_path: Path) -> None:
    outside = source([source_of(server.url)], Time(), store=tmp_path / "a")
    provided = outside.collateral(WANTED)
    items = [held.item for held in outside.held()]
    assert len(items) == 4
    inside = source([], Time(), store=tmp_path / "b")
    taken, refused = inside.take(items)
    assert (len(taken), refused) == (4, [])
    assert inside.collateral(WANTED).collateral == provided.collateral


def test_foreign_and_expired_items_of_a_pack_are_refused(server: pcs.Server, tmp_path: Path) -> None:
    other = pcs.pcs_of(OTHER, NOW)
    outside = source([source_of(server.url)], Time(), store=tmp_path / "a")
    outside.collateral(WANTED)
    items = [held.item for held in outside.held()]
    late = source([], Time(NOW + timedelta(days=31)), store=tmp_path / "b")
    taken, refused = late.take(items)
    assert taken == []
    assert {error.code for _, error in refused} == {"root-crl-expired", "collateral-not-held"}
    forged = [item for item in items if item.key.kind is Kind.ROOT_CRL]
    object.__setattr__(forged[0], "body", bytes.fromhex(other.standard["root_ca_crl"]))
    taken, refused = source([], Time(), store=tmp_path / "c").take(forged)
    assert [error.code for _, error in refused] == ["root-crl-signature"]


def test_a_directory_that_is_none_holds_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").items() == []
    held: CachedSource = source([], Time(), store=tmp_path / "none")
    assert held.held() == []
    assert held.windows() == []
