"""Bispectrum terms: products of fields against integrals over the sphere, their sizes, fits, files.

Of the neighbours' density c[lm, k] = sum_j R_lk(r_j) Y_lm(r_j) a field is sum_m c[lm, k] Y_lm(u) over
the root of the offset plus the sum of all squares, and a descriptor the integral of a product of
fields, here by quadrature on a fine grid of directions along no axis, with SciPy's harmonics.

What all kinds of term have in common (derivatives, invariances, draws) is tested in
tests/contract/test_terms.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import labelled_copper
import numpy as np
import pytest
import scipy.interpolate
import scipy.special
from ase import Atoms
from ase.build import bulk
from damaged_models import check_refused
from forcemap.fitter.checked import CrossCheckError
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.prior import alternatives
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.bispectrum import (
    LEAST_SCALE,
    OFFSET,
    BispectrumSettings,
    BispectrumTerm,
    products_of,
)
from forcemap.fitter.terms.rows import frame_rows
from forcemap.fitter.terms.soap.contraction import tables
from forcemap.fitter.terms.soap.radial_basis import RadialBasis
from forcemap.fitter.terms.soap.settings import SoapSettings
from forcemap.potentials import ForcemapError, load
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")

CUTOFF = 4.0


# ----- independent values -----


def directions(polar: int, seed: int) -> tuple[Array, Array]:
    """Unit vectors (n, 3) turned at random, and weights (n,) that integrate over the sphere."""
    z, weights = np.polynomial.legendre.leggauss(polar)
    angles = 2.0 * np.pi * np.arange(2 * polar) / (2 * polar)
    radius = np.sqrt(1.0 - z**2)
    parts = np.outer(radius, np.cos(angles)), np.outer(radius, np.sin(angles))
    points = np.stack([*parts, np.outer(z, np.ones_like(angles))], -1).reshape(-1, 3)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return points @ turn, np.repeat(weights, len(angles)) * np.pi / polar


def harmonics(l_max: int, vectors: Array) -> list[Array]:
    """Real orthonormal harmonics of directions (n, 3) by l, (n, 2 l + 1), in SciPy's conventions.

    No integral over the sphere depends on the order or the signs of m.
    """
    polar = np.arctan2(np.hypot(vectors[:, 0], vectors[:, 1]), vectors[:, 2])
    azimuth = np.arctan2(vectors[:, 1], vectors[:, 0])
    found = []
    for order in range(l_max + 1):
        columns = []
        for m in range(order + 1):
            if hasattr(scipy.special, "sph_harm_y"):
                y = scipy.special.sph_harm_y(order, m, polar, azimuth)
            else:
                y = scipy.special.sph_harm(m, order, azimuth, polar)
            columns += [y.real] if m == 0 else [np.sqrt(2.0) * y.real, np.sqrt(2.0) * y.imag]
        found.append(np.stack(columns, axis=1))
    return found


def coefficients(term: BispectrumTerm, atoms: Atoms, center: int) -> list[Array]:
    """Density of a cluster's atoms about one of them, by l: (2 l + 1, channels)."""
    l_max, channels = term.basis.l_max, term.radial.shape[-1]
    found = [np.zeros((2 * order + 1, channels)) for order in range(l_max + 1)]
    vectors = atoms.positions - atoms.positions[center]
    near = [n for n, r in enumerate(np.linalg.norm(vectors, axis=1)) if 0.0 < r < term.cutoff]
    for n in near:
        table = term.radial[term.numbers.index(int(atoms.numbers[n]))]
        knots = term.cutoff / (len(table) - 3) * (np.arange(len(table) + 4) - 3.0)
        radial = scipy.interpolate.BSpline(knots, table, 3)(np.linalg.norm(vectors[n]))
        for order, y in enumerate(harmonics(l_max, vectors[n : n + 1])):
            found[order] += np.outer(y[0], radial[order])
    return found


