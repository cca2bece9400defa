"""Rows in a file without a name: they come back bit for bit, and never in the way of a fit."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from forcemap.fitter.uncertainty.kept_rows import KeptRows

COUNTS, WIDTHS = [5, 0, 9, 1], [7, 7, 3, 7]


def block(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(COUNTS[number], WIDTHS[number]))


def test_rows_come_back_bit_for_bit_from_threads(tmp_path: Path) -> None:
    with KeptRows(tmp_path, COUNTS, WIDTHS, range(4)) as kept:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: kept.keep(n, np.asfortranarray(block(n))), (3, 2, 1, 0)))
        assert kept.room == kept.bytes == 8 * (7 * 6 + 3 * 9)
        for number in (2, 0, 3, 1):
            found = kept.take(number)
            assert found is not None
            np.testing.assert_array_equal(found, block(number))


def test_file_has_no_name_and_ends_with_the_block(tmp_path: Path) -> None:
    with KeptRows(tmp_path, COUNTS, WIDTHS, range(4)) as kept:
        kept.keep(0, block(0))
        assert not list(tmp_path.iterdir())
    assert kept.take(0) is None
    kept.keep(0, block(0))  # which nobody asks for any more
    assert not list(tmp_path.iterdir())


def test_rows_of_others_and_rows_never_kept_are_not_there(tmp_path: Path) -> None:
    with KeptRows(tmp_path, COUNTS, WIDTHS, [0, 3]) as kept:
        for number in (0, 2):
            kept.keep(number, block(number))
        assert [kept.take(n) is None for n in range(4)] == [False, True, True, True]


def test_full_disk_keeps_what_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(f_bavail=8 * 7 * 7, f_frsize=1)  # of which a share is taken: 5 rows
    monkeypatch.setattr(os, "statvfs", lambda path: free)
    with KeptRows(tmp_path, COUNTS, WIDTHS, range(4)) as kept:
        assert kept.room == 8 * 7 * 5 < kept.bytes
        for number in (0, 2):
            kept.keep(number, block(number))
        assert kept.take(0) is not None
        assert kept.take(2) is None


def test_disk_that_fills_meanwhile_loses_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with KeptRows(tmp_path, COUNTS, WIDTHS, range(4)) as kept:
        monkeypatch.setattr(os, "pwrite", full)
        kept.keep(0, block(0))
        assert kept.take(0) is None


def test_folder_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    with KeptRows(tmp_path / "none", COUNTS, WIDTHS, range(4)) as kept:
        kept.keep(0, block(0))
        assert kept.take(0) is None
        assert kept.room == 0
