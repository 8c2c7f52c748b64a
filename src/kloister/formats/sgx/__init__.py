"""SGX structures as the processor reads and writes them, and the measuring of pages (Intel SDM, volume 3D)."""

from importlib import import_module
from typing import TYPE_CHECKING

from kloister.formats.sgx.attributes import Attributes, Flag, Misc
from kloister.formats.sgx.report import Report, ReportBody, TargetInfo

if TYPE_CHECKING:  # what only a processor needs is loaded when it is asked for: it slows the import of the verifier
    from kloister.formats.sgx.keyrequest import KeyName, KeyPolicy, KeyRequest
    from kloister.formats.sgx.measurement import Measurement
    from kloister.formats.sgx.pages import PAGE_SIZE, Page, PageFlag, Run
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

_MODULES = {
    "keyrequest": ("KeyName", "KeyPolicy", "KeyRequest"),
    "measurement": ("Measurement",),
    "pages": ("PAGE_SIZE", "Page", "PageFlag", "Run"),
    "secs": ("Secs",),
    "sigstruct": ("Signer", "Sigstruct"),
    "tcs": ("Tcs",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
