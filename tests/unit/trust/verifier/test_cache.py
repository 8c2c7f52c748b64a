"""A cache makes verification faster and never kinder: what was refused, has ended or is revoked is refused again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import KloisterError
from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes
from kloister.simulator.documents import TcbStage
from kloister.simulator.pki import SimulatedPki, derive_key
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_quote
from kloister.trust.verifier.cache import Lru
from kloister.trust.verifier.dcap import _NO_CACHE
from tests.support.evidence import ENCLAVE, NOW, QE, SEED, Forge, code_of
from tests.support.trust_domains import TDX15, TdForge

FORGE = Forge()
ROOT = FORGE.root  # made here: its own signature is verified then, and is not to be counted below
QUOTE, DOCUMENTS = FORGE.quote(), FORGE.documents()
PARTS = Collateral.from_json(DOCUMENTS)
EVIL = derive_key(SEED, "evil")
STRANGER = Forge(pki=SimulatedPki.derive(SEED[::-1]))


def verify(cache: VerifierCache | None, quote: bytes = QUOTE, parts: Collateral = PARTS, **others: Any) -> Any:
    return verify_quote(quote, parts, others.get("roots", [ROOT]), others.get("at", NOW), cache)


def sizes(cache: VerifierCache) -> tuple[int, int, int, int]:
    return len(cache.platforms), len(cache.collateral), len(cache.quoting_enclaves), len(cache.judgements)


def warm() -> VerifierCache:
    cache = VerifierCache()
    verify(cache)
    assert sizes(cache) == (1, 1, 1, 1)
    return cache


class Counting:
    """Counts verifications of signatures while it is entered."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.codes: list[str] = []
        for module in ("formats.pki.certificate", "formats.pki.crl", "trust.verifier.documents", "trust.verifier.qe",
                       "trust.verifier.dcap"):  # fmt: skip
            patch.setattr(f"kloister.{module}.check_signature", self._counting(module))

    def _counting(self, module: str) -> Callable[..., None]:
        from importlib import import_module

        original = import_module(f"kloister.{module}").check_signature

        def counted(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, code: str, what: str) -> None:
            self.codes.append(code)
            original(key, signature, data, code, what)

        return counted


def test_each_level_saves_its_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Counting(monkeypatch)
    cache = VerifierCache()
    verify(None)
    assert len(count.codes) == 9
    verify(cache)
    assert len(count.codes) == 18
    verify(cache)
    assert count.codes[18:] == ["quote-signature"]
    verify(cache, replace(FORGE, attestation_key=derive_key(SEED, "restarted")).quote())
    assert count.codes[19:] == ["qe-report-signature", "quote-signature"]


def test_the_result_is_the_same_with_and_without() -> None:
    domain = TdForge(version=5, report=TDX15)
    for quote, parts in ((QUOTE, PARTS), (domain.quote(), Collateral.from_json(domain.documents()))):
        cache = VerifierCache()
        first, second, without = (verify(each, quote, parts) for each in (cache, cache, None))
        assert first == second == without


@pytest.mark.parametrize(
    ("forge", "documents", "kept"),
    [
        (FORGE, DOCUMENTS, (1, 1, 1, 1)),
        (STRANGER, STRANGER.documents(), (0, 0, 0, 0)),
        (FORGE, FORGE.documents(revoked_pcks=(FORGE.pki.pck.certificate.serial,)), (0, 0, 0, 0)),
        (FORGE, DOCUMENTS | {"tcb_info_signature": "00" * 64}, (1, 0, 0, 0)),
        (FORGE, FORGE.documents(fmspc=bytes(6)), (1, 1, 0, 0)),
        (replace(FORGE, pck_key=EVIL), DOCUMENTS, (1, 1, 0, 0)),
        (replace(FORGE, bound_key=EVIL), DOCUMENTS, (1, 1, 0, 0)),
        (replace(FORGE, qe=replace(QE, isvprodid=2)), DOCUMENTS, (1, 1, 0, 0)),
        (FORGE, FORGE.documents(TcbStage(status=TcbStatus.REVOKED)), (1, 1, 1, 0)),
    ],
)
def test_only_what_was_accepted_is_kept(
    forge: Forge, documents: dict[str, str], kept: tuple[int, int, int, int]
) -> None:
    cache = VerifierCache()
    parts = Collateral.from_json(documents)
    codes = [code_of(lambda: verify(cache, forge.quote(), parts)) for _ in range(3)]
    assert codes[0] == codes[1] == codes[2] == code_of(lambda: verify(None, forge.quote(), parts))
    assert (codes[0] == "accepted") == (kept == (1, 1, 1, 1))
    assert sizes(cache) == kept


