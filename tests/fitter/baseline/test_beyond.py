"""Laws outside the data, and the imagined frames that make for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from forcemap.fitter import Frame, Model, Settings, fit_frames
from forcemap.fitter.addition.growth import grown
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.baseline.beyond import imagined_frames, steps_of, universal_energy
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.potentials import Potential
from forcemap.potentials.calculator import ForcemapCalculator
from numpy.typing import NDArray
from structures import as_frame

pytestmark = pytest.mark.usefixtures("one_thread")

Array = NDArray[np.float64]

TERMS = [
    {"kind": "two_body", "cutoff": 5.0, "n_sparse": 12},
    {"kind": "soap", "cutoff": 4.5, "n_max": 4, "l_max": 3, "n_sparse": 25},
]
OFFSET = -3.0
"""Added to the energy of each atom: those of a calculation are relative to nothing in particular."""


def crystal_of(name: str) -> Atoms:
    return bulk(name, "fcc", a=3.61 if name == "Cu" else 5.26, cubic=True)


def labelled(atoms: Atoms, name: str) -> Frame:
    if name == "Cu":
        atoms.calc = EMT()
    else:
        atoms.calc = LennardJones(epsilon=0.0104, sigma=3.40, rc=8.5, smooth=True)
    energy = atoms.get_potential_energy() + OFFSET * len(atoms)
    return as_frame(atoms, energy=energy, forces=atoms.get_forces())


def frames_of(name: str) -> list[Frame]:
    """Crystals near equilibrium, warm: nothing expanded or compressed, and no isolated atom."""
    rng = np.random.default_rng(7)
    found = []
    for scale in (0.98, 1.0, 1.02):
        for spread in (0.0, 0.05, 0.12):
            atoms = make_supercell(crystal_of(name), np.diag([2, 1, 1]))
            atoms.set_cell(scale * atoms.cell, scale_atoms=True)
            atoms.positions += rng.normal(0.0, spread, atoms.positions.shape)
            found.append(labelled(atoms, name))
    return found


def settings(**changes: object) -> Settings:
    given = {"data": {"train": "made.xyz"}, "terms": TERMS}
    if changes.pop("far", False):  # argon is wide
        given["terms"] = [{**TERMS[0], "cutoff": 7.0}, {**TERMS[1], "cutoff": 6.0}]
    return Settings.from_dict({**given, **changes})


@pytest.fixture(scope="module", params=["Cu", "Ar"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Model:
    return fit_frames(settings(far=name == "Ar"), frames_of(name))


@pytest.fixture(scope="module")
def potential(name: str, model: Model) -> Potential:
    return map_model(model, frames_of(name), 1e-4).potential


def bound(potential: Potential, atoms: Atoms) -> float:
    """Energy per atom relative to isolated atoms, eV."""
    atoms.calc = ForcemapCalculator(potential)
    free = sum(potential.e0[symbol] for symbol in atoms.get_chemical_symbols())
    return float(atoms.get_potential_energy() - free) / len(atoms)


def scaled(name: str, scale: float) -> Atoms:
    atoms = crystal_of(name)
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    return atoms


def test_crystal_without_isolated_atoms_is_bound_by_its_cohesive_energy(
    name: str, potential: Potential
) -> None:
    """The prior is weak: a fifth off is within what labels of warm crystals may pull."""
    expected = {"Cu": 3.49, "Ar": 0.080}[name]
    assert -bound(potential, scaled(name, 1.0)) == pytest.approx(expected, rel=0.2)


def test_expanded_crystals_lie_above_the_ground_state(name: str, potential: Potential) -> None:
    ground = bound(potential, scaled(name, 1.0))
    cohesion = -ground
    for scale in (1.25, 1.5, 1.8, 2.5):
        assert bound(potential, scaled(name, scale)) > ground + 0.05 * cohesion


def test_energy_rises_all_the_way_to_compressed_crystals(name: str, potential: Potential) -> None:
    energies = [bound(potential, scaled(name, s)) for s in np.arange(0.96, 0.695, -0.02)]
    assert (np.diff(energies) > 0).all()


def test_energy_rises_all_the_way_to_free_atoms(name: str, potential: Potential) -> None:
    """Also where shells of neighbours leave the cutoffs, and ends there."""
    scales = np.arange(1.06, 3.0, 0.02)
    energies = np.array([bound(potential, scaled(name, s)) for s in scales])
    assert np.diff(energies).min() > -1e-4 * abs(energies[0])
    assert energies[-1] == pytest.approx(0.0, abs=1e-9)


def test_dimers_repel_below_the_data_and_have_no_well_there(
    name: str, model: Model, potential: Potential
) -> None:
    (pair,) = model.repulsion.values()
    r = np.arange(0.3, potential.cutoff, 0.03)
    energies = np.array([bound(potential, Atoms(name * 2, [[0, 0, 0], [x, 0, 0]])) for x in r])
    inside = energies[r < pair.shortest]
    assert (np.diff(inside) < 0).all()
    assert inside.min() > energies[r >= pair.shortest].min() - 1e-6


def test_average_leaves_cohesion_to_chance(name: str) -> None:
    """What the default is for: without it the same frames say nothing of free atoms."""
    found = fit_frames(settings(e0="average", far=name == "Ar"), frames_of(name))
    chosen = fit_frames(settings(far=name == "Ar"), frames_of(name))
    expected = {"Cu": 3.49, "Ar": 0.080}[name]
    (ground,) = {min(f.energy / len(f.numbers) for f in frames_of(name) if f.energy is not None)}
    (z,) = found.species

    def error(model: Model) -> float:
        return abs(model.atom_energies()[z] - ground - expected)

    assert error(found) > 3.0 * error(chosen)


# ---- imagined frames -----------------------------------------------------------------------------


def nothing(frame: Frame) -> float:
    return 0.0


def imagined_of(frames: Sequence[Frame], e0: dict[int, float]) -> list[Frame]:
    return imagined_frames(frames, e0, {}, nothing, 6.0)


def test_universal_curve_has_its_well_at_the_crystal_and_ends_at_free_atoms() -> None:
    scales = np.arange(0.7, 4.0, 0.01)
    energies = np.array([universal_energy(s) for s in scales])
    assert scales[energies.argmin()] == pytest.approx(1.0, abs=0.005)
    assert energies.min() == pytest.approx(-1.0, abs=1e-4)
    assert abs(energies[-1]) < 1e-3
    below = scales < 0.995
    assert (np.diff(energies[below]) < 0).all()


def test_curve_that_ends_early_is_drawn_out_to_free_atoms() -> None:
    scales = np.arange(1.0, 2.2, 0.01)
    energies = np.array([universal_energy(s, 2.0) for s in scales])
    assert energies[0] == pytest.approx(-1.0)
    assert (np.diff(energies[scales < 2.0]) > 0).all()
    assert universal_energy(2.0 - 1e-6, 2.0) == pytest.approx(0.0, abs=1e-6)
    assert (energies[scales >= 2.0] == 0.0).all()
    assert universal_energy(0.8, 2.0) == universal_energy(0.8)


def test_imagined_crystals_end_at_free_atoms_where_neighbours_leave_the_cutoff() -> None:
    """6 Å in `imagined_of`; the nearest neighbours of copper are 3.61 Å over the root of 2 apart."""
    e0 = {29: OFFSET + 3.5}
    found = imagined_of(frames_of("Cu"), e0)
    widest = max(found, key=lambda f: np.linalg.det(f.cell) / len(f.numbers))
    n = len(widest.numbers)
    assert (np.linalg.det(widest.cell) / n * 4) ** (1 / 3) / np.sqrt(2) > 6.0
    assert widest.energy == pytest.approx(free_energy(widest, e0))


def test_steps_lead_up_both_sides_of_the_curve() -> None:
    found = imagined_of(frames_of("Cu"), {29: OFFSET + 3.5})
    volumes = [float(np.linalg.det(f.cell) / len(f.numbers)) for f in found]
    ground = 3.61**3 / 4
    steps = steps_of(found)
    assert len(steps) == len(found) - 2
    for lower, higher in steps:
        assert found[lower].energy < found[higher].energy  # type: ignore[operator]
        assert abs(lower - higher) == 1
        assert (volumes[lower] > ground) == (volumes[higher] > ground)


def test_imagined_crystals_are_scaled_ground_states_on_the_curve() -> None:
    frames = frames_of("Cu")
    e0 = {29: OFFSET + 3.5}
    found = imagined_of(frames, e0)
    assert found
    lowest = min(f.energy / len(f.numbers) for f in frames if f.energy is not None)
    for frame in found:
        n = len(frame.numbers)
        scale = (np.linalg.det(frame.cell) / n * 4 / 3.61**3) ** (1 / 3)
        assert frame.energy is not None
        per_atom = (frame.energy - free_energy(frame, e0)) / n
        # One of the strongest bound frames stands for the ground state, and its cell for 1.
        assert per_atom == pytest.approx((e0[29] - lowest) * universal_energy(scale), abs=1.0)
        assert frame.forces is None
        assert frame.stress is None


def test_nothing_is_imagined_where_the_data_are() -> None:
    """Cells of the data that are as wide, and no more bound than the curve says, suffice."""
    frames = frames_of("Cu")
    e0 = {29: OFFSET + 3.5}
    wide = labelled(scaled("Cu", 1.5), "Cu")
    known = [*frames, replace(wide, energy=free_energy(wide, e0) - 0.1)]

    def widths(found: Sequence[Frame]) -> list[float]:
        return [float(np.linalg.det(f.cell) / len(f.numbers)) for f in found]

    before, after = widths(imagined_of(frames, e0)), widths(imagined_of(known, e0))
    assert set(after) < set(before)
    assert any(v > 1.3 * 3.61**3 / 4 for v in before)
    assert not [v for v in after if 1.2**3 * 3.61**3 / 4 < v < 1.5**3 * 3.61**3 / 4]


def test_nothing_is_imagined_for_energies_of_another_calculation() -> None:
    assert imagined_of(frames_of("Cu"), {29: 1000.0}) == []
    assert imagined_of(frames_of("Cu"), {29: -1000.0}) == []


@pytest.mark.parametrize("free", [{"outside": "free"}, {"core": "none"}, {"e0": "average"}])
def test_imagination_can_be_declined(free: dict[str, str]) -> None:
    found = fit_frames(settings(**free), frames_of("Cu"))
    assert found.data["imagined_sigmas"] == []


def test_imagined_frames_count_as_no_rows_of_the_data() -> None:
    frames = frames_of("Cu")
    found = fit_frames(settings(), frames)
    assert found.data["imagined_sigmas"]
    assert found.data["n_rows"] == sum(1 + 3 * len(f.numbers) for f in frames)
    assert found.data["n_frames"] == len(frames)


def test_mapped_forces_are_those_of_the_process_and_slopes_of_the_energy(
    name: str, model: Model, potential: Potential
) -> None:
    """In a compressed cell, where the imagined labels and the core join."""
    from forcemap.fitter.process.truth import Truth

    atoms = scaled(name, 0.8)
    atoms.rattle(0.05, seed=2)
    truth = Truth(model).prediction(as_frame(atoms))
    atoms.calc = ForcemapCalculator(potential)
    np.testing.assert_allclose(atoms.get_forces(), truth.forces, rtol=0, atol=2e-2)
    step = 1e-4  # error of the difference: its square times the third derivative
    moved = [atoms.copy(), atoms.copy()]
    for one, sign in zip(moved, (1, -1), strict=True):
        one.positions[0, 0] += sign * step
        one.calc = ForcemapCalculator(potential)
    slope = (moved[0].get_potential_energy() - moved[1].get_potential_energy()) / (2 * step)
    assert atoms.get_forces()[0, 0] == pytest.approx(-slope, abs=1e-4)


def test_new_points_keep_what_was_imagined(tmp_path: Path) -> None:
    """Frames whose environments need points are added; expanded crystals stay bound less."""
    frames = frames_of("Cu")
    given = settings(terms=[TERMS[0], {k: v for k, v in TERMS[1].items() if k != "n_sparse"}])
    first = fit_frames(given, frames)
    write_model(first, tmp_path / "model.forcemap")
    new = scaled("Cu", 1.12)
    new.rattle(0.1, seed=3)
    found = grown(read_model(tmp_path / "model.forcemap"), [labelled(new, "Cu")], lambda: frames)
    assert found.terms[1].size > first.terms[1].size
    assert found.data["rises"] == first.data["rises"] != []
    assert found.data["n_rows"] == first.data["n_rows"] + 1 + 3 * len(new)
    baseline = Baseline(found.species, found.repulsion)
    wide = as_frame(scaled("Cu", 1.5))
    ground = as_frame(scaled("Cu", 1.0))
    energies = [(found.predict(f)[0] + baseline.energy(f)) / len(f.numbers) for f in (ground, wide)]
    assert energies[1] > energies[0] + 1.0
