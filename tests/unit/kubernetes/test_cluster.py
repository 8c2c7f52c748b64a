"""Controller and webhook against an API server over HTTP; the real one is asked in tests/cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from kloister.errors import KloisterError, Misconfigured
from kloister.formats.protocol.events import Refused
from kloister.kubernetes.cluster import Cluster, Conflict
from kloister.kubernetes.controller import loop
from kloister.kubernetes.controller.leader import Candidate
from kloister.kubernetes.controller.loop import Controller
from kloister.kubernetes.resources import ConfidentialNode, Section
from kloister.kubernetes.webhook.certificates import create
from kloister.kubernetes.webhook.registration import register
from tests.support.apiserver.server import ApiServer, running

NODE = "/api/v1/nodes/n1"
WEBHOOK = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/kloister-webhook"


def reported() -> ConfidentialNode:
    """As an agent writes it now: five minutes later it would be stale."""
    return ConfidentialNode("n1", 8 << 20, (Section(0, 1 << 30),), frozenset(), simulated=True, seen=clock.now())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    api = ApiServer()
    with running(api, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield api


def node(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}, "status": {}, **more}


async def led(cluster: Cluster) -> Candidate:
    candidate = Candidate(cluster, "kloister-system", "kloister-controller", "me")
    await candidate.attempt(clock.now(), clock.monotonic())
    return candidate


def test_a_round_writes_what_the_agent_reports_and_the_next_one_nothing(server: ApiServer) -> None:
    async def rounds() -> None:
        cluster = Cluster()
        server.put(NODE, node())
        await cluster.write_report(reported())
        await cluster.write_report(reported())  # the second time it is there
        controller = Controller(cluster, await led(cluster), taint=True)
        await controller.round()
        written = len(server.requests)
        await controller.round()
        assert {method for method, _ in server.requests[written:]} == {"GET"}
        await cluster.close()

    asyncio.run(rounds())
    found = server.objects[NODE]
    assert found["status"]["capacity"]["sgx.intel.com/epc"] == str(1 << 30)
    assert found["metadata"]["labels"]["sgx.intel.com/capable"] == "true"
    assert found["spec"]["taints"][0]["key"] == "sgx.intel.com/epc"


def test_a_node_that_cannot_be_written_does_not_stop_the_others(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(cluster: Cluster, name: str, patch: dict[str, Any]) -> None:
        await (real(cluster, name, patch) if name == "n1" else cluster.patch_node("absent", {}))

    real = Cluster.patch_node_status

    async def rounds() -> None:
        cluster = Cluster()
        for name in ("n0", "n1"):
            server.put(NODE.replace("n1", name), node(metadata={"name": name}))
            await cluster.write_report(replace(reported(), name=name))
        monkeypatch.setattr(Cluster, "patch_node_status", refuse)
        await Controller(cluster, await led(cluster), taint=True).round()
        await cluster.close()

    asyncio.run(rounds())
    assert server.objects[NODE]["status"]["capacity"]["sgx.intel.com/epc"] == str(1 << 30)


def test_who_does_not_lead_writes_nothing(server: ApiServer) -> None:
    async def rounds() -> None:
        cluster = Cluster()
        server.put(NODE, node())
        await cluster.write_report(reported())
        await Controller(cluster, Candidate(cluster, "ns", "l", "me"), taint=True).round()
        await cluster.close()

    asyncio.run(rounds())
    assert server.objects[NODE]["status"] == {}


def test_the_loop_acts_on_a_report_at_once(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RESYNC", 3600.0)

    async def looped() -> None:
        cluster = Cluster()
        server.put(NODE, node())
        controller = Controller(cluster, Candidate(cluster, "kloister-system", "l", "me"), taint=True)
        task = asyncio.create_task(controller.run())
        await asyncio.sleep(0.5)
        await cluster.write_report(reported())
        async with asyncio.timeout(60):
            while "capacity" not in server.objects[NODE]["status"]:  # noqa: ASYNC110 (the server is another thread's)
                await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()

    asyncio.run(looped())


def test_a_pod_of_a_reboot_is_deleted(server: ApiServer) -> None:
    path = "/api/v1/namespaces/shop/pods/web-1"
    spec = {"containers": [{"name": "a", "resources": {"limits": {"sgx.intel.com/epc": "1Mi"}}}]}
    owner = {"kind": "ReplicaSet", "name": "web", "controller": True, "apiVersion": "apps/v1", "uid": "u"}
    metadata = {"name": "web-1", "namespace": "shop", "ownerReferences": [owner]}
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}
    server.put(path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})

    async def rounds() -> None:
        cluster = Cluster()
        await cluster.delete_pod("shop", "web-1", "another's uid")
        assert path in server.objects
        await Controller(cluster, await led(cluster), taint=True).round()
        await cluster.close()

    asyncio.run(rounds())
    assert path not in server.objects


def test_replicas_add_their_authorities_and_the_second_look_writes_nothing(server: ApiServer) -> None:
    at = clock.now()
    first, second = create(["a"], at), create(["a"], at)
    webhook = {"name": "w", "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"}
    server.put(WEBHOOK, {"metadata": {"name": "kloister-webhook"}, "webhooks": [webhook]})

    async def looks() -> None:
        cluster = Cluster()
        await asyncio.gather(*(register(cluster, "kloister-webhook", one, at) for one in (first, second)))
        written = len(server.requests)
        await register(cluster, "kloister-webhook", first, at)
        assert [method for method, _ in server.requests[written:]] == ["GET"]
        await cluster.close()

    asyncio.run(looks())
    found = b64decode(server.objects[WEBHOOK]["webhooks"][0]["clientConfig"]["caBundle"])
    assert first.ca in found
    assert second.ca in found


def test_refusals_have_their_codes(server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def codes() -> list[str]:
        cluster = Cluster()
        found = []
        stale = {"metadata": {"resourceVersion": "0"}}
        server.put(NODE, node())
        await cluster.patch_node("n1", {"metadata": {"labels": {"a": "b"}}})
        for call in (
            cluster.patch_node("n1", stale),
            cluster.patch_node("n2", {}),
            register(cluster, "kloister-webhook", create(["a"], clock.now()), clock.now()),
        ):
            with pytest.raises(KloisterError) as caught:
                await call
            found.append(caught.value.code)
        assert await cluster.node("n2") is None
        await cluster.close()
        return found

    assert asyncio.run(codes()) == ["cluster-conflict", "cluster-refused", "webhook-unregistered"]
    assert issubclass(Conflict, KloisterError)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(Misconfigured) as caught:
        Cluster()
    assert caught.value.code == "cluster-unknown"


def test_lists_that_cannot_be_had_are_said_and_end_nothing(server: ApiServer) -> None:
    async def codes() -> list[str]:
        cluster = Cluster()
        server.put(NODE, node())
        assert [item["metadata"]["name"] for item in await cluster.nodes()] == ["n1"]
        server.token = "another"
        found = []
        for call in (cluster.nodes, cluster.reports, cluster.failed_pods):
            with pytest.raises(KloisterError) as caught:
                await call()
            found.append(caught.value.code)
        await cluster.close()
        return found

    assert asyncio.run(codes()) == ["cluster-refused"] * 3


def test_a_pod_that_is_gone_before_it_is_deleted(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def known(_cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
        return {"metadata": {"namespace": namespace, "name": name, "uid": "u"}}

    async def deleted() -> None:
        cluster = Cluster()
        monkeypatch.setattr(Cluster, "_pod", known)
        await cluster.delete_pod("shop", "web-1", "u")
        await cluster.close()

    asyncio.run(deleted())
    assert server.requests[-1] == ("DELETE", "/api/v1/namespaces/shop/pods/web-1")


def test_a_refused_pod_of_a_node_with_an_agent_gets_an_event_once(server: ApiServer) -> None:
    said = json.dumps(Refused("file-changed", "A file was changed.").build())
    ended = {"terminated": {"exitCode": 70, "message": said, "finishedAt": "2026-11-22T12:00:00Z"}}
    container = {"name": "app", "image": "i", "resources": {"limits": {"sgx.intel.com/epc": "40Mi"}}}
    status = {"name": "app", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    document = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"nodeName": "n1", "containers": [container]}, "status": {"containerStatuses": [status]},
    }  # fmt: skip

    async def told() -> list[Any]:
        cluster = Cluster()
        server.put(NODE, node())
        server.put("/api/v1/namespaces/shop/pods/p", document)
        await cluster.write_report(reported())
        controller = Controller(cluster, await led(cluster), taint=True)
        running = asyncio.create_task(controller.run())
        try:
            while not (events := _events(server)):  # noqa: ASYNC110 -- the server runs in another thread
                await asyncio.sleep(0.02)
            server.put("/api/v1/namespaces/shop/pods/p", document)
            await asyncio.sleep(0.3)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await cluster.close()
        return events

    (event,) = asyncio.run(asyncio.wait_for(told(), 60))
    assert "[file-changed]" in event["message"]
    assert len([path for method, path in server.requests if method == "POST" and path.endswith("/events")]) == 1


def _events(server: ApiServer) -> list[Any]:
    return [item for path, item in server.items() if path.startswith("/api/v1/namespaces/shop/events/")]
