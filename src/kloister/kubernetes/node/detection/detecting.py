from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kloister.kubernetes.node.detection.cpuid import Cpuid, from_device, read
from kloister.kubernetes.node.detection.facts import DeviceNode, Guest, NodeFacts
from kloister.kubernetes.node.detection.findings import findings
from kloister.kubernetes.node.detection.machine import NAMES, Machine, is_character_device, look
from kloister.kubernetes.node.epc import EpcSection


def detect(
    root: Path = Path("/"),
    cpuid: Cpuid | None = None,
    is_device: Callable[[Path], bool] = is_character_device,
) -> NodeFacts:
    """What the machine below `root` has.

    The kernel is believed before the processor: a processor says what it has although the firmware keeps it switched
    off, and the kernel makes a device only where it uses SGX. EPC without a device is therefore none.

    Args:
        root: `/`, or where another machine's or a test's files are.
        cpuid: asks the processor; None: by `dev/cpu/0/cpuid` below the root.
        is_device: whether a path is a character device.
    """
    machine = look(root, read(cpuid or from_device(root)), is_device)
    epc = _epc(machine)
    return NodeFacts(
        epc=epc,
        flags=_flags(machine),
        kernel=machine.release,
        devices=tuple(device for role in NAMES if (device := _device(machine, role)) is not None),
        guests=tuple(
            Guest(kind, machine.tsm) for kind, present in (("tdx", machine.tdx), ("snp", machine.snp)) if present
        ),
        findings=tuple(findings(machine, epc)),
    )


def _epc(machine: Machine) -> tuple[EpcSection, ...]:
    """By the kernel; where it is too old to tell, by the processor, which knows no NUMA nodes."""
    sections = machine.processor.sections if machine.processor else ()
    if machine.device("enclave") is None:
        return ()
    kinds = {section.kind for section in sections}
    kind = kinds.pop() if len(kinds) == 1 else "unknown"
    return tuple(replace(section, kind=kind) for section in machine.sections) or sections


def _flags(machine: Machine) -> dict[str, bool | None]:
    processor = machine.processor
    return {
        "sgx": machine.device("enclave") is not None,
        "sgx1": processor.sgx1 if processor else None,
        "sgx2": processor.sgx2 if processor else None,
        "flc": processor.flc if processor else "sgx_lc" in machine.cpu_flags,
        "kss": processor.kss if processor else None,
        "fsgsbase": machine.fsgsbase,
    }


def _device(machine: Machine, role: str) -> DeviceNode | None:
    node = machine.device(role)
    return DeviceNode(role, node.target, NAMES[role]) if node is not None and node.target is not None else None
