"""SOAP descriptors of GAPs: the terms have QUIP's energies, forces and stresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
from ase import Atoms
from ase.io import read
from forcemap.fitter.importers.gap import Coordinate
from forcemap.fitter.importers.gap_file import read_gap
from forcemap.fitter.importers.quip_arguments import parse_arguments
from forcemap.fitter.importers.quip_mixing import layout_of, normal_numbers
from forcemap.fitter.importers.quip_radial import DEGREE, QuipRadial, tabulated
from forcemap.fitter.importers.quip_soap import soap_terms
from forcemap.fitter.importers.soap_ranks import reduced
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import SoapContractedFunctions, SoapFunctions
from gap_files import fitted, frames, published, quip_answers
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Array = NDArray[np.float64]

SIZES = "cutoff=4.0 n_max=3 l_max=2 atom_sigma=0.6"
NUMBERS = {"l_max": 2, "n_max": 3}
ONE = f"soap {SIZES} n_Z=1 Z=14 n_species=1 species_Z={{14}}"
TWO = f"soap {SIZES} n_Z=1 Z=17 n_species=2 species_Z={{17 3}}"
THREE = f"soap {SIZES} n_Z=1 Z=8 n_species=3 species_Z={{8 1 6}}"


def coordinate(text: str, points: Array, alphas: Array, **changes: Any) -> Coordinate:
    """A coordinate with these sparse points."""
    values: dict[str, Any] = {
        "place": "gap.xml: number 1",
        "label": "GAP_1",
        "kind": "soap",
        "arguments": parse_arguments(text, "gap.xml: number 1"),
        "covariance": "dot_product",
        "delta": 0.7,
        "f0": 0.0,
        "zeta": 2.0,
        "theta": None,
        "permutations": np.zeros((1, points.shape[1]), dtype=np.intp),
        "points": points,
        "alphas": alphas,
        "point_cutoffs": np.ones(len(points)),
    }
    return Coordinate(**(values | changes))


def potential_of(
    coordinates: list[Coordinate], species: tuple[int, ...], rank: int | None = None
) -> PotentialData:
    brought = soap_terms(coordinates, species, rank)
    e0 = {SYMBOLS[z]: brought.e0.get(z, 0.0) for z in species}
    return PotentialData(tuple(SYMBOLS[z] for z in species), e0, brought.terms)


def energies_of(data: PotentialData, atoms: Atoms) -> Array:
    """Energies of the sites, eV."""
    evaluator = as_potential(data).evaluator()
    found = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    return np.asarray(found.energies)


def environment(species: tuple[int, ...], seed: int, count: int = 7) -> Atoms:
    """A cell smaller than the cutoff, with all species."""
    rng = np.random.default_rng(seed)
    numbers = np.resize(species, count)
    atoms = Atoms(numbers=numbers, positions=rng.uniform(0.0, 5.0, (count, 3)), cell=3 * [5.0])
    atoms.pbc = True
    atoms.set_cell(atoms.cell.array + rng.normal(0.0, 0.3, (3, 3)), scale_atoms=True)
    return atoms


# ----- the spectrum -----

PLAIN = [
    (ONE, (14,)),
    (f"{ONE} central_weight=0.3 cutoff_transition_width=2.0", (14,)),
    (f"{ONE} basis_error_exponent=5 radial_scaling=-0.5", (14,)),
    (f"{ONE} cutoff_dexp=2 cutoff_scale=1.5 cutoff_rate=0.5", (14,)),
    (f"{ONE} cutoff_dexp=3 cutoff_scale=2.0 cutoff_rate=0", (14,)),
    (f"soap {SIZES} n_Z=1 Z=0 n_species=1 species_Z=0", (14, 29)),
    (f"soap {SIZES}", (14, 29)),
    (f"soap {SIZES} n_Z=1 Z=0 n_species=2 species_Z={{29 6}}", (6, 14, 29)),
    (f"soap {SIZES} n_Z=2 Z={{14 29}} n_species=2 species_Z={{29 14}}", (14, 29)),
    (TWO, (3, 17)),
    (
        f"soap {SIZES.replace('atom_sigma', 'atom_gaussian_width')} Z=8 n_species=1 species_Z=8",
        (1, 8),
    ),
    (THREE, (1, 6, 8)),
]

COMPRESSED = [
    f"{kind} {more}"
    for kind in (TWO, THREE)
    for more in (
        "central_reference_all_species=T",
        "coupling=F",
        "diagonal_radial=T",
        "nu_R=1",
        "nu_R=0",
        "nu_S=1",
        "nu_S=0",
        "nu_R=1 nu_S=1",
        "nu_R=1 nu_S=0",
        "nu_R=0 nu_S=1",
        "nu_R=0 nu_S=0",
        "nu_S=0 coupling=F",
        "K=3 R_mix=T Z_mix=T",
        "K=9 R_mix=T Z_mix=T coupling=F",
        "K=4 R_mix=T Z_mix=T sym_mix=T",
        "K=5 R_mix=T Z_mix=T sym_mix=T coupling=F mix_shift=3",
        "K=2 R_mix=T",
        "K=2 R_mix=T sym_mix=T",
        "K=4 R_mix=T coupling=F",
        "K=4 R_mix=T sym_mix=T coupling=F central_weight=0.4",
        "K=2 Z_mix=T mix_shift=11",
        "K=2 Z_mix=T sym_mix=T",
        "K=4 Z_mix=T coupling=F",
        "K=4 Z_mix=T sym_mix=T coupling=F",
    )
] + [
    f"soap {SIZES} n_Z=1 Z=17 n_species=1 species_Z=3",
    f"soap {SIZES} n_Z=2 Z={{3 17}} n_species=1 species_Z=3",
    f"{TWO} Z_map={{17, 3}}",
    f"{TWO} Z_map={{3 17}}",
    f"{THREE} Z_map={{8, 1 6}}",
    f"{THREE} Z_map={{8, 1, 6: 1 8, 6}}",
    f"{THREE} Z_map={{8, 1 6: 1 8, 6}} coupling=F",
]
SPECIES = {TWO: (3, 17), THREE: (1, 6, 8)}


def check_spectrum(text: str, species: tuple[int, ...], kind: type) -> None:
    """Energies that are linear in the spectrum are those of quippy's descriptor."""
    descriptors = pytest.importorskip("quippy.descriptors", reason="quippy is not installed")
    descriptor = descriptors.Descriptor(text)
    atoms, other = environment(species, 3), environment(species, 4)
    sample = descriptor.calc(other)["data"]
    rng = np.random.default_rng(0)
    alphas = rng.normal(size=len(sample))
    data = potential_of([coordinate(text, sample, alphas, zeta=1.0)], species)
    assert isinstance(data.terms[0], kind)
    found = energies_of(data, atoms)
    answer = descriptor.calc(atoms)
    centres = np.asarray(answer["ci"]) - (0 if np.min(answer["ci"]) == 0 else 1)
    expected = np.zeros(len(atoms))
    given = parse_arguments(text).integers("Z", (0,))
    where = np.flatnonzero(np.isin(atoms.numbers, given) | (0 in given))
    assert len(centres) == len(where)
    expected[where] = answer["data"] @ sample.T @ alphas * 0.7**2
    # Rounding of both programs, in sums of some numbers of order one.
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=2e-11)


