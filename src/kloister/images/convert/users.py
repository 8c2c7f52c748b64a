"""Who the application runs as: the image's `User`, resolved as container engines do it, from the image's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import User

MAX_FILE = 4 << 20  # bytes of /etc/passwd or /etc/group: 50,000 users
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_MAX_ID = 2**32 - 2  # 2^32-1 means "unchanged" to the kernel

Read = Callable[[bytes, int], bytes | None]  # a file of the image: path, limit


@dataclass(frozen=True, slots=True)
class Account:
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Group:
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(text: str, read: Read) -> tuple[User, str]:
    """The user of an image configuration (`name`, `uid`, `name:group`, ...), and the home directory or `/`.

    Raises:
        Misconfigured: `image-user`, for a name that the image does not know.
    """
    given, colon, group_text = text.partition(":")
    who = given or "0"
    accounts, groups = list(_accounts(read)), list(_groups(read))
    account = _find_account(who, accounts)
    if account is None and not _NUMBER.fullmatch(who):
        hint = "Set the image's user to a number, or add the name to its /etc/passwd."
        raise Misconfigured("image-user", f"The image runs as {who!r}, which its /etc/passwd does not know.", hint)
    uid = account.uid if account else _number(who)
    name = account.name if account else "root" if uid == 0 else who
    gid = _find_group(group_text, groups) if colon and group_text else account.gid if account else 0
    # As with Docker: a group that is named replaces the supplementary groups of the user.
    more = () if colon and group_text else sorted({g.gid for g in groups if name in g.members and g.gid != gid})
    return User(name, uid, gid, tuple(more)), account.home if account and account.home else "/"


def _find_account(who: str, accounts: list[Account]) -> Account | None:
    by_name = next((account for account in accounts if account.name == who), None)
    if by_name or not _NUMBER.fullmatch(who):
        return by_name
    return next((account for account in accounts if account.uid == int(who)), None)


def _find_group(text: str, groups: list[Group]) -> int:
    by_name = next((group.gid for group in groups if group.name == text), None)
    if by_name is not None:
        return by_name
    if not _NUMBER.fullmatch(text):
        hint = "Set the image's group to a number, or add the name to its /etc/group."
        raise Misconfigured(
            "image-user", f"The image runs as group {text!r}, which its /etc/group does not know.", hint
        )
    return _number(text)


def _number(text: str) -> int:
    value = int(text)
    if value > _MAX_ID:
        raise Misconfigured("image-user", f"The image runs as number {value}; {_MAX_ID} is the highest.")
    return value


def _accounts(read: Read) -> Iterator[Account]:
    for fields in _lines(read, b"/etc/passwd", 7):
        if (
            _NUMBER.fullmatch(fields[2])
            and _NUMBER.fullmatch(fields[3])
            and int(fields[2]) <= _MAX_ID >= int(fields[3])
        ):
            yield Account(fields[0], int(fields[2]), int(fields[3]), fields[5])


def _groups(read: Read) -> Iterator[Group]:
    for fields in _lines(read, b"/etc/group", 4):
        if _NUMBER.fullmatch(fields[2]) and int(fields[2]) <= _MAX_ID:
            yield Group(fields[0], int(fields[2]), tuple(filter(None, fields[3].split(","))))


def _lines(read: Read, path: bytes, count: int) -> Iterator[list[str]]:
    """Lines of the right number of fields; others are passed over, as getpwent does."""
    for line in (read(path, MAX_FILE) or b"").decode("utf-8", "replace").split("\n"):
        fields = line.split(":")
        if len(fields) == count and fields[0]:
            yield fields
