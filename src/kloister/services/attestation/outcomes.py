"""What a policy says of claims, remembered: it follows from the claims that the policy asks for, and from nothing else.

Evidence of one enclave differs in its report data mostly, for which few policies ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kloister.errors import Denied
from kloister.services.attestation.evidence import as_policy_claims
from kloister.trust.policy.maa import Policy, evaluate
from kloister.trust.policy.maa.meter import MAX_STEPS

_MAX_OUTCOMES = 256  # of one policy; some 4 KiB each
_MAX_LENGTH = 4096  # characters of all values together: longer ones are a client's data, seldom sent twice
_SCALARS = frozenset({str, int, bool, type(None)})
Claims = dict[str, Any]
Key = tuple[Any, ...]


class Outcomes:
    """One policy's; threads may share it.

    Args:
        policy: None where there is none, so that nothing is permitted.
        wanted: the names of the claims that it asks for; None: it may ask for any, and nothing is remembered.
    """

    __slots__ = ("_known", "_names", "_policy", "_wanted")

    def __init__(self, policy: Policy | None, wanted: frozenset[str] | None) -> None:
        self._policy = policy
        self._wanted = wanted
        self._names = None if wanted is None else sorted(wanted)
        self._known: dict[Key, Claims] = {}

    def of(self, claims: Mapping[str, Any], steps: int = MAX_STEPS) -> Claims:
        """What the policy adds to a token with these claims; the caller must not change it.

        Args:
            claims: of the evidence, by name.
            steps: how much work it may be; what is remembered is none.

        Raises:
            Denied: `policy-missing`. MaaPolicyError: the policy refuses, or fails.
        """
        key = self._key(claims)
        issued = None if key is None else self._known.get(key)
        if issued is None:
            issued = self._evaluated(claims, steps)
            if key is not None:
                if len(self._known) >= _MAX_OUTCOMES:
                    self._known.clear()
                self._known[key] = issued
        return issued

    def _evaluated(self, claims: Mapping[str, Any], steps: int) -> Claims:
        if self._policy is None:
            raise Denied("policy-missing", "There is no policy for this attestation type.", "Set one.")
        outcome = evaluate(self._policy, as_policy_claims(claims, self._wanted), steps=steps)
        outcome.check()
        return outcome.token_claims

    def _key(self, claims: Mapping[str, Any]) -> Key | None:
        """The claims that count, with their types, for true is not 1; None where they are lists, objects or long."""
        if self._names is None:
            return None
        values = tuple([claims.get(name) for name in self._names])
        types = tuple(map(type, values))
        if not _SCALARS.issuperset(types):
            return None
        if sum([len(value) for value in values if value.__class__ is str]) > _MAX_LENGTH:
            return None
        return types, values
