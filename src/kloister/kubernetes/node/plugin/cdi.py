"""Devices by name for container runtimes: the Container Device Interface, specification 0.5.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kloister import files
from kloister.errors import Misconfigured
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.plugin.answers import CDI_KIND, PERMISSIONS

_VERSION = "0.5.0"  # the first with hostPath of a device node; containerd 1.7 and CRI-O 1.27 read it
_NAME = "kloister.dev-sgx.json"


def document(facts: NodeFacts) -> dict[str, Any]:
    """The specification that names the node's devices `kloister.dev/sgx=enclave` and `...=provision`."""
    return {
        "cdiVersion": _VERSION,
        "kind": CDI_KIND,
        "devices": [
            {
                "name": device.role,
                "containerEdits": {
                    "deviceNodes": [
                        {"path": name, "hostPath": device.host, "permissions": PERMISSIONS} for name in device.names
                    ]
                },
            }
            for device in facts.devices
        ],
    }


def write(folder: Path, facts: NodeFacts) -> None:
    """Write it where the runtime looks, usually /var/run/cdi. Raises `Misconfigured` `cdi-folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / _NAME, json.dumps(document(facts), indent=2).encode(), files.PUBLIC)
    except OSError as error:
        raise Misconfigured(
            "cdi-folder", f"{folder} cannot be used: {error.strerror}.", "Name the runtime's folder with --cdi DIR."
        ) from None
