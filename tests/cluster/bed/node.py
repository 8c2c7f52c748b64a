"""A node: containerd, kubelet and kube-proxy on a machine of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster.bed.config import write
from tests.cluster.bed.images import PAUSE
from tests.cluster.bed.kubernetes import minor
from tests.cluster.bed.layout import CONTROL, PODS, Layout, Site
from tests.cluster.bed.machine import Machine

_RUNTIME_CONFIGURED, _CGROUPS_JUDGED = 27, 31  # minor versions of Kubernetes since which kubelet's settings differ
_SOCKET = "/run/containerd/containerd.sock"
_CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
"""


def configure(layout: Layout, site: Site, programs: Path) -> None:
    """Write the settings of a node's programs to its directory."""
    disk = layout.node(site.name)
    (disk / "network").mkdir(parents=True)
    write(disk / "network/10-bed.conflist", _pod_network(site))
    settings = {"socket": _SOCKET, "pause": PAUSE, "snapshotter": _snapshotter(disk), "network": disk / "network"}
    (disk / "containerd.toml").write_text(_CONTAINERD.format_map(settings))
    write(disk / "kubelet.json", _kubelet(layout, disk) | _newer(minor(programs)))
    (disk / "resolv.conf").write_text(f"nameserver {CONTROL.address}\n")


def start_containerd(layout: Layout, site: Site) -> None:
    """Start the container runtime."""
    Machine(layout, site.name).start("containerd", "containerd", "--config", layout.node(site.name) / "containerd.toml")


def start_kubelet(layout: Layout, site: Site, programs: Path) -> None:
    """Start the node's agent; it registers the node."""
    older = minor(programs) < _RUNTIME_CONFIGURED
    runtime = ("--container-runtime=remote", f"--container-runtime-endpoint=unix://{_SOCKET}") if older else ()
    Machine(layout, site.name).start(
        "kubelet", programs / "kubelet", f"--config={layout.node(site.name)}/kubelet.json",
        f"--kubeconfig={layout.keys}/{site.name}.json", f"--hostname-override={site.name}",
        f"--node-ip={site.address}", *runtime,
    )  # fmt: skip


def start_proxy(layout: Layout, site: Site, programs: Path) -> None:
    """Start kube-proxy, by iptables; limits of connection tracking are the whole machine's and stay."""
    Machine(layout, site.name).start(
        "kube-proxy", programs / "kube-proxy", f"--kubeconfig={layout.keys}/proxy.json", "--proxy-mode=iptables",
        f"--hostname-override={site.name}", f"--cluster-cidr={PODS}", "--conntrack-max-per-core=0", "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        "--iptables-min-sync-period=0s",
    )  # fmt: skip


def _kubelet(layout: Layout, disk: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": str(layout.keys / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "failSwapOn": False, "enforceNodeAllocatable": ["pods"],
        "clusterDNS": [CONTROL.address], "clusterDomain": "cluster.local", "resolvConf": str(disk / "resolv.conf"),
        "imageGCHighThresholdPercent": 100,  # the disk is shared with everything else on this machine
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "100Mi", "imagefs.available": "100Mi"},
        "nodeStatusUpdateFrequency": "2s", "syncFrequency": "10s", "volumeStatsAggPeriod": "0s",
    }  # fmt: skip


def _newer(minor: int) -> dict[str, object]:
    """Settings that kubelets of before 1.27 take on the command line, and one that they do not know."""
    if minor < _RUNTIME_CONFIGURED:
        return {}
    endpoint = {"containerRuntimeEndpoint": f"unix://{_SOCKET}"}
    return endpoint | ({"failCgroupV1": False} if minor >= _CGROUPS_JUDGED else {})


def _pod_network(site: Site) -> dict[str, object]:
    bridge = {
        "type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": site.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }  # fmt: skip
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bed", "plugins": [bridge, ports]}


def _snapshotter(disk: Path) -> str:
    """Overlays where the kernel and the state directory's file system can, else whole copies."""
    folders = [disk / "try" / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir(parents=True)
    lower, upper, work, merged = folders
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ("unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(merged))
    done = subprocess.run(mount, capture_output=True, check=False)
    shutil.rmtree(disk / "try")
    return "native" if done.returncode else "overlayfs"
