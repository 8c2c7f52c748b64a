"""The attestation types as they stand in paths and requests."""

from __future__ import annotations

from kloister.trust.policy.maa import Kind

__all__ = ["JUDGED", "Kind", "kind_of", "member_of"]

JUDGED = frozenset({Kind.SGX_ENCLAVE, Kind.OPEN_ENCLAVE, Kind.SEV_SNP_VM, Kind.TDX_VM})  # whose evidence is

_BY_NAME = {kind.lower(): kind for kind in Kind}


def kind_of(name: str) -> Kind | None:
    """The type of a path's last part; clients in the field write it in any case."""
    return _BY_NAME.get(name.lower())


def member_of(kind: Kind) -> str:
    """Where the evidence stands in a request."""
    return "report" if kind in (Kind.OPEN_ENCLAVE, Kind.SEV_SNP_VM) else "quote"
