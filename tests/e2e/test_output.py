"""What every command has in common: examples, JSON, no drawings in pipes, no secret anywhere, private files."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import typer.main

from kloister.cli.main import build
from tests.support.box import TOKEN, Box, make_box
from tests.support.cli import COMMAND, kloister, process

pytestmark = pytest.mark.e2e


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that can be typed, and how."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{word} ")
        else:
            yield name + word, command


COMMANDS = dict(commands(typer.main.get_command(build(None))))
# print what the application prints, or a log
QUIET = {"run", *(f"serve {name}" for name in ("platform", "broker", "node", "webhook", "controller", "attestation"))}
CLUSTER = {
    "kube install",
    "kube check",
    "kube status",
    "kube uninstall",
    "node list",
    "node describe",
}  # tests/unit/kubernetes


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    done = kloister(*name.split(), "--help")
    assert done.code == 0
    assert re.search(rf"(Example|Examples|For example): .*\bkloister {name}\b", " ".join(done.out.split())), done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_prints_a_result_can_print_json(name: str) -> None:
    options = {option for one in COMMANDS[name].params for option in one.opts}
    assert ("--json" in options) is (name not in QUIET)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    before = os.umask(0)  # whatever is private is so by itself
    try:
        yield make_box(folder)
    finally:
        os.umask(before)
        kloister("down", "--state", folder / "state")


@pytest.fixture
def at(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Box:
    monkeypatch.setenv("KLOISTER_STATE", str(box.state))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attestation.txt").write_text("version=1.0;authorizationrules{=>permit();};")
    (tmp_path / "claims.json").write_text("{}")
    return box


JSON = (
    "version",
    "up",
    "status",
    "doctor",
    "image import {image} oci:out --entrypoint /x",
    "image inspect oci:{image}",
    "image inspect --files oci:{image}",
    "convert oci:{image} oci:converted --policy test/box",
    "convert oci:{image} oci:converted --dry-run",
    "policy apply {policy}",
    "policy list",
    "policy show test/box",
    "policy lint {policy}",
    "policy test --language maa attestation.txt --claims claims.json --explain",
    "secret list test/box",
    "secret set test/box token --file token",
    "secret show test/box tls --public",
    "audit show",
    "audit verify",
    "explain measurement-not-allowed",
    "collateral export --cache cache --out pack",
    "collateral import pack --cache cache",
    "simulator init",
    "simulator status",
    "simulator tcb-recovery UpToDate",
    "simulator root --out root",
    "simulator collateral --out collateral",
    "simulator quote --enclave token --report-data 00 --out quote",
)


def lines(box: Box) -> list[list[str]]:
    """The commands of `JSON` with their names filled in."""
    return [[word.format(image=box.image, policy=box.policy) for word in line.split()] for line in JSON]


def test_json_is_one_object_and_text_is_none(at: Box, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    for words in lines(at):
        done = kloister(*words, "-o", "json")
        assert isinstance(done.json, dict), words
        assert "error" not in done.json, words
        assert done.code == 0 or words == ["doctor"], done
        text = kloister(*words)
        assert text.code == done.code, text
        if words[:2] != ["policy", "show"]:  # whose result is a document
            with pytest.raises(ValueError, match=r"."):
                json.loads(text.out)
        for said in (done, text):
            assert not re.search(r"[\x1b\r]|━", said.err), words  # no progress bar where nobody watches
            assert "\x1b" not in said.out, words
    covered = {name for name in COMMANDS for words in lines(at) if words[: len(name.split())] == name.split()}
    apart = {"demo", "down", "verify", "image sample", "simulator pcs", "collateral show"}
    assert set(COMMANDS) - covered == QUIET | CLUSTER | apart


@pytest.mark.usefixtures("at")
def test_progress_is_for_whoever_watches(tmp_path: Path) -> None:
    """The same command on a terminal draws; so the test above would notice."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").write_bytes(bytes(1 << 20))
    words = ["image", "import", "source", "oci:drawn", "--entrypoint", "/x"]
    controller, terminal = os.openpty()
    with (tmp_path / "said").open("w+b") as said, os.fdopen(controller, "rb", 0) as screen:
        running = subprocess.Popen([*COMMAND, *words], stderr=terminal, stdout=said)
        os.close(terminal)
        drawn = b"".join(iter(lambda: _drawn(screen), b""))  # read at once: a terminal keeps little
        assert running.wait() == 0
        said.seek(0)
        assert b"drawn is an image" in said.read()
    assert b"\x1b" in drawn


def _drawn(screen: FileIO) -> bytes:
    try:
        return screen.read(1 << 16) or b""
    except OSError:  # EIO: nobody has the terminal any more
        return b""


def test_no_secret_is_printed_logged_or_stored(at: Box, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    released = at.run()
    assert released.code == 0, released
    password = re.search(r"^PASSWORD=(.{16,})$", released.out, re.MULTILINE)
    assert password is not None
    secrets = [password[1].encode(), TOKEN.encode()]
    secrets += [secret.hex().encode() for secret in secrets]
    outputs = [
        f"{done.out}{done.err}".encode()
        for words in [*lines(at), ["status", "--json"], ["audit", "show", "--json"]]
        for done in (kloister(*words),)
    ]
    outputs += [process("run", "box", "--timings").err.encode(), repr(at).encode()]
    kept = [path.read_bytes() for path in at.state.rglob("*") if path.is_file()]
    assert len(kept) > 15
    for data in [*outputs, *kept]:
        for secret in secrets:
            assert secret not in data
    planted = at.state / "logs" / "planted"
    planted.write_bytes(b"x" + secrets[0])
    assert any(secrets[0] in path.read_bytes() for path in at.state.rglob("*") if path.is_file())
    planted.unlink()


def test_private_files_are_private_whatever_the_umask(at: Box) -> None:
    assert stat.S_IMODE(at.state.stat().st_mode) == 0o700
    for name in ("platform", "broker", "keys", "logs"):
        found = [at.state / name, *(at.state / name).rglob("*")]
        found = [path for path in found if path.name != "recovery.json"]  # public, and read by the platform's own user
        assert len(found) > 1, name
        open_to_others = [path for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077]
        assert open_to_others == [], name
    assert stat.S_IMODE((at.state / "stack.json").stat().st_mode) == 0o600
    for socket in (at.state / "platform" / "control.sock", at.state / "broker" / "admin.sock"):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
