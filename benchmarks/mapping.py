"""Error of the map against its number of grid points, and its speed over the process's.

As Fig. 5.11 of A. Glielmo, C. Zeni, A. Fekete, A. De Vita, "Building nonparametric n-body force
fields using Gaussian process regression" (Machine Learning Meets Quantum Physics, Springer 2020), on
the same system (Ni19 cluster) if the data folder holds it, else on examples/silicon.

Speeds are those of energy and forces of one frame, one thread:

- mapped: the potential on the coarsest grid whose force error is within --tolerance;
- sparse process: the process as fitted, with its sparse points;
- full process: every pair and triplet of the training frames is a point, as without sparsification.
  (Its weights play no part in the time and are those of no fit.)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fits import SILICON, fit_silicon
from forcemap.fitter import Frame, Model, Settings, fit_frames
from forcemap.fitter.config import Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.terms.base import Array, Block, Species, Term
from forcemap.fitter.terms.distances import DistanceTerm
from forcemap.potentials import Potential
from forcemap.potentials.file.potential_file import as_potential
from grids import exact, table_sizes, tabulate
from published_sets import DATA, SETS
from text_table import text_table
from threadpoolctl import threadpool_limits

FINE_PAIRS = 2000
"""Intervals of the 2-body tables, which then add nothing to the error."""

BASE_RATIO = 1.4
"""Knot distances along r_jk over those along r_ij and r_ik, as the fitter has them."""


@dataclass(frozen=True)
class Case:
    """The process that is mapped, and its frames."""

    name: str
    model: Model
    train: list[Frame]
    test: list[Frame]


def make_case(options: argparse.Namespace) -> Case:
    """Read and fit: Ni19 if it is there, else silicon."""
    terms = [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "three_body", "cutoff": options.cutoff3},
    ]
    folder = options.data / "Ni19_cluster"
    if folder.is_dir():
        name = "Ni19 cluster"
        with tempfile.TemporaryDirectory() as scratch:
            paths = SETS[folder.name].split(folder, Path(scratch))
            train, test = (read_frames([Source(path)]) for path in paths)
        # The frames are at hand; those of the settings are only named.
        settings = Settings.from_dict(
            {"data": {"train": "train.xyz"}, "e0": "average", "terms": terms}
        )
        model = fit_frames(settings, train, options.jobs)
    else:
        name = "examples/silicon"
        model, train = fit_silicon(terms, options.jobs)
        test = read_frames([Source(SILICON / "test.xyz")])
    step = max(1, len(test) // options.frames)
    return Case(name, exact(model), train, test[::step][: options.frames])


# ---- error -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GridError:
    """Errors of the map on one grid: forces eV/Å, energies eV per atom."""

    legs: int
    size: str
    megabytes: float
    seconds: float
    force_max: float
    force_rmse: float
    energy_max: float
    potential: Potential


def grid_errors(case: Case, grids: Sequence[int], jobs: int) -> list[GridError]:
    """Errors on the test frames for all numbers of leg intervals."""
    truth = Truth(case.model)
    truths = [truth.prediction(frame) for frame in case.test]
    errors = []
    for legs in grids:
        start = time.process_time()
        data = tabulate(case.model, FINE_PAIRS, legs, round(2 * legs / BASE_RATIO), jobs)
        seconds = time.process_time() - start
        size, megabytes = table_sizes(data)
        potential = as_potential(data)
        evaluator = potential.evaluator(skin=0.0)
        forces, energies = [], []
        for frame, expected in zip(case.test, truths, strict=True):
            mapped = evaluated(evaluator, frame)
            energies.append((mapped.energy - expected.energy) / len(frame.numbers))
            forces.append((mapped.forces - expected.forces).ravel())
        error = np.concatenate(forces)
        errors.append(
            GridError(
                legs,
                size,
                megabytes,
                seconds,
                float(np.abs(error).max()),
                float(np.sqrt(np.mean(error**2))),
                float(np.abs(energies).max()),
                potential,
            )
        )
    return errors


def plot(case: Case, errors: Sequence[GridError], path: Path) -> None:
    """Errors against grid points per leg, on logarithmic axes, with the slope of theory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.5), layout="constrained")
    axes = figure.subplots()
    points = np.array([e.legs for e in errors], dtype=float)
    axes.loglog(points, [e.force_max for e in errors], "o-", label="largest force error")
    axes.loglog(points, [e.force_rmse for e in errors], "s-", label="force RMSE")
    last = errors[-1]
    theory = last.force_rmse * (points / points[-1]) ** -3.0
    axes.loglog(points, theory, "k:", label="third power of the spacing")
    axes.set_xlabel("intervals along r_ij of the 3-body table")
    axes.set_ylabel("mapped − process, eV/Å")
    axes.set_title(f"{case.name}: {len(case.test)} test frames")
    axes.legend()
    figure.savefig(path, dpi=150)


