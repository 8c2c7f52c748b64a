"""Converted images started by runc as Kubernetes does it: unprivileged, with a real platform and a real broker."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.dcap.quote import Quote
from kloister.formats.sgx import Report, ReportBody
from kloister.runtime.linux import landlock
from kloister.serve.demo.world import World
from tests.e2e.standing import APP, SECRET, USUAL, Stand, rewrite
from tests.support import pods
from tests.support.pods import memory, mount, unpack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0 or not pods.available(), reason="needs root and runc"),
]


@pytest.fixture(scope="module")
def stand(stage: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    stand = Stand(stage, tmp_path_factory.mktemp("pods"))
    yield stand
    stand.close()


def test_secrets_arrive_in_an_unprivileged_container(stand: Stand) -> None:
    ran = stand.pod(environment={"LEVEL": "debug"}).run()
    assert (ran.status, ran.termination) == (0, ""), ran.log
    said = ran.output.splitlines()
    assert said[:3] == [f"pid 1 user {APP}:{APP}", f"word {SECRET}, file {SECRET}", "level debug, leaked "]
    assert said[3:6] == ["wrote /tmp", "kept /etc", "no mounts"]
    assert set(said[6:9]) == {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}
    assert said[9] == '{"quote"', "the application itself gets quotes"
    assert not stand.holding(SECRET), "on no disk"


def test_a_program_written_for_gramine_finds_its_files(stand: Stand) -> None:
    ran = stand.pod(mounts=[*USUAL, memory("/dev/attestation", APP)]).run()
    assert ran.status == 0, ran.log
    said = ran.output.splitlines()[10:]
    kind, *evidence = (bytes.fromhex(word) for word in said[0].split())
    assert kind == b"dcap"
    quoted, reported = ReportBody.parse(Quote.parse(evidence[0]).body), Report.parse(evidence[1]).body
    assert quoted.mrenclave == reported.mrenclave == stand.conversion.mrenclave
    assert quoted.report_data == reported.report_data == bytes(range(64))
    first, again, signer = said[1].split()
    assert len(first) == 32
    assert first == again != signer
    assert said.pop(2) == ("kept" if landlock.abi() >= 6 else "within reach")
    assert report_data(bytes.fromhex(said[2].removeprefix("quote "))) == b"short".ljust(64, b"\0")
    assert said[3] == "quote ", "more than 64 bytes are refused"
    assert "attestation-data" in ran.log
    assert report_data(b64decode(said[4])) == b"7".rjust(64, b"0"), "written by one process, read by another"
    assert said[5] == "0123456789abcdef"


def report_data(quote: bytes) -> bytes:
    """What a quote was made over."""
    return ReportBody.parse(Quote.parse(quote).body).report_data


def test_what_was_in_dev_attestation_before_is_gone(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/_sgx_mrenclave").write_bytes(bytes(16))
    ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(tmp_path))]).run()
    assert (ran.refusal, ran.output) == ("pod-mount", ""), "the node's disk"
    with in_memory() as volume:
        (volume / "keys").mkdir()
        (volume / "keys/_sgx_mrenclave").write_bytes(bytes(16))
        ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(volume))]).run()
        assert (ran.refusal, ran.output) == ("pod-attestation", ""), "somebody else's files"
        for path in (volume / "keys/_sgx_mrenclave", volume / "keys"):
            os.chown(path, APP, APP)
        ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(volume))]).run()
        assert ran.status == 0
        assert bytes(16).hex() not in ran.output.splitlines()[11].split()


def test_what_a_mount_above_has_at_dev_attestation_is_refused(stand: Stand, tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))  # runc wants it
    (tmp_path / "null").chmod(0o666)
    tmp_path.chmod(0o755)
    (tmp_path / "attestation/keys").mkdir(parents=True)
    (tmp_path / "attestation/keys/_sgx_mrenclave").write_bytes(bytes(16))
    ran = stand.pod(mounts=[*USUAL, mount("/dev", str(tmp_path))]).run()
    assert (ran.status, ran.output) == (70, ""), ran.log
    assert json.loads(ran.log.splitlines()[-1])["code"] == "pod-attestation", "the termination log is hidden as well"
    shutil.rmtree(tmp_path / "attestation")
    ran = stand.pod(mounts=[*USUAL, mount("/dev", str(tmp_path))]).run()
    assert ran.output.splitlines()[9] == '{"quote"'


def test_where_the_files_cannot_be_made_the_application_starts_without_them(stand: Stand) -> None:
    volume = memory("/dev/attestation", APP)
    volume["options"].append("ro")
    ran = stand.pod(mounts=[*USUAL, volume]).run()
    assert ran.output.splitlines()[9] == '{"quote"', "the socket answers"
    assert "there is no /dev/attestation: " in ran.log
    assert "Read-only file system" in ran.log


@contextmanager
def in_memory() -> Iterator[Path]:
    """A volume in memory that everybody may write to; not mounted here, where other tests look at the mounts."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        volume = Path(name)
        volume.chmod(0o777)
        yield volume


