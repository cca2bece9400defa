"""What grades and deviations cost in LAMMPS, as parts of a step, on thermal silicon.

Potentials fitted to examples/silicon, as ``forcemap fit`` maps them by default: of two-body terms
alone, of two- and three-body terms, and of two-body and bare soap terms, whose two scales have learned
channels and a bispectrum term beside them. Of each the same tables are run

- alone, in a file without draws and grade, which the others are compared with;
- with draws and grade in the file, not used (``pair_style forcemap grade off``);
- as users run it: the pair style looks at the grades every 100 steps by itself;
- with grades at every step (``fix pair 1 forcemap grade 1``);
- with deviations of the forces every 100 steps (``fix pair 100 forcemap deviation 1``), and with both.

Runs are interleaved (A B C A B C ...), each on one core, after a warm-up; times are the processor's,
which other programs on the machine hardly change. A ratio is that of the minima; it is printed beside
the one that is asked for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fits import SILICON, fit_by_command
from forcemap.potentials.file.potential_file import read_potential, write_potential
from text_table import text_table
from timed_runs import MEASURE, Contender, Lammps, crystal_size, loop_time, measure, thermal

PAIR = "pair_style forcemap {}\npair_coeff * * {} Si\n"

ALONE = "alone"
RUNS: Mapping[str, tuple[str, str]] = {
    "draws and grade, not used": ("grade off", ""),
    "the default": ("", ""),
    "grades, every step": ("grade off", "fix grade all pair 1 forcemap grade 1"),
    "deviations, every {every}": ("grade off", "fix std all pair {every} forcemap deviation 1"),
    "both": (
        "",
        "fix grade all pair 1 forcemap grade 1\nfix std all pair {every} forcemap deviation 1",
    ),
}
"""By name the arguments of the pair style, and what asks for values."""

BARS = {"grades, every step": 1.05, "deviations, every {every}": 1.10}
"""At most these ratios are asked for, the second for 100 steps."""


TWO_BODY = {"kind": "two_body", "cutoff": 5.5}
TERMS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "pairs": [TWO_BODY],
    "2+3-body": [TWO_BODY, {"kind": "three_body", "cutoff": 4.0}],
    "soap": [TWO_BODY, {"kind": "soap"}],
}
"""Terms of the fits by name."""


def make_files(folder: Path, name: str, terms: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """A fitted potential, without its draws and grade, and with them."""
    own = folder / name
    own.mkdir()
    settings = {
        "data": {"train": str(SILICON / "train.xyz")},
        "e0": "average",
        "terms": list(terms),
    }
    whole = fit_by_command(name, settings, own).folder / "potential.forcemap"
    alone = own / "alone.forcemap"
    data = read_potential(whole)
    if data.draws is None or data.grade is None:
        sys.exit(f"{name}: the potential has no draws or no grade")
    write_potential(replace(data, draws=None, grade=None, uncertainty=None), alone)
    return alone, whole


def rows(times: Mapping[str, Sequence[float]], every: int) -> list[list[str]]:
    """Lines of the table."""
    alone = min(times[ALONE])
    found = []
    for name, values in times.items():
        least = min(values)
        bar = BARS.get(name, 0.0) if every >= 100 or "grades" in name else 0.0
        verdict = f"{bar:.2f}, {'kept' if least <= bar * alone else 'missed'}" if bar else ""
        found.append(
            [
                name.format(every=every),
                f"{least:.3f}",
                f"{statistics.median(values):.3f}",
                f"{least / alone:.3f}",
                verdict,
            ]
        )
    return found


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atoms", type=crystal_size, default=1728, help="8 n^3  [default: 1728]")
    parser.add_argument("--temperature", type=float, default=300.0, help="K  [default: 300]")
    parser.add_argument("--repeats", type=int, default=5, help="of every run  [default: 5]")
    parser.add_argument("--steps", type=int, default=200, help="of a run  [default: 200]")
    parser.add_argument(
        "--every", type=int, default=100, help="steps between deviations  [default: 100]"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(TERMS), default=list(TERMS), help="[default: all]"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print a table for each potential."""
    options = parsed(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        lammps = Lammps(Path(scratch))
        data = thermal(lammps, options.atoms, options.temperature)

        def contender(file: Path, style: str, ask: str) -> Contender:
            text = MEASURE.format(
                data=data,
                potential=PAIR.format(style, file) + ask.format(every=options.every),
                every=100,
                warm=10,
                steps=options.steps,
            )
            return lambda: loop_time(lammps.run(text))

        for name in options.only:
            alone, whole = make_files(lammps.folder, name, TERMS[name])
            contenders = {ALONE: contender(alone, "", "")}
            contenders |= {run: contender(whole, *how) for run, how in RUNS.items()}
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            times = measure(contenders, options.repeats)
            sizes = f"{1e-6 * alone.stat().st_size:.1f} and {1e-6 * whole.stat().st_size:.1f} MB"
            print(
                f"\n{name}, {options.atoms} atoms of Si at {options.temperature:g} K, file of {sizes} "
                f"without and with draws and grade;\n{options.repeats} interleaved runs of "
                f"{options.steps} steps; µs of one core per atom and step, ratios of the minima\n"
            )
            head = ["run", "min", "median", "of alone", "asked"]
            print(text_table(head, rows(times, options.every)), flush=True)


if __name__ == "__main__":
    main()
