"""The cluster's name server (RFC 1035): the addresses of services, and nothing else; in CoreDNS's place."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socketserver
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.bed.layout import CONTROL

_SUFFIX = ["svc", "cluster", "local"]
_ADDRESS, _INTERNET, _NO_SUCH_NAME, _ANSWER = 1, 1, 3, 0x8400  # type A, class IN, RCODE 3, QR and AA set
_FRESH = 0.5  # seconds that a listing is used for


@dataclass(slots=True)
class Services:
    """Services and their endpoints as the API server lists them."""

    keys: Path
    port: int
    _kept: dict[str, tuple[float, list[Any]]] = field(default_factory=dict)

    def addresses(self, name: str) -> list[str] | None:
        """Of `SERVICE.NAMESPACE.svc.cluster.local`, or of `HOST.` before it; None when there is no such service."""
        labels = name.lower().rstrip(".").split(".")
        if len(labels) not in (5, 6) or labels[-3:] != _SUFFIX:
            return None
        host, service, namespace = (["", *labels] if len(labels) == 5 else labels)[:3]
        found = [item for item in self._list("services") if _is(item, service, namespace)]
        if not found:
            return None
        address = found[0]["spec"].get("clusterIP", "None")
        return self._endpoints(host, service, namespace) if host or address == "None" else [address]

    def _endpoints(self, host: str, service: str, namespace: str) -> list[str]:
        subsets = [
            subset
            for item in self._list("endpoints")
            if _is(item, service, namespace)
            for subset in item.get("subsets") or ()
        ]
        every = [address for subset in subsets for address in subset.get("addresses") or ()]
        return [address["ip"] for address in every if host in ("", address.get("hostname"))]

    def _list(self, kind: str) -> list[Any]:
        since, items = self._kept.get(kind, (0.0, []))
        if time.monotonic() - since > _FRESH:
            context = ssl.create_default_context(cafile=self.keys / "ca.crt")
            context.load_cert_chain(self.keys / "names.crt", self.keys / "names.key")
            connection = http.client.HTTPSConnection(CONTROL.address, self.port, context=context, timeout=5)
            connection.request("GET", f"/api/v1/{kind}")
            items = json.load(connection.getresponse())["items"]
            connection.close()
            self._kept[kind] = time.monotonic(), items
        return items


def answer(query: bytes, services: Services) -> bytes:
    """The response to one query."""
    labels, end = [], 12
    while length := query[end]:
        labels.append(query[end + 1 : end + 1 + length].decode("ascii", "replace"))
        end += 1 + length
    question = query[12 : end + 5]
    kind = int.from_bytes(query[end + 1 : end + 3], "big")
    found = services.addresses(".".join(labels))
    wanted = [] if found is None or kind != _ADDRESS else found
    flags = _ANSWER | (query[2] & 1) << 8 | (_NO_SUCH_NAME if found is None else 0)
    counts = (1, len(wanted), 0, 0)
    header = query[:2] + flags.to_bytes(2, "big") + b"".join(count.to_bytes(2, "big") for count in counts)
    return header + question + b"".join(_record(address) for address in wanted)


def _record(address: str) -> bytes:
    """Name (a pointer to the question's), type, class, time to live of 1 s, length, address."""
    fixed = (0xC00C, 2), (_ADDRESS, 2), (_INTERNET, 2), (1, 4), (4, 2)
    return b"".join(value.to_bytes(size, "big") for value, size in fixed) + ipaddress.ip_address(address).packed


def _is(item: Any, name: str, namespace: str) -> bool:
    return (item["metadata"]["name"], item["metadata"]["namespace"]) == (name, namespace)


def serve(keys: Path, port: int) -> None:
    """Answer for ever."""
    services = Services(keys, port)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, reply = self.request
            reply.sendto(answer(query, services), self.client_address)

    with socketserver.ThreadingUDPServer((CONTROL.address, 53), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
