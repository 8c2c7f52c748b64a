from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import kloister
from kloister.errors import Misused
from kloister.trust.evidence import Verified
from tests.support.evidence import Forge


def test_nobody_else_makes_verified_evidence() -> None:
    verified = Forge().verify()
    with pytest.raises(Misused) as refusal:
        dataclasses.replace(verified, seal=object())
    assert refusal.value.code == "verified-made-elsewhere"


def test_only_the_verifier_imports_the_seal() -> None:
    package = Path(kloister.__file__).parent
    importing = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any("trust.evidence import" in line and "_SEAL" in line for line in path.read_text().splitlines())
    }
    judges = {f"trust/verifier/{tee}.py" for tee in ("sgx", "tdx", "snp", "token")}
    assert "trust/verifier/sgx.py" in importing <= judges


def test_verified_evidence_cannot_be_changed() -> None:
    verified = Forge().verify()
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.fmspc = "000000000000"  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        verified.claims["debug"] = False  # type: ignore[index]  # that is the point
    assert isinstance(verified, Verified)
