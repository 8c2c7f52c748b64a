"""The SIGSTRUCT that belongs to a manifest, before it is signed (Gramine 1.9, `python/graminelibos/sgx_sign.py`)."""

from __future__ import annotations

import datetime as dt
from typing import Final

from kloister.errors import Malformed
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.sgx.attributes import Attributes, Flag, Misc
from kloister.formats.sgx.sigstruct import Sigstruct

_LEGACY: Final = 0x3  # XFRM: x87 and SSE, which every enclave has
_FEATURES: Final = {"avx": 0x4, "avx512": 0xE4, "amx": 0x60000, "mpx": 0x18, "pkru": 0x200}  # XFRM bits
# The loader adds what the processor has of AVX, AVX-512 and AMX unless the manifest decides.
_XFRM_MASK: Final = 0xFFFFFFFFFFF9FF1B
_ALL: Final = (1 << 64) - 1


def unsigned_sigstruct(manifest: Manifest, mrenclave: bytes, date: dt.date | None) -> Sigstruct:
    """What the author of an enclave signs: `mrenclave` under the attributes that the manifest asks for.

    Raises:
        Malformed: `manifest-value` for a processor feature that Gramine does not know.
    """
    xfrm, mask = _LEGACY, _XFRM_MASK
    for feature, wish in manifest.cpu_features:
        bits = _FEATURES.get(feature)
        if bits is None:
            raise Malformed("manifest-value", f"sgx.cpu_features.{feature[:40]} is no feature of a processor.")
        xfrm |= bits if wish == "required" else 0
        mask |= bits if wish != "unspecified" else 0
    flags = Flag.MODE64BIT | (Flag.DEBUG if manifest.debug else 0)
    return Sigstruct(
        enclavehash=mrenclave,
        attributes=Attributes(flags, xfrm),
        attribute_mask=Attributes(_ALL, mask),
        date=date,
        miscselect=Misc.EXINFO if manifest.use_exinfo else 0,
        isvprodid=manifest.isvprodid,
        isvsvn=manifest.isvsvn,
    )
