from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kloister.errors import Misconfigured
from kloister.images.convert import load_signing_key, make_signing_key


def test_a_made_key_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "keys/signing.pem"
    made = make_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_signing_key(path).private_numbers() == made.private_numbers()
    assert [item.name for item in path.parent.iterdir()] == ["signing.pem"]
    with pytest.raises(Misconfigured) as refused:
        make_signing_key(path)
    assert refused.value.code == "signing-key-exists"


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_other_keys_are_refused(tmp_path: Path, signing_key: rsa.RSAPrivateKey) -> None:
    good = pem(signing_key)
    assert load_signing_key(write(tmp_path / "good", good))
    cases = {
        "signing-key-missing": tmp_path / "nowhere",
        "signing-key-permissions": write(tmp_path / "loose", good, 0o640),
        "signing-key-format": write(tmp_path / "text", b"no key"),
        "signing-key": write(tmp_path / "small", pem(rsa.generate_private_key(3, 2048))),
    }
    for code, path in cases.items():
        with pytest.raises(Misconfigured) as refused:
            load_signing_key(path)
        assert refused.value.code == code
    with pytest.raises(Misconfigured) as refused:
        load_signing_key(write(tmp_path / "curve", pem(ec.generate_private_key(ec.SECP256R1()))))
    assert refused.value.code == "signing-key"
