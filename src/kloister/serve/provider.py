"""Collateral for many pieces of evidence: each platform's and each chip's is asked for once, also where it fails."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar, cast

from kloister.errors import KloisterError
from kloister.formats.snp import SnpReport
from kloister.serve.collateral import open_amd_source, open_source
from kloister.services.collateral import CollateralSource, Wanted, wanted_by
from kloister.services.collateral.kds import AmdSource
from kloister.services.collateral.model import Update
from kloister.services.collateral.settings import Settings
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier import Collateral, Root, SnpEndorsement

_HELD = 1024  # platforms and chips whose collateral, or whose failure, is remembered

Result = TypeVar("Result")


def open_provider(
    settings: Settings,
    update: Update,
    number: int | None,
    roots: Sequence[Root | AmdRoot],
    *,
    offline: bool,
) -> CachedProvider:
    """What a process of a batch asks. Raises `Misconfigured`: `source-ca`."""
    intel = [root for root in roots if isinstance(root, Root)]
    amd = [root for root in roots if isinstance(root, AmdRoot)]
    return CachedProvider(
        open_source(settings, intel, offline=offline) if intel else None,
        open_amd_source(settings, amd, offline=offline) if amd else None,
        lambda quote: wanted_by(quote, update, number),
    )


class CachedProvider:
    """The port `Provider` of a batch, over the sources and their cache.

    Args:
        intel, amd: None where no root of that maker is trusted: then nothing vouches.
        wanted: what a quote needs.
    """

    def __init__(
        self, intel: CollateralSource | None, amd: AmdSource | None, wanted: Callable[[bytes], Wanted]
    ) -> None:
        self._intel = intel
        self._amd = amd
        self._wanted = wanted
        self._known: OrderedDict[Hashable, object] = OrderedDict()

    def collateral(self, quote: bytes) -> Collateral | None:
        """See `Provider.collateral`."""
        source = self._intel
        if source is None:
            return None
        wanted = self._wanted(quote)
        return self._once(wanted, lambda: source.collateral(wanted).collateral)

    def endorsement(self, report: bytes, vek: bytes | None = None) -> SnpEndorsement | None:
        """See `Provider.endorsement`."""
        source = self._amd
        if source is None:
            return None
        parsed = SnpReport.parse(report)
        key = (parsed.cpuid, parsed.chip_id, parsed.reported_tcb, parsed.flags.signing_key, vek)
        return self._once(key, lambda: source.endorsement(parsed, vek=vek).endorsement)

    def _once(self, key: Hashable, ask: Callable[[], Result]) -> Result:
        """The answer of the first time, the failure included: one dead source does not hold up every row."""
        if key not in self._known:
            try:
                self._known[key] = ask()
            except KloisterError as error:
                self._known[key] = error
            while len(self._known) > _HELD:
                self._known.popitem(last=False)
        found = self._known[key]
        if isinstance(found, KloisterError):
            raise found
        return cast("Result", found)
