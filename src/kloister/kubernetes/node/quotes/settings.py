from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ABSTRACT_NAME = "sgx_aesm_socket_base"
"""The abstract socket that Gramine tries first; it is seen in one network namespace only, the host's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller, and all of them, may take of the helper. A caller is a pod, or a user outside of pods."""

    connections: int = 1024  # open at once; each takes a descriptor
    caller_connections: int = 64  # open at once of one caller
    caller_window: int = 8  # requests of one caller being answered at once; the others of it wait
    rate: float = 200.0  # requests per second of one caller over a longer time
    burst: float = 400.0  # requests of one caller at once after a pause
    request_patience: float = 5.0  # seconds for a request to arrive, and again for its answer to be taken
    backend_patience: float = 60.0  # seconds for an answer: a first quote fetches certificates of the platform


@dataclass(frozen=True, slots=True)
class QuoteSettings:
    """Where the helper listens and how it behaves.

    Attributes:
        path: the socket, `aesm.socket` in a folder that pods get at /var/run/aesmd.
        abstract: name of an abstract socket beside it; empty for none.
        mode: permissions of the socket; a pod of any user may ask for quotes of its enclaves.
        limits: see `Limits`.
        trial: seconds between two trials of a whole quote while they succeed.
        retrial: seconds between two while they fail.
        proc: where processes are looked up.
    """

    path: Path
    abstract: str = ""
    mode: int = 0o666
    limits: Limits = field(default_factory=Limits)
    trial: float = 60.0
    retrial: float = 5.0
    proc: Path = Path("/proc")
