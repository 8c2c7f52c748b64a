"""What a machine's facts mean for whoever wants to run enclaves there, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kloister.kubernetes.node.detection.facts import Finding
from kloister.kubernetes.node.detection.machine import Machine
from kloister.kubernetes.node.epc import EpcSection, total

_DRIVER = (5, 11)  # Linux with SGX
_SIZES = (5, 17)  # Linux that tells the EPC of each NUMA node
_EVERYBODY = 0o006  # read and write for others
_GIB = 1 << 30
_UDEV = (
    """echo 'SUBSYSTEM=="misc", KERNEL=="sgx_enclave", MODE="0666"' >/etc/udev/rules.d/90-sgx.rules; udevadm trigger"""
)


def findings(machine: Machine, epc: Sequence[EpcSection]) -> Iterator[Finding]:
    """All findings, the most important first; those without a remedy need none."""
    yield from _sgx(machine, epc)
    yield from _guests(machine)


def _sgx(machine: Machine, epc: Sequence[EpcSection]) -> Iterator[Finding]:
    if machine.device("enclave") is not None:
        yield from _present(machine, epc)
        return
    if machine.processor is None and "sgx" not in machine.cpu_flags and not _wanted(machine):
        yield Finding("sgx-absent", "No SGX was found here; the simulated platform runs everywhere.")
    elif machine.processor is not None and not machine.processor.sgx:
        yield Finding("sgx-absent", "The processor has no SGX; the simulated platform runs everywhere.")
    else:
        yield from _missing(machine)


def _wanted(machine: Machine) -> bool:
    """Whether somebody prepared this machine for SGX."""
    return any(machine.nodes.values()) or machine.old_driver


def _missing(machine: Machine) -> Iterator[Finding]:
    """There is SGX, or names of its devices, but no device."""
    yield from _bad_nodes(machine)
    processor = machine.processor
    if machine.old_driver:
        yield Finding(
            "sgx-driver-old", "Only the old driver's /dev/isgx is here.", "Use Linux 5.11 or newer without it."
        )
    if processor is not None and (not processor.sgx1 or not processor.sections):
        yield Finding(
            "sgx-bios-off",
            "The processor has SGX, but the firmware does not enable it.",
            "Set SGX to Enabled, and its memory (PRMRR) to the size you want, in the firmware's setup.",
        )
    elif processor is not None and not processor.flc:
        yield Finding(
            "sgx-flc-missing",
            "The processor, or its firmware, has no flexible launch control, which Linux demands.",
            "Set SGX launch control to Unlocked in the firmware's setup; older processors cannot be used.",
        )
    elif machine.version < _DRIVER:
        yield Finding("sgx-kernel-old", f"Linux {machine.release or '?'} has no SGX.", "Use Linux 5.11 or newer.")
    elif "sgx" not in machine.cpu_flags:
        yield Finding(
            "sgx-kernel-off",
            "The kernel does not use SGX.",
            "Use a kernel with CONFIG_X86_SGX, without the boot parameter nosgx.",
        )
    elif not any(machine.nodes.values()):
        yield Finding(
            "sgx-device-missing",
            "The kernel uses SGX, but /dev/sgx_enclave is not here.",
            "In a container, mount the host's /dev; on the host, restart udev: systemctl restart systemd-udevd.",
        )


def _bad_nodes(machine: Machine) -> Iterator[Finding]:
    for node in (one for nodes in machine.nodes.values() for one in nodes if not one.character):
        if node.target is None:
            yield Finding(
                "sgx-device-dangling", f"{node.name} is a link that leads nowhere.", f"rm {node.name}; udevadm trigger"
            )
        else:
            yield Finding(
                "sgx-device-kind",
                f"{node.name} is no device but a file.",
                f"rm {node.target}; udevadm trigger (a container that mounted it before the driver came left it).",
            )


def _present(machine: Machine, epc: Sequence[EpcSection]) -> Iterator[Finding]:
    size = total(epc)
    if size:
        nodes = len({section.node for section in epc})
        yield Finding("sgx-present", f"SGX has {size / _GIB:.2f} GiB of EPC on {nodes} NUMA node(s).")
    else:
        yield Finding(
            "sgx-epc-unknown",
            "SGX is here, but nobody tells how much EPC.",
            "Use Linux 5.17 or newer; or modprobe cpuid, and let the agent read /dev/cpu/0/cpuid.",
        )
    yield from _bad_nodes(machine)
    yield from _epc(machine, epc)
    yield from _permissions(machine)
    yield from _features(machine)


def _epc(machine: Machine, epc: Sequence[EpcSection]) -> Iterator[Finding]:
    if epc and not machine.sections:
        yield Finding(
            "sgx-numa-unknown",
            f"Linux {machine.release} does not tell which NUMA node the EPC is on.",
            "Use Linux 5.17 or newer where pods should get EPC near their processors.",
        )
    expected = total(machine.processor.sections) if machine.processor else 0
    if machine.sections and expected and total(machine.sections) != expected:
        yield Finding(
            "sgx-epc-differs",
            f"The kernel uses {total(machine.sections)} bytes of EPC of the processor's {expected}.",
            "dmesg | grep -i sgx says why.",
        )


def _permissions(machine: Machine) -> Iterator[Finding]:
    node = machine.device("enclave")
    if node is not None and node.mode & _EVERYBODY != _EVERYBODY:
        yield Finding(
            "sgx-device-mode",
            f"{node.target} has mode {node.mode:04o}: containers whose user is not root cannot open it.",
            _UDEV,
        )
    if machine.device("provision") is None:
        yield Finding(
            "sgx-provision-missing",
            "/dev/sgx_provision is not here: no quotes can be made.",
            "Use Linux 5.11 or newer; in a container, mount the host's /dev.",
        )
    if machine.noexec:
        yield Finding(
            "dev-noexec",
            "/dev is mounted noexec: enclaves cannot be built from its devices.",
            "mount -o remount,exec /dev; for containers, see the settings of the container runtime.",
        )


def _features(machine: Machine) -> Iterator[Finding]:
    if machine.processor is None:
        yield Finding(
            "cpuid-unreadable",
            "The processor's features are not known: /dev/cpu/0/cpuid cannot be read.",
            "modprobe cpuid, and run as root.",
        )
    elif not machine.processor.sgx2:
        yield Finding("sgx2-missing", "The processor has no SGX2: enclaves cannot grow while they run.")
    if not machine.fsgsbase:
        yield Finding(
            "fsgsbase-missing",
            "Programs may not use FSGSBASE, which Gramine needs.",
            "Use Linux 5.9 or newer without the boot parameter nofsgsbase.",
        )


def _guests(machine: Machine) -> Iterator[Finding]:
    if machine.tdx:
        yield Finding("guest-tdx", "This machine is itself a confidential guest: Intel TDX.")
    if machine.snp:
        yield Finding("guest-snp", "This machine is itself a confidential guest: AMD SEV-SNP.")
    if (machine.tdx or machine.snp) and not machine.tsm:
        yield Finding(
            "guest-reports-missing",
            "The guest's evidence cannot be had: configfs-tsm is not there.",
            "Use Linux 6.7 or newer; modprobe tsm; mount -t configfs none /sys/kernel/config.",
        )
