from __future__ import annotations

import re
from typing import Any

from kloister.errors import Malformed
from kloister.formats.policy import fields as f
from kloister.formats.policy.model import (
    API_VERSION,
    KIND,
    Alternative,
    Attestation,
    FileSpec,
    Kind,
    Policy,
    Scope,
    SecretSpec,
    Service,
    SgxExpectation,
    TcbRule,
    Waiver,
)
from kloister.formats.wire import canonical_json

MAX_DOCUMENT = 1024 * 1024  # bytes of canonical JSON; the largest real documents are some tens of kB
MAX_PATTERN = 4096  # characters of a slot's pattern; the launcher takes no longer one

# TCB statuses of Intel's TCB info (PCS API v4) that a policy may accept; Revoked is not genuine and never accepted.
TCB_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)

_PLANNED_KINDS = ("private-key", "ssh-key", "file")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ADVISORY = re.compile(r"INTEL-SA-\d{5}", re.ASCII)
_MODE = re.compile(r"[0-7]{3,4}")
_DNS = re.compile(
    r"(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def parse_policy(value: Any) -> Policy:
    """A policy from plain values (maps, lists, text, whole numbers, true, false), as YAML or JSON give them.

    Raises:
        Malformed: `policy-invalid`, `policy-unknown-field`, `policy-not-supported-yet`, each naming the field's path.
    """
    top = f.Fields(value, "", ("predecessor", "volumes", "imports", "exports", "access", "approvals"))
    _constant(top, "apiVersion", API_VERSION)
    _constant(top, "kind", KIND)
    metadata = f.Fields(top.need("metadata"), "metadata")
    namespace = f.name(metadata.need("namespace"), "metadata.namespace")
    name = f.name(metadata.need("name"), "metadata.name")
    metadata.finish()
    attestation = _attestation(top.need("attestation"))
    secrets = _secrets(top.take("secrets", []))
    services = _services(top.need("services"))
    top.finish()
    if len(canonical_json(value)) > MAX_DOCUMENT:
        f.wrong("", f"has more than {MAX_DOCUMENT} bytes")
    return Policy(namespace, name, attestation, secrets, services, value)


def _constant(fields: f.Fields, name: str, expected: str) -> None:
    if fields.need(name) != expected:
        f.wrong(fields.path(name), f"must be {expected}")


def _attestation(value: Any) -> Attestation:
    fields = f.Fields(value, "attestation", ("platforms", "maxActivations"))
    alternatives = tuple(_alternative(*entry) for entry in f.items(fields.need("any"), "attestation.any"))
    tcb = _tcb(fields.take("tcb", {}))
    simulated = fields.take("simulated", "deny")
    if simulated not in ("allow", "deny"):
        f.wrong("attestation.simulated", "must be allow or deny")
    fields.finish()
    return Attestation(alternatives, tcb, simulated == "allow")


def _alternative(value: Any, path: str) -> Alternative:
    fields = f.Fields(value, path, ("tdx", "snp"))
    if not fields.has("sgx"):
        fields.take("retire", None)
        fields.finish()
    sgx = _sgx(fields.need("sgx"), f"{path}.sgx")
    retire = f.day(fields.need("retire"), f"{path}.retire") if fields.has("retire") else None
    fields.finish()
    return Alternative(sgx, retire)


def _sgx(value: Any, path: str) -> SgxExpectation:
    fields = f.Fields(value, path, ("configid",))
    debug = f.boolean(fields.take("debug", False), f"{path}.debug")
    if fields.has("mrenclave"):
        expectation = SgxExpectation(f.hexadecimal(fields.need("mrenclave"), f"{path}.mrenclave", 32), debug=debug)
    elif fields.has("mrsigner"):
        expectation = SgxExpectation(
            None,
            f.hexadecimal(fields.need("mrsigner"), f"{path}.mrsigner", 32),
            f.integer(fields.need("isvprodid"), f"{path}.isvprodid", 0, 0xFFFF),
            f.integer(fields.need("isvsvn"), f"{path}.isvsvn", 0, 0xFFFF),
            debug,
        )
    else:
        fields.finish()
        f.wrong(path, "must name mrenclave, or mrsigner with isvprodid and isvsvn")
    fields.finish()
    return expectation


def _tcb(value: Any) -> TcbRule:
    fields = f.Fields(value, "attestation.tcb", ("minimumDate",))
    accept = f.texts(fields.take("accept", ["UpToDate"]), "attestation.tcb.accept")
    for index, status in enumerate(accept):
        if status not in TCB_STATUSES:
            f.wrong(f"attestation.tcb.accept[{index}]", f"must be one of {', '.join(TCB_STATUSES)}")
    waive = tuple(_waiver(*entry) for entry in f.items(fields.take("waive", []), "attestation.tcb.waive"))
    f.distinct([waiver.advisory for waiver in waive], "attestation.tcb.waive")
    fields.finish()
    return TcbRule(accept, waive)


def _waiver(value: Any, path: str) -> Waiver:
    fields = f.Fields(value, path)
    advisory = f.text(fields.need("advisory"), f"{path}.advisory")
    if not _ADVISORY.fullmatch(advisory):
        f.wrong(f"{path}.advisory", "must be one advisory such as INTEL-SA-00615")
    until = f.day(fields.need("until"), f"{path}.until")
    reason = f.text(fields.need("reason"), f"{path}.reason")
    fields.finish()
    return Waiver(advisory, until, reason)


def _secrets(value: Any) -> tuple[SecretSpec, ...]:
    secrets = tuple(_secret(*entry) for entry in f.items(value, "secrets"))
    f.distinct([secret.name for secret in secrets], "secrets")
    authorities = {secret.name for secret in secrets if secret.kind is Kind.X509_CA}
    for index, secret in enumerate(secrets):
        if secret.kind is Kind.X509 and secret.issuer not in authorities:
            f.wrong(f"secrets[{index}].issuer", "must name a secret of kind x509-ca of this policy")
    return secrets


def _secret(value: Any, path: str) -> SecretSpec:
    fields = f.Fields(value, path)
    name = f.name(fields.need("name"), f"{path}.name")
    kind = _kind(fields.need("kind"), f"{path}.kind")
    secret = _RECIPES[kind](fields, path, name)
    fields.finish()
    return secret


def _kind(value: Any, path: str) -> Kind:
    if value in _PLANNED_KINDS:
        raise Malformed(
            "policy-not-supported-yet",
            f"{path} {value} is part of the policy language, but this version cannot make it.",
            "Use kind value and upload it with `kloister secret set`.",
        )
    if not isinstance(value, str) or value not in list(Kind):
        f.wrong(path, f"must be one of {', '.join(Kind)}")
    return Kind(value)


def _value(fields: f.Fields, path: str, name: str) -> SecretSpec:
    if not f.boolean(fields.take("imported", True), f"{path}.imported"):
        f.wrong(f"{path}.imported", "cannot be false for kind value, which is always uploaded")
    return SecretSpec(name, Kind.VALUE, imported=True)


def _random(fields: f.Fields, path: str, name: str) -> SecretSpec:
    length = f.integer(fields.take("length", 32), f"{path}.length", 16, 4096)
    return SecretSpec(name, Kind.RANDOM, length=length)


def _password(fields: f.Fields, path: str, name: str) -> SecretSpec:
    length = f.integer(fields.take("length", 32), f"{path}.length", 16, 1024)
    return SecretSpec(name, Kind.PASSWORD, length=length)


def _symmetric_key(fields: f.Fields, path: str, name: str) -> SecretSpec:
    bits = f.integer(fields.take("bits", 256), f"{path}.bits", 128, 512)
    if bits not in (128, 192, 256, 512):
        f.wrong(f"{path}.bits", "must be 128, 192, 256 or 512")
    return SecretSpec(
        name, Kind.SYMMETRIC_KEY, bits=bits, imported=f.boolean(fields.take("imported", False), f"{path}.imported")
    )


def _common_name(fields: f.Fields, path: str, name: str) -> str:
    value = f.text(fields.take("commonName", name), f"{path}.commonName")
    if len(value) > 64:  # noqa: PLR2004  ub-common-name of RFC 5280, appendix A.1
        f.wrong(f"{path}.commonName", "has more than 64 characters")
    return value


def _x509_ca(fields: f.Fields, path: str, name: str) -> SecretSpec:
    return SecretSpec(name, Kind.X509_CA, common_name=_common_name(fields, path, name), scope=Scope.POLICY)


def _x509(fields: f.Fields, path: str, name: str) -> SecretSpec:
    dns = f.texts(fields.take("dns", []), f"{path}.dns")
    for index, one in enumerate(dns):
        if not _DNS.fullmatch(one) or len(one) > 253:  # noqa: PLR2004  RFC 1035, section 2.3.4, without the root
            f.wrong(f"{path}.dns[{index}]", "must be a DNS name")
    scope = fields.take("scope", "instance")
    if scope not in ("instance", "policy"):
        f.wrong(f"{path}.scope", "must be instance or policy")
    issuer = f.name(fields.need("issuer"), f"{path}.issuer")
    common_name = _common_name(fields, path, name)
    return SecretSpec(name, Kind.X509, common_name=common_name, issuer=issuer, dns=dns, scope=Scope(scope))


_RECIPES = {
    Kind.VALUE: _value,
    Kind.RANDOM: _random,
    Kind.PASSWORD: _password,
    Kind.SYMMETRIC_KEY: _symmetric_key,
    Kind.X509_CA: _x509_ca,
    Kind.X509: _x509,
}


def _services(value: Any) -> tuple[Service, ...]:
    services = tuple(_service(*entry) for entry in f.items(value, "services"))
    f.distinct([service.name for service in services], "services")
    return services


def _service(value: Any, path: str) -> Service:
    fields = f.Fields(value, path, ("tls",))
    name = f.name(fields.need("name"), f"{path}.name")
    arguments = f.texts(fields.need("arguments"), f"{path}.arguments") if fields.has("arguments") else None
    environment = f.pairs(fields.take("environment", {}), f"{path}.environment", _VARIABLE, "a variable's name")
    files = tuple(_file(*entry) for entry in f.items(fields.take("files", []), f"{path}.files"))
    f.distinct([file.path for file in files], f"{path}.files")
    slots = f.pairs(fields.take("slots", {}), f"{path}.slots", _VARIABLE, "a variable's name")
    _slots(slots, environment, f"{path}.slots")
    _output(fields.take("output", "clear"), f"{path}.output")
    fields.finish()
    return Service(name, arguments, environment, files, slots)


def _slots(slots: dict[str, str], environment: dict[str, str], path: str) -> None:
    for name, pattern in slots.items():
        if name in environment:
            f.wrong(f"{path}.{name}", "is also set by environment")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError, Warning):  # a FutureWarning marks an ambiguous set
            f.wrong(f"{path}.{name}", "must be a regular expression")
        if len(pattern) > MAX_PATTERN:
            f.wrong(f"{path}.{name}", f"has more than {MAX_PATTERN} characters")


def _output(value: Any, path: str) -> None:
    if value in ("drop", "encrypted"):
        raise Malformed(
            "policy-not-supported-yet",
            f"{path} {value} is part of the policy language, but this version cannot keep it.",
            "Only clear is supported.",
        )
    if value != "clear":
        f.wrong(path, "must be clear, drop or encrypted")


def _file(value: Any, path: str) -> FileSpec:
    fields = f.Fields(value, path)
    where = f.text(fields.need("path"), f"{path}.path")
    parts = where.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):  # noqa: PLR2004  "/x" has 2
        f.wrong(f"{path}.path", "must be an absolute path without ., .. or empty parts")
    content = f.text(fields.need("content"), f"{path}.content", empty=True)
    mode = fields.take("mode", "0400")
    if not isinstance(mode, str) or not _MODE.fullmatch(mode):
        f.wrong(f"{path}.mode", "must be octal digits in quotes", 'For instance "0400".')
    owner = f.integer(fields.take("owner", 0), f"{path}.owner", 0, 2**32 - 2)
    group = f.integer(fields.take("group", 0), f"{path}.group", 0, 2**32 - 2)
    fields.finish()
    return FileSpec(where, content, int(mode, 8), owner, group)