@pytest.mark.parametrize(("text", "species"), PLAIN)
def test_spectra_are_those_of_quip(text: str, species: tuple[int, ...]) -> None:
    check_spectrum(text, species, SoapFunctions)


@pytest.mark.parametrize("text", COMPRESSED)
def test_compressed_spectra_are_those_of_quip(text: str) -> None:
    check_spectrum(text, SPECIES[THREE if text.startswith(THREE) else TWO], SoapContractedFunctions)


def test_random_numbers_are_those_of_quip() -> None:
    """As its generator gives them after the seed 214, compared through quippy's wrapper."""
    system = pytest.importorskip("quippy.system_module", reason="quippy is not installed")
    for seed in (214, 402, 617):
        system.system_reseed_rng(seed)
        expected = [system.ran_normal() for _ in range(50)]
        np.testing.assert_allclose(normal_numbers(seed, 50), expected, rtol=1e-14)


def test_random_numbers_follow_from_the_seed() -> None:
    """Those with which quippy 0.10.3 mixes silicon; the sign of the first is not observable."""
    np.testing.assert_allclose(
        np.abs(normal_numbers(214, 5)),
        [0.133669674, 0.719713, 0.192859782, 1.079931197, 0.157541767],
        atol=1e-8,
    )


# ----- radial functions -----

RADIAL = QuipRadial(4.0, 0.5, 5, 4, 0.5)


