"""Greedy choice from a stream: that of a search through all frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from forcemap.fitter.config import Source
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.suggesting import greedy
from forcemap.fitter.suggesting.criteria import Criterion
from forcemap.fitter.suggesting.greedy import chosen
from forcemap.fitter.suggesting.pool import Pool
from forcemap.fitter.terms.base import Array


class Cover(Criterion[Array]):
    """Worth of a dimer: how far its length is from all that are chosen."""

    name = "distance"

    def __init__(self) -> None:
        self.known = [2.0]
        self.asked = 0

    def see(self, frame: Frame) -> Array:
        return frame.positions[1] - frame.positions[0]

    def worth(self, seen: Array) -> float:
        self.asked += 1
        return min(abs(float(seen[0]) - known) for known in self.known)

    def learn(self, seen: Array) -> None:
        self.known.append(float(seen[0]))

    def bytes_of(self, seen: Array) -> int:
        return 24


def pool(path: Path, lengths: Array) -> Pool:
    write(path, [Atoms("Si2", [[0, 0, 0], [length, 0, 0]]) for length in lengths])
    return Pool([Source(path)], [14])


@pytest.fixture
def lengths() -> Array:
    return np.random.default_rng(1).uniform(2.0, 9.0, 60)


def searched(lengths: Array, count: int) -> list[int]:
    """By looking at every frame each time."""
    criterion, found = Cover(), list[int]()
    for _ in range(count):
        worths = [criterion.worth(np.array([x])) for x in lengths]
        found.append(int(np.argmax(worths)))
        criterion.learn(lengths[found[-1:]])
    return found


@pytest.mark.parametrize("kept", [1 << 20, 0])
def test_it_is_that_of_a_whole_search_however_little_is_kept(
    kept: int, lengths: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With next to nothing kept the pool is read again."""
    monkeypatch.setattr(greedy, "KEPT_BYTES", kept)
    monkeypatch.setattr(greedy, "LEAST", 3)
    rounded = np.round(lengths, 8)
    found, _ = chosen(pool(tmp_path / "pool.xyz", rounded), Cover(), 12, Run())
    assert [one.candidate.number for one in found] == searched(rounded, 12)
    assert list(np.diff([one.worth for one in found]) <= 0.0) == [True] * 11


def test_few_frames_are_looked_at_again(lengths: Array, tmp_path: Path) -> None:
    criterion = Cover()
    chosen(pool(tmp_path / "pool.xyz", lengths), criterion, 12, Run())
    assert criterion.asked < 4 * len(lengths)


def test_threads_choose_alike(lengths: Array, tmp_path: Path) -> None:
    given = pool(tmp_path / "pool.xyz", lengths)
    one, several = (chosen(given, Cover(), 10, Run(jobs))[0] for jobs in (1, 3))
    assert [c.candidate.number for c in one] == [c.candidate.number for c in several]


def test_more_than_there_are_gives_all(tmp_path: Path) -> None:
    found, rest = chosen(pool(tmp_path / "pool.xyz", np.array([3.0, 5.0, 4.0])), Cover(), 9, Run())
    assert sorted(one.candidate.number for one in found) == [0, 1, 2]
    assert not rest


def test_copies_are_chosen_once(tmp_path: Path) -> None:
    lengths = np.array([5.0] * 20 + [5.1, 3.0])
    found, _ = chosen(pool(tmp_path / "pool.xyz", lengths), Cover(), 22, Run())
    assert found[0].candidate.number == 20
    assert len(found) == 3


def test_what_is_worth_nothing_is_not_chosen(tmp_path: Path) -> None:
    found, _ = chosen(pool(tmp_path / "pool.xyz", np.array([2.0, 4.0])), Cover(), 2, Run())
    assert [one.candidate.number for one in found] == [1]


def test_memory_does_not_grow_with_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten times the frames no more are held at once."""
    monkeypatch.setattr(greedy, "KEPT_BYTES", 60_000)
    monkeypatch.setattr(greedy, "LEAST", 3)
    alive, most = 0, dict[int, int]()

    class Counted(Cover):
        def see(self, frame: Frame) -> Array:
            nonlocal alive
            alive += 1
            most[count] = max(most.get(count, 0), alive)
            return Held(super().see(frame))  # type: ignore[return-value]

        def worth(self, seen: Array) -> float:
            return super().worth(seen.value)  # type: ignore[attr-defined]

        def learn(self, seen: Array) -> None:
            super().learn(seen.value)  # type: ignore[attr-defined]

    class Held:
        def __init__(self, value: Array) -> None:
            self.value = value

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    for count in (100, 1000):
        lengths = np.random.default_rng(count).uniform(2.0, 9.0, count)
        chosen(pool(tmp_path / f"{count}.xyz", lengths), Counted(), 3, Run())
    assert most[1000] == most[100] < 30


def frames_of(pool: Pool) -> Iterator[int]:
    return (one.number for one in pool if one is not None)


def test_pools_are_of_several_files_and_selections(tmp_path: Path) -> None:
    lengths = np.linspace(2.0, 4.0, 7)
    path = tmp_path / "pool.xyz"
    pool(path, lengths)
    write(tmp_path / "ge.xyz", [Atoms("Ge2", [[0, 0, 0], [3, 0, 0]])] * 3)
    given = Pool([Source(path, "::3"), Source(tmp_path / "ge.xyz"), Source(path, "-2:")], [14])
    assert given.count == 8
    found = [one for one in given if one is not None]
    assert [one.number for one in found] == [0, 1, 2, 6, 7]
    assert [one.frame.index for one in found] == [0, 3, 6, 5, 6]
    assert given.remarks() == [
        "3 of 8 frames are left out: they hold elements that the potential is not for (Ge)"
    ]
