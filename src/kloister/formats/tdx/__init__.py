"""Intel TDX: the reports of trust domains that quotes of versions 4 and 5 carry, parsed and built, not judged."""

from kloister.formats.tdx.attributes import TdFlag
from kloister.formats.tdx.report import TdExtension, TdReport

__all__ = ["TdExtension", "TdFlag", "TdReport"]