def by_quadrature(term: BispectrumTerm, atoms: Atoms, center: int, seed: int = 0) -> Array:
    """Descriptors of an atom of a cluster."""
    c = coefficients(term, atoms, center)
    root = np.sqrt(term.offset + sum(float(np.sum(part**2)) for part in c))
    points, weights = directions(4 * term.basis.l_max + 4, seed)
    y = harmonics(term.basis.l_max, points)
    fields = np.concatenate([one @ part / root for one, part in zip(y, c, strict=True)], axis=1)
    values = [weights @ np.prod(fields[:, p[p >= 0]], axis=1) for p in term.products]
    return term.scales * np.array(values)


def make_term(
    numbers: tuple[int, ...],
    *,
    channels: int = 2,
    l_max: int = 3,
    order: int = 4,
    offset: float = 0.3,
) -> BispectrumTerm:
    """A term whose channels combine radial functions and elements at random, with random scales."""
    rng = np.random.default_rng(channels + 10 * l_max)
    basis = RadialBasis(cutoff=CUTOFF, cutoff_width=1.5, n_max=5, l_max=l_max, atom_sigma=0.5)
    mixing = rng.normal(size=(l_max + 1, channels, len(numbers), basis.n_max))
    products = products_of(channels, l_max, order)
    return BispectrumTerm(
        *(basis, numbers, mixing, tables(basis, mixing)[0], products),
        *(rng.uniform(0.5, 2.0, len(products)), offset),
        cutoff=CUTOFF,
    )


def cluster(symbols: Sequence[str], seed: int = 2) -> Atoms:
    """Seven atoms more than 1.2 Å apart, most of which see each other."""
    rng = np.random.default_rng(seed)
    places: list[Array] = []
    while len(places) < 7:
        place = rng.uniform(-2.2, 2.2, 3)
        if all(np.linalg.norm(place - other) > 1.2 for other in places):
            places.append(place)
    return Atoms([symbols[n % len(symbols)] for n in range(7)], places)


def descriptors(term: BispectrumTerm, atoms: Atoms) -> Array:
    """Of all atoms, (n, products)."""
    structure = Structure(as_frame(atoms), term.cutoff)
    found = np.full((len(atoms), len(term.products)), np.nan)
    for z in sorted({int(z) for z in atoms.numbers}):
        where, values = term.descriptors(structure, z)
        found[where] = values
    return found


@pytest.mark.parametrize(
    ("symbols", "channels", "l_max", "order", "offset"),
    [
        (["Si"], 2, 3, 4, 0.3),
        (["Si", "O"], 2, 3, 4, 50.0),
        (["Si"], 2, 4, 4, 0.1),
        (["Si", "O", "H"], 3, 2, 4, 1e-3),
        (["Si", "O"], 2, 6, 3, 1.0),
        (["Si"], 4, 0, 4, 1.0),
        (["O"], 1, 5, 2, 1.0),
    ],
)
def test_descriptors_are_integrals_over_the_sphere(
    symbols: list[str], channels: int, l_max: int, order: int, offset: float
) -> None:
    """To rounding of sums over some thousand points, whichever way these are turned."""
    atoms = cluster(symbols)
    term = make_term(
        tuple(sorted(set(atoms.numbers.tolist()))),
        **{"channels": channels, "l_max": l_max, "order": order, "offset": offset},  # type: ignore[arg-type]
    )
    found = descriptors(term, atoms)
    assert np.abs(found).max() > 1e-3
    for center in range(len(atoms)):
        for seed in (0, 1):
            expected = by_quadrature(term, atoms, center, seed)
            np.testing.assert_allclose(found[center], expected, rtol=0, atol=1e-12)


