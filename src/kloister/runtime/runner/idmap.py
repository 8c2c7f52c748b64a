"""Which user and group ids exist inside a sandbox, and what they are outside (user_namespaces(7))."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kloister.errors import Misconfigured, Unavailable

IDS = 65536  # ids of a sandbox: what images use
SUBORDINATE_BASE = 2_000_000_000  # first outside id of root's sandboxes: above what useradd and systemd hand out
_HELPERS = ("newuidmap", "newgidmap")
_HINT = "Install the package uidmap, and give yourself a range: usermod --add-subuids 100000-165535 NAME (and subgids)."

Ranges = tuple[tuple[int, int, int], ...]
"""(first id inside, first id outside, count), as the lines of /proc/PID/uid_map."""


@dataclass(frozen=True, slots=True)
class IdMap:
    """The two maps of a user namespace.

    Attributes:
        helpers: the maps are written by newuidmap and newgidmap, since the kernel lets only them.
    """

    users: Ranges
    groups: Ranges
    helpers: bool = False

    @property
    def single(self) -> bool:
        """Only one user exists inside: owners cannot be kept, users cannot be switched."""
        return sum(count for _, _, count in self.users) == 1

    @property
    def uid(self) -> int:
        """The user that builds the sandbox."""
        return self.users[0][0]

    @property
    def gid(self) -> int:
        """The group that builds the sandbox."""
        return self.groups[0][0]

    def holds(self, uid: int, gid: int) -> bool:
        """Whether both ids exist inside."""
        return _inside(self.users, uid) and _inside(self.groups, gid)

    def write(self, pid: int) -> None:
        """Give the maps to the user namespace that `pid` has just made.

        Raises:
            Unavailable: `id-map`.
        """
        if self.helpers:
            _run_helpers(pid, (self.users, self.groups))
            return
        try:
            if self.single:  # without privileges the kernel wants this first
                Path(f"/proc/{pid}/setgroups").write_text("deny")
            for name, ranges in (("uid_map", self.users), ("gid_map", self.groups)):
                Path(f"/proc/{pid}/{name}").write_text("".join(f"{a} {b} {c}\n" for a, b, c in ranges))
        except OSError as error:
            raise Unavailable("id-map", f"The kernel refused the map of user ids: {error.strerror}.", _HINT) from None


def choose(uid: int, gid: int) -> IdMap:
    """The best map that this process may make; `uid` and `gid` are whom a map of one id stands for."""
    if os.geteuid() == 0:
        return IdMap(_of_root(own_ranges("uid")), _of_root(own_ranges("gid")))
    users, groups = (subordinate_ranges(name) for name in ("/etc/subuid", "/etc/subgid"))
    if users and groups and all(shutil.which(helper) for helper in _HELPERS):
        return IdMap(_beside(os.geteuid(), users), _beside(os.getegid(), groups), helpers=True)
    return IdMap(((uid, os.geteuid(), 1),), ((gid, os.getegid(), 1),))


def needs_more_users(subject: str) -> Misconfigured:
    """The refusal of an image that one user id cannot run."""
    return Misconfigured(
        "image-needs-more-users", f"{subject}, but only one user id can be made inside a sandbox here.", _HINT
    )


def own_ranges(kind: str) -> Ranges:
    """The ids that exist for this process; `kind` is "uid" or "gid"."""
    lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    return tuple((int(a), int(b), int(c)) for a, b, c in (line.split() for line in lines))


def subordinate_ranges(database: str) -> Ranges:
    """Ranges that `/etc/subuid` or `/etc/subgid` gives to this user (subuid(5)): (0, first, count) each."""
    names = {str(os.geteuid())}
    try:
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
        lines = Path(database).read_text().splitlines()
    except (KeyError, OSError, UnicodeDecodeError):
        return ()
    fields = [line.split(":") for line in lines]
    return tuple(
        (0, int(first), int(count))
        for name, first, count in (field for field in fields if len(field) == 3)  # noqa: PLR2004 -- name:first:count
        if name in names and first.isdecimal() and count.isdecimal() and int(count) > 0
    )


def _of_root(own: Ranges) -> Ranges:
    if any(first <= SUBORDINATE_BASE and first + count >= SUBORDINATE_BASE + IDS for first, _, count in own):
        return ((0, SUBORDINATE_BASE, IDS),)
    # root of a container has fewer ids than that: its own are all there is
    first, _, count = own[0]
    return ((0, first, min(count, IDS)),)


def _beside(own: int, ranges: Ranges) -> Ranges:
    result, inside = [(0, own, 1)], 1
    for _, first, count in ranges:
        taken = min(count, IDS - inside)
        if taken > 0:
            result.append((inside, first, taken))
            inside += taken
    return tuple(result)


def _inside(ranges: Ranges, number: int) -> bool:
    return any(first <= number < first + count for first, _, count in ranges)


def _run_helpers(pid: int, maps: tuple[Ranges, Ranges]) -> None:
    commands = [
        [helper, str(pid), *(str(number) for line in ranges for number in line)]
        for helper, ranges in zip(_HELPERS, maps, strict=True)
    ]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        said = process.communicate()[1].decode("utf-8", "replace").strip()
        if process.returncode:
            raise Unavailable("id-map", f"The map of user ids was refused: {said[:200]}.", _HINT)
