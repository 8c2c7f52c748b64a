from __future__ import annotations

from dataclasses import replace

from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.detection import simulated
from kloister.kubernetes.node.epc import parse_sizes
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.plugin.resources import resources

KUBELETS_LIMIT = 4 << 20  # bytes of a message


def test_a_node_offers_three_resources() -> None:
    found = {one.name: one for one in resources(simulated(parse_sizes("3Mi,1Mi")), places=2)}
    assert list(found) == [ENCLAVE, PROVISION, EPC_BLOCK]
    assert [one.id for one in found[ENCLAVE].devices] == ["enclave-0", "enclave-1"]
    assert [(one.id, one.node) for one in found[EPC_BLOCK].devices] == [
        ("epc0-0", 0), ("epc0-1", 0), ("epc0-2", 0), ("epc1-0", 1),
    ]  # fmt: skip
    assert [one.packed for one in found.values()] == [False, False, True]


def test_a_device_that_is_not_there_is_not_offered() -> None:
    whole = simulated(parse_sizes("1Mi"))
    facts = replace(whole, devices=whole.devices[:1])
    assert [one.name for one in resources(facts, places=2)] == [ENCLAVE, EPC_BLOCK]
    assert resources(replace(whole, devices=whole.devices[1:]), places=2) == (), "nothing can be built without it"
    assert resources(replace(whole, epc=()), places=2) == ()


def test_the_list_as_it_is_sent() -> None:
    """Golden bytes, by the field numbers of api.proto: devices=1 {ID=1, health=2, topology=3 {nodes=1 {ID=1}}}."""
    blocks = resources(simulated(parse_sizes("1Mi,1Mi")), places=1)[2]
    first = b"\x0a\x06epc0-0\x12\x07Healthy\x1a\x02\x0a\x00"
    second = b"\x0a\x06epc1-0\x12\x07Healthy\x1a\x04\x0a\x02\x08\x01"
    wanted = b"".join(b"\x0a" + bytes([len(one)]) + one for one in (first, second))
    assert blocks.listing(healthy=True).SerializeToString() == wanted
    enclave = resources(simulated(parse_sizes("1Mi")), places=1)[0]
    assert enclave.listing(healthy=False).SerializeToString() == b"\x0a\x16\x0a\x09enclave-0\x12\x09Unhealthy"


def test_the_largest_lists_stay_far_below_what_kubelets_read() -> None:
    for sizes in ("64Gi", "512Gi", "512Gi,512Gi,512Gi,512Gi", ",".join(["16Ti"] * 64)):
        for one in resources(simulated(parse_sizes(sizes)), places=4096):
            assert one.listing(healthy=False).ByteSize() < KUBELETS_LIMIT // 10, (sizes, one.name)


def test_a_registration_as_it_is_sent() -> None:
    options = api.DevicePluginOptions(get_preferred_allocation_available=True)
    request = api.RegisterRequest(version="v1beta1", endpoint="a.sock", resource_name="b/c", options=options)
    assert request.SerializeToString() == b"\x0a\x07v1beta1\x12\x06a.sock\x1a\x03b/c\x22\x02\x10\x01"
