from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kloister.errors import Misconfigured
from kloister.images.convert.inputs import (
    base_layers,
    parse_mounts,
    parse_policy_name,
    parse_size,
    read_ca,
    read_template,
    signing_date,
)
from kloister.images.sources import open_source
from tests.support.images import write_image
from tests.unit.images.convert.conftest import APP, BASE, TOP

NOW = dt.datetime(2026, 11, 22, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-2)))


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_a_ca_is_read_without_what_stands_around_it(tmp_path: Path) -> None:
    pem = certificate()
    path = tmp_path / "ca.pem"
    path.write_bytes(b"Our CA\n" + pem)
    assert read_ca(path) == pem.decode()


def test_what_is_no_ca(tmp_path: Path) -> None:
    contents = {"none": b"", "two": certificate() * 2, "large": b"x" * 70_000}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    for name in (*contents, "missing"):
        with pytest.raises(Misconfigured) as refused:
            read_ca(tmp_path / name)
        assert refused.value.code == "broker-ca"


def test_templates(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("kind: Policy ä")
    (tmp_path / "bad").write_bytes(b"\xff")
    assert read_template(tmp_path / "good") == "kind: Policy ä"
    with pytest.raises(Misconfigured) as refused:
        read_template(tmp_path / "bad")
    assert refused.value.code == "policy-template"


def test_policy_names() -> None:
    assert parse_policy_name("clinic/inference") == ("clinic", "inference")
    for text in ("clinic", "a/b/c", "A/b", "/b", "a/", "a.b/c", "-a/b", "a/b-"):
        with pytest.raises(Misconfigured) as refused:
            parse_policy_name(text)
        assert refused.value.code == "policy-name"


@pytest.mark.parametrize(("text", "size"), [("5", 5), ("64K", 65536), ("512M", 512 << 20), ("2G", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "1T", "-1", "1.5G", "1g"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        parse_size(text)
    assert refused.value.code == "convert-size"


def test_mounts() -> None:
    assert parse_mounts(["data=/data", "in=/a=b"]) == {"data": "/data", "in": "/a=b"}
    for items in (["data"], ["=/x"], ["a=/x", "a=/y"], ["-=/x"]):
        with pytest.raises(Misconfigured) as refused:
            parse_mounts(items)
        assert refused.value.code == "convert-mount"


def test_the_date_is_that_of_the_epoch_or_of_today_in_utc() -> None:
    assert signing_date("", NOW) == dt.date(2026, 11, 23)
    assert signing_date("86400", NOW) == dt.date(1970, 1, 2)
    for text in ("yesterday", "9" * 30):
        with pytest.raises(Misconfigured) as refused:
            signing_date(text, NOW)
        assert refused.value.code == "source-date-epoch"


def test_the_base_image_says_how_many_layers_are_its(tmp_path: Path) -> None:
    write_image(tmp_path / "image", [BASE, APP, TOP])
    write_image(tmp_path / "base", [BASE, APP])
    write_image(tmp_path / "other", [APP])
    with open_source(f"oci:{tmp_path}/image") as image:
        with open_source(f"oci:{tmp_path}/base") as base:
            assert base_layers(image, base) == 2
        with open_source(f"oci:{tmp_path}/other") as other, pytest.raises(Misconfigured) as refused:
            base_layers(image, other)
    assert refused.value.code == "encrypt-base"
