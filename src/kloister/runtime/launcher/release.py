"""Step 3: ask the broker. Its own module, because TLS and the ciphers are loaded only where there is a broker."""

from __future__ import annotations

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 -- X25519 loads it late; here the layer's closure sees it

from kloister import entropy
from kloister.client.release import Patience, Purpose, request_release
from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import Broker
from kloister.formats.protocol.bundle import Bundle
from kloister.formats.protocol.host import Host
from kloister.tee.device import Device


def released(broker: Broker, host: Host, device: Device, patience: Patience | None = None) -> Bundle:
    """The secrets of this instance from the measured broker at the host's address.

    Raises:
        Misconfigured: `broker-address`: the host named none.
        Denied, Unverified, Unavailable, Malformed: as `request_release`.
    """
    if not host.broker:
        raise Misconfigured(
            "broker-address", "This image needs its broker, and the host named none.", "Give --broker HOST:PORT."
        )
    instance = host.instance or entropy.identifier()
    purpose = Purpose(broker.namespace, broker.policy, broker.service, instance)
    private = entropy.draw(32)
    return request_release(host.broker, broker.ca, purpose, private, device.quote, patience or Patience())
