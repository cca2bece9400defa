"""A committee made from one potential's draws, and grades: from the algebra to what i-PI writes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner
from forcemap.ipi_driver import pes_path
from forcemap.ipi_driver.command import driver
from forcemap.ipi_driver.committee import member_differences
from forcemap.ipi_driver.evaluation import LOOK_EVERY, BeadEvaluator, Extras
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.tally import GradeTally
from forcemap.ipi_driver.template import Template
from forcemap.potentials import ForcemapError, Potential, load
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

HARTREE, BOHR = 0.036749326, 1.8897261
DRAWS = 5
DRIVER = "from forcemap.ipi_driver.command import driver; driver()"
COMMITTEE = "<ffcommittee name='ff'>{inner}<parse_json> True </parse_json>{settings}</ffcommittee>"
SOCKET = "<ffsocket name='inner' mode='unix'><address>{address}</address></ffsocket>"


@pytest.fixture
def path(uncertain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_potential(uncertain(["Si", "O"], DRAWS), tmp_path / "drawn.forcemap")
    return tmp_path / "drawn.forcemap"


@pytest.fixture
def potential(path: Path) -> Potential:
    return load(path)


def atoms() -> Atoms:
    return Atoms(
        "SiOSiO",
        [[0, 0, 0], [1.7, 0.1, 0], [3.0, 0.9, 0.2], [0.2, 2.5, 1.4]],
        cell=[[6, 0, 0], [1, 6.2, 0], [-0.8, 1, 6.6]],
        pbc=True,
    )


def template() -> Template:
    return Template(atoms().numbers.astype(np.int32), np.ones(3, dtype=bool))


def batch_of(*structures: Array) -> Batch:
    """From positions in Å."""
    cell = atoms().cell.array.T * BOHR
    batch = Batch.empty(np.array([cell] * len(structures)), 4)
    batch.positions[:] = np.array(structures) * BOHR
    return batch


def moved(seed: int, by: float = 0.05) -> Array:
    start = atoms()
    return start.positions + np.random.default_rng(seed).normal(0.0, by, start.positions.shape)


def where(positions: Array) -> tuple[Any, ...]:
    return positions, atoms().numbers, atoms().cell.array, True


def answer(potential: Potential, members: int, positions: Array) -> tuple[Batch, dict[str, Any]]:
    batch = batch_of(positions)
    (text,) = BeadEvaluator(potential, template(), extras=Extras(members)).evaluate(batch)
    return batch, json.loads(text)


@pytest.mark.parametrize("members", range(2, 20))
def test_members_are_the_draws_turned_and_moved_to_a_mean_of_zero(members: int) -> None:
    turned = member_differences(np.eye(members - 1), members, 1.0)
    assert turned.shape == (members, members - 1)
    np.testing.assert_allclose(turned.T @ turned, np.eye(members - 1), atol=1e-14)
    np.testing.assert_allclose(turned.sum(axis=0), 0.0, atol=1e-14)
    if members > 2:  # member k is draw k for the most part
        assert np.all(np.diag(turned) > 0.7)


def test_spread_of_all_draws_is_the_calibrated_deviation(potential: Potential) -> None:
    positions = moved(1)
    deviations = potential.evaluator().deviations(*where(positions))
    _, extras = answer(potential, DRAWS + 1, positions)
    spread = np.std(extras["committee_pot"], ddof=1)
    # The floor is a constant, which members that differ by their forces cannot have.
    floor = 0.003 * np.sqrt(4)
    expected = np.sqrt(deviations.energy_std**2 - floor**2) * HARTREE
    assert expected > 0.1 * floor * HARTREE
    assert spread == pytest.approx(expected, rel=1e-10)
    # The factor of energies, 2.5, also here; that of forces is 7.
    raw = np.mean(deviations.forces**2, axis=0) * DRAWS / (DRAWS - 2)
    forces = np.reshape(extras["committee_force"], (DRAWS + 1, 4, 3))
    unit = HARTREE / BOHR
    np.testing.assert_allclose(forces.std(axis=0, ddof=1), 2.5 * np.sqrt(raw) * unit, rtol=1e-10)
    raw = np.mean(deviations.virials**2, axis=0) * DRAWS / (DRAWS - 2)
    virials = np.array(extras["committee_virial"])
    np.testing.assert_allclose(
        virials.std(axis=0, ddof=1), 2.5 * np.sqrt(raw) * HARTREE, rtol=1e-9, atol=1e-15
    )
    assert extras["energy_std"] == pytest.approx(deviations.energy_std * HARTREE, rel=1e-10)
    np.testing.assert_allclose(
        np.reshape(extras["forces_std"], (4, 3)), deviations.forces_std * unit, rtol=1e-9
    )


@pytest.mark.parametrize("members", [2, 3, DRAWS, DRAWS + 1])
def test_mean_is_the_potential_and_spread_that_of_the_draws_taken(
    potential: Potential, members: int
) -> None:
    positions = moved(2)
    batch, extras = answer(potential, members, positions)
    result = potential.evaluator().compute(*where(positions))
    assert batch.energies[0] == pytest.approx(result.energy * HARTREE, rel=1e-12)
    assert np.mean(extras["committee_pot"]) == pytest.approx(batch.energies[0], rel=1e-12)
    forces = np.array(extras["committee_force"])
    assert forces.shape == (members, 12)
    np.testing.assert_allclose(forces.mean(axis=0), batch.forces[0].ravel(), atol=1e-14)
    virials = np.array(extras["committee_virial"])
    assert virials.shape == (members, 3, 3)
    np.testing.assert_allclose(virials.mean(axis=0), batch.virials[0], atol=1e-14)
    taken = potential.evaluator().deviations(*where(positions)).energies[: members - 1]
    expected = 2.5 * np.sqrt(DRAWS / (DRAWS - 2) * np.mean(taken**2)) * HARTREE
    assert np.std(extras["committee_pot"], ddof=1) == pytest.approx(expected, rel=1e-9)


def test_forces_of_every_member_are_derivatives_of_its_energy(potential: Potential) -> None:
    """Central differences of 1e-4 Å: errors of h² f''' / 6, 1e-8 hartree/bohr here."""
    positions, h = moved(3), 1e-4
    forces = np.reshape(answer(potential, 4, positions)[1]["committee_force"], (4, 4, 3))
    for i, d in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[i, d] = h
        up, down = (
            np.array(answer(potential, 4, positions + sign * step)[1]["committee_pot"])
            for sign in (1.0, -1.0)
        )
        np.testing.assert_allclose(-(up - down) / (2 * h * BOHR), forces[:, i, d], atol=2e-7)


def test_batches_and_repetitions_get_the_same_extras(potential: Potential) -> None:
    driver = BeadEvaluator(potential, template(), extras=Extras(3, grade=True))
    a, b = moved(1), moved(2)
    extras = driver.evaluate(batch_of(a, b, b))
    assert extras[1] == extras[2] != extras[0]
    fresh = BeadEvaluator(potential, template(), extras=Extras(3, grade=True))
    for text, structure in zip(extras, (a, b), strict=False):
        one, other = json.loads(fresh.evaluate(batch_of(structure))[0]), json.loads(text)
        assert one.keys() == other.keys()
        for name in one:  # another list of neighbours: another order of the sums
            np.testing.assert_allclose(other[name], one[name], rtol=1e-9, atol=1e-13, err_msg=name)
    assert driver.tally.structures == 2, "a repetition is not another structure"


@pytest.mark.parametrize("threads", [1, 2])
def test_grades_are_those_of_python(potential: Potential, threads: int) -> None:
    driver = BeadEvaluator(potential, template(), threads=threads, extras=Extras(grade=True))
    structures = [moved(seed, 0.1) for seed in range(3)]
    for text, positions in zip(driver.evaluate(batch_of(*structures)), structures, strict=True):
        extras = json.loads(text)
        expected = potential.evaluator().compute(*where(positions), grades=True).grades
        assert set(extras) == {"grade", "grade_max"}
        np.testing.assert_allclose(extras["grade"], expected, rtol=1e-9)
        assert extras["grade_max"] == max(extras["grade"]) > 0.0


def test_grades_are_counted_now_and_then_without_being_asked_for(potential: Potential) -> None:
    driver = BeadEvaluator(potential, template())
    structures = [moved(seed, 0.3) for seed in range(2 * LOOK_EVERY + 1)]
    for positions in structures:
        assert driver.evaluate(batch_of(positions)) == [""]
    looked = [
        potential.evaluator().compute(*where(positions), grades=True).grades
        for positions in structures[::LOOK_EVERY]
    ]
    tally = driver.tally
    assert (tally.structures, tally.atoms) == (3, 12)
    assert tally.atoms_above == sum(int((grades > 1.0).sum()) for grades in looked) > 0
    assert tally.structures_above == sum(int((grades > 1.0).any()) for grades in looked)
    assert tally.largest == pytest.approx(max(grades.max() for grades in looked), rel=1e-9)
    again = GradeTally.read(["before\n", f"forcemap driver: {tally.line()}\nafter\n", tally.line()])
    assert (again.atoms, again.structures) == (24, 6)
    assert again.atoms_above == 2 * tally.atoms_above
    assert again.structures_above == 2 * tally.structures_above
    assert again.largest == pytest.approx(tally.largest, rel=1e-2)
    assert GradeTally.read(["nothing"]) == GradeTally()


def test_grade_of_several_potentials_is_the_largest(uncertain: Any) -> None:
    members = [
        Potential(_bytes(uncertain(["Si", "O"], seed=seed)), f"seed {seed}") for seed in (4, 5)
    ]
    text = BeadEvaluator(members, template(), extras=Extras(grade=True)).evaluate(
        batch_of(moved(1))
    )
    own = [m.evaluator().compute(*where(moved(1)), grades=True).grades for m in members]
    np.testing.assert_allclose(json.loads(text[0])["grade"], np.max(own, axis=0), rtol=1e-9)


def _bytes(data: Any) -> bytes:
    from forcemap.potentials.file.potential_file import potential_bytes

    return potential_bytes(data)


@pytest.mark.parametrize("size", [None, 7])
def test_extras_follow_the_answers_on_the_wire(
    potential: Potential, converse: Any, wire: Any, size: int | None
) -> None:
    wanted = Extras(4, grade=True)
    batch = batch_of(moved(1), moved(2))
    texts = BeadEvaluator(potential, template(), extras=wanted).evaluate(batch)
    structures = list(zip(batch.cells, batch.positions, strict=True))
    answers = list(zip(batch.energies, batch.forces, batch.virials, strict=True))
    said = wire.init("batch_size:2") + wire.batch(structures) + wire.GETFORCE + wire.EXIT
    _, answer = converse(said, size, potential, template(), wanted)
    numbers = wire.forces(answers)[:-8]  # without the two lengths of empty extras
    assert len(answer) == len(numbers) + sum(4 + len(text) for text in texts)
    at = len(numbers)
    for text in texts:
        (length,) = struct.unpack_from("=i", answer, at)
        at += 4 + length
        # Threads and lists of neighbours are the same: so is every digit.
        assert answer[at - length : at].decode() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q * np.nan, "position of atom 0 is not finite"),
        (lambda q: q[:3], "the server's structure has 3 atoms, the template 4"),
    ],
)
def test_damaged_requests_get_no_answer(
    potential: Potential, converse: Any, wire: Any, change: Any, message: str
) -> None:
    batch = batch_of(moved(1))
    said = wire.init() + wire.posdata(batch.cells[0], change(batch.positions[0])) + wire.GETFORCE
    with pytest.raises(ForcemapError, match=message):
        converse(said, None, potential, template(), Extras(4, grade=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--committee", "1"], "needs two members or more, found 1: i-PI would take the spread"),
        (["--committee", "-3"], "needs two members or more, found -3"),
        (
            ["--committee", "7"],
            "of 7 cannot be made from the 5 draws of drawn.forcemap: give 2 to 6",
        ),
        (["--committee", "two"], "'two' is not a valid integer"),
        (["plain.forcemap", "--committee", "3"], "2 potentials are a committee of 2, not of 3"),
        (["plain.forcemap", "--grade"], "plain.forcemap has no extrapolation grade"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_connecting(
    path: Path, arguments: list[str], message: str
) -> None:
    write_potential(random_potential(["Si", "O"], seed=1), "plain.forcemap")
    atoms().write("init.xyz", format="extxyz")
    done = CliRunner().invoke(
        driver, [path.name, *arguments, "--template", "init.xyz", "--unix", "none-such"]
    )
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())
    assert "none-such" not in done.output


def test_committee_of_a_potential_without_draws_is_refused(path: Path) -> None:
    write_potential(random_potential(["Si", "O"], seed=1), "plain.forcemap")
    with pytest.raises(ForcemapError, match=r"plain\.forcemap has no draws, .*--draws 16"):
        BeadEvaluator(load("plain.forcemap"), template(), extras=Extras(3))
    with pytest.raises(ForcemapError, match="several potentials, or from one's draws"):
        BeadEvaluator([load(path), load(path)], template(), extras=Extras(3))
    with pytest.raises(ForcemapError, match="2 to 6 members; i-PI takes the spread of one for NaN"):
        BeadEvaluator(load(path), template(), extras=Extras(1))


class Ran:
    """An i-PI run with the driver as its client; its outputs."""

    def __init__(self, ipi: Any, helpers: Any, path: Path, *options: str, **settings: Any) -> None:
        pytest.importorskip("ipi")
        forcefield = settings.pop("forcefield")
        ipi.start(atoms(), forcefield, **settings)
        command = [sys.executable, "-c", DRIVER, str(path), "--template", "init.xyz", *options]
        where = ["--port", str(ipi.port)] if "inet" in forcefield else ["--unix", ipi.address]
        client = helpers.start([*command, *where])
        _, self.errors = client.communicate(timeout=120)
        assert client.returncode == 0, self.errors
        assert ipi.wait() == 0, ipi.log()
        self.folder = ipi.folder

    def rows(self, name: str) -> Array:
        return np.loadtxt(self.folder / f"md.{name}", ndmin=2)

    def frames(self) -> list[Array]:
        """Positions at each step, Å."""
        import ase.io

        return [frame.positions for frame in ase.io.read(self.folder / "md.pos_0.extxyz", ":")]


def extras_output(*names: str) -> str:
    return "".join(
        f"<trajectory filename='{name}' extra_type='{name}' stride='1'> extras </trajectory>"
        for name in names
    )


POSITIONS = "<trajectory filename='pos' stride='1' format='ase'> positions </trajectory>"


@pytest.mark.parametrize(
    "inner",
    [
        SOCKET,
        "<ffsocket name='inner' mode='inet'><address>localhost</address><port>{port}</port></ffsocket>",
        SOCKET.replace("</ffsocket>", "<batch_size>2</batch_size></ffsocket>"),
        SOCKET.replace("unix", "shm").replace(
            "</ffsocket>", "<batch_size>2</batch_size></ffsocket>"
        ),
    ],
    ids=["unix", "inet", "batch", "shm"],
)
def test_ipi_finds_the_calibrated_deviation(
    ipi: Any, helpers: Any, path: Path, potential: Potential, inner: str
) -> None:
    names = ["committee_uncertainty", "committee_pot", "committee_force", "committee_energy_std"]
    ran = Ran(
        ipi, helpers, path, "--committee", str(DRAWS + 1), "--grade",
        forcefield=COMMITTEE.replace("{inner}", inner).replace("{settings}", ""),
        steps=2, beads=2, output=extras_output(*names, "committee_grade"),
    )  # fmt: skip
    start = where(atoms().positions)
    deviations = potential.evaluator().deviations(*start)
    result = potential.evaluator().compute(*start, grades=True)
    model = np.sqrt(deviations.energy_std**2 - 0.003**2 * 4) * HARTREE
    # i-PI's files hold eight digits after the point; positions come back from init.xyz with eight.
    assert ran.rows("committee_uncertainty_0")[0, 0] == pytest.approx(model, rel=1e-6)
    assert ran.rows("committee_energy_std_0")[0, 0] == pytest.approx(
        deviations.energy_std * HARTREE, rel=1e-6
    )
    pots = ran.rows("committee_pot_0")
    assert pots.shape == (3, DRAWS + 1)
    assert pots[0].mean() == pytest.approx(result.energy * HARTREE, rel=1e-7)
    assert ipi.table()[0, 2] == pytest.approx(result.energy, rel=1e-7)
    forces = ran.rows("committee_force_0")[: DRAWS + 1]
    np.testing.assert_allclose(
        forces.mean(axis=0), result.forces.ravel() * HARTREE / BOHR, atol=1e-7
    )
    assert result.grades is not None
    np.testing.assert_allclose(ran.rows("committee_grade_0")[0], result.grades, rtol=1e-6)
    assert "have an extrapolation grade above 1 (largest " in ran.errors


def test_ipi_writes_grades_of_a_plain_run(
    ipi: Any, helpers: Any, path: Path, potential: Potential
) -> None:
    ran = Ran(
        ipi, helpers, path, "--grade", forcefield=ipi.unix(), steps=3,
        output=extras_output("grade", "grade_max") + POSITIONS,
    )  # fmt: skip
    grades = ran.rows("grade_0")
    assert grades.shape == (4, 4)
    np.testing.assert_allclose(ran.rows("grade_max_0")[:, 0], grades.max(axis=1), rtol=1e-7)
    for row, positions in zip(grades, ran.frames(), strict=True):
        expected = potential.evaluator().compute(*where(positions), grades=True).grades
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_frames_beyond_ipis_threshold_are_written(
    ipi: Any, helpers: Any, path: Path, potential: Potential
) -> None:
    model = potential.evaluator().deviations(*where(atoms().positions))
    spread = np.sqrt(model.energy_std**2 - 0.003**2 * 4) * HARTREE
    for number, (threshold, written) in enumerate(((0.5 * spread, True), (100 * spread, False))):
        settings = (
            f"<active_thresh> {threshold} </active_thresh><active_output> beyond </active_output>"
        )
        if number:
            ipi.stop()
        ran = Ran(
            ipi, helpers, path, "--committee", str(DRAWS + 1),
            forcefield=COMMITTEE.replace("{inner}", SOCKET).replace("{settings}", settings), steps=1,
        )  # fmt: skip
        (file,) = ran.folder.glob("md.beyond*")
        text = file.read_text()
        assert bool(text) == written
        if written:
            first, _ = json.JSONDecoder().raw_decode(text)
            np.testing.assert_allclose(
                first["position"], atoms().positions.ravel() * BOHR, atol=1e-6
            )
            assert first["uncertainty"] == pytest.approx(spread, rel=1e-6)
        file.unlink()


def test_weighted_baseline_conserves_energy(ipi: Any, helpers: Any, path: Path) -> None:
    """Its forces have the gradient of the spread: with members' forces of another factor it drifts.

    The deviation is of the order of the baseline's, so that the mixing is far from 0 and 1.
    """
    base = "<fflj name='base'><parameters> {{eps: 1e-4, sigma: 4.0}} </parameters></fflj>"
    settings = (
        "<baseline_name> base </baseline_name>"
        "<baseline_uncertainty units='electronvolt'> 0.1 </baseline_uncertainty>"
    )
    ran = Ran(
        ipi, helpers, path, "--committee", "4", steps=40, output=extras_output("wb_mixing"),
        forcefield=COMMITTEE.replace("{inner}", SOCKET + base).replace("{settings}", settings),
    )  # fmt: skip
    mixing = ran.rows("wb_mixing_0")[:, 0]
    assert 0.01 < mixing.min() < mixing.max() < 0.99
    assert np.ptp(mixing) > 1e-3
    conserved, energy = ipi.table()[:, 1], ipi.table()[:, 2]
    assert np.ptp(energy) > 0.05
    assert np.ptp(conserved) < 0.02 * np.ptp(energy)


def test_ffdirect_gives_the_members_as_extras(ipi: Any, path: Path, potential: Potential) -> None:
    """Not within <ffcommittee>: i-PI 3.3.1 cannot write a checkpoint of an <ffdirect> in it."""
    pytest.importorskip("ipi")
    ipi.start(
        atoms(),
        f"<ffdirect name='ff'><pes> custom </pes><pes_path> {pes_path()} </pes_path><parameters> "
        f"{{{{potential: {path}, template: {path.with_name('init.xyz')}, committee: {DRAWS + 1}, "
        "grade: True}} </parameters></ffdirect>",
        steps=1, output=extras_output("committee_pot", "grade"),
    )  # fmt: skip
    assert ipi.wait() == 0, ipi.log()
    start = where(atoms().positions)
    deviations = potential.evaluator().deviations(*start)
    model = np.sqrt(deviations.energy_std**2 - 0.003**2 * 4) * HARTREE
    pots = np.loadtxt(ipi.folder / "md.committee_pot_0", ndmin=2)
    assert pots.shape == (2, DRAWS + 1)
    assert pots[0].std(ddof=1) == pytest.approx(model, rel=1e-5)
    grades = potential.evaluator().compute(*start, grades=True).grades
    assert grades is not None
    np.testing.assert_allclose(np.loadtxt(ipi.folder / "md.grade_0")[0], grades, rtol=1e-6)


def test_committee_reweighting_runs_on_the_members(
    ipi: Any, helpers: Any, path: Path, find_program: Any
) -> None:
    ran = Ran(
        ipi, helpers, path, "--committee", str(DRAWS + 1), steps=10,
        forcefield=COMMITTEE.replace("{inner}", SOCKET).replace("{settings}", ""),
        output=extras_output("committee_pot"),
    )  # fmt: skip
    kt = 0.1 * HARTREE
    done = subprocess.run(
        [find_program("i-pi-committee-reweight"), "md.committee_pot_0", "md.out", "--kt", str(kt),
         "--index", "2"],
        cwd=ran.folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mean, error, *members = np.loadtxt(done.stdout.splitlines())
    # Cumulant expansion, by hand: <a> - <a h> + <a> <h>, h = (V - mean V) / kT.
    pots, observed = ran.rows("committee_pot_0"), ipi.table()[:, 2]
    h = (pots - pots.mean(axis=1, keepdims=True)) / kt
    expected = observed.mean() - (observed @ h) / len(h) + observed.mean() * h.mean(axis=0)
    np.testing.assert_allclose(members, expected, rtol=1e-6)
    # The members' mean is the potential, so that they deviate to both sides of it.
    assert mean == pytest.approx(observed.mean(), rel=1e-9)
    assert error == pytest.approx(expected.std(), rel=1e-5)
    assert error > 0.0
