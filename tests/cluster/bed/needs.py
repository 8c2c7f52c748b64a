"""What a machine must have for a bed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cluster.bed import groups, kubernetes
from tests.cluster.bed.processes import BedError, run

_PROGRAMS = {
    "apt-get": "apt", "dpkg-source": "dpkg-dev", "containerd": "containerd", "ctr": "containerd", "runc": "runc",
    "etcd": "etcd-server", "gcc": "gcc", "busybox": "busybox-static", "ip": "iproute2", "iptables": "iptables",
    "nsenter": "util-linux", "unshare": "util-linux", "mount": "mount",
}  # fmt: skip


def unmet() -> str:
    """Why this machine cannot have a bed, in a sentence; empty if it can."""
    if os.getuid() != 0:
        return "only root may make the namespaces, mounts and control groups of a cluster"
    packages = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if not Path("/usr/lib/cni/bridge").exists():
        packages.append("containernetworking-plugins")
    if packages:
        return f"packages are missing: apt-get install {' '.join(packages)}"
    if reason := kubernetes.unmet():
        return reason
    try:
        groups.hierarchies()
        run(
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
            "--fork",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
        )
        run("unshare", "--net", "ip", "link", "add", "probe", "type", "bridge")
    except BedError as error:
        return str(error)
    return ""
