"""Debian's nginx, whose TLS key and certificate come from the broker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import EPOCH, Root
from tests.cluster.access import fetch
from tests.cluster.applications.application import Application, Converted

PROGRAM = Path("/usr/sbin/nginx")
PAGE = "a page of nginx\n"
_USER = ("www-data", 33)
_PORT = 8443
_CONFIGURATION = """\
daemon off;
pid /tmp/nginx.pid;
worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 8443 ssl;
    ssl_certificate /run/tls.crt;
    ssl_certificate_key /run/tls.key;
    root /srv;
  }
}
"""
_RELEASED = """\
secrets:
  - {name: ca, kind: x509-ca, commonName: Pages CA}
  - {name: server, kind: x509, issuer: ca, dns: [localhost]}
services:
  - name: app
    files:
      - {path: /run/tls.key, mode: "0400", owner: 33, content: "{{ secrets.server.key }}"}
      - {path: /run/tls.crt, mode: "0444", content: "{{ secrets.server.chain }}"}
"""


def make_nginx(destination: str) -> None:
    """Its image: the installed program and the libraries that it needs."""
    with tempfile.TemporaryDirectory(prefix="kloister-nginx-") as scratch:
        image = Root(Path(scratch) / "root")
        image.users({_USER[0]: (_USER[1], _USER[1])})
        image.libraries([PROGRAM])
        image.program("usr/sbin/nginx", PROGRAM)
        image.write("etc/nginx/nginx.conf", _CONFIGURATION.encode())
        image.write("srv/index.html", PAGE.encode())
        image.finish()
        options = ImportOptions(
            entrypoint=(str(PROGRAM),), user=_USER[0], workdir="/", owner=(0, 0), epoch=EPOCH, compression=1
        )
        import_image(image.path, destination, options)


NGINX = Application(
    name="nginx",
    policy="pages/nginx",
    released=_RELEASED,
    make=make_nginx,
    port=_PORT,
    places=("/run", "/tmp"),  # noqa: S108 (in the container)
)


@dataclass(frozen=True, slots=True)
class Nginx(Converted):
    """It serves a page over TLS."""

    def answers(self, door: int) -> bool:
        """To a client that trusts the policy's authority only."""
        return fetch(f"https://localhost:{door}/", self.trusting("ca")) == PAGE

    def keys(self, pods: int) -> set[str]:
        """What the PEM texts of the keys of so many pods hold, as the node's root finds it in their memory volumes.

        A pod is Ready before it has its key; one that was deleted has it for a while.
        """
        files = "/var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/run/tls.key"

        def lines() -> list[str]:
            found = self.stack.node.exec(["sh", "-c", f"cat {files} || true"]).splitlines()
            return found if sum(line.startswith("-----END") for line in found) >= pods else []

        found = self.stack.cluster.wait(f"the keys of {pods} pods", lines)
        return {line for line in found if not line.startswith("-----")}