def test_squares_of_an_atoms_fields_add_up_to_less_than_one() -> None:
    """|c|^2 / (offset + |c|^2): no compression makes the fields run away."""
    term = make_term((14,), offset=0.5)
    count = term.radial.shape[-1] * (term.basis.l_max + 1)
    places = term.products
    squares = (places[:, 2] == -1) & (places[:, 0] == places[:, 1])
    assert sum(squares) == count
    atoms = cluster(["Si"])
    for scale in (1.0, 0.5, 0.05):
        close = atoms.copy()
        close.positions *= scale
        powers = (descriptors(term, close) / term.scales)[:, squares].sum(axis=1)
        for center, power in enumerate(powers):
            size = sum(float(np.sum(part**2)) for part in coefficients(term, close, center))
            assert power == pytest.approx(size / (0.5 + size), rel=1e-12)
            assert power < 1.0


# ----- which products -----


@pytest.mark.parametrize(("channels", "l_max"), [(1, 3), (1, 4), (2, 2), (3, 1), (2, 0)])
def test_products_are_those_that_no_symmetry_makes_vanish(channels: int, l_max: int) -> None:
    """Fields of random coefficients: the others' integrals vanish, or their l are too large."""
    rng = np.random.default_rng(4)
    points, weights = directions(4 * l_max + 4, 3)
    fields = np.concatenate(
        [y @ rng.normal(size=(y.shape[1], channels)) for y in harmonics(l_max, points)], axis=1
    )
    given = {tuple(int(n) for n in p if n >= 0) for p in products_of(channels, l_max, 4)}
    for count in (1, 2, 3, 4):
        for product in combinations_with_replacement(range(fields.shape[1]), count):
            integral = abs(float(weights @ np.prod(fields[:, product], axis=1)))
            total = sum(n // channels for n in product)
            if total > min(3 * l_max, 10):
                assert product not in given
            else:
                assert (integral > 1e-9) == (product in given), (product, integral)


def test_orders_of_products_are_nested() -> None:
    """Each once, its fields in order, -1 behind them; more fields only add products."""
    before: set[tuple[int, ...]] = set()
    for order in (1, 2, 3, 4):
        products = products_of(2, 3, order)
        assert products.shape[1] == 4
        rows = {tuple(int(n) for n in row) for row in products}
        assert len(rows) == len(products)
        for row in rows:
            fields = [n for n in row if n >= 0]
            assert list(row) == sorted(fields) + [-1] * (4 - len(fields))
            assert 1 <= len(fields) <= order
        assert before < rows
        before = rows
    assert products_of(1, 0, 4).tolist() == [
        [0, -1, -1, -1],
        [0, 0, -1, -1],
        [0, 0, 0, -1],
        [0, 0, 0, 0],
    ]


# ----- sizes -----


def alloys(count: int = 6) -> list[Frame]:
    """Rattled cells of eight atoms of two elements."""
    rng = np.random.default_rng(7)
    frames = []
    for n in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6).repeat((2, 1, 1))
        atoms.symbols[rng.choice(8, 3, replace=False)] = "Ni"
        atoms.rattle(0.15, rng=rng)
        frames.append(as_frame(atoms, index=n))
    return frames


def opened(frames: Sequence[Frame], **changes: Any) -> BispectrumTerm:
    terms = [{"kind": "bispectrum", "cutoff": CUTOFF, "n_max": 6, **changes}]
    given = Settings.from_dict({"data": {"train": "x.xyz"}, "terms": terms})
    settings = given.terms[0]
    assert isinstance(settings, BispectrumSettings)
    return settings.open(Survey.of(frames, given))


def all_descriptors(term: BispectrumTerm, frames: Sequence[Frame]) -> Array:
    found = []
    for frame in frames:
        structure = Structure(frame, term.cutoff)
        found += [term.descriptors(structure, z)[1] for z in sorted({*frame.numbers.tolist()})]
    return np.concatenate(found)


