"""Dynamics with known answers, through i-PI and the driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from forcemap.ipi_driver import run_driver
from forcemap.ipi_driver.connection import UnixAddress
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.input import InputSettings
from forcemap.ipi_driver.pimd import run_pimd
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template, read_template
from forcemap.potentials import Potential, load
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray
from potentials_factory import morse_potential, random_potential

Array = NDArray[np.float64]

BOLTZMANN = 3.1668152e-06  # hartree/K, i-PI's
HARTREE, BOHR = 0.036749326, 1.8897261
DALTON = 1822.8885
PATIENCE = 120.0


@pytest.fixture
def triclinic(tmp_path: Path) -> tuple[Potential, Atoms]:
    write_potential(random_potential(["Si", "O"], seed=4), tmp_path / "siO.forcemap")
    cell = np.array([[6.0, 0.0, 0.0], [1.2, 6.3, 0.0], [-0.8, 1.0, 6.6]])
    places = np.random.default_rng(3).uniform(size=(6, 3))
    places[:, 0] = (np.arange(6) + 0.3) / 6
    return load(tmp_path / "siO.forcemap"), Atoms(
        ["Si", "O", "O", "Si", "O", "O"], places @ cell, cell=cell, pbc=True
    )


def evaluate(evaluator: BeadEvaluator, cell: Array, positions: Array) -> Batch:
    batch = Batch.empty(np.ascontiguousarray(cell)[None], len(positions))
    batch.positions[0] = positions
    evaluator.evaluate(batch)
    return batch


def test_forces_and_virial_are_derivatives_of_the_energy_in_atomic_units(
    triclinic: tuple[Potential, Atoms],
) -> None:
    """Central differences; those of half the step are four times nearer."""
    potential, atoms = triclinic
    evaluator = BeadEvaluator(potential, Template(atoms.numbers.astype(np.int32), atoms.pbc))
    h, q = atoms.cell.array.T * BOHR, atoms.positions * BOHR
    exact = evaluate(evaluator, h, q)

    def slopes(step: float) -> Array:
        found = []
        for index in np.ndindex(2, 3):
            move = np.zeros_like(q)
            move[index] = step
            up, down = (evaluate(evaluator, h, q + s * move).energies[0] for s in (1, -1))
            found.append(-(up - down) / (2 * step))
        for index in np.ndindex(3, 3):
            strain = np.zeros((3, 3))
            strain[index] = 0.1 * step
            energies = []
            for f in (np.eye(3) + strain, np.eye(3) - strain):
                # Vectors are columns in i-PI: r -> F r, so rows of positions are multiplied by F^T.
                energies.append(evaluate(evaluator, f @ h, q @ f.T).energies[0])
            found.append(-(energies[0] - energies[1]) / (0.2 * step))
        return np.array(found)

    wanted = np.concatenate([exact.forces[0, :2].ravel(), exact.virials[0].ravel()])
    errors = [np.abs(slopes(step) - wanted).max() for step in (0.02, 0.01)]
    assert errors[1] < 1e-3 * np.abs(wanted).max()
    assert errors[1] < 0.35 * errors[0]


def nve_table(folder: Path, potential: Path, start: Path, timestep: float, steps: int) -> Array:
    settings = InputSettings(
        beads=4, ensemble="nve", temperature=300.0, timestep=timestep, steps=steps,
        output_stride=1, trajectory="none", seed=11,
    )  # fmt: skip
    return np.loadtxt(run_pimd(potential, start, settings, folder, threads=1).output)


def morse_crystal(folder: Path) -> tuple[Path, Path]:
    values = {"depth": 0.15, "stiffness": 1.5, "distance": 2.5, "cutoff": 4.5}
    write_potential(morse_potential("Si", **values), folder / "si.forcemap")
    atoms = bulk("Si", "fcc", 3.5, cubic=True).repeat(2)
    atoms.write(folder / "start.xyz", format="extxyz")
    return folder / "si.forcemap", folder / "start.xyz"


def test_energy_error_falls_with_the_square_of_the_time_step(tmp_path: Path) -> None:
    pytest.importorskip("ipi")
    potential, start = morse_crystal(tmp_path)
    errors = []
    for n, timestep in enumerate((4.0, 2.0)):
        table = nve_table(tmp_path / str(n), potential, start, timestep, 60 * 2**n)
        errors.append(table[:, 2].std())
        assert table[:, 2].std() < 0.05 * table[:, 6].std()
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.3)


FIX_IPI = """
units metal
atom_style atomic
atom_modify map yes
read_data init.data
pair_style forcemap
pair_coeff * * {potential} O Si
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
fix 1 all ipi {address} 31415 unix
run 1000000
"""


@pytest.mark.lammps
def test_fix_ipi_gives_the_same_dynamics(
    ipi_in: Callable[[Path], Any],
    helpers: Any,
    triclinic: tuple[Potential, Atoms],
    tmp_path: Path,
    find_program: Callable[[str], str],
) -> None:
    """Our pair style and our driver; LAMMPS' constants of units differ from i-PI's by 1e-7."""
    pytest.importorskip("ipi")
    potential, atoms = triclinic
    tables = []
    for way in ("driver", "lammps"):
        run = ipi_in(tmp_path / way)
        run.start(atoms, run.unix(), steps=20, beads=2)
        if way == "driver":
            template = read_template(run.folder / "init.xyz")
            run_driver(potential, template, UnixAddress(run.address), timeout=PATIENCE)
        else:
            atoms.write(run.folder / "init.data", format="lammps-data", masses=True,
                        specorder=["O", "Si"])  # fmt: skip
            text = FIX_IPI.format(potential=potential.name, address=run.address)
            (run.folder / "in.ipi").write_text(text)
            while not Path(f"/tmp/ipi_{run.address}").exists():
                assert run.process.poll() is None
            client = helpers.start(
                [find_program("lmp"), "-in", "in.ipi", "-log", "none"], run.folder
            )
            client.communicate(timeout=PATIENCE)
        assert run.wait() == 0
        tables.append(run.table())
    assert tables[0][-1, 0] == tables[1][-1, 0] == 20
    scale = np.abs(tables[0]).max(axis=0)
    np.testing.assert_array_less(np.abs(tables[1] - tables[0]) / scale, 1e-6)


BETWEEN_WALLS = """
<simulation verbosity='low' safe_stride='100'>
  <output prefix='md'>
    <properties filename='out' stride='4'> [ step, potential ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <prng><seed> 5 </seed></prng>
  <ffsocket name='ff' mode='unix'>
    <address>{address}</address><batch_size>{beads}</batch_size><latency>3e-4</latency>
  </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> {kelvin} </velocities>
    </initialize>
    <forces><force forcefield='ff'/></forces>
    <motion mode='dynamics'>
      <fixcom> False </fixcom>
      <fixatoms_dof> {fixed} </fixatoms_dof>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.75 </timestep>
        <thermostat mode='pile_l'><tau units='femtosecond'> 20 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> {kelvin} </temperature></ensemble>
  </system>
</simulation>
"""


def exact_potential_energy(x: Array, v: Array, mass: float, kelvin: float, beads: int) -> float:
    """<V> of a particle in one dimension on a ring of `beads`, by products of matrices.

    Args:
        x: equidistant places, bohr.
        v: potential there, hartree.
        mass: electron masses.
        kelvin: temperature.
        beads: factors of the Trotter product.
    """
    beta = 1.0 / (BOLTZMANN * kelvin)
    spring = np.exp(-mass * beads / (2.0 * beta) * (x[:, None] - x[None, :]) ** 2)
    half = np.exp(-0.5 * beta / beads * (v - v.min()))
    link = half[:, None] * spring * half[None, :]
    density = np.diag(np.linalg.matrix_power(link / np.linalg.norm(link, 2), beads))
    return float(density @ v / density.sum())


@pytest.mark.slow
def test_anharmonic_oscillator_is_exact_for_its_number_of_beads(ipi: Any, tmp_path: Path) -> None:
    """Protons between two walls: a double well with a barrier of about kT."""
    beads, kelvin, steps, count, wall = 8, 300.0, 6000, 64, 1.8
    path = tmp_path / "h.forcemap"
    values = {"depth": 0.06, "stiffness": 2.5, "distance": 1.0, "cutoff": 3.5}
    write_potential(morse_potential("H", **values), path)
    unit = np.array([[-wall, 0.0, 0.0], [0.0, 0.0, 0.0], [wall, 0.0, 0.0]])
    shifts = [(0.0, 8.0 * (n % 8), 8.0 * (n // 8)) for n in range(count)]
    positions = np.concatenate([unit + shift for shift in shifts])
    atoms = Atoms(f"H{3 * count}", positions, cell=[12, 64, 64], pbc=True)
    atoms.set_masses(np.ones(3 * count))
    ase.io.write(ipi.folder / "init.xyz", atoms, format="extxyz")
    free = {3 * (3 * n + 1) for n in range(count)}
    fixed = [dof for dof in range(9 * count) if dof not in free]
    ipi.launch(
        BETWEEN_WALLS.format(
            steps=steps, address=ipi.address, beads=beads, kelvin=kelvin, fixed=fixed
        ),
        patience=600.0,
    )
    potential = load(path)
    template = read_template(ipi.folder / "init.xyz")
    run_driver(potential, template, UnixAddress(ipi.address), timeout=PATIENCE)
    assert ipi.wait() == 0
    table = np.loadtxt(ipi.folder / "md.out")
    assert table[-1, 0] == steps
    measured = table[len(table) // 10 :, 1] / count

    x = np.linspace(-1.5, 1.5, 401)
    evaluator = potential.evaluator()
    energies = []
    for place in x:
        moved = unit + np.array([[0, 0, 0], [place, 0, 0], [0, 0, 0]])
        energies.append(evaluator.compute(moved, [1, 1, 1], np.zeros((3, 3)), False).energy)
    v = np.array(energies) * HARTREE
    exact = exact_potential_energy(x * BOHR, v, DALTON, kelvin, beads)
    classical = exact_potential_energy(x * BOHR, v, DALTON, kelvin, 1)
    blocks = measured[: len(measured) // 20 * 20].reshape(20, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    print(f"<V> {measured.mean():.6f}({error:.6f}), exact {exact:.6f}, classical {classical:.6f}")
    assert error < 0.1 * (exact - classical)
    assert measured.mean() == pytest.approx(exact, abs=4.0 * error)


@pytest.mark.slow
def test_estimators_of_kinetic_energy_agree_in_a_crystal(tmp_path: Path) -> None:
    """Centroid-virial and thermodynamic, of an anharmonic crystal; the classical value is lower."""
    potential, start = morse_crystal(tmp_path)
    atoms = ase.io.read(start)
    atoms.set_masses(np.full(len(atoms), 4.0))
    atoms.write(start, format="extxyz")
    settings = InputSettings(
        beads=8, temperature=100.0, timestep=1.0, steps=6000, tau=50.0, thermostat="pile_l",
        output_stride=2, trajectory="none", seed=2,
    )  # fmt: skip
    table = np.loadtxt(run_pimd(potential, start, settings, tmp_path / "run").output)
    later = table[len(table) // 10 :]
    virial, thermodynamic = later[:, 4], later[:, 5]
    blocks = (virial - thermodynamic)[: len(later) // 20 * 20].reshape(20, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    classical = 1.5 * len(atoms) * BOLTZMANN / HARTREE * 100.0
    print(f"cv {virial.mean():.4f} td {thermodynamic.mean():.4f} +- {error:.4f} cl {classical:.4f}")
    assert error < 0.03 * classical
    assert abs(blocks.mean()) < 4.0 * error
    assert virial.mean() > 1.3 * classical
