"""Collateral for commands and services, composed: sources, transport, cache."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from kloister import clock, entropy
from kloister.errors import Misconfigured
from kloister.formats.tokens import JwkSet
from kloister.services.appraisal.issuer import endpoint_of, fetch_keys
from kloister.services.collateral import CachedSource, Clock, Freshness
from kloister.services.collateral.backoff import Backoff
from kloister.services.collateral.dialects import Source
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.holding import Holding, Shelf
from kloister.services.collateral.kds import AmdSource
from kloister.services.collateral.settings import Settings
from kloister.services.collateral.source import Cache
from kloister.services.collateral.store import Store
from kloister.services.collateral.transport import HttpTransport
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier import Root

CLOCK = Clock(now=clock.now, monotonic=clock.monotonic, sleep=time.sleep)


def open_source(settings: Settings, roots: Sequence[Root], *, offline: bool = False) -> CachedSource:
    """Collateral that is fetched where it is not held; only what is held where `offline`.

    Raises:
        Misconfigured: `source-ca`.
    """
    return CachedSource(_cache(settings, settings.sources, offline=offline), roots)


def open_amd_source(settings: Settings, roots: Sequence[AmdRoot], *, offline: bool = False) -> AmdSource:
    """The same for SNP reports, by AMD's service. Raises `Misconfigured`: `source-ca`."""
    return AmdSource(_cache(settings, settings.kds, offline=offline), roots)


def open_shelf(settings: Settings, roots: Sequence[Root | AmdRoot]) -> Shelf:
    """All that is held under these roots; nothing is fetched."""
    intel = [root for root in roots if isinstance(root, Root)]
    amd = [root for root in roots if isinstance(root, AmdRoot)]
    holdings: list[Holding] = [open_source(settings, intel, offline=True)] if intel else []
    return Shelf([*holdings, *([open_amd_source(settings, amd, offline=True)] if amd else [])])


def open_issuer(settings: Settings, issuer: str, token: bytes) -> JwkSet:
    """The keys of a token's issuer, whom the operator named. Raises as `fetch_keys`, and `source-ca`."""
    transport = HttpTransport(frozenset({endpoint_of(issuer)}), tls_of(settings.ca), clock.monotonic)
    return fetch_keys(issuer, token, transport, clock.monotonic() + settings.timeout)


def _cache(settings: Settings, sources: Sequence[Source], *, offline: bool) -> Cache:
    freshness = Freshness(patience=settings.timeout, background=settings.background)
    if offline:
        freshness = replace(freshness, hard=None, fresh=timedelta.max)  # its own validity is the only limit
    fetcher = None if offline else _fetcher(settings, sources)
    return Cache(fetcher, Store(settings.cache), CLOCK, freshness)


def _fetcher(settings: Settings, sources: Sequence[Source]) -> Fetcher:
    allowed = frozenset(endpoint for source in sources for endpoint in source.endpoints)
    transport = HttpTransport(allowed, tls_of(settings.ca), clock.monotonic)
    return Fetcher(sources, transport, Backoff(entropy.draw), CLOCK)


def tls_of(ca: Path | None) -> ssl.SSLContext:
    """Trusts the machine's roots, or the named CA alone. Raises `Misconfigured`: `source-ca`."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise Misconfigured(
            "source-ca", f"{ca} cannot be read as certificates in PEM.", "Name the CA of the source."
        ) from None
