"""Enclaves for tests: an author's key, the Gramine vectors, and small programs to build enclaves from."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.sgx import Attributes, Flag, Secs, Signer, Sigstruct
from kloister.simulator.epc import EpcNode
from kloister.simulator.fuses import Fuses
from kloister.simulator.machine import EnclaveId, Machine, MachineConfig
from tests.support.paths import vectors

FUSES = Fuses.create(bytes(range(48)))
KEYID = bytes(range(32))
MODE64 = Attributes(Flag.MODE64BIT, 3)


def author_key(number: int = 0) -> rsa.RSAPrivateKey:
    """An author's key; another number is another author."""
    return _author_key(number)


@functools.cache
def _author_key(_number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def signer(number: int = 0) -> Signer:
    """That author as an external signer."""
    numbers = author_key(number).public_key().public_numbers()

    def sign(data: bytes) -> tuple[int, int, int]:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        signature = author_key(number).sign(data, padding.PKCS1v15(), hashes.SHA256())
        return numbers.e, numbers.n, int.from_bytes(signature, "big")

    return sign


def machine(**changes: Any) -> Machine:
    """A machine with the fuses above; `epc_bytes` is for one with a single node."""
    if "epc_bytes" in changes:
        changes["nodes"] = (EpcNode(changes.pop("epc_bytes")),)
    return Machine(FUSES, MachineConfig(**{"keyid": KEYID, "cpusvn": bytes([5] * 16), **changes}))


def start(
    host: Machine, content: bytes = b"program", attributes: Attributes = MODE64, author: int = 0, **fields: Any
) -> EnclaveId:
    """An initialised enclave around `content`; `fields` are SIGSTRUCT's, `secs_*` those of the SECS."""
    enclave = ContentEnclave.of(content)
    secs = {name.removeprefix("secs_"): fields.pop(name) for name in list(fields) if name.startswith("secs_")}
    ones = Attributes((1 << 64) - 1, (1 << 64) - 1)
    signed = Sigstruct(enclavehash=enclave.mrenclave(), attributes=attributes, attribute_mask=ones, **fields)
    made = host.ecreate(Secs(size=enclave.size, attributes=attributes, **secs))
    for run in enclave.runs:
        host.add_page(made, run)
    host.einit(made, signed.sign(author_key(author)))
    return made


@dataclass(frozen=True)
class GramineVector:
    """One enclave that Gramine's own tools measured and signed."""

    name: str
    manifest: bytes
    pal: bytes
    sigstruct: bytes
    index: dict[str, Any]

    @property
    def mrenclave(self) -> bytes:
        return bytes.fromhex(self.index["mrenclave"])


VECTOR_NAMES = ("small", "edmm", "onethread", "longmanifest")


def gramine_vector(name: str) -> GramineVector:
    """The vector of that name; skips where vectors are absent."""
    base = vectors("gramine")
    entry = next(item for item in json.loads((base / "index.json").read_text()) if item["name"] == name)
    return GramineVector(
        name=name,
        manifest=(base / name / "app.manifest.sgx").read_bytes(),
        pal=(base / entry["pal"]).read_bytes(),
        sigstruct=(base / name / "app.sig").read_bytes(),
        index=entry,
    )


def small_elf(entry: int = 0x1010) -> bytes:
    """A position-independent program of two segments: headers, then 32 bytes of code and a page of bss."""
    import struct

    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    first = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, 176, 176, 0x1000)
    second = struct.pack("<IIQQQQQQ", 1, 5, 176, 0x1000 + 16, 0, 32, 0x1000, 0x1000)
    return header + first + second + b"\x90" * 32
