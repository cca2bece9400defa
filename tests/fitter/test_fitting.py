"""A small fit of the example: test errors, jobs, labels, sigmas, e0, evidence."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from inspect import isfunction
from typing import Any

import forcemap.fitter as package
import numpy as np
import pytest
import structures
from forcemap.fitter import fit
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.accumulate import accumulate
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.solver import solve_by_qr
from forcemap.fitter.terms.embedding import Density
from forcemap.fitter.terms.rows import columns, frame_rows
from forcemap.fitter.terms.splines import open_spline_coefficients, spline_coefficients
from forcemap.fitter.terms.two_body import TwoBodyTerm
from forcemap.potentials import ForcemapError, Potential
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import EmbeddingCenter, EmbeddingFunctions, TwoBodySplines
from numpy.typing import NDArray
from potentials_factory import random_potential
from structures import SILICON

Array = NDArray[np.float64]


TERMS: list[dict[str, Any]] = [
    {"kind": "two_body", "cutoff": 5.0, "n_sparse": 12},
    {"kind": "three_body", "cutoff": 3.6, "n_sparse": 25},
]


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "data": {"train": [{"path": "train.xyz", "index": "::8"}, "isolated.xyz"]},
        "e0": "isolated",
        "terms": TERMS,
        "outside": "free",  # what is imagined beyond the data has tests of its own
    }
    return Settings.from_dict({**given, **changes}, SILICON)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Some of the example's training frames, and the isolated atom."""
    given = settings()
    return read_frames(given.data.train, given.data.keys, given.sigma)


@pytest.fixture(scope="module")
def unseen() -> list[Frame]:
    return read_frames([Source(SILICON / "test.xyz")])


@pytest.fixture(scope="module")
def model(frames: list[Frame]) -> Model:
    return fit_frames(settings(), frames)


def _flat(found: Prediction) -> Array:
    return np.append(found.energy, found.forces)


def predictions(model: Model, frames: Sequence[Frame]) -> Array:
    return np.concatenate([_flat(Truth(model).prediction(frame)) for frame in frames])


def errors(model: Model, frames: Sequence[Frame]) -> tuple[float, float]:
    """RMSE of energies (eV per atom) and of force components (eV/Å)."""
    truth = Truth(model)
    energy, force = [], []
    for frame in frames:
        found = truth.prediction(frame)
        if frame.energy is not None:
            energy.append((found.energy - frame.energy) / len(frame.numbers))
        if frame.forces is not None:
            force.append((found.forces - frame.forces).ravel())
    return float(np.sqrt(np.mean(np.square(energy)))), float(
        np.sqrt(np.mean(np.square(np.concatenate(force))))
    )


# ----- the fit -----


def test_no_module_hides_what_the_package_gives() -> None:
    """An imported submodule becomes an attribute of its package, before ``__getattr__`` is asked."""
    assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(
        package.__all__
    )
    assert isfunction(package.fit)
    assert isfunction(package.fit)  # and still so when its module has been imported


def test_small_fit_of_the_example_predicts_frames_it_has_not_seen(
    model: Model, unseen: list[Frame]
) -> None:
    """Eleven frames and 37 sparse points: forces to a third of their size, energies to 80 meV."""
    energy, force = errors(model, unseen)
    size = np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in unseen]) ** 2))  # type: ignore[union-attr]
    assert energy < 0.08
    assert force < 0.33 * size, (force, size)


def test_fit_takes_settings_files_and_dictionaries(model: Model, frames: list[Frame]) -> None:
    found = fit(settings())
    np.testing.assert_array_equal(predictions(found, frames), predictions(model, frames))


def test_result_does_not_depend_on_jobs(model: Model, frames: list[Frame]) -> None:
    """Blocks are added in order; only BLAS' own threads may round otherwise."""
    found = fit_frames(settings(), frames, jobs=2)
    np.testing.assert_allclose(
        predictions(found, frames), predictions(model, frames), rtol=0, atol=1e-8
    )
    assert found.log_marginal_likelihood == pytest.approx(model.log_marginal_likelihood, rel=1e-9)


