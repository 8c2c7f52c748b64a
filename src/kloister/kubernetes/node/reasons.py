"""The reason codes of the node agent; the codes of its findings stand here too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import Reason

_LINUX = "Use Linux 5.11 or newer."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # the agent
    "block-size": Reason(
        "The size of EPC blocks is no power of two, or makes too many blocks on this node.",
        "Take the size that the cluster's largest node has by itself: `kloister node describe NODE`.",
    ),
    "simulated-epc": Reason("The EPC to simulate is not 1Mi to 16Ti for each NUMA node.", "Try 64Gi, or 32Gi,32Gi."),
    "simulated-epc-differs": Reason(
        "A simulated node offers another amount of EPC than its platform has.",
        "Give --simulate and KLOISTER_PLATFORM_EPC the same sizes, or say --simulate platform.",
    ),
    "platform-nodes": Reason("The platform does not tell its NUMA nodes.", "Bring agent and platform to one version."),
    "node-incapable": Reason(
        "This node cannot run enclaves.", "`kloister doctor` says why; `--simulate` offers the simulated platform."
    ),
    "node-folder": Reason("A folder of the agent cannot be used.", "Choose another with --run or --quotes."),
    "quotes-off": Reason("Nobody makes quotes on this node.", "Name the simulated platform with --platform."),
    "tcb-no-quote": Reason("No quote was made on this node yet.", "The first one that a pod takes tells the TCB."),
    "tcb-no-collateral": Reason(
        "Nobody was named who has the collateral of this platform.", "Set KLOISTER_COLLATERAL_SOURCES for the agent."
    ),
    "tcb-missing": Reason("The evidence has no TCB status.", "Only Intel publishes one."),
    # kubelet and device plugin
    "kubelet-unreachable": Reason(
        "The kubelet does not answer: it is not there, or it restarts.",
        "It is tried again all the time; if it stays so, see the kubelet's log.",
    ),
    "kubelet-refused": Reason(
        "The kubelet refuses a resource.", "See the kubelet's log; the device plugin API must be v1beta1."
    ),
    "kubelet-checkpoint": Reason(
        "The kubelet's checkpoint of devices is not in a known form.", "Nothing has to be done: it is not used."
    ),
    "pod-resources": Reason(
        "The kubelet does not say which pod has which devices.",
        "Mount the kubelet's pod-resources folder into the agent; its checkpoint is read instead.",
    ),
    "cdi-folder": Reason(
        "The folder for the container runtime's device names cannot be used.", "Name another with --cdi DIR."
    ),
    "socket-path": Reason(
        "The path of a socket in the kubelet's folder is too long.", "Give a shorter one with --kubelet DIR."
    ),
    "device-unknown": Reason("The kubelet asks for a device that was never offered.", "Restart the node's kubelet."),
    "allocation-record": Reason(
        "The record of an allocation is damaged.", "It is set aside; delete its pod, so that it gets another."
    ),
    # findings
    "sgx-simulated": Reason("SGX is simulated.", "Nothing has to be done; it keeps nothing confidential."),
    "sgx-present": Reason("The node has SGX and EPC.", "Nothing has to be done."),
    "sgx-absent": Reason("The processor has no SGX.", "Use a machine with SGX, or the simulated platform."),
    "sgx-bios-off": Reason(
        "The processor has SGX, but the firmware does not enable it.",
        "Set SGX to Enabled, and its memory (PRMRR) to the size you want, in the firmware's setup.",
    ),
    "sgx-flc-missing": Reason(
        "There is no flexible launch control, which Linux demands.",
        "Set SGX launch control to Unlocked in the firmware's setup; older processors cannot be used.",
    ),
    "sgx-kernel-old": Reason("The kernel is too old for SGX.", _LINUX),
    "sgx-kernel-off": Reason(
        "The kernel does not use SGX.", "Use a kernel with CONFIG_X86_SGX, without the boot parameter nosgx."
    ),
    "sgx-driver-old": Reason("Only the old driver's /dev/isgx is here.", f"{_LINUX} Remove the old driver."),
    "sgx-device-missing": Reason(
        "The kernel uses SGX, but /dev/sgx_enclave is not here.",
        "In a container, mount the host's /dev; on the host, restart udev.",
    ),
    "sgx-device-dangling": Reason("The name of an SGX device is a link that leads nowhere.", "Delete it; run udev."),
    "sgx-device-kind": Reason(
        "A file stands where an SGX device should be.",
        "Delete it and run udev: a container that mounted it before the driver came left it.",
    ),
    "sgx-device-mode": Reason(
        "Containers whose user is not root cannot open /dev/sgx_enclave.", "Give it mode 0666 by a rule of udev."
    ),
    "sgx-provision-missing": Reason("/dev/sgx_provision is not here: no quotes can be made.", _LINUX),
    "dev-noexec": Reason(
        "/dev is mounted noexec: enclaves cannot be built from its devices.",
        "mount -o remount,exec /dev; for containers, see the settings of the container runtime.",
    ),
    "sgx-epc-unknown": Reason(
        "SGX is here, but nobody tells how much EPC.",
        "Use Linux 5.17 or newer; or modprobe cpuid, and let the agent read /dev/cpu/0/cpuid.",
    ),
    "sgx-epc-differs": Reason(
        "The kernel uses less EPC, or more, than the processor names.", "The kernel's log says why."
    ),
    "sgx-numa-unknown": Reason(
        "The kernel does not tell which NUMA node the EPC is on.", "Use Linux 5.17 or newer where that matters."
    ),
    "sgx2-missing": Reason("The processor has no SGX2.", "Give enclaves all of their memory at the start."),
    "fsgsbase-missing": Reason(
        "Programs may not use FSGSBASE, which Gramine needs.",
        "Use Linux 5.9 or newer without the boot parameter nofsgsbase.",
    ),
    "cpuid-unreadable": Reason("The processor's features are not known.", "modprobe cpuid, and run as root."),
    "guest-tdx": Reason("The machine is a guest of Intel TDX.", "Nothing has to be done."),
    "guest-snp": Reason("The machine is a guest of AMD SEV-SNP.", "Nothing has to be done."),
    "guest-reports-missing": Reason(
        "The guest's evidence cannot be had.",
        "Use Linux 6.7 or newer; modprobe tsm; mount -t configfs none /sys/kernel/config.",
    ),
})  # fmt: skip
