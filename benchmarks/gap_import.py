"""Time per atom and evaluation of imported GAPs beside quippy's of the same files, side by side.

By default the published GAPs of gold and silicon clusters (SOAP, n_max 8, l_max 8, zeta 4, 200 sparse
points), on the largest of the clusters that were published with them; ``--gap`` and ``--frames`` name
others. Contenders:

- ``quippy``: energy and forces in ASE;
- ``forcemap, ASE``: the imported potential, likewise;
- ``forcemap, LAMMPS``: the imported potential in NVE dynamics from the same frame.

Runs are interleaved, each on one core, after a warm-up; times are the processor's. Energies and forces
of all frames are compared with quippy's beside. It needs quippy (pip install quippy-ase).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io import read, write
from forcemap.fitter.importers.gap_import import ImportOptions, imported_gap
from forcemap.potentials import ForcemapCalculator, load
from forcemap.potentials.file.potential_file import write_potential
from published_sets import DATA
from soap_speed import quippy_contender
from text_table import text_table
from timed_runs import Contender, Lammps, loop_time, measure, python_contender

BAR = 1 / 40
"""Bar: part of quippy's time that ours in LAMMPS may take at most."""

QUIPPY, IN_ASE, IN_LAMMPS = "quippy", "forcemap, ASE", "forcemap, LAMMPS"

CLUSTERS = DATA / "gap_nanoclusters"

INPUT = """\
units metal
boundary p p p
read_data {data}
{masses}
pair_style forcemap
pair_coeff * * {potential} {species}
neighbor 0.5 bin
velocity all create {temperature} 4711
timestep 0.001
fix 1 all nve
thermo {every}
thermo_modify format float %.15g
run {warm}
run {steps}
"""


def imported(gap: Path, folder: Path) -> tuple[Path, float]:
    """The potential's file, and the processor time of the import in s."""
    start = time.process_time()
    found = imported_gap(gap, ImportOptions())
    path = folder / f"{gap.stem}.forcemap"
    write_potential(found.data, path)
    return path, time.process_time() - start


def differences(gap: Path, potential: Path, frames: Sequence[Atoms]) -> tuple[float, float]:
    """The largest differences to quippy: of energies (eV), of forces (eV/Å)."""
    quippy = importlib.import_module("quippy.potential").Potential(param_filename=str(gap))
    ours = ForcemapCalculator(potential)
    energy = force = 0.0
    for frame in frames:
        answers = []
        for calculator in (quippy, ours):
            atoms = frame.copy()
            atoms.calc = calculator
            answers.append((atoms.get_potential_energy(), atoms.get_forces()))
        (e, f), (own_e, own_f) = answers
        energy = max(energy, abs(e - own_e))
        force = max(force, float(np.abs(f - own_f).max()))
    return energy, force


def in_lammps(
    lammps: Lammps, potential: Path, atoms: Atoms, options: argparse.Namespace
) -> Contender:
    """NVE dynamics from a frame; processor time, µs per atom and step."""
    species = sorted(set(atoms.get_chemical_symbols()))
    data = lammps.folder / "frame.data"
    write(data, atoms, format="lammps-data", specorder=species, atom_style="atomic")
    steps = max(20, options.atom_steps // len(atoms))
    masses = [
        f"mass {n} {atomic_masses[atomic_numbers[symbol]]}" for n, symbol in enumerate(species, 1)
    ]
    text = INPUT.format(
        data=data,
        masses="\n".join(masses),
        potential=potential,
        species=" ".join(species),
        temperature=options.temperature,
        every=options.every,
        warm=max(5, steps // 10),
        steps=steps,
    )
    return lambda: loop_time(lammps.run(text))


def rows(name: str, atoms: Atoms, times: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Lines of the table; ratios of minima."""
    least = {key: min(values) for key, values in times.items()}
    return [
        [
            name,
            str(len(atoms)),
            key,
            f"{least[key]:.2f}",
            "" if key == QUIPPY else f"1/{least[QUIPPY] / least[key]:.1f}",
        ]
        for key in times
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gap", type=Path, help="a GAP XML, in place of the published ones")
    parser.add_argument("--frames", type=Path, help="frames for it, a file that ASE reads")
    parser.add_argument("--temperature", type=float, default=300.0, help="K  [default: 300]")
    parser.add_argument("--repeats", type=int, default=3, help="of every run  [default: 3]")
    parser.add_argument(
        "--atom-steps", type=int, default=50_000, help="length of a LAMMPS run  [default: 50000]"
    )
    parser.add_argument("--calls", type=int, default=5, help="of quippy in a run  [default: 5]")
    parser.add_argument(
        "--every", type=int, default=10, help="steps between energies in LAMMPS  [default: 10]"
    )
    options = parser.parse_args(arguments)
    if (options.gap is None) != (options.frames is None):
        parser.error("--gap and --frames go together")
    if options.gap is None and not CLUSTERS.is_dir():
        parser.error(f"{CLUSTERS} is not there: give --gap and --frames")
    if importlib.util.find_spec("quippy") is None:
        parser.error("quippy is not installed: pip install quippy-ase")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print one table."""
    options = parsed(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    cases = (
        [(options.gap, options.frames)]
        if options.gap
        else [(CLUSTERS / f"{s}_gap.xml", CLUSTERS / f"{s}_relaxed.xyz") for s in ("Au", "Si")]
    )
    table, notes = [], []
    with tempfile.TemporaryDirectory() as scratch:
        lammps = Lammps(Path(scratch))
        for gap, file in cases:
            print(f"{gap.stem} ...", file=sys.stderr, flush=True)
            frames = read(file, ":")
            potential, seconds = imported(gap, lammps.folder)
            energy, force = differences(gap, potential, frames)
            atoms = max(frames, key=len).copy()
            contenders: dict[str, Contender] = {
                QUIPPY: quippy_contender(gap, atoms, options.calls),
                IN_ASE: python_contender(
                    load(potential).evaluator(skin=0.5),
                    atoms,
                    max(3, options.atom_steps // len(atoms)),
                ),
                IN_LAMMPS: in_lammps(lammps, potential, atoms, options),
            }
            times = measure(contenders, options.repeats)
            table += rows(gap.stem, atoms, times)
            part = min(times[IN_LAMMPS]) / min(times[QUIPPY])
            notes.append(
                f"{gap.stem}: imported in {seconds:.1f} s; {len(frames)} frames differ from quippy by "
                f"{energy:.1e} eV and {force:.1e} eV/Å at most; LAMMPS takes 1/{1 / part:.0f} of "
                f"quippy's time (asked: 1/{1 / BAR:.0f}, {'kept' if part <= BAR else 'missed'})"
            )
    print(f"{options.repeats} interleaved runs; µs of one core per atom and evaluation, minima\n")
    print(text_table(["GAP", "atoms", "program", "µs", "of quippy"], table))
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
