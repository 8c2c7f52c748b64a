from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import KloisterError, Malformed, Misused, Unverified
from kloister.formats.oci.crypt import PUBOPTS, Decryptor, Encryptor, PrivateOptions, PublicOptions

KEY = bytes(range(32))
NONCE = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
BINARY = st.binary(max_size=300)


def encrypt(data: bytes, key: bytes = KEY, nonce: bytes = NONCE) -> tuple[bytes, bytes]:
    encryptor = Encryptor(key, nonce)
    return encryptor.update(data), encryptor.finish()


def decrypt(data: bytes, mac: bytes, key: bytes = KEY, nonce: bytes = NONCE) -> bytes:
    decryptor = Decryptor(key, nonce, mac)
    plain = decryptor.update(data)
    decryptor.finish()
    return plain


def test_nist_vector() -> None:
    """NIST SP 800-38A, F.5.5: CTR-AES256, first two blocks."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    cipher, mac = encrypt(plain, key)
    assert cipher.hex() == "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    assert mac == hmac.digest(key, cipher, "sha256")


def test_the_nonce_is_the_whole_counter_and_carries_over() -> None:
    cipher, _ = encrypt(bytes(48), nonce=b"\xff" * 16)
    blocks = Cipher(AES(KEY), ECB()).encryptor()  # noqa: S305 - the key stream written out by hand
    counters = [b"\xff" * 16, bytes(16), (1).to_bytes(16, "big")]
    assert cipher == b"".join(blocks.update(counter) for counter in counters)


@given(BINARY, st.lists(st.integers(0, 300), max_size=4))
def test_pieces_do_not_matter(data: bytes, cuts: list[int]) -> None:
    encryptor = Encryptor(KEY, NONCE)
    places = [0, *sorted(cuts), len(data)]
    cipher = b"".join(encryptor.update(data[start:end]) for start, end in itertools.pairwise(places))
    assert (cipher, encryptor.finish()) == encrypt(data)
    assert decrypt(*encrypt(data)) == data


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_refused(data: bytes, draw: st.DataObject) -> None:
    cipher, mac = encrypt(data)
    assert decrypt(cipher, mac) == data
    changed = bytearray(cipher)
    changed[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(Unverified) as refused:
        decrypt(bytes(changed), mac)
    assert refused.value.code == "layer-hmac"


def test_another_key_is_refused() -> None:
    cipher, mac = encrypt(b"layer")
    with pytest.raises(Unverified):
        decrypt(cipher, mac, key=bytes(32))


def test_sizes_are_ours_to_get_right() -> None:
    with pytest.raises(Misused):
        Encryptor(bytes(16), NONCE)
    with pytest.raises(Misused):
        Decryptor(KEY, bytes(12), bytes(32))


@given(st.binary(min_size=32, max_size=32), st.sampled_from([b"", NONCE]))
def test_public_options_come_back(mac: bytes, nonce: bytes) -> None:
    options = PublicOptions(mac, nonce)
    assert PublicOptions.parse(options.build()) == options
    assert PublicOptions.of_annotations(options.annotations()) == options


def test_public_options_are_ocicrypts_document() -> None:
    mac = hashlib.sha256(b"").digest()
    assert json.loads(PublicOptions(mac).build()) == {
        "cipher": "AES_256_CTR_HMAC_SHA256",
        "hmac": base64.b64encode(mac).decode(),
        "cipheroptions": {},
    }


def test_private_options_are_ocicrypts_document_and_hide_the_key() -> None:
    options = PrivateOptions(KEY, NONCE, "sha256:" + "a" * 64)
    assert json.loads(options.build()) == {
        "symkey": base64.b64encode(KEY).decode(),
        "digest": "sha256:" + "a" * 64,
        "cipheroptions": {"nonce": base64.b64encode(NONCE).decode()},
    }
    assert PrivateOptions.parse(options.build()) == options
    assert repr(KEY) not in repr(options)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"[]", "pubopts-cipher"),
        (b"{", "pubopts-json"),
        (b'{"cipher":"AES_128","hmac":""}', "pubopts-cipher"),
        (b'{"cipher":"AES_256_CTR_HMAC_SHA256"}', "pubopts-field"),
        (b'{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"AAAA"}', "pubopts-field"),
        (b'{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"!"}', "pubopts-field"),
    ],
)
def test_damaged_public_options(document: bytes, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        PublicOptions.parse(document)
    assert refused.value.code == code


def test_missing_annotation() -> None:
    with pytest.raises(Malformed) as refused:
        PublicOptions.of_annotations({})
    assert refused.value.code == "pubopts-missing"
    with pytest.raises(Malformed):
        PublicOptions.of_annotations({PUBOPTS: "%"})


@pytest.mark.parametrize(
    "change",
    [{"digest": 1}, {"symkey": "AAAA"}, {"cipheroptions": [1]}, {"cipheroptions": {"nonce": "AA=="}}],
)
def test_damaged_private_options(change: dict[str, object]) -> None:
    document = json.loads(PrivateOptions(KEY, NONCE, "sha256:x").build())
    assert PrivateOptions.parse(json.dumps(document).encode())
    with pytest.raises(Malformed):
        PrivateOptions.parse(json.dumps(document | change).encode())


@given(st.integers(0, 400), st.integers(1, 255))
def test_any_flipped_byte_gives_our_errors_only(offset: int, change: int) -> None:
    data = bytearray(PrivateOptions(KEY, NONCE, "sha256:" + "a" * 64).build())
    data[offset % len(data)] ^= change
    try:
        PrivateOptions.parse(bytes(data))
    except KloisterError as error:
        assert isinstance(error, Malformed)  # noqa: PT017 - a flipped letter of base64 is still a key