def _changed(root: Path) -> None:
    data = (root / "bin/busybox").read_bytes()
    rewrite(root / "bin/busybox", data[:-1] + bytes([data[-1] ^ 1]))


def _added(root: Path) -> None:
    (root / "bin/more").write_bytes(b"")


def _runtime(root: Path) -> None:
    rewrite(root / ".kloister/runtime/version.json", b"{}")


def _documents(root: Path) -> None:
    rewrite(root / ".kloister/enclave/launch.json", (root / ".kloister/enclave/launch.json").read_bytes() + b" ")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_changed, "file-changed"),
        (_added, "file-added"),
        (_runtime, "file-changed"),
        (_documents, "launch-changed"),
    ],
)
def test_a_tampered_image_is_refused(stand: Stand, change: Callable[[Path], None], code: str) -> None:
    ran = stand.pod(change).run()
    assert (ran.refusal, ran.status, ran.output) == (code, 70, "")
    assert json.loads(ran.log.splitlines()[-1])["code"] == code


def test_a_wrong_measurement_is_refused(stand: Stand) -> None:
    other = stand.convert("other", max_threads=5)
    assert other.mrenclave != stand.conversion.mrenclave
    root = unpack(f"oci:{stand.base}/other:box", stand.base / "other-root")
    pod = stand.pod()
    pod.root = root
    ran = pod.run()
    assert (ran.refusal, ran.output) == ("measurement-not-allowed", "")


def test_a_manifest_that_nobody_signed_is_refused(stand: Stand) -> None:
    def change(root: Path) -> None:
        path = root / ".kloister/enclave/manifest.sgx"
        rewrite(path, path.read_bytes() + b"# more\n")

    assert stand.pod(change).run().refusal == "sgx-invalid-measurement"


def test_without_the_mount_there_is_no_enclave(stand: Stand) -> None:
    assert stand.pod(allocation=None).run().refusal == "pod-allocation"


def test_two_containers_do_not_share_an_enclave(stand: Stand) -> None:
    first = stand.pod(environment={"SLEEP": "yes"})
    with first.started() as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(10)]
        assert said[9] == '{"quote"\n'
        second = stand.pod(allocation=first.allocation).run()
        assert (second.refusal, second.output) == ("caller-outside", "")
    again = stand.pod(allocation=first.allocation).run()
    assert again.status == 0, "once the first has ended, a container that is started anew gets it"


def test_an_enclave_larger_than_the_request_is_refused(stand: Stand) -> None:
    assert stand.pod(epc=1 << 20).run().refusal == "epc-over-request"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"user": (0, 0)}, "pod-user"),
        ({"arguments": ("/bin/sh",)}, "host-arguments-refused"),
        ({"environment": {"LEVEL": "trace"}}, "slot-refused"),
        ({"environment": {"KLOISTER_BROKER": ""}}, "broker-address"),
        ({"mounts": [mount("/run", "/var")]}, "pod-mount"),
        ({"mounts": []}, "pod-secret-place"),
    ],
)
def test_what_the_pod_may_not_choose_is_refused(stand: Stand, settings: dict[str, Any], code: str) -> None:
    ran = stand.pod(**settings).run()
    assert (ran.refusal, ran.status, ran.output) == (code, 70, "")
