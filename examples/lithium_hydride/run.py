#!/usr/bin/env python3
"""Lithium hydride at 300 K, classical and with quantum nuclei: runs, numbers and the figure.

After ``forcemap fit settings.yaml -o out``::

    python3 run.py                 # everything, in runs/, two simulations at a time
    python3 run.py --steps 500     # a quick look
    python3 run.py --reuse         # evaluate existing runs

The crystal of 64 atoms is simulated with 1 (classical), 4, 8, 16 and 32 beads, and with 32 beads
also with two heavier isotopes in hydrogen's place: deuterium, and a fictitious one in between,
which the thermodynamic integration needs. The script writes results.json and quantum.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError
from ase.io import read
from forcemap.potentials import ForcemapCalculator, ForcemapError
from harmonic import BOLTZMANN, force_constants, kinetic_energies, log_quantum_ratio
from numpy.typing import NDArray
from simulation import Output, Plan, read_output, simulate

Array = NDArray[np.float64]

HERE = Path(__file__).resolve().parent

TEMPERATURE = 300.0  # K
TIMESTEP = 0.5  # fs
BEADS = (1, 4, 8, 16, 32)
MOST_BEADS = max(BEADS)
EQUILIBRATION = 0.1  # part of each run that is left out
BLOCKS = 10
LEAST_STEPS = 200
SNAPSHOTS = 20  # for averages of force constants

AVERAGED = "same, force constants averaged"

HYDROGEN, DEUTERIUM = 1.008, 2.014  # u
# The kinetic energy is nearly linear in 1/sqrt(mass): the middle is taken on that scale.
MIDDLE = 4.0 / (HYDROGEN**-0.5 + DEUTERIUM**-0.5) ** 2


@dataclass(frozen=True)
class Run:
    """A simulation: number of beads and mass (u) in hydrogen's place."""

    beads: int
    mass: float = HYDROGEN

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"beads-{self.beads}-mass-{self.mass:.3f}"


@dataclass(frozen=True)
class Result:
    """Kinetic energies of a run, meV per atom, with standard errors; and its positions."""

    hydrogen: float
    hydrogen_error: float
    lithium: float
    lithium_error: float
    output: Output


def all_runs() -> list[Run]:
    """The runs, the longest first, so that none is left at the end."""
    runs = [Run(MOST_BEADS, DEUTERIUM), Run(MOST_BEADS, MIDDLE)]
    return runs + [Run(beads) for beads in reversed(BEADS)]


def masses(atoms: Atoms, hydrogen: float) -> Array:
    """Masses (n,), u, with that of hydrogen replaced."""
    return np.where(atoms.numbers == 1, hydrogen, atoms.get_masses())


