"""What an operator says: a TOML file, over it variables of the environment, over those options of the command.

A key `a.b` of the file is the variable KLOISTER_ATTESTATION_A_B and the option --a-b; lists are separated by blanks
there, and instances are written in TOML: `[{base_url = "https://..", trust_model = "aad"}]`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from kloister.errors import KloisterError, Misconfigured
from kloister.formats.dcap import TcbStatus
from kloister.formats.tokens import Algorithm
from kloister.services.appraisal.inputs import parse_time

PREFIX = "KLOISTER_ATTESTATION_"
MAX_FILE = 1024 * 1024  # bytes of the settings file
_HOUR, _DAY = 3600, 86400  # seconds
_SQLITE = "sqlite:///"
_HOST = re.compile(r"[0-9A-Za-z._:-]+")  # a name, or an address; without the brackets of IPv6
_STATUSES = {str(each): each for each in TcbStatus}

# key -> (kind, default); `paths` are relative to the file's directory
KEYS: Mapping[str, tuple[str, Any]] = {
    "listen": ("text", "127.0.0.1:8443"),
    "workers": ("number", 1),
    "tls.certificate": ("path", None),
    "tls.key": ("path", None),
    "database": ("text", "sqlite:///attestation.db"),
    "root_key": ("path", "root.key"),
    "tee.socket": ("path", None),
    "auth.oidc_issuer": ("text", None),
    "auth.oidc_audience": ("text", None),
    "auth.oidc_ca": ("path", None),
    "auth.oidc_subjects": ("texts", ()),
    "auth.oidc_readers": ("texts", ()),
    "auth.dangerous_bearer_tokens": ("texts", ()),
    "collateral.directory": ("path", None),
    "collateral.pcs_url": ("text", None),
    "collateral.kds_url": ("text", None),
    "collateral.ca": ("path", None),
    "collateral.cache": ("path", "collateral"),
    "appraisal.accept": ("texts", ("UpToDate",)),
    "appraisal.policy": ("path", None),
    "appraisal.extra_roots": ("paths", ()),
    "appraisal.dangerous_at": ("time", None),
    "tokens.algorithm": ("text", "RS256"),
    "tokens.validity": ("number", 8 * _HOUR),
    "tokens.audience": ("text", None),
    "keys.rotation": ("number", 90 * _DAY),
    "policies.monotonic_iat": ("flag", False),
    "audit.attestations": ("flag", False),
    "logs.requests": ("flag", True),
    "limits.body": ("number", 256 * 1024),
    "limits.seconds": ("number", 20),
    "limits.concurrency": ("number", 256),
    "limits.rate": ("number", 200),
}


class TrustModel(StrEnum):
    """Who decides on an instance's policies: nobody, the tenant's administrators, or holders of certificates."""

    SHARED = "shared"
    AAD = "aad"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """One instance, what Azure calls a provider; `base_url` is its issuer."""

    base_url: str
    trust_model: TrustModel = TrustModel.AAD
    policy_certificates: tuple[Path, ...] = ()
    simulated: bool = False  # whether evidence of simulated platforms, which proves nothing, is accepted

    @property
    def authority(self) -> str:
        """`host[:port]` in lower case, as it stands in the header Host."""
        return urlsplit(self.base_url).netloc.lower()

    @property
    def signer(self) -> str:
        """Whose signing keys: those made while it is declared simulated are no others, and sign nothing else."""
        return f"{self.base_url}#simulated" if self.simulated else self.base_url

    @classmethod
    def read(cls, value: Any, base: Path) -> Self:
        """One entry of `instances`. Raises `Misconfigured`: `attestation-setting`."""
        if not isinstance(value, dict) or set(value) - {"base_url", "trust_model", "policy_certificates", "simulated"}:
            raise _unfit("instances", "has a key that is not known")
        model, simulated = value.get("trust_model", "aad"), value.get("simulated", False)
        if model not in tuple(TrustModel):  # no set: it may be anything
            raise _unfit("instances.trust_model", "is neither shared, aad nor isolated")
        if not isinstance(simulated, bool):
            raise _unfit("instances.simulated", "is neither true nor false")
        certificates = _convert("instances.policy_certificates", "paths", value.get("policy_certificates", ()), base)
        if model == TrustModel.ISOLATED and not certificates:
            raise _unfit("instances.policy_certificates", "is empty: an isolated instance needs one")
        return cls(
            base_url=_base_url(value.get("base_url")),
            trust_model=TrustModel(model),
            policy_certificates=certificates,
            simulated=simulated,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Times are seconds, sizes bytes."""

    instances: tuple[InstanceSettings, ...]
    listen: str
    workers: int  # processes; one per processor is best
    tls_certificate: Path | None  # None: one of an authority of its own, beside the root key
    tls_key: Path | None
    database: str
    root_key: Path
    tee_socket: Path | None  # of the enclave that the service runs in: seals the root key, vouches for signing keys
    auth_oidc_issuer: str | None
    auth_oidc_audience: str | None
    auth_oidc_ca: Path | None  # None: the machine's roots
    auth_oidc_subjects: tuple[str, ...]  # who of the issuer's administers, beside those with a role
    auth_oidc_readers: tuple[str, ...]  # who reads; neither named: the issuer decides by whom it gives a token
    auth_dangerous_bearer_tokens: tuple[str, ...] = field(repr=False)
    collateral_directory: Path | None
    collateral_pcs_url: str | None
    collateral_kds_url: str | None  # of AMD's service, for revocation lists
    collateral_ca: Path | None  # None: the machine's roots
    collateral_cache: Path
    appraisal_accept: frozenset[TcbStatus]
    appraisal_policy: Path | None  # of results for RATS; None: genuine hardware of an accepted status
    appraisal_extra_roots: tuple[Path, ...]
    appraisal_dangerous_at: datetime | None  # judges collateral at this time, however long ago
    tokens_algorithm: Algorithm
    tokens_validity: int
    tokens_audience: str | None
    keys_rotation: int
    policies_monotonic_iat: bool  # whether a signed policy must have a later `iat` than all before
    audit_attestations: bool
    logs_requests: bool  # whether each answer is logged
    limits_body: int
    limits_seconds: int  # for one request
    limits_concurrency: int  # connections of one worker
    limits_rate: int  # requests per second and client of one worker; 0: no limit

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str], options: Mapping[str, Any]) -> Self:
        """Read a settings file. `options` are by key, absent or None where not given.

        Raises:
            Misconfigured: `attestation-settings`, `attestation-setting`, naming the key.
        """
        try:
            with path.open("rb") as file:
                document = tomllib.loads(file.read(MAX_FILE + 1)[:MAX_FILE].decode("utf-8"))
        except OSError as error:
            raise Misconfigured("attestation-settings", f"{path}: {error.strerror}.", "Name a TOML file.") from None
        except (ValueError, RecursionError) as error:
            raise Misconfigured("attestation-settings", f"{path} is no TOML: {error}.", "Correct it there.") from None
        return cls.read(document, path.parent.absolute(), environment, options)

    @classmethod
    def read(
        cls, document: Mapping[str, Any], base: Path, environment: Mapping[str, str], options: Mapping[str, Any]
    ) -> Self:
        """The same from the document itself; `base` is what relative paths start from."""
        flat = _flat(document)
        values: dict[str, Any] = {}
        for key, (kind, default) in KEYS.items():
            given = _given(key, flat, environment, options)
            values[key.replace(".", "_")] = None if given is default is None else _convert(
                key, kind, default if given is None else given, base
            )  # fmt: skip
        listed = _listed(_given("instances", flat, environment, options))
        instances = tuple(InstanceSettings.read(each, base) for each in listed)
        return cls(instances=instances, **_checked(instances, values, base))


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        section = isinstance(value, dict)
        flat |= {f"{name}.{inner}": each for inner, each in value.items()} if section else {name: value}
    unknown = [key for key in flat if key not in KEYS and key != "instances"]
    if unknown:
        raise _unfit(unknown[0], "is no setting that is known")
    return flat