def scaled_rows(model: Model, frames: Sequence[Frame]) -> tuple[Array, Array, Array]:
    """Rows and targets scaled by 1/sigma, and the sigmas, all frames at once."""
    baseline = Baseline(model.species, model.repulsion)
    rows, values, sigmas = [], [], []
    found = {label: sigma / model.noise_factor for label, sigma in model.data["sigma"].items()}
    for frame in frames:
        known = replace(frame, sigma=FrameSigma(**found))
        t = Targets.of(known, model.e0, baseline.of(frame))
        if len(t.rows):
            rows.append(frame_rows(frame, model.terms)[t.rows])
            values.append(t.values)
            sigmas.append(t.sigmas)
    sigma = np.concatenate(sigmas)
    return np.concatenate(rows) / sigma[:, None], np.concatenate(values) / sigma, sigma


def prior_covariance(model: Model) -> Array:
    """(m, m) inverse prior of the weights, deltas without the common factor included."""
    result = np.zeros((len(model.weights), len(model.weights)))
    for term, block, where in columns(model.terms):
        delta = term.delta / model.noise_factor
        result[where, where] = term.covariance(block) / delta**2
    return result


def test_streamed_fit_is_that_of_qr(model: Model, frames: list[Frame]) -> None:
    """Predictions of all labels, in units of their sigmas, within 1e-8 of the largest."""
    rows, values, _ = scaled_rows(model, frames)
    expected = rows @ solve_by_qr(rows, values, prior_covariance(model))
    np.testing.assert_allclose(
        rows @ model.weights, expected, rtol=0, atol=1e-8 * np.abs(expected).max()
    )


def test_log_marginal_likelihood_is_that_of_the_dense_gaussian(frames: list[Frame]) -> None:
    """log N(y | 0, sum delta² K_nm K_mm⁻¹ K_mn + sigma²), with the evidence's common factor."""
    few = [f for f in frames if len(f.numbers) <= 8][:2]
    terms = [{**t, "n_sparse": 5, "delta": d} for t, d in zip(TERMS, (0.3, 0.03), strict=True)]
    given = settings(e0={"Si": -0.85}, terms=terms)
    found = fit_frames(given, few)
    rows, values, sigma = scaled_rows(found, few)
    prior = rows @ np.linalg.solve(prior_covariance(found), rows.T)
    total = found.noise_factor**2 * (prior + np.eye(len(values)))
    _, log_determinant = np.linalg.slogdet(total)
    misfit = values @ np.linalg.solve(total, values)
    expected = -0.5 * (misfit + log_determinant + len(values) * np.log(2 * np.pi))
    expected -= np.log(sigma).sum()
    assert found.log_marginal_likelihood == pytest.approx(expected, rel=1e-8)


def opened(given: Settings, frames: Sequence[Frame]) -> Prior:
    """The terms of the settings with their sparse points, without a core."""
    return Prior.of(given, Survey.of(frames, given))


def test_blocks_do_not_depend_on_how_frames_are_streamed(frames: list[Frame]) -> None:
    prior = opened(settings(), frames)
    targets = [Targets.of(f, {14: -0.85}, Prediction.nothing(f)) for f in frames]
    one = accumulate(targets, prior, Run())
    two = accumulate(targets, prior, Run(jobs=2))
    for (a, _), (b, _) in zip(one.sums, two.sums, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())
    assert two.counts.sum() == one.counts.sum() == sum(len(t.rows) for t in targets)


