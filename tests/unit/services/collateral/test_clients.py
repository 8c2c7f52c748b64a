"""Every source, and every way in which a server fails, between two good answers."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import KloisterError, Misconfigured
from kloister.formats.dcap import TcbStatus, envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.services.collateral import Clock, Freshness, Kind, Provided, Tee, Update, Wanted
from kloister.services.collateral.backoff import Backoff
from kloister.services.collateral.dialects import IntelSource, Source, SourceKind, source_of
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.source import Cache, CachedSource
from kloister.services.collateral.store import Store
from kloister.services.collateral.transport import HttpTransport
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.fuses import Fuses
from kloister.simulator.pcs import PcsAnswer
from kloister.simulator.platform import SimulatedPlatform
from kloister.trust.root import Root
from tests.support import pcs
from tests.support.enclaves import FUSES, KEYID

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLY = TcbStage(status=TcbStatus.OUT_OF_DATE, evaluation_number=EVALUATION_NUMBER + 1)
PLATFORM = SimulatedPlatform(FUSES, KEYID)
OTHER = SimulatedPlatform(Fuses.create(bytes(48)), KEYID)
ROOT = Root.from_der(PLATFORM.root())
PCS = pcs.pcs_of(PLATFORM, NOW, EARLY)
WANTED = Wanted(tee=Tee.SGX, fmspc=PLATFORM.pki.fmspc, ca="platform")


@dataclass
class Time:
    """A clock that stands still but for sleeping, which takes no time."""

    at: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.monotonic, self.sleep)

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def later(self, **delta: float) -> None:
        self.at += timedelta(**delta)


class Passing(Time):
    """A clock whose seconds are those of the machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def source(
    sources: list[Source], when: Time, *, store: Path | None = None, tls: Path | None = None, **freshness: Any
) -> CachedSource:
    allowed = frozenset(one for each in sources for one in each.endpoints)
    transport = HttpTransport(allowed, ssl.create_default_context(cafile=tls), when.monotonic)
    fetcher = Fetcher(sources, transport, Backoff(bytes), when.clock()) if sources else None
    kept = Store(store) if store else None
    given = Freshness(**{"patience": 30.0, **freshness})
    return CachedSource(Cache(fetcher, kept, when.clock(), given), [ROOT])


def fetched(server: pcs.Server, wanted: Wanted = WANTED, when: Time | None = None, **options: Any) -> Provided:
    return source([source_of(f"pccs+{server.url}")], when or Time(), **options).collateral(wanted)


def refusal(server: pcs.Server, when: Time | None = None, **options: Any) -> KloisterError:
    with pytest.raises(KloisterError) as caught:
        fetched(server, when=when, **options)
    return caught.value


@pytest.fixture
def server() -> Iterator[pcs.Server]:
    with pcs.serving(PCS.answer) as running:
        yield running


@pytest.mark.parametrize("kind", ["pccs", "thim", "pcs"])
def test_every_kind_of_source_gives_the_platforms_collateral(server: pcs.Server, kind: str) -> None:
    provided = source([source_of(f"{kind}+{server.url}")], Time()).collateral(WANTED)
    assert provided.collateral.tcb_info == PLATFORM.collateral(NOW)["tcb_info"]
    assert provided.collateral.root_ca_crl == PLATFORM.collateral(NOW)["root_ca_crl"]
    assert {held.item.source for held in provided.items} == {f"{kind} {server.url[7:]}"}
    assert provided.expires == NOW.replace(hour=0) + timedelta(days=30)


def test_documents_are_what_the_platform_published(server: pcs.Server) -> None:
    expected = {**PLATFORM.collateral(NOW), "pck_certificate_chain": None}
    collateral = fetched(server).collateral
    assert {name: getattr(collateral, name) for name in expected} == expected


def test_tls_is_verified_against_the_named_ca(tmp_path: Path) -> None:
    ca, context = pcs.certified(tmp_path)
    with pcs.serving(PCS.answer, context) as server:
        assert fetched(server, tls=ca).items
        assert "[source-certificate]" in str(refusal(server))


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    ca, context = pcs.certified(tmp_path, ("127.0.0.2",))
    with pcs.serving(PCS.answer, context) as server:
        assert "[source-certificate]" in str(refusal(server, tls=ca))