def _given(key: str, flat: Mapping[str, Any], environment: Mapping[str, str], options: Mapping[str, Any]) -> Any:
    option = options.get(key)
    if option not in (None, []):
        return option
    variable = environment.get(PREFIX + key.replace(".", "_").upper())
    return variable if variable is not None else flat.get(key)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = tomllib.loads(f"instances = {value}")["instances"]
        except ValueError:
            raise _unfit("instances", "is no list of tables in TOML") from None
    if not isinstance(value, list) or not value:
        raise _unfit("instances", "is missing: at least one instance with a base_url is needed")
    return value


def _convert(key: str, kind: str, value: Any, base: Path) -> Any:
    """One value of the kind; texts of the environment and of options are read as such a value."""
    if kind == "number" and isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if kind == "flag" and value in ("true", "false"):
        value = value == "true"
    if kind in ("texts", "paths") and isinstance(value, str):
        value = value.split()
    if kind == "time":
        return _time(value)
    fit = {
        "text": isinstance(value, str),
        "path": isinstance(value, (str, Path)),
        "number": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "flag": isinstance(value, bool),
    }.get(kind, isinstance(value, (list, tuple)) and all(isinstance(each, (str, Path)) for each in value))
    if not fit or "\0" in "".join(map(str, value if isinstance(value, (list, tuple)) else [value])):
        raise _unfit(key, f"must be of the kind {kind}")
    if kind in ("texts", "paths"):
        return tuple(base / each for each in value) if kind == "paths" else tuple(str(each) for each in value)
    return base / value if kind == "path" else value


