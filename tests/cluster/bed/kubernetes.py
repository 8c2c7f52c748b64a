"""The programs of Kubernetes 1.20.2, built from Debian 12's source package with Debian's Go, once per user.

Debian has the whole tree as a source package, but builds only kubectl of it. Four things differ from an upstream build:
- GOPATH mode with the vendored tree, as Debian has it: `-mod=vendor` finds go.mod in need of updates;
- the file of OpenAPI definitions, which upstream's build container makes, is generated here;
- the vendored reflect2 1.0.1, which crashes in programs of Go 1.18 and newer, gives way to Debian's 1.0.2;
- a comparison of reflect.Value by reflect.DeepEqual, always false with the Go of its time, goes: with this Go it holds
  for empty strings, which the API server would take for null in custom resources.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kloister.images.runtime_layer.cache import cache_directory
from tests.cluster.bed.processes import BedError, run, say
from tests.cluster.bed.source import fetch

SETTING = "KLOISTER_CLUSTER_KUBERNETES"  # a directory with programs of another version
PACKAGE, UPSTREAM, CODENAME, VERSION = "kubernetes", "1.20.5+really1.20.2", "bookworm", "v1.20.2"
PROGRAMS = ("kubelet", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kube-proxy", "kubectl")
# Without the cloud providers' in-tree drivers and Docker's, which the bed has no use for: a third less to compile.
_TAGS = "providerless dockerless"
_GO = Path("/usr/lib/go-1.19/bin/go")
_REFLECT2 = Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
_HOME = "k8s.io/kubernetes"
_LINKED = (f"{_HOME}/vendor/k8s.io/component-base/version", f"{_HOME}/vendor/k8s.io/client-go/pkg/version")
_STAMPS = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": "20", "gitTreeState": "clean", "gitCommit": "debian"}
_LDFLAGS = " ".join(["-s -w", *(f"-X {it}.{name}={value}" for it in _LINKED for name, value in _STAMPS.items())])
_STAGED = (
    "api", "apimachinery", "apiserver", "client-go", "component-base", "kube-aggregator", "apiextensions-apiserver",
    "metrics", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "cloud-provider",
    "controller-manager",
)  # fmt: skip
_NOT_SERVED = ("_examples", "testdata", "code-generator", "sample-")
_VALIDATORS = ("vendor/k8s.io/kube-openapi/pkg/validation/validate", "vendor/github.com/go-openapi/validate")
_EMPTY_IS_NULL = " || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))"
_ROOM = 4 << 30  # bytes; 2.7 GB are used at most
_REVISION = 3  # raised when the steps below change what is built


def programs() -> Path:
    """The directory with the programs: given by the user, from the cache, or built: some ten minutes on two cores.

    Raises:
        BedError: one is missing; Go, reflect2 or room is missing, the build fails.
        NoSource: the source cannot be fetched.
    """
    if given := os.environ.get(SETTING):
        missing = [name for name in PROGRAMS if not os.access(Path(given, name), os.X_OK)]
        if missing:
            raise BedError(f"{SETTING}={given}: there is no {', '.join(missing)}")
        return Path(given).resolve()
    parent = cache_directory() / "kubernetes"
    place = parent / _key()
    if not place.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        with _only_one(parent / "lock"):
            if not place.is_dir():
                _build(parent, place)
    return place


def unmet() -> str:
    """Why they cannot be built here, in a sentence; empty if they can, or are given."""
    if os.environ.get(SETTING) or (_GO.exists() and _REFLECT2.is_dir()):
        return ""
    packages = "golang-1.19-go golang-github-modern-go-reflect2-dev"
    return f"to build Kubernetes Debian's Go is needed: apt-get install {packages}"


def minor(programs: Path) -> int:
    """Of the programs' version 1.MINOR."""
    return int(run(programs / "kubelet", "--version").split(".")[1])


