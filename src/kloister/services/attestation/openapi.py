"""The OpenAPI document of what the service answers."""

from __future__ import annotations

import json
from typing import Any

from kloister.formats.tokens.ear import Profile, Tier
from kloister.services.attestation.exchange import VERSIONS
from kloister.services.attestation.kinds import JUDGED, Kind, member_of

_VERSION = {
    "name": "api-version", "in": "query", "required": True, "schema": {"type": "string", "enum": sorted(VERSIONS)},
}  # fmt: skip
_KIND = {
    "name": "attestationType", "in": "path", "required": True,
    "schema": {"type": "string", "enum": [str(kind) for kind in Kind]},
}  # fmt: skip
_AFTER = {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0}}
_BYTES = {"type": "string", "description": "base64url without padding; base64 and padding are read, too"}
_DATA = {
    "type": "object", "required": ["data", "dataType"],
    "properties": {"data": _BYTES, "dataType": {"type": "string", "enum": ["Binary", "JSON"]}},
}  # fmt: skip
_TOKEN = {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}
_ERROR = {
    "type": "object", "required": ["error"],
    "properties": {
        "error": {
            "type": "object", "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"}, "message": {"type": "string"},
                "innererror": {"type": "object", "properties": {"code": {"type": "string"}}},
            },
        }
    },
}  # fmt: skip
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
_JSON, _TEXT = "application/json", "text/plain"


def document(version: str) -> bytes:
    """The document (OpenAPI 3.1), JSON."""
    paths: dict[str, Any] = {
        **{f"/attest/{kind}": {"post": _attest(kind)} for kind in Kind if kind is not Kind.AZURE_GUEST},
        "/policies/{attestationType}": {
            "get": _operation("The policy in force", [_VERSION, _KIND], secured=True),
            "put": _operation("Set a policy", [_VERSION, _KIND], _body(_TEXT, {"type": "string"}), secured=True),
        },
        "/policies/{attestationType}:reset": {
            "post": _operation("Reset a policy", [_VERSION, _KIND], _body(_TEXT, {"type": "string"}), secured=True),
        },
        "/certificates": {"get": _operation("Policy management certificates", [_VERSION], secured=True)},
        "/certificates:add": {"post": _certificate("Add a policy management certificate")},
        "/certificates:remove": {"post": _certificate("Remove a policy management certificate")},
        "/tcbbaselines/{attestationType}": {
            "get": _operation("TCB baselines", [_VERSION, _KIND], answer={"type": "object"}, secured=True),
        },
        "/certs": {"get": _operation("The keys that sign tokens", [], answer={"type": "object"})},
        "/.well-known/openid-configuration": {"get": _operation("OpenID metadata", [], answer={"type": "object"})},
        "/v1/nonce": {"post": _operation("A nonce for runtime data", [], answer={"type": "object"})},
        "/v1/appraise": {"post": _appraise()},
        "/v1/audit": {"get": _operation("The audit log", [_AFTER], answer={"type": "object"}, secured=True)},
        "/healthz": {"get": _operation("Whether the process lives", [], answer={"type": "object"})},
        "/readyz": {"get": _operation("Whether it can do its work", [], answer={"type": "object"}, failures=("503",))},
        "/metrics": {"get": _operation("Prometheus metrics", [], answer=None)},
    }
    info = {"title": "Kloister attestation service", "version": version}
    components = {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}, "schemas": {"Error": _ERROR}}
    return json.dumps({"openapi": "3.1.0", "info": info, "paths": paths, "components": components}).encode("ascii")


def _attest(kind: Kind) -> dict[str, Any]:
    if kind is Kind.TPM:
        schema = {"type": "object", "properties": {"data": _BYTES}}
        return _operation("A TPM's message", [_VERSION], _body(_JSON, schema), answer=schema, secured=True)
    schema = {
        "type": "object", "required": [member_of(kind)],
        "properties": {
            member_of(kind): _BYTES, "runtimeData": _DATA, "initTimeData": _DATA,
            "nonce": {"type": ["string", "integer"]}, "draftPolicyForAttestation": {"type": "string"},
        },
    }  # fmt: skip
    return _operation(f"Attest {kind}", [_VERSION], _body(_JSON, schema))


def _appraise() -> dict[str, Any]:
    schema = {
        "type": "object", "required": ["attestationType"],
        "properties": {
            "attestationType": {"type": "string", "enum": sorted(JUDGED)},
            "quote": _BYTES, "report": _BYTES, "runtimeData": _DATA, "initTimeData": _DATA,
            "nonce": {"type": "string"}, "profile": {"type": "string", "enum": list(Profile)},
        },
    }  # fmt: skip
    answer = {
        "type": "object", "required": ["ear", "status"],
        "properties": {
            "ear": {"type": "string"}, "status": {"type": "string", "enum": list(Tier)},
            "reasons": {"type": "array", "description": "for who administers"},
            "explanation": {"type": ["object", "null"], "description": "for who administers"},
        },
    }  # fmt: skip
    return _operation("Appraise evidence into an EAR, whatever the verdict", [], _body(_JSON, schema), answer=answer)


def _certificate(summary: str) -> dict[str, Any]:
    return _operation(summary, [_VERSION], _body(_JSON, {"type": "string"}), secured=True)


def _body(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media: {"schema": schema}}}


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any] | None = None,
    *,
    answer: dict[str, Any] | None = _TOKEN,
    secured: bool = False,
    failures: tuple[str, ...] = (),
) -> dict[str, Any]:
    content = {_JSON: {"schema": answer}} if answer is not None else {_TEXT: {"schema": {"type": "string"}}}
    refused = {"description": "refused", "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
    statuses = ["400", "404", "405", "408", "413", "429", *(["401", "403"] if secured else [])]
    responses: dict[str, Any] = {"200": {"description": "done", "content": content}}
    responses |= dict.fromkeys(statuses, refused) | {name: {"description": "not now"} for name in failures}
    found: dict[str, Any] = {"summary": summary, "parameters": parameters, "responses": responses}
    if body is not None:
        found["requestBody"] = body
    return {**found, "security": _BEARER} if secured else found
