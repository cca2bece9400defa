"""The map: splines, its measured error, forces as derivatives, short distances."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.interpolate
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.curves import mapped_curves
from forcemap.fitter.mapping.map import Mapped, map_model
from forcemap.fitter.mapping.probes import random_cluster
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import write_model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.remapping.job import Wishes, map_file
from forcemap.fitter.terms.distances import DistanceTerm
from forcemap.fitter.terms.splines import spline_coefficients
from forcemap.potentials import load
from forcemap.potentials.runs.progress import Progress
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines
from numpy.typing import NDArray
from structures import SILICON

Array = NDArray[np.float64]

TOLERANCE = 2e-3  # eV/Å: coarse tables keep these tests quick


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return fitted_frames()


def settings() -> Settings:
    return Settings.from_dict(
        {
            "data": {"train": [{"path": "train.xyz", "index": "::12"}, "isolated.xyz"]},
            "e0": "isolated",
            "terms": [
                {"kind": "two_body", "cutoff": 5.0, "n_sparse": 12},
                {"kind": "three_body", "cutoff": 3.6, "n_sparse": 20},
            ],
        },
        SILICON,
    )


def fitted_frames() -> list[Frame]:
    given = settings()
    return read_frames(given.data.train, given.data.keys, given.sigma)


@pytest.fixture(scope="module")
def model(frames: list[Frame]) -> Model:
    return fit_frames(settings(), frames)


@pytest.fixture(scope="module")
def mapped(model: Model, frames: list[Frame]) -> Mapped:
    return map_model(model, frames, TOLERANCE)


def with_exact_kernels(model: Model) -> Model:
    """The model with kernels that are not projected on a grid."""
    return replace(
        model,
        terms=tuple(
            replace(term, grid=None) if isinstance(term, DistanceTerm) else term
            for term in model.terms
        ),
    )


# ----- splines -----


def values_of(coefficients: Array, length: float, r: Array) -> Array:
    """The spline that the file's format defines (see forcemap.potentials.file.potential_file)."""
    intervals = len(coefficients) - 3
    h = length / intervals
    knots = (np.arange(intervals + 7) - 3.0) * h
    return np.asarray(scipy.interpolate.BSpline(knots, coefficients, 3)(r))


def test_spline_interpolates_with_flat_ends() -> None:
    length, intervals = 5.0, 40
    knots = np.linspace(0, length, intervals + 1)
    values = np.cos(np.pi * knots / length) ** 3
    coefficients = spline_coefficients(values)
    assert coefficients.shape == (intervals + 3,)
    np.testing.assert_allclose(values_of(coefficients, length, knots), values, rtol=0, atol=1e-14)
    clamped = scipy.interpolate.CubicSpline(knots, values, bc_type="clamped")
    r = np.linspace(0, length, 997)
    np.testing.assert_allclose(values_of(coefficients, length, r), clamped(r), rtol=0, atol=1e-13)


def test_fading_spline_ends_with_two_derivatives_zero() -> None:
    length = 5.0
    worst = []
    for intervals in (40, 80):
        knots = np.linspace(0, length, intervals + 1)
        values = np.cos(knots) * (1.0 - knots / length) ** 3
        coefficients = spline_coefficients(values, fading=1)
        assert coefficients.shape == (intervals + 3,)
        assert (coefficients[-3:] == 0.0).all()
        found = values_of(coefficients, length, knots)
        np.testing.assert_allclose(found[:-2], values[:-2], rtol=0, atol=1e-14)
        r = np.linspace(0.5 * length, length, 997)
        exact = np.cos(r) * (1.0 - r / length) ** 3
        worst.append(np.abs(values_of(coefficients, length, r) - exact).max())
    assert np.log2(worst[0] / worst[1]) == pytest.approx(4.0, abs=0.2)


def test_nothing_jumps_at_the_cutoffs(mapped: Mapped) -> None:
    """A second derivative that jumps there adds to the random walk of the energy in dynamics."""
    kinds = set()
    for term in mapped.data.terms:
        if isinstance(term, TwoBodySplines):
            ends = [table[-3:] for table in term.tables.values()]
        elif isinstance(term, ThreeBodySplines):
            ends = [end for t in term.tables.values() for end in (t[-3:], t[:, -3:])]
        else:
            continue
        kinds.add(type(term))
        assert all((end == 0.0).all() for end in ends)
    assert len(kinds) == 2


def test_spline_error_falls_with_the_fourth_power() -> None:
    r = np.linspace(0, 5, 997)
    worst = []
    for intervals in (40, 80):
        knots = np.linspace(0, 5, intervals + 1)
        coefficients = spline_coefficients(np.cos(np.pi * knots / 2.5))
        worst.append(np.abs(values_of(coefficients, 5.0, r) - np.cos(np.pi * r / 2.5)).max())
    assert np.log2(worst[0] / worst[1]) == pytest.approx(4.0, abs=0.2)


