"""AMD's key distribution service: the certificate of a chip's key, its issuers, and the list of what they revoked.

KDS answers about one request in ten seconds, so certificates are kept for ever; only the list is asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kloister.errors import Misused, Unavailable, Unverified
from kloister.formats.snp import (
    AmdCertificate,
    AmdCrl,
    Product,
    SigningKey,
    SnpReport,
    Tcb,
    check_pss,
    parse_certificates,
)
from kloister.services.collateral.dialects import SourceKind
from kloister.services.collateral.holding import Admit, Holding
from kloister.services.collateral.model import Held, Item, Key, Kind, Window, anchor_of
from kloister.services.collateral.source import Cache, present
from kloister.services.collateral.transport import Answer, Endpoint, Request
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier.chain import check_period
from kloister.trust.verifier.endorsement import EndorsedKey, SnpEndorsement, endorsed_key

KDS = "https://kdsintf.amd.com"
_HWID_TURIN = 8  # bytes of CHIP_ID that name a chip from Turin on (AMD 57230)
_LIMIT = 256 * 1024  # bytes of an answer; a chain has 5 KiB


@dataclass(frozen=True, slots=True)
class KdsSource:
    """AMD's service, or a proxy that answers as it does.

    Attributes:
        base: scheme, host and port.
    """

    base: str = KDS

    @property
    def name(self) -> str:
        """`kds HOST:PORT`."""
        return f"{SourceKind.KDS} {Endpoint.of(self.base).name}"

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Itself."""
        return frozenset({Endpoint.of(self.base)})

    def request(self, key: Key) -> Request | None:
        """See `Source.request`. The chip's identifier is in the path, and therefore in no error."""
        line = f"{self.base}/{key.get('family') or 'vcek'}/v1/{key.get('product')}"
        if key.kind is Kind.AMD_CHAIN:
            return Request(f"{line}/cert_chain", limit=_LIMIT)
        if key.kind is Kind.AMD_CRL:
            return Request(f"{line}/crl", limit=_LIMIT)
        if key.kind is Kind.VCEK:
            return Request(f"{line}/{key.get('chip')}?{_levels(key)}", limit=_LIMIT)
        return None

    def read(self, _key: Key, answer: Answer) -> tuple[bytes, str]:
        """See `Source.read`. DER or PEM; what it is, admission tells."""
        return answer.body, ""


def kds_of(text: str) -> KdsSource:
    """`kds`, or `kds+URL` for a proxy. Raises `Misconfigured`: `source-url`, `source-plain`."""
    source = KdsSource(text.partition("+")[2].rstrip("/") or KDS)
    Endpoint.of(source.base)
    return source


def _levels(key: Key) -> str:
    """The query of the patch levels, two decimal digits at least."""
    tcb = Tcb.parse(bytes.fromhex(key.get("tcb")), Product(key.get("product")))
    levels = {"blSPL": tcb.bootloader, "teeSPL": tcb.tee, "snpSPL": tcb.snp, "ucodeSPL": tcb.microcode}
    if tcb.fmc is not None:
        levels = {"fmcSPL": tcb.fmc, **levels}
    return "&".join(f"{name}={level:02}" for name, level in levels.items())