def test_stresses_are_a_group_of_their_own(frames: list[Frame]) -> None:
    """Its sums and those of the other rows are together those of all rows in one group."""
    prior = opened(settings(), frames)
    targets = [Targets.of(f, {14: -0.85}, Prediction.nothing(f)) for f in frames]
    one = accumulate(targets, prior, Run())
    two = accumulate(targets, prior, Run(), groups=2)
    assert two.counts[1] == 6 * sum(f.stress is not None for f in frames)
    whole, parts = one.together(np.ones(1)), two.together(np.ones(2))
    scale = np.abs(whole.gram).max()
    np.testing.assert_allclose(parts.gram, whole.gram, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(parts.vector, whole.vector, rtol=1e-12, atol=1e-9)


def test_stresses_of_a_wrong_zero_lose_their_weight(frames: list[Frame]) -> None:
    """Their sigma is found to be about the error put in; one that is given stays."""
    known = fit_frames(settings(), frames).data["sigma"]
    wrong = [
        f if f.stress is None else replace(f, stress=f.stress + 0.03 * np.diag([1.0, -1.0, 0.5]))
        for f in frames
    ]
    found = fit_frames(settings(), wrong).data["sigma"]
    assert known["stress"] < 0.004
    assert 0.006 < found["stress"] < 0.06
    given = fit_frames(settings(sigma={"stress": 0.01}), wrong)
    assert given.data["sigma"]["stress"] == pytest.approx(0.01 * given.noise_factor)


@pytest.mark.parametrize("kernel", ["squared_exponential", "matern52"])
@pytest.mark.parametrize("symmetry", ["central", "full"])
def test_kernels_and_symmetries_fit(
    kernel: str, symmetry: str, frames: list[Frame], unseen: list[Frame]
) -> None:
    terms = [{**t, "kernel": kernel} for t in TERMS]
    terms[1]["symmetry"] = symmetry
    _, force = errors(fit_frames(settings(terms=terms), frames[::2] + frames[-1:]), unseen)
    assert force < 0.6


@pytest.mark.parametrize("method", ["uniform", "random", "farthest", "cur", "pivoted_cholesky"])
def test_sparse_methods_fit(method: str, frames: list[Frame], unseen: list[Frame]) -> None:
    terms = [{**TERMS[0]}, {**TERMS[1], "sparse_method": method}]
    _, force = errors(fit_frames(settings(terms=terms), frames[::2] + frames[-1:]), unseen)
    assert force < 0.6


# ----- labels and sigmas -----


def test_frames_are_used_for_the_labels_they_have(frames: list[Frame], unseen: list[Frame]) -> None:
    """Without one kind of label there are fewer rows, and a fit that is worse but sane."""
    atoms = sum(len(f.numbers) for f in frames)
    stresses = sum(f.stress is not None for f in frames)
    rows = {}
    for missing in ("energy", "forces", "stress"):
        # The lone atom keeps its energy, which e0 needs.
        none: dict[str, Any] = {missing: None}
        fewer = [replace(f, **none) if len(f.numbers) > 1 else f for f in frames]
        found = fit_frames(settings(), fewer)
        rows[missing] = found.data["n_rows"]
        assert errors(found, unseen)[1] < 1.0, missing
    full = len(frames) + 3 * atoms + 6 * stresses
    assert rows["energy"] == full - (len(frames) - 1)
    assert rows["forces"] == full - 3 * (atoms - 1)
    lone = next(f for f in frames if len(f.numbers) == 1)
    assert rows["stress"] == full - 6 * (stresses - (lone.stress is not None))


def test_targets_are_labels_without_what_is_known(frames: list[Frame]) -> None:
    """Order, signs and sigmas of rows; the energy's sigma grows with the root of the atoms."""
    frame = next(f for f in frames if f.stress is not None)
    n = len(frame.numbers)
    frame = replace(frame, sigma=FrameSigma(0.002, 0.05, 0.005))
    strain = np.arange(1.0, 7.0)
    core_forces = np.random.default_rng(1).normal(size=(n, 3))
    target = Targets.of(frame, {14: -1.0}, Prediction.of(frame, 3.0, core_forces, strain))
    volume = abs(np.linalg.det(frame.cell))
    assert frame.energy is not None
    assert frame.forces is not None
    assert frame.stress is not None
    assert target.values[0] == pytest.approx(frame.energy + n - 3.0)
    np.testing.assert_allclose(target.values[1:-6], (frame.forces - core_forces).ravel())
    voigt = frame.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(target.values[-6:], volume * voigt - strain)
    np.testing.assert_array_equal(target.rows, np.arange(7 + 3 * n))
    assert target.sigmas[0] == pytest.approx(0.002 * np.sqrt(n))
    assert np.all(target.sigmas[1:-6] == 0.05)
    np.testing.assert_allclose(target.sigmas[-6:], volume * 0.005)


def test_sigma_of_a_config_type_changes_the_weights(model: Model) -> None:
    """Frames with a hundred times smaller sigmas are met more closely than before."""
    given = settings(
        sigma={"config_type": {"Vacancy": {"energy": 2e-5, "force": 5e-4, "stress": 5e-5}}}
    )
    frames = read_frames(given.data.train, given.data.keys, given.sigma)
    chosen = [f for f in frames if f.config_type == "Vacancy"]
    assert chosen
    assert {f.sigma.force for f in chosen} == {5e-4}
    found = fit_frames(given, frames)
    before, after = errors(model, chosen), errors(found, chosen)
    assert after[1] < before[1]
    assert np.abs(found.weights - model.weights).max() > 1e-3


def test_given_delta_and_lengthscale_stay(frames: list[Frame]) -> None:
    terms = [
        {**TERMS[0], "delta": 3.0, "lengthscale": 0.9, "cutoff_width": 1.1},
        {**TERMS[1], "delta": 0.2},
    ]
    found = fit_frames(settings(terms=terms), frames)
    assert found.noise_factor == 1.0
    assert [t.delta for t in found.terms] == [3.0, 0.2]
    assert isinstance(found.terms[0], TwoBodyTerm)
    assert found.terms[0].lengthscale == 0.9
    assert found.terms[0].cutoff_width == 1.1


# ----- isolated atoms -----


def test_e0_isolated_is_the_lone_atoms_energy(model: Model, frames: list[Frame]) -> None:
    lone = next(f for f in frames if len(f.numbers) == 1)
    assert model.e0 == {14: lone.energy}
    assert model.atom_energies() == {14: lone.energy}


def test_e0_given_is_taken(frames: list[Frame]) -> None:
    found = fit_frames(settings(e0={"Si": -1.25}), frames)
    assert found.e0 == {14: -1.25}
    assert found.atom_energies() == {14: -1.25}


def test_e0_average_fits_a_constant(frames: list[Frame], unseen: list[Frame]) -> None:
    """The constant absorbs what few-body functions count from: predictions stay as good."""
    bulk = [f for f in frames if len(f.numbers) > 1]
    found = fit_frames(settings(e0="average"), bulk)
    assert [t.kind for t in found.terms] == ["two_body", "three_body", "one_body"]
    assert found.atom_energies()[14] != found.e0[14]
    energy, force = errors(found, unseen)
    assert energy < 0.06
    assert force < 0.5


def test_e0_isolated_needs_a_lone_atom(frames: list[Frame]) -> None:
    bulk = [f for f in frames if len(f.numbers) > 1]
    with pytest.raises(ForcemapError, match="e0: isolated: no training frame"):
        fit_frames(settings(), bulk)


# ----- several species -----


def made_frames(known: Potential, structure: str, count: int, seed: int) -> list[Frame]:
    """Rattled and scaled copies of a structure with the labels of a known potential."""
    evaluator = known.evaluator()
    rng = np.random.default_rng(seed)
    frames = []
    for n in range(count):
        atoms = structures.get(structure)
        atoms.rattle(0.15, rng=rng)
        atoms.set_cell(atoms.cell.array * rng.uniform(0.97, 1.05), scale_atoms=True)
        r = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        frames.append(
            structures.as_frame(
                atoms,
                energy=r.energy,
                forces=r.forces,
                stress=-r.virial / atoms.get_volume(),
                sigma=FrameSigma(1e-3, 1e-2, 1e-3),
                index=n,
            )
        )
    return frames


def test_fit_of_two_species_learns_a_known_potential() -> None:
    """Labels from a potential of pairs and triplets; the fit finds most of their variation."""
    known = as_potential(random_potential(["O", "Si"], 5, two_body_cutoff=4.5, zbl=False))
    frames = made_frames(known, "two species", 34, 2)
    given = settings(
        data={"train": "made.xyz"},
        core="none",
        e0={"O": known.e0["O"], "Si": known.e0["Si"]},
        terms=[
            {"kind": "two_body", "cutoff": 4.5, "n_sparse": 12},
            {"kind": "three_body", "cutoff": 4.0, "n_sparse": 30},
        ],
    )
    found = fit_frames(given, frames[:30])
    blocks = [block.species for _, block, _ in columns(found.terms)]
    assert blocks[:3] == [(8, 8), (8, 14), (14, 14)]
    assert len(blocks) == 3 + 6
    _, force = errors(found, frames[30:])
    size = np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in frames[30:]]) ** 2))  # type: ignore[union-attr]
    assert force < 0.3 * size, (force, size)


