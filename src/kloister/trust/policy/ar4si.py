"""What genuine evidence and an appraisal policy say together, as a trustworthiness vector of AR4SI.

Source of the values: draft-ietf-rats-ar4si-09, section 2.3.4. A condition of the policy that fails makes the aspect
that it is about contraindicated; an aspect that the policy does not ask about is never better than what the evidence
itself shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from kloister.errors import KloisterError, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.tokens.ear import TrustVector
from kloister.trust.evidence import TcbRevoked, Verified
from kloister.trust.policy.appraisal import AppraisalPolicy, judge

UNEXPECTED_EVIDENCE, CRYPTO_FAILED = 1, 99  # of every aspect
TRUSTWORTHY_INSTANCE, UNTRUSTWORTHY_INSTANCE, UNRECOGNIZED_INSTANCE = 2, 96, 97
APPROVED_CONFIG, SAFE_CONFIG, UNSAFE_CONFIG, UNSUPPORTABLE_CONFIG = 2, 3, 32, 96
APPROVED_BOOT, UNRECOGNIZED_RUNTIME, CONTRAINDICATED_RUNTIME = 3, 33, 96
GENUINE_HARDWARE, UNSAFE_HARDWARE, CONTRAINDICATED_HARDWARE, UNRECOGNIZED_HARDWARE = 2, 32, 96, 97
ENCRYPTED_MEMORY, VISIBLE_MEMORY = 2, 96

_INSTANCE, _CONFIGURATION, _EXECUTABLES, _HARDWARE = "instance", "configuration", "executables", "hardware"

# Which aspect a condition is about; what stands here nowhere counts as configuration
ASPECTS: Mapping[str, str] = MappingProxyType({
    "chip-not-allowed": _INSTANCE,
    "measurement-not-allowed": _EXECUTABLES,
    "signer-not-allowed": _EXECUTABLES,
    "signer-product": _EXECUTABLES,
    "signer-svn": _EXECUTABLES,
    "module-not-allowed": _HARDWARE,
    "simulated-not-allowed": _HARDWARE,
    "tee-not-allowed": _HARDWARE,
    "tcb-not-accepted": _HARDWARE,
    "tcb-too-old": _HARDWARE,
    "waiver-expired": _HARDWARE,
    "evaluation-number-too-low": _HARDWARE,
    "collateral-too-old": _HARDWARE,
    "snp-tcb-too-low": _HARDWARE,
})  # fmt: skip
# Conditions that, when they are asked and met, make code or configuration known
_NAMING_CODE = frozenset({"measurement-not-allowed", "signer-not-allowed"})
_NAMING_CONFIGURATION = frozenset({"configuration-not-allowed", "host-data-not-allowed"})
_HARDENING = frozenset({
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
})  # fmt: skip
_CONFIGURING = frozenset({
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
})  # fmt: skip


def trust_vector(verified: Verified, policy: AppraisalPolicy, at: datetime) -> TrustVector:
    """The vector of genuine evidence.

    Args:
        verified: what the verifier made.
        policy: what is wanted; its conditions that name code make executables recognized.
        at: when it is judged, for waivers and the collateral's age.
    """
    failed = {ASPECTS.get(one.code, _CONFIGURATION) for one in judge(verified, policy, at)}
    wishes = next((rule.wishes for rule in policy.tees if rule.tee == verified.tee), ())
    asked = {wish.code for wish in wishes}
    debug = verified.claims.get("debug") is not False
    return TrustVector(
        instance_identity=UNRECOGNIZED_INSTANCE if _INSTANCE in failed else TRUSTWORTHY_INSTANCE,
        configuration=_configuration(verified, failed, asked),
        executables=_executables(failed, asked),
        hardware=_hardware(verified, failed),
        runtime_opaque=VISIBLE_MEMORY if debug else None if verified.simulated else ENCRYPTED_MEMORY,
    )


def refused_vector(reason: KloisterError) -> TrustVector:
    """The vector of evidence that is not genuine, or cannot be read."""
    if isinstance(reason, TcbRevoked):
        return TrustVector(instance_identity=UNTRUSTWORTHY_INSTANCE, hardware=CONTRAINDICATED_HARDWARE)
    value = CRYPTO_FAILED if isinstance(reason, Unverified) else UNEXPECTED_EVIDENCE
    return TrustVector(
        instance_identity=value, configuration=value, executables=value, hardware=value, runtime_opaque=value
    )


def _configuration(verified: Verified, failed: set[str], asked: set[str]) -> int | None:
    if _CONFIGURATION in failed:
        return UNSUPPORTABLE_CONFIG
    if verified.tcb_status in _CONFIGURING or verified.claims.get("debug") is not False:
        return UNSAFE_CONFIG
    if asked & _NAMING_CONFIGURATION:
        return APPROVED_CONFIG
    return SAFE_CONFIG if verified.tcb_status is not None else None


def _executables(failed: set[str], asked: set[str]) -> int:
    if _EXECUTABLES in failed:
        return CONTRAINDICATED_RUNTIME
    return APPROVED_BOOT if asked & _NAMING_CODE else UNRECOGNIZED_RUNTIME


def _hardware(verified: Verified, failed: set[str]) -> int:
    if _HARDWARE in failed:
        return UNRECOGNIZED_HARDWARE if verified.simulated else CONTRAINDICATED_HARDWARE
    if verified.simulated or verified.tcb_status in _HARDENING:
        return UNSAFE_HARDWARE  # simulated, and this is allowed: never affirming
    return GENUINE_HARDWARE
