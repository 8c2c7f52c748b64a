from __future__ import annotations

from kloister.formats import sgx


def test_every_name_is_there_and_no_other() -> None:
    assert all(getattr(sgx, name) is not None for name in sgx.__all__)
    assert not hasattr(sgx, "Einittoken")
