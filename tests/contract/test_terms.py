"""The laws that every kind of term obeys, and the promise that a new kind is one file.

All laws run over the registry, and over a kind that is defined here: `ShellsTerm`, pair functions
spanned by a few given shells. It is read from settings, fitted, mapped, written, read, run in LAMMPS,
sized, estimated, resumed, shared over MPI ranks and shown, and no other file names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, ClassVar

import lammps_runs
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.checked import integer, read_by
from forcemap.fitter.choice.optimise import Search, wanted, without_optimise
from forcemap.fitter.choice.slopes import STEP
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.fitter.planning.estimate import estimate
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.prior import Prior, alternatives, widest_cutoff
from forcemap.fitter.process.remainder import remainders
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sparse.methods import independent
from forcemap.fitter.terms import base, kinds
from forcemap.fitter.terms.base import (
    Array,
    Block,
    MapPlan,
    Species,
    Term,
    TermSettings,
    TermView,
)
from forcemap.fitter.terms.rows import RowLayout, columns, frame_rows, term_columns
from forcemap.fitter.terms.splines import spline_coefficients
from forcemap.potentials import ForcemapCalculator, Potential, _core, load
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import Draws, as_potential, potential_bytes
from forcemap.potentials.terms import TwoBodySplines
from forcemap.potentials.voigt import matrix_of
from forcemap_runs import MPIRUN, blocks_in, fault, invoke, run_forcemap
from process_rows import (
    check_order_of_atoms,
    check_rotation,
    check_sum_of_forces,
    check_supercell,
    check_translation,
    difference_errors,
    rows,
)
from structures import as_frame

# ---- a kind that no other file knows --------------------------------------------------------------

INTERVALS = 60


@dataclass(frozen=True)
class ShellsSettings(TermSettings):
    """Pair functions spanned by `shells` functions (1 - r / cutoff)^(k + 3)."""

    kind: ClassVar[str] = "shells"
    continuous: ClassVar[tuple[str, ...]] = ("cutoff",)

    shells: int = field(default=5, metadata=read_by(integer(at_least=1, at_most=20)))

    def open(self, survey: base.Survey) -> ShellsTerm:
        assert self.cutoff is not None
        return ShellsTerm(self.cutoff, self.shells, self.delta or 1.0)

    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        return self.n_sparse or 2 * self.shells


@dataclass(frozen=True, eq=False)
class ShellsTerm(Term):
    """V(r) = sum over k of v_k phi_k(r): the kernel is phi(r) . phi(r')."""

    kind: ClassVar[str] = "shells"
    bodies: ClassVar[int] = 2

    cutoff: float
    shells: int
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()

    def hyperparameters(self) -> dict[str, float]:
        return {"cutoff": self.cutoff}

    def phi(self, r: Array) -> Array:
        x = np.clip(1.0 - r / self.cutoff, 0.0, None)
        return np.asarray(x[:, None] ** (np.arange(self.shells) + 3))

    def combinations(self, species: Sequence[int]) -> list[Species]:
        return list(combinations_with_replacement(sorted(species), 2))

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        found = {
            (a, b): structure.neighbors.distances(a, b, self.cutoff)
            for a, b in self.combinations(sorted(structure.species))
        }
        return {pair: r[:, None] for pair, r in found.items() if len(r)}

    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        return np.asarray(self.phi(a[:, 0]) @ self.phi(b[:, 0]).T)

    def splines(self, block: Block) -> Array:
        knots = np.linspace(0.0, self.cutoff, INTERVALS + 1)
        values = self.kernel(block.species, knots[:, None], block.points)
        return spline_coefficients(values, axes=1, fading=1)

    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        for block in self.blocks:
            if structure.species.issuperset(block.species):
                splines, pair = self.splines(block), block.species
                _core.add_splines(structure.neighbors, self.cutoff, pair, splines, rows, start)
            start += block.size

    def mapped(self, weights: Array, plan: MapPlan) -> TwoBodySplines:
        tables: dict[Any, Array] = {
            tuple(SYMBOLS[z] for z in block.species): plan.columns(self.splines(block) @ some)
            for block, some in self.block_weights(weights)
        }
        return TwoBodySplines(self.cutoff, INTERVALS, tables)

    def document(self) -> dict[str, Any]:
        return {"shells": self.shells}

    @classmethod
    def read(cls, view: TermView) -> ShellsTerm:
        shells = view.entry["shells"].integer(1, 20)
        return cls(view.cutoff, shells, view.delta, view.blocks(2, lambda species: 1))

    def summary(self) -> dict[str, Any]:
        return {"shells": self.shells}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", [*kinds.KINDS, kinds.Kind(ShellsTerm, ShellsSettings)])
    monkeypatch.setitem(kinds.TERMS, ShellsTerm.kind, ShellsTerm)
    monkeypatch.setitem(kinds.SETTINGS, ShellsSettings.kind, ShellsSettings)


ALL_KINDS = [*(kind.term.kind for kind in kinds.KINDS), ShellsTerm.kind]
GIVEN_KINDS = [*kinds.SETTINGS, ShellsTerm.kind]
"""Those that settings can ask for; the fit adds the others by itself."""

# ---- data ------------------------------------------------------------------------------------------


def _labelled(seed: int, size: int = 2) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.7 + 0.05 * (seed % 3), cubic=True).repeat((size, 1, 1))
    atoms.symbols[rng.random(len(atoms)) < 0.4] = "Ni"
    atoms.rattle(0.12, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper and nickel, labelled by ASE's effective-medium theory; enough for several blocks."""
    path = tmp_path_factory.mktemp("data") / "train.xyz"
    write(path, [_labelled(seed, 4) for seed in range(40)], format="extxyz")
    return path


FRAMES = [as_frame(_labelled(seed)) for seed in range(6)]
CUTOFF = 3.9

SMALL: dict[str, dict[str, int]] = {
    "soap": {"n_max": 4, "l_max": 3},
    "nbody": {"n_features": 12},
    "bispectrum": {"n_max": 4},
}
"""What keeps the terms of a kind small; the laws are the same."""


def settings_of(kind: str, **changes: Any) -> Settings:
    """Settings with one term of a kind."""
    term = {"kind": kind, "cutoff": CUTOFF, "n_sparse": 6, **SMALL.get(kind, {}), **changes}
    return Settings.from_dict({"data": {"train": "train.xyz"}, "terms": [term]})


def survey_of(settings: Settings, frames: Sequence[Frame] = FRAMES) -> Survey:
    return Survey.of(frames, settings).with_repulsion(widest_cutoff(settings))


def term_of(kind: str) -> Term:
    """A term of a kind with sparse points from the data."""
    settings = settings_of(kind if kind in GIVEN_KINDS else GIVEN_KINDS[0])
    settings = alternatives(settings, survey_of(settings))[0]
    found = Prior.of(settings, survey_of(settings)).terms
    return next(term for term in found if term.kind == kind)


def model_of(kind: str, weights: Array | None = None) -> Model:
    """A process of one term, with random weights."""
    term = term_of(kind)
    survey = survey_of(settings_of(GIVEN_KINDS[0]))
    if weights is None:
        weights = np.random.default_rng(5).normal(0.0, 0.1, term.size)
    e0 = dict.fromkeys(survey.species, -1.25)
    return Model(survey.species, (term,), weights, e0, survey.repulsion, np.eye(term.size))


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return _labelled(11)


# ---- laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_rows_are_derivatives_of_the_energy_row(kind: str, crystal: Atoms) -> None:
    """Errors of central differences fall with h² to rounding: with half the step to a quarter."""
    term = term_of(kind)
    wide, narrow = (difference_errors(crystal, [term], h) for h in (2e-3, 1e-3))
    scale = max(1.0, float(np.abs(rows(crystal, [term])).max()))
    for large, small in zip(wide, narrow, strict=True):
        assert np.abs(small).max() < 0.3 * np.abs(large).max() + 1e-9 * scale
        assert np.abs(small).max() < 1e-3 * scale


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_rows_vanish_at_points_of_elements_that_a_frame_lacks(kind: str, crystal: Atoms) -> None:
    """Fits leave these columns out; those of the frame's own elements are not all zero."""
    term = term_of(kind)
    nickel = crystal.copy()
    nickel.symbols[:] = "Ni"
    found = rows(nickel, [term])
    own = [set(block.species) <= {28} for _, block, _ in columns([term])]
    assert 0 < sum(own) < len(own)
    for (_, _, where), is_own in zip(columns([term]), own, strict=True):
        assert found[:, where].any() == is_own


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_size_of_drawn_maps_is_known_before_they_are_made(kind: str) -> None:
    """Up to the splines that the draws share, and what is small: 0.1 MB."""
    term, rng = term_of(kind), np.random.default_rng(3)
    for plan in (MapPlan(FRAMES).of_draws(8), MapPlan(FRAMES).of_draws(8).finer(1e9)):
        mapped = term.mapped(rng.normal(size=(term.size, 8)), plan)
        tensors = {} if mapped is None else mapped.tensors()
        found = sum(np.asarray(array).nbytes for array in tensors.values())
        assert found == pytest.approx(term.map_bytes(plan), rel=0.05, abs=100_000)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_rows_have_the_symmetries_of_space_and_atoms(kind: str, crystal: Atoms) -> None:
    terms = [term_of(kind)]
    atol = 1e-9 * max(1.0, float(np.abs(rows(crystal, terms)).max()))
    check_rotation(crystal, terms, atol)
    check_order_of_atoms(crystal, terms, atol)
    check_translation(crystal, terms)
    check_supercell(crystal, terms, 10.0 * atol)
    check_sum_of_forces(crystal, terms, atol)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in GIVEN_KINDS),
    ("two_body", {"kernel": "matern52"}),
    ("nbody", {"kernel": "squared_exponential"}),
]


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_slopes_of_the_evidence_are_its_differences(kind: str, changes: dict[str, Any]) -> None:
    """By all hyperparameters, at fixed deltas and sigmas; to 1e-3 of the largest slope.

    The evidence has kinks where knots and cutoffs pass atoms: it is compared over the same five points.
    """
    frames = [_with_labels(seed) for seed in range(3)]
    settings = settings_of(kind, optimise=True, **changes)
    survey = survey_of(settings, frames)
    baseline = Baseline(survey.species, survey.repulsion)
    e0 = dict.fromkeys(survey.species, -1.0)
    targets = [Targets.of(frame, e0, baseline.of(frame)) for frame in frames]
    search = Search.of(without_optimise(settings), wanted(settings), survey, targets, 1)
    coordinates, at = search.coordinates, search.coordinates.start - 0.05
    own = coordinates.terms[0].hyperparameters()
    assert {one.name for one in coordinates.free} == set(own) & set(settings.terms[0].continuous)
    assert len(at)
    point = search.sample.at(coordinates.all_terms(at))

    def value(place: int, step: float) -> float:
        moved = at.copy()
        moved[place] += step
        return search.sample.at(coordinates.all_terms(moved), point.logs).value

    found = point.slopes(coordinates, at)
    h = STEP
    differences = [
        (8.0 * (value(k, h) - value(k, -h)) - (value(k, 2.0 * h) - value(k, -2.0 * h))) / (12.0 * h)
        for k in range(len(at))
    ]
    np.testing.assert_allclose(found, differences, rtol=0, atol=1e-3 * np.abs(differences).max())
    # deltas and the sigma of the stresses, away from their best
    logs, h = point.logs + 0.2, 1e-4
    away = search.sample.at(point.terms, logs)
    assert len(logs) == 2
    for k, slope in enumerate(away.slopes_of_scales()):
        ends = [search.sample.at(point.terms, logs + s * h * np.eye(2)[k]).value for s in (1, -1)]
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4, abs=1e-3)


