"""The whole cluster: started, asked for, and removed without a trace."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.bed import control, disk, groups, images, network, node
from tests.cluster.bed.images import BUSYBOX, PAUSE
from tests.cluster.bed.kubernetes import programs
from tests.cluster.bed.layout import CONTROL, NODES, Layout, Site
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.needs import unmet
from tests.cluster.bed.processes import BedError, run, say, wait_for
from tests.cluster.bed.storage import volumes


def up(layout: Layout) -> None:
    """Start a cluster whose nodes are ready; one that runs already is left as it is, one that crashed is replaced.

    Raises:
        BedError: the machine cannot have one, or a part of it does not start.
    """
    if reason := unmet():
        raise BedError(reason)
    built = programs()
    with _alone(layout):
        if is_up(layout):
            return
        start = time.monotonic()
        _clear(layout)
        layout.state.mkdir(mode=0o700, parents=True)
        layout.mark.write_text("{}")
        try:
            _start(layout, built)
        except BaseException as error:
            said = _last_words(layout)
            _clear(layout)
            if isinstance(error, BedError):
                raise BedError(f"{error}{said}") from None
            raise
        layout.mark.write_text(json.dumps({"programs": str(built)}))
        say(f"two nodes are ready after {time.monotonic() - start:.1f} s")


def down(layout: Layout) -> None:
    """Remove a cluster, whole or crashed: processes, namespaces, control groups and the state directory."""
    with _alone(layout):
        _clear(layout)
    _lock(layout).unlink(missing_ok=True)


def is_up(layout: Layout) -> bool:
    """Whether a complete cluster runs."""
    try:
        return "programs" in json.loads(layout.mark.read_text()) and _control(layout).running("apiserver")
    except (OSError, ValueError):
        return False


def kubectl(layout: Layout) -> Path:
    """The client of a cluster that is up."""
    return Path(json.loads(layout.mark.read_text())["programs"]) / "kubectl"


def options(layout: Layout) -> tuple[str, ...]:
    """Of the client: whose cluster it is; what it notes of the server goes when the cluster goes."""
    return f"--kubeconfig={layout.kubeconfig}", f"--cache-dir={layout.state / 'discovered'}"


def _start(layout: Layout, built: Path) -> None:
    for name in ("logs", "pids", "nodes"):
        (layout.state / name).mkdir()
    images.make_init(layout.init)
    for site in (CONTROL, *NODES):
        machine = Machine(layout, site.name)
        machine.create()
        disk.prepare(machine)
    network.connect(layout)
    control.make_keys(layout)
    control.start_api(layout, built)
    archives = images.make_images(layout)
    with ThreadPoolExecutor(len(NODES)) as pool:
        list(pool.map(lambda site: _start_runtime(layout, site, built, archives), NODES))
    client: tuple[str | Path, ...] = (built / "kubectl", *options(layout))
    wait_for("the API server", lambda: run(*client, "get", "--raw", "/readyz", seconds=10))
    control.start_controllers(layout, built)
    for site in NODES:
        node.start_kubelet(layout, site, built)
    binding = (*client, "create", "clusterrolebinding")
    run(*binding, "bed-proxy", "--clusterrole=system:node-proxier", "--user=system:kube-proxy")
    run(*binding, "bed-names", "--clusterrole=system:kube-dns", "--group=bed:names")
    run(*client, "create", "--filename=-", stdin=json.dumps(volumes(layout)))
    for site in NODES:
        node.start_proxy(layout, site, built)
    ready = ("wait", "--for=condition=Ready", "--timeout=10s")
    for site in NODES:  # one that has not registered yet is no node to wait for
        wait_for(f"node {site.name}", lambda: run(*client, *ready, f"node/{site.name}"))  # noqa: B023 (asked at once)


def _start_runtime(layout: Layout, site: Site, built: Path, archives: list[Path]) -> None:
    node.configure(layout, site, built)
    node.start_containerd(layout, site)
    machine = Machine(layout, site.name)
    wait_for(f"containerd on {site.name}", lambda: machine.run("ctr", "version", seconds=10))
    for archive, name in zip(archives, (PAUSE, BUSYBOX), strict=True):
        images.load(layout, site.name, archive, name)


def _clear(layout: Layout) -> None:
    groups.remove(layout.identity)
    if layout.state.exists():
        if any(layout.state.iterdir()) and not layout.mark.exists():
            raise BedError(f"{layout.state} holds something that is no cluster's")
        shutil.rmtree(layout.state)


def _last_words(layout: Layout) -> str:
    """The end of every log: what did not start has said why there."""
    parts = []
    for log in sorted((layout.state / "logs").glob("*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()[-5:]
        parts += [f"\n--- {log.stem}", *(line[:400] for line in lines)]
    return "\n".join(parts)


def _control(layout: Layout) -> Machine:
    return Machine(layout, CONTROL.name)


def _lock(layout: Layout) -> Path:
    return layout.state.with_name(layout.state.name + ".lock")


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    layout.state.parent.mkdir(parents=True, exist_ok=True)
    with _lock(layout).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
