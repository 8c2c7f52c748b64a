from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.kubelet.checkpoint import NAME
from kloister.kubernetes.node.plugin import sockets
from kloister.kubernetes.node.plugin.rivals import adopted

OURS = (ENCLAVE, PROVISION, EPC_BLOCK)


@contextmanager
def _listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield


def _register(folder: Path, **registered: list[str] | None) -> None:
    names = {"enclave": ENCLAVE, "provision": PROVISION}
    content = {"Data": {"RegisteredDevices": {names[name]: ids for name, ids in registered.items()}}, "Checksum": 1}
    (folder / NAME).write_text(json.dumps(content))


def test_intels_sockets_are_known_by_name(tmp_path: Path) -> None:
    with _listening(tmp_path / "sgx.intel.com-enclave.sock"):
        assert adopted(tmp_path, OURS) == {ENCLAVE}
        with _listening(tmp_path / "sgx.intel.com-provision.sock"):
            assert adopted(tmp_path, OURS) == {ENCLAVE, PROVISION}
    assert (tmp_path / "sgx.intel.com-enclave.sock").exists()
    assert adopted(tmp_path, OURS) == set(), "nobody listens there any more"


def test_a_plugin_of_another_name_is_known_by_the_checkpoint(tmp_path: Path) -> None:
    with _listening(tmp_path / "azure.sock"):
        assert adopted(tmp_path, OURS) == set()
        _register(tmp_path, enclave=["sgx-enclave-0", "sgx-enclave-1"], provision=["provision-0", "provision-1"])
        assert adopted(tmp_path, OURS) == {ENCLAVE}, "provision's devices are named as ours"
        _register(tmp_path, enclave=[], provision=None)
        assert adopted(tmp_path, OURS) == set()
        (tmp_path / NAME).write_text("damaged")
        assert adopted(tmp_path, OURS) == set()


def test_our_own_instances_and_the_kubelet_are_no_rivals(tmp_path: Path) -> None:
    _register(tmp_path, enclave=["sgx-enclave-0"])
    with _listening(tmp_path / "kloister-enclave-abcdefgh.sock"), _listening(tmp_path / "kubelet.sock"):
        assert adopted(tmp_path, OURS) == set()
    assert adopted(tmp_path / "gone", OURS) == set()


def test_sockets_have_names_of_their_own_and_a_length(tmp_path: Path) -> None:
    folder = Path("/var/lib/kubelet/device-plugins")
    paths = {sockets.fresh(folder, "epc-block") for _ in range(50)}
    assert len(paths) == 50
    with pytest.raises(Misconfigured) as refused:
        sockets.fresh(tmp_path / ("x" * 100), "enclave")
    assert refused.value.code == "socket-path"


def test_a_file_made_anew_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert sockets.identity(path) is None
    path.touch()
    first = sockets.identity(path)
    assert first == sockets.identity(path)
    path.unlink()
    path.touch()
    assert sockets.identity(path) not in (first, None)
