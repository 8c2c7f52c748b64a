"""The options about where collateral comes from, shared by `verify` and `collateral`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kloister.cli.console import say
from kloister.cli.words import options
from kloister.errors import KloisterError
from kloister.formats.snp import HclBlob, SnpReport
from kloister.formats.tokens import JwkSet
from kloister.services.appraisal.batch import Provider
from kloister.services.appraisal.recognise import Kind, identify, unwrap
from kloister.services.collateral.kds import ProvidedEndorsement
from kloister.services.collateral.model import Held, Update, Wanted, instant
from kloister.services.collateral.ports import Provided
from kloister.services.collateral.settings import CA, CACHE, Settings
from kloister.services.collateral.wanted import wanted_by
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier import Root

SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="pcs, thim, kds, or KIND+URL (pccs+https://HOST:PORT); repeated: asked in this order "
        "[default: $KLOISTER_COLLATERAL_SOURCES, else pcs].",
    ),
]
SourceCaOption = Annotated[
    Path | None,
    typer.Option(
        "--source-ca", envvar=CA, metavar="FILE", help="CA of the TLS of sources and issuers [default: the machine's]."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar=CACHE,
        metavar="DIR",
        help="Fetched collateral [default: $XDG_CACHE_HOME/kloister/collateral].",
    ),
]
UpdateOption = Annotated[
    Update | None,
    typer.Option("--update", help="Baseline: standard, or early, which counts a TCB recovery from its announcement."),
]
NumberOption = Annotated[
    int | None,
    typer.Option("--evaluation-number", min=0, metavar="N", help="This TCB evaluation data number, no baseline."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--fetch-timeout", metavar="SECONDS", help="Wait no longer for all of the collateral [default: 20]."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was typed of the options above."""

    sources: Sequence[str] | None = None
    ca: Path | None = None
    cache: Path | None = None
    update: Update | None = None
    number: int | None = None
    timeout: float | None = None
    offline: bool = False

    def settings(self) -> Settings:
        """Options and variables together; what is unfit is misuse."""
        with options():
            return Settings.of(
                os.environ,
                sources=self.sources or (),
                cache=self.cache,
                ca=self.ca,
                timeout=self.timeout,
                update=self.update,
            )

    def wanted(self, evidence: bytes) -> Wanted:
        """What evidence of any kind needs. Raises `Malformed`, `Unavailable`."""
        quote = unwrap(*identify(evidence)).data
        return wanted_by(quote, self.settings().update, self.number)

    def fetch(self, evidence: bytes, roots: Sequence[Root]) -> Provided:
        """The collateral for evidence, held or fetched. Raises as `CollateralSource.collateral`."""
        from kloister.serve.collateral import open_source

        source = open_source(self.settings(), roots, offline=self.offline)
        provided = source.collateral(self.wanted(evidence))
        for held in provided.items:
            if held.stale is not None:
                say(f"{held.item.key.label} is of {instant(held.item.fetched)}: {_first(held)}")
        return provided

    def fetch_endorsement(
        self, evidence: bytes, roots: Sequence[AmdRoot], vek: bytes | None = None
    ) -> ProvidedEndorsement:
        """What vouches for an SNP report, or an Azure blob with one. Raises as `AmdSource.endorsement`."""
        from kloister.serve.collateral import open_amd_source

        source = open_amd_source(self.settings(), roots, offline=self.offline)
        return source.endorsement(snp_report(evidence), vek=vek)

    def provider(self) -> Callable[[Sequence[Root | AmdRoot]], Provider]:
        """What makes, in any process, the collateral of a batch."""
        from kloister.serve.provider import open_provider

        settings = self.settings()
        return partial(open_provider, settings, settings.update, self.number, offline=self.offline)

    def fetch_keys(self, issuer: str, token: bytes) -> JwkSet | None:
        """The keys of a token's issuer; None where nothing may be fetched. Raises as `issuer.fetch_keys`."""
        from kloister.serve.collateral import open_issuer

        return None if self.offline else open_issuer(self.settings(), issuer, token)


def snp_report(evidence: bytes) -> SnpReport:
    """The report in evidence of AMD's. Raises `Malformed`."""
    found = unwrap(*identify(evidence))
    return SnpReport.parse(HclBlob.parse(found.data).report if found.inner is Kind.AZURE_HCL else found.data)


def _first(held: Held) -> str:
    error: KloisterError | None = held.stale
    return f"{error.text} [{error.code}]" if error else ""
