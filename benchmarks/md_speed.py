"""Time per atom and step of ``pair_style forcemap`` beside ``uf3`` and ``sw``, on thermal silicon.

Per 3-body cutoff, a process is fitted to examples/silicon and mapped twice:

- on a coarse grid that one uf3 table holds, without core and isolated atoms: ``forcemap`` and ``uf3``
  evaluate the same splines and nothing else (their energies are compared first);
- by ``map.tolerance``, as a user would run it: ``forcemap, fitted``. Python evaluates this one too.

All contenders start from one thermal configuration. Runs are interleaved (A B C A B C ...), each a
process of its own on one core, after a warm-up; the times are the processor's.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fits import fit_silicon
from forcemap.fitter import map_model
from forcemap.potentials import load
from forcemap.potentials.export.uf3 import export_uf3
from forcemap.potentials.file.potential_file import write_potential
from grids import table_sizes, tabulate
from text_table import text_table
from timed_runs import (
    MEASURE,
    Contender,
    Lammps,
    crystal_size,
    loop_time,
    measure,
    python_contender,
    read_silicon,
    sw_lines,
    thermal,
)

SAME_ENERGY = 1e-9
"""eV per atom: allowed difference of `forcemap` and `uf3`."""


def first_energy(log: str) -> float:
    """Potential energy of the start, eV."""
    match = re.search(r"^\s+0\s+\S+\s+(\S+)", log, flags=re.MULTILINE)
    assert match is not None
    return float(match[1])


@dataclass(frozen=True)
class Potentials:
    """LAMMPS input lines of the contenders and notes about them."""

    lines: Mapping[str, str]
    fitted: Path
    notes: list[str]


def make_potentials(cutoff: float, folder: Path, options: argparse.Namespace) -> Potentials:
    """Fit, map and export for a 3-body cutoff (Å)."""
    model, frames = fit_silicon(
        [
            {"kind": "two_body", "cutoff": options.cutoff2},
            {"kind": "three_body", "cutoff": cutoff},
        ]
    )
    pair, leg, base = options.grid
    coarse = tabulate(model, pair, leg, base, bare=True)
    write_potential(coarse, folder / "coarse.forcemap")
    export = export_uf3(coarse, folder, "Si")
    mapped = map_model(model, frames, options.tolerance)
    mapped.write(folder / "fitted.forcemap")
    forcemap = "pair_style forcemap\npair_coeff * * {} Si"
    shown = table_sizes(coarse)
    fine = table_sizes(mapped.data)
    return Potentials(
        lines={
            "forcemap": forcemap.format(folder / "coarse.forcemap"),
            "uf3": f"include {export.input_file}",
            "forcemap, fitted": forcemap.format(folder / "fitted.forcemap"),
            "sw": sw_lines(folder),
        },
        fitted=folder / "fitted.forcemap",
        notes=[
            f"{cutoff:.1f} Å, forcemap and uf3: intervals {shown[0]} (2-body + leg x base), "
            f"{shown[1]:.2f} MB; uf3 in {len(export.files)} piece(s)",
            f"{cutoff:.1f} Å, fitted: intervals {fine[0]}, {fine[1]:.2f} MB; largest force error of "
            f"the map {mapped.errors['force_max_error_ev_per_a']:.1e} eV/Å",
        ],
    )


def compare(
    cutoff: float, atoms_wanted: int, folder: Path, options: argparse.Namespace, made: Potentials
) -> dict[str, list[float]]:
    """Times of all contenders at one cutoff and size."""
    lammps = Lammps(folder)
    data = thermal(lammps, atoms_wanted, options.temperature)
    steps = max(10, options.atom_steps // atoms_wanted)

    def text(name: str, count: int) -> str:
        return MEASURE.format(
            data=data,
            potential=made.lines[name],
            every=options.every,
            warm=max(5, count // 10) if count else 0,
            steps=count,
        )

    ours, theirs = (first_energy(lammps.run(text(name, 0))) for name in ("forcemap", "uf3"))
    if abs(ours - theirs) > SAME_ENERGY * atoms_wanted:
        sys.exit(f"{cutoff:g} Å: forcemap gives {ours!r} eV, uf3 {theirs!r} eV")

    contenders: dict[str, Contender] = {
        name: lambda name=name: loop_time(lammps.run(text(name, steps)))  # type: ignore[misc]
        for name in made.lines
    }
    if atoms_wanted == max(options.sizes):
        atoms = read_silicon(data)
        potential = load(made.fitted)
        contenders["Python, fitted, list kept"] = python_contender(
            potential.evaluator(skin=0.5), atoms, steps
        )
        contenders["Python, fitted, list built"] = python_contender(
            potential.evaluator(skin=0.0), atoms, steps
        )
    return measure(contenders, options.repeats)


def rows(cutoff: float, size: int, times: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Lines of the table; ratios of minima."""
    least = {name: min(values) for name, values in times.items()}
    lines = []
    for name, values in times.items():
        ratios = {
            "uf3": least[name] / least["uf3"] if name == "forcemap" else None,
            "sw": least[name] / least["sw"] if name.startswith("forcemap") else None,
            "lammps": least[name] / least["forcemap, fitted"] if "Python" in name else None,
        }
        lines.append(
            [
                f"{cutoff:.1f} Å {size:5d} {name}",
                f"{least[name]:.3f}",
                f"{statistics.median(values):.3f}",
                *("" if value is None else f"{value:.3f}" for value in ratios.values()),
            ]
        )
    return lines


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""

    def grid(text: str) -> tuple[int, ...]:
        numbers = tuple(int(part) for part in text.split(","))
        if len(numbers) != 3 or min(numbers) < 1:
            raise ValueError
        return numbers

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cutoffs", type=float, nargs="+", default=[3.5, 4.0, 5.0], help="3-body, Å"
    )
    parser.add_argument("--cutoff2", type=float, default=5.5, help="2-body, Å  [default: 5.5]")
    parser.add_argument(
        "--sizes", type=crystal_size, nargs="+", default=[216, 4096], help="numbers of atoms, 8 n^3"
    )
    parser.add_argument("--temperature", type=float, default=300.0, help="K  [default: 300]")
    parser.add_argument("--repeats", type=int, default=5, help="of every run  [default: 5]")
    parser.add_argument(
        "--atom-steps", type=int, default=200_000, help="length of a run  [default: 200000]"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="steps between energies and virials  [default: 1, at every step]",
    )
    parser.add_argument(
        "--grid",
        type=grid,
        default=(50, 30, 40),
        metavar="PAIR,LEG,BASE",
        help="intervals of the tables that uf3 evaluates too  [default: 50,30,40]",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="map.tolerance of the fitted potential, eV/Å  [default: 1e-4]",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print one table."""
    options = parsed(arguments)
    table: list[list[str]] = []
    notes: list[str] = []
    for cutoff in options.cutoffs:
        with tempfile.TemporaryDirectory() as scratch:
            made = make_potentials(cutoff, Path(scratch), options)
            notes += made.notes
            for count in options.sizes:
                print(f"{cutoff:g} Å, {count} atoms ...", file=sys.stderr, flush=True)
                times = compare(cutoff, count, Path(scratch), options, made)
                table += rows(cutoff, count, times)
    print(
        f"Si, {options.temperature:g} K, NVE, one core; 2-body cutoff {options.cutoff2:g} Å; energy "
        f"and virial every {options.every} step(s);\n"
        f"{options.repeats} interleaved runs of {options.atom_steps} atom-steps; µs per atom and "
        "step, ratios of the minima\n"
    )
    head = ["cutoff, atoms, potential", "min", "median", "/uf3", "/sw", "/LAMMPS"]
    print(text_table(head, table))
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