def _with_labels(seed: int) -> Frame:
    atoms = _labelled(seed)
    return replace(
        as_frame(atoms),
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(voigt=False),
        index=seed,
    )


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_diagonal_is_that_of_the_kernel(kind: str) -> None:
    term = term_of(kind)
    for block in term.blocks:
        matrix = term.kernel(block.species, block.points, block.points)
        np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12 * np.abs(matrix).max())
        np.testing.assert_allclose(
            term.diagonal(block.species, block.points), np.diag(matrix), rtol=1e-12
        )
        assert np.linalg.eigvalsh(matrix)[0] > -1e-9 * np.abs(matrix).max()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_sparse_points_leave_nothing_open_where_they_are(kind: str) -> None:
    """The energy of a frame all of whose function values are those at sparse points is determined.

    To 1e-7 of the prior's variance, where points count as repeats.
    """
    term, frame = term_of(kind), FRAMES[2]
    found = term.candidates(Structure(frame, term.cutoff, derivatives=False))
    blocks = [independent(term, points, species)[0] for species, points in found.items()]
    none, prior = (remainders(frame, [term.with_blocks(some)]) for some in (blocks, []))
    assert none.min() >= 0.0
    assert none[0] <= 1e-7 * prior.max()
    assert prior[0] > 0.0


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_term_comes_back_from_its_file(kind: str, crystal: Atoms, tmp_path: Path) -> None:
    model = model_of(kind)
    write_model(model, tmp_path / "model.forcemap")
    again = read_model(tmp_path / "model.forcemap")
    assert type(again.terms[0]) is type(model.terms[0])
    assert again.terms[0].summary() == model.terms[0].summary()
    np.testing.assert_array_equal(rows(crystal, again.terms), rows(crystal, model.terms))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_map_says_what_the_process_says(kind: str, crystal: Atoms) -> None:
    model = model_of(kind)
    if model.unmapped:
        pytest.skip("this kind has no map")
    mapped = map_model(model, FRAMES, 1e-5)
    truth = Truth(model).prediction(as_frame(crystal))
    found = mapped.potential.evaluator().compute(
        crystal.positions, crystal.numbers, crystal.cell.array, crystal.pbc
    )
    assert abs(found.energy - truth.energy) < 1e-4
    np.testing.assert_allclose(found.forces, truth.forces, rtol=0, atol=1e-4)
    # No term adds to the energy of an atom on its own: the core does not ask them.
    for symbol, energy in mapped.potential.e0.items():
        atom = Atoms(symbol, cell=[30.0] * 3)
        alone = mapped.potential.evaluator().compute(
            atom.positions, atom.numbers, atom.cell.array, atom.pbc
        )
        assert alone.energy == energy
        assert Truth(model).prediction(as_frame(atom)).energy == pytest.approx(energy, abs=1e-9)