def _checked(instances: tuple[InstanceSettings, ...], values: dict[str, Any], base: Path) -> dict[str, Any]:
    """What the values must be together, and the few that have types of their own."""
    names = [each.authority for each in instances]
    if len(set(names)) != len(names):
        raise _unfit("instances.base_url", "is there twice")
    if (values["tls_certificate"] is None) != (values["tls_key"] is None):
        raise _unfit("tls", "needs both, certificate and key")
    if (values["auth_oidc_issuer"] is None) != (values["auth_oidc_audience"] is None):
        raise _unfit("auth", "needs both, oidc_issuer and oidc_audience")
    if values["collateral_directory"] is not None and values["collateral_pcs_url"] is not None:
        raise _unfit("collateral", "is either a directory or a pcs_url")
    unknown = [each for each in values["appraisal_accept"] if each not in _STATUSES]
    if unknown:
        raise _unfit("appraisal.accept", f"holds {unknown[0]!a}, which is no TCB status")
    if values["tokens_algorithm"] not in set(Algorithm):
        raise _unfit("tokens.algorithm", f"is none of {', '.join(Algorithm)}")
    if not values["tokens_validity"] or not values["workers"] or values["keys_rotation"] < _DAY:
        raise _unfit("tokens.validity, workers or keys.rotation", "is too small")
    return {
        **values,
        "database": _database(values["database"], base),
        "appraisal_accept": frozenset(_STATUSES[each] for each in values["appraisal_accept"]),
        "tokens_algorithm": Algorithm(values["tokens_algorithm"]),
    }


def _database(url: str, base: Path) -> str:
    """A relative file of SQLite is beside the settings, as all other paths are."""
    scheme, path = url[: len(_SQLITE)], url[len(_SQLITE) :]
    return f"{_SQLITE}{base / path}" if scheme == _SQLITE and path else url


def _time(value: Any) -> datetime:
    """Unix seconds, ISO 8601 as text, or TOML's own."""
    try:
        return parse_time(str(value))
    except KloisterError:
        raise _unfit("appraisal.dangerous_at", "is no time: unix seconds or 2026-01-15T00:00:00Z") from None


def _base_url(value: Any) -> str:
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isascii() else None
        named = parts is not None and _HOST.fullmatch(parts.hostname or "") is not None
        fit = named and parts is not None and parts.scheme == "https" and parts.port != 0
    except ValueError:
        fit = False
    if not fit or parts is None or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise _unfit("instances.base_url", "must be https://HOST[:PORT] without a slash at the end")
    return str(value)


def _unfit(key: str, why: str) -> Misconfigured:
    return Misconfigured("attestation-setting", f"The setting {key} {why}.", "See docs/how-to/attestation.md.")
