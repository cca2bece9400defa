"""Drift of the total energy in a long NVE run of silicon crystal with ``pair_style forcemap``.

Builds a diamond crystal of about ``--atoms`` atoms, lets it come to equilibrium, runs NVE in LAMMPS and
fits a straight line to the total energy: eV per atom and ns, with its error. The neighbour list has
a narrow skin, so that it is built again some thousand times and atoms cross the cutoffs between.

The energy fluctuates by some 1e-7 eV/atom without drifting: what Verlet's integrator conserves differs
from H by terms in Δt², and what is left of it by Δt³ where the splines' third derivatives jump. These
fluctuations last for picoseconds, so the line is fitted to means of blocks, and the largest error of
several numbers of blocks counts. It falls with the number of atoms and, faster, with the time.

A soak of 20,384 atoms (about an hour on one core), and its log while it is still growing::

    python benchmarks/nve_drift.py --atoms 20000 --steps 200000 --folder soak
    python benchmarks/nve_drift.py --log soak/log.lammps
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from silicon import silicon_potential
from timed_runs import LATTICE, Lammps

INPUT = """\
units metal
lattice diamond {lattice}
region box block 0 {repeat[0]} 0 {repeat[1]} 0 {repeat[2]}
create_box 1 box
create_atoms 1 box
mass 1 28.0855
neighbor {skin} bin
neigh_modify delay 0 every 1 check yes
pair_style forcemap
pair_coeff * * {potential} Si
velocity all create {start} 4711
timestep {timestep}
fix 1 all nve
thermo {every}
thermo_style custom step temp etotal
thermo_modify format float %.17g flush yes
log {log}
run {equilibrate}
reset_timestep 0
run {steps}
"""

BLOCKS = (8, 16, 32, 64)
"""Numbers of blocks; the largest error counts."""

FEWEST = 2 * max(BLOCKS)
"""Values that a fit needs."""


@dataclass(frozen=True)
class Trajectory:
    """What a log holds of its last run."""

    atoms: int
    time: NDArray[np.float64]  # (n,), ns
    temperature: NDArray[np.float64]  # (n,), K
    energy: NDArray[np.float64]  # (n,), eV per atom


@dataclass(frozen=True)
class Drift:
    """Slope of the energy, its standard error, and the spread around the line."""

    slope: float  # eV per atom and ns
    error: float  # eV per atom and ns
    spread: float  # eV per atom


def read_log(text: str, timestep: float) -> Trajectory:
    """The last run of a log, finished or not; `timestep` in ps."""
    loop = re.search(r"^Loop time of .* with (\d+) atoms", text, re.MULTILINE)
    if loop is None:
        sys.exit("the log does not reach the end of the equilibration")
    lines = text.splitlines()
    head = max(n for n, line in enumerate(lines) if line.split()[:1] == ["Step"])
    names = lines[head].split()
    rows = []
    for line in lines[head + 1 :]:
        words = line.split()
        if len(words) != len(names) or not words[0].isdigit():
            break
        rows.append([float(word) for word in words])
    columns = dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True))
    atoms = int(loop[1])
    return Trajectory(
        atoms, columns["Step"] * timestep * 1e-3, columns["Temp"], columns["TotEng"] / atoms
    )


def fit_drift(
    time: NDArray[np.float64],  # (n,), ns
    energy: NDArray[np.float64],  # (n,), eV per atom
) -> Drift:
    """The line through the energy; its error from means of blocks, the largest of `BLOCKS`."""
    if len(time) < FEWEST:
        sys.exit(f"{len(time)} values are too few for a drift, which needs {FEWEST}")
    errors = []
    for count in BLOCKS:
        usable = len(time) // count * count
        t, e = (x[-usable:].reshape(count, -1).mean(axis=1) for x in (time, energy))
        t, e = t - t.mean(), e - e.mean()
        residual = e - t * (t @ e) / (t @ t)
        errors.append(float(np.sqrt(residual @ residual / (count - 2) / (t @ t))))
    t, e = time - time.mean(), energy - energy.mean()
    slope = float(t @ e / (t @ t))
    return Drift(slope, max(errors), float(np.std(e - slope * t)))


def crystal(atoms: int) -> tuple[int, int, int]:
    """Cubic cells of 8 atoms along each side, together nearest to `atoms`, at least 3 each."""
    side = max(3, round((atoms / 8) ** (1 / 3)))
    return side, side, max(3, round(atoms / 8 / side**2))


def run(options: argparse.Namespace, folder: Path) -> str:
    """The log of the run."""
    potential = options.potential
    if potential is None:
        potential = silicon_potential(folder / "potential.forcemap", cutoff3=3.5)
    log = folder / "log.lammps"
    Lammps(folder).run(
        INPUT.format(
            lattice=LATTICE,
            repeat=crystal(options.atoms),
            skin=options.skin,
            potential=potential.resolve(),
            start=2 * options.temperature,
            timestep=options.timestep,
            every=options.every,
            log=log,
            equilibrate=options.equilibrate,
            steps=options.steps,
        ),
        options.ranks,
    )
    return log.read_text(encoding="utf-8")


def report(trajectory: Trajectory, builds: str) -> str:
    """What the run was and its drift."""
    long = trajectory.time[-1] - trajectory.time[0]
    drift = fit_drift(trajectory.time, trajectory.energy)
    return (
        f"Si, {trajectory.atoms} atoms, {trajectory.temperature.mean():.0f} K, NVE, {long:.4g} ns, "
        f"{len(trajectory.time)} values; {builds}\n"
        f"drift {drift.slope:.1e} +- {drift.error:.1e} eV per atom and ns; "
        f"spread around it {drift.spread:.1e} eV per atom"
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--atoms", type=int, default=1000, help="about; 8 per cell  [default: 1000]"
    )
    parser.add_argument("--steps", type=int, default=10_000, help="[default: 10000]")
    parser.add_argument("--equilibrate", type=int, default=5_000, help="steps  [default: 5000]")
    parser.add_argument("--timestep", type=float, default=0.001, help="ps  [default: 0.001]")
    parser.add_argument("--temperature", type=float, default=300.0, help="K, about  [default: 300]")
    parser.add_argument("--every", type=int, default=20, help="steps per value  [default: 20]")
    parser.add_argument("--skin", type=float, default=0.6, help="Å  [default: 0.6]")
    parser.add_argument("--ranks", type=int, default=0, help="of mpirun  [default: without mpirun]")
    parser.add_argument(
        "--potential", type=Path, help="of silicon  [default: fitted to examples/silicon]"
    )
    parser.add_argument(
        "--folder", type=Path, help="for the input and the log  [default: a temporary one]"
    )
    parser.add_argument("--log", type=Path, help="fit the log of an earlier run, finished or not")
    options = parser.parse_args(arguments)
    if options.steps // options.every + 1 < FEWEST:
        parser.error(f"fewer than {FEWEST} values: more --steps or a lower --every")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, or read the log of a run, and print the drift."""
    options = parsed(arguments)
    if options.log is not None:
        text = options.log.read_text(encoding="utf-8")
    elif options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        text = run(options, options.folder.resolve())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            text = run(options, Path(scratch))
    builds = [line for line in text.splitlines() if line.startswith("Neighbor list builds")]
    print(report(read_log(text, options.timestep), builds[1] if builds[1:] else "not finished"))


if __name__ == "__main__":
    main()
