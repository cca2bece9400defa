"""The energy has two continuous derivatives across every end of its functions.

Phonons, finite differences and integrators of dynamics see a second derivative that jumps where a
neighbour crosses a cutoff; in solids some shell does so at all times.

The jump is extrapolated from both sides: with the second derivatives s(x) at x0 +- d and x0 +- d / 2,
g(d) = s(x0 + d) - s(x0 - d) = jump + a d + O(d^2), so that 2 g(d / 2) - g(d) = jump + O(d^2). No
difference reaches across the end. All functions are splines or as smooth between their ends; on knots
0.08 Å apart their fourth derivatives are below some 1e4 / Å^2 times the second ones, and d = 2e-4 Å
leaves less than 4e-4 of these; rounding, 1e-14 of the forces over d, is far below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import Mapped, map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.embedding import TOP, Density, EmbeddingTerm
from forcemap.fitter.terms.rows import frame_rows
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from numpy.typing import NDArray
from scipy.optimize import brentq
from structures import as_frame

Array = NDArray[np.float64]
Forces = Callable[[Atoms], Array]

STEP = 2e-4
"""Å; d of the module."""

TOLERANCE = 4e-4
"""Of the largest second derivative within 0.1 Å; see the module."""

TERMS: list[dict[str, Any]] = [
    {"kind": "two_body", "cutoff": 4.6, "cutoff_width": 1.5, "n_sparse": 12},
    {"kind": "three_body", "cutoff": 3.3, "cutoff_width": 1.2, "n_sparse": 12},
    {"kind": "soap", "cutoff": 2.7, "cutoff_width": 1.1, "n_sparse": 15, "n_max": 5, "l_max": 3},
    {"kind": "soap", "cutoff": 4.3, "cutoff_width": 4.3, "n_sparse": 15, "n_max": 4, "l_max": 2},
    {"kind": "embedding", "cutoff": 4.0, "exponent": 2.0, "n_sparse": 8},
    {"kind": "embedding", "cutoff": 4.2, "cutoff_width": 0.6, "density": "exponential"},
]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    rng = np.random.default_rng(3)
    found = []
    for strain in np.linspace(-0.05, 0.05, 6):
        atoms = bulk("Cu", "fcc", a=3.6 * (1.0 + strain), cubic=True)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        found.append(as_frame(atoms, sigma=FrameSigma(0.002, 0.05, 0.005), **labels))
    return found


@pytest.fixture(scope="module")
def model(frames: list[Frame]) -> Model:
    given = {"data": {"train": "unused.xyz"}, "terms": TERMS, "seed": 1}
    return fit_frames(Settings.from_dict(given), frames)


@pytest.fixture(scope="module")
def mapped(model: Model, frames: list[Frame]) -> Mapped:
    return map_model(model, frames, 1e-3)


def forces_of(mapped: Mapped) -> Forces:
    """Of the first atom by the mapped potential, (3, 1) eV/Å."""
    evaluator = mapped.potential.evaluator(skin=0.0)

    def forces(atoms: Atoms) -> Array:
        frame = as_frame(atoms)
        result = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
        return np.asarray(result.forces[0])[:, None]

    return forces


def jump(forces: Forces, atoms: Atoms, direction: Array) -> tuple[Array, Array]:
    """Jump of the second derivative by the first atom's displacement, and its size near by."""

    def second(x: float) -> Array:
        ends = []
        for step in (0.5 * STEP, -0.5 * STEP):
            moved = atoms.copy()
            moved.positions[0] += (x + 0.5 * step) * direction
            ends.append(direction @ forces(moved))
        return -(ends[0] - ends[1]) / (0.5 * STEP)

    def gap(d: float) -> Array:
        return second(d) - second(-d)

    near = np.abs([second(x) for x in np.linspace(-0.1, 0.1, 9)])
    return 2.0 * gap(0.5 * STEP) - gap(STEP), np.max(near, axis=0)


def cluster(distance: float) -> tuple[Atoms, Array]:
    """Four atoms, the first two so far apart, and the direction in which that distance grows."""
    direction = np.array([0.6, -0.48, 0.64])
    positions = np.array([distance * direction, [0, 0, 0], [-1.9, 1.1, 0.6], [0.3, 1.2, -2.1]])
    return Atoms("Cu4", positions), direction


def check(forces: Forces, atoms: Atoms, direction: Array, rounding: float = 1e-6) -> None:
    """No column jumps; those below `rounding` of the largest are compared with that."""
    found, size = jump(forces, atoms, direction)
    assert np.max(size) > 0.0
    room = np.maximum(size, rounding * np.max(size))
    assert np.max(np.abs(found) / room) < TOLERANCE


