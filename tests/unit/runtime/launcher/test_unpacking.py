from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci.mediatypes import OCI_LAYER, OCI_LAYER_GZIP
from kloister.formats.oci.tar import TarKind
from kloister.runtime.launcher.unpacking import Layer

LONG = "d/" * 90 + "f\u00e9"


def tar(form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as archive:
        for name, content in (("a", b"x" * 1000), (LONG, b"y" * 5), ("empty", b""), ("last", b"z" * 512)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a"
        archive.addfile(link)
    return buffer.getvalue()


def contents(layer: Layer) -> dict[bytes, bytes]:
    return {header.name: layer.content() for header in layer.headers()}


WANTED = {b"a": b"x" * 1000, LONG.encode(): b"y" * 5, b"empty": b"", b"last": b"z" * 512, b"link": b""}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_plain_and_gzip_layers_hold_the_same(form: int) -> None:
    data = tar(form)
    assert contents(Layer(data, OCI_LAYER)) == WANTED
    assert contents(Layer(gzip.compress(data), OCI_LAYER_GZIP + "+encrypted")) == WANTED
    assert contents(Layer(gzip.compress(data[:700]) + gzip.compress(data[700:]), OCI_LAYER_GZIP)) == WANTED


def test_what_is_not_read_is_passed_over() -> None:
    layer = Layer(tar(), OCI_LAYER)
    assert [header.name for header in layer.headers() if header.kind is TarKind.FILE] == list(WANTED)[:4]


@given(st.integers(0, 600), st.integers(1, 255), st.booleans())
def test_a_damaged_layer_is_malformed_or_another_layer(at: int, flip: int, zipped: bool) -> None:  # noqa: FBT001
    data = bytearray(gzip.compress(tar(), mtime=0) if zipped else tar())
    data[at % len(data)] ^= flip
    try:
        found = contents(Layer(bytes(data), OCI_LAYER_GZIP if zipped else OCI_LAYER))
    except Malformed:
        return
    assert isinstance(found, dict)


def test_a_cut_layer_is_truncated() -> None:
    with pytest.raises(Malformed) as caught:
        contents(Layer(tar()[:1000], OCI_LAYER))
    assert caught.value.code == "layer-truncated"


def test_an_endless_name_is_refused() -> None:
    data = bytearray(tar(tarfile.GNU_FORMAT))
    start = data.index(b"././@LongLink")
    data[start + 124 : start + 136] = b"%011o\0" % (1 << 30)
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    with pytest.raises(Malformed) as caught:
        contents(Layer(bytes(data), OCI_LAYER))
    assert caught.value.code == "layer-header"


def test_zstd_and_false_gzip_are_refused() -> None:
    with pytest.raises(Misconfigured) as zstd:
        Layer(b"", OCI_LAYER + "+zstd+encrypted")
    with pytest.raises(Malformed) as false:
        contents(Layer(tar(), OCI_LAYER_GZIP))
    assert (zstd.value.code, false.value.code) == ("private-media-type", "layer-gzip")
