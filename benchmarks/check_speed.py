"""Time and memory of `forcemap check` on thermal crystals, or on frames of a file.

Frames of random displacements and strains have no copies and hardly a symmetry; the labels are those of
an expansion to second order about the lattice, so that all examinations have something to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from text_table import text_table

HEAD = ["frames", "atoms", "cpu s", "wall s", "MB", "µs/atom", "findings"]
SPRING = 5.0  # eV/Å²
BULK_MODULUS = 0.9  # eV/Å³


def write_frames(path: Path, frames: int, cells: int) -> None:
    """Copper in `cells`**3 cubic cells, strained by 2 %, displaced by 0.1 Å."""
    rng = np.random.default_rng(1)
    perfect = bulk("Cu", "fcc", a=3.6, cubic=True) * (cells, cells, cells)
    places, count = perfect.get_scaled_positions(), len(perfect)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(frames):
            strain = rng.normal(0.0, 0.02, (3, 3))
            strain = 0.5 * (strain + strain.T)
            cell = perfect.cell.array @ (np.eye(3) + strain)
            moves = rng.normal(0.0, 0.1, (count, 3))
            moves -= moves.mean(axis=0)
            volume = abs(np.linalg.det(cell))
            energy = -3.5 * count + 0.5 * SPRING * (moves**2).sum()
            energy += 0.5 * BULK_MODULUS * volume * (strain**2).sum()
            file.write(
                f'{count}\nLattice="{numbers(cell)}" Properties=species:S:1:pos:R:3:forces:R:3 '
                f'energy={energy:.8f} stress="{numbers(BULK_MODULUS * strain)}" pbc="T T T"\n'
            )
            columns = np.concatenate([places @ cell + moves, -SPRING * moves], axis=1)
            file.writelines(f"Cu {numbers(row)}\n" for row in columns)


def numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.8f}" for value in np.ravel(values))


def measured(data: list[str], jobs: int) -> list[str]:
    """A row of the table: one run of the program."""
    command = ["forcemap", "check", *data, "--json", "--quiet", "--jobs", str(jobs)]
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    wall = time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    content = json.loads(done.stdout)
    frames = sum(file["frames"] for file in content["files"])
    atoms = sum(file["atoms"] for file in content["files"])
    return [
        f"{frames:,}",
        f"{atoms:,}",
        f"{cpu:.1f}",
        f"{wall:.1f}",
        f"{after.ru_maxrss / 1024:.0f}",
        f"{1e6 * cpu / atoms:.0f}",
        str(len(content["findings"])),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[10_000, 100_000], help="in all")
    parser.add_argument("--cells", type=int, default=3, help="cubic cells along a side of a frame")
    parser.add_argument("--data", nargs="+", help="files to check instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="threads")
    options = parser.parse_args()
    if options.data:
        print(text_table(HEAD, [measured(options.data, options.jobs)]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for atoms in options.atoms:
            path = Path(folder) / f"{atoms}.xyz"
            write_frames(path, max(1, round(atoms / (4 * options.cells**3))), options.cells)
            rows.append(measured([str(path)], options.jobs))
    print(text_table(HEAD, rows))


if __name__ == "__main__":
    main()
