"""`kloister policy lint` and `test` for policies in Azure Attestation's language."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from kloister.cli.broker import read
from kloister.cli.words import options, print_json, read_from, say
from kloister.errors import Malformed
from kloister.trust.policy.maa import (
    MAX_TEXT,
    Claim,
    MaaPolicyError,
    MaaSyntaxError,
    Outcome,
    RuleTrace,
    evaluate,
    excerpt,
    parse_policy,
    policy_hash,
)
from kloister.trust.policy.maa import lint as find
from kloister.trust.policy.maa.trace import ConditionTrace, Verdict

_LANGUAGE = "docs/reference/maa-policy.md has the language."
_SHOWN = 200  # characters of a name or value in a tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a policy is tried on: claims, or evidence with what vouches for it."""

    claims: Path | None = None
    evidence: Path | None = None
    collateral: Path | None = None
    vek: Path | None = None
    chain: Path | None = None
    crl: Path | None = None
    roots: Sequence[Path] = ()
    at: str | None = None

    def read(self) -> list[Claim]:
        """The claims. Raises `Malformed`, `Unverified`."""
        from kloister.services.attestation.trial import MAX_CLAIMS, read_claims

        if self.claims is None:
            return self._of_evidence()
        data = read(self.claims, MAX_CLAIMS)
        with read_from(self.claims, ""):
            return read_claims(data)

    def _of_evidence(self) -> list[Claim]:
        from kloister import clock
        from kloister.cli.endorsement import read_endorsement
        from kloister.cli.verify_inputs import Inputs, evidence_of, read_collateral
        from kloister.services.appraisal import parse_time
        from kloister.services.attestation.trial import Vouching, evidence_claims

        with options():
            at = parse_time(self.at) if self.at else clock.now()
        endorsement = read_endorsement(self.vek, self.chain, self.crl).endorsement
        if self.vek is not None and endorsement is None:
            raise typer.BadParameter("--vek FILE goes with --chain FILE here: nothing is fetched.")
        named = Inputs(roots=self.roots)
        vouching = Vouching(
            collateral=read_collateral(self.collateral) if self.collateral else None,
            endorsement=endorsement,
            roots=named.intel_roots() if self.collateral else (),
            amd_roots=named.amd_roots(),
            at=at,
        )
        return evidence_claims(evidence_of(str(self.evidence)), vouching)


def lint(file: Path, *, as_json: bool) -> None:
    """Say whether the text is a policy, and what is doubtful in it."""
    text = _text(file)
    with _shown(file, text, as_json=as_json):
        policy = parse_policy(text)
    findings = find(policy)
    if as_json:
        listed = [one.as_json() for one in findings]
        print_json({"valid": True, "version": policy.version, "policyHash": policy_hash(text), "findings": listed})
        return
    for one in findings:
        say(f"{file}:{one.place.line}:{one.place.column}: warning: {one.text}\n{excerpt(text, one.place)}")
    print(f"{file} is valid, version {policy.version}, x-ms-policy-hash {policy_hash(text)}")


def try_out(file: Path, subject: Subject, *, explain: bool, as_json: bool) -> bool:
    """Say what the policy makes of the subject; whether it permits."""
    text = _text(file)
    with _shown(file, text, as_json=as_json):
        policy = parse_policy(text)
        outcome = evaluate(policy, subject.read(), trace=explain)
    refused = _refusal(outcome)
    if as_json:
        print_json(_document(text, outcome, refused))
        return refused is None
    for line in _tree(outcome.trace or ()):
        print(line)
    print("denied" if refused else "permitted")
    for name, values in outcome.token_claims.items():
        print(f"  {_plain(name)} = {json.dumps(values)}")
    for name, values in outcome.property_values.items():
        print(f"  property {_plain(name)} = {json.dumps(values)}")
    if refused is not None and not explain:
        say(f"{refused.text} [{refused.code}] --explain shows why.")
    return refused is None


def _refusal(outcome: Outcome) -> MaaPolicyError | None:
    try:
        outcome.check()
    except MaaPolicyError as refused:
        return refused
    return None


def _document(text: str, outcome: Outcome, refused: MaaPolicyError | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "permitted": outcome.permitted,
        "denied": outcome.denied,
        "policyHash": policy_hash(text),
        "claims": outcome.token_claims,
        "properties": outcome.property_values,
        "reason": refused.as_json() if refused else None,
    }
    if outcome.trace is not None:
        document["explain"] = [one.as_json() for one in outcome.trace]
    return document


def _tree(rules: Sequence[RuleTrace]) -> Iterator[str]:
    section = ""
    for rule in rules:
        if rule.section != section:
            section = rule.section
            yield section
        yield f"  line {rule.place.line}, {'fired' if rule.fired else 'not fired'}: {rule.text}"
        for condition in rule.conditions:
            yield from _branch(condition)
        yield from (f"    made {_claim(one)}" for one in rule.made)


def _branch(condition: ConditionTrace) -> Iterator[str]:
    yield f"    {condition.verdict}: {condition.text}"
    if condition.verdict is Verdict.NOT_JUDGED:
        return
    yield from (f"      met by {_claim(one)}" for one in condition.matched)
    if condition.matched or condition.verdict is Verdict.HELD:
        return
    if not condition.missed:
        yield "      there is no claim of this type"
    yield from (f"      {one.comparison} is not met by {_claim(one.claim)}" for one in condition.misses)
    if condition.missed > len(condition.misses):
        yield f"      and not by {condition.missed - len(condition.misses)} more"


def _claim(claim: Claim) -> str:
    return f"{_plain(claim.type)} = {json.dumps(claim.value)[:_SHOWN]} ({claim.issuer})"


def _plain(name: str) -> str:
    """Without what moves a terminal."""
    return json.dumps(name)[1:-1][:_SHOWN]


def _text(file: Path) -> str:
    data = read(file, MAX_TEXT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("maa-parsing", f"{file}: the policy is not UTF-8.", "Save it in UTF-8.") from None


@contextmanager
def _shown(file: Path, text: str, *, as_json: bool) -> Iterator[None]:
    """Around parsing and evaluation: an error shows the line of the policy that it is about."""
    try:
        yield
    except (MaaSyntaxError, MaaPolicyError) as error:
        place = error.place
        if place is not None and not as_json:
            say(excerpt(text, place))
        if place is None or isinstance(error, MaaPolicyError):
            raise
        where = f"{file}:{place.line}:{place.column}"
        raise Malformed(error.code, f"{where}: {error.failure}.", error.hint or _LANGUAGE) from None
