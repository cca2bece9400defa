"""``forcemap pimd`` with a real i-PI: runs, kills and restarts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner
from forcemap.fitter.cli import cli
from forcemap.ipi_driver import pimd as module
from forcemap.ipi_driver.input import InputSettings, read_gle_file
from forcemap.ipi_driver.pimd import run_pimd
from forcemap.ipi_driver.tally import GradeTally
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import write_potential
from forcemap_runs import fault, run_forcemap
from potentials_factory import random_potential

pytest.importorskip("ipi")

PATIENCE = 120.0
COMMAND = [sys.executable, "-c", "from forcemap.fitter.cli import main; main()", "pimd"]


def write_files(folder: Path) -> None:
    write_potential(random_potential(["Si"], seed=2), folder / "si.forcemap")
    bulk("Si", "diamond", 5.4, cubic=True).write(folder / "start.xyz")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    yield
    for process in processes(tmp_path):
        os.kill(process, signal.SIGKILL)
    for record in tmp_path.glob("*/run.json"):  # of runs that were killed
        Path(f"/tmp/ipi_{json.loads(record.read_text())['address']}").unlink(missing_ok=True)


def processes(folder: Path, name: str = "") -> list[int]:
    """Processes that work in the folder or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = (entry / "cwd").readlink()
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        inside = place.is_relative_to(folder) and place != folder
        if inside and name in command:
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(folder: str, settings: InputSettings, **options: int) -> module.PimdRun:
    return run_pimd("si.forcemap", "start.xyz", settings, folder, **options)


def table(folder: str) -> np.ndarray:
    return np.loadtxt(Path(folder) / "pimd.out", ndmin=2)


