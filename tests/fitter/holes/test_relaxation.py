"""Laws of the relaxation of small structures with their cells."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.filters import UnitCellFilter
from ase.optimize import BFGS
from forcemap.fitter import Frame
from forcemap.fitter.holes.relaxation import relaxed
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.evaluator import Result
from structures import as_frame


class Pairs:
    """ASE's Lennard-Jones energies in the form of an evaluator."""

    def __init__(self) -> None:
        self.calculator = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)
        self.calls = 0

    def compute(
        self, positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> Result:
        self.calls += 1
        atoms = Atoms(numbers, positions, cell=cell, pbc=pbc)
        atoms.calc = self.calculator
        energy = float(atoms.get_potential_energy())
        virial = np.zeros((3, 3))
        if atoms.pbc.all():
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
        return Result(energy, np.zeros(len(atoms)), atoms.get_forces(), virial)


def shaken(atoms: Atoms) -> Atoms:
    rng = np.random.default_rng(3)
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.uniform(-0.08, 0.08, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    return atoms


def crystal() -> Atoms:
    return shaken(bulk("Cu", "fcc", a=3.6, cubic=True) * (1, 1, 2))


def frame_of(atoms: Atoms) -> Frame:
    return as_frame(atoms)


def test_positions_and_cell_relax_to_the_minimum_that_ase_finds() -> None:
    frame, energy = relaxed(Pairs(), frame_of(crystal()), steps=500)
    atoms = crystal()
    atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)
    BFGS(UnitCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=500)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=0.01)  # forces below 0.05
    volume = abs(np.linalg.det(frame.cell))
    assert volume == pytest.approx(atoms.get_volume(), rel=0.01)


def test_energy_is_that_of_the_structure_that_is_returned() -> None:
    frame, energy = relaxed(Pairs(), frame_of(crystal()), steps=20)
    again = Pairs().compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    assert again.energy == pytest.approx(energy, abs=1e-3)  # positions are rounded


def test_cell_of_a_cluster_stays() -> None:
    atoms = Atoms("Cu4", [[0, 0, 0], [2.4, 0, 0], [0, 2.5, 0], [0.2, 0.1, 2.6]])
    frame, energy = relaxed(Pairs(), frame_of(atoms))
    np.testing.assert_array_equal(frame.cell, 0.0)
    assert energy < Pairs().compute(atoms.positions, atoms.numbers, atoms.cell, atoms.pbc).energy


def test_falling_structures_are_followed_no_farther_than_the_floor() -> None:
    start = frame_of(crystal())
    _, bottom = relaxed(Pairs(), start)
    first = Pairs().compute(start.positions, start.numbers, start.cell, start.pbc).energy
    pairs, floor = Pairs(), 0.5 * (first + bottom)
    _, energy = relaxed(pairs, start, floor)
    assert bottom < energy < floor
    assert pairs.calls < 30


def test_atoms_that_meet_end_it_with_the_lowest_energy_before() -> None:
    class Breaking(Pairs):
        def compute(self, *arrays: np.ndarray) -> Result:
            if self.calls == 5:
                raise ForcemapError("atoms in one place")
            return super().compute(*arrays)

    _, energy = relaxed(Breaking(), frame_of(crystal()))
    assert energy == relaxed(Pairs(), frame_of(crystal()), steps=5)[1]