def _key() -> str:
    if reason := unmet():
        raise BedError(reason)
    inputs = (PACKAGE, UPSTREAM, str(_REVISION), _TAGS, _LDFLAGS, run(_GO, "version"), *PROGRAMS, *_STAGED)
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(parent: Path, place: Path) -> None:
    start = time.monotonic()
    for left in parent.glob(".build-*"):  # of a build that was killed: the lock says that none is running
        shutil.rmtree(left)
    if shutil.disk_usage(parent).free < _ROOM:
        raise BedError(f"{parent}: a build of Kubernetes needs {_ROOM >> 30} GiB; KLOISTER_CACHE names another place")
    scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=parent))
    try:
        say(f"fetching Debian's source of Kubernetes {VERSION}")
        tree = _tree(scratch)
        go = _go_environment(scratch)
        _generate_openapi(scratch, tree, go)
        _compile(scratch / "bin", tree, go)
        (scratch / "bin").rename(place)
    finally:
        shutil.rmtree(scratch)
    say(f"Kubernetes {VERSION} built in {time.monotonic() - start:.0f} s")


def _tree(scratch: Path) -> Path:
    download = scratch / "source"
    download.mkdir()
    tree = scratch / "gopath" / "src" / _HOME
    tree.parent.mkdir(parents=True)
    fetch(PACKAGE, UPSTREAM, CODENAME, download).rename(tree)
    shutil.rmtree(download)
    vendored = tree / "vendor/github.com/modern-go/reflect2"
    shutil.rmtree(vendored)
    shutil.copytree(_REFLECT2, vendored)
    for name in _VALIDATORS:
        file = tree / name / "type.go"
        before = file.read_text()
        assert before.count(_EMPTY_IS_NULL) == 1, file
        file.write_text(before.replace(_EMPTY_IS_NULL, ""))
    return tree


def _go_environment(scratch: Path) -> dict[str, str]:
    places = {"HOME": scratch, "GOPATH": scratch / "gopath", "GOCACHE": scratch / "cache", "GOTMPDIR": scratch}
    fixed = {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOPROXY": "off", "GOENV": "off", "GOFLAGS": ""}
    return {"PATH": os.environ["PATH"], **fixed, **{name: str(path) for name, path in places.items()}}


def _generate_openapi(scratch: Path, tree: Path, go: dict[str, str]) -> None:
    say("generating the OpenAPI definitions")
    generator, header = scratch / "openapi-gen", scratch / "header"
    header.write_text("// generated\n")
    source = f"./vendor/k8s.io/kube-openapi/cmd/{generator.name}"
    run("nice", "env", f"--chdir={tree}", _GO, "build", "-trimpath", "-o", generator, source, env=go, seconds=900)
    options = ["-O", "zz_generated.openapi", "-p", f"{_HOME}/pkg/generated/openapi", "-r", str(scratch / "report")]
    inputs = ("--go-header-file", str(header), "-i", ",".join(_tagged(tree)))
    run("nice", "env", f"--chdir={tree}", generator, *inputs, *options, env=go, seconds=600)


def _tagged(tree: Path) -> list[str]:
    """Import paths of the packages that are marked for the OpenAPI document."""
    mark = re.compile(rb"\+k8s:openapi-gen=")
    found = set()
    for top in ("pkg", *(f"staging/src/k8s.io/{name}" for name in _STAGED)):
        for file in (tree / top).rglob("*.go"):
            name = str(file.parent.relative_to(tree))
            if name not in found and not any(part in name for part in _NOT_SERVED) and mark.search(file.read_bytes()):
                found.add(name)
    return sorted(f"{_HOME}/{re.sub('^staging/src/', 'vendor/', name)}" for name in found)


def _compile(target: Path, tree: Path, go: dict[str, str]) -> None:
    packages = [f"./cmd/{name}" for name in PROGRAMS]
    listing = ("list", "-deps", "-tags", _TAGS, *packages)
    total = len(run("env", f"--chdir={tree}", _GO, *listing, env=go, seconds=300).splitlines())
    target.mkdir()
    options = ("-v", "-trimpath", "-tags", _TAGS, "-ldflags", _LDFLAGS, "-o", f"{target}/")
    command = ["nice", str(_GO), "build", *options, *packages]
    with subprocess.Popen(command, cwd=tree, env=go, stderr=subprocess.PIPE, text=True) as build:
        last, said = deque[str](maxlen=20), time.monotonic()
        for number, line in enumerate(build.stderr or (), 1):
            last.append(line)
            if time.monotonic() - said > 20:
                said = time.monotonic()
                say(f"compiled {number} of {total} packages")
    if build.returncode:
        raise BedError("go build failed:\n" + "".join(last))
