"""The images of the bed, made by Kloister's own image room; no registry is asked for any."""

from __future__ import annotations

import shutil
from pathlib import Path

from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import Root
from tests.cluster.bed.layout import Layout
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.processes import run

PAUSE = "bed.invalid/pause:1"
BUSYBOX = "bed.invalid/busybox:1"
_SOURCE = Path(__file__).with_name("init.c")


def make_init(place: Path) -> None:
    """Compile the first process of pods and machines; it needs no library."""
    run("gcc", "-static", "-Os", "-s", "-o", place, _SOURCE)


def make_images(layout: Layout) -> list[Path]:
    """Archives of `PAUSE` and `BUSYBOX`."""
    folder = layout.state / "images"
    folder.mkdir()
    pause = folder / "pause"
    pause.mkdir()
    shutil.copy(layout.init, pause / "pause")
    return [
        _archive(pause, PAUSE, ImportOptions(entrypoint=("/pause",), user="65535:65535", epoch=0)),
        _archive(_busybox(folder / "busybox"), BUSYBOX, ImportOptions(command=("/bin/sh",), epoch=0)),
    ]


def load(layout: Layout, node: str, archive: Path, name: str) -> None:
    """Give an archive's image to a node's container runtime, under `name` (repository:tag, the tag being its own)."""
    base = name.rpartition(":")[0]
    words = ("ctr", "--namespace", "k8s.io", "image", "import", "--base-name", base, archive)
    Machine(layout, node).run(*words, seconds=300)


def busybox(root: Root) -> None:
    """Add busybox under all its names."""
    root.write("bin/busybox", Path(shutil.which("busybox") or "/bin/busybox").read_bytes(), 0o755)
    for name in set(run("busybox", "--list").split()) - {"busybox"}:
        root.link(f"bin/{name}", "busybox")


def _busybox(folder: Path) -> Path:
    root = Root(folder)
    busybox(root)
    root.users({})
    root.finish()
    return folder


def _archive(root: Path, name: str, options: ImportOptions) -> Path:
    repository, _, tag = name.rpartition(":")
    archive = root.with_suffix(".tar")
    import_image(root, f"oci-archive:{archive}:{tag}", options)
    shutil.rmtree(root)
    assert repository
    return archive
