"""Energies of isolated atoms: given, measured, or what compositions say."""

import numpy as np
import pytest
from ase import Atoms
from forcemap.fitter.baseline.cohesion import COHESION
from forcemap.fitter.baseline.isolated_atoms import (
    atomic_energies,
    free_atoms,
    uncertain_atoms,
    warn_of_cohesion,
)
from forcemap.fitter.data.frame import Frame
from forcemap.potentials.elements import SYMBOLS
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


# ---- cohesive ------------------------------------------------------------------------------------


def test_cohesive_puts_free_atoms_a_tabulated_energy_above_the_crystal() -> None:
    frames = [frame_of("Cu4", -16.0), frame_of("Cu4", -15.0)]
    found = free_atoms(frames, "cohesive")
    assert found.energies[29] == pytest.approx(-4.0 + COHESION["Cu"], abs=0.05)
    assert 0.0 < found.sigmas[29] < 0.1
    (line,) = found.origin
    assert "Cu 3.49 eV" in line
    assert "Kittel" in line


def test_cohesive_takes_isolated_atoms_where_there_are_any() -> None:
    frames = [frame_of("Cu", -0.5), frame_of("Cu4", -16.0), frame_of("Ag4", -12.0)]
    found = free_atoms(frames, "cohesive")
    assert found.energies[29] == -0.5
    assert set(found.sigmas) == {47}
    assert found.energies[47] == pytest.approx(-3.0 + COHESION["Ag"])


def test_cohesive_does_not_take_energies_of_defects_for_those_of_elements() -> None:
    """An atom too many costs 3 eV here, whichever: the slope of energy over composition is not e0."""
    crystal = [frame_of("In32P32", -64 * 4.8)] * 5
    defects = [frame_of("In32P33", -64 * 4.8 - 8.0), frame_of("In33P32", -64 * 4.8 + 2.0)]
    found = free_atoms([*crystal, *defects], "cohesive").energies
    assert found[49] - COHESION["In"] == pytest.approx(-4.8, abs=0.2)
    assert found[15] - COHESION["P"] == pytest.approx(-4.8, abs=0.2)


def test_cohesive_knows_all_electron_energies_apart() -> None:
    """They differ by hundreds of eV: defects say enough."""
    frames = [
        frame_of("H64O32", 64 * -13.0 + 32 * -2040.0),
        frame_of("H63O32", 63 * -13.0 + 32 * -2040.0),
        frame_of("H64O31", 64 * -13.0 + 31 * -2040.0),
    ]
    found = free_atoms(frames, "cohesive").energies
    assert found[1] == pytest.approx(-13.0 + COHESION["H"], abs=1.0)
    assert found[8] == pytest.approx(-2040.0 + COHESION["O"], abs=1.0)


def test_unknown_cohesion_and_that_of_compounds_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="cohesive energy of He is not known"):
        warn_of_cohesion([frame_of("He4", -1.0)], "cohesive")
    with pytest.warns(UserWarning, match="cohesive energy of compounds of H, O is a guess"):
        warn_of_cohesion([frame_of("H2O", -14.0)], "cohesive")
    warn_of_cohesion([frame_of("Cu4", -16.0)], "cohesive")
    warn_of_cohesion([frame_of("H2O", -14.0)], "average")
    assert np.isinf(free_atoms([frame_of("He4", -1.0)], "cohesive").sigmas[2])
    assert not np.isfinite(uncertain_atoms([frame_of("He4", -1.0)], "cohesive")[2])


def test_table_of_cohesion_names_elements_once_and_is_in_electronvolts() -> None:
    assert set(COHESION) <= set(SYMBOLS)
    assert {"He", "Pm", "At", "Rn", "Fr", "Pa"}.isdisjoint(COHESION)
    assert max(COHESION, key=lambda symbol: COHESION[symbol]) == "W"
    assert min(COHESION.values()) > 0.01
    assert max(COHESION.values()) < 10.0
