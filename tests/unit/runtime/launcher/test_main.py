from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.enclave.launch import Broker, Image, LaunchDocument, User
from kloister.formats.protocol.host import Host
from kloister.formats.protocol.release import Bundle, SecretFile, seal
from kloister.formats.wire import b64url
from tests.support.paths import open_directory
from tests.unit.client.test_release import Broker as FakeBroker
from tests.unit.client.tls_server import make_authority, serve
from tests.unit.runtime.launcher.guests import TARGET_INFO, Guest, run
from tests.unit.runtime.launcher.test_private import SECRET
from tests.unit.runtime.launcher.test_private import Image as PrivateImage

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="chroot needs root")

SCRIPT = """\
echo "$0 $*"
echo "$PATH|$HOME|$DB_PASSWORD|$LEVEL"
echo "$(pwd)"
cat /dev/attestation/attestation_type /dev/attestation/quote
echo x > /tmp/new && echo wrote
(echo x > /etc/new) 2>/dev/null || echo kept
"""
USER = User("app", 1000, 1000)


def copy_program(root: Path, program: str) -> None:
    """A dynamic program with the libraries that ldd(1) names."""
    found = shutil.which(program)
    assert found
    listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
    for path in [found, *re.findall(r"(/\S+) \(0x", listed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.fixture
def root() -> Iterator[Path]:
    with open_directory() as base:
        yield make_root(base / "root")


def make_root(root: Path) -> Path:
    for name in ("proc", "tmp", "etc", "dev", "bin", ".kloister/enclave"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "dev/null").touch()
    (root / "dev/null").chmod(0o666)
    (root / "etc/passwd").write_text("app:x:1000:1000::/home/app:/bin/sh\n")
    copy_program(root, "dash")
    copy_program(root, "cat")
    shell = shutil.which("dash")
    assert shell
    (root / "bin/app").write_text(f"#!{shell}\n{SCRIPT}")
    (root / "bin/app").chmod(0o755)
    return root


LAUNCH = LaunchDocument(
    image=Image(("app", "one", "two words"), ("PATH=/nowhere:/bin:/usr/bin",), USER, "/tmp"),  # noqa: S108 -- inside
    writable=("/tmp",),  # noqa: S108 -- inside
    memory=1 << 20,
)


def start(root: Path, launch: LaunchDocument = LAUNCH, **host: Any) -> Guest:
    (root / ".kloister/enclave/launch.json").write_bytes(launch.build())
    (root / ".kloister/host.json").write_text(json.dumps(Host(**host).build()))
    return run("tests.unit.runtime.launcher.chrooted", str(root))


def arguments(*items: str) -> LaunchDocument:
    return replace(LAUNCH, image=replace(LAUNCH.image, arguments=items))


def test_an_image_without_broker_runs(root: Path) -> None:
    guest = start(root)
    assert guest.output.decode().splitlines() == [
        "/bin/app one two words",
        "/nowhere:/bin:/usr/bin|/home/app||",
        "/tmp",  # noqa: S108 -- inside
        "dcapquotewrote",
        "kept",
    ]
    assert (guest.status, guest.refusal) == (0, None)
    assert [event["name"] for event in guest.events if event["event"] == "phase"] == [
        "interpreter",
        "documents",
        "inject",
        "lockdown",
    ]
    assert guest.quoted == [b64url(bytes(64))]
    assert (root / "dev/attestation/my_target_info").read_bytes() == TARGET_INFO


def test_released_secrets_reach_the_application_only(root: Path, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    launch = replace(LAUNCH, broker=Broker(authority.ca, "clinic", "inference", "app"))
    broker = FakeBroker(authority.broker_key)
    with serve(authority, broker.reply) as server:
        guest = start(root, launch, broker=server.address, instance="instance-1")
    assert b"|/home/app|s3cret|" in guest.output
    (request,) = broker.requests
    assert guest.quoted[0] == b64url(request.binding(authority.broker_key).report_data())
    assert b"s3cret" not in json.dumps(guest.events).encode()


def test_an_impostor_broker_stops_it_before_the_first_instruction(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    pinned, impostor = make_authority(tmp_path), make_authority(tmp_path / "other")
    launch = replace(LAUNCH, broker=Broker(pinned.ca, "clinic", "inference", "app"))
    with serve(impostor, FakeBroker(impostor.broker_key).reply) as server:
        guest = start(root, launch, broker=server.address)
    assert (guest.status, guest.refusal, guest.output, guest.quoted) == (70, "broker-impostor", b"", [])


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ({"arguments": ("--debug",)}, "host-arguments-refused"),
        ({"slots": {"LD_PRELOAD": "/x"}}, "slot-refused"),
    ],
)
def test_the_host_has_no_say(root: Path, host: dict[str, Any], code: str) -> None:
    guest = start(root, **host)
    assert (guest.status, guest.refusal, guest.output) == (70, code, b"")


def test_a_broker_that_the_host_does_not_name(root: Path, tmp_path: Path) -> None:
    launch = replace(LAUNCH, broker=Broker(make_authority(tmp_path).ca, "clinic", "inference", "app"))
    guest = start(root, launch)
    assert (guest.status, guest.refusal) == (70, "broker-address")


@pytest.mark.parametrize(
    ("argument", "status", "code"),
    [
        ("missing", 127, "program-not-found"),
        ("/bin/missing", 127, "program-not-found"),
        ("/bin/badinterpreter", 127, "program-not-found"),
        ("plain", 126, "program-not-executable"),
        ("/bin/plain", 126, "program-not-executable"),
        ("/bin/noformat", 126, "program-not-executable"),
        ("/bin", 126, "program-not-executable"),
    ],
)
def test_programs_that_cannot_be_started(root: Path, argument: str, status: int, code: str) -> None:
    (root / "bin/plain").write_text("x")
    (root / "bin/badinterpreter").write_text("#!/bin/none\n")
    (root / "bin/noformat").write_bytes(b"\0\1\2\3")
    (root / "bin/badinterpreter").chmod(0o755)
    (root / "bin/noformat").chmod(0o755)
    guest = start(root, arguments(argument))
    assert (guest.status, guest.refusal) == (status, code)


def test_a_working_directory_that_is_missing(root: Path) -> None:
    guest = start(root, replace(LAUNCH, image=replace(LAUNCH.image, workdir="/none")))
    assert (guest.status, guest.refusal) == (70, "workdir")


def test_a_damaged_launch_document(root: Path) -> None:
    (root / ".kloister/enclave/launch.json").write_text("{}")
    (root / ".kloister/host.json").write_text("{}")
    guest = run("tests.unit.runtime.launcher.chrooted", str(root))
    assert (guest.status, guest.refusal) == (70, "launch-field")


def release(root: Path, folder: Path, bundle: Bundle, **host: Any) -> Guest:
    """Start with a broker that releases `bundle`."""
    authority = make_authority(folder)
    broker = FakeBroker(authority.broker_key)
    broker.seal = lambda request: seal(bundle, request.binding(authority.broker_key), request.quote, b"e" * 32)
    launch = replace(LAUNCH, broker=Broker(authority.ca, "clinic", "inference", "app"))
    with serve(authority, broker.reply) as server:
        return start(root, launch, broker=server.address, instance="one", **host)


def test_released_arguments_files_and_slots(root: Path, tmp_path: Path) -> None:
    bundle = Bundle(
        arguments=("cat", "/etc/tls/key"),
        files=(SecretFile("/etc/tls/key", 0o400, 1000, 1000, b"the key"),),
        slots={"LEVEL": "^(info|debug)$"},
    )
    guest = release(root, tmp_path, bundle, slots={"LEVEL": "debug"})
    assert (guest.status, guest.output) == (0, b"the key")
    refused = release(root, tmp_path, bundle, slots={"LEVEL": "trace"})
    assert (refused.status, refused.refusal, refused.output) == (70, "slot-refused", b"")


def test_dropped_output_is_dropped_and_encrypted_output_refused(root: Path, tmp_path: Path) -> None:
    assert b"s3cret" in release(root, tmp_path, Bundle(environment={"DB_PASSWORD": "s3cret"})).output
    dropped = release(root, tmp_path, Bundle(output="drop"))
    assert (dropped.status, dropped.output) == (0, b"")
    assert release(root, tmp_path, Bundle(output="encrypted")).refusal == "output-unsupported"


def test_an_empty_command_line_is_refused(root: Path, tmp_path: Path) -> None:
    assert release(root, tmp_path, Bundle(arguments=())).refusal == "arguments-empty"


def test_private_layers_are_there_when_the_application_starts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    image = PrivateImage(tmp_path / "image")
    shutil.move(image.folder, root / ".kloister/private")
    authority = make_authority(tmp_path)
    broker = FakeBroker(authority.broker_key)
    keys = Bundle(keys={"layer": SECRET}, arguments=("cat", "/etc/app.conf"))
    broker.seal = lambda request: seal(keys, request.binding(authority.broker_key), request.quote, b"e" * 32)
    launch = replace(LAUNCH, broker=Broker(authority.ca, "clinic", "inference", "app"), private=image.private)
    with serve(authority, broker.reply) as server:
        guest = start(root, launch, broker=server.address)
    assert (guest.status, guest.output) == (0, b"conf")
    assert "private" in [event.get("name") for event in guest.events]
    assert list((root / ".kloister/private").iterdir()) == []
