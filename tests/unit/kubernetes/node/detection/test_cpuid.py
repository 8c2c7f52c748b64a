from __future__ import annotations

import struct
from pathlib import Path

from kloister.kubernetes.node.detection.cpuid import from_device, read
from tests.unit.kubernetes.node.detection.trees import GIB, Processor


def test_a_leaf_is_read_at_its_offset(tmp_path: Path) -> None:
    """cpuid(4): sub-leaf in the upper half of the offset. The file is sparse."""
    path = tmp_path / "dev/cpu/0/cpuid"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.seek(3 << 32 | 0x12)
        file.write(struct.pack("<4I", 1, 2, 3, 4))
    ask = from_device(tmp_path)
    assert ask(0x12, 3) == (1, 2, 3, 4)
    assert ask(0x12, 4) is None, "the file ends before it"
    assert from_device(tmp_path / "nowhere")(7, 0) is None


def test_leaf_12_is_not_asked_of_a_processor_without_sgx() -> None:
    """Leaves beyond the last one give the last one's registers on Intel's processors."""
    found = read(lambda leaf, sub: Processor(sgx=False)(leaf, sub) if leaf == 7 else (0xFFFFFFFF,) * 4)
    assert found is not None
    assert (found.sgx, found.sgx1, found.sections) == (False, False, ())


def test_sizes_beyond_four_gigabytes() -> None:
    found = read(Processor(sections=((512 * GIB, 2), (93 << 20, 1))))
    assert found is not None
    assert [(section.bytes, section.kind) for section in found.sections] == [
        (512 * GIB, "tme"),
        (93 << 20, "integrity"),
    ]


def test_a_table_that_never_ends_ends() -> None:
    found = read(lambda leaf, sub: Processor()(leaf, sub) if sub < 2 else (1, 0, 0x1002, 0))
    assert found is not None
    assert len(found.sections) == 64
