"""A network between the bed's machines, and routes to the pods on them; the machine's own network is not touched."""

from __future__ import annotations

from tests.cluster.bed.layout import CONTROL, NODES, Layout
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.processes import run


def connect(layout: Layout) -> None:
    """Join the machines by a bridge on the control machine, which is every node's router."""
    control = Machine(layout, CONTROL.name)
    routes = [f"ip route add {node.pods} via {node.address}" for node in NODES]
    control.run("/bin/sh", "-c", "\n".join([_own(), *_bridge(), *routes]))
    for node in NODES:
        machine = Machine(layout, node.name)
        enter = ("nsenter", "--target", str(control.first), "--net", "--")
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(machine.first))
        run(*enter, "ip", "link", "add", node.name, *peer)
        run(*enter, "ip", "link", "set", node.name, "master", "machines", "up")
        others = [f"ip route add {other.pods} via {other.address}" for other in NODES if other != node]
        machine.run("/bin/sh", "-c", "\n".join([_own(), *_card(node.address), *others]))


def _own() -> str:
    return "set -e\nip link set lo up\necho 1 > /proc/sys/net/ipv4/ip_forward"


def _bridge() -> list[str]:
    return [
        "ip link add machines type bridge",
        f"ip addr add {CONTROL.address}/24 dev machines",
        "ip link set machines up",
        "ip route add default dev machines",  # leads nowhere; programs that look for their address want one
    ]


def _card(address: str) -> list[str]:
    return [
        f"ip addr add {address}/24 dev eth0",
        "ip link set eth0 up",
        f"ip route add default via {CONTROL.address}",
        # A pod's packets to a service pass kube-proxy's rules even where the answering pod is on the same bridge.
        "test ! -e /proc/sys/net/bridge || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables",
    ]
