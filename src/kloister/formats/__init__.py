"""Bytes to values and back, nothing else: no I/O, no clock, no randomness, no judgement."""
