"""Open Enclave's report: 16 bytes in front of a quote (openenclave/internal/report.h, `oe_report_header_t`)."""

from __future__ import annotations

import struct

from kloister.errors import Malformed

OID = "1.3.6.1.4.1.311.105.1"  # Azure's: such a report in the certificate of an attestation service's signing key
_HEADER = struct.Struct("<IIQ")  # version, type, size of what follows
_VERSION, _REMOTE = 1, 2


def build_report(quote: bytes) -> bytes:
    """The report around a quote."""
    return _HEADER.pack(_VERSION, _REMOTE, len(quote)) + quote


def quote_of(report: bytes) -> bytes:
    """The quote in a report. Raises `Malformed`: `oe-report-header`."""
    if report[: _HEADER.size] != _HEADER.pack(_VERSION, _REMOTE, max(len(report) - _HEADER.size, 0)):
        raise Malformed(
            "oe-report-header",
            "The report does not begin with Open Enclave's header of a remote report.",
            "Give the whole report, or the bare quote as what it is.",
        )
    return report[_HEADER.size :]
