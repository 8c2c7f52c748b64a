"""AMD's roots of trust: one ARK for each product line."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from kloister.errors import Misused, Unverified
from kloister.formats.snp import AmdCertificate, Product, check_pss
from kloister.trust.root import SIMULATED_MARK

_LINE = "ARK-"
_EXPONENT = 65537


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdRoot:
    """An ARK, pinned by subject and public key; `name` is its common name, "ARK-" and the product line."""

    name: str
    subject: bytes = field(repr=False)  # DER of the name
    spki: bytes = field(repr=False)  # DER of the key, RSA of 4096 bits

    @classmethod
    def from_der(cls, der: bytes) -> Self:
        """The root that a self-signed CA certificate describes.

        Raises:
            Malformed: `amd-certificate-*`.
            Unverified: `root-certificate`, not signed by itself or not a CA.
        """
        certificate = AmdCertificate.parse(der)
        check_pss(certificate.rsa_key, certificate.signature, certificate.tbs, "root-certificate", "the root")
        if certificate.subject != certificate.issuer or not certificate.is_ca:
            raise Unverified("root-certificate", "The certificate given as a root is not a self-signed CA.")
        return cls(name=certificate.common_name, subject=certificate.subject, spki=certificate.spki)

    @property
    def product(self) -> Product | None:
        """The product line that this root vouches for: the word behind "ARK-" in its name."""
        line = self.name.removeprefix(_LINE).partition(" ")[0]
        return Product.of_name(line) if self.name.startswith(_LINE) else None

    @property
    def simulated(self) -> bool:
        """Whether this is the root of a simulated platform: its reports prove nothing about hardware."""
        return SIMULATED_MARK in self.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 of subject and key, hexadecimal: a short name for people to compare."""
        return hashlib.sha256(self.subject + self.spki).hexdigest()

    @property
    def key(self) -> rsa.RSAPublicKey:
        """The public key. Raises `Misused`: `root-key`, if it is another kind of key."""
        key = load_der_public_key(self.spki)
        if not isinstance(key, rsa.RSAPublicKey):
            raise Misused("root-key", "The key of an AMD root must be an RSA key.")
        return key

    def matches(self, certificate: AmdCertificate) -> bool:
        """Whether the certificate has this subject and this key."""
        return certificate.subject == self.subject and certificate.spki == self.spki


def _ark(product: Product, modulus: str) -> AmdRoot:
    """An ARK of AMD: all names differ in the product line only."""
    name = _LINE + product
    numbers = rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(base64.b64decode(modulus), "big"))
    spki = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return AmdRoot(name=name, subject=_SUBJECT + name.encode("ascii"), spki=spki)