def ends_of(model: Model) -> dict[str, float]:
    """All distances at which a function of them has an end."""
    (pair,) = model.repulsion.values()
    ends = {
        "ZBL inner": pair.inner,
        "ZBL outer": pair.outer,
        "fading": pair.fading,
        "faded": pair.faded,
    }
    for number, given in enumerate(TERMS):
        name = f"{number} {given['kind']}"
        ends[f"{name} cutoff"] = given["cutoff"]
        if 0.0 < given.get("cutoff_width", 0.0) < given["cutoff"]:
            ends[f"{name} transition"] = given["cutoff"] - given["cutoff_width"]
    return ends


def test_process_has_two_derivatives_at_every_distance(model: Model) -> None:
    """Of every column of its rows: whatever the data are, so has the mean."""

    def forces(atoms: Atoms) -> Array:
        return frame_rows(as_frame(atoms), model.terms)[1:4]

    for distance in ends_of(model).values():
        check(forces, *cluster(distance))


def test_mapped_potential_has_two_derivatives_at_every_distance(
    model: Model, mapped: Mapped
) -> None:
    for distance in ends_of(model).values():
        check(forces_of(mapped), *cluster(distance))


@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("at", ["lowest", "largest", "top"])
def test_two_derivatives_where_the_density_passes_an_end(
    model: Model, mapped: Mapped, number: int, at: str
) -> None:
    """Of the data, and of the embedding function's spline, which a straight line continues."""
    term = model.terms[number]
    assert isinstance(term, EmbeddingTerm)
    (block,) = term.blocks
    wanted = {"lowest": float(block.points.min()), "largest": 1.0, "top": TOP}[at]
    # An atom and its twelve neighbours, one of which, the first, moves.
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True) * (3, 3, 3)
    centre = crystal.positions[np.argmin(np.linalg.norm(crystal.positions - 5.0, axis=1))]
    places = crystal.positions - centre
    places = places[np.linalg.norm(places, axis=1) < 2.6]
    places = places[np.argsort(-np.linalg.norm(places, axis=1))]  # the centre last

    def scaled(factor: float) -> Atoms:
        return Atoms(f"Cu{len(places)}", factor * places)

    def missing(factor: float) -> float:
        structure = Structure(as_frame(scaled(factor)), term.cutoff)
        densities, _ = term.splines[29]
        return float(term.densities_at(structure, 29, densities)[-1]) - wanted

    atoms = scaled(float(brentq(missing, 0.6, 1.5, xtol=1e-15)))
    direction = atoms.positions[0] / np.linalg.norm(atoms.positions[0])

    def rows(some: Atoms) -> Array:
        return frame_rows(as_frame(some), [term])[1:4]

    check(rows, atoms, direction)
    check(forces_of(mapped), atoms, direction)


@pytest.mark.parametrize("scaling", [0.0, 3.0])
@pytest.mark.parametrize("cutoff", [0.2, 2.42, 5.0])
def test_radial_functions_end_with_two_derivatives_zero(cutoff: float, scaling: float) -> None:
    """The last three coefficients are all that the last knot sees."""
    basis = RadialBasis(cutoff, 0.5 * cutoff, 4, 3, 0.085 * cutoff, 2.0, scaling)
    radial, _ = tabulate(basis)
    assert (radial[-3:] == 0.0).all()
    assert (np.abs(radial[:-3]).max(axis=0) > 0.0).all()


@pytest.mark.parametrize("kind", ["polynomial", "exponential"])
def test_densities_of_earlier_files_stay(kind: str) -> None:
    """A file says whether its densities end with two derivatives; those of before did not."""
    earlier = Density(kind, 2.0, 2.0, 4.0, 0.3, smooth_end=False)
    knots = np.linspace(0.0, 4.0, 61)
    found = earlier.coefficients(None, 60)
    # All knots are interpolated: (c[m] + 4 c[m + 1] + c[m + 2]) / 6.
    at_knots = (found[:-2] + 4.0 * found[1:-1] + found[2:]) / 6.0
    np.testing.assert_allclose(at_knots, earlier.shape(knots), rtol=0, atol=1e-14)
    later = Density(kind, 2.0, 2.0, 4.0, 0.3).coefficients(None, 60)
    assert (later[-3:] == 0.0).all()
    assert np.abs(found[-3:]).max() > 0.0
