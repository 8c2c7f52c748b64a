"""A small image: cat, which prints what the policy released, and its standard input behind it."""

from __future__ import annotations

import shutil
from pathlib import Path

from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import EPOCH, Root
from tests.support.policies import release_policy

CAT = Path(shutil.which("cat") or "/bin/cat")
OWNER = 101
POLICY = release_policy(
    "home",
    "cat",
    """\
secrets: [{name: word, kind: value}]
services:
  - name: app
    files: [{path: /run/word, mode: "0444", content: "{{ secrets.word.value }}\\n"}]
""",
)


def make_small(root: Path, reference: str, *arguments: str, user: str = "", volume: bool = False) -> None:
    """Assemble the image at `root` and import it; with `volume` a place of another user is written to."""
    image = Root(root)
    image.users({"app": (OWNER, OWNER)})
    image.program("usr/bin/cat", CAT)
    image.libraries([CAT])
    image.directory("data")
    options = ImportOptions(
        entrypoint=("/usr/bin/cat", *arguments),
        user=user,
        volumes=("/data",) if volume else (),
        owner=(0, 0),
        owners={b"/data": (OWNER, OWNER)} if volume else {},
        epoch=EPOCH,
    )
    import_image(root, reference, options)