# OU=Engineering, C=US, L=Santa Clara, ST=CA, O=Advanced Micro Devices, CN= and the nine letters of the name
_SUBJECT = bytes.fromhex(
    "307b31143012060355040b0c0b456e67696e656572696e67310b30090603550406130255533114301206035504070c0b53616e746120436c617261"
    "310b300906035504080c024341311f301d060355040a0c16416476616e636564204d6963726f20446576696365733112301006035504030c09"
)
# The keys stand at the end of https://kdsintf.amd.com/vcek/v1/<P>/cert_chain. Milan and Turin are taken from the chains
# of vectors/evidence; Genoa, which has none there, from the copies that google/go-sev-guest and
# confidential-containers/trustee carry, which are equal. Each key verifies its own certificate.
_MILAN = (  # SHA-256 of the key's DER: 9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9
    "0Ld52RJOdeiJlqK2JdsVmD7FktuotWwX1fNgW41XY9Xz1HEhSUmhLz9Cu9DHRlvgJSNxbeYYsnJfvyjx1MfU0V5tkKiU1EesNFta1kTA0szN"
    "isdYc9isqk7mXT5+KfGRbfc4V/9zRIcE8jlHN61S1ju8X93+6dxDUrG2SzxqJ4BhqyYmUDruPXJSX4vUc01P7j98MpqOS95rORdGHeI52Naz"
    "5m2B+O+vjsC060d37jY9LFeuOP4Meri8qgfi2S5kKqg/aF6aPtuAZQVR7u3KFYXP59XmJgtcog05gmI0T/OitLhuzVvpZcLph0odh/1IPXqx"
    "3+MnjD97A7fXpqGd/y8KxX7jksTEzAOgbKAeam3lm+3yKIcTYMlsRMXPcjNbIvmsBykD//xSniusuHBkgnlENEWx1UcbQQrs+gVDkuVPhsnz"
    "IRNgYvM48Y+7LGiJYnrmE8xcrexekBxrva2V9TJQqnN3Q53kt5viQi3+gCfmkwC0F0tirIZbLkXPrPwzZ0M9eNxhIySb2npJfgnqz55I0u33"
    "wh4r0ZNQeTGfw03MBUtyuzGesGkcw+loqMaq1qR4tjGbPYxCvpCq7+OgpCCoMNit2uLo9M18fHz10lOMT8nWAUvRZFzteXCm+7PHdYPlmQwU"
    "w3LvenJ/ILXoQPHfbkH0CyPfhl1jWhJFZas="
)
_GENOA = (  # 429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831
    "3Cd95S/uFOuRIskW9vz9VDBF69NDQF79oRhL/L2PVQGhK3YdfEBgpF/JiwWFBsT/fXDhzA01p3LkcT/7LdjcRfKXjHl+0Qq/M4dZkh6QDoUe"
    "KzNBLDcBKDDGWo3v35NyrxbA1DnkYwUKU5AAk4P94tKXLp80oxt84ahyHoLmc/LqsGsp+oq1Bz4PPsYLwTG4iMKVaaT90/oZ4I8oibSru92v"
    "JhlqWO27d/Rxc3iUMyhNeGToOvgx/iUo4gGpG61NDpkEUvIzuKcaMx8IdTpWg2DF6SwF0IgVMffnvtJmA68BwJNWo1E4PLJdaPfBifcJpuBF"
    "wNVQIPQEVX3aP89HJSp8YbY9lySS6PlVEqTBBtaQmi4ATGmMR+n2K/e+JAhU2Gj7jIpJhOkdH9firQDnmlA2SFfJ/Cc0mGNzW9RmIhyOUnNF"
    "oclmkRhl3/AQU5Ys9Qsan1jT/EiyT+pCpmnA+y9edvhDCbOG8F2oxHGRdTBkylungrkXJGYiwGrR8kaiqv7NN8QhOBMqYjcbrkEr0f8QMKkl"
    "IS5ruOfqlLMCBw8JLB3LkjpWgtD7OpxkzSsohN47Uom86RY6lp72g8eXHP1qYrnvhzaG1S70vw6OkbaaC9EjiH/uHgAJQGxon7u0Q7xgoREW"
    "A/e7JcBQwLg80Hq/sbRuqesxz7wBWSY254c="
)
_TURIN = (  # 4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08
    "waAriB7EIuVc4ZB1wD3YfDxL+9eyS7+izm0Jj3W772NINCWl8Bj3w/JD2ZjmbRxWdIq/4d9iarCKorXloJUB1jRdgxqccTx1aOoig4+2w1Xh"
    "VVJT7K457wT5ZLNJgQaxqa9Etkwjd6+9sOhlCDE9l43kQ0R2BikVJa/uyyVOSwEk5w5tXKOuG9jvq6QtAMJasW38wlqRDaKEGtZ9VUgGon27"
    "ZuL4sTJuC/azz9/iQBw8kEilzOl95AiTkeY5jSEBDWbAqnZk5qlM7kISKG20kgQm14mhNKDI2p2oua+zuAG7i52epoRF2GfU0TYk/yf+vCNB"
    "2tnechFQuP2e8bLk95ZdqPi9/UWw4JXjtdEA4u2JYplSSUPQVAXKt6LVqujtJcM59JKr2u0XQ75KwxcMp15gSXhBfInvPAwuAY4dEwwGqT8o"
    "Ig4esPHwEsmChhYeDIxPG9R4fx9O0q6p8Gb+HXlTiS47P9YNeOpidOUKzDl/S1OvyhDtSL8LJc24QATFydo/iD/KUdvFTRlD0crkAMkZLoWQ"
    "8hLDGc6BZJXsdd7Zf2e4UW3tI/1oh/2t23Ot3zyhTcv5gDbABu0LjVe98uRnS15SMwK//lJt9e5BqKvgABkSoABf+B4VFtPVEX0ygrYaFaI9"
    "i5ABrxnVBmzXpRb21iI1NlNCfOGUPIhVpWE="
)
AMD_ROOTS = (_ark(Product.MILAN, _MILAN), _ark(Product.GENOA, _GENOA), _ark(Product.TURIN, _TURIN))
