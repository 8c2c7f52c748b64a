"""A policy to vary, and a broker in one process: real storage, real verifier, quotes of a simulated platform."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kloister import entropy
from kloister.client.admin import AdminClient
from kloister.errors import Unavailable
from kloister.formats.policy import Policy, parse_policy
from kloister.formats.protocol.release import (
    Bundle,
    ChallengeRequest,
    ReleaseRequest,
    Sealed,
    open_sealed,
    public_key,
)
from kloister.formats.sgx import ReportBody
from kloister.serve.state import State
from kloister.services.broker.appraiser import CachingAppraiser
from kloister.services.broker.release import ReleaseDesk
from kloister.services.broker.service import Administration
from kloister.services.broker.settings import Settings
from kloister.services.broker.vault import Vault
from kloister.services.storage.sqlite import SqliteStorage
from kloister.simulator.documents import TcbStage
from kloister.trust.verifier import Collateral, Root
from tests.support.evidence import ENCLAVE, NOW, Forge

BROKER_KEY = bytes(range(100, 132))
ROOT_KEY = bytes(range(32))

DOCUMENT: dict[str, Any] = {
    "apiVersion": "kloister.dev/v1",
    "kind": "Policy",
    "metadata": {"namespace": "clinic", "name": "inference"},
    "attestation": {"any": [{"sgx": {"mrenclave": ENCLAVE.mrenclave.hex()}}], "simulated": "allow"},
    "secrets": [
        {"name": "db", "kind": "password", "length": 32},
        {"name": "ca", "kind": "x509-ca", "commonName": "Clinic CA"},
        {"name": "server", "kind": "x509", "issuer": "ca", "dns": ["localhost"]},
        {"name": "layer", "kind": "symmetric-key", "bits": 256},
        {"name": "licence", "kind": "value"},
    ],
    "services": [
        {
            "name": "app",
            "arguments": ["serve", "--licence={{ secrets.licence.value }}"],
            "environment": {"DB_PASSWORD": "{{ secrets.db.value }}"},
            "files": [
                {"path": "/etc/tls/tls.key", "mode": "0400", "owner": 1000, "content": "{{ secrets.server.key }}"},
                {"path": "/etc/tls/tls.crt", "content": "{{ secrets.server.chain }}"},
            ],
            "slots": {"LOG_LEVEL": "^(info|debug)$"},
        },
        {"name": "other"},
    ],
}


def document(path: str = "", value: Any = None) -> dict[str, Any]:
    """The document; with `path` (dots between fields and indices), one value replaced, or removed where None."""
    result = copy.deepcopy(DOCUMENT)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = result
    for step in parents:
        at = at[step]
    if path and value is None:
        del at[last]
    elif path:
        at[last] = value
    return result


def policy(path: str = "", value: Any = None) -> Policy:
    """The same, parsed."""
    return parse_policy(document(path, value))


@dataclass
class Source:
    """A collateral source at hand: what the simulated platform would hand out, and how often it was asked."""

    forge: Forge
    now: datetime = NOW
    stage: TcbStage | None = None
    admitted: Sequence[Root] | None = None
    error: Exception | None = None
    asked: int = 0

    def collateral(self) -> Collateral:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Collateral.from_json(self.forge.documents(self.stage, self.now))

    def roots(self) -> Sequence[Root]:
        return [self.forge.root] if self.admitted is None else self.admitted


@dataclass
class Guest:
    """One workload's side of an exchange; the fields are what an attacker may vary."""

    desk: ReleaseDesk
    forge: Forge = field(default_factory=Forge)
    namespace: str = "clinic"
    policy: str = "inference"
    service: str = "app"
    instance: str = "instance-1"
    enclave: ReportBody = ENCLAVE
    broker_key: bytes = BROKER_KEY
    private: bytes = bytes(range(32))
    report_data: bytes | None = None

    def request(self, nonce: bytes | None = None) -> ReleaseRequest:
        """A request with a fresh nonce (or the one given) and a quote over its own report data."""
        if nonce is None:
            nonce = self.desk.challenge(ChallengeRequest(self.namespace, self.policy), "guest").nonce
        names = (self.namespace, self.policy, self.service, self.instance)
        request = ReleaseRequest(nonce, *names, key=public_key(self.private), quote=b"")
        data = self.report_data or request.binding(self.broker_key).report_data()
        quote = replace(self.forge, enclave=replace(self.enclave, report_data=data)).quote()
        return replace(request, quote=quote)

    def ask(self, nonce: bytes | None = None) -> Bundle:
        """The whole exchange; raises what the desk raises."""
        request = self.request(nonce)
        return self.open(request, self.desk.release(request, "guest"))

    def open(self, request: ReleaseRequest, sealed: Sealed) -> Bundle:
        """Decrypt an answer."""
        return open_sealed(sealed, request.binding(self.broker_key), request.quote, self.private)


class Rig:
    """A broker's services over a directory; make another one over the same directory to restart it."""

    def __init__(self, directory: Path, settings: Settings | None = None, now: datetime = NOW) -> None:
        self.directory = directory
        self.now = now
        self.storage = SqliteStorage(directory / "broker.db")
        self.vault = Vault(ROOT_KEY, entropy.draw)
        self.settings = settings or Settings(simulated=True)
        self.source = Source(Forge())
        appraiser = CachingAppraiser(self.source)
        self.desk = ReleaseDesk(self.storage, self.vault, appraiser, BROKER_KEY, self.settings, self.clock)
        self.admin = Administration(self.storage, self.vault, self.settings, self.clock)

    def clock(self) -> datetime:
        """The time, as the test sets it."""
        return self.now

    def prepared(self, value: bytes = b"licence-1234", path: str = "", change: Any = None) -> Rig:
        """The same with the policy applied and its value uploaded."""
        self.apply(document(path, change))
        self.admin.set_secret("clinic", "inference", "licence", value, "test")
        return self

    def apply(self, value: dict[str, Any]) -> dict[str, Any]:
        """Apply a document."""
        return self.admin.apply(json.dumps(value).encode(), "test")

    def guest(self, **changes: Any) -> Guest:
        """A workload that asks this broker."""
        return Guest(self.desk, **changes)

    def close(self) -> None:
        """Let go of the database."""
        self.storage.close()


def answers(state: State) -> bool:
    """Whether the broker of a state directory answers its administrator."""
    try:
        AdminClient(state.admin).status()
    except Unavailable:
        return False
    return True
