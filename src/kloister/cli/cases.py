"""What `kloister verify` judges: evidence alone, or a bundle that brings collateral, policy and time of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from kloister import clock
from kloister.cli.console import say
from kloister.errors import Malformed, Misconfigured
from kloister.formats.tokens import JwkSet
from kloister.services.appraisal import parse_policy
from kloister.services.appraisal.recognise import MAX_SIZE as MAX_EVIDENCE
from kloister.services.collateral.bundle import Bundle, Vouching, collateral_document, is_bundle, read_document
from kloister.services.collateral.model import instant
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import Collateral, SnpEndorsement

DEFAULT_POLICY = '{"simulated": "allow"}'  # whoever names a simulator's root admits it; none is there by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Evidence, and by what it is judged.

    Attributes:
        evidence: in whatever form.
        vouching: a bundle's own: collateral, an endorsement or keys.
        policy: its text; None: only whether it is genuine.
        at: the time of judgement.
    """

    evidence: bytes = field(repr=False)
    vouching: Vouching | None = field(default=None, repr=False)
    policy: str | None
    at: datetime

    @classmethod
    def of(cls, data: bytes, *, policy: str | None, proof_only: bool, at: datetime | None) -> Self:
        """Options over what a bundle brings over defaults. Raises `Malformed`: `evidence-bundle-*`, `collateral-*`."""
        bundle = Bundle.parse(data) if is_bundle(data) else None
        own: Any = bundle.policy if bundle else DEFAULT_POLICY
        chosen = None if proof_only else own if policy is None else policy
        if bundle is None:
            if len(data) > MAX_EVIDENCE:
                raise Malformed("evidence-size", f"The evidence has more than {MAX_EVIDENCE} bytes; none has.")
            return cls(evidence=data, policy=chosen, at=(at or clock.now()).replace(microsecond=0))
        say(
            f"This is a bundle: judged at {'the given time' if at else 'its own time'} {instant(at or bundle.at)}"
            f" by {'no policy' if chosen is None else 'its own policy' if policy is None else 'the given policy'}."
        )
        vouching = read_document(bundle.collateral)
        return cls(evidence=bundle.evidence, vouching=vouching, policy=chosen, at=at or bundle.at)

    def parsed_policy(self, path: Path | None) -> AppraisalPolicy | None:
        """The policy; an error in one that was given names its file."""
        from kloister.cli.words import read_from

        if self.policy is None:
            return None
        if path is None:
            return parse_policy(self.policy.encode())
        with read_from(path, "It is one object in JSON or YAML; the default is {}."):
            return parse_policy(self.policy.encode())

    @property
    def collateral(self) -> Collateral | None:
        """A bundle's own, of a quote."""
        return self.vouching if isinstance(self.vouching, Collateral) else None

    @property
    def endorsement(self) -> SnpEndorsement | None:
        """A bundle's own, of an SNP report."""
        return self.vouching if isinstance(self.vouching, SnpEndorsement) else None

    @property
    def keys(self) -> JwkSet | None:
        """A bundle's own, of a token."""
        return self.vouching if isinstance(self.vouching, JwkSet) else None

    def write(self, path: Path | None, vouching: Vouching | None) -> None:
        """Write the bundle that judges the same again, if it is wanted and there is something that vouches."""
        from kloister import files

        if path is None:
            return
        if vouching is None:
            raise Misconfigured(
                "evidence-bundle-incomplete",
                "Nothing is there that vouches for this evidence, so a bundle would never verify.",
                "Give the keys of the token's issuer (--jwks), or the certificates of the report's key.",
            )
        documents = collateral_document(vouching)
        bundle = Bundle(evidence=self.evidence, collateral=documents, policy=self.policy, at=self.at)
        files.replace(path, bundle.build(), mode=None)
