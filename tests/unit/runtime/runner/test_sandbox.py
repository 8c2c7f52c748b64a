"""The sandbox as its first process sees it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.formats.enclave.launch import Private, PrivateLayer
from kloister.formats.enclave.tree import Kind
from kloister.runtime.runner.idmap import SUBORDINATE_BASE
from tests.unit.runtime.runner.conftest import Start
from tests.unit.runtime.runner.sandboxes import (
    LAUNCH,
    ROOT,
    TIME,
    PackMaker,
    Spawning,
    file,
    listening,
    other,
    spawning,
)

_DIGEST = "sha256:" + "5d" * 32


def test_the_first_process_is_pid_two_of_its_own_namespace(start: Start) -> None:
    running = start()
    assert running.ask("ids") == "2 1 0 0"
    assert running.ask("arguments") == "11 /.kloister/runtime/ld.so"
    running.settle()
    assert Path(f"/proc/self/fd/{running.namespace}").readlink() != Path("/proc/self/ns/pid").readlink()
    running.tell("exit 0")
    assert running.last() == {"event": "exit", "status": 0}


def test_every_entry_stands_as_it_was_measured(start: Start) -> None:
    running = start()
    expected = {
        "/": "40755 0 0",
        "/data": "42770 101 102",
        "/data/seed": "100644 0 0",
        "/etc/passwd": "100644 0 0",
        "/etc/shadow": "100640 0 42",
        "/etc/secret": "40555 0 0",
        "/etc/secret/deep": "100400 0 0",
        "/tmp": "41777 0 0",  # noqa: S108 -- inside the sandbox
        "/usr/bin/su": "104755 0 0",
        "/usr/bin/empty": "100644 0 0",
    }
    for path, wanted in expected.items():
        mode, uid, gid, _size, mtime, _links = running.ask(f"stat {path}").split()
        assert (f"{mode} {uid} {gid}", int(mtime)) == (wanted, TIME), path
    assert running.ask("stat /usr/bin/su2").split()[-1] == "2"
    assert running.ask("link /bin") == "usr/bin"
    assert running.cat("/data/seed") == "seed"
    assert running.cat("/etc/passwd").startswith("root:")


def test_many_files_are_shared_among_workers_and_are_all_there(start: Start) -> None:
    big = bytes(range(256)) * 12_000  # larger than the reader's buffer
    files = [file(f"/f{number:03}", f"{number}".encode() * number) for number in range(200)]
    running = start(measured=[*ROOT, file("/big", big, mode=0o755), *files])
    assert running.ask("stat /big").split()[3] == str(len(big))
    assert [running.ask(f"stat /f{number:03}").split()[3] for number in range(200)] == [
        str(len(f"{number}") * number) for number in range(200)
    ]
    assert running.cat("/f117") == "117" * 117


def test_nothing_of_the_host_is_in_sight(start: Start) -> None:
    running = start()
    mounts = running.cat("/proc/self/mountinfo").splitlines()
    places = {line.split()[4] for line in mounts}
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert places == {"/", "/proc", "/dev/pts", "/dev/attestation/socket", *devices}
    assert all("nosuid" in line.split()[5] for line in mounts)
    root = next(line for line in mounts if line.split()[4] == "/")
    assert " - tmpfs " in root or " - ramfs " in root
    assert "nodev" in root
    assert running.cat("/proc/2/status").count("Groups:\t \n") == 1


def test_its_namespaces_are_not_the_hosts(start: Start) -> None:
    running = start()
    for name in ("user", "mnt", "pid", "ipc", "uts"):
        assert running.ask(f"link /proc/self/ns/{name}") != str(Path(f"/proc/self/ns/{name}").readlink())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root maps ids to a base of its own")
def test_its_users_are_subordinate(start: Start) -> None:
    assert start().cat("/proc/self/uid_map").split() == ["0", str(SUBORDINATE_BASE), "65536"]


def test_capabilities_are_those_of_a_container(start: Start) -> None:
    status = start().cat("/proc/self/status")
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd"))
    assert bounding.split()[1] == "00000000a80425fb"  # what container engines leave to root


def test_descriptors_are_stdio_the_enclave_and_pid_one(start: Start) -> None:
    running = start()
    assert [running.ask(f"link /proc/self/fd/{number}").split(":")[0] for number in range(8)] == [
        "pipe", "pipe", "pipe", "socket", "none", "socket", "none", "none",
    ]  # fmt: skip
    assert running.ask("send 3 hello") == "0"
    assert running.enclave.recv(16) == b"hello"


def test_descriptors_that_were_left_open_go_no_further(first: bytes, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.dup2(writing, 200, inheritable=True)
    try:
        with spawning() as started, listening(tmp_path / "attestation"):
            manifest = PackMaker(tmp_path / "pack", first=first).make()
            running = started.start(tmp_path / "pack", manifest, first, tmp_path / "attestation")
            assert running.ask("link /proc/self/fd/200") == "none"
            os.close(200)
            os.close(writing)
            assert os.read(reading, 1) == b""  # nobody else holds it either
    finally:
        os.close(reading)


def test_what_it_says_to_pid_one_becomes_events(start: Start) -> None:
    running = start()
    assert running.ask('send 5 {"event":"phase","name":"release","us":1500}') == "0"
    assert running.ask('send 5 {"event":"log","text":"hello"}') == "0"
    assert running.ask("send 5 nonsense") == "0"
    running.tell("exit 3")
    assert running.last() == {"event": "exit", "status": 3}
    assert {"event": "phase", "name": "release", "us": 1500} in running.events
    assert running.logs() == ["hello"]


def test_its_refusal_is_the_last_event(start: Start) -> None:
    running = start()
    running.ask('send 5 {"event":"refused","code":"broker-unreachable","text":"No.","hint":""}')
    running.tell("exit 1")
    assert running.last() == {"event": "refused", "code": "broker-unreachable", "text": "No.", "hint": ""}


@pytest.mark.parametrize("status", [0, 1, 126, 255])
def test_exit_codes(start: Start, status: int) -> None:
    running = start()
    running.tell(f"exit {status}")
    assert running.last() == {"event": "exit", "status": status}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_a_signal_that_ends_it_is_reported(start: Start, number: int) -> None:
    running = start()
    running.tell(f"raise {int(number)}")
    assert running.last() == {"event": "exit", "signal": int(number)}


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN + 3]
)
def test_signals_are_passed_on(start: Start, number: int) -> None:
    running = start()
    assert running.ask(f"trap {int(number)}") == "trapped"
    running.signal(number)
    assert running.hear() == f"signal {int(number)}"


def test_a_signal_that_it_does_not_catch_ends_it(start: Start) -> None:
    running = start()
    running.ask("ids")
    running.signal(signal.SIGTERM)
    assert running.last() == {"event": "exit", "signal": 15}


def test_orphans_are_reaped(start: Start) -> None:
    running = start()
    assert running.ask("orphan") == "orphaned"
    deadline = time.monotonic() + 60
    while (children := running.cat("/proc/1/task/1/children").split()) != ["2"]:
        assert time.monotonic() < deadline, children
        time.sleep(0.02)


def test_output_ends_when_the_application_ends(start: Start) -> None:
    running = start()
    running.ask("daemon")
    running.tell("exit 0")
    assert running.last() == {"event": "exit", "status": 0}
    assert running.hear() == ""


def test_pid_one_is_small_and_closed(start: Start) -> None:
    running = start(measured=[*ROOT, *(file(f"/f{n:04}", bytes(50)) for n in range(1500))])
    running.ask("ids")
    status = dict(line.split(":\t", 1) for line in running.cat("/proc/1/status").splitlines())
    assert int(status["VmRSS"].split()[0]) < 20 * 1024  # kB
    assert running.cat("/proc/1/environ") == "errno 13\n"  # not dumpable: not even for the same user
    assert running.ask("stat /proc/1/exe").startswith("120777")
    assert running.ask("link /proc/1/exe") == "none"


def test_places_and_files_that_are_not_of_the_tree(start: Start) -> None:
    running = start()
    assert running.ask("stat /run").startswith("40755 0 0")
    assert running.cat("/.kloister/enclave/launch.json") == LAUNCH.build().decode()
    assert '"instance": "test"' in running.cat("/.kloister/host.json")
    assert running.cat("/etc/hosts") == Path("/etc/hosts").read_text()
    assert running.ask("stat /dev/attestation/socket").startswith("140666")
    assert running.ask("write /dev/shm/x y") == "0"


def test_an_empty_root_is_enough(start: Start) -> None:
    running = start(measured=[other("/")], launch=replace(LAUNCH, writable=()))
    assert running.ask("stat /etc/hostname").startswith("100644")


def test_what_the_image_has_below_the_sandboxs_own_places_is_left_out(start: Start) -> None:
    more = [other("/dev"), file("/dev/console", b"x"), file("/proc/x", b"y"), file("/zz", b"behind them")]
    running = start(measured=[*ROOT, *more])
    assert running.ask("stat /dev/console") == "errno 2"
    assert running.cat("/zz") == "behind them"


def test_a_named_mount_shows_the_hosts_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "offered").mkdir(mode=0o777)
    (tmp_path / "offered").chmod(0o777)
    (tmp_path / "offered" / "letter").write_text("dear")
    running = start(mounts={"inbox": tmp_path / "offered"})
    assert running.cat("/mnt/inbox/letter") == "dear"
    assert running.ask("write /mnt/inbox/answer yes") == "0"
    assert (tmp_path / "offered" / "answer").read_text() == "yes"
    mount = next(line for line in running.cat("/proc/self/mountinfo").splitlines() if " /mnt/inbox " in line)
    assert {"nosuid", "nodev"} <= set(mount.split()[5].split(","))


def test_a_named_mount_hides_what_the_image_has_there_and_leaves_the_hosts_directory_alone(
    start: Start, tmp_path: Path
) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    offered.chmod(0o777)
    before = offered.stat().st_mtime_ns
    root = [*ROOT, other("/mnt"), other("/mnt/inbox", mode=0o1755), file("/mnt/inbox/own", b"the image's")]
    assert start(measured=root).cat("/mnt/inbox/own") == "the image's"
    running = start(measured=root, mounts={"inbox": offered})
    assert running.ask("stat /mnt/inbox/own") == "errno 2"
    assert list(offered.iterdir()) == []
    assert (offered.stat().st_mtime_ns, offered.stat().st_mode & 0o7777) == (before, 0o777)


def test_a_core_handler_gets_nothing(start: Start) -> None:
    """A limit of 0 keeps a core from files only; the kernel gives it to a handler behind a pipe all the same."""
    limits = next(line for line in start().cat("/proc/self/limits").splitlines() if line.startswith("Max core"))
    assert limits.split()[4:6] == ["1", "1"]


def test_a_mount_that_was_not_measured_is_refused(start: Start, tmp_path: Path) -> None:
    assert start().ask("ids")
    last = start(mounts={"outbox": tmp_path}).last()
    assert (last["event"], last["code"]) == ("refused", "mount-unknown")


def test_a_mount_that_is_no_directory_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert start(mounts={"inbox": tmp_path / "file"}).last()["code"] == "mount-kind"


def test_encrypted_layers_are_checked_and_handed_in(start: Start) -> None:
    from hashlib import sha256

    layer, tree = b"encrypted layer", b"encrypted tree"
    digest = sha256(layer).hexdigest()
    private = Private(
        "layer", f"sha256:{sha256(tree).hexdigest()}", len(tree),
        (PrivateLayer(f"sha256:{digest}", len(layer), "application/octet-stream", "aGk=", "aGk="),),
    )  # fmt: skip
    launch = replace(LAUNCH, private=private)
    running = start(launch=launch, private={digest: layer}, private_tree=tree)
    assert running.cat(f"/.kloister/private/{digest}") == layer.decode()
    assert running.cat("/.kloister/private/private.tree") == tree.decode()
    for changed in ({"private": {digest: b"Encrypted layer"}}, {"private_tree": b"Encrypted tree"}):
        last = start(**{"launch": launch, "private": {digest: layer}, "private_tree": tree, **changed}).last()
        assert (last["event"], last["code"]) == ("refused", "layer-changed")


def test_a_first_process_that_cannot_be_executed_is_refused(start: Start) -> None:
    last = start(pal=b"no program").last()
    assert (last["event"], last["code"]) == ("refused", "first-process")


def test_a_place_through_a_symlink_is_refused(start: Start) -> None:
    launch = replace(LAUNCH, writable=("/bin/cache",))
    assert start(launch=launch).last()["code"] == "place-conflict"


def test_a_place_that_is_a_symlink_is_left_as_it_is(start: Start) -> None:
    tree = [*ROOT, other("/run", Kind.SYMLINK, target=b"tmp")]
    assert start(measured=tree).ask("link /run") == "tmp"


def test_several_sandboxes_do_not_see_each_other(start: Start, spawner: Spawning) -> None:
    one, two = start(), start()
    assert one.ask("write /tmp/mark 1") == "0"
    assert two.ask("stat /tmp/mark") == "errno 2"
    assert spawner.pid
    assert one.cat("/proc/1/task/1/children").split() == ["2"]
