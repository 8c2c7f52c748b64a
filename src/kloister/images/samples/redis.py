"""Debian's redis-server as an image: from the installed packages, or from packages fetched without installing them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from kloister.errors import Misconfigured, Unavailable
from kloister.images.importer import ImportOptions
from kloister.images.samples.root import EPOCH, LIBRARIES, Root
from kloister.images.staging import staging

USER = ("redis", 101, 102)
_PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb")
_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
_TIMEOUT = 300  # seconds for fetching 3 MB of packages
_HINT = "Install it: apt-get install redis-server"

OPTIONS = ImportOptions(
    entrypoint=("/usr/bin/redis-server",),
    environment=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    user=USER[0],
    workdir="/data",
    volumes=("/data",),
    owner=(0, 0),
    owners={b"/data": (USER[1], USER[2])},
    epoch=EPOCH,
    compression=1,
)


def assemble_redis(root: Path, cache: Path | None = None) -> None:
    """Fill `root` with the image's files: the same packages give the same bytes.

    Args:
        root: an empty or new directory.
        cache: where packages are fetched to when they are not installed; `~/.cache/kloister` by default.

    Raises:
        Misconfigured: `sample-redis` (neither installed nor to be had), `sample-library`.
        Unavailable: `sample-fetch`.
    """
    system = Path("/") if Path("/usr/bin/redis-server").exists() else _fetched(cache or _cache())
    image = Root(root)
    image.users({USER[0]: USER[1:]})
    programs = {name: (system / "usr/bin" / name) for name in _PROGRAMS}
    image.libraries(
        [path for path in programs.values() if path.exists()], [] if system == Path("/") else [system / LIBRARIES]
    )
    first: dict[Path, str] = {}
    for name, path in sorted(programs.items()):
        if not path.exists():
            continue
        leader = first.setdefault(path.resolve(), name)
        if leader == name:
            image.program(f"usr/bin/{name}", path)
        else:
            image.link(f"usr/bin/{name}", leader)  # Debian links the server to redis-check-rdb
    configuration = system / "etc/redis/redis.conf"
    if os.access(configuration, os.R_OK):
        image.write("etc/redis/redis.conf", configuration.read_bytes())
    image.directory("data")
    image.finish()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kloister"


def _fetched(cache: Path) -> Path:
    place = cache / "redis-packages"
    if (place / "usr/bin/redis-server").exists():
        return place
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Misconfigured(
            "sample-redis", "redis-server is not installed, and this is no Debian.", "Install redis-server."
        )
    with staging(place) as staged:
        packages, tree = staged / "packages", staged / "tree"
        packages.mkdir()
        tree.mkdir()
        _run(["apt-get", "download", "-q", *_PACKAGES], packages)
        for package in sorted(packages.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(tree)], packages)
        if not (tree / "usr/bin/redis-server").exists():
            raise Misconfigured("sample-redis", "The fetched package holds no redis-server.", _HINT)
        tree.rename(place)
    return place


def _run(command: list[str], directory: Path) -> None:
    try:
        run = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        raise Unavailable("sample-fetch", f"{command[0]} did not finish.", _HINT) from None
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable("sample-fetch", f"redis-server is not installed and cannot be fetched: {reason}", _HINT)
