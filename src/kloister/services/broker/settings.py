from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The broker's limits, each with its unit.

    Attributes:
        simulated: this instance admits the root of a simulated platform and is declared simulated as a whole.
        outstanding: nonces given out and not used, of all peers: some 100 bytes each.
        outstanding_per_peer: the same of one address; a node that restarts 100 workloads at once stays below.
        refusals: refusals kept for `explain`.
        strangers: refusals per minute that are recorded of requests without a valid nonce or without a genuine quote
            for this very exchange; what is more is answered with "too many" and leaves no trace, so that a stranger
            cannot fill the disk.
    """

    simulated: bool = False
    outstanding: int = 8192
    outstanding_per_peer: int = 256
    refusals: int = 10_000
    strangers: int = 600
