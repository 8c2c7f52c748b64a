"""Images whose layout is damaged, or of a version that is not read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bad_input.bench import Bench
from tests.support.cli import (
    assert_refused,
    assert_refused_in_json,
    bad_contents,
    bad_places,
    kloister,
)

pytestmark = pytest.mark.e2e


LAYOUT_FILES = ("oci-layout", "index.json", "manifest", "config", "layer")


@pytest.mark.parametrize("part", LAYOUT_FILES)
def test_a_damaged_layout(bench: Bench, tmp_path: Path, part: str) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(bench.folder / "image", layout)
    place = _part(layout, part)
    good = place.read_bytes()
    for kind, content in bad_contents(good).items():
        place.write_bytes(content)
        for line in ("image inspect --verify oci:{bad}", "convert oci:{bad} oci:out"):
            done = kloister(*bench.args(line, layout))
            if (part, kind) != ("index.json", "cut-at-its-end") or done.code:
                assert_refused(done)
    for kind, path in bad_places(tmp_path / "bad").items():
        place.unlink(missing_ok=True)
        place.symlink_to(path)
        assert_refused(kloister(*bench.args("image inspect --verify oci:{bad}", layout)))
        assert kind
    place.unlink()
    place.write_bytes(good)
    assert kloister(*bench.args("image inspect --verify oci:{bad}", layout)).code == 0


def _part(layout: Path, part: str) -> Path:
    if not (layout / part).exists():
        manifest = _blob(layout, json.loads((layout / "index.json").read_bytes())["manifests"][0])
        document = json.loads(manifest.read_bytes())
        return {"manifest": manifest, "config": _blob(layout, document["config"])}.get(
            part, _blob(layout, document["layers"][0])
        )
    return layout / part


def _blob(layout: Path, descriptor: dict[str, str]) -> Path:
    return layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")


def _changed(document: bytes, **members: object) -> bytes:
    return json.dumps({**json.loads(document), **members}).encode()


def _other_manifest(layout: Path, **members: object) -> None:
    """The layout with another manifest, its digest and size right."""
    index = json.loads((layout / "index.json").read_bytes())
    data = _changed(_part(layout, "manifest").read_bytes(), **members)
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (layout / "index.json").write_text(json.dumps(index))


def _other(name: str, **members: object) -> Callable[[Path], None]:
    def change(layout: Path) -> None:
        (layout / name).write_bytes(_changed((layout / name).read_bytes(), **members))

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_other("oci-layout", imageLayoutVersion="2.0.0"), "layout-version"),
        (_other("oci-layout", imageLayoutVersion=1), "layout-field"),
        (_other("index.json", schemaVersion=3), "index-version"),
        (_other("index.json", schemaVersion="2"), None),
        (_other("index.json", manifests={}), None),
        (_other("index.json", manifests=[]), "image-tag"),
        (lambda layout: _other_manifest(layout, schemaVersion=1), "manifest-version"),
        (lambda layout: _other_manifest(layout, mediaType="text/plain"), None),
        (lambda layout: _other_manifest(layout, layers="none"), None),
        (lambda layout: _other_manifest(layout, config=None), None),
    ],
)
def test_a_layout_of_another_version(
    bench: Bench, tmp_path: Path, change: Callable[[Path], None], code: str | None
) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(bench.folder / "image", layout)
    assert kloister("image", "inspect", f"oci:{layout}").code == 0
    change(layout)
    assert_refused(kloister("image", "inspect", f"oci:{layout}"), code)
    assert_refused_in_json(kloister("convert", f"oci:{layout}", "oci:out", "--json"), code)
    assert_refused(kloister("run", f"oci:{layout}"), code)
