"""One simulation with i-PI and the project's driver: runs it and reads its output."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from ase import Atoms
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.i_pi import Drivers, find_i_pi, run_i_pi
from forcemap.potentials.runs.programs import last_step
from numpy.typing import NDArray

__all__ = ["Output", "Plan", "read_output", "simulate"]

Array = NDArray[np.float64]

INPUT = Path(__file__).with_name("input.xml")


@dataclass(frozen=True)
class Plan:
    """Differences from `input.xml`.

    Attributes:
        beads: 1 is classical mechanics.
        steps: number of time steps.
        temperature: K.
        stride: steps between the positions kept.
        seed: of the random numbers.
        timestep: fs.
    """

    beads: int
    steps: int
    temperature: float = 300.0
    stride: int = 50
    seed: int = 2718
    timestep: float = 0.5

    def input_text(self, address: str) -> str:
        """i-PI's input, for a driver at a socket of this address."""
        root = ElementTree.fromstring(INPUT.read_text(encoding="utf-8"))
        for place, value in (
            ("total_steps", self.steps),
            ("prng/seed", self.seed),
            ("ffsocket/address", address),
            ("ffsocket/batch_size", self.beads),
            ("system/initialize/velocities", self.temperature),
            ("system/ensemble/temperature", self.temperature),
            ("system/motion/dynamics/timestep", self.timestep),
        ):
            _find(root, place).text = f" {value} "
        _find(root, "system/initialize").set("nbeads", str(self.beads))
        _find(root, "output/trajectory").set("stride", str(self.stride))
        return ElementTree.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class Output:
    """Result of a simulation.

    Attributes:
        time: (rows,) ps.
        kinetic: centroid-virial kinetic energy (rows,) meV, by element, sum over its atoms.
        positions: (frames, beads, atoms, 3) Å, not wrapped.
    """

    time: Array
    kinetic: dict[str, Array]
    positions: Array


def simulate(folder: Path, potential: Path, atoms: Atoms, plan: Plan) -> Output:
    """Run i-PI with one `forcemap driver` in `folder`, whose earlier output is removed.

    Args:
        folder: made if it does not exist.
        potential: file for the driver.
        atoms: start; its cell stays, and its masses are those of the simulation.
        plan: what to run.

    Raises:
        ForcemapError: a program is missing or failed.
    """
    find_i_pi()  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("md.*"):
        old.unlink()  # i-PI would keep them under other names
    atoms = atoms.copy()
    atoms.set_masses(atoms.get_masses())  # now they are written, too
    atoms.write(folder / "init.xyz", format="extxyz")
    address = f"forcemap-{uuid.uuid4().hex[:12]}"
    (folder / "input.xml").write_text(plan.input_text(address), encoding="utf-8")
    table = folder / "md.out"
    drivers = Drivers(potential, address)
    run_i_pi(folder, "input.xml", drivers, lambda: last_step(table), lambda _: None)
    return read_output(folder, plan)


def read_output(folder: Path, plan: Plan) -> Output:
    """Read the output of a finished run.

    Raises ForcemapError if it does not reach the plan's last step.
    """
    table = folder / "md.out"
    if not table.exists() or last_step(table) != plan.steps:
        raise ForcemapError(f"{table}: does not reach step {plan.steps}; see the logs beside it")
    rows = np.loadtxt(table, ndmin=2)
    files = sorted(folder.glob("md.pos_*.xyz"))
    if len(files) != plan.beads:
        raise ForcemapError(f"{folder}: has positions of {len(files)} beads, not {plan.beads}")
    positions = np.stack([_read_positions(path) for path in files], axis=1)
    return Output(rows[:, 1], {"H": rows[:, 4], "Li": rows[:, 5]}, positions)


def _read_positions(path: Path) -> Array:
    """Positions (frames, atoms, 3) of an xyz file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    block = int(lines[0]) + 2
    words = [line.split()[1:4] for i, line in enumerate(lines) if i % block >= 2]
    return np.array(words, dtype=np.float64).reshape(-1, block - 2, 3)


def _find(root: ElementTree.Element, place: str) -> ElementTree.Element:
    found = root.find(place)
    if found is None:
        raise ForcemapError(f"{INPUT}: has no {place}")
    return found