def test_embedding_learns_functions_of_the_density() -> None:
    """Labels of the embedded-atom form, -c sqrt(rho) of each species, beside pair energies.

    Pairs alone cannot follow them; with an embedding term of the density that made the labels, the
    forces of frames not seen are found to a hundredth of their size.
    """
    cutoff, exponent = 4.2, 4.0
    density = Density("polynomial", exponent, 1.0, cutoff, cutoff, {8: 0.5}).shape
    knots = np.linspace(0.0, cutoff, 201)
    top = 2.0
    root = np.sqrt(np.linspace(0.0, top, 401) + 0.01)[:, None]
    pair = spline_coefficients(2.0 * (1.0 - knots / cutoff) ** 5)
    known = as_potential(
        PotentialData(
            ("O", "Si"),
            {"O": -1.0, "Si": -2.0},
            (
                TwoBodySplines(
                    cutoff, 200, {k: pair for k in (("O", "O"), ("O", "Si"), ("Si", "Si"))}
                ),
                EmbeddingFunctions(
                    cutoff,
                    200,
                    {
                        (a, b): spline_coefficients(weight * density(knots))
                        for a in ("O", "Si")
                        for b, weight in (("O", 0.5), ("Si", 1.0))
                    },
                    {
                        symbol: EmbeddingCenter(
                            top, open_spline_coefficients(factor * (root - root[0]))[:, 0]
                        )
                        for symbol, factor in (("O", -6.0), ("Si", -9.0))
                    },
                ),
            ),
        )
    )
    frames = made_frames(known, "two species", 28, 4)
    size = np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in frames[24:]]) ** 2))  # type: ignore[union-attr]
    pairs = {"kind": "two_body", "cutoff": cutoff, "n_sparse": 25}
    embedding = {
        "kind": "embedding",
        "cutoff": cutoff,
        "exponent": exponent,
        "weights": {"O": 0.5},
    }
    force = []
    for terms in ([pairs], [pairs, embedding]):
        given = settings(
            data={"train": "made.xyz"}, core="none", e0={"O": -1.0, "Si": -2.0}, terms=terms
        )
        force.append(errors(fit_frames(given, frames[:24]), frames[24:])[1])
    assert force[1] < 0.02 * size, (force, size)
    assert force[1] < 0.2 * force[0], (force, size)


