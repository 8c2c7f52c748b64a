from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister.images.samples import make_sample
from kloister.kubernetes.quantity import whole
from tests.cluster.access import Cluster
from tests.cluster.objects import pod
from tests.cluster.quoting import judged, quote_from
from tests.cluster.stack import NAMESPACE, Stack

EPC, BLOCK, ENCLAVE = "sgx.intel.com/epc", "sgx.intel.com/epc-block", "sgx.intel.com/enclave"
MIB = "kubernetes.azure.com/sgx_epc_mem_in_MiB"
CLINIC = "bed.invalid/clinic:1"
EPC_BYTES = 128 << 20
BACK = 15.0  # seconds within which capacity is there again
TRIES = 3  # restarts of which one must be in time: other work on the machine may hold one up
LOOK = (
    'ls /dev/sgx_enclave /var/run/aesmd/aesm.socket /run/kloister/enclave.sock; echo "aesm $SGX_AESM_ADDR"; sleep 3600'
)
GIVEN = ["/dev/sgx_enclave", "/run/kloister/enclave.sock", "/var/run/aesmd/aesm.socket", "aesm 1"]


@pytest.fixture(scope="module")
def stack(any_cluster: Cluster) -> Iterator[Stack]:
    """Kloister on the bed."""
    stack = Stack(replace(any_cluster, namespace=NAMESPACE))
    try:
        stack.install()
        yield stack
    finally:
        stack.uninstall()


