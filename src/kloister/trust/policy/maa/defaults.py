"""The policies that count where none was set, and the name of a policy in tokens."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from types import MappingProxyType

from kloister.formats.wire import b64url


class Kind(StrEnum):
    """What is attested, as the paths of the service have it."""

    SGX_ENCLAVE = "SgxEnclave"
    OPEN_ENCLAVE = "OpenEnclave"
    SEV_SNP_VM = "SevSnpVm"
    TDX_VM = "TdxVm"
    AZURE_GUEST = "AzureGuest"
    TPM = "Tpm"


_PERMIT = "version= 1.0;authorizationrules{=> permit();};"
_RENAMED = MappingProxyType({
    "x-ms-sgx-is-debuggable": "is-debuggable",
    "x-ms-sgx-mrsigner": "sgx-mrsigner",
    "x-ms-sgx-mrenclave": "sgx-mrenclave",
    "x-ms-sgx-product-id": "product-id",
    "x-ms-sgx-svn": "svn",
    "x-ms-attestation-type": "tee",
})  # fmt: skip
_RULES = "".join(f'c:[type=="{old}"] => issue(type="{new}", value=c.value);' for old, new in _RENAMED.items())
_SGX = f"{_PERMIT}issuancerules{{{_RULES}}};"
_DEFAULTS = MappingProxyType({Kind.SGX_ENCLAVE: _SGX, Kind.OPEN_ENCLAVE: _SGX, Kind.TPM: None})


def default_policy(kind: str) -> str | None:
    """The text of the default policy; None for TPMs, which have none.

    SGX's is the one that the service was seen to serve, byte for byte, since its hash is in tokens.

    Args:
        kind: one of `Kind`.
    """
    return _DEFAULTS.get(Kind(kind), _PERMIT)


def policy_hash(text: str) -> str:
    """`x-ms-policy-hash`: base64url of the SHA-256 of base64url of the text."""
    return b64url(hashlib.sha256(b64url(text.encode("utf-8")).encode("ascii")).digest())