def test_embedding_alone_gives_lone_atoms_their_energy(frames: list[Frame]) -> None:
    found = fit_frames(settings(terms=[{"kind": "embedding", "cutoff": 4.0}]), frames)
    lone = next(f for f in frames if len(f.numbers) == 1)
    energy, forces, _ = Truth(found).prediction(lone)
    assert energy == found.atom_energies()[14] == lone.energy
    assert not forces.any()


def test_weights_of_zero_leave_nothing_to_fit(frames: list[Frame]) -> None:
    terms = [{"kind": "embedding", "weights": {"Si": 0}}]
    with pytest.raises(ForcemapError, match="nothing to fit"):
        fit_frames(settings(terms=terms), frames)


def test_core_none_fits(frames: list[Frame], unseen: list[Frame]) -> None:
    found = fit_frames(settings(core="none"), frames)
    assert found.repulsion == {}
    assert errors(found, unseen)[1] < 0.6


# ----- errors -----


def test_frames_without_labels_are_refused(frames: list[Frame]) -> None:
    bare = [replace(f, energy=None, forces=None) for f in frames]
    with pytest.raises(ForcemapError, match="neither energies nor forces"):
        fit_frames(settings(), bare)


def test_atoms_out_of_reach_are_refused(frames: list[Frame]) -> None:
    lone = [f for f in frames if len(f.numbers) == 1]
    with pytest.raises(ForcemapError, match="nothing to fit"):
        fit_frames(settings(), lone)
