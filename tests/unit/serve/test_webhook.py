"""The daemon: a process, trusted by the API server through what it registered itself."""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
from pathlib import Path

import pytest

from kloister import clock
from kloister.kubernetes.resources import ConfidentialNode, Section
from kloister.kubernetes.webhook.certificates import create
from kloister.serve.webhook import settings_of
from tests.support.apiserver.server import ApiServer, running
from tests.support.apiserver.webhook import Caller, authorities, review, webhook


def test_it_registers_answers_over_tls_and_ends_on_sigterm(tmp_path: Path) -> None:
    server = ApiServer()
    with running(server, tmp_path) as kubeconfig, webhook(server, kubeconfig) as (port, process):
        with contextlib.closing(Caller(port, authorities(server))) as caller:
            status, body = caller.ask(review({"sgx.intel.com/epc": "10Mi"}))
            assert status == 200
            assert json.loads(body)["response"]["patchType"] == "JSONPatch"
            assert caller.ask(b"{}")[0] == 400
            assert caller.ask(b"", "/readyz", "GET") == (200, b"ok\n")
            assert caller.ask(b"", "/elsewhere", "GET")[0] == 404
            assert b'kloister_webhook_answers_total{outcome="patched"} 1.0' in caller.ask(b"", "/metrics", "GET")[1]
        stranger = Caller(port, create(["kloister-webhook.kloister-system.svc"], clock.now()).ca)
        with contextlib.closing(stranger), pytest.raises(ssl.SSLCertVerificationError):
            stranger.ask(review({}))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_largest_block_and_node_count() -> None:
    def node(size: int, block: int) -> dict[str, object]:
        section = Section(0, size)
        return ConfidentialNode("n", block, (section,), frozenset(), simulated=True, seen=clock.now()).build()

    found = settings_of([node(1 << 30, 1 << 20), node(64 << 30, 8 << 20), {"metadata": {}}], "b:1")
    assert (found.block, found.largest, found.broker, found.simulated) == (8 << 20, 64 << 30, "b:1", True)
    assert (settings_of([], "").block, settings_of([], "").simulated) == (8 << 20, False)
