"""Intel DCAP: quotes, the PCK certificate's extension and the collateral documents, parsed and built, not judged."""

from kloister.formats.dcap.pck_extension import PckExtension
from kloister.formats.dcap.qe_identity import QeIdentity, QeLevel
from kloister.formats.dcap.quote import (
    Authentication,
    BodyType,
    CertificationData,
    CertificationType,
    Header,
    Quote,
    TeeType,
    tee_type,
)
from kloister.formats.dcap.status import TcbStatus
from kloister.formats.dcap.tcb_info import Component, TcbInfo, TcbLevel, TdxModule

__all__ = [
    "Authentication",
    "BodyType",
    "CertificationData",
    "CertificationType",
    "Component",
    "Header",
    "PckExtension",
    "QeIdentity",
    "QeLevel",
    "Quote",
    "TcbInfo",
    "TcbLevel",
    "TcbStatus",
    "TdxModule",
    "TeeType",
    "tee_type",
]
