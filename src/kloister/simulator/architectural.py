"""The platform's own enclaves, QE and PCE: their content, and what their authors signed.

The two RSA keys were thrown away after signing, as nobody but the author may sign an enclave with the QE's MRSIGNER
(it would get the QE's seal key). To change content, version or attributes: sign `unsigned()` with a new key
(`openssl genrsa -3 3072`, `Sigstruct.sign`), put its modulus and signature here, and throw the key away again.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.sgx import Attributes, Flag, Sigstruct

_ATTRIBUTES: Final = Attributes(Flag.MODE64BIT | Flag.PROVISIONKEY, 0x3)
_ALL: Final = Attributes((1 << 64) - 1, (1 << 64) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architectural:
    """One of the platform's own enclaves."""

    content: bytes
    isvprodid: int
    isvsvn: int
    modulus: int = field(repr=False)
    signature: int = field(repr=False)

    def enclave(self) -> ContentEnclave:
        """Its pages."""
        return ContentEnclave.of(self.content)

    def unsigned(self) -> Sigstruct:
        """What its author signed."""
        return Sigstruct(
            enclavehash=self.enclave().mrenclave(),
            attributes=_ATTRIBUTES,
            attribute_mask=_ALL,
            date=dt.date(2026, 11, 22),
            isvprodid=self.isvprodid,
            isvsvn=self.isvsvn,
        )

    def sigstruct(self) -> Sigstruct:
        """The same with the author's signature."""
        return self.unsigned().sign_with(lambda _: (3, self.modulus, self.signature))


QE: Final = Architectural(
    content=b"Kloister simulated quoting enclave 1\n",
    isvprodid=1,
    isvsvn=8,
    modulus=int(
        "bf28bad08109157abc77a7384d24a8437d54fedd59b45a00223d29f2cb4e51db7ce4676d88ff877cdb2b032a9e37f85a"
        "508562df66370fb1ecd30bdef0891535e5b196fecedae0355840a59b2940a7c4d9ef284d6044f4ae6bff04da4dd0ad04"
        "f64f3b5be3e03fa6bb44612cb3f365c5f2003ee9ffd9e91bf737ffeead44bcf503d3becc1218c5a52f7476eb96373a50"
        "d968fb6707b56a878cb542ba0291d85f772118585e51e149b6bfdf4bcff728072d796082c15de75d2aa6b08e221d2524"
        "a32d99bcd71621567ad5e887a94c5905bda5791a112dea529fe055a4088a24f6bd1111093a0d97a4af2b5a8031e5f22a"
        "65588abbf809350b9bcf8969e96af5f13e1e6d248533d43ffc36186551ab63738c7f5426cbb27d2ba99bad686f52bb6f"
        "0030c0f5b8eb60240e37f3c8eeb45b102f70bfcfeea63fe8e77e64182ec8df32261a463108d7d5bee0362756cc2c7f92"
        "8a6f79ddd5ebce055d611e2a0167bc9d696078d70624745a8d70379686956e5f7279f75e6339f28b8d8b8486be1fec85",
        16,
    ),
    signature=int(
        "747069c8ea3606e737f699c565a0407fb2dddbe4ce0c41207b1ff9dd36855f256eb22af5d9a39560c149b7a294ebe2e4"
        "2fa515829d5a566b76c3ca4893aa6f5ac3ef2b9581582de88b9c2e272b76263dc86b2021b8e24579b8141c08d4cf107a"
        "048cff32e4eb60f9f6452a88f750d06d8fb55ec0f13a4536c616d87ab8d478864081baa9f8cfaccfa8a2200cc7dc10f1"
        "af5d0593d23ff81e155fc2c3a902ebc978f59e39d14b09b7bdefdf07561083def85643e37ccc9c8d5d1227c790baf21d"
        "6ad7b52b2be6d4db5fd7ecc7bff3c25597f9cb73427db7451b170a56497fb94f6d63152e0ef855164a8d0c082d15a33d"
        "69c247d68cf4e568f191ff3499234928036ae6c46170fcdbe46a78aacab0e6f76bb176e73675e2e9d76573f68f59c301"
        "f27992d5701756b2ee0bc3a92847c2e9325cd08d719975d3f5796e1b1a960194463f59ef609f93839cff91477f465cae"
        "296e40714b481dcf163fb7871f205e1f55bbc2a8fa67a281ac4115dd6ebc1db8cb5dba927e929d4a397fd07effceb9de",
        16,
    ),
)
PCE: Final = Architectural(
    content=b"Kloister simulated provisioning certification enclave 1\n",
    isvprodid=1,
    isvsvn=13,
    modulus=int(
        "d9e61a7fc85b7e88ad40096e0da96b63a9f3233098f50a5177ae40e6bf5dcdfb2465151ac6ceab8012dc9a88c0002c18"
        "8f908a4b3224facb774c04ca7789bfe3461e5237bce958b0222c54f7ef95f8259ad177aa898b03426ebbc8b0dd8c8718"
        "6cac3ba8892c42db66a54d53c6fa808c718fb8e90c9c8a209329b0a18389d45f1c8e14945788851e38b9b0361655ad4d"
        "97cfc278c06b058fb761ef83bc58de7091efce70cb778662d182dbfcd70a7740edef6b19fa7c067d5b56e90ac247b173"
        "b45cfe2886856d954468724aa186b056899f88ac81cc547aecd4a01f903a5d5fa71e9f39675710e521fa42f846dd0a09"
        "cc9972b59e298e45cd664941b700862d0c03e7b0d766c237bec768d1a0e6a7bdd01107332dad62a3ae96cf98e958b478"
        "26a80808fa7f6c43acd99d641a157dc2454ef9b7ef1634ac5872520dc497075d72cc2bc9182f0de93a283a405ee3a0c3"
        "b44129bab7a83f41560774820f63da24e8319ff424b3cd7b815b1f3ff64b6e0b7757808c0436126cc09b5af7a162f5b3",
        16,
    ),
    signature=int(
        "a0bb5b59abab95b996216f122376a241b0287058b64d48852604927fabe2f0c72d37186d13a61dca2c80e7db93f3edfa"
        "85b82e144e3093cc618651b0a577e87083aa5d851f8822f537c002e9168a1446691b0352bd395699757fe65dc2508046"
        "1916b24dbfb8fb6bf222f33fc19df1da70928f4a56fe43e492c6bc2f16b020a9aac61adc74d39eb1701d94e7e16a42b8"
        "5c02698e67e67440d42ce64c3c4535839a83cd49076f79bfbd5705560e67d07794da793f01f46cc3bd2168de9e27e568"
        "66b9a094cb4166512776ea6c28aaf973ff2ed9f18dac82c7df9ae096fc845907f486da281550a93499c7c1aa429a9d99"
        "bdeac2466f6f3303d18b88cf699feba7eb1c92f2bb2d4b316bd4ef4dee326c6a33f47c027533a06c6e38d848e979edd1"
        "254a202c7a6fe325bdd41d2810ea2520e04c523875ad8842b4db49c5066b26016427f761f561714f571955693a76046a"
        "1d8b0a7a79fae9742a09c96c5057ced08a7c010f32a3e423d1ca4619c5b060a9be867a14bc48971867f982a56c84cdca",
        16,
    ),
)

# Launch control: nobody else's enclaves may hold PROVISIONKEY or EINITTOKEN.
LAUNCH_SIGNERS: Final = frozenset({QE.sigstruct().mrsigner, PCE.sigstruct().mrsigner})
