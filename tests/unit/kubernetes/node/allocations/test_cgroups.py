from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kloister.kubernetes.names import EPC_BLOCK
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.cgroups import Cgroups
from kloister.kubernetes.node.allocations.watching import Watch
from tests.support.kubelet.pods import Pod, checkpoint
from tests.unit.kubernetes.node.plugin.running import run

ONE, TWO, THREE = (f"12345678-1234-1234-1234-12345678900{number}" for number in "123")
LAYOUTS = {
    "cgroupfs": ("kubepods/pod{}", "kubepods/burstable/pod{}", "kubepods/besteffort/pod{}"),
    "systemd": (
        "kubepods.slice/kubepods-pod{}.slice",
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
        "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice",
    ),
}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("base", ["", "misc", "memory", "kloister"], ids=lambda base: base or "version 2")
@pytest.mark.parametrize("driver", LAYOUTS)
def test_pods_are_found_in_every_layout(tmp_path: Path, base: str, driver: str) -> None:
    mount = tmp_path / "sys/fs/cgroup"
    for layout, uid in zip(LAYOUTS[driver], (ONE, TWO, THREE), strict=True):
        name = uid.replace("-", "_") if driver == "systemd" else uid
        _write(mount / base / layout.format(name) / "cri-containerd-abc/pids.max", "1")
    if base in ("", "kloister"):
        (mount / "cgroup.controllers").touch()
    found = Cgroups(tmp_path).pods()
    assert found is not None
    assert set(found) == {ONE, TWO, THREE}
    assert all(path.is_dir() for path in found.values())


def test_where_no_kubelet_is_nobody_is_gone(tmp_path: Path) -> None:
    assert Cgroups(tmp_path).pods() is None
    (tmp_path / "sys/fs/cgroup/system.slice").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").touch()
    assert Cgroups(tmp_path).pods() is None
    (tmp_path / "sys/fs/cgroup/kubepods").mkdir()
    assert Cgroups(tmp_path).pods() == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("rdma 7\nsgx_epc 8388608\n", 8388608),
        ("sgx_epc 0\n", 0),
        ("sgx_epc max\n", None),
        ("res 1\n", None),
        ("", None),
    ],
)
def test_epc_is_one_line_of_several(tmp_path: Path, text: str, size: int | None) -> None:
    (tmp_path / "misc.current").write_text(text)
    assert Cgroups.epc(tmp_path) == size
    assert Cgroups.epc(tmp_path / "nothing") is None


def test_another_kubelets_cgroups_say_nothing_of_our_pods(tmp_path: Path) -> None:
    _write(tmp_path / f"sys/fs/cgroup/pids/kubepods/pod{TWO}/pids.max", "1")
    (tmp_path / "device-plugins").mkdir()
    pod = Pod("n", "a", ONE, {"app": {EPC_BLOCK: ["a"]}})
    (tmp_path / "device-plugins/kubelet_internal_checkpoint").write_bytes(checkpoint([pod], {}))
    book = Allocations(tmp_path / "allocations", None, lambda: 0)
    one = run(book.make(["a"], 1))
    run(Watch(tmp_path, book, Cgroups(tmp_path)).look())
    assert book.held == (one,)


def test_a_real_nodes_pods_are_counted_and_released_by_their_cgroups(tmp_path: Path) -> None:
    base = tmp_path / "sys/fs/cgroup"
    _write(base / "cgroup.controllers", "misc")
    for uid, used in ((ONE, 4096), (TWO, 0), (THREE, 0)):
        _write(base / f"kubepods/pod{uid}/misc.current", f"sgx_epc {used}\n")
    (tmp_path / "device-plugins").mkdir()
    book = Allocations(tmp_path / "allocations", None, lambda: 0)
    watch = Watch(tmp_path, book, Cgroups(tmp_path))
    pods = [Pod("n", name, uid, {"app": {EPC_BLOCK: [name]}}) for name, uid in (("a", ONE), ("b", TWO), ("c", THREE))]
    pods[0].containers["other"] = {EPC_BLOCK: ["d"]}
    (tmp_path / "device-plugins/kubelet_internal_checkpoint").write_bytes(checkpoint(pods, {}))

    async def scene() -> None:
        a, b, c, d = [await book.make([name], 8192) for name in "abcd"]
        await watch.look()
        assert set(book.held) == {a, b, c, d}
        shutil.rmtree(base / f"kubepods/pod{THREE}")
        await watch.look()
        assert set(book.held) == {a, b, d}
        assert watch.used is None, "this kernel does not count"
        _write(base / "misc.capacity", "sgx_epc 1000000\n")
        await watch.look()
        assert watch.used is not None
        assert sorted(watch.used.values()) == [0, 0, 4096]
        assert watch.used[b.id] == 0
        assert watch.used[a.id] + watch.used[d.id] == 4096, "the kernel knows pods, not containers"

    run(scene())