def test_early_and_numbers_are_asked_for(server: pcs.Server) -> None:
    early = Wanted(tee=Tee.SGX, fmspc=WANTED.fmspc, ca="platform", update=Update.EARLY)
    assert '"OutOfDate"' in fetched(server, early).collateral.tcb_info.split("tcbLevels")[1].split("UpToDate")[1]
    number = Wanted(tee=Tee.SGX, fmspc=WANTED.fmspc, ca="platform", evaluation_number=EVALUATION_NUMBER + 1)
    assert fetched(server, number).collateral.tcb_info == fetched(server, early).collateral.tcb_info
    assert fetched(server).collateral.tcb_info != fetched(server, early).collateral.tcb_info


@pytest.mark.parametrize(("number", "code"), [(1, "collateral-retired"), (99, "collateral-unknown")])
def test_numbers_that_are_retired_or_too_new(server: pcs.Server, number: int, code: str) -> None:
    with pytest.raises(KloisterError) as caught:
        fetched(server, Wanted(tee=Tee.SGX, fmspc=WANTED.fmspc, ca="platform", evaluation_number=number))
    assert caught.value.code == code


def test_another_baseline_than_the_one_asked_for_is_refused() -> None:
    def deaf(path: str, _: Mapping[str, str]) -> PcsAnswer:
        query = {"fmspc": WANTED.fmspc.hex(), "ca": "platform"}
        return PCS.answer(path, query)

    with pcs.serving(deaf) as server, pytest.raises(KloisterError) as caught:
        fetched(server, Wanted(tee=Tee.SGX, fmspc=WANTED.fmspc, ca="platform", evaluation_number=EVALUATION_NUMBER + 1))
    assert caught.value.code == "collateral-refused"
    assert "[collateral-other]" in caught.value.text


def test_what_the_source_does_not_have_is_unknown(server: pcs.Server) -> None:
    with pytest.raises(KloisterError) as caught:
        fetched(server, Wanted(tee=Tee.TDX, fmspc=WANTED.fmspc, ca="platform"))
    assert caught.value.code == "collateral-unknown"


# faults: (what the server does, the code in the text, whether one fault in a row of good answers is survived)

