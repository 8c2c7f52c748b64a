from __future__ import annotations

from collections.abc import Sequence

from kloister.kubernetes.node.detection.facts import FLAGS, DeviceNode, Finding, NodeFacts
from kloister.kubernetes.node.epc import EpcSection

_NOTHING = "/dev/null"
"""Stands for SGX's devices in containers: every machine has it, it can be opened, mapped code and every ioctl are
refused, and as a real device node it passes the checks of device managers that a regular file does not."""


def simulated(sections: Sequence[EpcSection], kernel: str = "") -> NodeFacts:
    """A node with the simulated platform: EPC as wanted, every feature, devices that exist and do nothing."""
    return NodeFacts(
        epc=tuple(sections),
        flags=dict.fromkeys(FLAGS, True),
        kernel=kernel,
        devices=(
            DeviceNode("enclave", _NOTHING, ("/dev/sgx_enclave", "/dev/sgx/enclave")),
            DeviceNode("provision", _NOTHING, ("/dev/sgx_provision", "/dev/sgx/provision")),
        ),
        findings=(Finding("sgx-simulated", "SGX is simulated: it gives the developer's loop, not confidentiality."),),
        simulated=True,
    )