@pytest.mark.parametrize("order", [2, 4])
def test_scales_share_a_unit_variance_among_the_products(order: int) -> None:
    """Each has its part, but for those that hardly vary: they have less."""
    frames = alloys()
    term = opened(frames, order=order)
    assert len(term.products) == len(term.scales) == len(products_of(2, 3, order))
    spread = np.std(all_descriptors(term, frames), axis=0)
    bare = spread / term.scales
    usual = bare > LEAST_SCALE * bare.max()
    part = 1.0 / np.sqrt(len(spread))
    assert usual.sum() > 0.5 * len(usual)
    np.testing.assert_allclose(spread[usual], part, rtol=1e-9)
    assert np.all(spread[~usual] <= part)
    assert usual.mean() - 1e-9 < np.sum(spread**2) < 1.0 + 1e-9
    assert order > 2 or usual.all()


def test_offset_is_a_part_of_the_size_of_the_density() -> None:
    frames = alloys()
    term = opened(frames)
    sizes = []
    for frame in frames:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
        many = atoms.repeat((3, 5, 5))  # the copy in the middle sees no end of the crystal
        middle = range((1 * 25 + 2 * 5 + 2) * len(atoms), (1 * 25 + 2 * 5 + 3) * len(atoms))
        many.pbc = False
        sizes += [
            sum(float(np.sum(part**2)) for part in coefficients(term, many, n)) for n in middle
        ]
    assert term.offset == pytest.approx(OFFSET * float(np.mean(sizes)), rel=1e-9)


def test_frames_without_any_neighbours_give_a_term_that_can_be_used() -> None:
    frames = [as_frame(Atoms("Cu", [[0.0, 0.0, 0.0]]))]
    term = opened(frames)
    assert term.offset == 1.0
    np.testing.assert_array_equal(term.scales, 1.0)


# ----- isolated atoms -----


def with_points(term: BispectrumTerm, frames: Sequence[Frame], count: int = 4) -> BispectrumTerm:
    pools, _ = candidate_pools(frames, term, np.random.default_rng(0))
    return term.with_blocks([Block(z, pool.points[:count]) for z, pool in pools.items()])


def test_atoms_without_neighbours_have_nothing() -> None:
    """Exactly: alone, and beside others that have all left the cutoff; nothing jumps as they go."""
    term = with_points(opened(alloys()), alloys())
    structure = Structure(as_frame(Atoms("Cu", [[0.1, 0.2, 0.3]])), term.cutoff)
    np.testing.assert_array_equal(term.descriptors(structure, 29)[1], 0.0)
    np.testing.assert_array_equal(term.isolated(structure, 29), 0.0)
    for atoms in (
        Atoms("Cu", [[0.1, 0.2, 0.3]]),
        Atoms("CuNi", [[0, 0, 0], [0, 0, CUTOFF]]),
        Atoms("CuNiCu", [[0, 0, 0], [0, CUTOFF + 1e-9, 0], [2 * CUTOFF + 1, 0, 0]]),
    ):
        assert not frame_rows(as_frame(atoms), [term]).any()
    leaving = Atoms("CuNi", [[0, 0, 0], [0, 0, CUTOFF - 1e-4]])
    assert np.abs(frame_rows(as_frame(leaving), [term])).max() < 1e-6
    inside = Atoms("CuNi", [[0, 0, 0], [0, 0, 0.6 * CUTOFF]])
    assert np.abs(frame_rows(as_frame(inside), [term])).max() > 1e-3


# ----- fits and maps -----


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[Frame]]:
    """Copper of ASE's effective-medium theory, of a term of this kind alone."""
    folder = tmp_path_factory.mktemp("copper")
    frames = labelled_copper.read(
        folder, labelled_copper.text(labelled_copper.copper(50, rattle=0.15))
    )
    term = {"kind": "bispectrum", "cutoff": 4.5, "n_max": 6}
    settings = {"data": {"train": "x.xyz"}, "core": "none", "e0": "average", "terms": [term]}
    return fit_frames(Settings.from_dict(settings), frames), frames


