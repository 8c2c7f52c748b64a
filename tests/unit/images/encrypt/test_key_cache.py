from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloister.errors import Misconfigured
from kloister.images.encrypt import KeyCache

KEY = rsa.generate_private_key(3, 3072)


@pytest.fixture
def cache(tmp_path: Path) -> KeyCache:
    return KeyCache(tmp_path / "deep/layers", KEY)


def test_a_secret_is_drawn_once_for_an_image_and_a_policy(cache: KeyCache, tmp_path: Path) -> None:
    assert not cache.has("sha256:a", "clinic/app")
    first = cache.secret("sha256:a", "clinic/app")
    assert len(first) == 32
    assert KeyCache(tmp_path / "deep/layers", KEY).secret("sha256:a", "clinic/app") == first
    assert len({first, cache.secret("sha256:b", "clinic/app"), cache.secret("sha256:a", "clinic/other")}) == 3
    assert cache.has("sha256:a", "clinic/app")


def test_a_dry_run_keeps_nothing(cache: KeyCache, tmp_path: Path) -> None:
    drawn = cache.secret("sha256:a", "clinic/app", kept=False)
    assert not any(tmp_path.rglob("*"))
    assert cache.secret("sha256:a", "clinic/app") != drawn
    assert cache.secret("sha256:a", "clinic/app", kept=False) == cache.secret("sha256:a", "clinic/app")


def test_the_file_is_private_and_sealed(cache: KeyCache, tmp_path: Path) -> None:
    secret = cache.secret("sha256:a", "clinic/app")
    path = tmp_path / "deep/layers"
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_bytes()
    assert b"clinic" not in path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(Misconfigured) as refused:
        cache.secret("sha256:a", "clinic/app")
    assert refused.value.code == "key-cache-permissions"


def test_another_signing_key_does_not_open_it(cache: KeyCache, tmp_path: Path) -> None:
    cache.secret("sha256:a", "clinic/app")
    with pytest.raises(Misconfigured) as refused:
        KeyCache(tmp_path / "deep/layers", rsa.generate_private_key(3, 3072)).secret("sha256:a", "clinic/app")
    assert refused.value.code == "key-cache-locked"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_damage_is_found(cache: KeyCache, tmp_path: Path, at: int, change: int) -> None:
    path = tmp_path / "deep/layers"
    path.unlink(missing_ok=True)
    secret = cache.secret("sha256:a", "clinic/app")
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= change
    path.write_bytes(data if change else data[: at % len(data)])
    with pytest.raises(Misconfigured) as refused:
        cache.secret("sha256:a", "clinic/app")
    assert refused.value.code == "key-cache-locked"
    path.unlink()
    assert cache.secret("sha256:a", "clinic/app") != secret
