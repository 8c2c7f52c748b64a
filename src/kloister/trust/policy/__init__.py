"""Is it what we want? Genuine evidence and a policy in, a decision out.

Deny by default; every failed condition is named. What it does not do: judge whether evidence is genuine (that is
`trust/verifier`), keep secrets, read the clock.
"""
