"""The example's i-PI input runs, and path integrals through the client give the exact answer."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver import run_driver
from forcemap.ipi_driver.connection import UnixAddress
from forcemap.ipi_driver.evaluation import Extras
from forcemap.ipi_driver.template import read_template
from forcemap.potentials.file.potential_file import as_potential
from structures import SILICON

pytest.importorskip("ipi")

PATIENCE = 120.0


@pytest.mark.parametrize("beads", [1, 8])
def test_silicon_input_runs(ipi: Any, springs: Any, beads: int) -> None:
    shutil.copy(SILICON / "init.xyz", ipi.folder)
    text = (SILICON / "input.xml").read_text()
    text = text.replace("forcemap-silicon", ipi.address).replace("nbeads='8'", f"nbeads='{beads}'")
    text = re.sub("<total_steps> *100 *<", "<total_steps>5<", text)
    ipi.launch(text)
    template = read_template(ipi.folder / "init.xyz", ["Si"])
    assert template.numbers.tolist() == [14] * 64
    assert template.pbc.all()
    potential = springs.Springs()
    farewell = run_driver(potential, template, UnixAddress(ipi.address), timeout=PATIENCE)
    assert "EXIT" in farewell
    assert ipi.wait() == 0, ipi.log()
    table = np.loadtxt(ipi.folder / "pimd.out")
    assert table.shape == (6, 7)
    assert table[-1, 0] == 5
    assert np.isfinite(table).all()


def test_committee_input_runs_and_its_members_reweight_averages(
    ipi: Any, uncertain: Any, find_program: Any
) -> None:
    shutil.copy(SILICON / "init.xyz", ipi.folder)
    text = (SILICON / "committee.xml").read_text()
    text = re.sub("<total_steps> *200 *<", "<total_steps>5<", text)
    ipi.launch(text.replace("forcemap-committee <", f"{ipi.address} <"))
    template = read_template(ipi.folder / "init.xyz", ["Si"])
    farewell = run_driver(
        as_potential(uncertain(["Si"])), template, UnixAddress(ipi.address), timeout=PATIENCE,
        extras=Extras(committee=6, grade=True),
    )  # fmt: skip
    assert "EXIT" in farewell
    assert ipi.wait() == 0, ipi.log()
    spread, members, grades = (
        np.loadtxt(ipi.folder / f"committee.{name}_0")
        for name in ("uncertainty", "members", "grade")
    )
    assert members.shape == (6, 6)
    np.testing.assert_allclose(spread, members.std(axis=1, ddof=1), rtol=1e-5)
    assert (grades > 0.0).all()
    # The random potential is uncertain by more than the threshold of 0.2 eV.
    assert spread.min() > 0.2 * 0.036749326
    assert (ipi.folder / "committee.beyond").read_text().count("uncertainty") == 6
    # As the example's text says, with two hyphens.
    (asked,) = re.findall(r"i-pi-committee-reweight (.*)", text)
    words = asked.replace("committee.xml", "input.xml").split()
    options = [word.replace('"', "--", 1).rstrip('"') for word in words]
    done = subprocess.run(
        [find_program("i-pi-committee-reweight"), *options],
        cwd=ipi.folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mean, error, *averages = np.loadtxt(done.stdout.splitlines())
    energies = np.loadtxt(ipi.folder / "committee.out")[:, 3]
    assert mean == pytest.approx(energies.mean(), rel=1e-7)
    assert error == pytest.approx(np.std(averages), rel=1e-5)


OSCILLATORS = """
<simulation verbosity='low'>
  <output prefix='md'>
    <properties filename='out' stride='1'> [ step, kinetic_cv, kinetic_td ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <prng><seed> 1 </seed></prng>
  <ffsocket name='ff' mode='unix'><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> {kelvin} </velocities>
    </initialize>
    <forces><force forcefield='ff'/></forces>
    <motion mode='dynamics'>
      <fixcom> False </fixcom>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 5 </timestep>
        <thermostat mode='pile_l'><tau units='femtosecond'> 60 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> {kelvin} </temperature></ensemble>
  </system>
</simulation>
"""


@pytest.mark.slow
def test_quantum_kinetic_energy_of_oscillators_is_exact(ipi: Any, springs: Any) -> None:
    """Both estimators against the closed form for this number of beads; classical is 15 % lower."""
    beads, kelvin, steps, n_atoms = 8, 50.0, 1500, 216
    Atoms(f"H{n_atoms}", np.zeros((n_atoms, 3)), cell=[50] * 3, pbc=True).write(
        ipi.folder / "init.xyz", format="extxyz"
    )
    ipi.launch(
        OSCILLATORS.format(steps=steps, beads=beads, kelvin=kelvin, address=ipi.address),
        patience=300.0,
    )
    template = read_template(ipi.folder / "init.xyz")
    run_driver(springs.Springs(), template, UnixAddress(ipi.address), timeout=PATIENCE)
    table = np.loadtxt(ipi.folder / "md.out")[200:]

    kt = kelvin * 3.1668152e-06
    omega2 = 0.01 * 0.036749326 / 1.8897261**2 / (1.008 * 1822.8885)
    modes = 2.0 * beads * kt * np.sin(np.pi * np.arange(beads) / beads)
    exact = 3 * n_atoms * 0.5 * kt * np.sum(omega2 / (modes**2 + omega2))
    classical = 3 * n_atoms * 0.5 * kt
    assert exact > 1.15 * classical
    # Blocks of 100 steps (about a period) are independent: five standard errors, and a cap on them.
    for column in (1, 2):
        blocks = table[: len(table) // 100 * 100, column].reshape(-1, 100).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(len(blocks))
        assert error < 0.02 * exact
        assert blocks.mean() == pytest.approx(exact, abs=5 * error)
