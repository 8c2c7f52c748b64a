"""Another SGX plugin on the node, Intel's or Azure's: its resources are left to it, for the newest registration wins.

Two signs, of which one is enough: a socket of a name that is known for such a plugin, or the kubelet's checkpoint has
devices of the resource that are not named as ours are. Somebody must listen at a socket of theirs in both cases, for a
plugin that was removed is no rival.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kloister.errors import Malformed
from kloister.kubernetes.node.kubelet.checkpoint import CheckpointFile
from kloister.kubernetes.node.plugin import sockets
from kloister.kubernetes.node.plugin.resources import PREFIXES

_NAMES = re.compile(r"sgx\.intel\.com-([a-z-]+)\.sock", re.ASCII)  # Intel's, and Azure's, which is made of it


def adopted(folder: Path, resources: Iterable[str], known: CheckpointFile) -> frozenset[str]:
    """Which of the resources another living plugin offers; `known` is the checkpoint of the folder."""
    living = [name for name in sockets.foreign(folder) if sockets.listening(folder / name)]
    if not living:
        return frozenset()
    named = {f"sgx.intel.com/{found[1]}" for name in living if (found := _NAMES.fullmatch(name))}
    return frozenset(one for one in resources if one in named or one in _registered(known))


def _registered(file: CheckpointFile) -> frozenset[str]:
    """Resources whose registered devices are not ours."""
    try:
        known = file.read()
    except Malformed:
        known = None
    if known is None:
        return frozenset()
    return frozenset(
        name
        for name, devices in known.registered.items()
        if devices and not all(one.startswith(PREFIXES.get(name, "\0")) for one in devices)
    )
