"""The options of `kloister verify` that no other command has, and the examples of its help."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from kloister.errors import Malformed
from kloister.services.appraisal import parse_time
from kloister.services.collateral.model import Update

EXAMPLES = """
    Exit code 0: accepted (with --proof-only: genuine). 1: refused or failed. 2: misuse.

    For example:

      kloister verify quote.bin

      kloister verify quote.bin --collateral collateral.json

      kloister verify quote.bin --source pccs+https://localhost:8081 --bundle-out evidence.bundle

      kloister verify quote.hex --collateral c.json --proof-only --json

      kloister verify quote.bin --collateral c.json --root simulator-root.der --at 2026-01-15T00:00:00Z

      kloister verify quote.bin --explain --what-if-update early --what-if-evaluation 17 --what-if-at 2027-01-01

      kloister verify quote.bin --image clinic

      kloister verify report.bin

      kloister verify report.bin --vek vcek.der --chain cert_chain.pem

      kloister verify token.jwt --jwks keys.json

      kloister verify token.jwt --issuer https://sharedeus.eus.attest.azure.net

      kloister verify https://service.example:8443 --collateral c.json --policy wanted.yaml

      kloister verify --batch quotes/ more.ndjson --collateral c.json --json
"""


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except Malformed as error:
        raise typer.BadParameter(f"{error.text} {error.hint}") from None


ThingsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="THING...",
        help="Quote or SNP report (raw, hexadecimal, base64), Azure's HCL blob, certificate (RA-TLS, an attestation "
        "service's), KBS evidence, token (MAA, EAR), bundle, https://HOST:PORT; - is stdin.",
    ),
]
CollateralOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Collateral, one JSON document [default: held or fetched].", show_default=False),
]
RootOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Trust this root (DER or PEM) instead of the makers'; may be repeated."),
]
AtOption = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", parser=_time, help="Judge at this time: unix seconds or ISO 8601 [default: now]."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Appraisal policy, JSON or YAML [default: UpToDate, no debug enclaves]."),
]
ProofOption = Annotated[
    bool, typer.Option("--proof-only", help="Apply no policy: is it genuine, whatever its TCB status?")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Fetch nothing: use what is given or held.")]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle-out", metavar="FILE", help="Write evidence, collateral, policy and time as one bundle."),
]
JwksOption = Annotated[
    Path | None, typer.Option("--jwks", metavar="FILE", help="Of a token: its issuer's keys, a JWKS document.")
]
IssuerOption = Annotated[
    str | None,
    typer.Option(
        "--issuer",
        metavar="URL",
        help="Of a token: who must have issued it; without --jwks its keys are fetched from there (HTTPS).",
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image", metavar="REF", help="It must be an enclave of this converted image, measured again now."),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Say which levels were matched, what is short, and what to update.")
]
WhatIfCollateralOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Say what it would be with this collateral too; may be repeated."),
]
WhatIfAtOption = Annotated[
    list[datetime] | None,
    typer.Option(metavar="TIME", parser=_time, help="Say what it will be at this time too; may be repeated."),
]
WhatIfUpdateOption = Annotated[
    list[Update] | None,
    typer.Option(help="Say what it would be by this baseline too, held or fetched; may be repeated."),
]
WhatIfEvaluationOption = Annotated[
    list[int] | None,
    typer.Option(min=0, metavar="N", help="Say what it would be by this TCB evaluation too, held or fetched."),
]
IdentifiersOption = Annotated[
    bool, typer.Option("--show-identifiers", help="Print what names this one machine (PPID, CHIP_ID), not a hash.")
]
BatchOption = Annotated[
    bool, typer.Option("--batch", help="Judge many: files, directories, NDJSON; a line each, sums at the end.")
]
JobsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes for --batch [default: one per core].")
]
