"""Which mounts of a pod are believed, and how the kernel's list of them is read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.launch import Image, LaunchDocument, User
from kloister.runtime.pod.mounts import Mount, holding, parse, read, require_known

LAUNCH = LaunchDocument(
    Image(("/bin/app",), (), User("app", 1000, 1000)), ("/run", "/scratch", "/cache"), 1 << 20, mounts={"data": "/data"}
)
points = st.from_regex(r"/[a-zA-Z0-9 \\\t\n-]{0,12}", fullmatch=True)


def line(point: str, kind: str, optional: str = "") -> bytes:
    """A line as the kernel writes it."""
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in point)
    return f"36 35 0:98 / {escaped} rw,noatime{optional} - {kind} source rw\n".encode()


@given(st.dictionaries(points, st.sampled_from(["tmpfs", "ramfs", "ext4", "overlay"])))
def test_what_the_kernel_writes_is_read(mounts: dict[str, str]) -> None:
    text = b"".join(line(point, kind, " master:1 shared:2" * (len(point) % 2)) for point, kind in mounts.items())
    assert parse(text) == tuple(Mount(point, kind in {"tmpfs", "ramfs"}) for point, kind in mounts.items())


@given(
    st.binary(max_size=60) | st.just(line("/a", "tmpfs")).flatmap(lambda x: st.integers(0, len(x)).map(lambda n: x[:n]))
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with suppress(Malformed):
        parse(data)


def test_the_last_mount_at_a_place_is_the_one_that_is_seen() -> None:
    assert parse(line("/a", "ext4") + line("/a", "tmpfs")) == (Mount("/a", memory=True),)
    assert {"/", "/proc"} <= {mount.point for mount in read()}


@pytest.mark.parametrize(
    "point",
    [
        "/", "/proc", "/proc/keys", "/sys", "/dev", "/dev/termination-log", "/etc/hosts", "/etc/resolv.conf",
        "/run/kloister", "/run/aesmd", "/var/run/aesmd", "/run/secrets/kubernetes.io/serviceaccount", "/data",
        "/data/x",
    ],
)  # fmt: skip
def test_what_runtimes_and_kubernetes_mount_is_known(point: str) -> None:
    require_known([Mount(point, memory=False)], LAUNCH)


@pytest.mark.parametrize("point", ["/run", "/scratch", "/.kloister/memory", "/cache/a"])
def test_writable_places_may_be_memory_and_nothing_else(point: str) -> None:
    require_known([Mount(point, memory=True)], LAUNCH)
    with pytest.raises(Denied) as refused:
        require_known([Mount(point, memory=False)], LAUNCH)
    assert refused.value.code == "pod-mount"


def test_what_an_application_takes_for_its_keys_is_in_memory() -> None:
    require_known([Mount("/dev/attestation", memory=True), Mount("/dev/attestation-other", memory=False)], LAUNCH)
    for mount in (Mount("/dev/attestation", memory=False), Mount("/dev/attestation/keys", memory=True)):
        with pytest.raises(Denied) as refused:
            require_known([mount], LAUNCH)
        assert refused.value.code == "pod-mount"


@pytest.mark.parametrize("point", ["/etc", "/etc/hosts.d", "/bin", "/.kloister/runtime", "/usr/lib", "/datax", "/runx"])
def test_other_mounts_are_refused_whatever_they_are(point: str) -> None:
    for memory in (True, False):
        with pytest.raises(Denied) as refused:
            require_known([Mount("/", memory=False), Mount(point, memory=memory)], LAUNCH)
        assert refused.value.code == "pod-mount"
        assert point in refused.value.text


def test_a_path_lies_in_the_deepest_mount() -> None:
    mounts = (Mount("/", memory=False), Mount("/run", memory=True), Mount("/run/a", memory=False))
    assert [holding(path, mounts).point for path in ("/etc/x", "/run/x", "/run/a", "/run/a/b", "/runner")] == [
        "/", "/run", "/run/a", "/run/a", "/",
    ]  # fmt: skip
