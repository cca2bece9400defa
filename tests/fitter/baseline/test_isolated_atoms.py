"""Energies of isolated atoms: given, measured, or what compositions say."""

import numpy as np
import pytest
from ase import Atoms
from forcemap.fitter.baseline.isolated_atoms import atomic_energies
from forcemap.fitter.data.frame import Frame
from forcemap.potentials.errors import ForcemapError
from structures import as_frame


def frame_of(symbols: str, energy: float | None, cell: float | None = None) -> Frame:
    atoms = Atoms(symbols, pbc=cell is not None)
    atoms.positions = np.arange(3.0 * len(atoms)).reshape(-1, 3)
    atoms.cell = np.eye(3) * (cell or 0.0)
    return as_frame(atoms, energy=energy)


def test_average_solves_the_composition_exactly_when_it_can() -> None:
    frames = [frame_of("H2O", 2 * 1.5 + 7.0), frame_of("H2", 3.0), frame_of("O2H2", 17.0)]
    found = atomic_energies(frames, "average")
    assert found == pytest.approx({1: 1.5, 8: 7.0}, abs=1e-12)


def test_average_of_one_element_is_the_mean_energy_per_atom() -> None:
    frames = [frame_of("Si", -1.0), frame_of("Si4", -12.0), frame_of("Si2", None)]
    assert atomic_energies(frames, "average") == pytest.approx({14: -2.0})


def test_average_takes_off_what_the_core_explains() -> None:
    frames = [frame_of("Si2", -8.0), frame_of("Si4", -18.0)]
    assert atomic_energies(frames, "average", [2.0, 2.0]) == pytest.approx({14: -5.0})


def test_average_is_of_smallest_norm_when_compositions_are_all_alike() -> None:
    found = atomic_energies([frame_of("H2O", -15.0), frame_of("H4O2", -30.0)], "average")
    # 2 h + o = -15 has the smallest h² + o² at h : o = 2 : 1.
    assert found == pytest.approx({1: -6.0, 8: -3.0})


def test_average_without_energies_is_zero() -> None:
    assert atomic_energies([frame_of("H2O", None)], "average") == {1: 0.0, 8: 0.0}


def test_isolated_takes_lone_atoms_not_crystals_of_one_atom() -> None:
    frames = [
        frame_of("Ni", -5.0, cell=2.5),
        frame_of("Ni", -0.4, cell=12.0),
        frame_of("H", -1.0),
        frame_of("HNi", -7.0),
    ]
    assert atomic_energies(frames, "isolated") == {1: -1.0, 28: -0.4}
    with pytest.raises(ForcemapError, match=r"no training frame holds one isolated atom.* for Ni;"):
        atomic_energies([frames[0], *frames[2:]], "isolated")


def test_one_energy_is_that_of_every_element() -> None:
    frames = [frame_of("H2O", -15.0), frame_of("Ni", None)]
    assert atomic_energies(frames, -0.5) == {1: -0.5, 8: -0.5, 28: -0.5}


def test_given_energies_must_name_every_element() -> None:
    frames = [frame_of("H2O", -15.0)]
    assert atomic_energies(frames, {"O": -2.0, "H": -1.0, "Si": 3.0}) == {1: -1.0, 8: -2.0}
    with pytest.raises(ForcemapError, match="e0: no energy for O, which the training frames"):
        atomic_energies(frames, {"H": -1.0})
