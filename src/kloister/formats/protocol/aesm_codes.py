"""Error codes of AESM (linux-sgx, `aesm_error.h`) and of Intel's quote library (`sgx_ql_lib_common.h`)."""

from __future__ import annotations

from enum import IntEnum

QL_BASE = 0xE000
"""Codes of the quote library are this and a number; programs that load it themselves print them."""


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


class QlCode(IntEnum):
    """Return values of Intel's quote library, as `0xe019` in logs."""

    UNEXPECTED = QL_BASE + 0x01
    INVALID_PARAMETER = QL_BASE + 0x02
    OUT_OF_MEMORY = QL_BASE + 0x03
    ECDSA_ID_MISMATCH = QL_BASE + 0x04
    FILE_ACCESS = QL_BASE + 0x06
    STORED_KEY = QL_BASE + 0x07
    PUB_KEY_ID_MISMATCH = QL_BASE + 0x08
    ATT_KEY_BLOB = QL_BASE + 0x0A
    UNSUPPORTED_ATT_KEY_ID = QL_BASE + 0x0B
    UNSUPPORTED_LOADING_POLICY = QL_BASE + 0x0C
    INTERFACE_UNAVAILABLE = QL_BASE + 0x0D
    PLATFORM_LIB_UNAVAILABLE = QL_BASE + 0x0E
    ATT_KEY_NOT_INITIALIZED = QL_BASE + 0x0F
    ATT_KEY_CERT_DATA_INVALID = QL_BASE + 0x10
    NO_PLATFORM_CERT_DATA = QL_BASE + 0x11
    OUT_OF_EPC = QL_BASE + 0x12
    REPORT_NOT_MADE = QL_BASE + 0x13
    ENCLAVE_LOST = QL_BASE + 0x14
    INVALID_REPORT = QL_BASE + 0x15
    ENCLAVE_LOAD = QL_BASE + 0x16
    NO_QE_REPORT = QL_BASE + 0x17
    KEY_CERTIFICATION = QL_BASE + 0x18
    NETWORK = QL_BASE + 0x19


def reason_of(code: int) -> str:
    """The reason code that `kloister explain` knows: `aesm-44`, `aesm-0xe019`."""
    return f"aesm-{code}" if code < QL_BASE else f"aesm-{code:#x}"
