from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import User
from kloister.images.convert.users import resolve_user

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/bin/false\nbroken:x:a:b\n:x:1:1:::\n"
GROUP = b"root:x:0:\nredis:x:102:\nssl:x:200:redis,other\nextra:x:201:redis\nbad:x:nine:redis\n"


def read(path: bytes, limit: int) -> bytes | None:
    assert limit > 0
    return {b"/etc/passwd": PASSWD, b"/etc/group": GROUP}.get(path)


def nothing(path: bytes, limit: int) -> bytes | None:  # noqa: ARG001 - an image without any file
    return None


@pytest.mark.parametrize(
    ("text", "user", "home"),
    [
        ("", User("root", 0, 0), "/root"),
        ("redis", User("redis", 101, 102, (200, 201)), "/var/lib/redis"),
        ("101", User("redis", 101, 102, (200, 201)), "/var/lib/redis"),
        ("redis:ssl", User("redis", 101, 200), "/var/lib/redis"),
        ("redis:7", User("redis", 101, 7), "/var/lib/redis"),
        ("redis:", User("redis", 101, 102, (200, 201)), "/var/lib/redis"),
        ("5000", User("5000", 5000, 0), "/"),
        ("5000:6000", User("5000", 5000, 6000), "/"),
    ],
)
def test_users_are_resolved_as_engines_do(text: str, user: User, home: str) -> None:
    assert resolve_user(text, read) == (user, home)


def test_an_image_without_a_passwd_file_has_root_and_numbers() -> None:
    assert resolve_user("", nothing) == (User("root", 0, 0), "/")
    assert resolve_user("12:13", nothing) == (User("12", 12, 13), "/")


@pytest.mark.parametrize("text", ["nobody", "broken", "redis:nogroup", "4294967295", "0:4294967295", "-1", "٣"])
def test_unknown_users_are_refused(text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        resolve_user(text, read)
    assert refused.value.code == "image-user"


@given(st.text(max_size=20), st.binary(max_size=200))
def test_any_text_is_a_user_or_refused(text: str, files: bytes) -> None:
    try:
        user, _ = resolve_user(text, lambda _path, _limit: files)
    except Misconfigured as refused:
        assert refused.code == "image-user"  # noqa: PT017 - both outcomes are right
    else:
        assert 0 <= user.uid < 2**32 - 1
