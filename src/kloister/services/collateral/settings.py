"""What an operator says about sources: options first, else variables of the environment, else Intel's PCS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kloister.errors import Misconfigured
from kloister.services.collateral.dialects import IntelSource, SourceKind, source_of
from kloister.services.collateral.kds import KdsSource, kds_of
from kloister.services.collateral.model import Update

SOURCES = "KLOISTER_COLLATERAL_SOURCES"  # separated by blanks
CACHE = "KLOISTER_COLLATERAL_CACHE"
CA = "KLOISTER_COLLATERAL_CA"
TIMEOUT = "KLOISTER_COLLATERAL_TIMEOUT"
UPDATE = "KLOISTER_COLLATERAL_UPDATE"
API_KEY = "KLOISTER_COLLATERAL_API_KEY"  # of Intel's PCS; sent to sources of the kind pcs alone
_KEY_HEADER = "Ocp-Apim-Subscription-Key"
_MOST_SECONDS = 600.0
DEFAULT_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Sources in order, where to keep what they send, and how long to wait for them."""

    sources: tuple[IntelSource, ...]
    kds: tuple[KdsSource, ...] = (KdsSource(),)
    cache: Path
    ca: Path | None = None
    timeout: float = DEFAULT_TIMEOUT
    update: Update = Update.STANDARD
    background: bool = field(default=False)

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        *,
        sources: Sequence[str] = (),
        cache: Path | None = None,
        ca: Path | None = None,
        timeout: float | None = None,
        update: str | None = None,
    ) -> Self:
        """Options over variables over defaults.

        Raises:
            Misconfigured: `source-url`, `source-plain`, `collateral-timeout`, `collateral-update`.
        """
        given_ca = environment.get(CA)
        texts = list(sources or environment.get(SOURCES, "").split())
        amd = [text for text in texts if text.partition("+")[0] == SourceKind.KDS]
        return cls(
            sources=_sources([text for text in texts if text not in amd] or ["pcs"], environment.get(API_KEY)),
            kds=tuple(kds_of(text) for text in amd) or (KdsSource(),),
            cache=cache or _cache(environment),
            ca=ca or (Path(given_ca) if given_ca else None),
            timeout=_timeout(environment) if timeout is None else _checked(timeout),
            update=_update(update or environment.get(UPDATE) or Update.STANDARD),
        )


def _sources(texts: Sequence[str], key: str | None) -> tuple[IntelSource, ...]:
    found = [source_of(text) for text in texts]
    if not key:
        return tuple(found)
    keyed = (source_of(text, {_KEY_HEADER: key}) for text in texts)
    return tuple(one if one.kind is SourceKind.PCS else bare for one, bare in zip(keyed, found, strict=True))


def _cache(environment: Mapping[str, str]) -> Path:
    if environment.get(CACHE):
        return Path(environment[CACHE])
    home = environment.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kloister" / "collateral"


def _timeout(environment: Mapping[str, str]) -> float:
    text = environment.get(TIMEOUT)
    if not text:
        return DEFAULT_TIMEOUT
    try:
        return _checked(float(text))
    except ValueError:
        return _checked(-1)


def _checked(seconds: float) -> float:
    if not 0 < seconds <= _MOST_SECONDS:
        raise Misconfigured(
            "collateral-timeout", f"The time to wait for collateral is 0 to {_MOST_SECONDS:.0f} seconds.", "Try 20."
        )
    return seconds


def _update(text: str) -> Update:
    if text not in set(Update):
        raise Misconfigured("collateral-update", f"{text[:32]!a} is no baseline.", "Say standard or early.")
    return Update(text)
