"""Judges evidence for others and signs what it found, as Azure Attestation's clients expect it.

Whether evidence is genuine is decided in `trust/verifier`, whether it is wanted in `trust/policy/maa`.
"""
