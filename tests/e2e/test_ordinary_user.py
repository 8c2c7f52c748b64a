"""The whole chain as an ordinary user: all user ids with newuidmap, a single one without subordinate ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.small import OWNER, POLICY, make_small
from tests.e2e.someone import Someone, someone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=[True, False], ids=["newuidmap", "single"])
def user(request: pytest.FixtureRequest) -> Iterator[Someone]:
    """A user with a running stack."""
    many: bool = request.param
    if many and shutil.which("newuidmap") is None:
        pytest.skip("newuidmap (package uidmap) is not installed")
    with someone(many=many) as made:
        (made.home / "policy.yaml").write_text(POLICY)
        try:
            made.kloister("up")
            yield made
        finally:
            made.kloister("down")
            made.leaves_nothing()


def _image(user: Someone, name: str, *, switches: bool = False, as_user: str = "") -> None:
    """An image whose program is cat: as root, as another user, or as root with a place of another user."""
    plain = user.home / f"plain-{name}"
    if plain.exists():
        return
    words = ("/run/word", "/proc/self/uid_map")
    make_small(user.home / f"root-{name}", f"oci:{plain}:{name}", *words, user=as_user, volume=switches)
    template = str(user.home / "policy.yaml")
    user.kloister(
        "convert", f"oci:{plain}:{name}", name, "--policy", "home/cat", "--policy-template", template, "--simulated"
    )


def _approve(user: Someone, name: str) -> None:
    user.kloister("policy", "apply", str(user.home / f".local/share/kloister/policies/{name}.policy.yaml"))
    user.kloister("secret", "set", "home/cat", "word", said=b"secret word")


def test_the_whole_chain(user: Someone) -> None:
    _image(user, "cat")
    _approve(user, "cat")
    word, *users = user.kloister("run", "cat").stdout.decode().splitlines()
    assert word == "secret word"
    assert len(users) == (2 if user.many else 1)  # its own id, and the subordinate ones


def test_an_image_of_another_user(user: Someone) -> None:
    """One id is enough for whatever user the image names, since it is the only one."""
    _image(user, "other", as_user="app")
    _approve(user, "other")
    lines = user.kloister("run", "other").stdout.decode().splitlines()
    assert lines[0] == "secret word"
    assert lines[1].split()[0] == ("0" if user.many else str(OWNER))


def test_an_image_that_switches_users(user: Someone) -> None:
    _image(user, "switching", switches=True)
    _approve(user, "switching")
    if user.many:
        assert user.kloister("run", "switching").stdout.startswith(b"secret word\n")
        return
    refused = user.kloister("run", "switching", code=1)
    assert refused.stdout == b""
    assert b"[image-needs-more-users]" in refused.stderr
    assert b"uidmap" in refused.stderr


def test_doctor(user: Someone) -> None:
    """It says what this user has."""
    said = user.kloister("doctor").stdout.decode()
    assert ("one user id" in said) is not user.many


def test_status_and_a_second_up(user: Someone) -> None:
    assert b"Already running" in user.kloister("up").stdout
    user.kloister("status")


@pytest.mark.parametrize("user", [False], indirect=True, ids=["single"])
def test_the_demo(user: Someone) -> None:
    """No root is needed: every row is as expected, or says why it is skipped."""
    result = json.loads(user.kloister("demo", "--json").stdout)
    assert result["failed"] is False
    assert sum(row["result"] == "refused" for row in result["rows"]) == 13  # all attacks of the demo
    assert all(row["note"] for row in result["rows"] if row["result"] == "skipped")
