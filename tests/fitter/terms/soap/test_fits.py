"""Fits with soap terms: a known potential is found, sparse points, settings, maps, the model's file.

The labels come from soap potentials with sparse points of their own and random weights, so that what
is to be learned is known, and small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from ase import Atoms
from ase.build import bulk
from damaged_models import check_refused
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.rank import CLUSTER_ALLOWANCE, ENERGY_ALLOWANCE
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.methods import select
from forcemap.fitter.terms.base import Block, Pool, Species
from forcemap.fitter.terms.rows import term_columns
from forcemap.fitter.terms.soap.channels import species_weights
from forcemap.fitter.terms.soap.forms import Form, forms_of, functions_of
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.fitter.terms.soap.settings import SoapSettings
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.potentials import ForcemapError
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import SoapFunctions
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZES: dict[str, Any] = {"cutoff": 4.0, "cutoff_width": 1.5, "n_max": 4, "l_max": 3}
METHODS = ("random", "farthest", "cur", "pivoted_cholesky")


pytestmark = pytest.mark.usefixtures("one_thread")


def bare_frame(
    numbers: NDArray[Any], positions: Array, cell: Array, index: int, group: str
) -> Frame:
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
    sigma = FrameSigma(1e-4, 1e-3, 1e-4)
    return structures.as_frame(atoms, config_type=group, sigma=sigma, index=index)


@cache
def unlabelled(symbols: tuple[str, ...], count: int) -> tuple[Frame, ...]:
    """Rattled, strained crystals of eight atoms: rocksalt of two elements, diamond of one."""
    rng = np.random.default_rng(3)
    frames = []
    for n in range(count):
        atoms = structures.get("two species") if len(symbols) == 2 else bulk("Si", cubic=True)
        atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
        strain = rng.normal(0.0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        group = "Odd" if n % 2 else "Even"
        frames.append(bare_frame(atoms.numbers, atoms.positions, atoms.cell.array, n, group))
    return tuple(frames)


def bare_term(frames: Sequence[Frame], zeta: int = 2, **changes: Any) -> SoapTerm:
    """A term without sparse points."""
    numbers = tuple(sorted({int(z) for frame in frames for z in frame.numbers}))
    basis = RadialBasis(**{**SIZES, "atom_sigma": 0.5, **changes})
    radial, own = tabulate(basis)
    return SoapTerm(basis, zeta, numbers, species_weights(numbers, None), radial, own, basis.cutoff)


def pools_of(frames: Sequence[Frame], term: SoapTerm) -> dict[Species, Pool]:
    """The environments of the frames by species of centre."""
    return candidate_pools(frames, term, np.random.default_rng(0))[0]


def known_function(frames: Sequence[Frame], zeta: int, seed: int, **changes: Any) -> SoapFunctions:
    """The map of a random process whose points are every seventh environment."""
    term = bare_term(frames, zeta, **changes)
    rng = np.random.default_rng(seed)
    pools, _ = candidate_pools(frames, term, rng)
    term = term.with_blocks([Block(z, pool.points[::7]) for z, pool in pools.items()])
    return functions_of(term, forms_of(term, rng.normal(0.0, 4.0, term.size), frames))


def labelled(frames: Sequence[Frame], functions: Sequence[SoapFunctions]) -> list[Frame]:
    """The frames with the functions' energies, forces and stresses, and 1 eV for each atom."""
    symbols = [SYMBOLS[z] for z in sorted({int(z) for f in frames for z in f.numbers})]
    data = PotentialData(tuple(symbols), dict.fromkeys(symbols, 1.0), tuple(functions))
    evaluator = as_potential(data).evaluator(skin=0.0)
    result = []
    for frame in frames:
        r = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
        volume = abs(float(np.linalg.det(frame.cell)))
        result.append(replace(frame, energy=r.energy, forces=r.forces, stress=-r.virial / volume))
    return result