def spline_of(radial: QuipRadial) -> BSpline:
    coefficients = tabulated(radial)
    intervals = len(coefficients) - DEGREE
    knots = np.arange(-DEGREE, intervals + DEGREE + 1) * (radial.cutoff / intervals)
    return BSpline(knots, coefficients, DEGREE)


def test_splines_have_the_values_and_slopes_of_the_functions() -> None:
    spline = spline_of(RADIAL)
    r = np.random.default_rng(0).uniform(0.0, RADIAL.cutoff, 200)
    step = 1e-3
    near = [RADIAL.values(r + k * step) for k in (-2, -1, 1, 2)]
    slopes = (near[0] - 8.0 * near[1] + 8.0 * near[2] - near[3]) / (12.0 * step)
    scale = np.abs(RADIAL.values(r)).max()
    np.testing.assert_allclose(spline(r), RADIAL.values(r), rtol=0.0, atol=1e-13 * scale)
    # The difference has errors of step^4 = 1e-12, times derivatives of the fifth order, some 100.
    np.testing.assert_allclose(spline(r, 1), slopes, rtol=0.0, atol=1e-9 * scale)


def test_functions_are_orthonormal_projections() -> None:
    """A neighbour's Gaussian at one of the r_n is a basis Gaussian: its products with the functions."""
    alpha = 0.5 / RADIAL.atom_sigma**2
    centres, transform = RADIAL._transform()
    gaussians = np.exp(-alpha * (centres[:, None] - centres) ** 2)
    overlaps = np.array(
        [
            [
                scipy.integrate.quad(
                    lambda x, a=a, b=b: x**2 * np.exp(-alpha * ((x - a) ** 2 + (x - b) ** 2)),
                    0.0,
                    20.0,
                    points=(a, b),
                    epsabs=1e-13,
                )[0]
                for a in centres
            ]
            for b in centres
        ]
    )
    factor = gaussians @ transform
    np.testing.assert_allclose(factor @ factor.T, overlaps, rtol=0.0, atol=1e-11)


def test_functions_have_the_parity_of_their_order() -> None:
    r = np.linspace(0.1, 1.0, 7)
    signs = (-1.0) ** np.arange(RADIAL.l_max + 1)
    np.testing.assert_allclose(
        RADIAL.values(-r), RADIAL.values(r) * signs[:, None], rtol=0.0, atol=1e-14
    )


# ----- energies -----


