"""The options of `kloister verify` for SNP reports: what vouches for the key of the chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloister.errors import Malformed
from kloister.trust.verifier import SnpEndorsement

_MAX_FILE = 1024 * 1024  # bytes of a file of certificates or of a revocation list; real ones have some kilobytes

VekOption = Annotated[
    Path | None,
    typer.Option("--vek", metavar="FILE", help="Of an SNP report: the VCEK or VLEK certificate, DER or PEM."),
]
ChainOption = Annotated[
    Path | None,
    typer.Option("--chain", metavar="FILE", help="Of an SNP report: ASK or ASVK and ARK, DER or PEM."),
]
CrlOption = Annotated[
    Path | None,
    typer.Option("--crl", metavar="FILE", help="Of an SNP report: the ARK's revocation list, DER or PEM."),
]


def read_endorsement(vek: Path | None, chain: Path | None, crl: Path | None) -> SnpEndorsement | None:
    """The files that were named; None where none was. Raises `Malformed`: `file-size`; or `BadParameter`."""
    if vek is None and chain is None and crl is None:
        return None
    if vek is None or chain is None:
        raise typer.BadParameter("--vek and --chain belong together.")
    return SnpEndorsement(vek=_read(vek), chain=_read(chain), crl=_read(crl) if crl else None)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise Malformed("file-size", f"{path} has more than {_MAX_FILE} bytes, too many for certificates.")
    return data
