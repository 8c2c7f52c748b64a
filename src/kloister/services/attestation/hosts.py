"""Which instance a request is for."""

from __future__ import annotations

from collections.abc import Sequence

from kloister.errors import Malformed
from kloister.services.attestation.exchange import Request
from kloister.services.attestation.settings import InstanceSettings


class Hosts:
    """Instances by the header Host: by name and port; by the name alone where only one instance has it.

    Args:
        instances: all of them.
    """

    def __init__(self, instances: Sequence[InstanceSettings]) -> None:
        hosts = [_without_port(each.authority) for each in instances]
        alone = {host: each for host, each in zip(hosts, instances, strict=True) if hosts.count(host) == 1}
        self._found = {**alone, **{each.authority: each for each in instances}}

    def of(self, request: Request) -> InstanceSettings:
        """The instance that the client means; the port may be another, behind a proxy.

        Raises:
            Malformed: `attestation-host`.
        """
        return self.named((request.header(b"host") or "").lower())

    def named(self, host: str) -> InstanceSettings:
        """The same by what Host says, in lower case. Raises as `of`."""
        found = self._found.get(host) or self._found.get(_without_port(host))
        if found is None:
            raise Malformed("attestation-host", "There is no instance of this name here.", "See its base_url.")
        return found


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority
