from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kloister.kubernetes.node.detection import NodeFacts, detect, simulated
from kloister.kubernetes.node.detection.cpuid import Cpuid
from kloister.kubernetes.node.detection.machine import is_character_device, resolve
from kloister.kubernetes.node.epc import EpcSection, parse_sizes
from kloister.serve.reasons import describe
from tests.unit.kubernetes.node.detection.trees import GIB, Processor, Tree


def _look(tree: Tree, cpuid: Cpuid | None = None) -> tuple[NodeFacts, dict[str, str]]:
    """The facts, and the remedies of all findings by code; each code is explained."""
    facts = detect(tree.root, cpuid or Processor(), tree.is_device)
    for finding in facts.findings:
        assert describe(finding.code).text, finding.code
        assert finding.text.endswith((".", ")")), finding
    return facts, {finding.code: finding.remedy for finding in facts.findings}


def _needing(found: dict[str, str]) -> set[str]:
    return {code for code, remedy in found.items() if remedy}


def test_a_machine_with_sgx(tmp_path: Path) -> None:
    facts, found = _look(Tree(tmp_path).build())
    assert facts.capable
    assert facts.epc == (EpcSection(0, 32 * GIB, "tme"), EpcSection(1, 32 * GIB, "tme"))
    assert facts.epc_bytes == 64 * GIB
    assert facts.block_bytes == 8 << 20
    assert facts.flags == dict.fromkeys(("sgx", "sgx1", "sgx2", "flc", "kss", "fsgsbase"), True)
    assert facts.kernel == "6.1.0-9-amd64"
    assert [(one.role, one.host) for one in facts.devices] == [
        ("enclave", "/dev/sgx_enclave"),
        ("provision", "/dev/sgx_provision"),
    ]
    assert found == {"sgx-present": ""}