def settings(*terms: dict[str, Any], **changes: Any) -> Settings:
    """Settings with soap terms; `terms` say how they differ from SIZES."""
    given = {
        "data": {"train": "made.xyz"},
        "core": "none",
        "e0": {"O": 1.0, "Si": 1.0},
        "terms": [{"kind": "soap", **SIZES, "atom_sigma": 0.5, **term} for term in terms],
    }
    return Settings.from_dict({**given, **changes})


def force_error(model: Model, frames: Sequence[Frame]) -> tuple[float, float]:
    """Root mean squares of the errors of the forces, and of the forces themselves, eV/Å."""
    truth = Truth(model)
    differences, sizes = [], []
    for frame in frames:
        assert frame.forces is not None
        differences.append((truth.prediction(frame).forces - frame.forces).ravel())
        sizes.append(frame.forces.ravel())

    def rms(parts: list[Array]) -> float:
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    return rms(differences), rms(sizes)


# ----- known potentials -----


@pytest.mark.parametrize("zeta", [1, 2, 3, 4])
@pytest.mark.parametrize("symbols", [("Si",), ("O", "Si")], ids=["1 species", "2 species"])
def test_fit_finds_a_known_soap_potential(symbols: tuple[str, ...], zeta: int) -> None:
    """Of the same kernel: forces of frames it has not seen to 0.1 %, energies to 50 µeV per atom."""
    frames = unlabelled(symbols, 34)
    made = labelled(frames, [known_function(frames, zeta, 5)])
    model = fit_frames(settings({"zeta": zeta, "n_sparse": 120}), made[:30])
    error, size = force_error(model, made[30:])
    assert size > 0.02
    assert error < 1e-3 * size, (error, size)
    truth = Truth(model)
    for frame in made[30:]:
        energy = truth.prediction(frame).energy
        assert frame.energy is not None
        assert energy == pytest.approx(frame.energy, abs=5e-5 * len(frame.numbers))
    assert [block.species for block in model.terms[0].blocks] == [
        (SYMBOLS.index(s),) for s in symbols
    ]


def test_two_resolutions_fit_what_one_does_not() -> None:
    """A function of short and one of long reach: terms of either reach alone leave more."""
    frames = unlabelled(("Si",), 34)
    reaches = ({"cutoff": 3.2, "cutoff_width": 0.8, "atom_sigma": 0.3}, {"cutoff": 5.0})
    made = labelled(frames, [known_function(frames, 2, n, **r) for n, r in enumerate(reaches)])
    errors = {}
    for name, terms in (
        ("both", reaches),
        ("short", reaches[:1]),
        ("long", reaches[1:]),
    ):
        model = fit_frames(settings(*({"n_sparse": 100, **t} for t in terms)), made[:30])
        assert len(model.terms) == len(terms)
        errors[name] = force_error(model, made[30:])[0]
    assert errors["both"] < 0.7 * min(errors["short"], errors["long"]), errors


def test_soap_beside_few_bodies() -> None:
    frames = unlabelled(("O", "Si"), 34)
    made = labelled(frames, [known_function(frames, 2, 5)])
    pairs = {"kind": "two_body", "cutoff": 4.0, "n_sparse": 10}
    soap = {"kind": "soap", **SIZES, "atom_sigma": 0.5, "n_sparse": 80}
    model = fit_frames(settings(terms=[pairs, soap], e0="average"), made[:30])
    assert [term.kind for term in model.terms] == ["two_body", "soap", "one_body"]
    error, size = force_error(model, made[30:])
    assert error < 0.1 * size, (error, size)


def test_kappa_makes_elements_alike() -> None:
    """Labels that do not tell O from Si: a fit with kappa 1 needs the environments of neither."""
    frames = unlabelled(("O", "Si"), 24)
    alike = [replace(f, numbers=np.full_like(f.numbers, 14)) for f in frames]
    made = [
        replace(f, numbers=frame.numbers)
        for f, frame in zip(labelled(alike, [known_function(alike, 2, 5)]), frames, strict=True)
    ]
    term = {"n_sparse": 100, "kappa": {"Si-O": 1.0}}
    model = fit_frames(settings(term), made[:20])
    soap = model.terms[0]
    assert isinstance(soap, SoapTerm)
    assert soap.weights.shape == (1, 2)
    error, size = force_error(model, made[20:])
    assert error < 0.05 * size, (error, size)


