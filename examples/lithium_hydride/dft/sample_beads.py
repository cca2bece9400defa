#!/usr/bin/env python3
"""Take the structures of the second round from molecular dynamics with a fit of the first.

Every frame is one bead, picked at random, of a path-integral simulation (or the only one of a
classical simulation): just the structures that the potential meets when it runs. The cells are small
and slightly strained; each simulation has its own. The frames are not labelled here::

    forcemap fit first.yaml -o first
    python3 sample_beads.py first/potential.forcemap --work dft-work
    /usr/bin/python3 compute_frames.py --work dft-work      # goes on with dft-work/beads.xyz

This script runs with the Python in which forcemap and i-PI are installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from compute_frames import SEED, make_cell  # noqa: E402
from dft_frames import deform, random_strain  # noqa: E402
from simulation import Plan, simulate  # noqa: E402

# config_type, cell, temperature (K), beads, lattice constants (Å), frames of each.
SIMULATIONS: list[tuple[str, str, float, int, tuple[float, ...], int]] = [
    ("Beads-300K", "C8", 300.0, 32, (3.96, 4.02, 4.08, 4.14), 3),
    ("Beads-300K", "T16", 300.0, 32, (3.96, 4.02, 4.08, 4.14), 4),
    ("Beads-300K", "B32", 300.0, 32, (4.00, 4.08, 4.08), 4),
    ("Beads-600K", "T16", 600.0, 16, (4.02, 4.10, 4.18), 3),
    ("Beads-600K", "B32", 600.0, 16, (4.10,), 3),
    ("Classical-300K", "T16", 300.0, 1, (4.04, 4.10), 2),
    ("Classical-300K", "B32", 300.0, 1, (4.08,), 2),
    ("Beads-300K-64", "C64", 300.0, 32, (4.08,), 4),
]
EQUILIBRATION, INTERVAL = 500, 300  # steps of 1 fs, enough for samples
STRAIN = 0.015


def sample(potential: Path, work: Path) -> list[Atoms]:
    """Run all simulations, in folders of ``work``; returns the structures."""
    out: list[Atoms] = []
    number = 0
    for config_type, kind, temperature, beads, lattice, count in SIMULATIONS:
        for a in lattice:
            number += 1
            rng = np.random.default_rng([SEED, 200 + number])
            cell = make_cell(kind, a)
            if kind != "C64":  # the cell that is simulated in the end
                cell = deform(cell, random_strain(rng, STRAIN))
            # i-PI wants the first vector along x and the second in the xy plane.
            cell.set_cell(cell.cell.standard_form()[0], scale_atoms=True)
            steps = EQUILIBRATION + INTERVAL * count
            seed = SEED % 10000 + number
            plan = Plan(beads, steps, temperature, stride=100, seed=seed, timestep=1.0)
            folder = work / f"sample-{number}"
            positions = simulate(folder, potential, cell, plan).positions
            for frame in range(count):
                atoms = cell.copy()
                index = (EQUILIBRATION + INTERVAL * (frame + 1)) // plan.stride
                atoms.positions = positions[index, rng.integers(beads)]
                atoms.wrap()
                atoms.info = {"config_type": config_type, "cell": kind}
                out.append(atoms)
            print(f"{folder}: {config_type}, {kind}, a = {a} A", flush=True)
    return out


def main() -> None:
    """Parse the command line, sample, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potential", type=Path, help="of the first round")
    parser.add_argument("--work", type=Path, default=Path("dft-work"), help="working folder")
    args = parser.parse_args()
    write(args.work / "beads.xyz", sample(args.potential, args.work), format="extxyz")


if __name__ == "__main__":
    main()
