#!/usr/bin/env python3
"""Compute the lithium hydride example data set with density-functional theory.

Every frame is a single point with GPAW in plane-wave mode: PBE, projector augmented waves,
spin-paired, one cutoff for all of them (the constants below).  The first round holds structures
that need no potential: compressed and strained crystals, and crystals with random normal
displacements.  The second round labels frames that ``sample_beads.py`` took from path-integral
and classical molecular dynamics with a fit of the first round.  All random numbers are seeded.

What to install (Debian or a derivative)::

    apt-get install gpaw gpaw-data

which brings GPAW with its PAW data sets, ASE and NumPy; run the script with that system's
``/usr/bin/python3``.  Set ``OMP_NUM_THREADS=1``: the run is planned for one core.

Commands::

    python3 compute_frames.py --convergence       # print the convergence table
    python3 compute_frames.py --work DIR          # first round; then DIR/beads.xyz if it is there
    python3 compute_frames.py --work DIR --check  # sanity checks of DIR/frames.xyz
    python3 compute_frames.py --work DIR --split OUT   # write OUT/train.xyz and OUT/test.xyz

Each finished frame is appended to ``DIR/frames.xyz`` at once; a second run with the same ``DIR``
goes on where the first stopped.

Units are those of ASE: Angstrom, eV, eV/Angstrom, and eV/Angstrom^3 for the stress, whose sign is
ASE's (a compressed crystal has a negative diagonal).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from ase.neighborlist import neighbor_list

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the folder of all examples

from dft_frames import (
    TABLE_HEAD,
    Method,
    check_frames,
    compute,
    deform,
    displace,
    random_strain,
    split_frames,
    supercell,
)

SEED = 20261121
A0 = 4.08  # lattice constant at 300 K, Angstrom (experiment: 4.084)
CUTOFF = 550.0  # plane-wave cutoff, eV
SMEARING = 0.05  # width of the Fermi-Dirac distribution, eV; the gap is far wider
XC = "PBE"
# Meshes by kind of cell; C8, T16 and C64 fold the very same points, shifted off Gamma.
KPOINTS: dict[str, dict[str, Any]] = {
    "C8": {"size": (6, 6, 6), "gamma": False},
    "T16": {"size": (6, 6, 3), "gamma": False},
    "B32": {"size": (3, 3, 3), "gamma": True},
    "C64": {"size": (3, 3, 3), "gamma": False},
}
METHOD = Method(XC, CUTOFF, SMEARING, KPOINTS)
TEST_FRACTION = 0.2
HELD_OUT = "Beads-300K-64"  # the simulated cell: every frame of it is in test.xyz


def make_cell(kind: str, a: float = A0) -> Atoms:
    """Return a perfect rock-salt cell.

    Args:
        kind: ``C8`` cubic, ``T16`` 1x1x2 cubic cells, ``B32`` the body-centred 32-atom cell,
            ``C64`` 2x2x2 cubic cells.
        a: cubic lattice constant in Angstrom.
    """
    return supercell(bulk("LiH", "rocksalt", a=a, cubic=True), kind)


def first_round() -> list[Atoms]:
    """Return the structures of the first round, with ``config_type``, ``cell`` and ``frame``.

    The groups are taken in turns, so that a run stopped early still holds some of each.  The
    widest displacements, 0.2 A per component, exceed those of a quantum proton at 300 K (0.15 A).
    """
    groups: list[list[Atoms]] = []

    def add(config_type: str, kind: str, frames: list[Atoms]) -> None:
        for atoms in frames:
            atoms.info = {"config_type": config_type, "cell": kind}
        groups.append(frames)

    ratios = (0.80, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12)
    add("Bulk", "C8", [make_cell("C8", A0 * ratio ** (1 / 3)) for ratio in ratios])

    rng = np.random.default_rng([SEED, 1])
    strains = [deform(make_cell("C8"), np.diag([1.0 + size, 1.0, 1.0])) for size in (-0.03, 0.03)]
    shear = np.eye(3)
    shear[1, 2] = shear[2, 1] = 0.03
    strains.append(deform(make_cell("C8"), shear))
    for _ in range(6):
        strains.append(displace(deform(make_cell("C8"), random_strain(rng, 0.04)), rng, 0.02))
    add("Strain", "C8", strains)

    for number, size in enumerate((0.05, 0.10, 0.15, 0.20)):
        for kind, count in (("C8", 3), ("T16", 3), ("B32", 2)):
            rng = np.random.default_rng([SEED, 10 + number, len(make_cell(kind))])
            frames = []
            for _ in range(count):
                cell = make_cell(kind, A0 * rng.uniform(0.97, 1.02))
                frames.append(displace(deform(cell, random_strain(rng, 0.02)), rng, size))
            add(f"Random-{size:.2f}A", kind, frames)

    return in_turns(groups)


def in_turns(groups: list[list[Any]]) -> list[Any]:
    """Return one item of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def second_round(path: Path) -> list[tuple[str, Atoms]]:
    """Return what ``sample_beads.py`` wrote, with names, in the order of computation.

    The kinds of frames are shuffled and taken in turns; the costly cells of 64 atoms come last.
    """
    groups: dict[tuple[str, str], list[tuple[str, Atoms]]] = {}
    frames = read(path, ":")
    for number in np.random.default_rng([SEED, 98]).permutation(len(frames)).tolist():
        atoms = frames[number]
        key = (atoms.info["config_type"], atoms.info["cell"])
        groups.setdefault(key, []).append((f"{path.stem}-{number}", atoms))
    last = [frames for (_, kind), frames in groups.items() if kind == "C64"]
    first = [frames for (_, kind), frames in groups.items() if kind != "C64"]
    return in_turns(first) + in_turns(last)


