"""Collateral for quotes: from a directory of bundles, or from a source that fetches.

Which bundle is for a quote is told by the quote itself and by the bundle itself, both unverified: a lie in either leads
to collateral that the verification then refuses.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from kloister.errors import Malformed, Misconfigured, Unavailable
from kloister.formats.dcap import PckExtension, QeIdentity, Quote, TcbInfo, TeeType
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.dcap.quote import CertificationType
from kloister.formats.pki import parse_chain
from kloister.formats.tokens.maa import collateral_hashes
from kloister.formats.wire import unhex
from kloister.services.appraisal.inputs import MAX_COLLATERAL, parse_collateral
from kloister.services.attestation.watched import WatchedFiles
from kloister.services.collateral import CollateralSource, Tee, Wanted
from kloister.trust.verifier import Collateral

_CHAIN = b"-----BEGIN CERTIFICATE-----"
_TEE_TYPE = slice(4, 8)  # of a quote's header
_MAX_PLATFORMS = 4096  # whose certificates are remembered as read; 1 KiB each


@dataclass(frozen=True, slots=True)
class Need:
    """Which collateral a quote needs: TEE, FMSPC, CA (`platform` or `processor`), and the key of its root (SHA-256)."""

    tee: Tee
    fmspc: bytes
    ca: str
    root: bytes = field(repr=False)
    evaluation_number: int | None = None  # where the policy names one


@dataclass(frozen=True, slots=True)
class Chosen:
    """Collateral, and what a token says of it.

    Attributes:
        hashes: `x-ms-sgx-collateral` without the quote's.
        issued, expires: from when until when TCB info and QE identity vouch both.
        released: when the newest level of the TCB info was defined.
    """

    collateral: Collateral = field(repr=False)
    hashes: dict[str, str]
    issued: datetime
    expires: datetime
    evaluation_number: int
    released: datetime

    @classmethod
    def of(cls, collateral: Collateral) -> Chosen:
        """Read what is needed of the documents; nothing about them is verified."""
        info, identity = TcbInfo.parse(collateral.tcb_info), QeIdentity.parse(collateral.qe_identity)
        return cls(
            collateral,
            _hashes(collateral),
            max(info.issue_date, identity.issue_date),
            min(info.next_update, identity.next_update),
            info.evaluation_number,
            max((level.date for level in info.levels), default=info.issue_date),
        )


class CollateralPort(Protocol):
    """Where collateral comes from."""

    def held(self, need: Need, at: datetime, /) -> Chosen | None:
        """What is at hand without waiting."""

    def fetch(self, need: Need, at: datetime, /) -> Chosen:
        """The same, waiting for it.

        Raises:
            Malformed: `collateral-none`, there is none for this platform.
            Unavailable: `collateral-unreachable` and others of `services/collateral`.
        """

    def refresh(self) -> None:
        """Look for newer ones; called now and then."""

    def windows(self) -> Sequence[tuple[str, datetime, datetime]]:
        """What is held: its name, when it was issued, when it expires."""

    def baselines(self, tee: Tee, /) -> Mapping[int, datetime]:
        """The evaluation numbers of what is held for this TEE, and when each was defined."""


def baselines_of(held: Iterable[Chosen]) -> dict[int, datetime]:
    """The evaluation numbers of what is held, and when each was defined."""
    found: dict[int, datetime] = {}
    for each in held:
        found[each.evaluation_number] = max(each.released, found.get(each.evaluation_number, each.released))
    return found


class Needs:
    """Tells what a quote needs; what platforms' certificates say is remembered by their very bytes."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Need] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, data: bytes, evaluation_number: int | None = None) -> Need:
        """What the quote needs.

        Raises:
            Malformed: `quote-*`, `pck-chain-*`, `pck-extension-*`, `certificate-*`, `certification-type`.
        """
        start = data.find(_CHAIN)  # what comes before is new in each quote, and says nothing of its platform
        key = data[_TEE_TYPE] + hashlib.sha256(data[start:]).digest() if start > 0 else b""
        with self._lock:
            need = self._known.get(key)
        if need is None:
            need = _need(data)
            with self._lock:
                self._known[key] = need
                if len(self._known) > _MAX_PLATFORMS:
                    self._known.popitem(last=False)
        return need if evaluation_number is None else replace(need, evaluation_number=evaluation_number)