def test_a_damaged_quote_is_refused_by_a_warm_cache_as_by_a_cold_one() -> None:
    cache, before = warm(), (1, 1, 1, 1)
    for at in range(0, QUOTE.index(b"-----BEGIN"), 23):
        damaged = QUOTE[:at] + bytes([QUOTE[at] ^ 1]) + QUOTE[at + 1 :]
        code = code_of(lambda damaged=damaged: verify(cache, damaged))  # type: ignore[misc]  # a lambda's default
        assert code != "accepted"
        assert code == code_of(lambda damaged=damaged: verify(None, damaged))  # type: ignore[misc]  # the same
    assert sizes(cache) == before


@pytest.mark.parametrize("days", [-365 * 30, -1, 31, 365 * 40])
def test_dates_are_judged_at_every_call(days: int) -> None:
    cache, at = warm(), NOW + timedelta(days=days)
    code = code_of(lambda: verify(cache, at=at))
    assert code.endswith(("-expired", "-not-yet-valid"))
    assert code == code_of(lambda: verify(None, at=at))
    assert code_of(lambda: verify(cache)) == "accepted"


def test_the_last_second_counts_and_the_next_does_not() -> None:
    cache = warm()
    end = verify(cache).collateral_expires
    assert code_of(lambda: verify(cache, at=end)) == "accepted"
    assert code_of(lambda: verify(cache, at=end + timedelta(seconds=1))) == "root-crl-expired"


def test_what_is_revoked_later_is_refused_although_its_chain_is_kept() -> None:
    cache, pki = warm(), FORGE.pki
    for documents, code in (
        (FORGE.documents(revoked_pcks=(pki.pck.certificate.serial,)), "pck-revoked"),
        (FORGE.documents(revoked_authorities=(pki.ca.certificate.serial,)), "pck-ca-revoked"),
        (FORGE.documents(revoked_authorities=(pki.tcb_signer.certificate.serial,)), "tcb-info-signer-revoked"),
        (FORGE.documents(TcbStage(status=TcbStatus.REVOKED)), "tcb-revoked"),
    ):
        parts = Collateral.from_json(documents)
        assert code_of(lambda parts=parts: verify(cache, parts=parts)) == code  # type: ignore[misc]  # a lambda's default


def test_new_collateral_gives_a_new_status_although_everything_is_kept() -> None:
    cache = warm()
    later = Collateral.from_json(FORGE.documents(TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("A",))))
    assert [verify(cache, parts=parts).tcb_status for parts in (PARTS, later, PARTS)] == [
        "UpToDate", "OutOfDate", "UpToDate",
    ]  # fmt: skip


def test_an_entry_counts_only_under_the_roots_of_the_call() -> None:
    cache = warm()
    assert code_of(lambda: verify(cache, roots=[STRANGER.root])) == "root-untrusted"
    assert code_of(lambda: verify(cache, roots=[])) == "root-untrusted"
    assert code_of(lambda: verify(cache, roots=[STRANGER.root, Root.from_der(FORGE.pki.root_der())])) == "accepted"


def test_the_same_key_under_another_name_is_another_root() -> None:
    cache, renamed = warm(), replace(FORGE.root, name="renamed")
    assert verify(cache, roots=[renamed]).root.name == "renamed"
    assert verify(cache).root == FORGE.root


def test_it_is_bounded_and_what_was_used_last_stays() -> None:
    cache = VerifierCache(collateral=1, platforms=2, quoting_enclaves=2)
    for index in range(5):
        key = derive_key(SEED, f"attestation {index}")
        verify(cache, replace(FORGE, attestation_key=key).quote())
    assert sizes(cache) == (1, 1, 2, 1)
    few: Lru[str] = Lru(2)
    few.put(b"a", "A")
    few.put(b"b", "B")
    assert few.get(b"a") == "A"
    few.put(b"c", "C")
    assert (few.get(b"a"), few.get(b"b"), few.get(b"c")) == ("A", None, "C")
    few.put(b"a", "A")
    few.put(b"d", "D")
    assert (few.get(b"a"), few.get(b"c"), few.get(b"d")) == ("A", None, "D")
    assert code_of(lambda: Lru(-1)) == "cache-capacity"


