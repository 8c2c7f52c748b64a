"""A small image that really runs, a static busybox, converted and approved on a stack of the test's own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import Done, kloister, process
from tests.support.policies import release_policy
from tests.support.stacks import placed

POLICY = release_policy(
    "test",
    "box",
    """\
secrets:
  - {name: password, kind: password}
  - {name: token, kind: value}
  - {name: ca, kind: x509-ca, commonName: Box}
  - {name: tls, kind: x509, issuer: ca, scope: policy, commonName: box}
services:
  - name: app
    environment:
      PASSWORD: "{{ secrets.password.value }}"
      TOKEN: "{{ secrets.token.value }}"
""",
)
TOKEN = "token-7b1f44a0c5d2"


@dataclass(frozen=True, slots=True)
class Box:
    """A running stack whose local store has the image `box`; it prints its environment.

    Attributes:
        state: the state directory.
        policy: the policy that was approved.
        image: the plain image's layout.
    """

    state: Path
    policy: Path
    image: Path

    def run(self) -> Done:
        """Run it; its environment is the output."""
        return process("run", "box", "--state", self.state)


def busybox_image(folder: Path) -> Path:
    """A layout with one image: busybox as `env`."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox is not installed: apt-get install busybox-static")
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(program, root / "bin" / "busybox")
    layout = folder / "plain"
    words = [word for part in ("/bin/busybox", "env") for word in ("--entrypoint", part)]
    assert kloister("image", "import", root, f"oci:{layout}", *words).code == 0
    return layout


def make_box(folder: Path) -> Box:
    """Start a stack, convert the image, approve its policy, upload its secret."""
    image, state = busybox_image(folder), placed(folder / "state")
    (folder / "template.yaml").write_text(POLICY)
    at = ("--state", str(state))
    token = folder / "token"
    token.write_text(TOKEN)
    for line in (
        ("up",),
        ("convert", f"oci:{image}", "box", "--policy", "test/box", "--policy-template", str(folder / "template.yaml")),
        ("policy", "apply", str(state / "policies" / "box.policy.yaml")),
        ("secret", "set", "test/box", "token", "--file", str(token)),
    ):
        done = kloister(*line, *at)
        assert done.code == 0, done
    token.unlink()
    return Box(state, state / "policies" / "box.policy.yaml", image)
