from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.webhook.mutate import Settings
from kloister.kubernetes.webhook.review import answer

SETTINGS = Settings(block=8 << 20, largest=1 << 30)
POD = {"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"sgx.intel.com/epc": "8Mi"}}}]}}


def review(pod: Any = POD, **more: Any) -> bytes:
    request = {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod, **more}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def test_patches_come_as_base64_of_a_json_patch() -> None:
    response = answer(review(), SETTINGS)["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u-1", True, "JSONPatch")
    assert {"op", "path", "value"} == set(json.loads(b64decode(response["patch"]))[0])


def test_a_pod_without_epc_has_no_patch() -> None:
    response = answer(review({"spec": {"containers": [{"name": "a"}]}}), SETTINGS)["response"]
    assert response == {"uid": "u-1", "allowed": True}


def test_a_request_that_cannot_be_meant_is_refused_with_a_sentence() -> None:
    assert answer(review(), SETTINGS)["response"]["allowed"]
    pod = json.loads(json.dumps(POD).replace("8Mi", "8.5"))
    response = answer(review(pod), SETTINGS)["response"]
    assert response["allowed"] is False
    assert response["status"]["code"] == 422
    assert "[quantity]" in response["status"]["message"]


def test_another_kind_than_a_pod_is_refused() -> None:
    response = answer(review(kind={"kind": "Service"}), SETTINGS)["response"]
    assert "[pod-shape]" in response["status"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"{}", review().replace(b"k8s.io/v1", b"k8s.io/v1beta1"), review(uid=3)],
)
def test_what_is_no_review_is_refused(body: bytes) -> None:
    assert answer(review(), SETTINGS)
    with pytest.raises(Malformed) as caught:
        answer(body, SETTINGS)
    assert caught.value.code == "admission-review"


@given(st.integers(0, len(review()) - 1), st.integers(0, 255))
def test_damaged_reviews_are_answered_or_refused(at: int, byte: int) -> None:
    body = bytearray(review())
    body[at] = byte
    try:
        assert "allowed" in answer(bytes(body), SETTINGS)["response"]
    except Malformed:
        assert bytes(body) != review()
