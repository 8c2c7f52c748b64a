"""The reason codes of the simulated processor; `sgx-*` and `pce-*` are named like SGX's own error codes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_CONVERT = "Convert the image again: manifest, loader and SIGSTRUCT belong together."
_LOADER = "Whoever loads the enclave does not follow the architecture: see the SDM, volume 3D, for this instruction."
_KEY = "Ask for a key that this enclave may have."

REASONS: Mapping[str, Reason] = MappingProxyType({
    "ecreate-size": Reason("An enclave's size is a power of two from 8 KiB up.", "Choose another --enclave-size."),
    "ecreate-base": Reason("An enclave's base is a multiple of its size.", _LOADER),
    "ecreate-attributes": Reason("The enclave has ATTRIBUTES that the processor has not.", _LOADER),
    "ecreate-miscselect": Reason("The enclave has a MISCSELECT that the processor has not.", _LOADER),
    "ecreate-config": Reason("CONFIGID and CONFIGSVN need ATTRIBUTES.KSS.", _LOADER),
    "ecreate-xfrm": Reason("The processor cannot run an enclave with this XFRM.", "Leave these features out."),
    "ecreate-ssa": Reason("The SSA frame is too small for the state that XFRM asks to save.", _LOADER),
    "eadd-alignment": Reason("A page's offset is not page-aligned.", _LOADER),
    "eadd-range": Reason("A page is not inside the enclave.", _LOADER),
    "eadd-secinfo": Reason("EADD takes no page with this SECINFO.", _LOADER),
    "eadd-tcs": Reason("A TCS page is not as the architecture wants it.", _LOADER),
    "eadd-twice": Reason("The page is in the enclave already.", _LOADER),
    "eextend-alignment": Reason("EEXTEND measures at multiples of 256 bytes.", _LOADER),
    "eextend-page": Reason("EEXTEND was given an offset where no page is.", _LOADER),
    "einit-done": Reason("The enclave has passed EINIT; nothing can be added or measured any more.", _LOADER),
    "epc-over-request": Reason(
        "The enclave takes more EPC than was requested for its container.",
        "Request as much as the text says (limits: sgx.intel.com/epc), or convert with a smaller enclave.",
    ),
    "epc-exhausted": Reason(
        "The enclave does not fit into what is free of the EPC.",
        "Stop another enclave, make this one smaller (--enclave-size), or set KLOISTER_PLATFORM_EPC (MiB) before `up`.",
    ),
    "sgx-invalid-measurement": Reason("The enclave does not measure what its SIGSTRUCT says.", _CONVERT),
    "sgx-invalid-sig-struct": Reason("The SIGSTRUCT is not one that EINIT accepts.", "Sign the enclave again."),
    "sgx-invalid-attribute": Reason(
        "The enclave's ATTRIBUTES or MISCSELECT are not those that its SIGSTRUCT allows, or a key needs others.",
        "An enclave signed for production cannot be started for debugging: convert with --debug, for a test only.",
    ),
    "launch-not-allowed": Reason(
        "Only the platform's own enclaves may hold PROVISIONKEY or EINITTOKEN.", "Sign without these attributes."
    ),
    "sgx-invalid-keyname": Reason("EGETKEY knows no key of this name.", _KEY),
    "sgx-invalid-cpusvn": Reason("The key asked for is of a newer processor security version.", _KEY),
    "sgx-invalid-isvsvn": Reason("The key asked for is of a newer version than this enclave.", _KEY),
    "egetkey-policy": Reason("The processor has not all of this KEYPOLICY.", _KEY),
    "egetkey-kss": Reason("This key policy needs an enclave with ATTRIBUTES.KSS.", _KEY),
    "egetkey-seal-policy": Reason(
        "A seal key by neither MRENCLAVE nor MRSIGNER would be shared by the enclaves of every author.",
        "Ask with key policy 1 (MRENCLAVE) or 2 (MRSIGNER).",
    ),
    "recovery-status": Reason("This is no TCB status.", "Name one as UpToDate, OutOfDate or Revoked."),
    "recovery-advisory": Reason("An advisory is named like INTEL-SA-00615.", "Name at most a hundred so."),
    "recovery-field": Reason("The stored TCB recovery is damaged.", "Set it anew: `kloister simulator tcb-recovery`."),
    "recovery-*": Reason("The stored TCB recovery is no strict JSON, or too large.", "Set it anew."),
    "report-data-size": Reason("Report data has 64 bytes.", "Hash what is longer."),
    "report-mac": Reason("The report was not made on this platform for this enclave.", "Make it with its target info."),
    "pce-invalid-privilege": Reason("The PCE certifies only enclaves with ATTRIBUTES.PROVISIONKEY.", _KEY),
    "fuses-magic": Reason("The file holds no fuses of a simulated platform.", "Restore it, or use a new --state."),
    "fuses-damaged": Reason("The fuses of the simulated platform are damaged.", "Restore the file."),
    "enclave-author": Reason("This platform has no key to sign enclaves with.", "Give the platform a state directory."),
    "enclave-not-initialized": Reason("The enclave has not passed EINIT.", BUG),
    "enclave-unknown": Reason("There is no such enclave on this machine.", BUG),
    "fuses-entropy": Reason("Fuses were to be made from another number of random bytes.", BUG),
    "simulator-seed": Reason("The seed of the simulator's PKI is too short.", BUG),
})  # fmt: skip