def test_the_old_names_are_links_and_both_names_are_given(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(devices=("sgx_enclave",))
    (tmp_path / "dev/sgx").mkdir()
    (tmp_path / "dev/sgx/enclave").symlink_to("../sgx_enclave")
    tree.device("sgx/provision")  # the DCAP driver before version 1.41: a node of its own
    facts, found = _look(tree)
    assert [(one.host, one.names) for one in facts.devices] == [
        ("/dev/sgx_enclave", ("/dev/sgx_enclave", "/dev/sgx/enclave")),
        ("/dev/sgx/provision", ("/dev/sgx_provision", "/dev/sgx/provision")),
    ]
    assert _needing(found) == set()


def test_absolute_links_are_those_of_the_root(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(devices=("deep/node",))
    (tmp_path / "dev/sgx_enclave").symlink_to("/dev/first")
    (tmp_path / "dev/first").symlink_to("/dev/deep/../deep/./node")
    facts, _ = _look(tree)
    assert [one.host for one in facts.devices] == ["/dev/deep/node"]
    (tmp_path / "dev/round").symlink_to("round")
    assert resolve(tmp_path, "/dev/round") is None
    assert resolve(tmp_path, "/dev/deep/node") == "/dev/deep/node"


def test_epc_of_an_older_kernel_comes_from_the_processor(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(release="5.15.0-91-generic", epc={})
    facts, found = _look(tree, Processor(sections=((93 << 20, 1),)))
    assert facts.epc == (EpcSection(None, 93 << 20, "integrity"),)
    assert facts.capable
    assert _needing(found) == {"sgx-numa-unknown"}


@pytest.mark.parametrize(("kind", "name"), [(1, "integrity"), (2, "tme"), (3, "unknown")])
def test_both_kinds_of_sections_count(tmp_path: Path, kind: int, name: str) -> None:
    facts, _ = _look(Tree(tmp_path).build(epc={0: 6 << 32}), Processor(sections=((6 << 32, kind),)))
    assert facts.epc == (EpcSection(0, 6 << 32, name),)


def test_switched_off_in_the_firmware_is_not_capable(tmp_path: Path) -> None:
    """The processor has SGX and even names its EPC; the kernel made no device."""
    for processor in (Processor(capabilities=0), Processor(sections=())):
        facts, found = _look(Tree(tmp_path).build(flags="fpu fsgsbase", epc={}, devices=()), processor)
        assert not facts.capable
        assert facts.epc == ()
        assert not facts.flags["sgx"]
        assert _needing(found) == {"sgx-bios-off"}


@pytest.mark.parametrize(
    ("flags", "release", "processor", "code"),
    [
        ("fpu fsgsbase", "6.1.0", Processor(flc=False), "sgx-flc-missing"),
        ("fpu fsgsbase", "5.10.0-8", Processor(), "sgx-kernel-old"),
        ("fpu fsgsbase", "", Processor(), "sgx-kernel-old"),
        ("fpu fsgsbase", "6.1.0", Processor(), "sgx-kernel-off"),
        ("fpu fsgsbase sgx", "6.1.0", Processor(), "sgx-device-missing"),
    ],
)
def test_why_there_is_no_device(tmp_path: Path, flags: str, release: str, processor: Cpuid, code: str) -> None:
    facts, found = _look(Tree(tmp_path).build(flags=flags, release=release, devices=()), processor)
    assert not facts.capable
    assert facts.epc_bytes == 0, "the kernel's figures without a device are nobody's EPC"
    assert _needing(found) == {code}


def test_no_sgx_needs_no_remedy(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(flags="fpu fsgsbase", epc={}, devices=())
    assert _look(tree, Processor(sgx=False))[1] == {"sgx-absent": ""}
    assert _look(tree, lambda _leaf, _sub: None)[1] == {"sgx-absent": ""}
    assert detect(tmp_path / "nothing").findings[0].code == "sgx-absent"


def test_names_that_are_no_devices(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(devices=())
    (tmp_path / "dev/sgx_enclave").touch()  # what a container runtime makes of a bind mount that came too early
    (tmp_path / "dev/sgx_provision").symlink_to("nowhere")
    facts, found = _look(tree)
    assert not facts.capable
    assert _needing(found) == {"sgx-device-kind", "sgx-device-dangling"}
    assert found["sgx-device-kind"].startswith("rm /dev/sgx_enclave;")


def test_the_driver_that_nobody_maintains(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(flags="fpu", devices=())
    tree.device("isgx")
    facts, found = _look(tree, Processor(flc=False))
    assert not facts.capable
    assert _needing(found) == {"sgx-driver-old", "sgx-flc-missing"}


def test_what_else_keeps_containers_from_enclaves(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(mounts="a /dev tmpfs rw 0 0\nudev /dev devtmpfs rw,noexec 0 0\n", devices=(), hwcap2=0)
    tree.device("sgx_enclave", 0o660)
    facts, found = _look(tree, Processor(capabilities=0b01, kss=False))
    assert facts.capable
    assert facts.flags == {"sgx": True, "sgx1": True, "sgx2": False, "flc": True, "kss": False, "fsgsbase": False}
    assert _needing(found) == {"sgx-device-mode", "sgx-provision-missing", "dev-noexec", "fsgsbase-missing"}
    assert found["sgx2-missing"] == ""


def test_the_last_mount_of_dev_decides(tmp_path: Path) -> None:
    mounts = "a /dev tmpfs rw,noexec 0 0\nudev /dev devtmpfs rw 0 0\nb /dev/shm tmpfs rw,noexec 0 0\n"
    assert _needing(_look(Tree(tmp_path).build(mounts=mounts))[1]) == set()
    host = f"a /dev tmpfs rw 0 0\nb {tmp_path}/dev devtmpfs rw,noexec 0 0\n"
    assert _needing(_look(Tree(tmp_path).build(mounts=host))[1]) == {"dev-noexec"}


def test_fsgsbase_without_an_auxiliary_vector(tmp_path: Path) -> None:
    for release, flags, expected in (
        ("5.9.0", "fsgsbase", True),
        ("5.8.18", "fsgsbase", False),
        ("6.1.0", "fpu", False),
        ("?", "fsgsbase", False),
    ):
        tree = Tree(tmp_path).build(release=release, flags=flags, hwcap2=None)
        assert _look(tree)[0].flags["fsgsbase"] is expected, (release, flags)


def test_a_processor_that_nobody_can_ask(tmp_path: Path) -> None:
    facts, found = _look(Tree(tmp_path).build(), lambda _leaf, _sub: None)
    assert facts.capable
    assert facts.epc == (EpcSection(0, 32 * GIB, "unknown"), EpcSection(1, 32 * GIB, "unknown"))
    assert facts.flags == {"sgx": True, "sgx1": None, "sgx2": None, "flc": True, "kss": None, "fsgsbase": True}
    assert _needing(found) == {"cpuid-unreadable"}


def test_epc_of_which_nobody_tells_the_size(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(epc={})
    tree.write("sys/devices/system/node/node0/x86/sgx_total_bytes", "no number\n")
    facts, found = _look(tree, lambda _leaf, _sub: None)
    assert not facts.capable
    assert _needing(found) == {"sgx-epc-unknown", "cpuid-unreadable"}


def test_a_kernel_that_uses_less_than_there_is(tmp_path: Path) -> None:
    facts, found = _look(Tree(tmp_path).build(epc={0: 32 * GIB}))
    assert facts.epc_bytes == 32 * GIB
    assert _needing(found) == {"sgx-epc-differs"}


def test_confidential_guests(tmp_path: Path) -> None:
    tree = Tree(tmp_path).build(flags="fpu fsgsbase tdx_guest", epc={}, devices=())
    facts, found = _look(tree, Processor(sgx=False))
    assert [(guest.kind, guest.reports) for guest in facts.guests] == [("tdx", False)]
    assert _needing(found) == {"guest-reports-missing"}
    (tmp_path / "sys/kernel/config/tsm/report").mkdir(parents=True)
    tree.device("sev-guest")
    facts, found = _look(tree, Processor(sgx=False))
    assert [(guest.kind, guest.reports) for guest in facts.guests] == [("tdx", True), ("snp", True)]
    assert found == {"sgx-absent": "", "guest-tdx": "", "guest-snp": ""}


def test_a_simulated_node() -> None:
    facts = simulated(parse_sizes("32Gi,32Gi"))
    assert facts.capable
    assert facts.simulated
    assert all(facts.flags.values())
    assert [finding.code for finding in facts.findings] == ["sgx-simulated"]
    for device in facts.devices:
        assert stat.S_ISCHR(os.stat(device.host).st_mode), "containers are refused a device that is none"  # noqa: PTH116


def test_a_character_device_is_told_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    assert is_character_device(Path("/dev/null"))
    assert not any(is_character_device(tmp_path / name) for name in ("file", "link", "nothing"))
