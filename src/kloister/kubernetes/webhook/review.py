"""AdmissionReview v1 in and out (Kubernetes API, admission.k8s.io/v1)."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from kloister.errors import KloisterError, Malformed
from kloister.kubernetes.webhook.mutate import Mutation, Settings, mutate

LIMIT = 4 * 1024 * 1024  # bytes; the API server's own limit of a request is 3 MiB
_WARNING = 256  # bytes of one warning (Kubernetes API, AdmissionResponse.warnings)
Json = dict[str, Any]


def answer(body: bytes, settings: Settings) -> Json:
    """The AdmissionReview that answers another: patches, or a refusal with a sentence for `kubectl`.

    Raises:
        Malformed: `admission-review`: there is no request that could be answered.
    """
    review, request = _request(body)
    head = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview"}
    try:
        response = _accepted(mutate(_pod(request), settings))
    except KloisterError as error:
        response = {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": f"kloister: {error}"}}
    return {**head, "response": {"uid": request["uid"], **response}}


def _accepted(mutation: Mutation) -> Json:
    response: Json = {"allowed": True}
    if mutation.patches:
        patches = json.dumps(mutation.patches, separators=(",", ":")).encode()
        response |= {"patchType": "JSONPatch", "patch": b64encode(patches).decode()}
    if mutation.warnings:
        response["warnings"] = [warning[:_WARNING] for warning in mutation.warnings]
    return response


def _request(body: bytes) -> tuple[Json, Json]:
    try:
        review = json.loads(body)
    except (ValueError, RecursionError):
        raise _refused("The body is no JSON.") from None
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict) or review.get("apiVersion") != "admission.k8s.io/v1":
        raise _refused("The body is no AdmissionReview of admission.k8s.io/v1.")
    if not isinstance(request.get("uid"), str):
        raise _refused("The request has no uid.")
    return review, request


def _pod(request: Json) -> Json:
    kind = request.get("kind")
    pod = request.get("object")
    if not isinstance(kind, dict) or kind.get("kind") != "Pod" or not isinstance(pod, dict):
        raise Malformed("pod-shape", "The request is about something that is no pod.", "Register the webhook for pods.")
    return pod


def _refused(text: str) -> Malformed:
    return Malformed("admission-review", text, "Only the API server calls this address.")