def run(work: Path, limit: float) -> None:
    """Compute all frames that ``work/frames.xyz`` does not have yet.

    Args:
        work: folder of the frames and the log, and of ``beads.xyz`` of the second round.
        limit: no frame is started after this many seconds.
    """
    work.mkdir(parents=True, exist_ok=True)
    todo = [(f"first-{number}", atoms) for number, atoms in enumerate(first_round())]
    for path in work.glob("beads.xyz"):
        todo += second_round(path)
    compute(METHOD, todo, work, limit)


def check(work: Path) -> None:
    """Print sanity checks of the frames: counts, equation of state, net forces, distances."""
    frames = check_frames(work)
    for pair in (("H", "H"), ("H", "Li"), ("Li", "Li")):
        shortest = min(neighbor_list("d", a, {pair: 3.4}).min(initial=3.4) for a in frames)
        print(f"shortest {pair[0]}-{pair[1]} {shortest:.2f} A")


def convergence() -> None:
    """Print how energy, forces and stress change with cutoff, k-points and smearing."""
    rng = np.random.default_rng([SEED, 70])
    moved = {kind: displace(make_cell(kind), rng, 0.2) for kind in ("C8", "B32")}
    print(TABLE_HEAD)
    cutoffs: list[dict[str, Any]] = [{"cutoff": c} for c in (800.0, 400.0, 500.0, CUTOFF)]
    METHOD.table("8 atoms, displaced", moved["C8"], "C8", [{"kpts": 4, **c} for c in cutoffs])
    METHOD.table("8 atoms, a = 3.95 A", make_cell("C8", 3.95), "C8", cutoffs)
    meshes: list[dict[str, Any]] = [{"kpts": 8}, {"kpts": 4}, {}, {"smearing": 0.01}]
    METHOD.table("8 atoms, displaced", moved["C8"], "C8", meshes)
    METHOD.table("32 atoms, displaced", moved["B32"], "B32", [{"kpts": 4}, {"kpts": 2}, {}])
    METHOD.compare_cells(make_cell)


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("dft-work"), help="working folder")
    parser.add_argument("--limit", type=float, default=1e9, help="start no frame after (s)")
    parser.add_argument("--convergence", action="store_true", help="print the table")
    parser.add_argument("--check", action="store_true", help="check the frames")
    parser.add_argument("--split", type=Path, metavar="OUT", help="write train.xyz, test.xyz")
    args = parser.parse_args()
    if args.convergence:
        convergence()
    elif args.check:
        check(args.work)
    elif args.split:
        rng = np.random.default_rng([SEED, 99])
        split_frames(args.work, args.split, rng, TEST_FRACTION, [HELD_OUT])
    else:
        run(args.work, args.limit)


if __name__ == "__main__":
    main()
