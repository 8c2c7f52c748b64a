"""Azure Attestation's policy language, versions 1.0 to 1.2: parse a text once, evaluate it on claims often.

What it does not do: make claims of evidence, or tokens of claims (`services/attestation`). Its limits are counted in
steps, for it reads no clock.
"""

from kloister.trust.policy.maa.claims import (
    ATTESTATION_POLICY,
    ATTESTATION_SERVICE,
    CUSTOM_CLAIM,
    MAX_CLAIMS,
    Claim,
)
from kloister.trust.policy.maa.defaults import Kind, default_policy, policy_hash
from kloister.trust.policy.maa.evaluator import configure
from kloister.trust.policy.maa.excerpt import excerpt
from kloister.trust.policy.maa.failure import MaaPolicyError, MaaSyntaxError
from kloister.trust.policy.maa.lint import Finding, lint
from kloister.trust.policy.maa.meter import MAX_STEPS
from kloister.trust.policy.maa.outcome import Outcome, evaluate
from kloister.trust.policy.maa.parser import MAX_RULES, parse_policy
from kloister.trust.policy.maa.printer import print_policy
from kloister.trust.policy.maa.tokens import MAX_TEXT
from kloister.trust.policy.maa.trace import RuleTrace
from kloister.trust.policy.maa.tree import Policy

__all__ = [
    "ATTESTATION_POLICY",
    "ATTESTATION_SERVICE",
    "CUSTOM_CLAIM",
    "MAX_CLAIMS",
    "MAX_RULES",
    "MAX_STEPS",
    "MAX_TEXT",
    "Claim",
    "Finding",
    "Kind",
    "MaaPolicyError",
    "MaaSyntaxError",
    "Outcome",
    "Policy",
    "RuleTrace",
    "configure",
    "default_policy",
    "evaluate",
    "excerpt",
    "lint",
    "parse_policy",
    "policy_hash",
    "print_policy",
]
