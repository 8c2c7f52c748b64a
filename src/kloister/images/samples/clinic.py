"""The clinic: an ordinary Python web application, as an image of the running interpreter and its standard library."""

from __future__ import annotations

from pathlib import Path

from kloister.errors import Misconfigured
from kloister.images.importer import ImportOptions
from kloister.images.samples.python import interpreter, module
from kloister.images.samples.root import EPOCH, Root

USER = ("app", 1000)
_APPLICATION = Path("examples", "clinic", "app")

OPTIONS = ImportOptions(
    entrypoint=("/usr/local/bin/python3", "-m", "clinic"),
    environment=("PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PORT=8443"),
    user=USER[0],
    workdir="/app",
    owner=(0, 0),
    epoch=EPOCH,
    compression=1,
)


def assemble_clinic(root: Path, application: Path | None = None) -> None:
    """Fill `root` with the image's files: the same interpreter gives the same bytes.

    Args:
        root: an empty or new directory.
        application: the directory of the application, `examples/clinic/app` of this checkout by default.

    Raises:
        Misconfigured: `sample-application`, `sample-library`.
    """
    application = application or _find_application()
    image = Root(root)
    image.users({USER[0]: (USER[1], USER[1])})
    image.libraries(interpreter(image))
    for path in sorted(application.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            module(image, f"app/{path.relative_to(application)}", path.read_bytes())
    image.directory("etc/tls")
    image.finish()


def _find_application() -> Path:
    place = Path(__file__).resolve().parents[4] / _APPLICATION
    if not (place / "clinic" / "__main__.py").is_file():
        hint = "Run this in a checkout of Kloister's sources."
        raise Misconfigured("sample-application", "The example application is not here.", hint)
    return place