def sample(text: str, count: int, seed: int = 0) -> Array:
    """Sparse points with numbers as many as the descriptor has."""
    arguments = parse_arguments(text)
    channels, n_max = arguments.integers("species_Z"), arguments.integer("n_max")
    layout = layout_of(arguments, channels, n_max)
    width = len(channels) * n_max
    pairs = width * (width + 1) // 2 if layout is None else len(layout.pairs)
    size = (arguments.integer("l_max") + 1) * pairs
    points = np.abs(np.random.default_rng(seed).normal(size=(count, size)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.column_stack([points, np.zeros(count)])


def test_an_isolated_atom_has_the_energy_in_e0() -> None:
    """Also the centre's own spectrum has products with the sparse points."""
    points, alphas = sample(TWO, 4), np.array([1.0, -0.5, 2.0, 0.1])
    brought = soap_terms([coordinate(TWO, points, alphas, zeta=3.0)], (3, 17))
    own = RADIAL_OF_TWO.centre
    rows = [(i, j) for i in range(6) for j in range(i + 1)]
    c = np.concatenate([own, np.zeros(3)])
    p = np.zeros(points.shape[1] - 1)
    p[::3] = [c[i] * c[j] * (1.0 if i == j else np.sqrt(2.0)) for i, j in rows]
    p /= np.linalg.norm(p)
    expected = float(alphas @ (points[:, :-1] @ p) ** 3 * 0.7**2)
    assert brought.e0 == pytest.approx({17: expected}, rel=1e-12)
    alone = Atoms(numbers=[17], positions=[[0.0, 0.0, 0.0]])
    data = potential_of([coordinate(TWO, points, alphas, zeta=3.0)], (3, 17))
    np.testing.assert_allclose(energies_of(data, alone), [expected], rtol=1e-12)


RADIAL_OF_TWO = QuipRadial(4.0, 0.5, 3, 2, 0.6)


def test_coordinates_that_differ_in_the_centre_are_one_term() -> None:
    other = TWO.replace("Z=17 ", "Z=3 ")
    deeper = TWO.replace("cutoff=4.0", "cutoff=4.5")
    given = [
        coordinate(text, sample(text, count), np.ones(count))
        for text, count in ((TWO, 4), (deeper, 2), (other, 3), (TWO, 1))
    ]
    first, second = soap_terms(given, (3, 17)).terms
    assert isinstance(first, SoapFunctions)
    assert isinstance(second, SoapFunctions)
    assert {symbol: len(c.factors) for symbol, c in first.centers.items()} == {"Cl": 5, "Li": 3}
    assert {symbol: len(c.factors) for symbol, c in second.centers.items()} == {"Cl": 2}


def test_channels_in_the_order_of_the_species_need_no_mixing() -> None:
    (term,) = soap_terms([coordinate(TWO, sample(TWO, 4), np.ones(4))], (3, 17)).terms
    assert isinstance(term, SoapFunctions)
    np.testing.assert_array_equal(term.weights, np.eye(2))


@pytest.mark.parametrize("zeta", [1.0, 2.0, 2.5, 4.0])
def test_energies_are_those_of_the_sum(zeta: float) -> None:
    """A species whose sum is divided among coordinates has the energies of the whole sum."""
    points, alphas = sample(TWO, 9), np.random.default_rng(1).normal(size=9)
    whole = potential_of([coordinate(TWO, points, alphas, zeta=zeta)], (3, 17))
    parts = [coordinate(TWO, points[n::2], alphas[n::2], zeta=zeta) for n in (0, 1)]
    atoms = environment((3, 17), 8)
    atoms.numbers[:] = [17, 3, 17, 3, 3, 3, 17]
    found = energies_of(potential_of(parts, (3, 17)), atoms)
    np.testing.assert_allclose(found, energies_of(whole, atoms), rtol=0.0, atol=1e-12)


# ----- ranks -----


def test_a_quadratic_form_of_many_points_is_exact_in_fewer_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors, factors = rng.normal(size=(40, 6)), rng.normal(size=40)
    found = reduced(factors, vectors, 2.0, None)
    assert len(found.factors) <= 6
    assert not found.note
    x = rng.normal(size=(10, 6))
    expected = (x @ vectors.T) ** 2 @ factors
    np.testing.assert_allclose((x @ found.vectors.T) ** 2 @ found.factors, expected, rtol=1e-11)


@pytest.mark.parametrize("zeta", [2.0, 2.5, 3.0, 4.0])
def test_the_error_of_a_rank_is_stated_and_falls(zeta: float) -> None:
    rng = np.random.default_rng(0)
    vectors = np.abs(1.0 + 0.2 * rng.normal(size=(30, 8)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    factors = rng.normal(size=30)
    expected = (vectors @ vectors.T) ** zeta @ factors
    errors = []
    for rank in (2, 4, 7):
        found = reduced(factors, vectors, zeta, rank)
        assert found.note["rank"] == len(found.factors) == rank
        error = np.abs((vectors @ found.vectors.T) ** zeta @ found.factors - expected).max()
        assert found.note["energy_max_error_ev"] == pytest.approx(error, rel=1e-6)
        assert found.note["energy_rms_error_ev"] <= error
        errors.append(error)
    assert errors[2] < 0.5 * errors[0]
    assert not reduced(factors, vectors, zeta, 30).note


def test_ranks_are_noted_by_species() -> None:
    points = sample(TWO, 6)
    brought = soap_terms([coordinate(TWO, points, np.ones(6), zeta=4.0)], (3, 17), rank=3)
    (note,) = brought.notes["soap_rank"]
    assert note["Cl"]["rank"] == 3
    assert note["Cl"]["exact_rank"] == 6
    (term,) = brought.terms
    assert isinstance(term, SoapFunctions)
    assert len(term.centers["Cl"].factors) == 3


# ----- what is refused -----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("average=T", "average=T"),
        ("normalise=F", "normalise=F"),
        ("normalize=.false.", "normalize=.false."),
        ("covariance_sigma0=0.1", "covariance_sigma0=0.1"),
        ("radial_basis=GTO", "radial_basis=GTO"),
        ("n_max=0", "n_max=0 (character"),
        ("n_max=200", "is not from 1 to 128"),
        ("l_max=21", "is not from 0 to 20"),
        ("cutoff=0", "cutoff=0"),
        ("cutoff_transition_width=9", "cutoff_transition_width=9"),
        ("atom_sigma=0", "atom_sigma"),
        ("basis_error_exponent=-1", "basis_error_exponent=-1"),
        ("species_Z={17 17}", "names a species twice"),
        ("R_mix=T", "need K from 1 to 4096"),
        ("R_mix=T K=2 mix_shift=-1", "mix_shift=-1"),
        ("R_mix=T K=2 nu_R=1", "do not go together"),
        ("Z_map={17, 3} nu_S=1", "do not go together"),
        ("Z_map={17, 8}", "not of the numbers in species_Z"),
        ("Z_map={17:3:17}", "more than two sets"),
        ("nu_R=3", "is not 0, 1 or 2"),
        ("nu_R=1 coupling=F", "equally many channels"),
        ("diagonal_radial=T coupling=F", "do not go together"),
        ("cutoff_dexp=2 cutoff_scale=0", "cutoff_scale above 0"),
    ],
)
def test_what_cannot_be_brought_in_is_named(change: str, message: str) -> None:
    given = coordinate(f"{TWO} {change}", sample(TWO, 2), np.ones(2))
    with pytest.raises(ForcemapError) as error:
        soap_terms([given], (3, 17))
    assert message in str(error.value)
    assert str(error.value).startswith("gap.xml: number 1: ")


def test_sparse_points_of_another_size_are_refused() -> None:
    points = sample(TWO, 2)[:, :-1]
    message = "gap.xml: number 1: the sparse points have 63 numbers, the descriptor 64"
    with pytest.raises(ForcemapError, match=message):
        soap_terms([coordinate(TWO, points, np.ones(2))], (3, 17))


def test_other_covariances_are_refused() -> None:
    given = coordinate(TWO, sample(TWO, 2), np.ones(2), covariance="ard_se", zeta=None)
    with pytest.raises(ForcemapError, match="soap with covariance_type=ard_se cannot be imported"):
        soap_terms([given], (3, 17))


# ----- whole GAPs -----

SOAP = (
    "soap cutoff=4.0 n_max=5 l_max=4 atom_sigma=0.5 n_sparse=25 delta=0.5 "
    "covariance_type=dot_product sparse_method=cur_points"
)


@pytest.mark.parametrize(
    ("symbols", "more"),
    [
        ("Si", "zeta=2 cutoff_transition_width=0.7"),
        ("Si", "zeta=2.5 radial_scaling=-0.5"),
        ("NaCl", "zeta=4 central_weight=0.5 f0=0.2"),
        ("NaCl", "zeta=4 R_mix=T Z_mix=T K=4"),
    ],
)
def test_fits_of_gap_fit_have_quips_answers(symbols: str, more: str, tmp_path: Path) -> None:
    path = fitted(tmp_path, symbols, f"{SOAP} {more}")
    gap = read_gap(path)
    species = (14,) if symbols == "Si" else (11, 17)
    brought = soap_terms(gap.coordinates, species)
    e0 = {SYMBOLS[z]: gap.e0[z] + brought.e0[z] for z in species}
    data = PotentialData(tuple(SYMBOLS[z] for z in species), e0, brought.terms)
    compare(data, path, frames(symbols, 3, seed=5), 1e-9)


def compare(data: PotentialData, path: Path, structures: list[Atoms], relative: float) -> None:
    """Differences in parts of the largest force, and of the energies."""
    evaluator = as_potential(data).evaluator()
    for atoms, (energy, forces, stress) in zip(
        structures, quip_answers(path, structures), strict=True
    ):
        found = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        scale = max(float(np.abs(forces).max()), 1.0)
        assert found.energy == pytest.approx(energy, rel=relative)
        np.testing.assert_allclose(found.forces, forces, rtol=0.0, atol=relative * scale)
        voigt = -found.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
        np.testing.assert_allclose(voigt, stress, rtol=0.0, atol=relative * scale)


@pytest.mark.parametrize("element", ["Si", "Au"])
def test_published_nanoclusters_have_quips_answers(element: str) -> None:
    """The forces in the file have six decimals."""
    folder = published("gap_nanoclusters")
    gap = read_gap(folder / f"{element}_gap.xml")
    z = SYMBOLS.index(element)
    brought = soap_terms(gap.coordinates, (z,))
    data = PotentialData((element,), {element: gap.e0[z] + brought.e0[z]}, brought.terms)
    evaluator = as_potential(data).evaluator()
    structures: Any = read(folder / f"{element}_relaxed.xyz", ":")
    for atoms in structures:
        found = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(found.forces, atoms.get_forces(), rtol=0.0, atol=1e-6)
