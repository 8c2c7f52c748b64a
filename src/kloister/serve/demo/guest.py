"""The release exchange spoken by hand, for what an honest launcher never does: replay, other purposes, other platforms.

It holds the platform's fuses, which on a simulated platform whoever runs it can read; on real hardware nobody can.
"""

from __future__ import annotations

from dataclasses import dataclass

from kloister import entropy
from kloister.client.release import Purpose, request_release
from kloister.client.tls import Connection
from kloister.errors import Denied
from kloister.formats.protocol.release import (
    CHALLENGE_PATH,
    MAX_REQUEST,
    MAX_RESPONSE,
    RELEASE_PATH,
    Bundle,
    Challenge,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
    Sealed,
    open_sealed,
    public_key,
)
from kloister.images.pack import Pack
from kloister.simulator.fuses import Fuses
from kloister.simulator.platform import SimulatedEnclave, SimulatedPlatform

LOADER = "/.kloister/runtime/ld.so"
_KEYID = 32  # bytes, REPORT.KEYID
_PATIENCE = 20.0  # seconds for one exchange
_OK = 200


def enclave_of(pack: Pack, fuses: Fuses) -> SimulatedEnclave:
    """The enclave of a converted image on a platform of these fuses, with nothing running in it."""
    tree, offset = pack.tree(), 0
    for entry in tree.entries:
        if entry.path == LOADER.encode():
            break
        offset += entry.size
    with pack.contents.open("rb") as contents:
        contents.seek(offset)
        loader = contents.read(entry.size)
    platform = SimulatedPlatform(fuses, entropy.draw(_KEYID))
    return platform.start(pack.document("manifest.sgx").read_bytes(), loader, pack.document("sigstruct").read_bytes())


@dataclass(frozen=True, slots=True)
class Guest:
    """An enclave that asks a broker for the secrets of a policy.

    Attributes:
        address: the broker's HOST:PORT.
        ca: PEM of the broker's CA.
    """

    enclave: SimulatedEnclave
    address: str
    ca: str
    purpose: Purpose

    def ask(self) -> Bundle:
        """The honest exchange. Raises what `client.release` raises."""
        private = entropy.draw(32)
        return request_release(self.address, self.ca, self.purpose, private, self.enclave.quote)

    def ask_with_other_report_data(self) -> Bundle:
        """Show a genuine quote of this very enclave, made for nothing."""
        return request_release(
            self.address, self.ca, self.purpose, entropy.draw(32), lambda _: self.enclave.quote(bytes(64))
        )

    def ask_twice(self) -> Bundle:
        """Complete an exchange, then send the same request again; the answer to the second.

        Raises:
            Denied: the broker's refusal of the repetition.
        """
        names = (self.purpose.namespace, self.purpose.policy, self.purpose.service, self.purpose.instance)
        connection = Connection(self.address, self.ca, _PATIENCE)
        try:
            asked = ChallengeRequest(*names[:2]).build()
            challenge = Challenge.parse(connection.post(CHALLENGE_PATH, asked, MAX_REQUEST)[1])
            private = entropy.draw(32)
            empty = ReleaseRequest(challenge.nonce, *names, key=public_key(private), quote=b"")
            binding = empty.binding(connection.peer_key)
            quote = self.enclave.quote(binding.report_data())
            body = ReleaseRequest(challenge.nonce, *names, key=public_key(private), quote=quote).build()
            open_sealed(Sealed.parse(_must(connection.post(RELEASE_PATH, body, MAX_RESPONSE))), binding, quote, private)
            repeated = _must(connection.post(RELEASE_PATH, body, MAX_RESPONSE))
            return open_sealed(Sealed.parse(repeated), binding, quote, private)
        finally:
            connection.close()


def _must(answer: tuple[int, bytes]) -> bytes:
    status, body = answer
    if status == _OK:
        return body
    refusal = Refusal.parse(body)
    raise Denied(refusal.code, refusal.text, refusal.hint)
