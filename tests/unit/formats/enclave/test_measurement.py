from __future__ import annotations

from itertools import pairwise

import pytest

from kloister.errors import Malformed
from kloister.formats.enclave.measurement import gramine_pages, gramine_runs, mrenclave
from kloister.formats.sgx import PAGE_SIZE, Run, Tcs
from tests.support.enclaves import small_elf

SIZE = 16 << 20


def runs(*, manifest: bytes = b"x" * 5000, threads: int = 2, edmm: bool = False, size: int = SIZE) -> tuple[Run, ...]:
    return gramine_runs(manifest, small_elf(), size, threads, edmm)


def test_areas_fill_the_enclave_from_the_top_without_a_gap() -> None:
    laid = runs()
    ordered = sorted(laid, key=lambda run: run.offset)
    assert ordered[0].offset == 0x10000
    assert ordered[-1].end == SIZE
    assert all(low.end == high.offset for low, high in pairwise(ordered))


def test_only_the_free_area_is_not_measured_and_edmm_has_none() -> None:
    assert [run.measured for run in runs()].count(False) == 1
    assert runs()[-1].flags == 0x207
    assert runs(edmm=True) == runs()[:-1]


def test_a_free_area_of_no_page_is_left_out() -> None:
    fixed = sum(run.count for run in runs(edmm=True)) * PAGE_SIZE
    room = (2 << 20) - 0x10000 - fixed
    exact = runs(manifest=b"x" * (8191 + room), size=2 << 20)
    assert exact == runs(manifest=b"x" * (8191 + room), size=2 << 20, edmm=True)
    with pytest.raises(Malformed) as refused:
        runs(manifest=b"x" * (8192 + room), size=2 << 20)
    assert refused.value.code == "enclave-too-small"


def test_the_threads_start_at_the_loaders_entry() -> None:
    laid = runs()
    tcs = next(run for run in laid if run.flags == 0x100)
    code = next(run for run in laid if run.flags == 0x205)
    for page in tcs.pages():
        assert Tcs.parse(page.content).oentry == code.offset + 0x10


@pytest.mark.parametrize("threads", [0, -1, 4097])
def test_threads_out_of_range_are_malformed(threads: int) -> None:
    with pytest.raises(Malformed) as refused:
        runs(threads=threads)
    assert refused.value.code == "enclave-threads"


def test_pages_and_runs_measure_the_same_and_everything_counts() -> None:
    def measure(manifest: bytes = b"m", threads: int = 2, edmm: bool = True, size: int = SIZE) -> bytes:  # noqa: FBT001, FBT002 -- the recipe's arguments
        pages = mrenclave(gramine_pages(manifest, small_elf(), size, threads, edmm), size)
        assert pages == mrenclave(gramine_runs(manifest, small_elf(), size, threads, edmm), size)
        return pages

    seen = {measure(), measure(b"n"), measure(threads=3), measure(size=2 * SIZE), measure(edmm=False, size=SIZE)}
    assert len(seen) == 5


def test_a_manifest_that_ends_on_a_page_boundary_still_gets_its_nul() -> None:
    assert runs(manifest=b"x" * 4095)[0].count == 1
    assert runs(manifest=b"x" * 4096)[0].count == 2