@pytest.fixture(scope="module")
def clinic(any_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Python on every node."""
    archive = tmp_path_factory.mktemp("clinic") / "clinic.tar"
    make_sample("clinic", f"oci-archive:{archive}:1")
    any_cluster.import_image(archive, CLINIC)
    return CLINIC


def test_the_confidential_node_alone_shows_epc_labels_and_taint(stack: Stack) -> None:
    assert stack.offered == {EPC: EPC_BYTES, BLOCK: 128, ENCLAVE: 110}
    node = stack.cluster.get("node", "confidential")
    assert node["metadata"]["labels"]["sgx.intel.com/capable"] == "true"
    assert node["metadata"]["labels"]["kloister.dev/simulated"] == "true"
    assert {"key": EPC, "value": "present", "effect": "NoSchedule"} in node["spec"]["taints"]
    other = stack.cluster.get("node", "ordinary")
    assert not [name for name in other["status"]["allocatable"] if "sgx" in name]
    assert not [name for name in other["metadata"]["labels"] if "sgx" in name or "kloister" in name]
    assert EPC not in {taint["key"] for taint in other["spec"].get("taints", ())}


def test_an_ordinary_pod_does_not_land_on_the_confidential_node(stack: Stack, cluster: Cluster) -> None:
    names = [f"plain-{number}" for number in range(4)]
    cluster.apply(*(pod(name, cluster.busybox) for name in names))
    cluster.wait_ready(*names)
    nodes = {item["spec"]["nodeName"] for item in cluster.get("pods")["items"]}
    assert nodes == {"ordinary"} != {stack.node.name}


@pytest.mark.parametrize("limits", [{EPC: "10Mi"}, {MIB: "10"}, {EPC: "10485760"}])
def test_a_request_of_epc_brings_device_sockets_and_environment(
    stack: Stack, cluster: Cluster, limits: dict[str, str]
) -> None:
    cluster.apply(pod("asks", cluster.busybox, LOOK, limits=limits))
    cluster.wait_ready("asks")
    found = cluster.get("pod", "asks")["spec"]
    assert found["nodeName"] == stack.node.name
    limits = found["containers"][0]["resources"]["limits"]
    assert {name: whole(limits[name]) for name in (EPC, BLOCK, ENCLAVE)} == {EPC: 10 << 20, BLOCK: 10, ENCLAVE: 1}
    cluster.wait_printed("asks", *GIVEN)


def test_a_job_of_the_shape_of_azures_samples_ends_well(stack: Stack, cluster: Cluster) -> None:
    cluster.apply(_azure_job(cluster.busybox))
    cluster.wait("the job's end", lambda: cluster.get("job", "helloworld")["status"].get("succeeded") == 1)
    (ran,) = cluster.get("pods", "--selector=app=helloworld")["items"]
    assert ran["spec"]["nodeName"] == stack.node.name
    cluster.wait_printed("job/helloworld", *GIVEN)


def test_a_quote_from_a_pod_is_accepted_by_the_verifier(
    stack: Stack, cluster: Cluster, clinic: str, tmp_path: Path
) -> None:
    cluster.apply(
        pod("quoting", clinic, "import signal; signal.pause()", interpreter=("python3", "-c"), limits={EPC: "10Mi"})
    )
    cluster.wait_ready("quoting")
    quote = quote_from(cluster, "quoting", stack.state, bytes(range(64)))
    done = judged(quote, stack.state, tmp_path)
    assert done.code == 0, done
    forged = quote[:400] + bytes([quote[400] ^ 1]) + quote[401:]
    assert judged(forged, stack.state, tmp_path).code == 1


def test_a_request_beyond_the_epc_waits_until_some_is_freed(stack: Stack, cluster: Cluster) -> None:
    cluster.apply(pod("first", cluster.busybox, limits={EPC: "100Mi"}))
    cluster.wait_ready("first")
    cluster.apply(pod("second", cluster.busybox, limits={EPC: "100Mi"}))
    cluster.wait_unscheduled("second", f"Insufficient {EPC}")
    cluster.kubectl("delete", "pod", "first")
    cluster.wait_ready("second")
    assert cluster.get("pod", "second")["spec"]["nodeName"] == stack.node.name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_pods_outlive_their_agent_and_capacity_comes_back(
    stack: Stack, cluster: Cluster, number: signal.Signals
) -> None:
    cluster.apply(pod("stays", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays")

    def restart() -> None:
        stack.node.machine.stop("agent", number)
        cluster.wait("the loss", lambda: stack.offered == {EPC: EPC_BYTES, BLOCK: 0, ENCLAVE: 0})
        stack.start_agent()

    _back_in_time(restart, stack.wait_offered)
    _nothing_is_lost(cluster)


def test_pods_outlive_kubelet_and_capacity_comes_back(stack: Stack, cluster: Cluster) -> None:
    cluster.apply(pod("stays", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays")

    def restart() -> None:
        cluster.restart_kubelet(stack.node, signal.SIGKILL)

    _back_in_time(restart, stack.wait_offered)
    _nothing_is_lost(cluster)


def _back_in_time(restart: Callable[[], object], back: Callable[[], object]) -> None:
    """Restart until capacity was back within the time; what one restart took stands in the failure."""
    took: list[float] = []
    while not took or took[-1] >= BACK:
        assert len(took) < TRIES, f"capacity was back after {took} s"
        begin = time.monotonic()
        restart()
        back()
        took.append(time.monotonic() - begin)


def _nothing_is_lost(cluster: Cluster) -> None:
    """The pod `stays` has not noticed, and the next one gets what it asks for."""
    cluster.wait_ready("stays")
    (status,) = cluster.get("pod", "stays")["status"]["containerStatuses"]
    assert status["restartCount"] == 0
    cluster.apply(pod("next", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("next")
    cluster.wait_printed("next", *GIVEN)


def _azure_job(image: str) -> dict[str, Any]:
    """With all that AKS's documentation has its users write: limit, folder of the host, and the variable."""
    mounts = [{"name": "var-run-aesmd", "mountPath": "/var/run/aesmd"}]
    container = {
        "name": "helloworld", "image": image, "command": ["sh", "-c", LOOK.removesuffix("; sleep 3600")],
        "env": [{"name": "SGX_AESM_ADDR", "value": "1"}], "volumeMounts": mounts,
        "resources": {"limits": {MIB: "10"}},
    }  # fmt: skip
    volumes = [{"name": "var-run-aesmd", "hostPath": {"path": "/var/run/aesmd"}}]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    template = {"metadata": {"labels": {"app": "helloworld"}}, "spec": spec}
    job = {"template": template, "backoffLimit": 0}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "helloworld"}, "spec": job}