def _need(data: bytes) -> Need:
    quote = Quote.parse(data)
    chain = quote.authentication.certification
    if chain.type is not CertificationType.PCK_CHAIN:
        raise Malformed(
            "certification-type",
            f"The quote carries no PCK certificate chain: its certification data are of type {int(chain.type)}, not 5.",
            "Let the quote provider put the chain into its quotes; `kloister verify` fetches what is not in one.",
        )
    certificates = parse_chain(chain.data, "pck-chain")
    pck = certificates[0]
    if SGX_EXTENSION not in pck.extensions:
        raise Malformed("pck-extension-missing", "The PCK certificate lacks the SGX extension.")
    tee = Tee.TDX if quote.header.tee_type == TeeType.TDX else Tee.SGX
    fmspc = PckExtension.parse(pck.extensions[SGX_EXTENSION]).fmspc
    return Need(tee, fmspc, _ca(pck.issuer), hashlib.sha256(certificates[-1].spki).digest())


def _ca(name: bytes) -> str:
    return "processor" if b"Processor" in name else "platform"


class DirectoryCollateral:
    """Bundles in the files `*.json` of a directory and of all below it, as `kloister verify --collateral` takes them.

    Of several for one platform family, those in force at the time come first, of these the highest evaluation number.

    Args:
        directory: which.
        warn: told of files that are passed over.
        needed: whether it must hold some.

    Raises:
        Misconfigured: `collateral-directory`, it cannot be read or holds none.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None], *, needed: bool = True) -> None:
        self._files = WatchedFiles(directory, "*.json", _read, warn)
        self._held: dict[Need, list[Chosen]] = {}
        self.refresh()
        if needed and not self._held:
            raise Misconfigured(
                "collateral-directory",
                f"{directory} holds no collateral.",
                "Put bundles there, or name a source by collateral.pcs_url.",
            )

    def refresh(self) -> None:
        """Read what is new or has changed; a file that cannot be read is warned of and passed over."""
        held: dict[Need, list[Chosen]] = {}
        for need, chosen in self._files.look():
            held.setdefault(need, []).append(chosen)
        self._held = held  # readers see the old ones or the new ones

    def held(self, need: Need, at: datetime) -> Chosen | None:
        """The best bundle."""
        bare = need if need.evaluation_number is None else replace(need, evaluation_number=None)
        found = self._held.get(bare, [])
        if len(found) == 1 and need is bare:
            return found[0]
        if need is not bare:
            found = [each for each in found if each.evaluation_number == need.evaluation_number]
        return max(found, key=lambda each: _merit(each, at), default=None)

    def fetch(self, need: Need, at: datetime) -> Chosen:
        """The best bundle; there is nothing to wait for."""
        found = self.held(need, at)
        if found is None:
            raise no_collateral(need)
        return found

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """Of the newest bundle of each platform family."""
        newest = ((need, max(found, key=lambda each: each.expires)) for need, found in self._held.items())
        return [(f"{need.tee} {need.fmspc.hex()} {need.ca}", each.issued, each.expires) for need, each in newest]

    def baselines(self, tee: Tee) -> dict[int, datetime]:
        """Of all bundles."""
        return baselines_of(each for need, found in self._held.items() if need.tee is tee for each in found)


class FetchedCollateral:
    """Collateral that a source fetches and keeps; what was handed out is used again for a while without asking it.

    Args:
        source: fetches, verifies, keeps.
        monotonic: seconds.
    """

    FRESH = 300.0  # seconds

    def __init__(self, source: CollateralSource, monotonic: Callable[[], float]) -> None:
        self._source = source
        self._monotonic = monotonic
        self._held: dict[Need, tuple[float, Chosen]] = {}

    def held(self, need: Need, at: datetime) -> Chosen | None:
        """What was fetched lately and is still valid."""
        found = self._held.get(need)
        if found is None or self._monotonic() - found[0] > self.FRESH or at > found[1].expires:
            return None
        return found[1]

    def fetch(self, need: Need, _at: datetime) -> Chosen:
        """Ask the source, which judges by its own clock."""
        wanted = Wanted(tee=need.tee, fmspc=need.fmspc, ca=need.ca, evaluation_number=need.evaluation_number)
        try:
            chosen = Chosen.of(self._source.collateral(wanted).collateral)
        except Unavailable as error:
            if error.code in ("collateral-unknown", "collateral-retired", "collateral-not-held"):
                raise no_collateral(need) from None
            raise
        if len(self._held) >= _MAX_PLATFORMS:
            self._held.clear()
        self._held[need] = (self._monotonic(), chosen)
        return chosen

    def refresh(self) -> None:
        """Nothing: the source does it when it is asked."""

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """Of what was handed out."""
        return [
            (f"{need.tee} {need.fmspc.hex()} {need.ca}", each.issued, each.expires)
            for need, (_, each) in self._held.copy().items()
        ]

    def baselines(self, tee: Tee) -> dict[int, datetime]:
        """Of what was handed out."""
        return baselines_of(each for need, (_, each) in self._held.copy().items() if need.tee is tee)


class NoCollateral:
    """For services that judge SNP reports only."""

    def held(self, _need: Need, _at: datetime) -> Chosen | None:
        """None."""
        return None

    def fetch(self, need: Need, _at: datetime) -> Chosen:
        """Refuse."""
        raise no_collateral(need)

    def refresh(self) -> None:
        """Nothing."""

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """None."""
        return []

    def baselines(self, _tee: Tee) -> dict[int, datetime]:
        """None."""
        return {}


def no_collateral(need: Need) -> Malformed:
    """The refusal of a quote whose platform family nobody vouches for here."""
    number = "" if need.evaluation_number is None else f" with evaluation number {need.evaluation_number}"
    return Malformed(
        "collateral-none",
        f"There is no collateral{number} for {need.tee} platforms of the family {need.fmspc.hex()} ({need.ca}).",
        "Ask the service's operator to add it.",
    )


def _read(path: Path) -> tuple[Need, Chosen]:
    with path.open("rb") as file:
        collateral = parse_collateral(file.read(MAX_COLLATERAL + 1))
    return _needed_by(collateral), Chosen.of(collateral)


def _merit(chosen: Chosen, at: datetime) -> tuple[bool, int, datetime]:
    return chosen.issued <= at <= chosen.expires, chosen.evaluation_number, chosen.issued


def _needed_by(collateral: Collateral) -> Need:
    """What a bundle is for."""
    info = TcbInfo.parse(collateral.tcb_info)
    signers = parse_chain(collateral.tcb_info_issuer_chain.encode("ascii"), "tcb-info-issuer-chain")
    issuers = parse_chain(collateral.pck_crl_issuer_chain.encode("ascii"), "pck-crl-issuer-chain")
    tee = Tee.TDX if info.id == "TDX" else Tee.SGX
    return Need(tee, info.fmspc, _ca(issuers[0].subject), hashlib.sha256(signers[-1].spki).digest())


def _hashes(collateral: Collateral) -> dict[str, str]:
    """Of the parts as they came: chains as PEM, documents as their exact texts, lists as DER, the root's first."""
    lists = _crl(collateral.root_ca_crl) + _crl(collateral.pck_crl)
    return collateral_hashes(
        {
            "qeidcertshash": collateral.qe_identity_issuer_chain.encode("ascii"),
            "qeidcrlhash": lists,
            "qeidhash": collateral.qe_identity.encode("ascii"),
            "tcbinfocertshash": collateral.tcb_info_issuer_chain.encode("ascii"),
            "tcbinfocrlhash": lists,
            "tcbinfohash": collateral.tcb_info.encode("ascii"),
        }
    )


def _crl(text: str) -> bytes:
    return text.encode("ascii") if text.startswith("-----BEGIN") else unhex(text, "crl")
