from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.kubelet.checkpoint import NAME, CheckpointFile
from kloister.kubernetes.node.kubelet.identity import identity
from kloister.kubernetes.node.plugin import rivals, sockets

OURS = (ENCLAVE, PROVISION, EPC_BLOCK)


@contextmanager
def _listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield


def _adopted(folder: Path) -> frozenset[str]:
    return rivals.adopted(folder, OURS, CheckpointFile(folder))


def _register(folder: Path, **registered: list[str] | None) -> None:
    names = {"enclave": ENCLAVE, "provision": PROVISION}
    content = {"Data": {"RegisteredDevices": {names[name]: ids for name, ids in registered.items()}}, "Checksum": 1}
    (folder / NAME).write_text(json.dumps(content))


def test_intels_sockets_are_known_by_name(tmp_path: Path) -> None:
    with _listening(tmp_path / "sgx.intel.com-enclave.sock"):
        assert _adopted(tmp_path) == {ENCLAVE}
        with _listening(tmp_path / "sgx.intel.com-provision.sock"):
            assert _adopted(tmp_path) == {ENCLAVE, PROVISION}
    assert (tmp_path / "sgx.intel.com-enclave.sock").exists()
    assert _adopted(tmp_path) == set(), "nobody listens there any more"


def test_a_plugin_of_another_name_is_known_by_the_checkpoint(tmp_path: Path) -> None:
    with _listening(tmp_path / "azure.sock"):
        assert _adopted(tmp_path) == set()
        _register(tmp_path, enclave=["sgx-enclave-0", "sgx-enclave-1"], provision=["provision-0", "provision-1"])
        assert _adopted(tmp_path) == {ENCLAVE}, "provision's devices are named as ours"
        _register(tmp_path, enclave=[], provision=None)
        assert _adopted(tmp_path) == set()
        (tmp_path / NAME).write_text("damaged")
        assert _adopted(tmp_path) == set()


def test_our_own_instances_and_the_kubelet_are_no_rivals(tmp_path: Path) -> None:
    _register(tmp_path, enclave=["sgx-enclave-0"])
    with _listening(tmp_path / "kloister-enclave-abcdefgh.sock"), _listening(tmp_path / "kubelet.sock"):
        assert _adopted(tmp_path) == set()
    assert _adopted(tmp_path / "gone") == set()


def test_sockets_have_names_of_their_own_and_a_length(tmp_path: Path) -> None:
    folder = Path("/var/lib/kubelet/device-plugins")
    paths = {sockets.fresh(folder, "epc-block") for _ in range(50)}
    assert len(paths) == 50
    with pytest.raises(Misconfigured) as refused:
        sockets.fresh(tmp_path / ("x" * 100), "enclave")
    assert refused.value.code == "socket-path"


def test_a_file_made_anew_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert identity(path) is None
    path.touch()
    first = identity(path)
    assert first == identity(path)
    path.unlink()
    time.sleep(0.02)  # kernels before 6.13 tell times by the tick, of 10 ms at most
    path.touch()
    assert identity(path) not in (first, None)
