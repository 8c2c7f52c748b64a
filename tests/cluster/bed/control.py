"""The control plane: etcd, API server, controller manager and scheduler, on the control machine."""

from __future__ import annotations

import sys
from pathlib import Path

from kloister import clock
from tests.cluster.bed.config import write_kubeconfig
from tests.cluster.bed.door import ROOT, open_door
from tests.cluster.bed.layout import CONTROL, NODES, PODS, SERVICES, Layout
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.pki import Authority
from tests.cluster.bed.processes import wait_for

PORT = 6443
_ETCD = 2379
_SERVICE = "10.96.0.1"  # the first address of SERVICES: the API server as pods know it
_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


def make_keys(layout: Layout) -> None:
    """Every certificate of the cluster, and the kubeconfig files that hold them."""
    authority = Authority(layout.keys, clock.now())
    authority.create()
    authority.issue("apiserver", "kube-apiserver", hosts=(CONTROL.address, _SERVICE, "127.0.0.1", "localhost", *_NAMES))
    authority.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters")
    authority.issue("front-proxy", "front-proxy-client")
    authority.issue("admin", "kubernetes-admin", "system:masters")
    authority.issue("names", "bed-names", "bed:names")
    users = {"scheduler": "system:kube-scheduler", "controller-manager": "system:kube-controller-manager"}
    for file, name in {**users, "proxy": "system:kube-proxy"}.items():
        authority.issue(file, name)
    for node in NODES:
        authority.issue(node.name, f"system:node:{node.name}", "system:nodes")
    for client in ("admin", *users, "proxy", *(node.name for node in NODES)):
        write_kubeconfig(layout.keys / f"{client}.json", f"https://{CONTROL.address}:{PORT}", authority, client)


def start_api(layout: Layout, programs: Path) -> None:
    """Start etcd, the API server once etcd listens, and a door to the API server for programs on this machine."""
    machine, keys = Machine(layout, CONTROL.name), layout.keys
    (layout.state / "etcd").mkdir(mode=0o700)
    machine.start("etcd", "etcd", *_etcd(layout))
    wait_for("etcd", lambda: machine.listens(_ETCD))  # the API server waits 20 seconds for it, then it ends
    machine.start("apiserver", programs / "kube-apiserver", *_apiserver(keys))
    machine.start(
        "names", sys.executable, "-m", "tests.cluster.bed.names", keys, str(PORT), environment={"PYTHONPATH": str(ROOT)}
    )
    door = open_door(layout, CONTROL.address, PORT)
    authority = Authority(keys, clock.now())
    write_kubeconfig(layout.kubeconfig, f"https://127.0.0.1:{door}", authority, "admin")


def start_controllers(layout: Layout, programs: Path) -> None:
    """Start controller manager and scheduler; the API server is ready: the former would wait 10 seconds, then end."""
    machine, keys = Machine(layout, CONTROL.name), layout.keys
    machine.start("controller-manager", programs / "kube-controller-manager", *_controller_manager(keys))
    machine.start(
        "scheduler", programs / "kube-scheduler", f"--kubeconfig={keys}/scheduler.json", "--leader-elect=false"
    )


def _etcd(layout: Layout) -> list[str]:
    url = f"http://127.0.0.1:{_ETCD}"  # nobody else is on the control machine
    return [
        f"--data-dir={layout.state}/etcd", "--name=bed", "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-client-urls={url}", f"--advertise-client-urls={url}", "--unsafe-no-fsync", "--logger=zap",
        "--log-level=warn",
    ]  # fmt: skip


def _apiserver(keys: Path) -> list[str]:
    """Secrets are not encrypted in etcd: a test that finds none there must mean something."""
    return [
        f"--etcd-servers=http://127.0.0.1:{_ETCD}", f"--advertise-address={CONTROL.address}", f"--secure-port={PORT}",
        f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=Node,RBAC", "--allow-privileged=true",
        "--enable-admission-plugins=NodeRestriction", f"--client-ca-file={keys}/ca.crt",
        f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key",
        f"--kubelet-client-certificate={keys}/apiserver-kubelet.crt",
        f"--kubelet-client-key={keys}/apiserver-kubelet.key", "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}/service-accounts.pub",
        f"--service-account-signing-key-file={keys}/service-accounts.key",
        # Webhooks and API services are called at their pods: kube-proxy runs on nodes only.
        "--enable-aggregator-routing=true", f"--proxy-client-cert-file={keys}/front-proxy.crt",
        f"--proxy-client-key-file={keys}/front-proxy.key", f"--requestheader-client-ca-file={keys}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]  # fmt: skip


def _controller_manager(keys: Path) -> list[str]:
    return [
        f"--kubeconfig={keys}/controller-manager.json", "--leader-elect=false", "--use-service-account-credentials",
        f"--root-ca-file={keys}/ca.crt", f"--service-account-private-key-file={keys}/service-accounts.key",
        f"--cluster-cidr={PODS}", f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        "--node-monitor-grace-period=120s",  # a kubelet that got no processor for a while is not a lost one
    ]  # fmt: skip
