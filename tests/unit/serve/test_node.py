"""`kloister serve node` as a process, with a kubelet's double and the real simulated platform."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.kubelet.identity import identity
from kloister.kubernetes.resources import ConfidentialNode
from tests.support.apiserver.server import ApiServer, in_cluster, running
from tests.support.cli import Done, assert_refused, kloister
from tests.support.kubelet import Kubelet
from tests.support.ports import free_port
from tests.unit.kubernetes.node.short import short
from tests.unit.serve.test_platform import served

BLOCK = 64 << 20  # bytes: 512 GiB in 8,192 blocks
EXACTLY = (110, 110, 8192)


class Agent:
    """How an agent of `folder` is started and asked."""

    def __init__(self, folder: Path) -> None:
        self.run, self.log = folder / "run", folder / "log"
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"

    @contextmanager
    def started(self, *more: str | Path, simulate: str = "256Gi,256Gi") -> Iterator[subprocess.Popen[bytes]]:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "kloister",
            "serve",
            "node",
            "--kubelet",
            self._folder / "kubelet",
        ]
        command += [
            "--run",
            self.run,
            "--listen",
            self._address,
            "--root",
            self._folder,
            "--simulate",
            simulate,
            *more,
        ]
        with self.log.open("ab") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self._address}/{page}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figures(self) -> dict[str, float]:
        lines = [line for line in self.get("metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def said(self) -> list[dict[str, Any]]:
        """Its log, of which each line is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short() as path:
        yield path


def _full(kubelet: Kubelet) -> bool:
    return tuple(kubelet.allocatable(one) for one in (ENCLAVE, PROVISION, EPC_BLOCK)) == EXACTLY


def test_an_agent_from_its_start_to_its_end_and_killed_in_between(folder: Path) -> None:
    agent = Agent(folder)
    with Kubelet(folder / "kubelet") as kubelet:
        with agent.started() as process:
            kubelet.wait(lambda: _full(kubelet))
            pod = kubelet.admit("first", {ENCLAVE: 1, EPC_BLOCK: 3})
            mount = next(
                one for answer in pod.answers["app"] for one in answer.mounts if one.container_path == "/run/kloister"
            )
            assert Path(mount.host_path).parent == agent.run / "allocations"
            process.send_signal(signal.SIGKILL)
            process.wait()
        kubelet.wait(lambda: kubelet.allocatable(EPC_BLOCK) == 0)
        with agent.started() as process:
            kubelet.wait(lambda: _full(kubelet))
            assert Path(mount.host_path).is_dir(), "a pod's mount outlives the agent"
            assert len(list(kubelet.folder.glob("kloister-*"))) == 3, "what was left of the killed one is removed"
            kubelet.wait(lambda: agent.get("readyz") == (200, "ok\n"))
            label = '{container="app",namespace="default",pod="first"}'
            kubelet.wait(lambda: agent.figures().get(f"kloister_epc_allocated_bytes{label}") == 3 * BLOCK)
            assert agent.figures()['kloister_epc_bytes{kind="simulated",node="1"}'] == 256 << 30
            assert agent.get("healthz") == (200, "ok\n")
            kubelet.restart(1.0)  # 10 s of a real one are no other way
            kubelet.wait(lambda: _full(kubelet))
            process.terminate()
            assert process.wait(60) == 0
        assert not list(kubelet.folder.glob("kloister-*"))
    assert [line["message"] for line in agent.said()].count("agent started") == 2
    assert {"time", "level", "logger", "message"} <= agent.said()[0].keys()


def test_containers_get_a_socket_of_the_platform_and_the_quote_socket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLOISTER_PLATFORM_EPC", "262144,262144")
    agent, state = Agent(folder), folder / "state"
    control = state / "platform" / "control.sock"
    with Kubelet(folder / "kubelet") as kubelet:
        with served(state) as (_, client), agent.started("--platform", control):
            kubelet.wait(lambda: _full(kubelet))
            pod = kubelet.admit("first", {ENCLAVE: 1, EPC_BLOCK: 1})
            mounts = {one.container_path: Path(one.host_path) for answer in pod.answers["app"] for one in answer.mounts}
            assert (mounts["/run/kloister"] / "enclave.sock").is_socket()
            assert (mounts["/var/run/aesmd"] / "aesm.socket").is_socket()
            (known,) = client.allocations()
            assert (known.epc, known.directory) == (BLOCK, str(mounts["/run/kloister"]))
            kubelet.wait(lambda: agent.get("readyz")[0] == 200)
            kubelet.wait(lambda: agent.figures()['kloister_tcb_status{status="UpToDate"}'] == 1)
            assert 0 <= agent.figures()["kloister_collateral_age_seconds"] < 365 * 86400
            before = identity(mounts["/run/kloister"] / "enclave.sock")
        with agent.started("--platform", control):
            kubelet.wait(lambda: kubelet.capacity(EPC_BLOCK) == 8192 and kubelet.allocatable(EPC_BLOCK) == 0)
            status, text = agent.get("readyz")
            assert (status, "platform-unreachable" in text) == (503, True)
            with served(state) as (_, client):
                kubelet.wait(lambda: _full(kubelet))
                assert [one.id for one in client.allocations()] == [known.id], "the platform had forgotten it"
                assert identity(mounts["/run/kloister"] / "enclave.sock") not in (before, None)


