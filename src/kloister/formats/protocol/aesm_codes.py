"""Error codes of AESM (linux-sgx, `aesm_error.h`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class AesmCode(IntEnum):
    """What `errorCode` of an answer says."""

    SUCCESS = 0
    UNEXPECTED = 1
    NO_DEVICE = 2
    PARAMETER = 3
    NETWORK = 12
    NETWORK_BUSY = 13
    FILE_ACCESS = 15
    SERVICE_STOPPED = 17
    BUSY = 18
    OUT_OF_MEMORY = 21
    DEVICE_NOT_AVAILABLE = 24
    SERVICE_NOT_AVAILABLE = 27
    OUT_OF_EPC = 29
    SERVICE_UNAVAILABLE = 30
    ECDSA_ID_MISMATCH = 32
    PATHNAME_BUFFER_OVERFLOW = 33
    STORED_KEY = 34
    PUB_KEY_ID_MISMATCH = 35
    INVALID_PCE_SIG_SCHEME = 36
    ATT_KEY_BLOB = 37
    UNSUPPORTED_ATT_KEY_ID = 38
    UNSUPPORTED_LOADING_POLICY = 39
    INTERFACE_UNAVAILABLE = 40
    PLATFORM_LIB_UNAVAILABLE = 41
    ATT_KEY_NOT_INITIALIZED = 42
    ATT_KEY_CERT_DATA_INVALID = 43
    NO_PLATFORM_CERT_DATA = 44
    REPORT_NOT_MADE = 45
    ENCLAVE_LOST = 46
    INVALID_REPORT = 47
    ENCLAVE_LOAD = 48
    NO_QE_REPORT = 49
    KEY_CERTIFICATION = 50


_LIBRARY = (
    AesmCode.UNEXPECTED,
    AesmCode.PARAMETER,
    AesmCode.OUT_OF_MEMORY,
    AesmCode.ECDSA_ID_MISMATCH,
    AesmCode.PATHNAME_BUFFER_OVERFLOW,
    AesmCode.FILE_ACCESS,
    AesmCode.STORED_KEY,
    AesmCode.PUB_KEY_ID_MISMATCH,
    AesmCode.INVALID_PCE_SIG_SCHEME,
    AesmCode.ATT_KEY_BLOB,
    AesmCode.UNSUPPORTED_ATT_KEY_ID,
    AesmCode.UNSUPPORTED_LOADING_POLICY,
    AesmCode.INTERFACE_UNAVAILABLE,
    AesmCode.PLATFORM_LIB_UNAVAILABLE,
    AesmCode.ATT_KEY_NOT_INITIALIZED,
    AesmCode.ATT_KEY_CERT_DATA_INVALID,
    AesmCode.NO_PLATFORM_CERT_DATA,
    AesmCode.OUT_OF_EPC,
    AesmCode.REPORT_NOT_MADE,
    AesmCode.ENCLAVE_LOST,
    AesmCode.INVALID_REPORT,
    AesmCode.ENCLAVE_LOAD,
    AesmCode.NO_QE_REPORT,
    AesmCode.KEY_CERTIFICATION,
    AesmCode.NETWORK,
    AesmCode.NETWORK,
)
_FIRST = 0xE001  # quote3_error_t (DCAP, sgx_ql_lib_common.h): 0xe001 and so on, in this order

LIBRARY_CODES: Mapping[int, AesmCode] = MappingProxyType(dict(enumerate(_LIBRARY, _FIRST)))
"""AESM's error for one of Intel's quote library; the last two are of the connection to the PCCS."""


def of_library(error: int) -> AesmCode:
    """AESM's error for a `quote3_error_t` that is not 0."""
    return LIBRARY_CODES.get(error, AesmCode.UNEXPECTED)


def reason_of(code: int) -> str:
    """The reason code that `kloister explain` knows an error by."""
    return f"aesm-{code}"
