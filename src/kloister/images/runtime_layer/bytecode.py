"""Python source as byte code that is the same on every day and in every folder (PEP 552, unchecked hash)."""

from __future__ import annotations

import marshal
from importlib.util import MAGIC_NUMBER, source_hash

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# Version 2 writes no back references. Those of later versions follow the reference counts that objects happen to have
# in the compiling process, so that the same source would not always give the same bytes.
_MARSHAL_VERSION = 2


def compiled(source: bytes, place: str) -> bytes:
    """A `.pyc` of one module.

    Args:
        source: its source text.
        place: what tracebacks say instead of a path, for instance `kloister/errors.pyc`.

    Asserts and docstrings are left out (`-OO`): nothing that the launcher imports reads them.
    """
    code = compile(source, f"<kloister>/{place.removesuffix('c')}", "exec", dont_inherit=True, optimize=2)
    return MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(source) + marshal.dumps(code, _MARSHAL_VERSION)