def test_kappa_that_cannot_be_is_refused() -> None:
    frames = unlabelled(("O", "Si"), 4)
    made = labelled(frames, [known_function(frames, 1, 5)])
    trio = [
        replace(f, numbers=np.where(np.arange(8) == 0, 1, f.numbers).astype(np.int32)) for f in made
    ]
    kappa = {"H-O": 0.9, "O-Si": 0.9, "H-Si": -0.9}
    given = settings({"kappa": kappa}, e0="average")
    with pytest.raises(ForcemapError, match="kappa is not positive semi-definite"):
        fit_frames(given, trio)


def test_result_does_not_depend_on_jobs() -> None:
    frames = unlabelled(("O", "Si"), 12)
    made = labelled(frames, [known_function(frames, 2, 5)])
    one, two = (fit_frames(settings({"n_sparse": 20}), made, jobs=jobs) for jobs in (1, 2))
    for a, b in zip(one.terms[0].blocks, two.terms[0].blocks, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_allclose(
        force_error(one, made)[0], force_error(two, made)[0], rtol=1e-6, atol=1e-12
    )


# ----- sparse points -----


@pytest.mark.parametrize("method", METHODS)
def test_methods_choose_environments_of_the_data(method: str) -> None:
    """As many as asked for, each once, the same ones for the same seed."""
    frames = unlabelled(("O", "Si"), 12)
    made = labelled(frames, [known_function(frames, 2, 5)])

    def points(seed: int) -> Array:
        given = settings({"n_sparse": 15, "sparse_method": method}, seed=seed)
        return np.vstack([block.points for block in fit_frames(given, made).terms[0].blocks])

    chosen = points(1)
    assert chosen.shape == (30, bare_term(frames).dimension)
    np.testing.assert_array_equal(chosen, points(1))
    if method in ("random", "cur"):
        assert not np.array_equal(chosen, points(2))
    pools = pools_of(frames, bare_term(frames))
    every = np.vstack([pool.points for pool in pools.values()])
    distances = np.abs(chosen[:, None] - every[None]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-14
    assert len(np.unique(distances.argmin(axis=1))) == len(chosen)


def smallest_gap(points: Array) -> float:
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    return float(distances[np.triu_indices(len(points), 1)].min())


def test_farthest_points_and_greedy_ones_spread_more_than_random_ones() -> None:
    frames = unlabelled(("Si",), 30)
    term = bare_term(frames)
    pool = pools_of(frames, term)[14,]

    def gap(method: str, seed: int = 0) -> float:
        rng = np.random.default_rng(seed)
        return smallest_gap(select(term, (14,), pool, 20, method, {}, rng))

    usual = float(np.median([gap("random", seed) for seed in range(9)]))
    assert gap("farthest") > 1.5 * usual
    assert gap("pivoted_cholesky") > usual


def test_numbers_of_points_by_species() -> None:
    frames = unlabelled(("O", "Si"), 12)
    made = labelled(frames, [known_function(frames, 2, 5)])
    model = fit_frames(settings({"n_sparse": {"O": 7, "Si": 19}}), made)
    assert [(b.species, b.size) for b in model.terms[0].blocks] == [((8,), 7), ((14,), 19)]


@pytest.mark.parametrize("method", METHODS)
def test_config_types_have_their_quotas(method: str) -> None:
    """The rest of the points comes from the other groups."""
    frames = unlabelled(("O", "Si"), 12)
    term = bare_term(frames)
    pool = pools_of(frames, term)[14,]
    odd = {row.tobytes() for row, g in zip(pool.points, pool.groups, strict=True) if g == "Odd"}
    for quota in (2, 9):
        rng = np.random.default_rng(1)
        chosen = select(term, (14,), pool, 12, method, {"Odd": quota}, rng)
        assert len(chosen) == 12
        assert sum(row.tobytes() in odd for row in chosen) == quota
    assert len(odd) == 6 * 4


def test_quotas_hold_in_a_fit() -> None:
    frames = unlabelled(("O", "Si"), 12)
    made = labelled(frames, [known_function(frames, 2, 5)])
    given = settings({"n_sparse": 10, "config_type_n_sparse": {"Even": 3}})
    model = fit_frames(given, made)
    term = model.terms[0]
    assert isinstance(term, SoapTerm)
    pools = pools_of(made, term)
    for block in term.blocks:
        pool = pools[block.species]
        groups = [
            pool.groups[np.abs(pool.points - point).max(axis=1).argmin()] for point in block.points
        ]
        assert (groups.count("Even"), groups.count("Odd")) == (3, 7)


def test_equal_environments_are_one_point() -> None:
    """A perfect crystal has one environment, whatever number is asked for."""
    frames = [bare_frame(f.numbers, f.positions, f.cell, 0, "x") for f in unlabelled(("Si",), 1)]
    crystal = bulk("Si", cubic=True)
    perfect = bare_frame(crystal.numbers, crystal.positions, crystal.cell.array, 1, "x")
    made = labelled([*frames, perfect], [known_function([*frames, perfect], 2, 5)])
    model = fit_frames(settings({"n_sparse": 500}), made)
    assert model.terms[0].size == 9


def test_pool_is_a_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forcemap.fitter.sparse.candidates.POOL_NUMBERS", 1)
    frames = unlabelled(("Si",), 34)
    pool = pools_of(frames, bare_term(frames))[14,]
    assert len(pool.points) == len(pool.groups) == 100
    again = pools_of(frames, bare_term(frames))[14,]
    np.testing.assert_array_equal(pool.points, again.points)


# ----- maps -----


@pytest.fixture(scope="module")
def fitted() -> tuple[Model, list[Frame]]:
    """zeta 2, two species, fitted to labels of another resolution, so that nothing is exact."""
    frames = unlabelled(("O", "Si"), 20)
    made = labelled(frames, [known_function(frames, 3, 5, atom_sigma=0.35)])
    return fit_frames(settings({"n_sparse": 100}), made), made


def worst_force(mapped: Any, model: Model, frames: Sequence[Frame]) -> float:
    truth, evaluator = Truth(model), mapped.potential.evaluator(skin=0.0)
    return max(
        float(np.abs(evaluated(evaluator, f).forces - truth.prediction(f).forces).max())
        for f in frames
    )


def vectors_of(mapped: Any) -> int:
    (table,) = mapped.errors["tables"]
    return sum(table["vectors"].values())


def test_exact_map_is_the_process(fitted: tuple[Model, list[Frame]]) -> None:
    model, frames = fitted
    mapped = map_model(model, frames, 1e-2, soap="exact")
    assert worst_force(mapped, model, frames) < 1e-8
    assert mapped.errors["force_max_error_ev_per_a"] < 1e-8


def test_fewer_vectors_shift_no_energies(fitted: tuple[Model, list[Frame]]) -> None:
    """The average energy of the data's atoms stays, with any number of vectors; so does the zero."""
    model, frames = fitted
    (term,) = (term for term in model.terms if isinstance(term, SoapTerm))
    (weights,) = [model.weights[where] for t, where in term_columns(model.terms) if t is term]
    for form in forms_of(term, weights, frames):
        spectra = np.concatenate(
            [
                term.descriptors(Structure(frame, term.cutoff), form.species)[1]
                for frame in frames
                if form.species in frame.numbers
            ]
        )

        def energies(count: int, form: Form = form, spectra: Array = spectra) -> Array:
            factors, vectors = form.first(count)
            assert len(factors) == len(vectors) == count
            free = factors @ (vectors @ form.free) ** 2
            return np.asarray((spectra @ vectors.T) ** 2 @ factors - free)

        most = len(form.factors)
        for count in (2, most // 4, most // 2, most - 1):
            shift = np.mean(energies(count) - energies(most))
            scatter = np.std(energies(count) - energies(most))
            assert abs(shift) <= 1e-9 * np.abs(energies(most)).max() + 1e-6 * scatter
            # It is the last vector that does it.
            factors, vectors = (some[:-1] for some in form.first(count))
            free = factors @ (vectors @ form.free) ** 2
            without = np.mean((spectra @ vectors.T) ** 2 @ factors - free - energies(most))
            assert abs(without) > 10.0 * abs(shift)


def test_low_rank_keeps_the_tolerance_with_fewer_vectors(
    fitted: tuple[Model, list[Frame]],
) -> None:
    """Fewer for a larger tolerance; by default it is what zeta 2 gets."""
    model, frames = fitted
    exact = map_model(model, frames, 1e-2, soap="exact")
    counts = []
    for tolerance in (1e-4, 1e-2):
        mapped = map_model(model, frames, tolerance, soap="low_rank")
        assert worst_force(mapped, model, frames) <= tolerance
        assert mapped.errors["force_max_error_ev_per_a"] <= tolerance
        assert mapped.errors["energy_max_error_ev_per_atom"] <= ENERGY_ALLOWANCE * tolerance
        assert (
            mapped.errors["random_clusters_force_max_error_ev_per_a"]
            <= CLUSTER_ALLOWANCE * tolerance
        )
        counts.append(vectors_of(mapped))
    assert counts[1] < counts[0] <= vectors_of(exact)
    assert vectors_of(map_model(model, frames, 1e-2)) == counts[1]


@pytest.mark.parametrize("zeta", [3, 4])
def test_higher_powers_are_exact_unless_asked_otherwise(zeta: int) -> None:
    frames = unlabelled(("Si",), 16)
    made = labelled(frames, [known_function(frames, zeta, 5)])
    model = fit_frames(settings({"n_sparse": 100, "zeta": zeta}), made)
    mapped = map_model(model, made, 1e-2)
    assert worst_force(mapped, model, made) < 1e-8
    assert vectors_of(mapped) == model.terms[0].size
    fewer = map_model(model, made, 1e-2, soap="low_rank")
    assert worst_force(fewer, model, made) <= 1e-2
    assert vectors_of(fewer) < vectors_of(mapped)


def test_isolated_atoms_have_e0(fitted: tuple[Model, list[Frame]]) -> None:
    """Exactly, in the exact map and in one of low rank."""
    model, frames = fitted
    for soap in ("exact", "low_rank"):
        evaluator = map_model(model, frames, 1e-2, soap=soap).potential.evaluator()
        for z in (8, 14):
            found = evaluator.compute([[0.1, 0.2, 0.3]], [z], np.eye(3), False)
            assert found.energy == model.e0[z] == 1.0
            assert not found.forces.any()


def test_the_core_decides_below_the_data() -> None:
    """With a core, atoms that come nearer than any in the data repel each other, others or not.

    To 1e-6 Å: the process is bounded there, the core is not.
    """
    frames = unlabelled(("Si",), 16)
    made = labelled(frames, [known_function(frames, 2, 5)])
    model = fit_frames(settings({"n_sparse": 60}, core="zbl", e0="average"), made)
    mapped = map_model(model, made, 1e-3)
    evaluator = mapped.potential.evaluator()
    (pair,) = model.repulsion.values()
    r = np.geomspace(0.9 * pair.shortest, 1e-6, 120)
    axis = np.array([0.36, 0.48, 0.8])
    for others in (np.zeros((0, 3)), np.array([[2.3, 0.0, 0.0], [0.2, -2.2, 0.9]])):
        energies = []
        for distance in [*r, 1e-12, 1e-40, 1e-160]:
            positions = np.vstack([np.zeros(3), distance * axis, others])
            found = evaluator.compute(positions, [14] * len(positions), np.eye(3), False)
            energies.append(found.energy)
            assert np.isfinite(found.forces).all(), distance
            if 1e-6 <= distance < 0.7 * pair.shortest:
                assert found.forces[1] @ axis > 1.0, distance
                sideways = found.forces[1] - (found.forces[1] @ axis) * axis
                assert np.linalg.norm(sideways) < found.forces[1] @ axis, distance
        close = r < 0.7 * pair.shortest
        assert np.all(np.diff(np.array(energies[: len(r)])[close]) > 0.0)


# ----- settings -----


def soap_settings(**given: Any) -> Settings:
    return Settings.from_dict({"data": {"train": "a.xyz"}, "terms": [{"kind": "soap", **given}]})


def test_defaults_of_soap() -> None:
    (term,) = soap_settings().terms
    assert isinstance(term, SoapSettings)
    assert (term.orders, term.channels, term.zeta) == (4, 6, 2)
    assert term.contracts
    alone = replace(term, bispectrum=False)
    assert (alone.orders, alone.channels) == (6, 8)
    assert soap_settings(n_max=8).terms[0] == replace(term, n_max=8)
    assert not replace(term, n_max=8).contracts
    open_ones = (
        "n_max",
        "l_max",
        "n_channels",
        "cutoff",
        "n_sparse",
        "delta",
        "atom_sigma",
        "kappa",
    )
    for name in (*open_ones, "radial_scaling"):
        assert getattr(term, name) is None, name


def test_settings_of_soap_are_written_back() -> None:
    given = {
        "cutoff": 5.5,
        "cutoff_width": 1.2,
        "n_sparse": {"Si": 300, "O": 200},
        "config_type_n_sparse": {"Liquid": 50},
        "n_max": 10,
        "l_max": 4,
        "atom_sigma": 0.4,
        "zeta": 4,
        "delta": 0.5,
        "sparse_method": "cur",
        "radial_scaling": {"radius": 3.0, "exponent": 5.0},
        "kappa": {"Si-O": 0.3},
    }
    settings = soap_settings(**given)
    written = settings.to_dict()["terms"][0]
    assert {key: written[key] for key in given} == given
    assert Settings.from_dict(settings.to_dict()).terms == settings.terms


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"n_max": 0}, "terms[0].n_max: 0 is not a whole number from 1 to 32"),
    ({"n_max": 33}, "terms[0].n_max: 33 is not a whole number from 1 to 32"),
    ({"n_max": 4.5}, "terms[0].n_max: 4.5 is not a whole number"),
    ({"l_max": -1}, "terms[0].l_max: -1 is not a whole number from 0 to 20"),
    ({"l_max": 21}, "terms[0].l_max: 21 is not a whole number from 0 to 20"),
    ({"zeta": 0}, "terms[0].zeta: 0 is not a whole number from 1 to 4"),
    ({"zeta": 5}, "terms[0].zeta: 5 is not a whole number from 1 to 4"),
    ({"zeta": 2.5}, "terms[0].zeta: 2.5 is not a whole number"),
    ({"atom_sigma": 0}, "terms[0].atom_sigma: 0 is not a number"),
    ({"cutoff": 0}, "terms[0].cutoff: 0 is not a number above 0"),
    ({"cutoff": 4, "cutoff_width": 5}, "terms[0].cutoff_width: 5 Å is wider than the cutoff, 4 Å"),
    ({"nmax": 4}, 'terms[0].nmax: unknown key; did you mean "n_max"?'),
    ({"lengthscale": 1.0}, "terms[0].lengthscale: unknown key"),
    ({"sparse_method": "kur"}, 'did you mean "cur"?'),
    (
        {"sparse_method": "uniform"},
        "terms[0].sparse_method: 'uniform' is not one of random, farthest, cur, pivoted_cholesky",
    ),
    ({"n_sparse": 0}, "terms[0].n_sparse: 0 is not a whole number"),
    ({"n_sparse": {"Xx": 5}}, 'terms[0].n_sparse.Xx: "Xx" is not the symbol of an element'),
    ({"n_sparse": {"Si": 0}}, "terms[0].n_sparse.Si: 0 is not a whole number"),
    ({"config_type_n_sparse": {"Liquid": -3}}, "terms[0].config_type_n_sparse.Liquid: -3 is not"),
    ({"config_type_n_sparse": 5}, "terms[0].config_type_n_sparse: expected"),
    ({"kappa": {"Si": 0.5}}, "terms[0].kappa.Si: expected two different elements, such as Si-O"),
    ({"kappa": {"Si-Si": 0.5}}, "expected two different elements, such as Si-O"),
    ({"kappa": {"Si-Xx": 0.5}}, '"Xx" is not the symbol of an element'),
    ({"kappa": {"Si-O": 1.5}}, "terms[0].kappa.Si-O: 1.5 is not a number"),
    (
        {"kappa": {"Si-O": 0.5}, "n_species_channels": 2},
        "terms[0].kappa: cannot be combined with n_species_channels; give one",
    ),
    ({"n_species_channels": 0}, "terms[0].n_species_channels: 0 is not a whole number"),
    ({"radial_scaling": {"power": 2}}, "terms[0].radial_scaling.power: unknown key"),
    ({"radial_scaling": {"exponent": -1}}, "terms[0].radial_scaling.exponent: -1 is not a number"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES)
def test_mistakes_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ForcemapError) as error:
        soap_settings(**given)
    assert message in str(error.value)