def perform(
    run: Run, atoms: Atoms, potential: Path, folder: Path, steps: int, reuse: bool
) -> Result:
    """Run, or read again, one simulation in a folder of its own under `folder`."""
    start = atoms.copy()
    start.set_masses(masses(atoms, run.mass))
    # With few beads a step costs little, and the classical pair distribution needs more of them.
    steps *= 3 if run.beads <= 4 else 1
    plan = Plan(run.beads, steps, TEMPERATURE, timestep=TIMESTEP)
    begin = time.perf_counter()
    if reuse:
        output = read_output(folder / run.name, plan)
    else:
        output = simulate(folder / run.name, potential, start, plan)
        print(
            f"{run.beads:3d} beads, mass {run.mass:.3f} u: {plan.steps} steps "
            f"in {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    hydrogens = int((atoms.numbers == 1).sum())
    h, h_error = mean_and_error(output.kinetic["H"] / hydrogens)
    li, li_error = mean_and_error(output.kinetic["Li"] / (len(atoms) - hydrogens))
    return Result(h, h_error, li, li_error, output)


def mean_and_error(series: Array) -> tuple[float, float]:
    """Mean of the equilibrated part of a series and its standard error, from blocks."""
    kept = series[int(EQUILIBRATION * len(series)) :]
    means = np.array([block.mean() for block in np.array_split(kept, BLOCKS)])
    return float(kept.mean()), float(means.std(ddof=1) / np.sqrt(BLOCKS))


def pair_distribution(
    positions: Array, cell: Array, first: Array, second: Array, edges: Array
) -> Array:
    """g(r) in the bins between `edges` (Å), for distances below half of the cubic cell.

    Args:
        positions: (frames, beads, n, 3) Å; distances are between atoms of the same bead.
        cell: (3, 3) Å, cubic.
        first, second: (n,) masks of the two kinds of atoms.
        edges: (bins + 1,) Å.
    """
    length = cell[0, 0]
    # The first frame is the start, whatever the length of the run.
    skipped = max(1, int(EQUILIBRATION * len(positions)))
    frames = positions[skipped:].reshape(-1, *positions.shape[2:])
    counts = np.zeros(len(edges) - 1)
    for frame in frames:
        apart = frame[first][:, None] - frame[second][None]
        apart -= length * np.round(apart / length)
        counts += np.histogram(np.sqrt((apart**2).sum(axis=-1)), edges)[0]
    # An atom's distance from itself is below the first edge.
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    density = int(second.sum()) / length**3
    return np.asarray(counts / (len(frames) * int(first.sum()) * density * shells))


def isotope_fractionation(kinetic: dict[float, tuple[float, float]]) -> tuple[float, float]:
    """ln of the reduced partition function ratio D/H per atom, and its error.

    It is the integral of (K/kT - 3/2) d ln m from hydrogen to deuterium; with x = 1/sqrt(m),
    d ln m = -2 dx/x, and Simpson's rule with three points in x (M. Ceriotti, T. E. Markland,
    J. Chem. Phys. 138, 014112 (2013)).

    Args:
        kinetic: by mass (u), K and its error, meV.
    """
    kt = 1e3 * BOLTZMANN * TEMPERATURE
    points = [(mass**-0.5, *kinetic[mass]) for mass in (HYDROGEN, MIDDLE, DEUTERIUM)]
    width = points[0][0] - points[-1][0]
    weights = np.array([1.0, 4.0, 1.0]) / 6.0 * width
    factors = np.array([2.0 / x for x, _, _ in points]) * weights
    values = np.array([energy / kt - 1.5 for _, energy, _ in points])
    errors = np.array([error / kt for _, _, error in points])
    return float(factors @ values), float(np.sqrt(np.sum((factors * errors) ** 2)))


def average_force_constants(atoms: Atoms, positions: Array) -> Array:
    """Mean of the force constants (3n, 3n), eV/Å², at beads spread over the run.

    They make the harmonic crystal that is closest to the anharmonic one (self-consistent phonons).

    Args:
        atoms: the cell, with its calculator.
        positions: (frames, beads, n, 3) Å.
    """
    first = max(1, int(EQUILIBRATION * len(positions)))
    beads = positions.shape[1]
    work = atoms.copy()
    work.calc = atoms.calc
    total = np.zeros((3 * len(atoms),) * 2)
    for number, frame in enumerate(np.linspace(first, len(positions) - 1, SNAPSHOTS).astype(int)):
        work.positions = positions[frame, number * beads // SNAPSHOTS]
        total += force_constants(work)
    return total / SNAPSHOTS


def evaluate(results: dict[Run, Result], atoms: Atoms) -> dict[str, Any]:
    """The numbers: of the simulations, and of the harmonic crystal for comparison."""
    constants = force_constants(atoms)
    hydrogen = atoms.numbers == 1

    def harmonic(
        mass: float, beads: int | None, constants: Array = constants
    ) -> tuple[float, float]:
        given = (constants, masses(atoms, mass), TEMPERATURE, beads, TIMESTEP)
        each = 1e3 * kinetic_energies(*given)
        return float(each[hydrogen].mean()), float(each[~hydrogen].mean())

    def harmonic_ratio(beads: int | None) -> float:
        heavy, light = (
            log_quantum_ratio(constants, masses(atoms, mass), TEMPERATURE, beads)
            for mass in (DEUTERIUM, HYDROGEN)
        )
        return (heavy - light) / int(hydrogen.sum())

    rows = []
    for run, result in sorted(results.items(), key=lambda item: (item[0].mass, item[0].beads)):
        h, li = harmonic(run.mass, run.beads)
        average = average_force_constants(atoms, result.output.positions)
        h_average, li_average = harmonic(run.mass, run.beads, average)
        rows.append(
            {
                "beads": run.beads,
                "mass": run.mass,
                "hydrogen_mev": result.hydrogen,
                "hydrogen_error_mev": result.hydrogen_error,
                "hydrogen_harmonic_mev": h,
                "hydrogen_averaged_mev": h_average,
                "lithium_mev": result.lithium,
                "lithium_error_mev": result.lithium_error,
                "lithium_harmonic_mev": li,
                "lithium_averaged_mev": li_average,
            }
        )
    by_mass = {
        run.mass: (result.hydrogen, result.hydrogen_error)
        for run, result in results.items()
        if run.beads == MOST_BEADS
    }
    ratio, error = isotope_fractionation(by_mass)
    return {
        "temperature_k": TEMPERATURE,
        "classical_mev": 1.5e3 * BOLTZMANN * TEMPERATURE,
        "harmonic_limit_mev": harmonic(HYDROGEN, None)[0],
        "harmonic_by_beads_mev": [harmonic(HYDROGEN, p + 1)[0] for p in range(MOST_BEADS)],
        "runs": rows,
        "ln_beta_d_h": ratio,
        "ln_beta_d_h_error": error,
        "ln_beta_d_h_harmonic": harmonic_ratio(MOST_BEADS),
        "ln_beta_d_h_harmonic_limit": harmonic_ratio(None),
    }


def show(numbers: dict[str, Any]) -> None:
    """Print the numbers."""
    print(f"\nKinetic energy at {TEMPERATURE:.0f} K, meV per atom (harmonic; with force constants")
    print("averaged over the run)\n")
    print("| beads | mass (u) | in hydrogen's place | lithium |")
    print("| --- | --- | --- | --- |")
    for row in numbers["runs"]:
        cells = (
            f"{row[f'{name}_mev']:.2f} ± {row[f'{name}_error_mev']:.2f} "
            f"({row[f'{name}_harmonic_mev']:.2f}; {row[f'{name}_averaged_mev']:.2f})"
            for name in ("hydrogen", "lithium")
        )
        print(f"| {row['beads']} | {row['mass']:.3f} | {' | '.join(cells)} |")
    print()
    print(f"classical 3/2 kT: {numbers['classical_mev']:.2f}")
    print(f"harmonic, beads to infinity: {numbers['harmonic_limit_mev']:.2f}")
    print(
        f"ln of the reduced partition function ratio D/H: {numbers['ln_beta_d_h']:.4f} "
        f"± {numbers['ln_beta_d_h_error']:.4f}, harmonic {numbers['ln_beta_d_h_harmonic']:.4f} "
        f"(beads to infinity {numbers['ln_beta_d_h_harmonic_limit']:.4f}), classical 0"
    )


def draw(path: Path, numbers: dict[str, Any], results: dict[Run, Result], atoms: Atoms) -> None:
    """Draw kinetic energy over beads, pair distributions, and kinetic energy over mass."""
    from forcemap.fitter.report.figures import STYLE
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    quantum, classical, grey = "#d1495b", "#30638e", "#8b95a1"
    with rc_context({**STYLE, "font.size": 9, "axes.titlesize": 9.5}):
        figure = Figure(figsize=(9.8, 3.3), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.25, 1))
        draw_beads(left, numbers, quantum, grey)
        draw_pairs(middle, results, atoms, (classical, quantum))
        draw_isotopes(right, numbers, quantum, grey)
        figure.savefig(path, dpi=130)


def draw_beads(axes: Any, numbers: dict[str, Any], color: str, grey: str) -> None:
    """Kinetic energy of the proton over the number of beads."""
    dark = "#3c4650"
    rows = [row for row in numbers["runs"] if row["mass"] == HYDROGEN]
    beads = [row["beads"] for row in rows]
    axes.axhline(numbers["classical_mev"], color=grey, linestyle=":", label="classical, 3/2 kT")
    axes.axhline(numbers["harmonic_limit_mev"], color=grey, linestyle="--", label="harmonic, exact")
    axes.plot(
        range(1, MOST_BEADS + 1),
        numbers["harmonic_by_beads_mev"],
        color=grey,
        label="harmonic, same beads and step",
    )
    averaged = [row["hydrogen_averaged_mev"] for row in rows]
    axes.plot(beads, averaged, "_", color=dark, markersize=9, label=AVERAGED)
    axes.errorbar(
        beads,
        [row["hydrogen_mev"] for row in rows],
        [row["hydrogen_error_mev"] for row in rows],
        fmt="o",
        color=color,
        markersize=4,
        label="simulation",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(beads, [str(b) for b in beads])
    axes.set(title="Proton kinetic energy", xlabel="beads", ylabel="meV")
    axes.legend(fontsize=7.5)


def draw_pairs(
    axes: Any, results: dict[Run, Result], atoms: Atoms, colors: tuple[str, str]
) -> None:
    """Pair distributions, classical and with most beads."""
    half = 0.5 * float(atoms.cell[0, 0])
    edges = np.arange(1.2, half, 0.04)
    radius = 0.5 * (edges[1:] + edges[:-1])
    hydrogen = atoms.numbers == 1
    for beads, color, name in zip((1, MOST_BEADS), colors, ("classical", "quantum"), strict=True):
        positions = results[Run(beads)].output.positions
        for second, style, pair in ((~hydrogen, "-", "Li-H"), (hydrogen, "--", "H-H")):
            g = pair_distribution(positions, atoms.cell.array, hydrogen, second, edges)
            axes.plot(radius, g, style, color=color, linewidth=1.3, label=f"{pair}, {name}")
    axes.set(title="Radial distribution", xlabel="r (Å)", ylabel="g(r)", xlim=(1.2, half), ylim=0)
    axes.legend(fontsize=7.5)


def draw_isotopes(axes: Any, numbers: dict[str, Any], color: str, grey: str) -> None:
    """Kinetic energy over the mass, and the isotope fractionation."""
    dark = "#3c4650"
    rows = [row for row in numbers["runs"] if row["beads"] == MOST_BEADS]
    x = [row["mass"] ** -0.5 for row in rows]
    axes.plot(
        x,
        [row["hydrogen_harmonic_mev"] for row in rows],
        color=grey,
        label="harmonic, same beads and step",
    )
    averaged = [row["hydrogen_averaged_mev"] for row in rows]
    axes.plot(x, averaged, "_", color=dark, markersize=9, label=AVERAGED)
    axes.errorbar(
        x,
        [row["hydrogen_mev"] for row in rows],
        [row["hydrogen_error_mev"] for row in rows],
        fmt="o",
        color=color,
        markersize=4,
        label=f"simulation, {MOST_BEADS} beads",
    )
    axes.axhline(numbers["classical_mev"], color=grey, linestyle=":", label="classical, 3/2 kT")
    axes.set_xticks([HYDROGEN**-0.5, DEUTERIUM**-0.5], ["H", "D"])
    axes.set(title="Isotopes", xlabel="1/√mass", ylabel="kinetic energy (meV)")
    axes.text(
        0.03,
        0.88,
        f"ln β(D/H) = {numbers['ln_beta_d_h']:.3f} ± {numbers['ln_beta_d_h_error']:.3f}\n"
        f"harmonic {numbers['ln_beta_d_h_harmonic']:.3f}, classical 0",
        transform=axes.transAxes,
        fontsize=8,
    )
    axes.legend(fontsize=7.5)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potential", type=Path, default=HERE / "out" / "potential.forcemap")
    parser.add_argument("--work", type=Path, default=HERE / "runs", help="folder of the runs")
    parser.add_argument("--steps", type=int, default=3000, help="of 0.5 fs, per run")
    parser.add_argument("--reuse", action="store_true", help="evaluate runs that are there")
    parser.add_argument("--output", type=Path, default=HERE, help="of results.json, quantum.png")
    args = parser.parse_args()
    if args.steps < LEAST_STEPS:
        parser.error(f"--steps {args.steps}: must be {LEAST_STEPS} or more, for error bars")
    try:
        perform_all(args.potential, args.work, args.steps, args.reuse, args.output)
    except (ForcemapError, CalculatorSetupError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def perform_all(potential: Path, work: Path, steps: int, reuse: bool, output: Path) -> None:
    """Run, evaluate, print and draw; arguments as on the command line.

    Raises ForcemapError if a program fails or a file is not what it should be, and ValueError if
    the crystal is not stable in the potential.
    """
    atoms = read(HERE / "init.xyz")
    atoms.calc = ForcemapCalculator(potential)
    runs = all_runs()
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda run: perform(run, atoms, potential, work, steps, reuse), runs)
        results = dict(zip(runs, done, strict=True))
    numbers = evaluate(results, atoms)
    show(numbers)
    (output / "results.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    draw(output / "quantum.png", numbers, results, atoms)


if __name__ == "__main__":
    main()