@dataclass(frozen=True, slots=True)
class AmdAdmission:
    """Judges AMD's documents.

    Attributes:
        roots: who may vouch.
        chain, crl: the issuers and the list, verified, for the certificate of a chip.
    """

    roots: Sequence[AmdRoot]
    chain: bytes = b""
    crl: bytes | None = None

    def admit(self, item: Item, at: datetime) -> Window:
        """How long the item is valid, if it is genuine and valid at `at`.

        Raises:
            Malformed, Unverified: with the codes of `trust/verifier`, or `collateral-other`.
        """
        if item.key.kind is Kind.AMD_CHAIN:
            return self._chain(item, at)
        if item.key.kind is Kind.AMD_CRL:
            return self._crl(item, at)
        if item.key.kind in (Kind.VCEK, Kind.VLEK):
            return self._vek(item, at)
        raise Misused("item-kind", f"{item.key.kind} is not one of AMD's documents.")

    def _root(self, item: Item) -> AmdRoot:
        for root in self.roots:
            if root.product == item.key.get("product"):
                return root
        raise Unverified("root-untrusted", f"No root of {item.key.get('product')} is trusted here.")

    def _chain(self, item: Item, at: datetime) -> Window:
        root = self._root(item)
        certificates = parse_certificates(item.body, "ask-chain")
        issuers = [one for one in certificates if one.subject != root.subject]
        if not issuers or not all(root.matches(one) for one in certificates if one not in issuers):
            raise Unverified("root-untrusted", "The chain ends at a root that is not trusted here.")
        for issuer in issuers:
            _check_issuer(issuer, root)
        for one in certificates:
            check_period(one.not_before, one.not_after, at, "ask", "certificate")
        return Window(max(one.not_before for one in certificates), min(one.not_after for one in certificates))

    def _crl(self, item: Item, at: datetime) -> Window:
        root, crl = self._root(item), AmdCrl.parse(item.body)
        if crl.issuer != root.subject:
            raise Unverified("ark-crl-issuer", "The revocation list was issued by another than the ARK.")
        crl.check_signed_by(root.key, "ark-crl-signature")
        check_period(crl.this_update, crl.next_update, at, "ark-crl", "revocation list")
        return Window(crl.this_update, crl.next_update)

    def _vek(self, item: Item, at: datetime) -> Window:
        endorsed = endorsed_key(SnpEndorsement(vek=item.body, chain=self.chain, crl=self.crl), self.roots)
        endorsed.check_periods(at)
        _check_key(endorsed, item.key)
        vek = parse_certificates(item.body, "vek")[0]
        return Window(vek.not_before, vek.not_after)


def _check_issuer(issuer: AmdCertificate, root: AmdRoot) -> None:
    if issuer.issuer != root.subject:
        raise Unverified("ask-issuer", "The chain holds a certificate that the root did not issue.")
    check_pss(root.key, issuer.signature, issuer.tbs, "ask-signature", f'the certificate "{issuer.common_name}"')


def _check_key(endorsed: EndorsedKey, key: Key) -> None:
    """What is kept for ever must be of this kind, for this chip (unless it is masked, or a VLEK's) at these levels."""
    product, extensions = Product(key.get("product")), endorsed.extensions
    wanted = SigningKey.VCEK if key.kind is Kind.VCEK else SigningKey.VLEK
    others = extensions.differences(bytes.fromhex(key.get("tcb")), product)
    chip = bytes.fromhex(key.get("chip"))
    elsewhere = any(chip) and chip != extensions.hwid
    if endorsed.kind is not wanted or elsewhere or extensions.product != product or others:
        raise Unverified("collateral-other", f"The certificate is not the one that was asked for ({key.label}).")


