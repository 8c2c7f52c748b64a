"""What was named on the command line of `kloister verify`, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kloister.cli.broker import standard_input
from kloister.cli.words import read_from
from kloister.errors import Malformed
from kloister.formats.tokens import JwkSet
from kloister.formats.tokens.jwk import MAX_SIZE as MAX_KEYS
from kloister.services.appraisal import parse_collateral, parse_root
from kloister.services.appraisal.inputs import MAX_COLLATERAL, parse_any_root
from kloister.services.appraisal.peer import server_evidence
from kloister.services.collateral.bundle import MAX_SIZE as MAX_BUNDLE
from kloister.services.collateral.model import Update
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY
from kloister.trust.verifier import AMD_ROOTS, INTEL_ROOT, AmdRoot, Collateral, Root

MAX_ROOT = 64 * 1024  # bytes of a certificate file
SERVER = "https://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The files and values that a judgement takes; empty where nothing was named."""

    roots: Sequence[Path] = ()
    policy: Path | None = None
    proof_only: bool = False
    at: datetime | None = None
    collateral: Path | None = None
    vek: Path | None = None
    chain: Path | None = None
    crl: Path | None = None
    jwks: Path | None = None
    issuer: str | None = None
    image: str | None = None
    state: Path | None = None
    bundle_out: Path | None = None
    other_collateral: Sequence[Path] = ()
    other_times: Sequence[datetime] = ()
    other_updates: Sequence[Update] = ()
    other_evaluations: Sequence[int] = ()

    def intel_roots(self) -> list[Root]:
        """Those that were named, else Intel's."""
        return [_root(path) for path in self.roots] or [INTEL_ROOT]

    def amd_roots(self) -> list[AmdRoot]:
        """Those that were named, else AMD's."""
        named = [_any_root(path) for path in self.roots]
        return [root for root in named if isinstance(root, AmdRoot)] if named else list(AMD_ROOTS)

    def policy_text(self) -> str | None:
        """The policy that was named. Raises `Malformed`: `yaml-encoding`, `appraisal-policy-size`."""
        if self.policy is None:
            return None
        try:
            return read(self.policy, MAX_POLICY, "appraisal-policy").decode()
        except UnicodeDecodeError:
            raise Malformed("yaml-encoding", f"{self.policy}: the policy is not UTF-8.", "Save it in UTF-8.") from None

    def keys(self) -> JwkSet | None:
        """The issuer's keys that were named. Raises `Malformed`: `jwks-*`."""
        if self.jwks is None:
            return None
        with read_from(self.jwks, 'A set of keys is {"keys": [...]}.'):
            return JwkSet.parse(read(self.jwks, MAX_KEYS, "jwks"))


def evidence_of(thing: str) -> bytes:
    """The bytes of what was named: a certificate that a server shows, standard input, or a file."""
    if "://" in thing:
        return server_evidence(thing)  # which says what an address is
    return read(None if thing == "-" else Path(thing), MAX_BUNDLE, "evidence")


def read_collateral(path: Path) -> Collateral:
    """One JSON document. Raises `Malformed`: `collateral-*`."""
    data = read(path, MAX_COLLATERAL, "collateral")
    with read_from(path, "It is one JSON document, as `kloister simulator collateral` writes it."):
        return parse_collateral(data)


def read(path: Path | None, limit: int, what: str) -> bytes:
    """A whole file, or standard input, of at most `limit` bytes; one byte more is read to notice a longer one."""
    if path is None:
        data = standard_input().read(limit + 1)
    else:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        name = path or "standard input"
        raise Malformed(f"{what}-size", f"{name} has more than {limit} bytes, too many for this.", "Check the name.")
    return data


def _any_root(path: Path) -> Root | AmdRoot:
    data = read(path, MAX_ROOT, "root")
    with read_from(path, "A root is one certificate, DER or PEM."):
        return parse_any_root(data)


def _root(path: Path) -> Root:
    data = read(path, MAX_ROOT, "root")
    with read_from(path, "A root is one certificate, DER or PEM, as `kloister simulator root` writes it."):
        return parse_root(data)