BODY = {"body": lambda body: body[:-3] + b"0" + body[-2:]}
PASSING = {
    "reset": (pcs.reset, "source-connection"),
    "hang-up": (pcs.hang_up, "source-connection"),
    "truncated": (pcs.truncated, "source-truncated"),
    "500": (pcs.status(500), "source-failed"),
    "503": (pcs.status(503), "source-failed"),
    "429": (pcs.status(429), "source-busy"),
    "429-seconds": (pcs.status(429, ("Retry-After", "2")), "source-busy"),
    "429-nonsense": (pcs.status(429, ("Retry-After", "soon")), "source-busy"),
    "503-seconds": (pcs.status(503, ("Retry-After", "1")), "source-busy"),
}
DEFINITE = {
    "oversized": (pcs.oversized, "source-size"),
    "announced-oversized": (pcs.announced_oversized, "source-size"),
    "not-http": (pcs.not_http, "source-protocol"),
    "redirect": (pcs.status(302, ("Location", "http://127.0.0.1:1/")), "source-redirect"),
    "401": (pcs.status(401), "source-status"),
    "404": (pcs.status(404), "source-unknown"),
    "410": (pcs.status(410), "source-retired"),
    "crl-as-json": (pcs.changed(content_type="application/json"), "source-type"),
    "crl-is-html": (pcs.changed(body=b"<html>Sign in</html>"), "crl-syntax"),
    "crl-changed": (pcs.changed(body=lambda body: body[:-4] + b"0000"), "root-crl-signature"),
    "crl-empty": (pcs.changed(body=b""), "crl-syntax"),
    "crl-of-another": (pcs.changed(body=OTHER.collateral(NOW)["root_ca_crl"].encode()), "root-crl-signature"),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_tried_again(server: pcs.Server, name: str) -> None:
    fault, code = PASSING[name]
    assert fetched(server).items
    server.fail(fault)
    assert fetched(server).items
    server.always(fault)
    error = refusal(server)
    assert error.code == "collateral-unreachable"
    assert f"[{code}]" in error.text
    assert f"pccs {server.url[7:]}" in error.text
    server.fail()
    assert fetched(server).items


@pytest.mark.parametrize("name", DEFINITE)
def test_a_bad_answer_is_refused_and_not_asked_for_again(server: pcs.Server, name: str) -> None:
    fault, code = DEFINITE[name]
    assert fetched(server).items
    before = len(server.asked)
    server.fail(fault)
    assert f"[{code}]" in refusal(server).text
    assert len(server.asked) == before + 1
    assert fetched(server).items


OF_TCB_INFO = {
    "json-as-text": (pcs.changed(content_type="text/html"), "source-type"),
    "no-header": (pcs.changed(header=""), "source-header"),
    "header-not-ascii": (pcs.changed(chain="\u00e9"), "source-header"),
    "chain-swapped": (pcs.changed(chain=PLATFORM.collateral(NOW)["pck_crl_issuer_chain"]), "tcb-info-signer-role"),
    "chain-of-another": (pcs.changed(chain=OTHER.collateral(NOW)["tcb_info_issuer_chain"]), "root-untrusted"),
    "chain-nonsense": (pcs.changed(chain="nonsense"), "tcb-info-issuer-chain-pem"),
    "body-nonsense": (pcs.changed(body=b'{"tcbInfo":'), "envelope-json"),
    "body-deep": (pcs.changed(body=b'{"tcbInfo":' + b"[" * 100000), "envelope-json"),
    "not-closed": (pcs.changed(body=lambda body: body[:-1]), "envelope-json"),
    "member-added": (pcs.changed(body=lambda body: body[:-1] + b',"x":1}'), "envelope-json"),
    "space-inside": (
        pcs.changed(body=lambda body: body.replace(b'"version":3', b'"version": 3')),
        "tcb-info-signature",
    ),
    "status-changed": (pcs.changed(body=lambda body: body.replace(b"OutOfDate", b"UpToDate")), "tcb-info-signature"),
}


@pytest.mark.parametrize("name", OF_TCB_INFO)
def test_a_forged_document_is_refused_and_never_replaces_the_good_one(name: str, tmp_path: Path) -> None:
    fault, code = OF_TCB_INFO[name]
    forging = False

    with pcs.serving(PCS.answer) as server:

        def chosen(handler: pcs.Handler, answer: PcsAnswer) -> None:
            if forging and "/tcb" in handler.path:
                fault(handler, answer)
            else:
                handler.good(answer)

        server.always(chosen)
        when = Time()
        held = source([source_of(server.url)], when, store=tmp_path, fresh=timedelta(0))
        good = held.collateral(WANTED)
        forging = True
        again = held.collateral(WANTED)
        assert again.collateral == good.collateral
        stale = next(held.stale for held in again.items if held.item.key.kind is Kind.TCB_INFO)
        assert stale is not None
        assert f"[{code}]" in stale.text
        assert f"[{code}]" in refusal(server).text  # without a good one before
        forging = False
        assert all(each.stale is None for each in held.collateral(WANTED).items)


@pytest.mark.parametrize("fault", [pcs.silent, pcs.slow, pcs.slow_headers])
def test_a_call_takes_no_longer_than_it_may(server: pcs.Server, fault: pcs.Fault) -> None:
    assert fetched(server).items
    server.always(fault)
    begun = time.monotonic()
    error = refusal(server, Passing(), patience=0.4)
    assert time.monotonic() - begun < 15  # the server takes longer than 20 seconds each time
    assert error.code == "collateral-unreachable"
    assert f"pccs {server.url[7:]}" in error.text
    server.fail()
    assert fetched(server).items


def test_expired_and_future_answers_are_refused(server: pcs.Server) -> None:
    for days, code in ((31, "root-crl-expired"), (-1, "root-crl-not-yet-valid")):
        when = Time(NOW + timedelta(days=days))
        with pytest.raises(KloisterError) as caught:
            source([source_of(server.url)], when).collateral(WANTED)
        assert f"[{code}]" in caught.value.text


def test_the_next_source_is_asked(server: pcs.Server) -> None:
    with pcs.serving(PCS.answer) as broken:
        broken.always(pcs.status(500))
        when = Time()
        provided = source([source_of(broken.url), source_of(server.url)], when).collateral(WANTED)
        assert {held.item.source for held in provided.items} == {f"pccs {server.url[7:]}"}
        assert when.slept == []  # nobody waits for a broken source while another one answers
        server.always(pcs.status(404))
        with pytest.raises(KloisterError) as caught:
            source([source_of(broken.url), source_of(server.url)], Time()).collateral(WANTED)
        assert caught.value.code == "collateral-unknown"
        assert all(each.url[7:] in caught.value.text for each in (broken, server))


def test_a_retry_after_is_obeyed(server: pcs.Server) -> None:
    server.fail(pcs.status(429, ("Retry-After", "7")))
    when = Time()
    assert source([source_of(server.url)], when).collateral(WANTED).items
    assert when.slept == [7]


def test_a_retry_after_beyond_the_patience_is_not_waited_for_and_obeyed_next_time(server: pcs.Server) -> None:
    server.fail(pcs.status(429, ("Retry-After", "Sun, 22 Nov 2026 13:00:00 GMT")))
    when = Time()
    held = source([source_of(server.url)], when)
    for _ in range(2):
        with pytest.raises(KloisterError) as caught:
            held.collateral(WANTED)
        assert "[source-busy]" in caught.value.text
    assert when.slept == []
    assert len(server.asked) == 1
    when.slept.append(3601)
    assert held.collateral(WANTED).items


def test_waits_double() -> None:
    backoff = Backoff(bytes)
    waits = []
    for _ in range(12):
        backoff.failed("a", 100.0)
        waits.append(backoff.ready_at("a") - 100.0)
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(waits) == 300.0
    backoff.failed("a", 0.0, 1e9)
    assert backoff.ready_at("a") == 3600.0
    backoff.succeeded("a")
    assert backoff.ready_at("a") == 0.0
    jittered = Backoff(lambda n: b"\xff" * n)
    jittered.failed("a", 0.0)
    assert jittered.ready_at("a") == 0.625


def test_a_key_goes_to_its_own_source_and_into_no_error(server: pcs.Server) -> None:
    secret = "0123456789abcdef"
    keyed = source_of(f"pcs+{server.url}", {"Ocp-Apim-Subscription-Key": secret})
    assert source([keyed], Time()).collateral(WANTED).items
    assert all(headers.get("ocp-apim-subscription-key") == secret for headers in server.headers)
    assert secret not in repr(keyed)
    server.always(pcs.status(401))
    with pytest.raises(KloisterError) as caught:
        source([keyed], Time()).collateral(WANTED)
    assert secret not in str(caught.value)
    intel = IntelSource(kind=SourceKind.PCS, base="https://api.trustedservices.intel.com", headers=(("k", secret),))
    request = intel.request(WANTED.keys()[0])
    assert request is not None
    assert request.headers == {}


def test_version_3_has_a_header_of_its_own_and_neither_tdx_nor_early() -> None:
    def answer(path: str, query: Mapping[str, str]) -> PcsAnswer:
        found = PCS.answer(path.replace("/v3", "/v4"), query)
        header = found.header.replace("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain")
        return PcsAnswer(found.status, found.content_type, found.body, header, found.chain)

    with pcs.serving(answer) as old:
        three = source_of(f"pccs+{old.url}/sgx/certification/v3/")
        assert source([three], Time()).collateral(WANTED).items
        assert all("/v3/" in path for path in old.asked)
        for other in (
            Wanted(tee=Tee.TDX, fmspc=WANTED.fmspc, ca="platform"),
            Wanted(tee=Tee.SGX, fmspc=WANTED.fmspc, ca="platform", update=Update.EARLY),
        ):
            assert three.request(other.keys()[2]) is None
            assert three.request(other.keys()[3]) is None
    with pcs.serving(answer) as confused, pytest.raises(KloisterError) as caught:
        source([source_of(confused.url)], Time()).collateral(WANTED)
    assert "[source-header]" in caught.value.text


@pytest.mark.parametrize(
    "text",
    ["ftp://h", "pccs+h", "xyz+https://h", "https://user:pw@h", "https://", "https://h:0x1", "https://h#f", "pccs", ""],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        source_of(text)
    assert caught.value.code == "source-url"
    assert "pw" not in str(caught.value)


def test_plain_http_is_for_loopback() -> None:
    assert source_of("http://localhost:8081").base == "http://localhost:8081"
    with pytest.raises(Misconfigured) as caught:
        source_of("http://pccs.example:8081")
    assert caught.value.code == "source-plain"


def test_nobody_else_is_asked(server: pcs.Server) -> None:
    class Astray(IntelSource):
        @property
        def endpoints(self) -> frozenset[Any]:
            return source_of("https://127.0.0.1:1").endpoints

    astray = Astray(kind=SourceKind.PCCS, base=server.url)
    with pytest.raises(KloisterError) as caught:
        source([astray], Time()).collateral(WANTED)
    assert "[source-host]" in caught.value.text
    assert server.asked == []


def test_intels_and_azures_own_addresses() -> None:
    assert {one.host for one in source_of("pcs").endpoints} == {
        "api.trustedservices.intel.com",
        "certificates.trustedservices.intel.com",
    }
    assert {one.host for one in source_of("thim").endpoints} == {"global.acccache.azure.net"}


def test_envelopes_keep_the_signed_bytes() -> None:
    text = '{"b" : 1,\n "a": [ ]}'
    found = Envelope(envelope.TCB_INFO, text, "0" * 128)
    assert Envelope.parse(found.build(), envelope.TCB_INFO) == found
    assert Envelope.parse(b" " + found.build().replace(b",", b" , ", 0) + b"\n", envelope.TCB_INFO) == found
