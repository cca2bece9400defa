"""Drift of the total energy in a long NVE run of silicon crystal with ``pair_style forcemap``.

Builds a diamond crystal of about ``--atoms`` atoms, lets it come to equilibrium, runs NVE in LAMMPS and
fits a straight line to the total energy: eV per atom and ns, with its error. The neighbour list has
a narrow skin, so that it is built again some thousand times and atoms cross the cutoffs between.

Verlet's integrator does not conserve H but H + Δt² (vᵀH''v / 12 − |F|² / 24 m) + O(Δt⁴) (Hairer,
Lubich & Wanner, Acta Numerica 12, 399 (2003), doi:10.1017/S0962492902000144). As vᵀH''v is the second
derivative of the potential energy by time plus |F|² / m, it is H + Δt² |F|² / 24 m in means over many
vibrations. H itself follows the forces, which change for tens of picoseconds while vibrations
exchange energy; the second line of the result has that subtracted, without any fit.

What is left is correlated in time, and walks at random: where an atom crosses a knot of a cubic spline
the third derivative jumps, and a step over it gains or loses some 1e-7 eV. The error counts both: the
line is fitted to means of blocks, of several lengths, and the growth of the means' differences with
the time between them gives the walk's part, which falls as time^-1/2 only.

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
from fits import silicon_potential
from numpy.typing import NDArray
from text_table import text_table
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
thermo_style custom step temp etotal fnorm
thermo_modify format float %.17g flush yes
log {log}
run {equilibrate}
reset_timestep 0
run {steps}
"""

MASS = 28.0855 * 1.0364269e-4
"""Mass of silicon, eV ps²/Å²."""

BLOCKS = (8, 16, 32, 64)
"""Numbers of blocks; the largest error counts."""

FEWEST = 2 * max(BLOCKS)
"""Values that a fit needs."""


@dataclass(frozen=True)
class Trajectory:
    """The last run of a log."""

    atoms: int
    time: NDArray[np.float64]  # (n,), ns
    temperature: NDArray[np.float64]  # (n,), K
    energy: NDArray[np.float64]  # (n,), eV per atom
    conserved: NDArray[np.float64]  # (n,), eV per atom: in means, what the integrator conserves


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
    energy = columns["TotEng"] / atoms
    fluctuation = timestep**2 * columns["Fnorm"] ** 2 / (24.0 * MASS * atoms)
    time = columns["Step"] * timestep * 1e-3
    return Trajectory(atoms, time, columns["Temp"], energy, energy + fluctuation)


def fit_drift(
    time: NDArray[np.float64],  # (n,), ns
    energy: NDArray[np.float64],  # (n,), eV per atom
) -> Drift:
    """The line through the energy and its error.

    For a walk with <(E(t + τ) − E(t))²> = D τ, the error of the slope of the line through a time T is
    sqrt(6 D / 5 T); for what does not grow with τ, the largest estimate from `BLOCKS` counts.
    """
    if len(time) < FEWEST:
        sys.exit(f"{len(time)} values are too few for a drift, which needs {FEWEST}")
    long = time[-1] - time[0]
    errors, walks = [], []
    for count in BLOCKS:
        usable = len(time) // count * count
        t, e = (x[-usable:].reshape(count, -1).mean(axis=1) for x in (time, energy))
        t, e = t - t.mean(), e - e.mean()
        residual = e - t * (t @ e) / (t @ t)
        errors.append(float(residual @ residual / (count - 2) / (t @ t)))
        lags = np.arange(1, count // 8 + 1)
        squares = [float(np.var(e[lag:] - e[:-lag])) for lag in lags]
        if len(lags) > 2:
            growth = np.polyfit(lags * long / count, squares, 1)[0]
            walks.append(max(float(growth), 0.0))
    t, e = time - time.mean(), energy - energy.mean()
    slope = float(t @ e / (t @ t))
    error = np.sqrt(max(errors) + 1.2 * float(np.median(walks)) / long)
    return Drift(slope, float(error), float(np.std(e - slope * t)))


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
    """Description of the run, and the drift of its energy."""
    long = trajectory.time[-1] - trajectory.time[0]
    fits = {
        "total energy": fit_drift(trajectory.time, trajectory.energy),
        "without Verlet's fluctuation": fit_drift(trajectory.time, trajectory.conserved),
    }
    rows = [
        [name, f"{fit.slope:.1e}", f"{fit.error:.1e}", f"{fit.spread:.1e}"]
        for name, fit in fits.items()
    ]
    return (
        f"Si, {trajectory.atoms} atoms, {trajectory.temperature.mean():.0f} K, NVE, {long:.4g} ns, "
        f"{len(trajectory.time)} values; {builds}\n\n"
        + text_table(["", "drift, eV/atom/ns", "error", "spread, eV/atom"], rows)
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
