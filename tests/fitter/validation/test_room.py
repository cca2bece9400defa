"""What surrounds the checks: settings, structures, models, references, kept steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from forcemap.fitter.checked import Checked, number, read_by
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.settings import Source
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.validation.check import (
    Case,
    Check,
    CrystalCheck,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.models import model_of, of_potential
from forcemap.fitter.validation.reference import Reference
from forcemap.fitter.validation.registry import CHECKS
from forcemap.fitter.validation.relaxing import _shares
from forcemap.fitter.validation.results import rows
from forcemap.fitter.validation.settings import ValidationSettings
from forcemap.fitter.validation.steps import FOLDER, Validation, run_checks
from forcemap.fitter.validation.structures import (
    atoms_of,
    crystals_of_frames,
    crystals_of_settings,
    data_of,
    frames_like,
    usual_crystals,
)
from forcemap.fitter.validation.subjects import case_of as gathered
from forcemap.potentials.errors import ForcemapError
from structures import SILICON, as_frame
from validation_cases import COPPER, case_of, checked, morse_file, subject

# ----- settings -----


def _settings(text: str, folder: Path) -> ValidationSettings:
    path = folder / "validate.yaml"
    path.write_text(text, encoding="utf-8")
    return ValidationSettings.read(path, CHECKS)


def test_all_checks_have_settings_with_defaults_that_are_read_back() -> None:
    read = ValidationSettings.from_dict({}, CHECKS)
    assert list(read.of) == [check.name for check in CHECKS]
    again = ValidationSettings.from_dict(json.loads(json.dumps(read.to_dict())), CHECKS)
    assert again.of == read.of
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_check_is_left_out_by_false(tmp_path: Path) -> None:
    read = _settings("phonons: false\nelastic: {strain: 0.01}\nseed: 3\n", tmp_path)
    assert "phonons" not in read.of
    assert read.of["elastic"].strain == 0.01  # type: ignore[attr-defined]
    assert read.general.seed == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "elastics: {strain: 0.01}",
            r'validate.yaml: elastics: unknown key; did you mean "elastic"\?',
        ),
        ("elastic: {strian: 1}", r'elastic.strian: unknown key; did you mean "strain"\?'),
        ("elastic: {strain: 5}", "elastic.strain: 5 is not a number above 0 and at most 0.1"),
        ("elastic: 5", "elastic: expected keys and values"),
        ("structures: [{lattice: fcb, formula: Si}]", r'structures\[0\].lattice: .*mean "fcc"'),
        ("structures: [{lattice: fcc}]", r"structures\[0\].formula: is missing"),
        ("structures: [{name: x}]", r"structures\[0\].lattice: give either a lattice or a file"),
        ("structures: {lattice: fcc}", "structures: expected a list of crystals"),
        ("surfaces: {planes: [[0, 0, 0]]}", r"surfaces.planes\[0\]: is no plane"),
        ("surfaces: {planes: [[1, 0]]}", r"surfaces.planes\[0\]: expected three indices"),
        ("free_atoms: {Sj: 1}", 'free_atoms.Sj: "Sj" is not the symbol of an element'),
        ("heating: {start: 500, end: 400}", "heating.end: is not above start, 500 K"),
        ("- 1", "expected keys and values"),
    ],
)
def test_mistakes_in_settings_are_named_with_their_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ForcemapError, match=message):
        _settings(text, tmp_path)


# ----- structures -----


def test_crystals_are_made_as_the_settings_have_them(tmp_path: Path) -> None:
    write(tmp_path / "cell.xyz", bulk("Cu", cubic=True))
    read = _settings(
        "structures:\n- {lattice: rocksalt, formula: LiH, a: 4.0}\n- {file: cell.xyz, name: copper}\n",
        tmp_path,
    )
    assert read.general.structures is not None
    salt, copper = crystals_of_settings(read.general.structures, ["H", "Li", "Cu"], "file")
    assert salt.name == "LiH rocksalt"
    assert salt.atoms is not None
    assert salt.atoms.cell.lengths() == pytest.approx([4.0] * 3)
    assert (copper.name, len(copper.atoms or [])) == ("copper", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{lattice: fcc, formula: Au}]", r"structures\[0\]: holds Au; the potential knows Cu"),
        ("[{file: none.xyz}]", r"structures\[0\].file: .*none.xyz: no such file"),
        ("[{lattice: fcc, formula: CuCuCu}]", r"structures\[0\]: CuCuCu fcc cannot be built"),
        (
            "[{lattice: fcc, formula: Cu}, {lattice: fcc, formula: Cu, a: 3}]",
            r"structures\[1\]: has the same name as another crystal, \"Cu fcc\"",
        ),
    ],
)
def test_crystals_that_cannot_be_are_named(tmp_path: Path, text: str, message: str) -> None:
    read = _settings(f"structures: {text}", tmp_path)
    assert read.general.structures is not None
    with pytest.raises(ForcemapError, match=message):
        crystals_of_settings(read.general.structures, ["Cu"], "validate.yaml")


def test_lengths_follow_from_radii_where_none_are_given() -> None:
    read = ValidationSettings.from_dict(
        {"structures": [{"lattice": "diamond", "formula": "Si"}]}, CHECKS
    )
    assert read.general.structures is not None
    (silicon,) = crystals_of_settings(read.general.structures, ["Si"], "")
    assert silicon.atoms is not None
    assert silicon.atoms.cell.lengths()[0] == pytest.approx(5.43, rel=0.1)


def test_usual_lattices_are_those_of_the_elements() -> None:
    found, remarks = usual_crystals(["Si", "Fe", "Mg", "H"])
    assert [crystal.name for crystal in found] == ["Si diamond", "Fe bcc", "Mg hcp"]
    assert len(remarks) == 1
    assert remarks[0].startswith("H is left out of the checks of crystals")


def test_the_silicon_example_holds_one_crystal_under_several_pressures() -> None:
    pytest.importorskip("spglib")
    frames = read_frames([Source(SILICON / "train.xyz")])
    (crystal,) = crystals_of_frames(frames)
    assert crystal.name == "Si Fd-3m"
    assert crystal.atoms is not None
    assert len(crystal.atoms) == 8
    points = frames_like(frames, crystal)
    assert len(points) == sum(f.config_type == "Bulk" for f in frames)
    assert min(points, key=lambda point: point[1])[0] == pytest.approx(20.46, abs=0.3)


def test_a_crystal_is_seen_through_thermal_displacements() -> None:
    pytest.importorskip("spglib")
    frames = []
    for seed in range(4):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.04, seed=seed)
        frames.append(replace(as_frame(atoms), energy=-3.0 + 0.1 * seed))
    (crystal,) = crystals_of_frames(frames)
    assert crystal.name == "NaCl Fm-3m"
    assert crystal.atoms is not None
    assert crystal.atoms.cell.lengths() == pytest.approx([5.6] * 3, rel=1e-6)


def test_liquids_slabs_and_molecules_are_no_crystals() -> None:
    pytest.importorskip("spglib")
    liquid = bulk("Cu", cubic=True).repeat(2)
    liquid.rattle(1.0, seed=0)
    slab = bulk("Cu", cubic=True)
    slab.center(vacuum=6.0, axis=2)
    frames = [replace(as_frame(atoms), energy=-1.0) for atoms in (liquid, slab)]
    frames.append(replace(as_frame(bulk("Cu")), energy=-1.0, pbc=np.zeros(3, bool)))
    assert crystals_of_frames(frames) == []


def test_structures_survive_json() -> None:
    again = atoms_of(json.loads(json.dumps(data_of(COPPER))))
    assert again == COPPER


def test_without_provenance_the_usual_lattice_is_taken(tmp_path: Path) -> None:
    model = of_potential(morse_file(tmp_path))
    case, notes = gathered(model, ValidationSettings.from_dict({}, CHECKS), "", None)
    assert [crystal.name for crystal in case.crystals] == ["Cu fcc"]
    assert "potential.forcemap does not name its training data" in notes
    assert "crystals: the elements' usual lattices (Cu fcc)" in notes


# ----- models -----


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("emt", r"--against emt; expected a potential file or an ASE calculator, such as"),
        ("other.forcemap", r"--against other.forcemap: no such file"),
        ("no_such_package.x:Y", "there is no module no_such_package; is its package installed"),
        ("ase.calculators.emt:EMTT", r'ase.calculators.emt has no class EMTT; did you mean "EMT"'),
        ("ase.calculators.emt:EMT(5)", r"give arguments by keyword, such as \(cutoff=5.0\)"),
        ("ase.calculators.emt:EMT(a=open('x'))", r"a: open\('x'\) is not a plain value"),
        ("ase.calculators.emt:EMT(a=", "expected a potential file or an ASE calculator"),
        ("ase.calculators.emt:EMT(a=)", r"\(a=\) is not a list of keywords"),
        ("ase:Atoms()", "gives .*, which is no ASE calculator"),
        ("forcemap.potentials:ForcemapCalculator(potential='no')", "cannot be made: Calculator"),
    ],
)
def test_calculators_that_cannot_be_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ForcemapError, match=message):
        model_of(spec)


def test_keywords_reach_the_calculator() -> None:
    model = model_of("ase.calculators.lj:LennardJones(sigma=2.5, epsilon=0.1, rc=6.0)")
    assert model.calculator(1).parameters.sigma == 2.5
    assert model.name == "LennardJones"
    assert isinstance(model_of("ase.calculators.emt:EMT").calculator(1), EMT)


def test_two_potentials_of_the_same_name_have_two_columns(tmp_path: Path) -> None:
    first = of_potential(morse_file(tmp_path))
    (tmp_path / "other").mkdir()
    second = model_of(str(morse_file(tmp_path / "other", depth=0.4)), beside=first)
    assert first.name == "potential"
    assert second.name == str(tmp_path / "other" / "potential")
    assert first.identity != second.identity


# ----- references -----


def _reference(text: str, folder: Path, case: Case | None = None) -> Reference:
    path = folder / "reference.yaml"
    path.write_text(text, encoding="utf-8")
    return Reference.read(path, case or case_of([subject(COPPER)]), CHECKS)


def test_references_stand_under_their_heading_or_alone(tmp_path: Path) -> None:
    found = _reference("crystal: {C11: 170, C12: 120}\nvacancy Cu: 1.3\n", tmp_path)
    assert found.value("crystal", "C11") == 170.0
    assert found.value("crystal", "vacancy Cu") == 1.3
    assert found.value("crystal", "C44") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crystl: {C11: 1}", r'reference.yaml: crystl: .* heading; did you mean "crystal"'),
        ("crystal: {bulk modulos: 1}", 'crystal has no such row; did you mean "bulk modulus"'),
        ("vacancy Co: 1", 'the table has no such row; did you mean "vacancy Cu"'),
        ("crystal: {C11: big}", "crystal.C11: 'big' is not a number"),
        ("", "is an empty file"),
        ("- 3", "expected keys and values, such as"),
    ],
)
def test_references_that_no_row_has_are_refused(tmp_path: Path, text: str, message: str) -> None:
    pytest.importorskip("phonopy")
    with pytest.raises(ForcemapError, match=message):
        _reference(text, tmp_path)


def test_a_reference_alone_that_two_crystals_have_is_refused(tmp_path: Path) -> None:
    two = case_of([subject(COPPER, "a"), subject(COPPER, "b")])
    with pytest.raises(ForcemapError, match="C11: a, b have such a row; put it under the one"):
        _reference("C11: 1\n", tmp_path, two)


def test_every_row_that_a_check_gives_is_among_its_names(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    small = {name: {"length": 6.0} for name in ("vacancy", "interstitial", "phonons")}
    settings = {**small, "random": {"structures": 1, "atoms": 2}}
    case = case_of([subject(COPPER)], settings)
    static = [check.name for check in CHECKS if not check.by_lammps]
    found = checked(tmp_path, morse_file(tmp_path), " ".join(static), case)
    assert found.left_out == []
    assert {step.check.name for step in found.steps} == set(static)
    for step in found.steps:
        names = step.check.names(step.subject, case.settings[step.check.name])
        assert set(step.outcome.numbers) <= set(names), step.check.name


# ----- steps -----


@dataclass(frozen=True)
class CountedSettings(Checked):
    """Of the checks below."""

    value: float = field(default=1.0, metadata=read_by(number()))


class Counted(CrystalCheck):
    """A check that counts its runs."""

    name: ClassVar[str] = "crystal"
    title: ClassVar[str] = "Counted"
    settings: ClassVar[type[Checked]] = CountedSettings
    needs: ClassVar[tuple[str, ...]] = ()
    runs: ClassVar[list[str]] = []

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        return ["value"]

    def run(self, task: Task) -> Outcome:
        self.runs.append(self.name)
        verdict = Verdict("fine", Grade.PASS, "it is", "to be")
        value = Number(task.settings.value, "eV")
        return Outcome({"value": value, "none": Number(np.nan)}, [verdict], {"a": [1.0]}, ["so"])


class Later(Counted):
    """One that builds on it."""

    name: ClassVar[str] = "later"
    needs: ClassVar[tuple[str, ...]] = ("crystal",)

    def run(self, task: Task) -> Outcome:
        assert task.given["crystal"][task.subject.name].data == {"a": [1.0]}
        return super().run(task)


class Failing(Counted):
    """One that cannot."""

    name: ClassVar[str] = "failing"

    def run(self, task: Task) -> Outcome:
        raise NotComputed("the moon is wrong")


def _run(folder: Path, *checks: Check, seed: int = 0, **values: float) -> Validation:
    path = folder / "potential.forcemap"
    model = of_potential(path if path.exists() else morse_file(folder))
    settings = {check.name: CountedSettings(values.get(check.name, 1.0)) for check in checks}
    case = Case(settings, [subject(COPPER)], [], ["Cu"], seed)
    Counted.runs.clear()
    return run_checks(case, [model], checks, folder / "out", Run())


def test_a_second_run_makes_nothing_again(tmp_path: Path) -> None:
    first = _run(tmp_path, Counted(), Later())
    assert Counted.runs == ["crystal", "later"]
    second = _run(tmp_path, Counted(), Later())
    assert Counted.runs == []
    assert second.reused == 2
    assert [s.outcome for s in second.steps] == [s.outcome for s in first.steps]
    assert list(first.steps[0].outcome.numbers) == ["value"]  # what is no number is no row


def test_other_settings_make_a_step_again_and_those_that_build_on_it(tmp_path: Path) -> None:
    _run(tmp_path, Counted(), Later())
    _run(tmp_path, Counted(), Later(), later=2.0)
    assert Counted.runs == ["later"]
    _run(tmp_path, Counted(), Later(), crystal=2.0)
    assert Counted.runs == ["crystal", "later"]
    _run(tmp_path, Counted(), seed=5)
    assert Counted.runs == ["crystal"]


def test_another_potential_makes_all_steps_again(tmp_path: Path) -> None:
    _run(tmp_path, Counted())
    morse_file(tmp_path, depth=0.5)
    _run(tmp_path, Counted())
    assert Counted.runs == ["crystal"]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"numbers": {"a": 1}}', "[]", "\x00"])
def test_a_step_whose_file_is_damaged_is_made_again(tmp_path: Path, content: str) -> None:
    _run(tmp_path, Counted())
    (kept,) = (tmp_path / "out" / FOLDER).iterdir()
    kept.write_text(content, encoding="utf-8")
    _run(tmp_path, Counted())
    assert Counted.runs == ["crystal"]


def test_a_step_that_fails_leaves_the_others(tmp_path: Path) -> None:
    found = _run(tmp_path, Failing(), Counted())
    assert [left.reason for left in found.left_out] == ["the moon is wrong"]
    assert [step.check.name for step in found.steps] == ["crystal"]
    _run(tmp_path, Failing(), Counted())
    assert Counted.runs == []  # only what failed is tried again


def test_what_a_foreign_calculator_raises_is_a_reason(tmp_path: Path) -> None:
    silicon = bulk("Si", cubic=True)
    found = checked(
        tmp_path, "ase.calculators.emt:EMT()", "crystal eos", case_of([subject(silicon)])
    )
    reasons = [left.reason for left in found.left_out]
    assert reasons[0] == "NotImplementedError: No EMT-potential for Si"
    assert reasons[1] == "the crystal crystal could not be relaxed"


def test_differences_are_from_the_reference_or_else_from_the_other_model(tmp_path: Path) -> None:
    models = [
        of_potential(morse_file(tmp_path)),
        model_of("ase.calculators.emt:EMT()"),
    ]
    crystal = [check for check in CHECKS if check.name == "crystal"]
    found = run_checks(case_of([subject(COPPER)]), models, crystal, tmp_path, Run())
    reference = Reference({("crystal", "cohesive energy"): 3.5})
    table = {row.quantity: row for row in rows(found, reference)}
    energy, length = table["cohesive energy"], table["lattice constant a"]
    assert energy.value is not None
    assert energy.difference == pytest.approx(energy.value - 3.5)
    assert length.value is not None
    assert length.against == pytest.approx(3.59, abs=0.02)  # EMT's own
    assert length.percent == pytest.approx(100 * (length.value / length.against - 1))


# ----- how far it is -----


@dataclass(frozen=True)
class _Counted(Run):
    """A run that keeps what its stages advance."""

    seen: dict[str, tuple[Any, list[float]]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: Any = None) -> Iterator[Any]:  # type: ignore[override]
        self.seen[name] = (total, [])
        yield lambda n=1: self.seen[name][1].append(n)


QUICK = {
    "vacancy": {"length": 6.0},
    "interstitial": {"length": 6.0, "holes": 1, "steps": 30},
    "surfaces": {"thickness": 5.0},
    "random": {"structures": 3, "atoms": 2},
    "phonons": {"length": 6.0, "mesh": 4},
    "vibrations": {"length": 6.0, "steps": 1000},
    "nve": {"length": 6.0, "settle": 100, "steps": 100},
    "npt": {"length": 6.0, "settle": 100, "steps": 100},
    "heating": {"length": 6.0, "steps": 200},
}


@pytest.mark.lammps
def test_every_step_advances_by_shares_of_a_whole_that_is_known_before(tmp_path: Path) -> None:
    """A line of progress can say how long is left at any time, also within one relaxation."""
    pytest.importorskip("phonopy")
    run = _Counted()
    case = case_of([subject(COPPER)], QUICK)
    found = run_checks(case, [of_potential(morse_file(tmp_path))], CHECKS, tmp_path, run)
    assert not found.left_out, [left.reason for left in found.left_out]
    assert len(run.seen) == len(found.steps) >= 12
    for name, (total, advances) in run.seen.items():
        assert sum(advances) == pytest.approx(total), name
        assert min(advances) >= 0, name
    for title in ("Relaxed crystals", "Vacancies", "Interstitials", "Surfaces", "Random"):
        (advances,) = [seen[1] for name, seen in run.seen.items() if name.startswith(title)]
        assert any(0 < share < 0.5 for share in advances), title


def test_shares_of_a_relaxation_follow_the_logarithm_of_its_forces() -> None:
    shares: list[float] = []
    with suppress(NotComputed), _shares(shares.append, 0.01, 1000) as shown:
        for number, force in enumerate((10.0, 1.0, 3.0, 0.1)):
            shown(number, force)
        assert np.cumsum(shares) == pytest.approx([1 / 3, 2 / 3])
        raise NotComputed("it fails")
    assert sum(shares) == pytest.approx(1.0)
    shares.clear()
    with _shares(shares.append, 0.01, 4) as shown:  # the largest number of steps is near
        for number in range(4):
            shown(number, 1.0)
        assert np.cumsum(shares) == pytest.approx([1 / 4, 2 / 4, 3 / 4])
    assert sum(shares) == pytest.approx(1.0)