def test_interrupted_run_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    words = ["pimd", "si.forcemap", "start.xyz", "-o", "run", "--beads", "2", "--threads", "1"]
    words += ["--steps", "240", "--output-stride", "2", "--checkpoint-stride", "10"]
    found = "forcemap.ipi_driver.pimd:_prune"  # called at new steps, while i-PI goes on
    done = run_forcemap(*words, faults=(fault(found, 2, number="SIGINT"),))
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    wait_for(lambda: not processes(tmp_path))
    assert re.search(
        r"^Interrupted\. It was in \"i-PI, 2 beads\", \d+ of 240 done\.", done.stderr, re.M
    )
    # The checkpoint that i-PI keeps under its own name is overtaken by the last numbered one at times.
    last = r"(RESTART|pimd\.checkpoint_\d+) is of step \d+ of 240\. Go on with:$"
    assert re.search(last, done.stderr, re.M)
    program, *again = shlex.split(done.stderr.splitlines()[-1])
    assert (program, again) == ("forcemap", words)
    result = CliRunner().invoke(cli, [*again, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["steps"] == 240
    assert 0 < document["begin"] < 240
    assert document["milliseconds_per_step"] > 0.0
    assert table("run")[:, 0].tolist() == list(range(0, 241, 2))


WHITE = (
    "<A shape='(3,1,1)'> [1e-3,1e-3,1e-3] </A><C shape='(3,1,1)' units='kelvin'> [300,300,300] </C>"
)


@pytest.mark.parametrize(
    ("values", "clients"),
    [
        ({"ensemble": "nvt"}, 1),
        ({"ensemble": "nvt", "thermostat": "pile_l", "trajectory": "beads"}, 1),
        ({"ensemble": "nvt", "thermostat": "piglet"}, 1),
        ({"ensemble": "npt", "mode": "shm"}, 1),
        ({"ensemble": "nve", "mode": "inet"}, 2),
    ],
    ids=["nvt", "pile_l", "piglet", "npt-shm", "nve-inet"],
)
def test_every_kind_of_run_comes_to_its_last_step(
    values: dict[str, str], clients: int, tmp_path: Path
) -> None:
    Path("gle").write_text(WHITE)
    gle = read_gle_file("gle", 3) if values.get("thermostat") == "piglet" else ""
    settings = InputSettings(
        beads=3, steps=20, output_stride=5, trajectory_stride=10, gle=gle, **values
    )  # type: ignore[arg-type]
    done = run("run", settings, threads=1, clients=clients)
    assert done.steps == 20
    rows = table("run")
    assert rows[:, 0].tolist() == [0, 5, 10, 15, 20]
    assert np.isfinite(rows).all()
    assert not Path(f"/tmp/ipi_{settings.address}").exists()
    # With shared memory, Python's resource tracker leaves a moment after i-PI.
    wait_for(lambda: not processes(tmp_path))
    files = [f"pimd.beads_{n}.xyz" for n in range(3)] if "trajectory" in values else []
    for name in files or ["pimd.centroid.xyz"]:
        assert (Path("run") / name).read_text().count("Step:") == 3


NVE = ["--beads", "2", "--ensemble", "nve", "--temperature", "300", "--seed", "7"]
STRIDES = ["--output-stride", "1", "--trajectory-stride", "3", "--checkpoint-stride", "5"]


STEPS = 400
WHOLE = [*COMMAND, "si.forcemap", "start.xyz", *NVE, *STRIDES, "--steps", str(STEPS)]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("pimd")
    write_files(folder)
    subprocess.run([*WHOLE, "-o", "whole"], cwd=folder, timeout=PATIENCE, check=True)
    return folder / "whole"


@pytest.mark.parametrize("victim", ["i-pi", "driver"])
def test_killed_run_goes_on_as_if_nothing_had_happened(
    victim: str, whole_run: Path, tmp_path: Path
) -> None:
    command = [*WHOLE, "-o", "cut"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(Path("cut").glob("pimd.checkpoint_[1-9]*")))
    for process in processes(tmp_path, victim):
        os.kill(process, signal.SIGKILL)
    _, errors = first.communicate(timeout=PATIENCE)
    assert first.returncode == 1, errors
    assert "Error: " in errors
    assert "Traceback" not in errors
    assert len(list(Path("cut").glob("pimd.checkpoint_*"))) <= 3, "old ones are removed"
    again = subprocess.run(command, timeout=PATIENCE, check=False)
    assert again.returncode == 0
    exact, found = table(str(whole_run)), table("cut")
    assert found[:, 0].tolist() == list(range(STEPS + 1)), "no step twice, none missing"
    np.testing.assert_allclose(found, exact, rtol=2e-7, atol=1e-7)
    frames = [(folder / "pimd.centroid.xyz").read_text() for folder in (whole_run, Path("cut"))]
    assert frames[0].count("Step:") == frames[1].count("Step:")


def test_run_that_goes_on_without_its_command_is_left_alone(tmp_path: Path) -> None:
    command = [*COMMAND, "si.forcemap", "start.xyz", *NVE, "--steps", "1000000", "-o", "run"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: (Path("run") / "pimd.out").exists())
    first.kill()
    first.wait(PATIENCE)
    assert processes(tmp_path, "i-pi")
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert "a run is still going on in this folder" in second.stderr


def test_cut_checkpoint_is_not_taken() -> None:
    run("run", InputSettings(beads=2, steps=20, checkpoint_stride=5), threads=1)
    (Path("run") / "RESTART").unlink()
    last, step = max(
        ((path, module._step_of(path)) for path in Path("run").glob("pimd.checkpoint_*")),
        key=lambda one: one[1] or 0,
    )
    assert step == 20
    last.write_text(last.read_text()[: last.stat().st_size // 2])
    found = module._checkpoint(Path("run"))
    assert found is not None
    assert found[1] == 15


def test_finished_run_says_so_and_goes_on_with_more_steps() -> None:
    settings = InputSettings(beads=2, steps=10, output_stride=1)
    run("run", settings, threads=1)
    before = (Path("run") / "pimd.out").read_bytes()
    arguments = ["si.forcemap", "start.xyz", "--beads", "2", "--output-stride", "1", "-o", "run"]
    for steps in ("10", "7"):
        done = CliRunner().invoke(cli, ["pimd", *arguments, "--steps", steps])
        assert done.exit_code == 0, done.output
        assert "the run has come to step 10 already; to go on, give more --steps" in done.output
    assert (Path("run") / "pimd.out").read_bytes() == before
    assert run("run", InputSettings(beads=2, steps=15, output_stride=1), threads=1).steps == 15
    assert table("run")[:, 0].tolist() == list(range(16))


def test_port_that_others_have_taken_since_is_not_used_again() -> None:
    run("run", InputSettings(beads=1, steps=2, mode="inet"), threads=1)
    text = (Path("run") / "input.xml").read_text()
    port = int(text.partition("<port>")[2].partition("</port>")[0])
    with socket.create_server(("localhost", port)):
        longer = InputSettings(beads=1, steps=4, mode="inet")
        assert run("run", longer, threads=1).steps == 4


def test_other_options_and_other_folders_are_refused() -> None:
    run("run", InputSettings(beads=2, steps=3), threads=1)
    with pytest.raises(ForcemapError, match="another beads, temperature; give another folder"):
        run("run", InputSettings(beads=3, steps=3, temperature=200.0), threads=1)
    write_potential(random_potential(["Si"], seed=3), "si.forcemap")
    with pytest.raises(ForcemapError, match="another potential; give another folder"):
        run("run", InputSettings(beads=2, steps=3), threads=1)
    Path("mine").mkdir()
    Path("mine/input.xml").write_text("mine")
    with pytest.raises(ForcemapError, match=r"holds input.xml, not of a run of this command"):
        run("mine", InputSettings(beads=2, steps=3), threads=1)
    assert Path("mine/input.xml").read_text() == "mine"


def test_nothing_is_made_for_a_structure_that_cannot_run() -> None:
    bulk("Ge", "diamond", 5.6, cubic=True).write("start.xyz")
    with pytest.raises(ForcemapError, match="Ge"):
        run("run", InputSettings(beads=2, steps=3), threads=1)
    assert not Path("run").exists()


def test_fault_of_a_driver_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = bulk("Si", "diamond", 5.4, cubic=True)
    atoms.positions[1] = atoms.positions[0]
    atoms.write("start.xyz")
    with pytest.raises(
        ForcemapError, match=r"(?s)forcemap driver ended with exit code 1.*same plac"
    ):
        run("run", InputSettings(beads=2, steps=3), threads=1)


@pytest.mark.parametrize("steps", [40, 10**7], ids=["short", "long"])
def test_run_that_blows_up_is_stopped_and_does_not_go_on(steps: int) -> None:
    """Steps of 200 fs: no bond swings that slowly."""
    bulk("Si", "diamond", 5.3, cubic=True).write("start.xyz")
    settings = InputSettings(beads=2, steps=steps, timestep=200.0, output_stride=2)
    for _ in range(2):
        with pytest.raises(ForcemapError, match=r"blown up: .*asked for 300 K.*timestep of 200 fs"):
            run("run", settings, threads=1)
    if steps > 40:
        assert table("run")[-1, 0] < steps


@pytest.mark.parametrize(("ensemble", "beads"), [("nvt", 3), ("npt", 1), ("nve", 1)])
def test_one_atom_runs(ensemble: Any, beads: int) -> None:
    """Nothing is left that could move in i-PI's frame of the centre of mass."""
    Atoms("Si", cell=[9, 9, 9], pbc=True).write("start.xyz")
    settings = InputSettings(beads=beads, steps=20, ensemble=ensemble, output_stride=1)
    assert run("run", settings, threads=1).steps == 20
    temperature = table("run")[:, 3]
    assert (temperature > 0.0).all()
    # Nothing acts on the atom; without a thermostat it keeps its velocity.
    assert (np.ptp(temperature) > 1e-3) == (ensemble != "nve")


def test_labels_do_not_matter_and_positions_do() -> None:
    text = (
        'Lattice="5.4 0 0 0 5.4 0 0 0 5.4" Properties=species:S:1:pos:R:3:forces:R:3 energy=nan\n'
        "Si 0 0 0 nan nan nan\nSi 1.35 1.35 1.35 inf 0 0\n"
    )
    Path("start.xyz").write_text(f"2\n{text}")
    assert run("run", InputSettings(beads=1, steps=2), threads=1).steps == 2
    for old, new, message in (
        (
            "Si 1.35",
            "Si nan",
            r"start.xyz has a position that is not finite, of atom 1 .*: nan 1.35",
        ),
        ('"5.4 0', '"inf 0', "start.xyz has a cell that is not finite"),
    ):
        Path("start.xyz").write_text(f"2\n{text.replace(old, new)}")
        with pytest.raises(ForcemapError, match=message):
            run("other", InputSettings(beads=1, steps=2), threads=1)
    assert not Path("other").exists()


def test_files_in_the_wrong_places_are_named() -> None:
    Path("settings.yaml").write_text("data: {train: a.xyz}\n")
    for files, message in (
        (("start.xyz", "si.forcemap"), "si.forcemap is a potential's file .* comes first"),
        (("si.forcemap", "si.forcemap"), "the structure si.forcemap is a potential's file"),
        (("si.forcemap", "settings.yaml"), "structure settings.yaml: ASE knows no format"),
    ):
        with pytest.raises(ForcemapError, match=message):
            run_pimd(*files, InputSettings(), "run")
    assert not Path("run").exists()


def test_set_up_that_was_killed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = InputSettings(beads=1, steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run("run", settings, threads=1)
    assert not (Path("run") / "run.json").exists()
    assert run("run", settings, threads=1).steps == 2


def test_shared_memory_of_a_killed_run_is_removed_at_the_next_start(tmp_path: Path) -> None:
    command = [*COMMAND, "si.forcemap", "start.xyz", "--mode", "shm", "--beads", "2", "-o", "run"]
    options = ["--steps", "1000000", "--output-stride", "1", "--checkpoint-stride", "5"]
    first = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    wait_for(lambda: list(Path("run").glob("pimd.checkpoint_[1-9]*")))
    (server,) = processes(tmp_path, "i-pi")
    first.kill()
    for _ in range(2):  # also what was started meanwhile; and i-PI's resource tracker
        for process in processes(tmp_path):
            os.kill(process, signal.SIGKILL)
    first.wait(PATIENCE)
    wait_for(lambda: not processes(tmp_path))
    left = list(Path("/dev/shm").glob(f"ipi_shm_{server}_*"))
    assert len(left) == 6
    options[1] = "1"  # already there: nothing runs, but the folder is tidied
    subprocess.run([*command, *options], timeout=PATIENCE, check=True)
    assert not any(path.exists() for path in left)


def test_committee_of_draws_runs_and_atoms_beyond_the_data_are_counted(uncertain: Any) -> None:
    write_potential(uncertain(["Si"]), "si.forcemap")
    given = ["si.forcemap", "start.xyz", "--beads", "2", "-o", "run", "--threads", "1",
             "--output-stride", "5", "--checkpoint-stride", "10", "--committee", "6"]  # fmt: skip
    for steps in (20, 30):
        done = CliRunner().invoke(cli, ["pimd", *given, "--steps", str(steps)])
        assert done.exit_code == 0, done.output
        line = done.output.splitlines()[-1]
        assert re.match(
            r"\d+ of \d+ atoms in \d+ of \d+ structures looked at have an extrapol", line
        )
    done = CliRunner().invoke(cli, ["pimd", *given, "--steps", "30"])
    assert "extrapolation grade" not in done.output, "nothing was run"
    pots = Path("run/pimd.committee_pot_0").read_text().splitlines()
    assert [int(head.split()[-1]) for head in pots[::2]] == [0, 5, 10, 15, 20, 25, 30]
    members = np.loadtxt("run/pimd.committee_pot_0")
    assert members.shape == (7, 6)
    spread = np.loadtxt("run/pimd.committee_uncertainty_0")
    np.testing.assert_allclose(spread, members.std(axis=1, ddof=1), rtol=1e-5)
    done = CliRunner().invoke(cli, ["pimd", *given[:-1], "9", "--steps", "30"])
    assert done.exit_code == 1
    assert "a committee of 9 cannot be made from the 5 draws of si.forcemap" in done.output


def test_counts_of_grades_are_added_over_drivers(uncertain: Any) -> None:
    write_potential(uncertain(["Si"]), "si.forcemap")
    settings = InputSettings(beads=4, steps=24, output_stride=1, batch_size=1)
    done = run("run", settings, threads=1, clients=2)
    counted = [GradeTally.read([log.read_text()]) for log in Path("run").glob("driver-?.log")]
    assert len(counted) == 2
    assert all(tally.structures > 0 for tally in counted)
    assert done.grades.structures == sum(tally.structures for tally in counted)
    # 25 structures of 4 beads; each driver looks at its first, and at every 31st from there.
    assert 4 <= done.grades.structures <= 5
    assert done.grades.atoms == 8 * done.grades.structures
    assert done.grades.largest == max(tally.largest for tally in counted) > 0.0


def test_extras_beyond_a_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "pimd.committee_pot_0"
    blocks = [
        f" #EXTRAS(committee_pot)# Step:  {step:10d} \n {step}.5 1.0\n" for step in (0, 5, 10)
    ]
    path.write_text("".join(blocks))
    module._cut(path, 5)
    assert path.read_text() == "".join(blocks[:2])
    path.write_text("".join(blocks[:2])[:-3])
    module._cut(path, 5)
    assert path.read_text() == blocks[0], "a line that is not whole"
