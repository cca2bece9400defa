"""Path integrals inside LAMMPS (fix pimd/langevin), one partition per bead, and against i-PI."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from forcemap.fitter.commands.demo_runs import standard_error
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import write_potential
from forcemap.potentials.runs.lammps import thermo_rows
from lammps_runs import program
from numpy.typing import NDArray
from potentials_factory import morse_potential
from structures import SILICON

pytestmark = pytest.mark.lammps

EXAMPLE = SILICON / "in.pimd"
BEADS = 4
KELVIN = 100.0


@pytest.fixture
def potential(tmp_path: Path) -> Path:
    path = tmp_path / "si.forcemap"
    values = {"depth": 0.15, "stiffness": 1.5, "distance": 2.5, "cutoff": 4.5}
    write_potential(morse_potential("Si", **values), path)
    return path


def run(folder: Path, text: str, *, timeout: float) -> list[dict[str, NDArray[np.float64]]]:
    """Thermo rows of every bead."""
    (folder / "in.pimd").write_text(text)
    done = subprocess.run(
        [program("mpirun"), "-np", str(BEADS), program("lmp"), "-partition", f"{BEADS}x1",
         "-in", "in.pimd", "-log", "none"],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        env={k: v for k, v in os.environ.items() if k != "LAMMPS_PLUGIN_PATH"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [thermo_rows((folder / f"pimd.log.{n + 1}").read_text()) for n in range(BEADS)]


def crystal_input(text: str, potential: Path, steps: int, repeat: int) -> str:
    """The example with a light atom in an fcc crystal of the potential's distance."""
    changes = [
        (r"(variable potential index) .*", rf"\g<1> {potential}"),
        (r"(variable temperature index) .*", rf"\g<1> {KELVIN:g}"),
        (r"(variable steps index) .*", rf"\g<1> {steps}"),
        (r"(variable repeat index) .*", rf"\g<1> {repeat}"),
        (r"lattice diamond 5.47", "lattice fcc 3.5"),
        (r"mass 1 28.0855", "mass 1 4.0"),
        (r"tau 0.1 ", "tau 0.05 "),
    ]
    for pattern, value in changes:
        text, count = re.subn(pattern, value, text)
        assert count == 1, pattern
    return text


def test_example_runs_with_four_beads(potential: Path, tmp_path: Path) -> None:
    text = crystal_input(EXAMPLE.read_text(), potential, steps=10, repeat=2)
    beads = run(tmp_path, text, timeout=120)
    atoms = bulk("Si", "fcc", 3.5, cubic=True).repeat(2)
    exact = load(potential).evaluator().compute(
        atoms.positions, atoms.numbers, atoms.cell.array, True
    )  # fmt: skip
    for rows in beads:
        assert rows["Step"].tolist() == [0, 10]
        assert all(np.isfinite(column).all() for column in rows.values())
        assert rows["PotEng"][0] == pytest.approx(exact.energy, rel=1e-7)
        # All beads begin in one place: the centroid-virial estimator is the classical one.
        classical = 1.5 * len(atoms) * 8.617333e-5 * KELVIN
        assert rows["f_pimd[7]"][0] == pytest.approx(classical, rel=0.05)
    # The estimators are of all beads together; potential energies are their own.
    assert len({rows["f_pimd[7]"][-1] for rows in beads}) == 1
    assert len({rows["PotEng"][-1] for rows in beads}) == BEADS


@pytest.mark.slow
def test_lammps_and_ipi_agree(potential: Path, tmp_path: Path) -> None:
    """Kinetic and potential energy of 4 beads; classical kinetic energy is half of it."""
    pytest.importorskip("ipi")
    from forcemap.ipi_driver.input import InputSettings
    from forcemap.ipi_driver.pimd import run_pimd

    steps, repeat = 1000, 5
    inside = tmp_path / "lammps"
    inside.mkdir()
    text = crystal_input(EXAMPLE.read_text(), potential, steps, repeat)
    beads = run(inside, text, timeout=1200)
    later = slice(len(beads[0]["Step"]) * 3 // 10, None)
    atoms = bulk("Si", "fcc", 3.5, cubic=True).repeat(repeat)
    lammps = {
        "kinetic": beads[0]["f_pimd[7]"][later],
        "potential": np.mean([rows["PotEng"] for rows in beads], axis=0)[later],
    }

    start = tmp_path / "start.xyz"
    atoms.set_masses(np.full(len(atoms), 4.0))
    atoms.write(start, format="extxyz")
    settings = InputSettings(
        beads=BEADS, temperature=KELVIN, timestep=1.0, steps=steps, tau=50.0, thermostat="pile_l",
        trajectory="none", seed=3,
    )  # fmt: skip
    done = run_pimd(potential, start, settings, tmp_path / "ipi", threads=1)
    rows = np.loadtxt(done.output)[later]
    ipi = {"kinetic": rows[:, 4], "potential": rows[:, 6]}

    classical = 1.5 * len(atoms) * 8.617333e-5 * KELVIN
    for name, values in lammps.items():
        error = np.hypot(standard_error(values), standard_error(ipi[name]))
        assert error < 0.05 * classical, name
        assert values.mean() == pytest.approx(ipi[name].mean(), abs=4.0 * error), name
    assert lammps["kinetic"].mean() > 1.3 * classical