def process_draws(model: Model, frame: Frame, draws: Array) -> tuple[Array, Array, Array]:
    """Energies (R,), forces (R, n, 3) and virials (R, 3, 3) of draws (m, R), by the process."""
    found = frame_rows(frame, model.terms) @ draws
    layout = RowLayout(len(frame.numbers))
    forces = found[layout.forces].T.reshape(draws.shape[1], -1, 3)
    virials = np.stack([-matrix_of(strain) for strain in found[layout.strain].T])
    return found[layout.energy], forces, virials


def check_draws(
    potential: Potential, atoms: Atoms, expected: Sequence[Array], tolerances: Sequence[float]
) -> None:
    """Energies, forces and virials of a potential's draws: relative errors, root mean square."""
    where = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    found = potential.evaluator().deviations(*where)
    parts = found.energies, found.forces, found.virials
    for mine, truth, tolerance in zip(parts, expected, tolerances, strict=True):
        error = float(np.sqrt(np.mean((mine - truth) ** 2)))
        assert error <= tolerance * float(np.sqrt(np.mean(truth**2))) + 1e-12


def isolated_draws(potential: Potential, atoms: Atoms) -> Array:
    """Energies of the draws of an isolated atom."""
    where = np.zeros((1, 3)), atoms.numbers[:1], np.zeros((3, 3)), False
    return potential.evaluator().deviations(*where).energies


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_draws_are_mapped_as_finely_as_the_plan_says(kind: str, crystal: Atoms) -> None:
    """With the spacing of the mean's tables, and all functions, draws are what the process says.

    To a thousandth: tables of triplets 0.12 Å apart are the coarsest that are compared. Where a kind
    keeps its draws in single precision, that adds some 1e-7 of its own part.
    """
    model = model_of(kind)
    if model.unmapped:
        pytest.skip("this kind has no map")
    draws = np.random.default_rng(8).normal(0.0, 0.1, (len(model.weights), 3))
    fine = replace(MapPlan(FRAMES).of_draws(3), spacing=0.12, functions=10_000)
    terms = [
        term.mapped(np.ascontiguousarray(draws[where]), fine)
        for term, where in term_columns(model.terms)
    ]
    drawn = tuple(term for term in terms if term is not None)
    mean = Tabulation(model, MapPlan(FRAMES)).data()
    potential = as_potential(replace(mean, draws=Draws(3, drawn, np.zeros((3, 2)))))
    assert np.all(np.abs(isolated_draws(potential, crystal)) <= 1e-12)
    expected = process_draws(model, as_frame(crystal), draws)
    if not drawn:  # constants are in the energies of isolated atoms
        expected = tuple(0.0 * part for part in expected)
    check_draws(potential, crystal, expected, (1e-3, 1e-3, 1e-3))


