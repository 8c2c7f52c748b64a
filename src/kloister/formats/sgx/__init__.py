"""SGX structures as the processor reads and writes them, and the measuring of pages (Intel SDM, volume 3D)."""

from kloister.formats.sgx.attributes import Attributes, Flag, Misc
from kloister.formats.sgx.keyrequest import KeyName, KeyPolicy, KeyRequest
from kloister.formats.sgx.measurement import Measurement
from kloister.formats.sgx.pages import PAGE_SIZE, Page, PageFlag, Run
from kloister.formats.sgx.report import Report, ReportBody, TargetInfo
from kloister.formats.sgx.secs import Secs
from kloister.formats.sgx.sigstruct import Signer, Sigstruct
from kloister.formats.sgx.tcs import Tcs

__all__ = [
    "PAGE_SIZE",
    "Attributes",
    "Flag",
    "KeyName",
    "KeyPolicy",
    "KeyRequest",
    "Measurement",
    "Misc",
    "Page",
    "PageFlag",
    "Report",
    "ReportBody",
    "Run",
    "Secs",
    "Signer",
    "Sigstruct",
    "TargetInfo",
    "Tcs",
]
