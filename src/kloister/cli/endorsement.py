"""The options of `kloister verify` for SNP reports: what vouches for the key of the chip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kloister.errors import Malformed
from kloister.trust.verifier import SnpEndorsement

_MAX_FILE = 1024 * 1024  # bytes of a file of certificates or of a revocation list; real ones have some kilobytes

VekOption = Annotated[
    Path | None,
    typer.Option(
        "--vek",
        metavar="FILE",
        help="Of an SNP report: the VCEK or VLEK certificate, DER or PEM [default: a VCEK is held or fetched].",
    ),
]
ChainOption = Annotated[
    Path | None,
    typer.Option(
        "--chain", metavar="FILE", help="Of an SNP report: ASK or ASVK and ARK, DER or PEM [default: held or fetched]."
    ),
]
CrlOption = Annotated[
    Path | None,
    typer.Option("--crl", metavar="FILE", help="Of an SNP report: the ARK's revocation list, DER or PEM."),
]


@dataclass(frozen=True, slots=True)
class Given:
    """What was named: a whole endorsement, or the certificate of the key alone, or nothing."""

    endorsement: SnpEndorsement | None = None
    vek: bytes | None = None


def read_endorsement(vek: Path | None, chain: Path | None, crl: Path | None) -> Given:
    """The files that were named. Raises `Malformed`: `file-size`; or `BadParameter`."""
    if (vek is None and chain is not None) or (chain is None and crl is not None):
        raise typer.BadParameter("--crl goes with --chain, and --chain with --vek.")
    if vek is None:
        return Given()
    if chain is None:
        return Given(vek=_read(vek))
    return Given(SnpEndorsement(vek=_read(vek), chain=_read(chain), crl=_read(crl) if crl else None))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise Malformed("file-size", f"{path} has more than {_MAX_FILE} bytes, too many for certificates.")
    return data
