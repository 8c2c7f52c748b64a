"""The plugin against a kubelet's double: everything that kubelets and neighbours do to it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.detection import simulated
from kloister.kubernetes.node.epc import parse_sizes
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.plugin import offer, service
from tests.support.kubelet import Kubelet
from tests.unit.kubernetes.node.plugin.running import Running
from tests.unit.kubernetes.node.short import short

FACTS = simulated(parse_sizes("6Mi,4Mi"))
OURS = (ENCLAVE, PROVISION, EPC_BLOCK)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same behaviour in a twentieth of the time; a stream that opens late is not taken for one that is lost."""
    monkeypatch.setattr(service, "TICK", 0.02)
    monkeypatch.setattr(service, "_RIVALS", 0.05)
    monkeypatch.setattr(offer, "_RETRY", (0.01, 0.05))
    monkeypatch.setattr(offer, "_UNWATCHED", 3600.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with short() as path:
        yield path


def _full(kubelet: Kubelet) -> bool:
    return tuple(kubelet.allocatable(one) for one in OURS) == (3, 3, 10)


def _settled(kubelet: Kubelet, running: Running) -> bool:
    """Both sides know: the kubelet has the devices before the plugin has the answer to its registration."""
    return _full(kubelet) and not running.plugin.missing and not any(one.error for one in running.plugin.offers)


def _serving(kubelet: Kubelet) -> list[Path]:
    return [kubelet.endpoints[one].path for one in OURS]


@pytest.mark.parametrize(
    ("authority", "dials_back"), [(None, False), ("localhost", True)], ids=["before 1.26", "current"]
)
def test_all_resources_are_allocatable(folder: Path, authority: str | None, *, dials_back: bool) -> None:
    with Kubelet(folder, authority=authority, dials_back=dials_back) as kubelet, Running(folder, FACTS) as running:
        kubelet.wait(lambda: _full(kubelet))
        kubelet.wait(lambda: not running.plugin.missing)
        assert [kubelet.options[one].get_preferred_allocation_available for one in OURS] == [False, False, True]
        assert not kubelet.options[EPC_BLOCK].pre_start_required
        for _, endpoint in kubelet.registrations:
            assert (kubelet.folder / endpoint).stat().st_mode & 0o777 == 0o600
        pod = kubelet.admit("a", {ENCLAVE: 1, EPC_BLOCK: 4})
        assert {one.partition("-")[0] for one in pod.containers["app"][EPC_BLOCK]} == {"epc1"}, "the node that fits"
        answers = pod.answers["app"]
        assert [len(one.devices) for one in answers] == [2, 0]
        assert all(one.envs == {"SGX_AESM_ADDR": "1"} for one in answers)
    assert not list(kubelet.folder.glob("kloister-*")), "sockets are removed with the plugin"


def test_a_kubelet_that_comes_later(folder: Path) -> None:
    with Running(folder, FACTS) as running:
        kubelet = Kubelet(folder)
        kubelet.folder.mkdir()
        assert running.plugin.missing
        with kubelet:
            kubelet.wait(lambda: _full(kubelet))


def test_a_kubelet_that_restarts_behind_a_socket_that_refuses(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS) as running:
        kubelet.wait(lambda: _full(kubelet))
        before = set(kubelet.registrations)
        kubelet.stop()
        kubelet.wait(lambda: running.plugin.offers[0].error is not None)
        assert running.plugin.offers[0].error is not None
        assert running.plugin.offers[0].error.code == "kubelet-unreachable"
        assert running.plugin.missing
        kubelet.start()
        kubelet.wait(lambda: _settled(kubelet, running))
        assert len(before & set(kubelet.registrations)) == 3
        assert len(set(kubelet.registrations)) == 6, "each under a name that was never used before"


def test_a_refused_registration_is_tried_again(folder: Path) -> None:
    with Kubelet(folder) as kubelet:
        kubelet.refuse = "try a newer one"
        with Running(folder, FACTS) as running:
            kubelet.wait(lambda: running.plugin.offers[0].error is not None)
            error = running.plugin.offers[0].error
            assert error is not None
            assert error.code == "kubelet-refused"
            assert "try a newer one" in error.text
            kubelet.refuse = ""
            kubelet.wait(lambda: _settled(kubelet, running))


def test_a_socket_that_somebody_deletes(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS):
        kubelet.wait(lambda: _full(kubelet))
        for path in kubelet.folder.glob("kloister-epc-block-*"):
            path.unlink()
        kubelet.wait(lambda: len(kubelet.registrations) == 4 and _full(kubelet))
        assert [name for name, _ in kubelet.registrations].count(EPC_BLOCK) == 2


def test_a_folder_that_is_deleted_and_made_anew(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS) as running:
        kubelet.wait(lambda: _full(kubelet))
        kubelet.stop()
        shutil.rmtree(kubelet.folder.rename(folder / "deleted"))  # at once: the plugin makes new sockets in it
        kubelet.wait(lambda: bool(running.plugin.missing))
        kubelet.start()
        kubelet.wait(lambda: _full(kubelet))


def test_a_folder_deleted_under_its_mount_cannot_come_back(folder: Path) -> None:
    running = Running(folder, FACTS)
    kept = folder / "device-plugins"
    kept.mkdir()
    assert not running.plugin.stranded
    descriptor = os.open(kept, os.O_PATH)
    try:
        kept.rmdir()
        assert not running.plugin.stranded, "without a mount the kubelet's next folder is in reach"
        kept.symlink_to(f"/proc/self/fd/{descriptor}")  # as a bind mount, it leads to the deleted folder
        assert running.plugin.stranded
    finally:
        os.close(descriptor)


def test_health_is_told_as_it_changes(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS) as running:
        kubelet.wait(lambda: _full(kubelet))
        messages = kubelet.endpoints[EPC_BLOCK].messages
        running.healthy = False
        kubelet.wait(lambda: not any(kubelet.allocatable(one) for one in OURS))
        assert kubelet.capacity(EPC_BLOCK) == 10
        running.healthy = True
        kubelet.wait(lambda: _full(kubelet))
        assert kubelet.endpoints[EPC_BLOCK].messages == messages + 2
        assert len(kubelet.registrations) == 3


def test_an_upgrade_beside_the_old_instance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one takes over at once; the old one does not fight, and takes over again when the new one is gone."""
    with Kubelet(folder) as kubelet, Running(folder, FACTS) as old:
        kubelet.wait(lambda: _full(kubelet))
        kept = _serving(kubelet)
        with Running(folder, FACTS) as new:
            kubelet.wait(lambda: len(kubelet.registrations) == 6 and _settled(kubelet, new))
            kubelet.wait(lambda: len(old.plugin.missing) == 3)
            monkeypatch.setattr(offer, "_UNWATCHED", 0.2)
            with pytest.raises(TimeoutError):
                kubelet.wait(lambda: len(kubelet.registrations) > 6, 0.5)
        kubelet.wait(lambda: _serving(kubelet) == kept and _full(kubelet))
        old.stop()
        kubelet.wait(lambda: not any(kubelet.allocatable(one) for one in OURS))


def test_sockets_of_a_killed_instance_are_removed(folder: Path) -> None:
    with Kubelet(folder) as kubelet:
        left = kubelet.folder / "kloister-enclave-killed00.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(left))
        with Running(folder, FACTS):
            kubelet.wait(lambda: _full(kubelet))
            assert not left.exists()


def test_another_plugins_resources_are_left_to_it(folder: Path) -> None:
    """Intel's registers `enclave` while ours runs: ours withdraws it, keeps the blocks, and comes back afterwards."""
    with Kubelet(folder) as kubelet, Running(folder, FACTS) as running:
        kubelet.wait(lambda: _full(kubelet))
        intel = kubelet.folder / "sgx.intel.com-enclave.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(intel))
            sock.listen()
            kubelet.wait(lambda: running.plugin.adopted == {ENCLAVE})
            kubelet.wait(lambda: kubelet.allocatable(ENCLAVE) == 0)
            kubelet.wait(lambda: not running.plugin.missing)
            assert kubelet.allocatable(EPC_BLOCK) == 10
            kubelet.wait(lambda: not list(kubelet.folder.glob("kloister-enclave-*")))
            pod = kubelet.admit("a", {EPC_BLOCK: 1})
            assert pod.answers["app"][0].mounts[0].container_path == "/var/run/aesmd"
        kubelet.wait(lambda: _full(kubelet))
        assert running.plugin.adopted == frozenset()


def test_what_was_never_offered_is_refused(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS):
        kubelet.wait(lambda: _full(kubelet))
        endpoint = kubelet.endpoints[EPC_BLOCK]
        for ids, fine in ((["epc0-0"], True), (["epc0-99"], False), (["epc0-0", "enclave-0"], False), ([], False)):
            request = api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(device_ids=ids)])
            if fine:
                endpoint.ask("Allocate", request, api.AllocateResponse)
                continue
            with pytest.raises(grpc.RpcError, match="device-unknown"):
                endpoint.ask("Allocate", request, api.AllocateResponse)


def test_a_start_is_let_through(folder: Path) -> None:
    with Kubelet(folder) as kubelet, Running(folder, FACTS):
        kubelet.wait(lambda: _full(kubelet))
        request = api.PreStartContainerRequest(device_ids=["enclave-0"])
        assert kubelet.endpoints[ENCLAVE].ask("PreStartContainer", request, api.PreStartContainerResponse) is not None


def test_requests_beyond_four_mebibytes_are_answered(folder: Path) -> None:
    """A kubelet limits what it reads, not what it sends."""
    with Kubelet(folder) as kubelet, Running(folder, FACTS):
        kubelet.wait(lambda: _full(kubelet))
        ids = [f"epc0-{number:040}" for number in range(110_000)]
        one = api.ContainerPreferredAllocationRequest(available_device_ids=ids, allocation_size=1)
        request = api.PreferredAllocationRequest(container_requests=[one])
        assert request.ByteSize() > 5_000_000
        answer = kubelet.endpoints[EPC_BLOCK].ask("GetPreferredAllocation", request, api.PreferredAllocationResponse)
        assert len(answer.container_responses[0].device_ids) == 1
