from __future__ import annotations

from enum import IntFlag


class TdFlag(IntFlag):
    """Bits of TDATTRIBUTES (Intel TDX Module ABI, TD_ATTRIBUTES); whatever is not named is reserved."""

    DEBUG = 1 << 0  # the host can read and change the domain's memory: nothing is confidential
    SEPT_VE_DISABLE = 1 << 28  # a page taken away by the host stops the domain instead of raising #VE in it
    MIGRATABLE = 1 << 29
    PKS = 1 << 30  # supervisor protection keys
    KL = 1 << 31  # Key Locker
    PERFMON = 1 << 63
