"""The clinic: a web service in Python with a password that is known and a key that the broker makes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kloister.images.samples import make_sample
from tests.cluster.access import Cluster, fetch
from tests.cluster.applications.application import Application, Converted

PASSWORD = "db-3f9c1c55e0b74b1d8a61"
_RELEASED = """\
secrets:
  - {name: db, kind: value}
  - {name: ca, kind: x509-ca, commonName: Clinic CA}
  - {name: server, kind: x509, issuer: ca, dns: [localhost]}
services:
  - name: app
    environment: {DB_PASSWORD: "{{ secrets.db.value }}", HOST: "0.0.0.0"}
    files:
      - {path: /etc/tls/tls.key, mode: "0400", owner: 1000, content: "{{ secrets.server.key }}"}
      - {path: /etc/tls/tls.crt, mode: "0444", content: "{{ secrets.server.certificate }}"}
"""
CLINIC = Application(
    name="clinic",
    policy="clinic/inference",
    released=_RELEASED,
    make=lambda destination: make_sample("clinic", destination),
    port=8443,
    places=("/run", "/tmp", "/etc/tls"),  # noqa: S108 (in the container)
    writable=("/etc/tls",),
    uploaded={"db": PASSWORD},
)


@dataclass(frozen=True, slots=True)
class Clinic(Converted):
    """It says over TLS whether it is well."""

    def answers(self, door: int) -> bool:
        """To a client that trusts the policy's authority only."""
        return bool(json.loads(fetch(f"https://localhost:{door}/health", self.trusting("ca")))["status"] == "ok")

    def start(self, cluster: Cluster, image: str = "") -> None:
        """One pod of it."""
        cluster.apply(*self.objects(1, image))

    def set_tcb(self, status: str) -> None:
        """What the platform's maker says of its security from now on; a new broker has no older answer in mind."""
        self._run("simulator", "tcb-recovery", status, *self._at)
        self.stack.stop_broker()
        self.stack.start_broker()
