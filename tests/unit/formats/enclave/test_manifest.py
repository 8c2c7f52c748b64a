from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.manifest import MAX_MANIFEST, Manifest, TrustedFile
from kloister.formats.enclave.toml import emit

MINIMAL: dict[str, Any] = {
    "libos": {"entrypoint": "/app"},
    "loader": {"entrypoint": {"uri": "file:/runtime/ld.so", "sha256": "11" * 32}},
}


def with_sgx(**keys: Any) -> dict[str, Any]:
    return {**MINIMAL, "sgx": keys}


def with_env(**names: Any) -> dict[str, Any]:
    return {**MINIMAL, "loader": {**MINIMAL["loader"], "env": names}}


def test_defaults_are_gramines() -> None:
    manifest = Manifest.of(MINIMAL)
    assert manifest.argv == ("/app",)
    assert manifest.enclave_size == 256 << 20
    assert manifest.max_threads == 4
    assert manifest.remote_attestation == "none"
    assert (manifest.isvprodid, manifest.isvsvn) == (0, 0)
    assert (manifest.debug, manifest.edmm_enable, manifest.use_exinfo) == (False, False, False)
    assert manifest.loader_entrypoint == TrustedFile("file:/runtime/ld.so", b"\x11" * 32)
    assert manifest.trusted_files == ()
    assert Manifest.of(with_sgx(edmm_enable=True)).enclave_size == 1 << 40


def test_the_bytes_are_kept_as_they_were() -> None:
    data = b"# a comment that is measured\n" + emit(MINIMAL)
    assert Manifest.parse(data).build() == data
    assert "comment" not in repr(Manifest.parse(data))


def test_what_is_said_is_read() -> None:
    sgx = {
        "enclave_size": "64M",
        "max_threads": 4096,
        "debug": True,
        "use_exinfo": True,
        "isvprodid": 65535,
        "isvsvn": 2,
        "remote_attestation": "dcap",
        "trusted_files": ["file:/a", {"uri": "file:/b", "sha256": "22" * 32}],
        "cpu_features": {"avx": "required"},
    }
    loader = {
        **MINIMAL["loader"],
        "argv": ["app", ""],
        "env": {"A": "1", "B": {"value": "2"}, "C": {"passthrough": True}},
    }
    manifest = Manifest.of({**MINIMAL, "loader": loader, "sgx": sgx})
    assert manifest.enclave_size == 64 << 20
    assert manifest.max_threads == 4096
    assert manifest.debug
    assert manifest.use_exinfo
    assert (manifest.isvprodid, manifest.isvsvn) == (65535, 2)
    assert manifest.remote_attestation == "dcap"
    assert manifest.trusted_files == (TrustedFile("file:/a", None), TrustedFile("file:/b", b"\x22" * 32))
    assert manifest.cpu_features == (("avx", "required"),)
    assert manifest.argv == ("app", "")
    assert manifest.env == (("A", "1"), ("B", "2"))
    assert manifest.env_passthrough == ("C",)


@pytest.mark.parametrize(("text", "size"), [("64K", 1 << 16), ("65536", 1 << 16), ("1G", 1 << 30), ("1024G", 1 << 40)])
def test_sizes(text: str, size: int) -> None:
    assert Manifest.of(with_sgx(enclave_size=text)).enclave_size == size


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "manifest-key"),
        ({**MINIMAL, "libos": {}}, "manifest-key"),
        ({**MINIMAL, "libos": "x"}, "manifest-key"),
        ({**MINIMAL, "loader": {"entrypoint": "file:/old"}}, "manifest-key"),
        ({**MINIMAL, "loader": {"entrypoint": {"sha256": "11" * 32}}}, "manifest-key"),
        ({**MINIMAL, "loader": {"entrypoint": {"uri": "file:/a", "sha256": "11"}}}, "manifest-sha256-hex"),
        ({**MINIMAL, "loader": {**MINIMAL["loader"], "argv": []}}, "manifest-value"),
        ({**MINIMAL, "loader": {**MINIMAL["loader"], "argv": ["a", 1]}}, "manifest-value"),
        (with_env(A=1), "manifest-key"),
        (with_env(A={"passthrough": False}), "manifest-key"),
        (with_env(A={"value": 1}), "manifest-key"),
        (with_env(**{"A=B": "1"}), "manifest-value"),
        (with_env(A="nul\0"), "manifest-value"),
        (with_sgx(thread_num=4), "manifest-key"),
        (with_sgx(max_threads=0), "manifest-value"),
        (with_sgx(max_threads=4097), "manifest-value"),
        (with_sgx(max_threads=True), "manifest-key"),
        (with_sgx(isvsvn=65536), "manifest-value"),
        (with_sgx(debug=1), "manifest-key"),
        (with_sgx(remote_attestation="epid"), "manifest-value"),
        (with_sgx(enclave_size="100M"), "manifest-value"),
        (with_sgx(enclave_size="32K"), "manifest-value"),
        (with_sgx(enclave_size="2048G"), "manifest-value"),
        (with_sgx(enclave_size="1T"), "manifest-value"),
        (with_sgx(enclave_size="-1G"), "manifest-value"),
        (with_sgx(enclave_size=65536), "manifest-key"),
        (with_sgx(trusted_files="file:/a"), "manifest-key"),
        (with_sgx(trusted_files=[1]), "manifest-key"),
        (with_sgx(cpu_features={"avx": "maybe"}), "manifest-value"),
    ],
)
def test_what_gramine_does_not_take_is_malformed(document: dict[str, Any], code: str) -> None:
    Manifest.of(MINIMAL)
    with pytest.raises(Malformed) as refused:
        Manifest.parse(emit(document))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"a = ", "manifest-toml"),
        (b"a = 1\na = 2", "manifest-toml"),
        (b"\xff", "manifest-toml"),
        (b"a = " + b"[" * 100_000, "manifest-toml"),
        (b"#" * (MAX_MANIFEST + 1), "manifest-size"),
    ],
    ids=["torn", "twice", "utf-8", "deep", "huge"],
)
def test_what_is_no_toml_is_malformed(data: bytes, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        Manifest.parse(data)
    assert refused.value.code == code


@given(st.data())
def test_damaged_text_is_malformed_or_parses(data: st.DataObject) -> None:
    changed = bytearray(emit(with_sgx(enclave_size="64M", trusted_files=["file:/a"])))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        manifest = Manifest.parse(bytes(changed))
    except Malformed as refused:
        assert refused.code.startswith("manifest-")  # noqa: PT017 -- both outcomes are right, another exception is not
    else:
        assert manifest.data == changed


@given(
    st.recursive(
        st.integers() | st.booleans() | st.text(st.characters(codec="ascii"), max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["uri", "sha256", "entrypoint", "env", "argv", "value", "trusted_files", "cpu_features"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_values_of_any_type_are_malformed_or_parse(value: Any) -> None:
    for key in ("loader", "sgx", "libos"):
        try:
            manifest = Manifest.parse(emit({**MINIMAL, key: value}))
        except Malformed:
            continue
        assert isinstance(manifest.libos_entrypoint, str)
