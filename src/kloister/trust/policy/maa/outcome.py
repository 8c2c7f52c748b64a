"""Evaluates a policy, and what came of it; if wanted, why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kloister.trust.policy.maa.claims import Claim
from kloister.trust.policy.maa.evaluator import Run
from kloister.trust.policy.maa.failure import MaaPolicyError
from kloister.trust.policy.maa.meter import MAX_STEPS, Meter
from kloister.trust.policy.maa.trace import RuleTrace, TracedRun
from kloister.trust.policy.maa.tree import Policy
from kloister.trust.policy.maa.words import Section, Value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy says of claims.

    Attributes:
        permitted: a rule permits, and none denies: a token may be issued.
        denied: a rule denies.
        issued: what the policy adds to the token, in order; nothing where it may not be issued.
        properties: what the policy says to the service, in order.
        trace: every rule with what became of its conditions; None unless asked for.
    """

    permitted: bool
    denied: bool
    issued: tuple[Claim, ...] = ()
    properties: tuple[Claim, ...] = ()
    trace: tuple[RuleTrace, ...] | None = None

    def check(self) -> None:
        """Return if a token may be issued.

        Raises:
            MaaPolicyError: `maa-denied`, `maa-not-permitted`, both with Azure Attestation's sentence.
        """
        text = "A Deny claim was issued, authorization failed."
        if self.denied:
            raise MaaPolicyError("maa-denied", text, "`kloister policy test --explain` shows the rule that denied.")
        if not self.permitted:
            hint = "No rule permitted: `kloister policy test --explain` shows which condition failed, on what value."
            raise MaaPolicyError("maa-not-permitted", text, hint)

    @property
    def token_claims(self) -> dict[str, Value | list[Value]]:
        """The issued claims as a token has them: a list where there are several of one type."""
        return _merged(self.issued)

    @property
    def property_values(self) -> dict[str, Value | list[Value]]:
        """The properties by name, likewise."""
        return _merged(self.properties)


def evaluate(
    policy: Policy,
    claims: Iterable[Claim],
    *,
    trace: bool = False,
    steps: int = MAX_STEPS,
    spend: Callable[[int], None] | None = None,
) -> Outcome:
    """Apply configuration, authorization and, if these permit, issuance rules to claims.

    Args:
        policy: parsed once, evaluated often.
        claims: the incoming ones, at most 5000.
        trace: record why; costs nothing otherwise.
        steps: how much work it may be.
        spend: told of steps as they are taken; may raise, for instance past a deadline.

    Raises:
        MaaPolicyError: `maa-evaluation`, `maa-read-only`, `maa-limit`; a refusal is no error, see `Outcome.check`.
        Misconfigured: `maa-jmespath-missing`.
    """
    meter = Meter(steps, spend)
    run = TracedRun(claims, meter) if trace else Run(claims, meter)
    run.section(policy, Section.CONFIGURATION)
    run.section(policy, Section.AUTHORIZATION)
    permitted = run.permitted and not run.denied
    if permitted:
        run.section(policy, Section.ISSUANCE)
    return Outcome(
        permitted,
        run.denied,
        tuple(run.outgoing.everything()),
        tuple(run.properties.everything()),
        tuple(run.rules) if isinstance(run, TracedRun) else None,
    )


def _merged(claims: Iterable[Claim]) -> dict[str, Value | list[Value]]:
    found: dict[str, list[Value]] = {}
    for claim in claims:
        found.setdefault(claim.type, []).append(claim.value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
