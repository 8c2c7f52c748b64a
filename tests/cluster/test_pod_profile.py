"""What an unprivileged pod is given beside its secrets: Gramine's files, and private files in memory."""

from __future__ import annotations

import json
import tarfile
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import Root
from tests.cluster.access import Cluster
from tests.cluster.bed.images import busybox
from tests.cluster.objects import pod
from tests.cluster.quoting import judged
from tests.cluster.stack import NAMESPACE, Stack
from tests.support.cli import Done, kloister

IMAGE = "bed.invalid/box:1"
MODEL = "weights-5d0b1c9e47"
MEMORY = {"kloister.dev/private-memory": "8Mi"}
SCRIPT = """\
printf %064d 7 > /dev/attestation/user_report_data
base64 /dev/attestation/quote > /tmp/part
mv /tmp/part /tmp/quote
exec sleep 3600
"""


@pytest.fixture(scope="module")
def stack(any_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kloister with a broker on the bed, and a converted image with a private file on the confidential node."""
    stack = Stack(replace(any_cluster, namespace=NAMESPACE))
    try:
        stack.install()
        stack.start_broker()
        _prepare(stack, tmp_path_factory.mktemp("box"))
        yield stack
    finally:
        stack.uninstall()


def _prepare(stack: Stack, folder: Path) -> None:
    root = Root(folder / "root")
    busybox(root)
    root.users({"app": (1000, 1000)})
    root.write("data/model", MODEL.encode())
    options = ImportOptions(entrypoint=("/bin/sh", "-c", SCRIPT), user="app", owner=(0, 0), epoch=0)
    import_image(root.path, f"oci:{folder}/plain:1", options)
    private = ("--encrypt-file", "/data/*", "--private-links", "--policy", "box/private", "--simulated")
    _run("convert", f"oci:{folder}/plain:1", f"oci:{folder}/box:1", *private, "--state", stack.state)
    (policy,), (keys,) = folder.glob("*.policy.yaml"), folder.glob("*.keys.json")
    _run("policy", "apply", policy, "--keys", keys, "--state", stack.state)
    with tarfile.open(folder / "box.tar", "w") as tar:
        tar.add(folder / "box", ".")
    stack.cluster.import_image(folder / "box.tar", IMAGE, stack.node.name)


def _run(*words: str | Path) -> Done:
    done = kloister(*words)
    assert done.code == 0, done
    return done


def box(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    """A pod of the image, as Pod Security `restricted` asks for it."""
    document = pod(name, IMAGE, limits={"sgx.intel.com/epc": "40Mi"}, restartPolicy="Never")
    document["metadata"]["annotations"] = annotations
    spec = document["spec"]
    spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec["volumes"] = [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    (container,) = spec["containers"]
    del container["command"]
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 (in the container)
    container["securityContext"] = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
    }  # fmt: skip
    return document


def test_a_program_written_for_gramine_gets_quotes(stack: Stack, cluster: Cluster, tmp_path: Path) -> None:
    cluster.apply(box("quotes", MEMORY))
    cluster.wait_ready("quotes")
    first = cluster.wait("the quote", lambda: cluster.kubectl("exec", "quotes", "--", "cat", "/tmp/quote"))  # noqa: S108 (in the container)
    cluster.kubectl("exec", "quotes", "--", "sh", "-c", "printf %064d 8 > /dev/attestation/user_report_data")
    second = cluster.kubectl("exec", "quotes", "--", "base64", "/dev/attestation/quote")
    for quote, number in ((first, 7), (second, 8)):
        verdict = judged(b64decode(quote), stack.state, tmp_path)
        assert verdict.code == 0, verdict
        assert verdict.json["claims"]["report_data"] == f"{number:064d}".encode().hex()


def test_private_files_are_in_memory_only(stack: Stack, cluster: Cluster) -> None:
    cluster.apply(box("private", MEMORY), box("without", {}))
    cluster.wait_ready("private")
    read = cluster.wait("the model", lambda: cluster.kubectl("exec", "private", "--", "cat", "/data/model"))
    assert read == MODEL
    assert stack.node.holding(b"kubelet"), "the search finds what is there"
    assert stack.node.holding(MODEL.encode()) == []
    cluster.wait("the end of the pod without memory", lambda: cluster.phase("without") == "Failed")
    (status,) = cluster.get("pod", "without")["status"]["containerStatuses"]
    assert json.loads(status["state"]["terminated"]["message"])["code"] == "pod-private-memory"
