"""What the entry point refuses before it reads anything, and where it says so. The whole: tests/e2e/test_pod.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kloister.errors import Denied, KloisterError, Malformed, Misconfigured
from kloister.formats.enclave.launch import Image, LaunchDocument, User
from kloister.runtime.pod.main import offered, require_plain, require_user
from kloister.runtime.pod.measured import Measured
from kloister.runtime.pod.report import Report

HERE = User("here", os.getuid(), os.getgid(), tuple(os.getgroups()))


def code(error: pytest.ExceptionInfo[KloisterError]) -> str:
    return error.value.code


def test_arguments_and_code_of_the_pod_are_refused() -> None:
    require_plain([], {"LD_PRELOAD": "", "HOME": "/"})
    with pytest.raises(Denied) as refused:
        require_plain(["/bin/sh"], {})
    assert code(refused) == "host-arguments-refused"
    for name in ("LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES"):
        with pytest.raises(Denied) as refused:
            require_plain([], {name: "x"})
        assert code(refused) == "pod-environment"
        assert name in refused.value.text


@pytest.mark.parametrize(
    "user",
    [
        User("a", HERE.uid + 1, HERE.gid),
        User("a", HERE.uid, HERE.gid + 1),
        User("a", HERE.uid, HERE.gid, (HERE.gid, 4242)),
    ],
)
def test_another_user_is_refused(user: User) -> None:
    require_user(HERE)
    with pytest.raises(Misconfigured) as refused:
        require_user(user)
    assert code(refused) == "pod-user"
    assert f"runAsUser: {user.uid}, runAsGroup: {user.gid}" in refused.value.hint


def test_only_what_a_slot_names_and_the_image_does_not_say_is_offered() -> None:
    launch = LaunchDocument(Image(("/a",), ("PATH=/bin", "LEVEL=info"), HERE), (), 0)
    pod = {"PATH": "/evil", "LEVEL": "info", "PORT": "80", "KUBERNETES_PORT": "tcp"}
    assert offered(pod, launch, {"LEVEL": ".*", "PORT": ".*", "MORE": ".*"}) == {"PORT": "80"}
    assert offered({**pod, "LEVEL": "debug"}, launch, {"LEVEL": ".*"}) == {"LEVEL": "debug"}


def test_a_refusal_stands_in_the_log_and_in_the_termination_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "termination-log"
    Report(file).refuse(Denied("a-code", "ä text", "a hint"))
    assert not file.exists(), "nothing is made where Kubernetes made nothing"
    file.write_text("of the container before")
    report = Report(file)
    report.log("a remark")
    report.refuse(Denied("a-code", "ä" * 5000, "a hint"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["refused", "log", "refused"]
    assert (lines[0]["code"], lines[0]["text"], lines[0]["hint"]) == ("a-code", "ä text", "a hint")
    assert file.stat().st_size <= 4096
    assert json.loads(file.read_text())["code"] == "a-code"


def test_an_image_that_was_not_converted_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        Measured.read(tmp_path)
    assert code(refused) == "manifest-missing"
    (tmp_path / ".kloister/enclave").mkdir(parents=True)
    (tmp_path / ".kloister/enclave/manifest.sgx").write_bytes(b"[")
    with pytest.raises(Malformed):
        Measured.read(tmp_path)
