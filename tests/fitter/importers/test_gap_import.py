"""GAPs of few-body descriptors as potentials: closed forms, and QUIP's own answers.

Energies and forces are compared to 1e-8 of the largest: what is left are splines of pairs, whose slopes
are right to 3e-10 eV/Å, and QUIP's rounding, where weights of 1e5 eV and more cancel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from forcemap.fitter.importers.gap_import import ImportOptions, imported_gap
from forcemap.potentials import ForcemapCalculator
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import write_potential
from gap_files import (
    PAIR,
    Answer,
    HandMade,
    changed,
    fitted,
    frames,
    glue_text,
    published,
    quip_answers,
    written,
)

SIDES = [[1, 2, 3], [2, 1, 3], [1, 3, 2], [3, 1, 2], [2, 3, 1], [3, 2, 1]]
DEFAULT = ImportOptions()


def calculator(folder: Path, path: Path, options: ImportOptions = DEFAULT) -> ForcemapCalculator:
    found = imported_gap(path, options)
    write_potential(found.data, folder / "potential.forcemap")
    return ForcemapCalculator(folder / "potential.forcemap")


def energy_of(calculator: ForcemapCalculator, atoms: Atoms) -> float:
    atoms = atoms.copy()
    atoms.calc = calculator
    return float(atoms.get_potential_energy())


def assert_answers(
    calculator: ForcemapCalculator,
    structures: Sequence[Atoms],
    answers: Sequence[Answer],
    relative: float = 1e-8,
) -> None:
    scale = max(float(np.abs(forces).max()) for _, forces, _ in answers)
    for atoms, (energy, forces, stress) in zip(structures, answers, strict=True):
        one = atoms.copy()
        one.calc = calculator
        assert one.get_potential_energy() == pytest.approx(energy, rel=relative, abs=1e-9)
        np.testing.assert_allclose(one.get_forces(), forces, rtol=0.0, atol=relative * scale)
        if one.pbc.all():
            np.testing.assert_allclose(one.get_stress(), stress, rtol=0.0, atol=1e-9)


def pair_of(symbols: str, r: float) -> Atoms:
    return Atoms(symbols, [[0, 0, 0], [r, 0, 0]])


def cosine(r: float, cutoff: float, width: float) -> float:
    x = (r - cutoff + width) / width
    return 1.0 if x < 0.0 else 0.0 if x > 1.0 else 0.5 * (1.0 + np.cos(np.pi * x))


# ----- closed forms, without QUIP -----


@pytest.mark.parametrize("r", [0.7, 2.0, 2.9999, 3.0001, 3.6, 3.9999, 4.1])
def test_a_pair_has_the_energy_of_its_sparse_point_twice(tmp_path: Path, r: float) -> None:
    path = written(tmp_path, replace(PAIR, delta=2.0, f0=0.3, cutoffs=[0.5]))
    g = 0.5 * 0.25 * (4.0 * np.exp(-0.5 * (r - 2.0) ** 2) + 0.09)
    expected = 2.0 * g * cosine(r, 4.0, 1.0) - 3.0
    assert energy_of(calculator(tmp_path, path), pair_of("Si2", r)) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize(("compact", "times"), [("T", 2.0), ("F", 1.0)])
def test_compact_clusters_count_a_pair_from_both_atoms(
    tmp_path: Path, compact: str, times: float
) -> None:
    descriptor = f"distance_Nb order=2 cutoff=4.0 Z={{14 14}} compact_clusters={compact}"
    path = written(tmp_path, replace(PAIR, descriptor=descriptor, permutations=[[1], [1]]))
    energy = energy_of(calculator(tmp_path, path), pair_of("Si2", 2.0))
    assert energy == pytest.approx(0.25 * times - 3.0, abs=1e-9)


@pytest.mark.parametrize("compact", ["T", "F"])
def test_a_triangle_is_one_instance_or_one_of_each_atom(tmp_path: Path, compact: str) -> None:
    descriptor = (
        f"distance_Nb order=3 cutoff=3.0 cutoff_transition_width=1.0 Z={{14 14 14}} "
        f"compact_clusters={compact}"
    )
    one = HandMade(
        descriptor, [[2.0, 2.0, 2.0]], [0.5], (1.0, 1.0, 1.0), permutations=SIDES, f0=0.2
    )
    side = 2.5
    corners = Atoms("Si3", [[0, 0, 0], [side, 0, 0], [side / 2, side * np.sqrt(0.75), 0]])
    c = cosine(side, 3.0, 1.0)
    k = 0.5 * (np.exp(-0.5 * 3 * 0.25) + 0.04)
    expected = k * (3.0 * c**2 if compact == "T" else 3.0 * c**2 - 2.0 * c**3) - 4.5
    energy = energy_of(calculator(tmp_path, written(tmp_path, one)), corners)
    assert energy == pytest.approx(expected, rel=1e-12)


def test_an_angle_is_seen_in_both_orders(tmp_path: Path) -> None:
    one = HandMade(
        "angle_3b cutoff=3.0 Z=14 Z1=14 Z2=8",
        [[4.0, 0.0, 3.0]],
        [0.5],
        (1.0, 1.0, 1.0),
        covariance=4,
        permutations=[[1, 2, 3]],
    )
    atoms = Atoms("Si2O", [[0, 0, 0], [2.1, 0, 0], [0, 1.9, 0]])
    d = np.sqrt(0.04**2 + (np.hypot(2.1, 1.9) - 3.0) ** 2)
    expected = 2.0 * 0.5 * (1.0 - d) ** 4 * (4.0 * d + 1.0) - 3.0 - 7.0
    path = written(tmp_path, one, e0={14: -1.5, 8: -7.0})
    assert energy_of(calculator(tmp_path, path), atoms) == pytest.approx(expected, rel=1e-12)


def test_a_descriptor_without_species_is_for_all_of_them(tmp_path: Path) -> None:
    path = written(
        tmp_path, replace(PAIR, descriptor="distance_2b cutoff=4.0"), e0={14: 0.0, 8: 0.0}
    )
    with pytest.raises(ForcemapError, match='name those of the potential with --species "Si O"'):
        imported_gap(path, DEFAULT)
    found = calculator(tmp_path, path, ImportOptions(species=("Si", "O")))
    for symbols in ("Si2", "SiO", "O2"):
        assert energy_of(found, pair_of(symbols, 2.0)) == pytest.approx(0.5, abs=1e-9)


def test_a_missing_energy_of_atoms_is_nothing_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR, e0={8: -7.0})
    with pytest.warns(UserWarning, match="has no <e0> of Si; it is 0 eV, as for QUIP"):
        found = imported_gap(path, DEFAULT)
    assert found.data.e0 == {"Si": 0.0}


def test_provenance_says_where_a_potential_comes_from(tmp_path: Path) -> None:
    found = imported_gap(written(tmp_path, PAIR), DEFAULT)
    origin = found.data.provenance["import"]
    assert origin["label"] == "GAP_by_hand"
    assert origin["gap_version"] == "1686220958"
    assert origin["command_line"] == "at_file=train.xyz gap={by hand}"
    assert origin["file"] == "gap.xml"
    assert origin["sha256"] == found.gap.sha256
    assert origin["descriptors"] == {"distance_2b": {"count": 1, "sparse_points": 1}}


def test_a_coarser_tolerance_makes_smaller_tables(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR)
    fine, coarse = (imported_gap(path, ImportOptions(tolerance=t)) for t in (1e-9, 1e-4))
    count = [sum(t.sizes()["intervals"] for t in one.data.terms) for one in (fine, coarse)]
    assert count[1] < 0.1 * count[0]
    for one, tolerance in ((fine, 1e-9), (coarse, 1e-4)):
        assert one.notes["pair_slope_error_ev_per_a"] <= tolerance


# ----- baselines -----

R = np.array([0.5, 0.8, 1.2, 1.7, 2.3, 3.0, 3.8, 4.5])
GLUE = {(1, 1): (R, 20.0 * np.exp(-2.0 * R) * (1.0 - R / 4.5) ** 2)}


@pytest.mark.parametrize("r", [0.3, 0.5, 0.61, 1.7, 2.5, 4.4, 4.6])
def test_a_glue_baseline_is_a_spline_with_a_line_below_it(tmp_path: Path, r: float) -> None:
    from scipy.interpolate import CubicSpline

    path = written(tmp_path, PAIR, core="T", more=glue_text([14], GLUE, ("-30.0", "1e50")))
    spline = CubicSpline(*GLUE[1, 1], bc_type=((1, -30.0), (2, 0.0)))
    glue = 0.0 if r > 4.5 else spline(r) if r > 0.5 else spline(0.5) - 30.0 * (r - 0.5)
    own = 0.5 * np.exp(-0.5 * (r - 2.0) ** 2) * cosine(r, 4.0, 1.0)
    found = energy_of(calculator(tmp_path, path), pair_of("Si2", r))
    assert found == pytest.approx(float(glue) + own - 3.0, abs=2e-8)


def test_a_baseline_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    inside = written(tmp_path, PAIR, core="T", more=glue_text([14], GLUE))
    expected = energy_of(calculator(tmp_path, inside), pair_of("Si2", 1.1))
    (tmp_path / "core.xml").write_text(f"<pot>{glue_text([14], GLUE)}</pot>")
    path = written(tmp_path, PAIR, core="T")
    found = calculator(tmp_path, path, ImportOptions(glue=tmp_path / "core.xml"))
    assert energy_of(found, pair_of("Si2", 1.1)) == expected


FAULTS_OF_BASELINES: list[tuple[dict[str, Any], str]] = [
    ({"core": "T"}, "holds no <Glue_params>; give the fit's core_param_file with --glue FILE"),
    (
        {"core": "T", "potential": "Sum init_args_pot1={IP LJ} init_args_pot2={IP GAP}"},
        "has a baseline of the kind IP LJ, which cannot be imported; IP Glue can",
    ),
    (
        {"potential": "IP GAP label=GAP_by_hand do_rescale_r=T r_scale=1.01"},
        "<Potential init_args=...> asks for do_rescale_r, which cannot be imported",
    ),
    (
        {"core": "T", "more": glue_text([14], GLUE, embedding=1.0)},
        "the embedding energy of Si (<potential_density>) is not 0, and only pair functions are",
    ),
    (
        {"core": "T", "more": glue_text([14], GLUE).replace('num_points="8"', 'num_points="7"')},
        "<potential_pair> of Si-Si: num_points='7', found 8 elements <point>",
    ),
    (
        {"core": "T", "more": glue_text([14], GLUE).replace('r="1.2"', 'r="0.1"')},
        "<potential_pair> of Si-Si: expected two or more points with r increasing, from 0 to 100 Å",
    ),
    (
        {"core": "T", "more": glue_text([14], GLUE).replace('E="0.0"/>\n</po', 'E="nan"/>\n</po')},
        "E='nan': expected a finite number",
    ),
    (
        {"core": "T", "more": glue_text([14], {(1, 2): GLUE[1, 1]})},
        "<per_pair_data type1='1' type2='2'>: has a type without <per_type_data>",
    ),
    (
        {"core": "T", "more": 2 * glue_text([14], GLUE)},
        "has the element <Glue_params> twice",
    ),
]


@pytest.mark.parametrize(("options", "message"), FAULTS_OF_BASELINES)
def test_a_baseline_that_cannot_be_brought_in_is_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, PAIR, **options)
    with pytest.raises(ForcemapError, match=re.escape(message)) as caught:
        imported_gap(path, DEFAULT)
    assert str(caught.value).startswith(str(path))


def test_a_baseline_that_the_fit_had_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "core.xml").write_text(f"<pot>{glue_text([14], GLUE)}</pot>")
    with pytest.raises(ForcemapError, match="was fitted without a baseline"):
        imported_gap(written(tmp_path, PAIR), ImportOptions(glue=tmp_path / "core.xml"))
    (tmp_path / "other.xml").write_text("<pot/>")
    with pytest.raises(ForcemapError, match="holds no element <Glue_params>; give the core_param"):
        imported_gap(written(tmp_path, PAIR, core="T"), ImportOptions(glue=tmp_path / "other.xml"))


# ----- what cannot be brought in -----

TRIPLE = HandMade(
    "angle_3b cutoff=3.0 Z=14 Z1=14 Z2=14",
    [[4.0, 0.1, 2.0]],
    [1.0],
    (1.0, 1.0, 1.0),
    permutations=[[1, 2, 3]],
)


def described(text: str, one: HandMade = PAIR) -> HandMade:
    return replace(one, descriptor=text)


REFUSED: list[tuple[HandMade, str]] = [
    (described("soap_turbo l_max=8"), "descriptor soap_turbo cannot be imported"),
    (described("soap_turbo l_max=8"), "fit it with soap in place of soap_turbo, or run it with"),
    (described("general_monomer cutoff=3"), "descriptor general_monomer cannot be imported"),
    (described("water_dimer cutoff=3"), "(distance_2b, distance_Nb, angle_3b and soap can)"),
    (
        described("distance_Nb order=4 cutoff=3 Z={1 1 1 1}"),
        "order=4 (character 13) of distance_Nb",
    ),
    (described("distance_2b Z1=14 Z2=14"), "cutoff is missing; give cutoff= and its value"),
    (described("distance_2b cutoff=-1 Z1=14"), "cutoff=-1 (character 13) is not between 0 and 100"),
    (
        described("distance_2b cutoff=4 cutoff_transition_width=0 Z1=14"),
        "leaves a step at the cutoff",
    ),
    (
        described("distance_2b cutoff=4 Z1=14 only_intra=T"),
        "only_intra=T (character 28) of distance",
    ),
    (described("distance_2b cutoff=4 Z1=14 only_inter"), "of distance_2b cannot be imported; fit"),
    (described("distance_2b cutoff=4 Z1=140"), "a descriptor names the atomic number 140"),
    (described("distance_Nb order=2 cutoff=4 Z={14}"), "are not the atomic numbers of two species"),
    (
        described("distance_Nb order=3 cutoff=4 Z={14 14}", TRIPLE),
        "are not the atomic numbers of three species",
    ),
    (
        described("distance_2b cutoff=4 Z1=14 n_exponents=2 exponents={-1 -2}"),
        "has points of 1 numbers, expected 2 (exponents) of a distance",
    ),
    (
        replace(PAIR, covariance=3),
        "the covariance bond_real_space of distance_2b cannot be imported",
    ),
    (
        changed(replace(PAIR, covariance=2), zeta="2.0"),
        "ard_se and pp can: fit with covariance_type=ard_se or pp",
    ),
    (described("angle_3b cutoff=3 Z=14"), "has points of 1 numbers, expected the 3 of angle_3b"),
    (
        replace(TRIPLE, permutations=[[1, 2, 3], [2, 1, 3]]),
        "permutes the numbers of angle_3b, which has none to permute",
    ),
    (
        replace(
            described("distance_Nb order=3 cutoff=3 Z={14 14 14}", TRIPLE),
            permutations=[[1, 2, 3], [2, 3, 1]],
        ),
        "<permutation>: expected all permutations that follow from those there",
    ),
    (
        described("distance_Nb order=3 cutoff=3 Z={14 14 14}", TRIPLE),
        "QUIP's energy depends on the order of two Si atoms in the list of atoms",
    ),
    (
        described("distance_Nb order=3 cutoff=3 Z={14 14 14} compact_clusters=F", TRIPLE),
        "take the mean over both orders with --symmetrise, or fit with compact_clusters=F",
    ),
]


@pytest.mark.parametrize(("one", "message"), REFUSED)
def test_what_cannot_be_imported_is_refused_by_name(
    tmp_path: Path, one: HandMade, message: str
) -> None:
    path = written(tmp_path, one)
    with pytest.raises(ForcemapError, match=re.escape(message)) as caught:
        imported_gap(path, DEFAULT)
    assert str(caught.value).startswith(str(path))


def test_a_gap_without_a_sparse_point_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, changed(PAIR, n_sparseX="0"))
    path.write_text(re.sub(r"<sparseX .*</sparseX>\n", "", path.read_text()))
    with pytest.raises(ForcemapError, match="holds no sparse point, and so no potential"):
        imported_gap(path, DEFAULT)


# ----- QUIP's own answers -----

PAIRS = (
    "distance_2b cutoff=5.0 cutoff_transition_width=1.0 theta_uniform=0.7 n_sparse=15 delta=0.5 "
)
FITS: list[tuple[str, str, str, tuple[str, ...]]] = [
    (
        "pairs",
        "NaCl",
        PAIRS + "covariance_type=ard_se sparse_method=uniform",
        ("sparse_separate_file=F",),
    ),
    (
        "pairs that count once, and a mean energy of atoms",
        "NaCl",
        "distance_Nb order=2 cutoff=4.5 compact_clusters=F covariance_type=ard_se delta=0.5 "
        "theta_uniform=0.8 n_sparse=15 sparse_method=uniform",
        ("e0_method=average",),
    ),
    (
        "polynomials, tails, powers of distances",
        "Si",
        "distance_2b cutoff=5 covariance_type=pp theta_uniform=1.7 n_sparse=12 delta=0.5 f0=0.1 "
        "sparse_method=uniform : distance_2b cutoff=5 tail_range=1.5 tail_exponent=2 delta=0.5 "
        "covariance_type=ard_se theta_uniform=0.7 n_sparse=12 sparse_method=uniform : distance_2b "
        "cutoff=5 n_exponents=2 exponents={{-1 -2}} covariance_type=ard_se delta=0.2 "
        "theta_uniform=0.3 n_sparse=10",
        (),
    ),
    (
        "angles of both covariances",
        "NaCl",
        PAIRS + "covariance_type=ard_se sparse_method=uniform : angle_3b cutoff=4.0 n_sparse=30 "
        "covariance_type=pp delta=0.1 theta_uniform=2.0 sparse_method=uniform : angle_3b cutoff=3.5 "
        "cutoff_transition_width=1.0 covariance_type=ard_se delta=0.1 theta_fac=0.5 n_sparse=20",
        (),
    ),
    (
        "triangles",
        "NaCl",
        "distance_Nb order=3 cutoff=4.0 cutoff_transition_width=0.7 covariance_type=ard_se delta=0.1 "
        "theta_fac=0.5 n_sparse=20 compact_clusters=F",
        (),
    ),
    (
        "compact triangles",
        "Si",
        PAIRS + "covariance_type=ard_se sparse_method=uniform : distance_Nb order=3 cutoff=4.0 "
        "covariance_type=ard_se delta=0.1 theta_fac=0.5 n_sparse=30 compact_clusters=T : distance_Nb "
        "order=3 cutoff=3.6 covariance_type=pp theta_uniform=2.0 n_sparse=20 delta=0.1 f0=0.1",
        ("sparse_separate_file=F",),
    ),
]


@pytest.mark.parametrize(
    ("symbols", "gap", "more"), [f[1:] for f in FITS], ids=[f[0] for f in FITS]
)
def test_energies_forces_and_stresses_are_those_of_quip(
    tmp_path: Path, symbols: str, gap: str, more: tuple[str, ...]
) -> None:
    path = fitted(tmp_path, symbols, gap, *more)
    structures = frames(symbols, 3, seed=7)
    structures.append(structures[0].copy())
    structures[-1].pbc = False
    structures[-1].cell = None
    structures.append(Atoms(structures[0].symbols[:2], [[0, 0, 0], [1.1, 0.2, 0.3]]))
    assert_answers(calculator(tmp_path, path), structures, quip_answers(path, structures))


def test_a_baseline_and_its_gap_are_those_of_quip(tmp_path: Path) -> None:
    r = np.linspace(0.6, 3.0, 9)
    energy = 30.0 * np.exp(-2.0 * r) * (1.0 - r / 3.0) ** 2
    core = glue_text([11, 17], {(1, 1): (r, energy), (1, 2): (r, 2 * energy), (2, 2): (r, energy)})
    text = f'<pairpot>\n<Potential label="pairpot" init_args="IP Glue"/>\n{core}\n</pairpot>\n'
    (tmp_path / "core.xml").write_text(text)
    path = fitted(
        tmp_path,
        "NaCl",
        PAIRS + "covariance_type=ard_se sparse_method=uniform",
        "core_param_file=core.xml",
        "core_ip_args={IP Glue}",
    )
    structures = [*frames("NaCl", 2, seed=3), pair_of("NaCl", 0.4), pair_of("Na2", 0.9)]
    assert_answers(calculator(tmp_path, path), structures, quip_answers(path, structures))


def test_the_mean_over_orders_of_atoms_is_taken_when_asked_for(tmp_path: Path) -> None:
    """QUIP's energies of one structure with its atoms in both orders, and their mean."""
    gap = (
        "distance_Nb order=3 cutoff=4.0 covariance_type=ard_se delta=0.1 theta_uniform=1.0 "
        "n_sparse=20 compact_clusters=T sparse_method=uniform"
    )
    path = fitted(tmp_path, "NaCl", gap)
    with pytest.raises(ForcemapError, match="depends on the order of two Na atoms"):
        imported_gap(path, DEFAULT)
    one = Atoms("Na2Cl", [[0, 0, 0], [2.6, 0, 0], [0.3, 3, 0]], cell=3 * [20.0], pbc=True)
    orders = [one, one[[1, 0, 2]]]
    energies = [energy for energy, _, _ in quip_answers(path, orders)]
    assert abs(energies[0] - energies[1]) > 1e-3
    found = calculator(tmp_path, path, ImportOptions(symmetrise=True))
    for atoms in orders:
        assert energy_of(found, atoms) == pytest.approx(sum(energies) / 2.0, rel=1e-10)
    # What no two neighbours of one species see is QUIP's own.
    other = Atoms("ClNaCl", one.positions, cell=one.cell, pbc=True)
    assert_answers(found, [other], quip_answers(path, [other]))