# ----- the model's file -----


def test_model_is_read_as_it_was_written(fitted: tuple[Model, list[Frame]], tmp_path: Path) -> None:
    model, frames = fitted
    path = tmp_path / "model.forcemap"
    write_model(model, path)
    read = read_model(path)
    (old, new) = model.terms[0], read.terms[0]
    assert isinstance(old, SoapTerm)
    assert isinstance(new, SoapTerm)
    assert (new.basis, new.zeta, new.numbers, new.delta) == (
        old.basis,
        old.zeta,
        old.numbers,
        old.delta,
    )
    for name in ("radial", "own", "weights"):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    for frame in frames[:2]:
        np.testing.assert_array_equal(read.predict(frame)[1], model.predict(frame)[1])
        np.testing.assert_allclose(read.variances(frame), model.variances(frame), rtol=1e-9)
    again = tmp_path / "again.forcemap"
    write_model(read, again)
    assert again.read_bytes() == path.read_bytes()


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]
FAULTS: dict[str, tuple[Change, str]] = {
    "zeta 5": (lambda d, t: d["terms"][0].update(zeta=5), "zeta: found 5"),
    "n_max 0": (lambda d, t: d["terms"][0]["basis"].update(n_max=0), "n_max: found 0"),
    "n_max": (lambda d, t: d["terms"][0]["basis"].update(n_max=5), "found the shape"),
    "l_max": (lambda d, t: d["terms"][0]["basis"].update(l_max=21), "l_max: found 21"),
    "basis": (lambda d, t: d["terms"][0]["basis"].update(x=1), "unknown entry 'x'"),
    "no sigma": (lambda d, t: d["terms"][0]["basis"].pop("atom_sigma"), "no entry 'atom_sigma'"),
    "width": (
        lambda d, t: d["terms"][0]["basis"].update(cutoff_width=9.0),
        "cutoff and cutoff_width must be positive and consistent",
    ),
    "no radial": (lambda d, t: t.pop("radial.0"), "found no tensor"),
    "few knots": (lambda d, t: t.update({"radial.0": t["radial.0"][:3]}), "has not the size"),
    "own": (lambda d, t: t.update({"own.0": np.zeros(7)}), "has not the size"),
    "channels": (lambda d, t: t.update({"channels.0": np.zeros((2, 3))}), "found the shape"),
    "points": (lambda d, t: t.update({"points.0.0": np.zeros((3, 4))}), "found the shape"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_of_model_files_are_refused(
    fault: str, fitted: tuple[Model, list[Frame]], tmp_path: Path
) -> None:
    check_refused(fitted[0], *FAULTS[fault], tmp_path)
