"""Kubeconfig files, JSON being YAML."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.cluster.bed.pki import Authority


def write_kubeconfig(place: Path, server: str, authority: Authority, client: str) -> None:
    """The credentials of a client for the cluster at `server`, complete in one private file."""
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "bed",
        "clusters": [{"name": "bed", "cluster": {
            "server": server, "certificate-authority-data": _data(authority.path("ca.crt"))}}],
        "users": [{"name": client, "user": {
            "client-certificate-data": _data(authority.path(f"{client}.crt")),
            "client-key-data": _data(authority.path(f"{client}.key"))}}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": client}}],
    }  # fmt: skip
    write(place, document)


def write(place: Path, document: Any) -> None:
    """A private file with this document."""
    place.touch(mode=0o600)
    place.write_text(json.dumps(document, indent=1), "utf-8")


def _data(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
