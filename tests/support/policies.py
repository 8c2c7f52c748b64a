"""Release policies of tests: what they admit, simulated enclaves of one measurement, is always the same."""

from __future__ import annotations


def release_policy(namespace: str, name: str, rest: str) -> str:
    """A policy's template; `rest` is its secrets and services, YAML."""
    return f"""\
apiVersion: kloister.dev/v1
kind: Policy
metadata: {{namespace: {namespace}, name: {name}}}
attestation:
  any: [{{sgx: {{mrenclave: "@MRENCLAVE@"}}}}]
  simulated: allow
{rest}"""
