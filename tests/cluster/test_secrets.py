from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from kloister.kubernetes.controller.refusals import REASON
from kloister.serve.demo import tamper
from tests.cluster.access import Cluster
from tests.cluster.applications import clinic, nginx, redis
from tests.cluster.applications.application import Converted
from tests.cluster.applications.clinic import CLINIC, Clinic
from tests.cluster.applications.nginx import NGINX, Nginx
from tests.cluster.applications.redis import REDIS, RedisCache
from tests.cluster.stack import NAMESPACE, Stack

EPC = "256Mi,256Mi"  # for three pods of each application at once
OTHER, CHANGED = "bed.invalid/other-clinic:1", "bed.invalid/changed-clinic:1"


@pytest.fixture(scope="module")
def stack(any_cluster: Cluster) -> Iterator[Stack]:
    """Kloister with a broker on the bed."""
    stack = Stack(replace(any_cluster, namespace=NAMESPACE), EPC)
    try:
        stack.install()
        stack.start_broker()
        yield stack
    finally:
        stack.uninstall()


@pytest.fixture(scope="module")
def converted_clinic(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """The clinic on the nodes."""
    made = Clinic(stack, CLINIC, tmp_path_factory.mktemp("clinic"))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def applications(
    stack: Stack, converted_clinic: Clinic, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Clinic, RedisCache, Nginx]:
    """All three."""
    for program in (redis.PROGRAM, nginx.PROGRAM):
        if not program.exists():
            pytest.skip(f"{program} is not installed: apt-get install {program.name}")
    cache = RedisCache(stack, REDIS, tmp_path_factory.mktemp("redis"))
    pages = Nginx(stack, NGINX, tmp_path_factory.mktemp("nginx"))
    cache.prepare()
    pages.prepare()
    return converted_clinic, cache, pages


def test_converted_deployments_get_their_secrets_are_scaled_and_serve(
    applications: tuple[Clinic, RedisCache, Nginx], cluster: Cluster
) -> None:
    pages = applications[-1]
    for one in applications:
        cluster.apply(*one.objects(1))
    doors = [one.door(cluster) for one in applications]
    _all_answer(cluster, applications, doors)
    _scale(cluster, applications, 3)
    keys = pages.keys(3)
    cluster.kubectl("delete", "pod", *(min(cluster.ready(f"app={one.application.name}")) for one in applications))
    _wait_for(cluster, applications, 3)
    _all_answer(cluster, applications, doors)
    _nowhere(cluster, applications, {clinic.PASSWORD, redis.PASSWORD} | keys | pages.keys(3))
    _scale(cluster, applications, 1)
    _all_answer(cluster, applications, doors)


def _scale(cluster: Cluster, applications: Sequence[Converted], replicas: int) -> None:
    names = [f"deployment/{one.application.name}" for one in applications]
    cluster.kubectl("scale", f"--replicas={replicas}", *names)
    _wait_for(cluster, applications, replicas)


def _wait_for(cluster: Cluster, applications: Sequence[Converted], pods: int) -> None:
    for one in applications:
        selector = f"app={one.application.name}"
        cluster.wait(f"{pods} pods of {selector}", lambda: len(cluster.ready(selector)) == pods)  # noqa: B023 (asked at once)


def _all_answer(cluster: Cluster, applications: Sequence[Converted], doors: Sequence[int]) -> None:
    for one, door in zip(applications, doors, strict=True):
        cluster.wait(f"an answer of {one.application.name}", lambda: one.answers(door))  # noqa: B023 (asked at once)


def _nowhere(cluster: Cluster, applications: Sequence[Converted], secrets: set[str]) -> None:
    """The secrets are in no object, not in etcd, no log and on no node's disk."""
    forms = [form for secret in secrets for form in (secret.encode(), base64.b64encode(secret.encode()))]
    assert len(forms) > 2 * len(applications)
    shown = cluster.kubectl("get", "all,secrets,configmaps,events", "--all-namespaces", "--output=yaml")
    logs = "".join(
        cluster.kubectl("logs", name) for one in applications for name in cluster.ready(f"app={one.application.name}")
    )
    for place, content in {"objects": shown.encode(), "etcd": cluster.etcd(), "logs": logs.encode()}.items():
        assert CLINIC.image.encode() in content or place == "logs", place
        assert not any(form in content for form in forms), place
    for node in ("confidential", "ordinary"):
        assert cluster.node(node).holding(b"kubelet"), "the search finds what is there"
        assert cluster.node(node).holding(*forms) == []


def test_another_measurement_gets_nothing_and_says_why(converted_clinic: Clinic, cluster: Cluster) -> None:
    converted_clinic.convert("other", "--writable", "/scratch")
    converted_clinic.bring("other", OTHER)
    converted_clinic.start(cluster, OTHER)
    assert _refusal(cluster).code == "measurement-not-allowed"


def test_a_changed_image_does_not_start_and_says_why(converted_clinic: Clinic, cluster: Cluster) -> None:
    folder = converted_clinic.folder
    changed = tamper.Layout(folder / "converted", folder / "changed")
    tamper.edit(changed, "app/clinic/model.json", tamper.change_byte("app/clinic/model.json"))
    converted_clinic.bring("changed", CHANGED)
    converted_clinic.start(cluster, CHANGED)
    assert _refusal(cluster).code == "file-changed"


def test_a_platform_of_revoked_tcb_gets_nothing_and_says_why(converted_clinic: Clinic, cluster: Cluster) -> None:
    converted_clinic.set_tcb("Revoked")
    try:
        converted_clinic.start(cluster)
        assert _refusal(cluster).code == "tcb-revoked"
    finally:
        converted_clinic.set_tcb("UpToDate")


@dataclass(frozen=True, slots=True)
class _Refusal:
    pod: str
    code: str
    text: str


def _refusal(cluster: Cluster) -> _Refusal:
    """Why the only pod's container ended: the same in its termination message, its log and an event of the pod."""
    refusal = cluster.wait("the container's end", lambda: _ended(cluster))[0]
    (said,) = cluster.wait("the event", lambda: cluster.events(refusal.pod, REASON))
    assert f"[{refusal.code}]" in said
    assert refusal.text.partition(" (refusal ")[0] in said  # each restart is another refusal of the broker's
    logged = f'"code": "{refusal.code}"'  # by the next attempt too, which may have begun
    cluster.wait(logged, lambda: logged in cluster.kubectl("logs", "--all-containers", refusal.pod))
    return refusal


def _ended(cluster: Cluster) -> list[_Refusal]:
    found = []
    for item in cluster.get("pods")["items"]:
        for status in item["status"].get("containerStatuses", ()):
            states = [status[key].get("terminated") or {} for key in ("state", "lastState")]
            said = [state.get("message", "") for state in states]  # the runtime says why it could not start one
            found += [_parsed(item["metadata"]["name"], message) for message in said if message.startswith("{")]
    return found


def _parsed(pod: str, message: str) -> _Refusal:
    document: dict[str, Any] = json.loads(message)
    return _Refusal(pod, document["code"], document["text"])
