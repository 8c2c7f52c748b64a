"""Reason codes of quotes on a node: `aesm-NUMBER` is an error of AESM, `aesm-0xe0NN` one of Intel's quote library."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason
from kloister.formats.protocol.aesm_codes import LIBRARY_CODES, reason_of

_PCCS = (
    "On the node: `curl -k` the `pccs_url` of /etc/sgx_default_qcnl.conf (localhost is the node there, and the "
    "container in a container), mend name, firewall, proxy or `use_secure_cert`, then `systemctl restart aesmd`. "
    "On Azure name Azure's own cache of certificates there."
)
_REGISTER = (
    "Register the platform: run PCKIDRetrievalTool on the node and give its output to the PCCS (with an API key of "
    "Intel's PCS), or start mpa_registration on a machine with several packages; after a BIOS update register again. "
    "A virtual machine gets the certificates of its cloud: name the cloud's PCCS in /etc/sgx_default_qcnl.conf."
)
_INIT = (
    "Call InitQuoteEx, make a new REPORT for the target info that it gives, and ask again: clients must do so "
    "whenever aesmd was started anew or the platform's TCB changed. Gramine does it by itself; update an older client."
)
_KEY = (
    'Ask for the ECDSA P-256 key, algorithm 2 (Gramine: sgx.remote_attestation = "dcap", not "epid"), and install '
    "libsgx-aesm-ecdsa-plugin and libsgx-aesm-quote-ex-plugin beside aesmd."
)
_REPORT = (
    "Make the REPORT on this very node, for the target info that InitQuoteEx gave last. Where a pod moved or the "
    "platform was started anew, begin with InitQuoteEx."
)
_QE = (
    "Install libsgx-ae-qe3, libsgx-ae-pce and libsgx-ae-id-enclave of the same release on the node, and restart aesmd."
)
_STORED = "Stop aesmd, delete its stored key (/var/opt/aesmd/data), start it again."
_RESTART = "systemctl restart aesmd; see `journalctl -u aesmd` for what it says."
_DEVICE = (
    "Check /dev/sgx_enclave and /dev/sgx_provision on the node with `kloister doctor`, and that aesmd may open them."
)
_EPC = "Leave EPC for the quoting enclaves: stop an enclave, or ask for less `sgx.intel.com/epc` in pods."
_SLOWER = "Ask less often or with fewer connections at once, or raise the helper's limits."

_ROWS = {
    # AESM's errors
    "aesm-*": Reason("AESM answered with an error of this number.", "See `journalctl -u aesmd` on the node."),
    "aesm-1": Reason("AESM failed in a way that it does not name.", _RESTART),
    "aesm-2": Reason("AESM finds no SGX device.", _DEVICE),
    "aesm-3": Reason(
        "AESM takes a parameter for wrong: a missing key id, a buffer that is too small, bytes of another size.",
        "Give a key id of 256 bytes, a REPORT of 432, and a buffer of the size that GetQuoteSizeEx says or more.",
    ),
    "aesm-12": Reason(
        "The node did not reach the service that has its platform's certificates (PCCS), or the service failed.", _PCCS
    ),
    "aesm-13": Reason("The service that has the platform's certificates is busy.", "Try again in a minute. " + _PCCS),
    "aesm-15": Reason("AESM cannot read or write a file of its own.", "Check disk and permissions of /var/opt/aesmd."),
    "aesm-17": Reason("AESM is stopping.", _RESTART),
    "aesm-18": Reason("AESM, or the helper in front of it, is busy.", _SLOWER),
    "aesm-21": Reason("AESM has no memory left.", "Free memory on the node, then restart aesmd."),
    "aesm-24": Reason("The SGX device is not available to AESM.", _DEVICE),
    "aesm-27": Reason("AESM does not have this service.", _KEY),
    "aesm-29": Reason("The quoting enclaves did not get enough EPC.", _EPC),
    "aesm-30": Reason(
        "Nobody makes quotes behind the helper now, or AESM lacks the plugin for this call.",
        "The helper's log and readiness say which: mend what they name. Calls of EPID are never served. " + _KEY,
    ),
    "aesm-32": Reason("The attestation key's name is not the expected one.", _INIT),
    "aesm-33": Reason("A path of AESM's is too long.", "Install it where its packages put it."),
    "aesm-34": Reason("AESM's stored attestation key is damaged.", _STORED),
    "aesm-35": Reason("AESM's stored attestation key has another name than the client expects.", _INIT),
    "aesm-36": Reason("The PCE signs in a way that the quoting enclave does not know.", _QE),
    "aesm-37": Reason("AESM's stored attestation key cannot be opened.", _STORED),
    "aesm-38": Reason("The client asks for an attestation key that is not to be had here.", _KEY),
    "aesm-39": Reason("AESM does not know this way to load its enclaves.", _RESTART),
    "aesm-40": Reason("AESM cannot load the quoting enclave.", _QE),
    "aesm-41": Reason(
        "AESM does not find the library that fetches the platform's certificates.",
        "Install libsgx-dcap-default-qpl (on Azure az-dcap-client) on the node, and restart aesmd.",
    ),
    "aesm-42": Reason("The attestation key is not initialized, or no longer.", _INIT),
    "aesm-43": Reason("The platform's certificates that were fetched are not usable.", _REGISTER),
    "aesm-44": Reason("Nobody has certificates of this platform: it is not registered where the node asks.", _REGISTER),
    "aesm-45": Reason("A REPORT of the quoting enclaves did not verify.", _RESTART),
    "aesm-46": Reason("The quoting enclave was lost, as after a suspended machine.", "Ask again. " + _RESTART),
    "aesm-47": Reason("The REPORT was not made on this platform for its quoting enclave.", _REPORT),
    "aesm-48": Reason("The quoting enclaves cannot be loaded.", _QE),
    "aesm-49": Reason(
        "The quoting enclave could not make its own report.",
        "Give TARGETINFO and nonce of the asking enclave in qe_report_info, or none at all.",
    ),
    "aesm-50": Reason("The PCE did not certify the attestation key.", "Let aesmd open /dev/sgx_provision. " + _DEVICE),
    # errors of Intel's quote library, as programs print them that load it themselves
    "aesm-0xe001": Reason("The quote library failed in a way that it does not name.", _DEVICE),
    "aesm-0xe002": Reason("The quote library takes a parameter for wrong.", "See `kloister explain aesm-3`."),
    "aesm-0xe00b": Reason("The program asks for an attestation key that is not to be had here.", _KEY),
    "aesm-0xe00d": Reason("The quote library cannot load the quoting enclave.", _QE),
    "aesm-0xe00e": Reason(
        "The quote library does not find the library that fetches the platform's certificates.",
        "Install libsgx-dcap-default-qpl (on Azure az-dcap-client), or set SGX_AESM_ADDR=1 to have the node ask.",
    ),
    "aesm-0xe00f": Reason("The attestation key is not initialized.", _INIT),
    "aesm-0xe011": Reason("Nobody has certificates of this platform.", _REGISTER),
    "aesm-0xe012": Reason("The quoting enclaves did not get enough EPC.", _EPC),
    "aesm-0xe015": Reason("The REPORT was not made on this platform for its quoting enclave.", _REPORT),
    "aesm-0xe016": Reason("The quoting enclaves cannot be loaded.", _QE),
    "aesm-0xe018": Reason("The PCE did not certify the attestation key.", _DEVICE),
    "aesm-0xe019": Reason("The PCCS was not reached for the platform's certificates.", _PCCS),
    "quote-library-missing": Reason(
        "Intel's quote library cannot be loaded.",
        "Install libsgx-dcap-ql and libsgx-dcap-default-qpl beside the agent, or aesmd on the node.",
    ),
    "quote-library-symbols": Reason(
        "What is named as Intel's quote library is another one.", "Name libsgx_dcap_ql.so.1 with --quote-library."
    ),
    # the helper's own
    "aesm-rate": Reason("The pod, or the user outside of pods, asks for more than its share of quotes.", _SLOWER),
    "aesm-patience": Reason("No answer came in time from what makes the quotes.", "See the helper's log for why."),
    "aesm-legacy": Reason("EPID, launch tokens, white lists and updates are not served.", _KEY),
    "aesm-internal": Reason("The helper failed while it served a request.", BUG),
    "aesm-trial": Reason("The helper's own quote is not as it must be.", "Start the platform anew."),
    "aesm-not-tried": Reason("The helper has not tried a quote yet.", "Wait a few seconds."),
    "aesmd-missing": Reason(
        "Intel's aesmd has no socket where the helper looks for it.",
        "Install sgx-aesm-service and libsgx-aesm-quote-ex-plugin on the node, start aesmd, and mount its folder.",
    ),
    "aesmd-refused": Reason("Nobody answers at aesmd's socket.", _RESTART),
    "aesmd-permission": Reason("The helper may not use aesmd's socket.", "Run it as a user who may write to it."),
    "aesmd-silent": Reason("aesmd did not answer in time.", _PCCS),
    "aesmd-gone": Reason("aesmd closed the connection without an answer.", _RESTART),
    "aesmd-answer": Reason("What listens at aesmd's socket gives no answer of AESM.", "Check what listens there."),
    "quote-socket": Reason(
        "The helper cannot listen at its socket.",
        "Give it a folder that it may write to, and a name that no other service of the host uses.",
    ),
    "quote-loop": Reason("The helper would ask itself for quotes.", "Give the helper a folder of its own."),
}  # fmt: skip

REASONS: Mapping[str, Reason] = MappingProxyType(
    {f"aesm-{error:#06x}": _ROWS[reason_of(code)] for error, code in LIBRARY_CODES.items()} | _ROWS
)
