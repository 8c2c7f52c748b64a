from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.kubernetes.names import ENCLAVE, PROVISION
from kloister.kubernetes.node.detection import NodeFacts, simulated
from kloister.kubernetes.node.detection.facts import DeviceNode
from kloister.kubernetes.node.epc import parse_sizes
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.plugin import cdi
from kloister.kubernetes.node.plugin.answers import Answers

QUOTES = Path("/run/kloister/quotes")
REAL = NodeFacts(
    devices=(
        DeviceNode("enclave", "/dev/sgx_enclave", ("/dev/sgx_enclave", "/dev/sgx/enclave")),
        DeviceNode("provision", "/dev/sgx_provision", ("/dev/sgx_provision", "/dev/sgx/provision")),
    )
)


def _devices(answer: api.ContainerAllocateResponse) -> list[tuple[str, str, str]]:
    return [(one.container_path, one.host_path, one.permissions) for one in answer.devices]


def _mounts(answer: api.ContainerAllocateResponse) -> list[tuple[str, str, bool]]:
    return [(one.container_path, one.host_path, one.read_only) for one in answer.mounts]


def test_an_enclaves_device_comes_with_both_names_environment_and_quotes() -> None:
    answer = Answers(REAL, QUOTES).device(ENCLAVE)
    assert _devices(answer) == [
        ("/dev/sgx_enclave", "/dev/sgx_enclave", "rw"),
        ("/dev/sgx/enclave", "/dev/sgx_enclave", "rw"),
    ]
    assert dict(answer.envs) == {"SGX_AESM_ADDR": "1"}
    assert _mounts(answer) == [("/var/run/aesmd", str(QUOTES), True)]
    assert not answer.cdi_devices


def test_the_provisioning_device_is_a_device_only() -> None:
    answer = Answers(REAL, QUOTES).device(PROVISION)
    assert [one[0] for one in _devices(answer)] == ["/dev/sgx_provision", "/dev/sgx/provision"]
    assert not answer.envs
    assert not answer.mounts


def test_a_simulated_device_is_one_that_every_machine_has() -> None:
    answer = Answers(simulated(parse_sizes("1Gi")), QUOTES).device(ENCLAVE)
    assert [one[:2] for one in _devices(answer)] == [
        ("/dev/sgx_enclave", "/dev/null"),
        ("/dev/sgx/enclave", "/dev/null"),
    ]


def test_blocks_bring_the_allocation_and_what_another_plugins_devices_lack() -> None:
    answers = Answers(REAL, QUOTES)
    answer = answers.blocks(Path("/run/kloister/allocations/a"))
    assert not answer.devices
    assert dict(answer.envs) == {"SGX_AESM_ADDR": "1"}
    assert _mounts(answer) == [
        ("/var/run/aesmd", str(QUOTES), True),
        ("/run/kloister", "/run/kloister/allocations/a", True),
    ]
    assert _mounts(answers.blocks(None)) == [("/var/run/aesmd", str(QUOTES), True)]


def test_the_runtime_is_told_what_the_names_mean(tmp_path: Path) -> None:
    cdi.write(tmp_path / "cdi", REAL)
    (path,) = (tmp_path / "cdi").iterdir()
    assert path.suffix == ".json"
    assert path.stat().st_mode & 0o777 == 0o644
    written = json.loads(path.read_text())
    assert written["kind"] == "kloister.dev/sgx"
    assert [one["name"] for one in written["devices"]] == ["enclave", "provision"]
    assert written["devices"][0]["containerEdits"]["deviceNodes"][1] == {
        "path": "/dev/sgx/enclave", "hostPath": "/dev/sgx_enclave", "permissions": "rw",
    }  # fmt: skip
    with pytest.raises(Misconfigured) as refused:
        cdi.write(path / "below-a-file", REAL)
    assert refused.value.code == "cdi-folder"


def test_cdi_names_stand_in_for_devices() -> None:
    answer = Answers(REAL, QUOTES, cdi=True).device(ENCLAVE)
    assert not answer.devices
    assert [one.name for one in answer.cdi_devices] == ["kloister.dev/sgx=enclave"]
    assert dict(answer.envs) == {"SGX_AESM_ADDR": "1"}
