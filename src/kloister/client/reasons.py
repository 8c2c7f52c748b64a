"""The reason codes of the broker's clients."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import Reason

_VERSIONS = "Use the same version of Kloister on both sides; if it is, look at what stands between them."

REASONS: Mapping[str, Reason] = MappingProxyType({
    "broker-unreachable": Reason(
        "Nobody answers where the broker should be.",
        "Start it with `kloister up`; check --state, or the address that --broker names.",
    ),
    "broker-address": Reason("The broker's address is missing or not HOST:PORT.", "Give it as --broker HOST:PORT."),
    "broker-ca": Reason(
        "The broker's CA certificate cannot be read, or there are several.", "Give one CA in PEM: --broker-ca FILE."
    ),
    "broker-impostor": Reason(
        "Whoever answered is not the broker whose authority was measured into the image.",
        "Point the workload at its own broker, or convert the image again for this one.",
    ),
    "broker-response": Reason("The broker's answer cannot be read.", _VERSIONS),
    "broker-unavailable": Reason("The broker answered that it cannot serve now.", "Try again; see its log."),
    "certificate-der": Reason("The broker's certificate is not DER as it should be.", _VERSIONS),
    "admin-address": Reason("No administration socket was named.", "Name the state directory with --state DIR."),
    "admin-certificate": Reason("A certificate or key of the administrator is unusable.", "Check the two files."),
    "secret-not-public": Reason(
        "The secret has no public part, or does not exist.",
        "Only stored certificates have one: kind x509-ca, or x509 with scope policy.",
    ),
})  # fmt: skip