def test_fit_has_about_as_many_points_as_products(
    fitted: tuple[Model, list[Frame]],
) -> None:
    model, frames = fitted
    (term,) = (t for t in model.terms if isinstance(t, BispectrumTerm))
    assert sum(len(frame.numbers) for frame in frames) > len(term.products)
    assert 0.9 * len(term.products) < term.size <= len(term.products)
    truth = Truth(model)
    errors = [truth.prediction(f).forces - f.forces for f in frames if f.forces is not None]
    sizes = [f.forces for f in frames if f.forces is not None]
    assert np.std(np.concatenate(errors)) < 0.2 * np.std(np.concatenate(sizes))


def test_the_map_is_the_process(fitted: tuple[Model, list[Frame]], tmp_path: Path) -> None:
    """Nothing is approximated, not where there were no data either: rounding, also after the file."""
    model, frames = fitted
    mapped = map_model(model, frames, 1e-4)
    write_potential(mapped.data, tmp_path / "p.forcemap")
    truth = Truth(model)
    read = load(tmp_path / "p.forcemap").evaluator(skin=0.0)
    hot = bulk("Cu", cubic=True, a=3.3).repeat((2, 1, 1))
    hot.rattle(0.4, seed=1)
    for frame in (*frames[:4], as_frame(hot)):
        expected = truth.prediction(frame)
        for evaluator in (mapped.potential.evaluator(skin=0.0), read):
            found = evaluated(evaluator, frame)
            for name in ("energy", "forces", "strain"):
                mine, wanted = getattr(found, name), getattr(expected, name)
                room = 1e-8 * max(1.0, float(np.abs(wanted).max()))
                np.testing.assert_allclose(mine, wanted, rtol=0, atol=room, err_msg=name)


def test_other_widths_keep_mixing_scales_and_offset(fitted: tuple[Model, list[Frame]]) -> None:
    (term,) = (t for t in fitted[0].terms if isinstance(t, BispectrumTerm))
    here = term.at(term.hyperparameters())
    np.testing.assert_allclose(here.radial, term.radial, atol=1e-13)
    other = term.at({"atom_sigma": 1.2 * term.basis.atom_sigma})
    assert other.radial.shape == term.radial.shape
    assert np.abs(other.radial - term.radial).max() > 1e-3
    assert other.offset == term.offset
    np.testing.assert_array_equal(other.scales, term.scales)


# ----- settings -----


def stood_for(**soap: Any) -> list[list[str]]:
    """Kinds of the terms of each alternative of a soap term."""
    given = Settings.from_dict({"data": {"train": "a.xyz"}, "terms": [{"kind": "soap", **soap}]})
    frames = [as_frame(bulk("Si", cubic=True))]
    return [
        [t.kind for t in option.terms] for option in alternatives(given, Survey.of(frames, given))
    ]


def test_bare_soap_terms_contain_one() -> None:
    """One bispectrum term in each alternative, unless it is off or the term is not the default's."""
    for given in ({}, {"bispectrum": True}, {"zeta": 3}, {"n_channels": 4, "n_max": 8}):
        options = stood_for(**given)
        assert len(options) > 1
        assert all(kinds == ["soap", "soap", "bispectrum"] for kinds in options), given
    for given in ({"bispectrum": False}, {"n_max": 6}, {"n_scales": 2, "n_species_channels": 1}):
        assert all(kinds == ["soap", "soap"] for kinds in stood_for(**given)), given
    shaped = ({"atom_sigma": 0.5}, {"cutoff_width": 2.0}, {"cutoff": 4.0})
    for given in (*shaped, {"n_scales": 1, "bispectrum": False}):
        assert stood_for(**given) == [["soap"]], given
    for given in ({"n_scales": 1}, {"atom_sigma": 0.5, "bispectrum": True}):
        assert stood_for(**given) == [["soap", "bispectrum"]], given
    assert stood_for(n_max=6, bispectrum=True)[0] == ["soap", "soap", "bispectrum"]


