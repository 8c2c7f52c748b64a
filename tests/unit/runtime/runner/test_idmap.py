from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from kloister.runtime.runner import idmap
from kloister.runtime.runner.idmap import IdMap


def test_what_a_map_holds() -> None:
    whole = IdMap(((0, 1000, 1), (1, 100_000, 65_535)), ((0, 1000, 1),))
    assert not whole.single
    assert (whole.uid, whole.gid) == (0, 0)
    assert whole.holds(65_535, 0)
    assert not whole.holds(65_536, 0)
    assert not whole.holds(0, 1)
    one = IdMap(((101, 1000, 1),), ((102, 1000, 1),))
    assert one.single
    assert one.holds(101, 102)
    assert not one.holds(0, 102)


def test_ranges_of_this_user(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    database = tmp_path / "subuid"
    database.write_text(f"other:1:2\n{name}:100000:65536\nbroken\n{name}:x:1\n{name}:5:0\n{os.geteuid()}:300000:10\n")
    assert idmap.subordinate_ranges(str(database)) == ((0, 100_000, 65_536), (0, 300_000, 10))
    assert idmap.subordinate_ranges(str(tmp_path / "absent")) == ()


def test_ranges_are_joined_up_to_the_number_of_ids() -> None:
    assert idmap._beside(1000, ((0, 100_000, 10), (0, 300_000, 100_000))) == (
        (0, 1000, 1), (1, 100_000, 10), (11, 300_000, 65_525),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (((0, 0, 2**32 - 1),), ((0, idmap.SUBORDINATE_BASE, 65_536),)),
        (((0, 100_000, 65_536),), ((0, 0, 65_536),)),  # root of a container: its own ids are all there is
        (((0, 1000, 1), (1, 100_000, 500)), ((0, 0, 1),)),
    ],
)
def test_root_uses_a_base_of_its_own_where_it_can(own: idmap.Ranges, expected: idmap.Ranges) -> None:
    assert idmap._of_root(own) == expected