@dataclass(frozen=True, slots=True)
class ProvidedEndorsement:
    """An endorsement with its provenance."""

    endorsement: SnpEndorsement
    items: tuple[Held, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Where every part comes from."""
        return [held.as_json() for held in self.items]


class AmdSource(Holding):
    """Endorsements of SNP reports, over a cache. May be shared by threads.

    Args:
        cache: where documents are held, and how they are fetched.
        roots: who may vouch for them.
    """

    kinds = (Kind.AMD_CHAIN, Kind.AMD_CRL, Kind.VCEK, Kind.VLEK)

    def __init__(self, cache: Cache, roots: Sequence[AmdRoot]) -> None:
        if not roots:
            raise Misused("roots-missing", "Without a root nothing can be admitted.")
        super().__init__(cache, anchor_of(root.fingerprint for root in roots))
        self._roots = tuple(roots)

    def endorsement(
        self, report: SnpReport, product: Product | None = None, vek: bytes | None = None
    ) -> ProvidedEndorsement:
        """What vouches for the key that signed a report.

        Args:
            report: not verified; a lie in it leads to certificates that its verification then refuses.
            product: for reports of version 2, which do not say it.
            vek: the certificate of the key (DER or PEM), kept for ever if it is genuine; without it the chip's is asked
                for. A VLEK, which AMD hands to its owner alone, must be given once.

        Raises:
            Unavailable: `collateral-vlek`, `collateral-chip-masked`, `collateral-product`, and as
                `CollateralSource.collateral`.
            Unverified: `collateral-refused`; for one that is given, as `AmdAdmission.admit`.
        """
        key, deadline = _key_of(report, product, given=vek is not None), self._cache.deadline()
        if key.kind is Kind.VLEK and vek is None and not self._cache.knows(key.under(self._anchor)):
            raise Unavailable(
                "collateral-vlek",
                "The report was signed by its provider's key (VLEK), and AMD's service hands that to nobody else.",
                "Take its certificate from the host, where the report came from: --vek FILE; it is kept then.",
            )
        alone = AmdAdmission(self._roots)
        chain_key, crl_key = (each.under(self._anchor) for each in _issuers(key))
        chain = self._cache.get(chain_key, alone.admit, deadline, for_ever=True)
        crl = self._cache.get(crl_key, alone.admit, deadline)
        admit = replace(alone, chain=chain.item.body, crl=crl.item.body).admit
        under = key.under(self._anchor)
        held = self._cache.get(under, admit, deadline, for_ever=True) if vek is None else self._given(under, vek, admit)
        endorsement = SnpEndorsement(vek=held.item.body, chain=chain.item.body, crl=crl.item.body)
        return ProvidedEndorsement(endorsement, (held, chain, crl))

    def revocation_list(self, root: AmdRoot) -> Held:
        """What a root revoked. Raises as `CollateralSource.collateral`."""
        key = Key.of(Kind.AMD_CRL, product=str(root.product)).under(self._anchor)
        return self._cache.get(key, AmdAdmission([root]).admit, self._cache.deadline())

    def _given(self, key: Key, vek: bytes, admit: Admit) -> Held:
        now = self._cache.now()
        fetched = now.replace(microsecond=0)
        item = Item(key=key, body=vek, source="given", fetched=fetched)
        return self._cache.put(Held(item, admit(item, now)), admit)

    def admission(self, item: Item) -> Admit:
        """See `Holding.admission`."""
        alone = AmdAdmission(self._roots)
        if item.key.kind in (Kind.AMD_CHAIN, Kind.AMD_CRL):
            return alone.admit
        bodies = []
        for issuer in _issuers(item.key):
            under = issuer.under(self._anchor)
            bodies.append(present(self._cache.held(under, alone.admit, self._cache.now()), under).item.body)
        return replace(alone, chain=bodies[0], crl=bodies[1]).admit

    def window(self, item: Item) -> Window:
        """See `Holding.window`."""
        if item.key.kind is Kind.AMD_CRL:
            crl = AmdCrl.parse(item.body)
            return Window(crl.this_update, crl.next_update)
        certificates = parse_certificates(item.body, str(item.key.kind))
        return Window(max(one.not_before for one in certificates), min(one.not_after for one in certificates))


def _issuers(key: Key) -> tuple[Key, Key]:
    """The chain above a VEK, and the list of what its root revoked."""
    product = key.get("product")
    if key.kind is Kind.VCEK:
        return Key.of(Kind.AMD_CHAIN, product=product), Key.of(Kind.AMD_CRL, product=product)
    return Key.of(Kind.AMD_CHAIN, product=product, family="vlek"), Key.of(Kind.AMD_CRL, product=product)


def _key_of(report: SnpReport, product: Product | None, *, given: bool) -> Key:
    """Which VEK a report needs. Raises `Unavailable`: `collateral-chip-masked`, `collateral-product`."""
    cpuid = report.cpuid
    line = product if cpuid is None else Product.of_cpuid(cpuid.family, cpuid.model)
    if line is None:
        raise Unavailable(
            "collateral-product", "The report does not say of which product line it is.", "Name the product line."
        )
    if report.flags.signing_key != SigningKey.VCEK:
        return Key.of(Kind.VLEK, product=str(line), tcb=report.reported_tcb.hex())
    if not any(report.chip_id) and not given:
        raise Unavailable(
            "collateral-chip-masked",
            "The report's CHIP_ID is masked, so nobody can say which certificate is its.",
            "Take the certificate from the host: --vek and --chain.",
        )
    chip = report.chip_id[:_HWID_TURIN] if line is Product.TURIN else report.chip_id
    return Key.of(Kind.VCEK, product=str(line), chip=chip.hex(), tcb=report.reported_tcb.hex())