@pytest.mark.parametrize("compact", ["T", "F"])
def test_three_species_have_their_order_by_atomic_number(tmp_path: Path, compact: str) -> None:
    pytest.importorskip("quippy", reason="quippy-ase, QUIP in Python, is not installed")
    one = HandMade(
        f"distance_Nb order=3 cutoff=4.0 Z={{14 1 8}} compact_clusters={compact}",
        [[1.5, 2.5, 3.0], [2.0, 1.7, 2.9]],
        [0.5, -0.3],
        (0.5, 0.7, 0.9),
        permutations=[[1, 2, 3]],
    )
    path = written(tmp_path, one, e0={z: -0.1 * z for z in range(1, 119)})
    rng = np.random.default_rng(4)
    structures = [
        Atoms(rng.permutation(["H", "O", "Si"]), rng.uniform(0, 3, (3, 3))) for _ in "1234"
    ]
    assert_answers(calculator(tmp_path, path), structures, quip_answers(path, structures))


@pytest.mark.parametrize("element", ["Au", "Si"])
def test_published_clusters_have_the_published_energies(tmp_path: Path, element: str) -> None:
    folder = published("gap_nanoclusters")
    found = calculator(tmp_path, folder / f"{element}_gap.xml")
    for atoms in read(folder / f"{element}_relaxed.xyz", "::6"):
        energy, forces = atoms.info["relaxed_gap_energy"], atoms.get_forces()
        one = atoms.copy()
        one.calc = found
        assert one.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(one.get_forces(), forces, rtol=0.0, atol=1e-6)


def test_published_lithium_chloride_has_the_published_energies(tmp_path: Path) -> None:
    folder = published("gap_LiCl")
    found = calculator(tmp_path, folder / "gap_file.xml")
    for atoms in read(folder / "quip_test.extxyz", ":"):
        one = atoms.copy()
        one.calc = found
        energy = atoms.get_potential_energy() if atoms.calc else atoms.info["energy"]
        assert one.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(one.get_forces(), atoms.arrays["force"], rtol=0.0, atol=1e-6)