def test_soap_terms_with_a_cutoff_refuse_one() -> None:
    with pytest.raises(CrossCheckError, match="is for terms without a cutoff; add a term of that"):
        SoapSettings(cutoff=4.0, bispectrum=True).cross_check()
    terms = [{"kind": "soap", "cutoff": 4.0, "bispectrum": True}]
    with pytest.raises(ForcemapError, match=r"terms.*bispectrum.*without a cutoff"):
        Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("order", 5, "4"),
        ("order", 1, "2"),
        ("n_channels", 9, "8"),
        ("l_max", 7, "6"),
        ("n_max", 33, "32"),
        ("atom_sigma", 0.01, "0.05"),
        ("zeta", 2, "unknown key"),
    ],
)
def test_settings_beyond_their_limits_are_refused(key: str, value: float, expected: str) -> None:
    terms = [{"kind": "bispectrum", key: value}]
    with pytest.raises(ForcemapError) as error:
        Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})
    assert key in str(error.value)
    assert expected in str(error.value)


# ----- the model's file -----


def test_model_is_read_as_it_was_written(fitted: tuple[Model, list[Frame]], tmp_path: Path) -> None:
    model, frames = fitted
    write_model(model, tmp_path / "m.forcemap")
    again = read_model(tmp_path / "m.forcemap")
    for name in ("mixing", "radial", "products", "scales", "offset"):
        np.testing.assert_array_equal(getattr(again.terms[0], name), getattr(model.terms[0], name))
    assert again.terms[0].summary() == model.terms[0].summary()
    np.testing.assert_array_equal(
        Truth(again).prediction(frames[0]).forces, Truth(model).prediction(frames[0]).forces
    )


Change = Callable[[dict[str, Any], dict[str, Array]], object]


def entry(name: str, value: object) -> Change:
    return lambda document, _: document["terms"][0].update({name: value})


def basis_entry(name: str, value: object) -> Change:
    return lambda document, _: document["terms"][0]["basis"].update({name: value})


def item(tensor: str, at: Any, value: float) -> Change:
    return lambda _, tensors: tensors[f"{tensor}.0"].__setitem__(at, value)


def cut(tensor: str) -> Change:
    return lambda _, tensors: tensors.update({f"{tensor}.0": tensors[f"{tensor}.0"][:-1]})


DAMAGED = "its products tensor is not a list of fields: the file is damaged"
FAULTS: dict[str, tuple[Change, str]] = {
    "offset 0": (entry("offset", 0.0), "offset: found 0.0, expected a number above 0"),
    "offset below 0": (entry("offset", -1.0), "offset: found -1.0, expected a number above 0"),
    "no offset": (lambda d, _: d["terms"][0].pop("offset"), "found no entry 'offset'"),
    "channels": (entry("channels", 0), "channels: found 0"),
    "other channels": (entry("channels", 3), "found the shape"),
    "width": (basis_entry("cutoff_width", 9.0), "cutoff_width must be positive and consistent"),
    "l_max": (basis_entry("l_max", 9), "l_max: found 9"),
    "fewer l": (basis_entry("l_max", 2), "found the shape"),
    "more of the basis": (basis_entry("x", 1), "found the unknown entry 'x'"),
    "half a field": (item("products", (0, 0), 0.5), DAMAGED),
    "no such field": (item("products", (0, 0), 8.0), DAMAGED),
    "below -1": (item("products", (3, 3), -2.0), DAMAGED),
    "fewer products": (cut("products"), DAMAGED),
    "fewer scales": (cut("scales"), DAMAGED),
    "mixing": (cut("mixing"), "its tensors have not the sizes"),
    "no products": (lambda _, t: t.pop("products.0"), "products.0"),
    "points": (lambda _, t: t.update({"points.0.0": np.zeros((3, 4))}), "found the shape"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_of_model_files_are_refused(
    fault: str, fitted: tuple[Model, list[Frame]], tmp_path: Path
) -> None:
    check_refused(fitted[0], *FAULTS[fault], tmp_path)