# ---- speed -------------------------------------------------------------------------------------


def full_model(case: Case) -> Model:
    """The model with every pair and triplet of the training frames as a point."""
    terms = [full_term(term, case.train) for term in case.model.terms]
    size = sum(term.size for term in terms)
    return replace(case.model, terms=tuple(terms), weights=np.full(size, 1e-6))


def full_term(term: Term, frames: Sequence[Frame]) -> Term:
    """The term with all descriptors of `frames` as points."""
    if not isinstance(term, DistanceTerm):
        return term
    descriptors: dict[Species, list[Array]] = {}
    for frame in frames:
        structure = Structure(frame, term.cutoff, derivatives=False)
        for species, points in term.candidates(structure).items():
            descriptors.setdefault(species, []).append(points)
    return term.with_blocks(
        [Block(block.species, np.concatenate(descriptors[block.species])) for block in term.blocks]
    )


def timed(call: Callable[[], object], budget: float) -> float:
    """Processor seconds of a call: the least of as many as fit into `budget` seconds, at least one."""
    times: list[float] = []
    end = time.perf_counter() + budget
    while not times or (time.perf_counter() < end and len(times) < 10_000):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def speed_rows(case: Case, potential: Potential, full: bool) -> list[list[str]]:
    """Times of one frame's energy and forces by map and process."""
    frame = case.test[0]
    atoms = len(frame.numbers)
    evaluator = potential.evaluator()
    mapped = timed(
        lambda: evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc), 1.0
    )
    rows = [["mapped", "", f"{1e6 * mapped / atoms:.2f}", ""]]
    models = {"sparse process": case.model}
    if full:
        models["full process"] = full_model(case)
    for name, model in models.items():
        seconds = timed(lambda model=model: model.predict(frame), 2.0)  # type: ignore[misc]
        points = sum(term.size for term in model.terms)
        rows.append([name, str(points), f"{1e6 * seconds / atoms:.4g}", f"{seconds / mapped:.3g}"])
    return rows


# ---- the program -------------------------------------------------------------------------------


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="folder of the published sets  [default: ../shared/data beside the repository]",
    )
    parser.add_argument("--cutoff3", type=float, default=4.25, help="3-body, Å  [default: 4.25]")
    parser.add_argument(
        "--grids",
        type=int,
        nargs="+",
        default=[8, 12, 16, 24, 32, 48, 64, 96, 128, 192],
        help="intervals along r_ij",
    )
    parser.add_argument("--frames", type=int, default=40, help="test frames  [default: 40]")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest force error, eV/Å, of the map that is timed  [default: 1e-3]",
    )
    parser.add_argument("--jobs", type=int, default=1, help="threads to fit and map  [default: 1]")
    parser.add_argument("--no-full", action="store_true", help="do not time the full process")
    parser.add_argument(
        "--plot", type=Path, default=Path("mapping.png"), help="[default: mapping.png]"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Map, measure, print and plot."""
    options = parsed(arguments)
    case = make_case(options)
    print(
        f"{case.name}: {len(case.train)} training frames, 2-body 5.5 Å + 3-body "
        f"{options.cutoff3:g} Å; errors of the map against the process on {len(case.test)} test "
        "frames\n"
    )
    errors = grid_errors(case, sorted(options.grids), options.jobs)
    rows = [
        [
            e.size,
            f"{e.megabytes:.2f}",
            f"{e.seconds:.2f}",
            f"{e.force_max:.2e}",
            f"{e.force_rmse:.2e}",
            f"{e.energy_max:.2e}",
        ]
        for e in errors
    ]
    head = ["2-body + leg x base", "MB", "map cpu s", "F max eV/Å", "F RMSE eV/Å", "E max eV/atom"]
    print(text_table(head, rows))
    plot(case, errors, options.plot)
    print(f"\n{options.plot}")
    enough = [e for e in errors if e.force_max <= options.tolerance]
    if not enough:
        sys.exit(f"no grid comes within {options.tolerance:g} eV/Å; give finer --grids")
    print(
        f"\nSpeed, one thread, processor time; the map: {enough[0].size} "
        f"(force error {enough[0].force_max:.1e})\n"
    )
    with threadpool_limits(limits=1, user_api="blas"):
        speed = speed_rows(case, enough[0].potential, not options.no_full)
    print(text_table(["energy and forces", "points", "µs/atom", "/mapped"], speed))


if __name__ == "__main__":
    main()