def test_an_agent_offers_what_its_platform_has_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLOISTER_PLATFORM_EPC", "1024,2048")
    agent, state = Agent(folder), folder / "state"
    control = state / "platform" / "control.sock"
    with Kubelet(folder / "kubelet") as kubelet, served(state):
        with agent.started("--platform", control, "--block", "1Mi", simulate="platform"):
            kubelet.wait(lambda: kubelet.allocatable(EPC_BLOCK) == 3072)
            kubelet.wait(lambda: agent.get("readyz")[0] == 200)
            assert agent.figures()['kloister_epc_bytes{kind="simulated",node="1"}'] == 2 << 30
        with agent.started("--platform", control, simulate="1Gi,1Gi"):
            kubelet.wait(lambda: kubelet.capacity(EPC_BLOCK) == 2048 and kubelet.allocatable(EPC_BLOCK) == 0)
            status, text = agent.get("readyz")
            assert (status, "simulated-epc-differs" in text, "1024 MiB, 2048 MiB" in text) == (503, True, True)


def test_a_node_reports_what_it_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, server = Agent(folder), ApiServer()
    path = "/apis/kloister.dev/v1alpha1/confidentialnodes/worker"
    with running(server, folder) as kubeconfig, Kubelet(folder / "kubelet") as kubelet:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with agent.started("--node-name", "worker"):
            kubelet.wait(lambda: path in server.objects)
            report = ConfidentialNode.parse(server.objects[path])
            assert (report.epc, report.block, report.simulated) == (512 << 30, BLOCK, True)
            assert [(one.node, one.bytes) for one in report.sections] == [(0, 256 << 30), (1, 256 << 30)]
            assert report.flags == {"sgx1", "sgx2", "flc", "kss", "fsgsbase"}
            assert (report.quotes, report.reason, report.adopted) == (False, "quotes-off", "")
            with socket.socket(socket.AF_UNIX) as intel:
                intel.bind(str(kubelet.folder / "sgx.intel.com-enclave.sock"))
                intel.listen()
                kubelet.wait(lambda: server.objects[path]["spec"]["adopted"] == ENCLAVE)


def test_in_a_pod_an_agent_that_reports_and_makes_quotes_stays_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLOISTER_PLATFORM_EPC", "262144,262144")
    agent, server, state, account = Agent(folder), ApiServer(), folder / "state", folder / "account"
    spec = "/apis/kloister.dev/v1alpha1/confidentialnodes/worker"
    control = ("--platform", state / "platform" / "control.sock", "--node-name", "worker")
    with in_cluster(server, account) as pod, Kubelet(folder / "kubelet") as kubelet, served(state):
        for name, value in pod.items():
            monkeypatch.setenv(name, value)
        with agent.started(*control, "--service-account", account) as process:
            kubelet.wait(lambda: server.objects.get(spec, {"spec": {"quotes": {}}})["spec"]["quotes"].get("ready"))
            kubelet.wait(lambda: agent.figures()['kloister_tcb_status{status="UpToDate"}'] == 1 and _full(kubelet))
            status = Path(f"/proc/{process.pid}/status").read_text()
            (resident,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
            assert resident * 1024 < 80e6


def test_a_node_without_sgx_says_so_and_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent runs on all nodes of a cluster; one that ended would be started again and again."""
    agent, server = Agent(folder), ApiServer()
    path = "/apis/kloister.dev/v1alpha1/confidentialnodes/worker"
    with running(server, folder) as kubeconfig, Kubelet(folder / "kubelet") as kubelet:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with agent.started("--node-name", "worker", simulate=""):
            kubelet.wait(lambda: path in server.objects)
            report = ConfidentialNode.parse(server.objects[path])
            assert (report.epc, report.quotes, report.reason) == (0, False, "node-incapable")
            assert agent.get("readyz") == (200, "ok\n")
            assert kubelet.registrations == []


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--simulate", "64"), "simulated-epc"), (("--simulate", "1Gi", "--listen", "nowhere"), "listen-address")],
)
def test_what_an_agent_cannot_be_meant_to_do(options: tuple[str, ...], code: str) -> None:
    assert_refused(kloister("serve", "node", *options), code, status=2)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--simulate", "1Gi", "--run", "/dev/null/x"), "node-folder"),
        (("--simulate", "1Gi", "--listen", "192.0.2.1:1"), "listen-address"),
        (("--root", "/nowhere"), "node-incapable"),
    ],
)
def test_what_an_agent_cannot_work_with(folder: Path, options: tuple[str, ...], code: str) -> None:
    command: list[str | Path] = [sys.executable, "-m", "kloister", "serve", "node", "--kubelet", folder]
    done = subprocess.run([*command, "--run", folder / "run", *options], capture_output=True, text=True, check=False)
    assert_refused(Done(done.returncode, done.stdout, done.stderr), code)