def test_spline_of_three_distances_is_the_product() -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=n) for n in (7, 9, 12)]
    table = spline_coefficients(np.einsum("a,b,c->abc", *parts))
    expected = np.einsum("a,b,c->abc", *(spline_coefficients(p) for p in parts))
    np.testing.assert_allclose(table, expected, rtol=0, atol=1e-13)


# ----- the map's error -----


def test_map_keeps_the_tolerance(model: Model, frames: list[Frame], mapped: Mapped) -> None:
    """Measured here once more, on the training frames and on clusters nobody has chosen by."""
    truth, evaluator = Truth(model), mapped.potential.evaluator()
    worst, worst_energy = 0.0, 0.0
    for frame in frames:
        energy, forces, _ = truth.prediction(frame)
        found_energy, found_forces, _ = evaluated(evaluator, frame)
        worst = max(worst, float(np.abs(found_forces - forces).max()))
        worst_energy = max(worst_energy, abs(found_energy - energy) / len(frame.numbers))
    errors = mapped.errors
    assert worst <= TOLERANCE
    assert errors["force_max_error_ev_per_a"] == pytest.approx(worst, rel=1e-6, abs=1e-12)
    assert errors["energy_max_error_ev_per_atom"] == pytest.approx(worst_energy, rel=1e-3, abs=1e-9)
    assert 0.0 < errors["force_rmse_error_ev_per_a"] < errors["force_max_error_ev_per_a"]
    assert 0.0 < errors["random_clusters_force_max_error_ev_per_a"] <= TOLERANCE
    rng = np.random.default_rng(77)
    for _ in range(4):
        cluster = random_cluster(model, rng)
        difference = evaluated(evaluator, cluster).forces - truth.prediction(cluster).forces
        assert np.abs(difference).max() < 1.5 * TOLERANCE


def test_smaller_tolerance_gives_a_smaller_error(model: Model, frames: list[Frame]) -> None:
    """With exact kernels, whose map has a resolution to choose."""
    exact = with_exact_kernels(model)
    coarse = map_model(exact, frames, TOLERANCE, jobs=2)
    finer = map_model(exact, frames, TOLERANCE / 10, jobs=2)
    assert coarse.errors["force_max_error_ev_per_a"] <= TOLERANCE
    assert finer.errors["force_max_error_ev_per_a"] <= TOLERANCE / 10
    legs = [m.errors["tables"][1]["leg_intervals"] for m in (coarse, finer)]
    assert legs[1] > legs[0]


def test_forces_of_the_map_are_minus_gradient_of_its_energy(
    frames: list[Frame], mapped: Mapped
) -> None:
    """Central differences: h² E'''/6 with h = 1e-4 Å, E''' below 1e4 eV/Å³."""
    evaluator = mapped.potential.evaluator()
    frame = min((f for f in frames if len(f.numbers) > 2), key=lambda f: len(f.numbers))
    forces = evaluated(evaluator, frame).forces
    h = 1e-4
    for atom in range(0, len(frame.numbers), 3):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                positions = frame.positions.copy()
                positions[atom, axis] += sign * h
                energies.append(
                    evaluator.compute(positions, frame.numbers, frame.cell, frame.pbc).energy
                )
            slope = (energies[0] - energies[1]) / (2 * h)
            assert -slope == pytest.approx(forces[atom, axis], abs=2e-5), (atom, axis)


def test_e0_of_the_map_is_that_of_the_fit(model: Model, mapped: Mapped) -> None:
    lone = mapped.potential.evaluator().compute([[0, 0, 0]], [14], np.eye(3), False)
    assert lone.energy == model.atom_energies()[14]


# ----- short distances -----


def test_dimer_is_repulsive_below_the_data(model: Model, mapped: Mapped) -> None:
    """From the shortest distance of the data to contact the energy only rises."""
    evaluator = mapped.potential.evaluator()
    core = model.repulsion[14, 14]
    r = np.concatenate([np.linspace(0.98 * core.shortest, 0.01, 2000), np.geomspace(0.0099, 1e-6)])
    energies, forces = [], []
    for distance in [*r, 1e-160]:
        found = evaluator.compute([[0, 0, 0], [0, 0, distance]], [14, 14], np.eye(3), False)
        energies.append(found.energy)
        forces.append(found.forces[1, 2])
    assert np.isfinite(energies).all()
    assert np.isfinite(forces).all()
    assert np.all(np.diff(energies) >= 0.0)
    assert np.all(np.array(forces) > 0.0)


