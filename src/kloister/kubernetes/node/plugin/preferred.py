"""Which blocks a container should get: few NUMA nodes, and those that are nearly full first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Node = int | None


def prefer(available: Sequence[str], must: Sequence[str], size: int, node_of: Callable[[str], Node]) -> list[str]:
    """`size` of the `available` ids with all of `must` among them (fewer where there are not so many).

    First comes the node of what must be included, then the node with the least space that holds the rest, so that
    large pieces stay whole for others; where no node holds it, the emptiest ones, which makes the fewest nodes.
    """
    chosen = list(dict.fromkeys(must))[:size]
    taken = set(chosen)
    free: dict[Node, list[str]] = {}
    for one in dict.fromkeys(available):
        if one not in taken:
            free.setdefault(node_of(one), []).append(one)
    begun = {node_of(one) for one in chosen}
    for node in sorted(begun & free.keys(), key=lambda node: len(free[node])):
        _take(chosen, free.pop(node), size)
    while free and len(chosen) < size:
        _take(chosen, free.pop(_next(free, size - len(chosen))), size)
    return chosen


def _take(chosen: list[str], ids: list[str], size: int) -> None:
    chosen.extend(ids[: size - len(chosen)])


def _next(free: dict[Node, list[str]], wanted: int) -> Node:
    """The fullest node that holds all that is wanted, else the emptiest."""
    enough = [node for node, ids in free.items() if len(ids) >= wanted]
    return min(enough, key=lambda node: len(free[node])) if enough else max(free, key=lambda node: len(free[node]))
