"""Callers are told by their cgroups, in all shapes that kubelets and runtimes give them."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.kubernetes.node.quotes import callers
from kloister.kubernetes.node.quotes.callers import Caller, Callers, pod_of
from tests.unit.tee.simulated.stage import in_child, require_namespaces, unshare_pids

POD = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
UNDER = POD.replace("-", "_")
STATIC = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
CONTAINER = "1234567890abcdef" * 4
OTHER = "ffffffff-4e5f-6071-8293-a4b5c6d7e8f9"

SHAPES = {
    "v2 systemd containerd": f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDER}.slice/"
    f"cri-containerd-{CONTAINER}.scope",
    "v2 systemd guaranteed": f"0::/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{CONTAINER}.scope",
    "v2 systemd cri-o": f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDER}.slice/"
    f"crio-{CONTAINER}.scope",
    "v2 systemd cri-o, below": f"0::/kubepods.slice/kubepods-pod{UNDER}.slice/crio-{CONTAINER}.scope/container",
    "v2 systemd docker": f"0::/kubepods.slice/kubepods-pod{UNDER}.slice/docker-{CONTAINER}.scope",
    "v2 cgroupfs": f"0::/kubepods/burstable/pod{POD}/{CONTAINER}",
    "v2 from a cgroup namespace": f"0::/../../kubepods-burstable-pod{UNDER}.slice/cri-containerd-{CONTAINER}.scope",
    "v2 kind": f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDER}.slice/"
    f"cri-containerd-{CONTAINER}.scope",
    "v2 systemd inside": f"0::/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{CONTAINER}.scope/init.scope",
    "v1 cgroupfs": f"12:pids:/kubepods/besteffort/pod{POD}/{CONTAINER}\n1:name=systemd:/kubepods/besteffort/pod{POD}/"
    f"{CONTAINER}\n0::/",
    "v1 guaranteed, own root": f"4:memory:/kubetb/kubepods/pod{POD}/{CONTAINER}",
    "v1 systemd": f"11:cpu,cpuacct:/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{CONTAINER}.scope",
    "v1 some controllers outside": f"9:rdma:/\n8:freezer:/kubepods/pod{POD}/{CONTAINER}",
    "v1 containerd by systemd's name": f"5:cpu:/system.slice/containerd.service/kubepods-burstable-pod{UNDER}.slice:"
    f"cri-containerd:{CONTAINER}",
    "v1 cri-o cgroupfs": f"3:cpu:/kubepods/burstable/pod{POD}/crio-{CONTAINER}",
    "a pod that makes cgroups of its own": f"0::/kubepods/pod{POD}/{CONTAINER}/kubepods/pod{OTHER}/{'f' * 64}",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_pod_and_container_are_found(shape: str) -> None:
    assert pod_of(SHAPES[shape] + "\n") == (POD, CONTAINER)


def test_a_static_pod_has_a_hash_for_a_name() -> None:
    assert pod_of(f"0::/kubepods/burstable/pod{STATIC}/{CONTAINER}\n") == (STATIC, CONTAINER)


def test_the_pods_own_cgroup_names_no_container() -> None:
    assert pod_of(f"0::/kubepods/pod{POD}\n") == (POD, "")
    assert pod_of(f"0::/kubepods/pod{POD}/pause\n") == (POD, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/",
        "0::/user.slice/user-1000.slice/session-1.scope",
        f"0::/system.slice/docker-{CONTAINER}.scope",
        f"0::/podman/{CONTAINER}",
        f"0::/notapod{POD}/x",
        f"0::/pod{POD}x/{CONTAINER}",
        "kubepods",
    ],
)
def test_outside_of_pods_there_is_none(text: str) -> None:
    assert pod_of(text) == ("", "")


@given(
    st.text(max_size=200)
    | st.sampled_from(sorted(SHAPES.values())).flatmap(lambda one: st.permutations(one).map("".join))
)
def test_any_text_is_read(text: str) -> None:
    pod, container = pod_of(text)
    assert len(pod) in (0, 32, 36)
    assert len(container) in (0, 64)


@contextmanager
def connection(path: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """A connection that another process made."""
    code = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);sys.stdin.read()"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE)
        try:
            with listener.accept()[0] as sock:
                yield sock, process
        finally:
            process.communicate(b"")


def fake_proc(folder: Path, pid: int, text: str) -> Path:
    """A /proc that says this of one process: no kubelet runs here to make its cgroups."""
    (folder / str(pid)).mkdir(parents=True)
    (folder / str(pid) / "cgroup").write_text(text)
    (folder / "self").symlink_to("/proc/self")
    return folder


def test_the_kernel_says_who_connected(tmp_path: Path) -> None:
    with connection(tmp_path / "socket") as (sock, process):
        caller = Callers(Path("/proc")).of(sock)
        assert (caller.pid, caller.uid, caller.gone) == (process.pid, os.geteuid(), False)
        proc = fake_proc(tmp_path / "proc", process.pid, SHAPES["v1 cgroupfs"])
        assert Callers(proc).of(sock) == Caller(os.geteuid(), process.pid, POD, CONTAINER)


def test_a_helper_in_a_pid_namespace_of_its_own_needs_the_hosts_proc_alone(tmp_path: Path) -> None:
    require_namespaces()
    with connection(tmp_path / "socket") as (sock, process):
        proc = fake_proc(tmp_path / "proc", process.pid, SHAPES["v2 cgroupfs"])

        def inside() -> list[Any]:
            """What a process sees whose pid namespace does not show the caller."""
            unshare_pids()
            return list(in_child(lambda: _seen(sock, proc)))

        assert in_child(inside) == [0, process.pid, POD, CONTAINER, process.pid]


def _seen(sock: socket.socket, proc: Path) -> list[int | str]:
    told = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    caller = Callers(proc).of(sock)
    return [told, caller.pid, caller.pod, caller.container, Callers(Path("/proc")).of(sock).pid]


def test_a_process_that_ended_is_nobodys_pod(tmp_path: Path) -> None:
    with connection(tmp_path / "socket") as (sock, process):
        proc = fake_proc(tmp_path / "proc", process.pid, SHAPES["v2 cgroupfs"])
        assert Callers(proc).of(sock).pod == POD
        process.communicate(b"")
        caller = Callers(proc).of(sock)
        assert (caller.pod, caller.gone) == ("", True), "its number may be another process's by now"
        assert Callers(tmp_path / "empty").of(sock).gone


def test_a_kernel_without_pidfds_of_peers_tells_callers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_SO_PEERPIDFD", 4095)  # an option that this kernel does not know either
    with connection(tmp_path / "socket") as (sock, process):
        proc = fake_proc(tmp_path / "proc", process.pid, SHAPES["v2 cgroupfs"])
        assert Callers(proc).of(sock) == Caller(os.geteuid(), process.pid, POD, CONTAINER)
        assert Callers(tmp_path / "empty").of(sock).gone


def test_limits_are_shared_by_a_pod_and_by_a_user_outside() -> None:
    assert Caller(0, 1, POD, CONTAINER).key == Caller(1000, 2, POD, "").key
    keys = {
        Caller(0, 1, POD).key,
        Caller(0, 1, OTHER).key,
        Caller(0, 1).key,
        Caller(7, 1).key,
        Caller(0, 1, gone=True).key,
    }
    assert len(keys) == 5
