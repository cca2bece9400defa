"""Batches against the evaluator of one structure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import BatchEvaluator, Potential, load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import as_potential, write_potential
from forcemap.potentials.grade import AngularMoments, Grade, Moments
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

CELL = np.array([[6.0, 0.3, 0.0], [1.2, 6.3, 0.0], [-0.8, 1.0, 6.6]])
SYMBOLS = "SiOSiSiOOSiOSi"


@pytest.fixture(scope="module")
def potential(tmp_path_factory: pytest.TempPathFactory) -> Potential:
    path = tmp_path_factory.mktemp("potential") / "siO.forcemap"
    write_potential(random_potential(["Si", "O"], seed=4), path)
    return load(path)


def beads(count: int, spread: float, seed: int = 1) -> tuple[Array, Array]:
    """Cells with vectors in columns and positions of `count` structures around one."""
    rng = np.random.default_rng(seed)
    grid = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float) / 2
    base = np.vstack([grid, [[0.25, 0.25, 0.25]]]) @ CELL
    positions = base + rng.normal(scale=spread, size=(count, 9, 3))
    strains = np.eye(3) + rng.normal(scale=1e-3, size=(count, 3, 3))
    return np.ascontiguousarray(np.swapaxes(CELL @ strains, 1, 2)), positions


def numbers() -> Any:
    return Atoms(SYMBOLS).numbers


def run(evaluator: BatchEvaluator, cells: Array, positions: Array) -> tuple[Array, Array, Array]:
    count, atoms = positions.shape[:2]
    out = np.full(count, np.nan), np.full((count, atoms, 3), np.nan), np.full((count, 3, 3), np.nan)
    evaluator.compute(cells, positions, *out)
    return out


def assert_right(potential: Potential, cells: Array, positions: Array, out: Any) -> None:
    for n, (energy, forces, virial) in enumerate(zip(*out, strict=True)):
        exact = potential.evaluator().compute(positions[n], numbers(), cells[n].T, True)
        assert energy == pytest.approx(exact.energy, rel=1e-12), n
        np.testing.assert_allclose(forces, exact.forces, atol=1e-11)
        np.testing.assert_allclose(virial, exact.virial, atol=1e-11)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("skin", [0.0, 0.5])
def test_batch_is_each_structure_on_its_own(
    potential: Potential, threads: int, count: int, skin: float
) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, skin=skin, threads=threads)
    rng = np.random.default_rng(6)
    cells, positions = beads(count, 0.1)
    for _ in range(5):
        order = rng.permutation(count)
        out = run(evaluator, cells[order], positions[order])
        assert_right(potential, cells[order], positions[order], out)
        positions = positions + rng.normal(scale=0.05, size=positions.shape)
    assert evaluator.evaluations == 5 * count


def test_units_and_strides_of_cells(potential: Potential) -> None:
    """As i-PI sends them: cells and inverses in turn, in atomic units."""
    length, energy = 1.8897261, 0.036749326
    cells, positions = beads(3, 0.1)
    both = np.stack([cells, np.linalg.inv(cells)], axis=1) * length
    plain = run(potential.batch_evaluator(numbers(), True), cells, positions)
    evaluator = potential.batch_evaluator(numbers(), True, length=length, energy=energy)
    e, f, w = run(evaluator, both[:, 0], positions * length)
    np.testing.assert_allclose(e, plain[0] * energy, rtol=1e-13)
    np.testing.assert_allclose(f, plain[1] * energy / length, atol=1e-13)
    np.testing.assert_allclose(w, plain[2] * energy, atol=1e-13)


def test_equal_structures_in_a_row_are_evaluated_once(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, threads=2)
    cells, positions = beads(3, 0.1)
    order = [0, 1, 1, 2, 2, 2]
    out = run(evaluator, cells[order], positions[order])
    assert evaluator.evaluations == 3
    assert_right(potential, cells[order], positions[order], out)


def test_equal_positions_in_another_cell_are_another_structure(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True)
    cells, positions = beads(1, 0.0)
    out = run(evaluator, np.concatenate([cells, 1.01 * cells]), np.concatenate([positions] * 2))
    assert evaluator.evaluations == 2
    assert out[0][0] != out[0][1]


def test_beads_apart_have_lists_of_their_own_which_last(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, skin=0.5)
    rng = np.random.default_rng(5)
    cells, positions = beads(6, 0.3)
    cells[:] = cells[0]
    for _ in range(30):
        order = rng.permutation(6)
        positions += rng.normal(scale=0.004, size=positions.shape)
        for n in order:  # one after another, as without batches
            run(evaluator, cells[n : n + 1], positions[n : n + 1])
    assert evaluator.slots == 6
    assert evaluator.rebuilds == 6


def test_beads_nearby_share_a_list(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, skin=0.5)
    cells, positions = beads(20, 0.01)
    run(evaluator, cells, positions)
    assert (evaluator.slots, evaluator.rebuilds) == (1, 1)


def test_number_of_lists_is_bounded(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, skin=0.2)
    cells, positions = beads(300, 0.5)
    out = run(evaluator, cells, positions)
    assert evaluator.slots <= 128
    assert_right(potential, cells[::50], positions[::50], [values[::50] for values in out])


def test_lists_no_longer_used_are_taken_again(potential: Potential) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, skin=0.2)
    cells, positions = beads(300, 0.5)
    for n in range(300):
        run(evaluator, cells[n : n + 1], positions[n : n + 1])
    assert evaluator.slots <= 66


@pytest.mark.parametrize("threads", [1, 2])
def test_fault_names_the_structure(potential: Potential, threads: int) -> None:
    evaluator = potential.batch_evaluator(numbers(), True, threads=threads)
    cells, good = beads(4, 0.1)
    for which, (value, message) in enumerate(
        [
            (np.nan, "position of atom 3 is not finite"),
            (good[1, 5], "atoms 3 and 5 are in the same place"),
        ]
    ):
        positions = good.copy()
        positions[which, 3] = value
        with pytest.raises(ForcemapError, match=message):
            run(evaluator, cells, positions)
        assert evaluator.fault == which
    singular = cells.copy()
    singular[2, :, 1] = singular[2, :, 0]
    with pytest.raises(ForcemapError, match="singular"):
        run(evaluator, singular, good)
    assert evaluator.fault == 2
    assert_right(potential, cells, good, run(evaluator, cells, good))


def test_wrong_settings_and_arrays_are_told(potential: Potential) -> None:
    with pytest.raises(ForcemapError, match="skin must be >= 0"):
        potential.batch_evaluator(numbers(), True, skin=-1.0)
    with pytest.raises(ForcemapError, match="threads must be at least 1"):
        potential.batch_evaluator(numbers(), True, threads=0)
    with pytest.raises(ForcemapError, match="atom 1 has atomic number 79"):
        potential.batch_evaluator([14, 79], True)
    evaluator = potential.batch_evaluator(numbers(), True)
    cells, positions = beads(2, 0.1)
    with pytest.raises(ValueError, match="number of atoms"):
        run(evaluator, cells, positions[:, :5].copy())
    with pytest.raises(ValueError, match="number of structures"):
        run(evaluator, cells[:1], positions)
    with pytest.raises(ValueError, match="nine numbers"):
        run(evaluator, cells.transpose(0, 2, 1), positions)


@pytest.mark.parametrize("threads", [1, 3])
def test_grades_are_those_of_each_structure_on_its_own(threads: int) -> None:
    moments = Moments(4.5, 2, AngularMoments(4.0, 1))
    size = moments.count(2)
    rng = np.random.default_rng(3)
    centers = {
        symbol: (rng.normal(size=size), np.tril(rng.normal(size=(size, size))))
        for symbol in ("O", "Si")
    }
    graded = as_potential(
        replace(random_potential(["Si", "O"], seed=4), grade=Grade({}, centers, moments))
    )
    # Many enough that the threads share them.
    cells, positions = beads(40, 0.1)
    positions[7], cells[7] = positions[6], cells[6]
    evaluator = graded.batch_evaluator(numbers(), True, threads=threads)
    out = np.empty(40), np.empty((40, 9, 3)), np.empty((40, 3, 3))
    grades = np.full((40, 9), np.nan)
    evaluator.compute(cells, positions, *out, grades)
    assert_right(graded, cells, positions, out)
    for n, row in enumerate(grades):
        alone = graded.evaluator().compute(positions[n], numbers(), cells[n].T, True, grades=True)
        np.testing.assert_allclose(row, alone.grades, rtol=1e-9)
    with pytest.raises(ValueError, match=r"another shape than \(structures, atoms\)"):
        evaluator.compute(cells, positions, *out, np.empty((40, 8)))


def test_grades_of_a_potential_without_are_refused(potential: Potential) -> None:
    cells, positions = beads(1, 0.1)
    out = np.empty(1), np.empty((1, 9, 3)), np.empty((1, 3, 3))
    with pytest.raises(ForcemapError, match="no extrapolation grade"):
        potential.batch_evaluator(numbers(), True).compute(cells, positions, *out, np.empty((1, 9)))