def whole_model() -> Model:
    """A fit of all kinds that can be mapped, whose parts cancel in the draws."""
    terms = [
        {"kind": kind, "cutoff": CUTOFF, **SMALL.get(kind, {}), **MANY.get(kind, {})}
        for kind in GIVEN_KINDS
        if kinds.TERMS[kind].has_map
    ]
    settings = Settings.from_dict({"data": {"train": "train.xyz"}, "terms": terms})
    frames = []
    for n, atoms in enumerate(_labelled(seed) for seed in range(8)):
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        frames.append(replace(as_frame(atoms), index=n, sigma=SIGMA, **labels))
    return fit_frames(settings, frames)


SIGMA = FrameSigma(0.002, 0.05, 0.01)

MANY: dict[str, dict[str, Any]] = {
    "soap": {"n_sparse": 60, "atom_sigma": 0.6},
    "three_body": {"n_sparse": 30},
    "two_body": {"n_sparse": 15},
}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_draws_are_those_of_the_process(kind: str, crystal: Atoms) -> None:
    """Forces to 5 %, energies to 10 %, as coarse as the map makes them; in a frame it has not seen."""
    model = model_of(kind)
    if model.unmapped:
        pytest.skip("this kind has no map")
    mapped = with_deviations(map_model(model, FRAMES, 1e-4), model, FRAMES, 8)
    again = with_deviations(map_model(model, FRAMES, 1e-4, jobs=2), model, FRAMES, 8)
    assert potential_bytes(replace(again.data, mapping={})) == potential_bytes(
        replace(mapped.data, mapping={})
    )
    assert mapped.potential.draws == 8
    expected = process_draws(model, as_frame(crystal), model.draws(8))
    check_draws(mapped.potential, crystal, expected, (0.1, 0.05, 0.1))