def test_a_part_of_the_collateral_has_a_limit_and_is_text() -> None:
    for chain, code in ((None, "accepted"), ("x" * (8 << 20), "accepted"), ("x" * (8 << 20) + "x", "collateral-field"),
                        (5, "collateral-field"), ("\u00e9", "collateral-field")):  # fmt: skip
        assert code_of(partial(Collateral.from_json, {**DOCUMENTS, "pck_certificate_chain": chain})) == code


def test_collateral_is_known_by_every_part_that_platforms_share() -> None:
    own = {"pck_crl_issuer_chain", "pck_certificate_chain"}
    known = Collateral.from_json(DOCUMENTS).digest
    assert len(known) == 32
    for name, text in DOCUMENTS.items():
        changed = Collateral.from_json(DOCUMENTS | {name: text + " "})
        assert (changed.digest == known) == (name in own)
        assert changed.digest is changed.digest  # computed once
    moved = DOCUMENTS["tcb_info"][:-1], DOCUMENTS["tcb_info"][-1] + DOCUMENTS["tcb_info_signature"]
    shifted = DOCUMENTS | dict(zip(("tcb_info", "tcb_info_signature"), moved, strict=True))
    assert Collateral.from_json(shifted).digest != known


def test_a_newer_quoting_enclave_is_judged_anew() -> None:
    cache = warm()
    older = replace(FORGE, qe=replace(QE, isvsvn=QE.isvsvn - 1)).quote()
    newer = replace(FORGE, qe=replace(QE, isvsvn=QE.isvsvn + 1)).quote()
    assert code_of(lambda: verify(cache, older)) == "qe-svn-unsupported"
    assert verify(cache, newer).basis.qe_isvsvn == QE.isvsvn + 1
    assert verify(cache).basis.qe_isvsvn == QE.isvsvn


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"miscselect": 1}, "qe-miscselect"),
        ({"attributes": Attributes(QE.attributes.flags ^ 2, QE.attributes.xfrm)}, "qe-attributes"),
        ({"mrsigner": b"\xff" + QE.mrsigner[1:]}, "qe-mrsigner"),
        ({"isvprodid": QE.isvprodid ^ 1}, "qe-isvprodid"),
        ({"isvprodid": QE.isvprodid ^ 0x100}, "qe-isvprodid"),
        ({"isvsvn": 0}, "qe-svn-unsupported"),
    ],
)
def test_another_quoting_enclave_of_a_known_platform_is_judged_anew(changes: dict[str, Any], code: str) -> None:
    other = replace(FORGE, qe=replace(QE, **changes)).quote()
    assert code_of(lambda: verify(warm(), other)) == code_of(lambda: verify(None, other)) == code


def test_the_present_tcb_of_a_domain_is_judged_anew() -> None:
    cache, launched = VerifierCache(), bytes([4, 1]) + b"\3" * 14
    found = []
    for present in (launched, bytes([5, 1]) + b"\3" * 14):
        domain = TdForge(version=5, report=replace(TDX15, tee_tcb_svn=launched, tee_tcb_svn2=present))
        parts = Collateral.from_json(domain.documents())
        found.append(str(verify(cache, domain.quote(), parts).tcb_status))
    assert found == ["OutOfDate", "TDRelaunchAdvised"]


def test_without_a_cache_nothing_is_kept() -> None:
    verify(None)
    assert sizes(_NO_CACHE) == (0, 0, 0, 0)


def test_it_may_keep_nothing() -> None:
    cache = VerifierCache(collateral=0, platforms=0, quoting_enclaves=0)
    assert verify(cache) == verify(cache)
    assert sizes(cache) == (0, 0, 0, 0)


def test_threads_share_it() -> None:
    cache = VerifierCache(quoting_enclaves=3)
    keys = [derive_key(SEED, f"attestation {index}") for index in range(6)]
    good = [replace(FORGE, attestation_key=key).quote() for key in keys]
    bad = [quote[:200] + bytes([quote[200] ^ 1]) + quote[201:] for quote in good]
    work = [*good, *bad] * 8

    def outcome(quote: bytes) -> str:
        try:
            return str(verify(cache, quote).report == ENCLAVE)
        except KloisterError as refusal:
            return refusal.code

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, work))
    assert outcomes == [*["True"] * 6, *["quote-signature"] * 6] * 8
    assert sizes(cache) == (1, 1, 3, 1)