def test_crowded_atoms_are_pushed_apart(model: Model, mapped: Mapped) -> None:
    """Compressed far beyond the data, crystals have a rising energy and a positive pressure."""
    evaluator = mapped.potential.evaluator()
    frame = next(f for f in fitted_frames() if len(f.numbers) == 8)
    energies, pressures = [], []
    for scale in np.linspace(0.75, 0.35, 15):
        found = evaluator.compute(
            scale * frame.positions, frame.numbers, scale * frame.cell, frame.pbc
        )
        energies.append(found.energy)
        pressures.append(np.trace(found.virial))
    assert np.all(np.diff(energies) > 0.0)
    assert np.all(np.array(pressures) > 0.0)


# ----- files and curves -----


def test_written_map_is_what_was_measured(
    frames: list[Frame], mapped: Mapped, tmp_path: Path
) -> None:
    mapped.write(tmp_path / "potential.forcemap")
    again = load(tmp_path / "potential.forcemap")
    for frame in frames:
        one = evaluated(again.evaluator(), frame)
        other = evaluated(mapped.potential.evaluator(), frame)
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
    assert again.metadata["mapping"]["tolerance_ev_per_a"] == TOLERANCE
    assert again.metadata["provenance"]["data"]["n_frames"] == len(frames)


def test_a_model_file_is_mapped_anew(
    model: Model, frames: list[Frame], mapped: Mapped, tmp_path: Path
) -> None:
    """Without the frames, by random clusters; the training frames are met as well."""
    write_model(model, tmp_path / "model.forcemap")
    paths = tmp_path / "model.forcemap", tmp_path / "again.forcemap"
    errors = map_file(*paths, Wishes(TOLERANCE), Progress.silent())
    assert errors["force_max_error_ev_per_a"] <= TOLERANCE
    evaluator, truth = load(tmp_path / "again.forcemap").evaluator(), Truth(model)
    for frame in frames:
        difference = evaluated(evaluator, frame).forces - truth.prediction(frame).forces
        assert np.abs(difference).max() < 2 * TOLERANCE


def test_curves_are_pair_energies(mapped: Mapped) -> None:
    curves = mapped_curves(mapped.potential)
    assert list(curves) == ["Si-Si"]
    r, energy = curves["Si-Si"]
    assert r[0] < 0.5
    assert energy[0] > 100.0
    assert energy[-1] == pytest.approx(0.0, abs=1e-12)


def test_tables_beyond_memory_are_not_made(
    model: Model, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exact kernels, which take a fine grid; projected ones are on theirs already."""
    exact = with_exact_kernels(model)
    monkeypatch.setattr("forcemap.fitter.mapping.map.MOST_BYTES", 1 << 20)
    with pytest.warns(UserWarning, match="is not reached"):
        found = map_model(exact, frames[:2], 1e-9)
    assert found.errors["force_max_error_ev_per_a"] > 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        map_model(exact, frames[:2], 0.05)


def test_map_of_a_projected_process_is_exact(model: Model, frames: list[Frame]) -> None:
    """Rounding is what is left: weights of up to 1e8 times 1e-16, times some hundred triplets."""
    terms = [term for term in model.terms if isinstance(term, DistanceTerm)]
    assert [term.kind for term in terms] == ["two_body", "three_body"]
    assert all(term.grid for term in terms)
    found = map_model(model, frames[:4], 1e-12)
    assert found.errors["force_max_error_ev_per_a"] < 1e-5


def test_map_of_embedding_terms(frames: list[Frame]) -> None:
    """Exact; and near the core and far beyond the data's densities atoms repel each other."""
    given = {
        "data": {"train": [{"path": "train.xyz", "index": "::12"}, "isolated.xyz"]},
        "terms": [
            {"kind": "two_body", "cutoff": 5.0},
            {"kind": "embedding", "cutoff": 5.0},
            {"kind": "embedding", "cutoff": 4.0, "density": "exponential", "kernel": "matern52"},
        ],
    }
    model = fit_frames(Settings.from_dict(given, SILICON), frames)
    mapped = map_model(model, frames, 1e-4)
    assert mapped.errors["force_max_error_ev_per_a"] < 1e-6
    assert mapped.errors["random_clusters_force_max_error_ev_per_a"] < 1e-6
    assert [table["kind"] for table in mapped.errors["tables"]] == [
        "two_body",
        "embedding",
        "embedding",
    ]
    test_dimer_is_repulsive_below_the_data(model, mapped)
    test_crowded_atoms_are_pushed_apart(model, mapped)
    alone = mapped.potential.evaluator().compute([[0, 0, 0]], [14], np.eye(3), False)
    assert alone.energy == mapped.potential.e0["Si"]
