from __future__ import annotations

from pathlib import Path

import pytest
from grpc_tools import protoc  # type: ignore[import-untyped]  # it has no types of its own

from tests.support.paths import ROOT

FOLDER = Path("src/kloister/kubernetes/node/kubelet")


@pytest.mark.parametrize("name", ["device_plugin", "pod_resources"])
def test_the_messages_are_those_of_our_proto_files(name: str, tmp_path: Path) -> None:
    """Made with: python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src FILE."""
    source = ROOT / FOLDER / f"{name}.proto"
    command = ["protoc", f"-I{ROOT / 'src'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", str(source)]
    assert protoc.main(command) == 0
    for kind in ("py", "pyi"):
        made = tmp_path / FOLDER.relative_to("src") / f"{name}_pb2.{kind}"
        assert made.read_text() == (ROOT / FOLDER / made.name).read_text()
