from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kloister.formats.enclave.launch import Broker

Progress = Callable[[str, int, int], None]  # phase, bytes done, bytes in all (0 = not known)


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What the user decides about a conversion.

    Attributes:
        date: written into SIGSTRUCT.
        policy: namespace and name of the policy that is emitted.
        broker: CA, policy and service that are pinned; None: the application gets no secrets.
        writable: places that become a tmpfs, besides `/tmp`, `/run` and the image's volumes.
        mounts: name -> place to which the host may bind a directory.
        memory: bytes of private memory that files may take; None: what the files need and 256 MiB.
        enclave_size: Gramine's `sgx.enclave_size`, a power of two.
        max_threads: Gramine's `sgx.max_threads`.
        simulated: the emitted policy admits simulated platforms.
        encrypt: `app`, `all`, or layers by number (-1 is the last) or digest; empty: none.
        encrypt_files: patterns of paths that become private whatever their layer.
        private_links: measured links lead from private paths into memory, so that ordinary containers can have them.
        base: number of layers that are the base image's, for `app`.
        template: a policy written by hand, with `@MRENCLAVE@` and `@MRSIGNER@` where they belong.
    """

    date: dt.date
    policy: tuple[str, str]
    broker: Broker | None = None
    writable: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    enclave_size: str = "256M"
    max_threads: int = 4
    isvprodid: int = 0
    isvsvn: int = 0
    debug: bool = False
    simulated: bool = False
    encrypt: tuple[str, ...] = ()
    encrypt_files: tuple[str, ...] = ()
    private_links: bool = False
    base: int | None = None
    template: str | None = None

    @property
    def private(self) -> bool:
        """Whether anything is to be encrypted."""
        return bool(self.encrypt or self.encrypt_files)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion gave.

    Attributes:
        digest: of the converted image's manifest.
        source: digest of the source image's manifest.
        runtime: digest of the runtime layer.
        policy: text of the policy to approve.
        secrets: secret of the policy -> value; whoever has them can read the private part.
        notes: what a person should know (left-out devices, simulated platforms).
    """

    mrenclave: bytes
    mrsigner: bytes
    digest: str
    source: str
    runtime: str
    files: int
    private_layers: int
    policy: str
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For machines; without the secrets."""
        return {
            "mrenclave": self.mrenclave.hex(),
            "mrsigner": self.mrsigner.hex(),
            "digest": self.digest,
            "source": self.source,
            "runtime": self.runtime,
            "files": self.files,
            "privateLayers": self.private_layers,
            "secrets": sorted(self.secrets),
            "notes": list(self.notes),
        }
