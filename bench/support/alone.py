"""What dcap-qvl has no counterpart for: SNP reports, and what a refusal by policy costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.support.output import table
from bench.support.statistics import Summary
from kloister.errors import KloisterError
from kloister.formats.dcap import TcbStatus
from kloister.services.appraisal.service import OPERATOR_NAMED, appraise
from kloister.simulator.documents import TcbStage
from kloister.trust.verifier import AMD_ROOTS, Collateral, VerifierCache, verify_snp
from tests.support.evidence import NOW, Forge
from tests.support.snp import snp_cases

P384 = "one P-384 verification"
_SIGNED = 0x2A0  # bytes of a report that its signature covers
_MEASUREMENT = 0x90  # offset in a report
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together; `shares`: of which row's time which other row is what part, and the aim."""

    title: str
    calls: Mapping[str, Call]
    shares: Mapping[str, tuple[str, str, float]]

    def show(self, samples: Mapping[str, list[float]]) -> dict[str, Any]:
        """A table for people; the object for machines."""
        rows = [[name, *Summary.of(values).row()] for name, values in samples.items()]
        table(self.title, ["microseconds of CPU", "median", "quartiles", "extremes"], rows)
        found = {}
        for name, (part, whole, aim) in self.shares.items():
            parts = [one / other for one, other in zip(samples[part], samples[whole], strict=True)]
            found[name] = {**Summary.of(parts).as_json(), "aim": aim}
            print(f"  {name}: {statistics.median(parts):.0%} (aim {aim:.0%})")
        kept = {row: [round(value, 3) for value in values] for row, values in samples.items()}
        return {"samples": kept, "shares": found}


def groups() -> Iterator[Group]:
    """All that is measured without a peer."""
    yield _snp()
    yield _policy()


def _snp() -> Group:
    case = next(one for one in snp_cases() if one.verdict == "accept")
    cache, endorsement, at = VerifierCache(), case.endorsement, case.at

    def verify(report: bytes, cache: VerifierCache | None) -> object:
        try:
            return verify_snp(report, endorsement, AMD_ROOTS, at, cache)
        except KloisterError as refusal:
            return refusal

    flipped = bytearray(case.report)
    flipped[_MEASUREMENT] ^= 1
    calls = {
        "cold": partial(verify, case.report, None),
        "warm": partial(verify, case.report, cache),
        "warm, reject": partial(verify, bytes(flipped), cache),
    }
    return Group(
        f"SEV-SNP: {case.name}",
        {P384: _one_verification(), **calls},
        {"share of one P-384 verification": (P384, "warm", 0.85), "reject, of accept": ("warm, reject", "warm", 1.0)},
    )


def _one_verification() -> Call:
    key, algorithm, data = ec.derive_private_key(1234567, ec.SECP384R1()), ec.ECDSA(hashes.SHA384()), bytes(_SIGNED)
    signature, public = key.sign(data, algorithm), key.public_key()
    return lambda: public.verify(signature, data, algorithm)


def _policy() -> Group:
    """With the default policy: an up-to-date platform, and one that is refused because it is not."""
    forge, cache = Forge(), VerifierCache()
    quote, roots = forge.quote(), [forge.root]
    stages = {"accept, UpToDate": None, "reject, OutOfDate": TcbStage(status=TcbStatus.OUT_OF_DATE)}
    calls: dict[str, Call] = {}
    for name, stage in stages.items():
        collateral = Collateral.from_json(forge.documents(stage))
        calls[name] = partial(appraise, quote, collateral, roots, NOW, OPERATOR_NAMED, cache)
    accepted, refused = calls
    return Group(
        "appraisal with the default policy, all seen before", calls, {"reject, of accept": (refused, accepted, 1.0)}
    )
