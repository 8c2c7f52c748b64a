"""Debian's own source package, fetched with apt from the mirrors that this machine uses, its signatures checked."""

from __future__ import annotations

import time
from pathlib import Path

from tests.cluster.bed.processes import BedError, run, say

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
_PAUSES = (15, 60)  # seconds before another attempt: a mirror may be busy, or in the middle of an update


class NoSource(BedError):
    """The source cannot be had on this machine, or not now."""


def fetch(package: str, upstream: str, codename: str, folder: Path) -> Path:
    """Unpack a source package below `folder`, with Debian's patches; nothing of this machine's apt is changed.

    Args:
        package: the source package's name.
        upstream: the upstream part of the version; whatever Debian has mended since is welcome.
        codename: the release whose mirrors are asked, its security mirror included.
        folder: an empty directory.

    Returns:
        The directory of the unpacked source.

    Raises:
        NoSource: no mirror of the release is configured, it cannot be reached, or it does not have the version.
    """
    lines = _mirrors(codename)
    for number, pause in enumerate((*_PAUSES, 0)):
        attempt = folder / str(number)
        attempt.mkdir()
        try:
            return _attempt(package, upstream, lines, attempt)
        except BedError as error:
            failed = error
        say(f"the source cannot be fetched: {failed}")
        time.sleep(pause)
    raise NoSource(f"Debian {codename}: {failed}")


def _attempt(package: str, upstream: str, lines: list[str], folder: Path) -> Path:
    sources = folder / "sources.list"
    sources.write_text("".join(f"deb-src [signed-by={_KEYRING}] {line}\n" for line in lines))
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    options = [
        f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=-", f"Dir::State::lists={folder / 'lists'}",
        f"Dir::Cache={folder / 'cache'}", "APT::Sandbox::User=root", "Acquire::Retries=3",
    ]  # fmt: skip
    apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    run(*apt, "update", seconds=300)
    run("env", f"--chdir={folder}", *apt, "source", package, seconds=600)
    unpacked = folder / f"{package}-{upstream}"
    if not unpacked.is_dir():
        found = ", ".join(path.name for path in folder.glob(f"{package}*"))
        raise BedError(f"there is no {package} {upstream}; apt fetched: {found}")
    return unpacked


def _mirrors(codename: str) -> list[str]:
    """`URI suite component` of every suite of the release that this machine's apt is configured for."""
    suites = (codename, f"{codename}-security")
    lines = run(
        "apt-get", "indextargets", "--no-release-info", "--format", _FORMAT, "Created-By: Packages"
    ).splitlines()
    found = sorted({line for line in lines if tuple(line.split(" ")[1:]) in {(suite, "main") for suite in suites}})
    if not found:
        raise NoSource(f"apt of this machine has no mirror of Debian {codename} configured.")
    return found
