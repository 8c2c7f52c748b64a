from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kloister.errors import Denied, Unavailable
from kloister.kubernetes.node.allocations import book as book_module
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.kubelet.identity import Identity
from tests.unit.kubernetes.node.allocations.platform import Remembering

MIB = 1 << 20


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_an_allocation_is_a_folder_with_a_record_beside_it(tmp_path: Path) -> None:
    platform = Remembering()
    book = Allocations(tmp_path / "a", platform, lambda: 7)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    one = asyncio.run(book.make(["epc0-0", "epc0-1"], 2 * MIB))
    assert (one.blocks, one.size, one.made) == (("epc0-0", "epc0-1"), 2 * MIB, 7)
    assert _names(tmp_path / "a") == {one.id, f"{one.id}.json"}
    assert book.folder(one).stat().st_mode & 0o777 == 0o755, "the container's user must reach the socket in it"
    assert not list(book.folder(one).iterdir()), "nothing of ours is in what the container sees"
    assert set(platform.known) == {one.id}
    asyncio.run(book.release(one, "its pod ended"))
    asyncio.run(book.release(one, "a second time nothing happens"))
    assert _names(tmp_path / "a") == set()
    assert platform.known == {}


def test_allocations_outlive_the_agent(tmp_path: Path) -> None:
    platform = Remembering()
    one = asyncio.run(Allocations(tmp_path, platform).make(["epc0-0"], MIB))
    (tmp_path / "left").mkdir()  # by an agent that was killed between folder and record
    (tmp_path / "abcdefghijklmnopqrst.json").write_text("damaged")
    (tmp_path / "other.json").write_bytes(one.build())
    book = Allocations(tmp_path, platform)
    assert book.held == (one,)
    assert _names(tmp_path) == {one.id, f"{one.id}.json"}


def test_two_agents_share_them_during_an_upgrade(tmp_path: Path) -> None:
    platform = Remembering()
    old, new = Allocations(tmp_path, platform), Allocations(tmp_path, platform)

    async def scene() -> None:
        one = await old.make(["a"], 1)
        other = await new.make(["b"], 1)
        for book in (old, new):
            await book.keep()
            assert set(platform.known) == {one.id, other.id}, "neither ends what the other began"
            book.refresh()
            assert set(book.held) == {one, other}
        await new.release(one, "its pod ended")
        old.refresh()
        assert old.held == (other,)

    asyncio.run(scene())


def test_what_the_other_agent_does_in_one_tick_of_the_kernels_clock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity(path: Path) -> Identity:
        """Of a kernel with a coarse clock; a folder of ext4 keeps its size."""
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_ctime_ns // 10**9 * 10**9, 4096

    monkeypatch.setattr(book_module, "identity", identity)
    old, new = Allocations(tmp_path, None), Allocations(tmp_path, None)
    one = asyncio.run(new.make(["a"], 1))
    old.refresh()
    assert old.held == (one,)
    asyncio.run(new.release(one, "its pod ended"))
    old.refresh()
    assert not old.held


def test_half_of_an_allocation_is_left_alone_for_a_while(tmp_path: Path) -> None:
    now = [100]
    book = Allocations(tmp_path, None, lambda: now[0])
    one = asyncio.run(book.make(["a"], 1))
    book.folder(one).rmdir()
    other = Allocations(tmp_path, None, lambda: now[0])
    assert other.held == ()
    assert _names(tmp_path) == {f"{one.id}.json"}, "an agent may be about to make the folder"
    now[0] += 61
    other.refresh()
    assert _names(tmp_path) == set()


def test_blocks_that_are_given_again_end_the_older_allocation(tmp_path: Path) -> None:
    """A kubelet gives the blocks of ended pods again without a word, and only those."""
    platform = Remembering()
    book = Allocations(tmp_path, platform)

    async def scene() -> None:
        first, second = await book.make(["a", "b"], 2), await book.make(["c"], 1)
        third = await book.make(["b"], 1)
        assert set(book.held) == {second, third}
        assert set(platform.known) == {second.id, third.id}
        assert not book.folder(first).exists()

    asyncio.run(scene())


@pytest.mark.parametrize(("how", "family"), [("away", Unavailable), ("refuses", Denied)])
def test_nothing_is_left_of_what_the_platform_did_not_take(tmp_path: Path, how: str, family: type[Exception]) -> None:
    platform = Remembering()
    book = Allocations(tmp_path, platform)
    setattr(platform, how, True)
    with pytest.raises(family):
        asyncio.run(book.make(["a"], 1))
    assert book.held == ()
    assert _names(tmp_path) == set()
    setattr(platform, how, False)
    assert asyncio.run(book.make(["a"], 1)) in book.held


def test_a_platform_that_forgot_is_told_again(tmp_path: Path) -> None:
    platform = Remembering()
    book = Allocations(tmp_path, platform)

    async def scene() -> None:
        one = await book.make(["a"], 1)
        platform.known = {"left": 1}
        await book.keep()
        assert platform.known == {one.id: 0}
        platform.known[one.id] = 5
        await book.keep()
        assert book.used == {one.id: 5}
        platform.away = True
        await book.release(one, "while nobody listens")
        with pytest.raises(Unavailable):
            await book.keep()
        platform.away = False
        await book.keep()
        assert platform.known == {}

    asyncio.run(scene())


def test_what_is_told_at_once_stays_in_order(tmp_path: Path) -> None:
    """`keep` must not tell the platform of an allocation that is being told to it already."""

    class Slow(Remembering):
        async def allocate(self, name: str, size: int, directory: Path) -> None:
            await asyncio.sleep(0.01)
            await super().allocate(name, size, directory)

    platform = Slow()
    book = Allocations(tmp_path, platform)

    async def scene() -> None:
        await asyncio.gather(*(book.make([name], 1) for name in "abc"), book.keep(), book.keep())
        assert len(platform.known) == 3

    asyncio.run(scene())


def test_without_a_platform_only_the_folders_are_kept(tmp_path: Path) -> None:
    book = Allocations(tmp_path, None)
    one = asyncio.run(book.make(["a"], 1))
    asyncio.run(book.keep())
    assert book.folder(one).is_dir()
    assert book.used is None


class Picky(Remembering):
    """Refuses one that it has forgotten."""

    bad = ""

    async def allocate(self, name: str, size: int, directory: Path) -> None:
        if name == self.bad:
            raise Unavailable("allocation-unreadable", "No socket can be made.")
        await super().allocate(name, size, directory)


def test_one_that_cannot_be_served_again_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async def scene() -> None:
        platform = Picky()
        book = Allocations(tmp_path, platform)
        made = [await book.make([name], 1) for name in "abc"]
        platform.known.clear()
        platform.bad = book.held[0].id
        with pytest.raises(Unavailable) as refused:
            await book.keep()
        assert refused.value.code == "allocation-unreadable"
        assert set(platform.known) == {one.id for one in made} - {platform.bad}

    asyncio.run(scene())
