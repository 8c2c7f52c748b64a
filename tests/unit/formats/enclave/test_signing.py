from __future__ import annotations

from typing import Any

import pytest

from kloister.errors import Malformed
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.signing import unsigned_sigstruct
from kloister.formats.sgx import Attributes, Sigstruct


def sigstruct(**sgx: Any) -> Sigstruct:
    document = {"libos": {"entrypoint": "/app"}, "loader": {"entrypoint": {"uri": "file:/a"}}, "sgx": sgx}
    return unsigned_sigstruct(Manifest.of(document), bytes(32), None)


def test_the_loader_may_add_the_features_that_the_manifest_leaves_open() -> None:
    made = sigstruct(isvprodid=3, isvsvn=4)
    assert made.attributes == Attributes(4, 3)
    assert made.attribute_mask == Attributes(0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFF9FF1B)
    assert (made.isvprodid, made.isvsvn, made.miscselect) == (3, 4, 0)


def test_required_and_disabled_features_are_fixed() -> None:
    made = sigstruct(cpu_features={"avx512": "required", "amx": "disabled", "avx": "unspecified"})
    assert made.attributes.xfrm == 0xE7
    assert made.attribute_mask.xfrm == 0xFFFFFFFFFFFFFFFF


def test_debug_and_exinfo() -> None:
    made = sigstruct(debug=True, use_exinfo=True)
    assert made.attributes.flags == 6
    assert made.miscselect == 1


def test_an_unknown_feature_is_malformed() -> None:
    with pytest.raises(Malformed, match="feature"):
        sigstruct(cpu_features={"sse9": "required"})
