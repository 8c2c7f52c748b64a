"""The samples are real: the clinic serves, redis answers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Misconfigured
from kloister.formats.enclave.tree import Kind
from kloister.images.importer import import_image
from kloister.images.samples import SAMPLES, assemble_clinic, assemble_redis, make_sample
from kloister.images.sources import merge_image, open_source
from tests.support.ports import free_port

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clinic's root, with a key and a certificate."""
    root = tmp_path_factory.mktemp("clinic")
    assemble_clinic(root)
    return root


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    extra = ["-addext", "subjectAltName=DNS:localhost", "-keyout", f"{place}/tls.key", "-out", f"{place}/tls.crt"]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    return place


def inside(root: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """Run a program of the root with the root's own loader and libraries."""
    line = [str(root / LOADER), "--library-path", str(root / LIBRARIES), *command]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def python(root: Path) -> tuple[str, str]:
    return str((root / "usr/local/bin/python3").resolve()), str(root / "usr/local")


@pytest.fixture
def served(clinic: Path, certificate: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    program, home = python(clinic)
    port = free_port()
    environment = {
        "PYTHONHOME": home, "PYTHONPATH": str(clinic / "app"), "DB_PASSWORD": "a secret of the clinic",
        "HOST": "127.0.0.1", "PORT": str(port),
        "TLS_KEY": str(certificate / "tls.key"), "TLS_CERT": str(certificate / "tls.crt"),
    }  # fmt: skip
    with inside(clinic, program, "-m", "clinic", **environment) as process:
        assert process.stdout is not None
        try:
            assert f"port {port}" in process.stdout.readline()
            yield process, port
        finally:
            process.kill()


def ask(port: int, certificate: Path, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, object]]:
    context = ssl.create_default_context(cafile=str(certificate / "tls.crt"))
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_clinic_predicts_over_tls_and_stops_when_asked(
    served: tuple[subprocess.Popen[str], int], certificate: Path
) -> None:
    process, port = served
    status, health = ask(port, certificate, "GET", "/health")
    assert (status, health["status"]) == (200, "ok")
    patient = {"age": 60, "bmi": 30, "systolic": 150, "smoker": 1}
    status, answer = ask(port, certificate, "POST", "/predict", json.dumps(patient))
    assert (status, answer["class"], answer["risk"]) == (200, "high", 0.6177)
    query = "&".join(f"{name}={value}" for name, value in patient.items())
    assert ask(port, certificate, "GET", f"/predict?{query}") == (200, answer)
    assert ask(port, certificate, "POST", "/predict", "{")[0] == 400
    assert ask(port, certificate, "POST", "/predict", "{}")[0] == 422
    assert ask(port, certificate, "GET", "/")[0] == 404
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "a secret of the clinic" not in output


def test_the_clinic_does_not_start_without_its_secrets(clinic: Path) -> None:
    program, home = python(clinic)
    common = {"PYTHONHOME": home, "PYTHONPATH": str(clinic / "app"), "TLS_KEY": "/none"}
    for environment, word in ((common, "DB_PASSWORD"), (common | {"DB_PASSWORD": "secret"}, "/none")):
        with inside(clinic, program, "-m", "clinic", **environment) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert word in output


def test_the_clinics_image_keeps_its_limits_and_repeats(tmp_path: Path, clinic: Path) -> None:
    one = import_image(clinic, f"oci:{tmp_path}/l:clinic", SAMPLES["clinic"][1])
    two = make_sample("clinic", f"oci:{tmp_path}/m:other")
    assert one.digest == two.digest
    assert one.size <= 80 << 20
    with open_source(f"oci:{tmp_path}/l") as image, merge_image(image) as root:
        files = [entry for entry in root.tree().entries if entry.kind is Kind.FILE]
        assert len(files) <= 1500
        assert not [entry for entry in files if b"/test/" in entry.path or b"site-packages" in entry.path]
        assert {entry.uid for entry in files} == {0}
        source = b"".join(root.read(entry.path, 1 << 20) or b"" for entry in files if entry.path.startswith(b"/app/"))
    for word in (b"sgx", b"enclave", b"attest", b"kloister"):
        assert word not in source.lower()


def test_the_example_in_the_repository_is_what_is_in_the_image(clinic: Path) -> None:
    example = Path(__file__).resolve().parents[4] / "examples" / "clinic" / "app" / "clinic"
    for path in example.iterdir():
        if path.is_file():
            assert (clinic / "app" / "clinic" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.skipif(not Path("/usr/bin/redis-server").exists(), reason="redis-server is not installed")
def test_redis_runs_from_its_image(tmp_path: Path) -> None:
    assemble_redis(tmp_path / "root")
    program = str(tmp_path / "root" / "usr/bin/redis-server")  # a link: Debian's program looks at its name
    with inside(tmp_path / "root", program, "--version") as process:
        output, _ = process.communicate(timeout=60)
    assert output.startswith("Redis server v=")
    make_sample("redis", f"oci:{tmp_path}/l:redis")
    with open_source(f"oci:{tmp_path}/l:redis") as image, merge_image(image) as root:
        assert image.config.execution.user == "redis"
        assert image.config.execution.volumes == ("/data",)
        assert b"redis:x:101:102:" in (root.read(b"/etc/passwd", 4096) or b"")
        data, server = root.lookup(b"/data"), root.lookup(b"/bin/redis-server")
        assert data is not None
        assert (data.entry.uid, data.entry.gid) == (101, 102)
        assert server is not None


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured) as caught:
        make_sample("nginx", f"oci:{tmp_path}/l")
    assert caught.value.code == "sample-unknown"
    assert "clinic, redis" in caught.value.hint
    monkeypatch.setattr("kloister.images.samples.redis.Path.exists", lambda _: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    with pytest.raises(KloisterError) as refused:
        assemble_redis(tmp_path / "root")
    assert refused.value.code == "sample-redis"
