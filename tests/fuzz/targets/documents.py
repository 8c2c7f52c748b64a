"""Collateral: the documents one by one, with fitting signatures, and all of it as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from kloister.formats.dcap import QeIdentity, TcbInfo, TcbStatus
from kloister.formats.wire import load_json
from kloister.simulator.documents import TcbStage, sign_document
from kloister.trust.verifier import Collateral
from tests.fuzz.target import Target
from tests.support.evidence import Forge

_LIMIT = 1 << 20  # bytes of collateral


@cache
def _forge() -> Forge:
    return Forge()


@cache
def _quote() -> bytes:
    return _forge().quote()


def targets() -> Iterator[Target]:
    """Everything that Intel's service sends."""
    yield Target(name="tcb-info", read=lambda data: TcbInfo.parse(_text(data)), seeds=lambda: _texts("tcb_info"))
    yield Target(
        name="qe-identity", read=lambda data: QeIdentity.parse(_text(data)), seeds=lambda: _texts("qe_identity")
    )
    yield Target(name="signed-tcb-info", read=lambda data: _signed(data, "tcb_info"), seeds=lambda: _texts("tcb_info"))
    yield Target(
        name="signed-qe-identity", read=lambda data: _signed(data, "qe_identity"), seeds=lambda: _texts("qe_identity")
    )
    yield Target(name="collateral", read=_collateral, seeds=_bundles)
    yield Target(name="verify-collateral", read=_verify, seeds=_bundles)


def _signed(data: bytes, part: str) -> object:
    """The verification with a document that its makers did sign: hostile content behind a good signature."""
    forge, text = _forge(), _text(data)
    signature = sign_document(forge.pki.tcb_signer, text)
    return forge.verify({**_documents(), part: text, f"{part}_signature": signature}, quote=_quote())


def _collateral(data: bytes) -> object:
    return Collateral.from_json(load_json(data, "collateral", _LIMIT))


def _verify(data: bytes) -> object:
    return _forge().verify(load_json(data, "collateral", _LIMIT) or {"": ""}, quote=_quote())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").encode("ascii", "replace").decode("ascii")  # collateral is ASCII by then


@cache
def _documents() -> dict[str, str]:
    return _forge().documents()


def _texts(part: str) -> list[bytes]:
    stages = (TcbStage(), TcbStage(status=TcbStatus.SW_HARDENING_NEEDED, advisories=("INTEL-SA-00615",)))
    return [_forge().documents(stage)[part].encode() for stage in stages]


def _bundles() -> list[bytes]:
    without = {name: text for name, text in _documents().items() if name != "pck_certificate_chain"}
    return [json.dumps(_documents()).encode(), json.dumps(without).encode()]