def test_parts_of_draws_cancel_as_in_the_process(
    crystal: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts of all terms are far larger than what is left of them in the energy of a frame.

    Environments are compared in forms, as where there are more sparse points than here.
    """
    many = "forcemap.fitter.terms.soap.draws._numbers_of_points"
    monkeypatch.setattr(many, lambda *_: 10**12)
    model = whole_model()
    mapped = with_deviations(map_model(model, FRAMES, 1e-4), model, FRAMES, 6)
    frame, draws = as_frame(crystal), model.draws(6)
    rows = frame_rows(frame, model.terms)[RowLayout.energy]
    parts = [rows[where] @ draws[where] for _, where in term_columns(model.terms)]
    assert np.std(sum(parts)) < 0.1 * max(np.std(part) for part in parts)
    check_draws(mapped.potential, crystal, process_draws(model, frame, draws), (0.1, 0.05, 0.1))
    report = mapped.errors["draws"]
    assert report["count"] == 6
    assert 0.0 < report["force_relative_rms_error"] < 0.05
    assert 0.0 < report["energy_relative_rms_error"] < 0.1


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_one_of_a_hundred_training_atoms_has_a_grade_above_1(kind: str, crystal: Atoms) -> None:
    model = model_of(kind)
    if model.unmapped:
        pytest.skip("this kind has no map")
    mapped = with_deviations(map_model(model, FRAMES, 1e-4), model, FRAMES, 0)
    evaluator = mapped.potential.evaluator()

    def grades(atoms: Atoms) -> Array:
        where = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        found = evaluator.compute(*where, grades=True).grades
        assert found is not None
        return found

    frames = [_labelled(seed) for seed in range(6)]
    numbers = np.concatenate([atoms.numbers for atoms in frames])
    found = np.concatenate([grades(atoms) for atoms in frames])
    for z in (28, 29):
        np.testing.assert_allclose(np.quantile(found[numbers == z], 0.99), 1.0, atol=1e-6)
    hot = crystal.copy()
    hot.rattle(0.5, seed=3)
    assert np.mean(grades(hot) > 1.0) > 0.5


@pytest.mark.parametrize("kind", GIVEN_KINDS)
def test_estimate_has_the_sizes_of_the_fit(kind: str) -> None:
    frames = [replace(frame, energy=1.0, index=n) for n, frame in enumerate(FRAMES)]
    settings = settings_of(kind)
    found = estimate(settings, frames)
    prior = Prior.of(settings, survey_of(settings, frames))
    sizes = {(t.kind, b.species): b.size for t in prior.terms for b in t.blocks}
    assert {(c.kind, c.species): c.n_sparse for c in found.combinations} == sizes


def write_settings(path: Path, data: Path, kind: str) -> Path:
    term = {"kind": kind, "cutoff": CUTOFF, "n_sparse": 5, **SMALL.get(kind, {})}
    given = {"data": {"train": str(data)}, "terms": [term], "e0": "average"}
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


OPTIONS = ("--checkpoint-every", "0", "--jobs", "1", "--quiet")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a kind's fit by one process, made once, beside its settings.yaml."""

    @cache
    def made(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind) / "whole"  # as deep as others: paths are relative
        settings = write_settings(folder.with_name("settings.yaml"), data, kind)
        assert invoke("fit", settings, "-o", folder, *OPTIONS).exit_code == 0
        return folder

    return made


@pytest.mark.parametrize("kind", GIVEN_KINDS)
def test_interrupted_fit_resumes_bit_for_bit(
    kind: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = whole(kind).with_name("settings.yaml")
    killed = tmp_path / "killed"
    dead = fault("forcemap.fitter.solve.solver:Groups.add", 3)
    done = run_here("fit", settings, "-o", killed, *OPTIONS, faults=[dead])
    assert done.returncode == -9, done.stderr
    assert sum(blocks_in(path) for path in killed.glob("checkpoint*")) == 2
    resumed = invoke("fit", settings, "-o", killed, *OPTIONS, "--resume")
    assert resumed.exit_code == 0, resumed.output
    one, other = ((folder / "model.forcemap").read_bytes() for folder in (whole(kind), killed))
    assert one == other


@pytest.mark.skipif(not MPIRUN.exists(), reason="needs the MPICH wheel's mpirun")
@pytest.mark.parametrize("kind", GIVEN_KINDS)
def test_two_ranks_fit_the_same(kind: str, whole: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    settings = whole(kind).with_name("settings.yaml")
    done = run_here("fit", settings, "-o", tmp_path, "--quiet", ranks=2)
    assert done.returncode == 0, done.stderr
    one, two = (read_model(folder / "model.forcemap") for folder in (whole(kind), tmp_path))
    for mine, theirs in zip(one.terms, two.terms, strict=True):
        for a, b in zip(mine.blocks, theirs.blocks, strict=True):
            np.testing.assert_array_equal(a.points, b.points)
    scale = float(np.abs(one.weights).max())
    np.testing.assert_allclose(two.weights, one.weights, rtol=0, atol=1e-6 * scale)


def run_here(*arguments: object, ranks: int = 0, faults: Any = ()) -> Any:
    """`forcemap` in processes of its own, which know the kind of this file."""
    return run_forcemap(*arguments, ranks=ranks, faults=tuple(faults), before=HERE)


HERE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_terms
test_terms.kinds.register(test_terms.ShellsTerm, test_terms.ShellsSettings)
"""

# ---- the promise -----------------------------------------------------------------------------------


def test_a_kind_defined_here_needs_nothing_elsewhere(data: Path, tmp_path: Path) -> None:
    kind = ShellsTerm.kind
    settings = write_settings(tmp_path / "settings.yaml", data, kind)

    # estimated
    estimated = invoke("fit", settings, "--dry-run")
    assert estimated.exit_code == 0, estimated.output
    assert kind in estimated.stdout
    # read from a settings file, with its own messages
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(settings.read_text().replace("n_sparse: 5", "shell: 3"), encoding="utf-8")
    assert 'unknown key; did you mean "shells"?' in invoke("fit", wrong, "--dry-run").output
    # fitted, in sizes
    out = tmp_path / "out"
    fitted = invoke("fit", settings, "-o", out, "--sizes", "small,medium", "--quiet")
    assert fitted.exit_code == 0, fitted.output
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    shown = next(term for term in report["fit"]["terms"] if term["kind"] == kind)
    assert shown["shells"] == 5
    small = json.loads((out / "small" / "report.json").read_text(encoding="utf-8"))
    assert small["fit"]["n_sparse"] <= report["fit"]["n_sparse"]
    # shown
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"<td>{kind}</td>" in page
    assert "<th>shells</th>" in page
    assert "shells 5" in " ".join(invoke("info", out / "model.forcemap").stdout.split())
    # written and read, evaluated as in ASE and in LAMMPS
    atoms = read(data, 3)
    atoms.calc = ForcemapCalculator(out / "potential.forcemap")
    truth = Truth(read_model(out / "model.forcemap")).prediction(as_frame(atoms))
    np.testing.assert_allclose(atoms.get_forces(), truth.forces, rtol=0, atol=1e-6)
    whole = load(out / "potential.forcemap")
    assert (whole.draws, whole.has_grade) == (16, True)
    assert whole.uncertainty is not None
    pair = lammps_runs.forcemap_pair(out / "potential.forcemap", lammps_runs.species_of(atoms))
    answer = lammps_runs.evaluate(tmp_path, atoms, pair)
    np.testing.assert_allclose(answer.forces, truth.forces, rtol=0, atol=1e-6)
    # mapped again, and judged by itself
    again = invoke("map", out / "model.forcemap", "-o", tmp_path / "again.forcemap", "--quiet")
    assert again.exit_code == 0, again.output
    mapped = load(tmp_path / "again.forcemap")
    assert (mapped.draws, mapped.has_grade) == (16, True)
    assert mapped.uncertainty == whole.uncertainty
    judged = invoke("evaluate", out / "model.forcemap", data, "--index", ":3", "--json", "--quiet")
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["force_std_ev_per_a"] > 0.0
    # what resumes and shares it is tested above, with all kinds
    assert kind in GIVEN_KINDS


def test_no_other_file_names_the_kind_defined_here() -> None:
    root = Path(__file__).parents[2]
    folders = ("fitter", "potentials", "lammps_plugin", "ipi_driver")
    suffixes = {".py", ".j2", ".cpp", ".hpp", ".ipp", ".h", ".def"}
    files = [p for folder in folders for p in (root / folder).rglob("*") if p.suffix in suffixes]
    assert len(files) > 100
    for path in files:
        text = path.read_text(encoding="utf-8")
        for name in (ShellsTerm.__name__, ShellsSettings.__name__, f'"{ShellsTerm.kind}"'):
            assert name not in text, path
    # What lists the kinds is asked for this one, too.
    assert kinds.TERMS[ShellsTerm.kind] is ShellsTerm
