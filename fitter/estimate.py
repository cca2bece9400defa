"""What a fit will take, told before it starts: ``forcemap fit --dry-run``.

Settings and frames are read in full; sparse points are chosen and rows are computed for a sample of
the frames only, and matrices of a thousand rows are timed. The rest is proportion: the times are meant
to be right within a factor of two or three on a quiet machine, without that of making the map's tables.
Trial fits for the scales of soap terms are made where they are short, and estimated where not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.baseline import CoreEnergy
from forcemap.fitter.building import (
    build_terms,
    few_body_points,
    nothing_to_fit,
    points_of,
    widest_cutoff,
)
from forcemap.fitter.config import EnvironmentSettings, FewBodySettings, Settings, TermSettings
from forcemap.fitter.data_checks import warn_of_shared_frames, warn_of_short_cutoffs
from forcemap.fitter.dataset import check_groups, read_frames
from forcemap.fitter.environment_costs import (
    EnvironmentBlock,
    Rates,
    choice_bytes,
    choice_seconds,
    map_bytes,
    map_seconds,
)
from forcemap.fitter.environment_terms import EnvironmentTerm
from forcemap.fitter.fitting import (
    ROWS_PER_BLOCK,
    TRIAL_ATOMS,
    TRIAL_FRAMES,
    group_count,
    of_largest_evidence,
    trial_evidence,
)
from forcemap.fitter.frame import Frame, sample_of
from forcemap.fitter.label_checks import label_counts
from forcemap.fitter.launch import launched
from forcemap.fitter.mapping import MEASURED_ATOMS, PROBE_FRAMES, RANDOM_CLUSTERS
from forcemap.fitter.process import Term, columns, environments, frame_rows, row_count
from forcemap.fitter.scales import choices
from forcemap.fitter.short_range import CorePair, core_pairs
from forcemap.fitter.soap import SoapTerm
from forcemap.fitter.solver import Accumulator
from forcemap.fitter.sparse_points import most_of, shortest_distances
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.progress import Progress
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

__all__ = ["Combination", "Estimate", "estimate", "estimate_settings", "estimate_table"]

SAMPLE_ATOMS = 2000
"""Atoms of the sample of frames; smaller data are looked at in full."""

SAMPLE_SECONDS = 2.0
"""Time spent on computing rows of the sample, at most (and at least one frame)."""

TIMED_COLUMNS = 1000
"""Size of the matrices that are timed, at most."""

TRIAL_SECONDS = 20.0
"""Trial fits that would take longer, all together, are not made."""

FEW_ATOMS = 100
"""Size of a first trial fit, by which the others are judged."""

CLUSTER_ATOMS = 24

EVIDENCE_STEPS = 12
"""Solutions that the search for the deltas takes; mostly 6 to 13 on published sets."""

BYTES_PER_ATOM = 220
"""Of frames, labels, targets and predictions, measured by `benchmarks/fit_scaling.py`."""

FLOAT = 8


@dataclass(frozen=True)
class Combination:
    """Sparse points of one combination of species.

    Attributes:
        kind: of the term.
        species: atomic numbers.
        candidates: distances, triangles or environments in the data.
        n_sparse: points that will be chosen, at most.
    """

    kind: str
    species: tuple[int, ...]
    candidates: int
    n_sparse: int


@dataclass(frozen=True)
class Estimate:
    """Sizes of a fit, its memory in bytes (of each rank) and its time in seconds.

    Attributes:
        n_energies, n_forces, n_stresses: rows of each kind.
        whole: whether the sizes are those of all frames, not estimated from a sample.
        choosing_bytes: candidates' descriptors and the matrices by which points are chosen.
        gram_bytes: one (columns, columns) matrix.
        sums_bytes: what summing and solving hold at once.
        block_bytes: one block of rows.
        blocks_bytes: all blocks at work or waiting.
        frames_bytes: frames, their labels and the predictions.
        map_bytes: forms of soap terms and the matrices that they are made by.
        seconds: by stage.
    """

    n_frames: int
    n_test: int
    n_atoms: int
    n_energies: int
    n_forces: int
    n_stresses: int
    combinations: tuple[Combination, ...]
    whole: bool
    choosing_bytes: int
    gram_bytes: int
    sums_bytes: int
    block_bytes: int
    blocks_bytes: int
    frames_bytes: int
    map_bytes: int
    seconds: Mapping[str, float]
    jobs: int
    ranks: int

    @property
    def n_rows(self) -> int:
        """Rows of all kinds."""
        return self.n_energies + self.n_forces + self.n_stresses

    @property
    def n_columns(self) -> int:
        """Sparse points of all terms."""
        return sum(c.n_sparse for c in self.combinations)


def estimate_settings(settings: Path, jobs: int, progress: Progress) -> Estimate:
    """Estimate the fit that the file `settings` asks for; writes nothing.

    Raises ForcemapError for settings or frames that cannot be used, as the fit itself does.
    """
    read = Settings.read(settings)
    launch = launched()
    start = time.perf_counter()
    with progress.stage("reading frames", 1) as advance:
        train = read_frames(read.data.train, read.data.keys, read.sigma)
        test = read_frames(read.data.test, read.data.keys, read.sigma) if read.data.test else []
        warn_of_shared_frames(train, test)
        advance()
    for line in label_counts([*train, *test]):
        progress.note(line)
    check_groups(train, read)
    reading = time.perf_counter() - start
    with progress.stage("timing a sample", None):
        return estimate(read, train, len(test), jobs, launch.size if launch else 1, reading)


def estimate(
    settings: Settings,
    frames: Sequence[Frame],
    n_test: int = 0,
    jobs: int = 1,
    ranks: int = 1,
    reading: float = 0.0,
) -> Estimate:
    """Estimate a fit to `frames` by `jobs` threads on each of `ranks`.

    Args:
        settings: of the fit.
        frames: the training frames.
        n_test: number of test frames.
        jobs, ranks: how the fit will be run.
        reading: seconds that reading the frames has taken.

    Raises ForcemapError for frames without labels or without neighbours.
    """
    if not any(f.energy is not None or f.forces is not None for f in frames):
        raise ForcemapError("the training frames hold neither energies nor forces")
    settings, choosing_scales = _with_scales(settings, frames)
    species = tuple(sorted({int(z) for f in frames for z in f.numbers}))
    sample = _sample(frames)
    atoms, some = (sum(len(f.numbers) for f in part) for part in (frames, sample))
    ratio = atoms / some
    seconds = {"reading frames": reading, "choosing scales": choosing_scales}
    with threadpool_limits(limits=1, user_api="blas"):
        core, seconds["short distances and core"] = _core(settings, sample, species, ratio)
        start = time.perf_counter()
        terms, _ = build_terms(settings, sample, species, core, lambda n=1: None)
        choosing = time.perf_counter() - start
        start = time.perf_counter()
        combinations = _combinations(settings.terms, terms, frames, sample, species)
        counting = time.perf_counter() - start
        rates = Rates.measured()
        blocks = _environment_blocks(settings.terms, terms, combinations, 1.0)
        seconds["choosing sparse points"] = _choosing_seconds(
            choosing,
            counting,
            (blocks, _environment_blocks(settings.terms, terms, combinations, 1.0 / ratio)),
            ratio,
            rates,
        )
        n_columns = sum(c.n_sparse for c in combinations)
        if n_columns == 0:
            raise nothing_to_fit(settings, frames)
        warn_of_short_cutoffs(settings, frames)
        rows_seconds = atoms * _row_seconds(sample, terms) * n_columns
        whiten, add, solve = _matrix_seconds([c.n_sparse for c in combinations])
    counts = [
        sum(f.energy is not None for f in frames),
        sum(3 * int(f.labelled.sum()) for f in frames),
        sum(6 for f in frames if f.stress is not None),
    ]
    n_rows = sum(counts)
    workers = rows_seconds + whiten * n_rows
    adding = add * n_rows
    # The main thread adds what the others have computed.
    seconds["rows and their sum"] = max((workers + adding) / jobs, adding) / ranks
    free = any(term.delta is None for term in settings.terms)
    seconds["deltas by evidence"] = solve * (EVIDENCE_STEPS if free else 1)
    soaps = [b for b in blocks if isinstance(terms[b.term], SoapTerm)]
    if all(term.has_map for term in terms):
        compared = min(atoms, MEASURED_ATOMS) if soaps else atoms
        # The resolution is chosen, by one thread, on some frames and clusters.
        probed = (
            min(PROBE_FRAMES, len(frames)) * atoms / len(frames) + CLUSTER_ATOMS * RANDOM_CLUSTERS
        )
        seconds["mapping, its error"] = rows_seconds / atoms * (compared / jobs / ranks + probed)
        if soaps:
            measured = max(1, round(len(frames) * compared / atoms)), compared
            seconds["mapping, its error"] += map_seconds(terms, soaps, sample, measured, rates)
    else:
        seconds["predictions of the process"] = rows_seconds * (1.0 + n_test / len(frames)) / jobs
        soaps = []
    gram = FLOAT * n_columns**2
    block = FLOAT * n_columns * (ROWS_PER_BLOCK + max(row_count(f) for f in frames) // 2)
    waiting = 2 * jobs + 1 if jobs > 1 else 0
    return Estimate(
        n_frames=len(frames),
        n_test=n_test,
        n_atoms=atoms,
        n_energies=counts[0],
        n_forces=counts[1],
        n_stresses=counts[2],
        combinations=combinations,
        whole=len(sample) == len(frames),
        choosing_bytes=choice_bytes(blocks),
        gram_bytes=gram,
        # Sums and what rounding cuts off from them; later the sums, all together, and two factors.
        sums_bytes=(1 + 2 * group_count(settings, frames)) * gram
        + FLOAT * sum(c.n_sparse**2 for c in combinations),
        block_bytes=block,
        blocks_bytes=block * (waiting + 3 * jobs),
        frames_bytes=BYTES_PER_ATOM * atoms,
        map_bytes=map_bytes(soaps),
        seconds=seconds,
        jobs=jobs,
        ranks=ranks,
    )


def _with_scales(settings: Settings, frames: Sequence[Frame]) -> tuple[Settings, float]:
    """The settings with a cutoff in every soap term, and the seconds that a fit takes to choose it.

    By the fit's own trial fits, or, where they would take longer than TRIAL_SECONDS, with the fine
    scale of largest reach, which costs most.
    """
    start = time.perf_counter()
    options = choices(settings, frames)
    if len(options) > 1:
        labelled = [f for f in frames if f.energy is not None or f.forces is not None]
        few = sample_of(labelled, FEW_ATOMS)
        whole = sample_of(labelled, TRIAL_ATOMS, TRIAL_FRAMES)
        begin = time.perf_counter()
        trial_evidence(options[0], few)
        one = time.perf_counter() - begin
        atoms, of_few = (sum(len(f.numbers) for f in part) for part in (whole, few))
        all_of_them = one * len(options) * atoms / of_few
        if all_of_them > TRIAL_SECONDS:
            return options[0], all_of_them
        start = time.perf_counter()
    return of_largest_evidence(options, frames), time.perf_counter() - start


def _choosing_seconds(
    whole: float,
    counting: float,
    blocks: tuple[Sequence[EnvironmentBlock], Sequence[EnvironmentBlock]],
    ratio: float,
    rates: Rates,
) -> float:
    """Seconds of choosing sparse points, from those of the sample, `whole`.

    Finding candidates takes longer with more frames: distances and triangles as long as `counting`
    them, descriptors of environments all that the choice among them does not take. `blocks`: sizes of
    all and of the sample; `ratio`: of their atoms.
    """
    every, some = (choice_seconds(sizes, rates) for sizes in blocks)
    finding = max(whole - some, counting) if blocks[0] else counting
    return whole + finding * (ratio - 1.0) + every - some


def _sample(frames: Sequence[Frame]) -> list[Frame]:
    """Frames with SAMPLE_ATOMS atoms or a little more: one of each set of species, others evenly."""
    return sample_of(frames, SAMPLE_ATOMS)


def _core(
    settings: Settings, sample: Sequence[Frame], species: tuple[int, ...], ratio: float
) -> tuple[dict[tuple[int, int], CorePair], float]:
    """The core of the sample, and the seconds that of all frames takes."""
    start = time.perf_counter()
    core: dict[tuple[int, int], CorePair] = {}
    if settings.core == "zbl":
        core = core_pairs(species, shortest_distances(sample, widest_cutoff(settings)))
    energy = CoreEnergy(species, core)
    for frame in sample:
        energy.of(frame)
    return core, ratio * (time.perf_counter() - start)


def _candidates(frame: Frame, term: Term, species: tuple[int, ...]) -> int:
    """Distances, triangles or atoms of a frame that a term has a function for."""
    if not set(frame.numbers.tolist()).issuperset(species):
        return 0
    if len(species) == 1:
        return int(np.count_nonzero(frame.numbers == species[0]))
    env = environments(frame, term.cutoff)
    if len(species) == 2:
        return len(env.distances(species[0], species[1], term.cutoff))
    return len(env.triplets(species[0], species[1], species[2], term.cutoff))


def _combinations(
    given: Sequence[TermSettings],
    terms: Sequence[Term],
    frames: Sequence[Frame],
    sample: Sequence[Frame],
    species: Sequence[int],
) -> tuple[Combination, ...]:
    """Candidates and sparse points of all frames, from those of the sample."""

    def atoms(part: Sequence[Frame], z: int) -> int:
        return sum(int(np.count_nonzero(f.numbers == z)) for f in part)

    found = []
    asked = dict(zip(map(id, terms), given, strict=False))
    for term, block, _ in columns(terms):
        centre = block.species[0]
        seen = sum(_candidates(f, term, block.species) for f in sample)
        candidates = round(seen * atoms(frames, centre) / atoms(sample, centre))
        size = block.size
        settings = asked.get(id(term))
        # Where the sample may hold fewer than are wanted, all frames may hold as many.
        if isinstance(settings, EnvironmentSettings) and len(sample) < len(frames):
            size = max(size, min(points_of(settings, centre, candidates, len(species)), candidates))
        elif isinstance(settings, FewBodySettings) and size >= 0.5 * seen:
            size = max(size, min(few_body_points(settings, species), candidates))
        found.append(Combination(term.kind, block.species, candidates, size))
    return tuple(found)


def _environment_blocks(
    given: Sequence[TermSettings],
    terms: Sequence[Term],
    combinations: Sequence[Combination],
    part: float,
) -> list[EnvironmentBlock]:
    """Sizes of the terms of environments; their pools are `part` of all candidates."""
    methods = {id(t): settings.sparse_method for t, settings in zip(terms, given, strict=False)}
    found = []
    for (term, block, _), combination in zip(columns(terms), combinations, strict=True):
        if isinstance(term, EnvironmentTerm):
            center = block.species[0]
            pool = min(most_of(term, center), round(part * combination.candidates))
            found.append(
                EnvironmentBlock(
                    term=terms.index(term),
                    pool=pool,
                    points=min(combination.n_sparse, pool),
                    numbers=term.dimension_of(center),
                    greedy=methods[id(term)] == "pivoted_cholesky",
                )
            )
    return found


def _row_seconds(sample: Sequence[Frame], terms: Sequence[Term]) -> float:
    """Seconds that an atom's rows take, for each sparse point."""
    start = time.perf_counter()
    atoms = 0
    for frame in sorted(sample, key=lambda f: len(f.numbers) % 17):  # not in the file's order
        frame_rows(frame, terms)
        atoms += len(frame.numbers)
        if time.perf_counter() - start > SAMPLE_SECONDS:
            break
    return (time.perf_counter() - start) / (atoms * sum(term.size for term in terms))


def _matrix_seconds(sizes: Sequence[int]) -> tuple[float, float, float]:
    """Seconds to whiten a row, to add it, and to solve with slopes, for blocks of these sizes."""
    whole = sum(sizes)
    n = min(whole, TIMED_COLUMNS)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS_PER_BLOCK, n))
    targets = rng.normal(size=ROWS_PER_BLOCK)
    factor = np.asfortranarray(np.tril(rng.normal(size=(n, n))) + 10.0 * n * np.eye(n))
    data = Accumulator(n)

    def whitened() -> None:
        scipy.linalg.solve_triangular(factor, rows.T, lower=True, check_finite=False)

    whiten = _seconds(whitened) / (ROWS_PER_BLOCK * n**2) * sum(size**2 for size in sizes)
    scratch = np.zeros((n, n), order="F")
    add = (
        _seconds(lambda: data.add(rows, targets, 0.0, scratch)) / (ROWS_PER_BLOCK * n**2) * whole**2
    )

    def step() -> None:
        lapack.dpotri(data.solve(np.ones(n)).factor.T, lower=0)

    solve = _seconds(step) * (whole / n) ** 3
    return whiten, add, solve


def _seconds(function: Callable[[], Any]) -> float:
    """Seconds that a call takes; the first one, which loads and allocates, does not count."""
    function()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---- what is printed ---------------------------------------------------------------------------


def _memory(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def _time(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"


def estimate_table(found: Estimate) -> Any:
    """The estimate as tables for rich's console."""
    from forcemap.fitter.error_table import rows_table
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    sizes = rows_table(
        [
            ("training frames", f"{found.n_frames}, {found.n_atoms} atoms"),
            ("test frames", f"{found.n_test}"),
            (
                "rows",
                f"{found.n_rows}: {found.n_energies} energies, {found.n_forces} forces, "
                f"{found.n_stresses} stresses",
            ),
            ("columns", f"{found.n_columns} sparse points"),
        ],
        title="Sizes",
    )
    about = "" if found.whole else "about "
    terms = Table(box=SIMPLE_HEAD)
    terms.add_column("term")
    terms.add_column("species")
    terms.add_column("candidates", justify="right")
    terms.add_column("sparse points", justify="right")
    for c in found.combinations:
        name = "-".join(SYMBOLS[z] for z in c.species)
        terms.add_row(c.kind, name, f"{about}{c.candidates}", f"{about}{c.n_sparse}")
    each = " of each rank" if found.ranks > 1 else ""
    memory = rows_table(
        [
            ("choosing sparse points", _memory(found.choosing_bytes)),
            ("Gram matrix", _memory(found.gram_bytes)),
            ("its sums and solution", _memory(found.sums_bytes)),
            ("block of rows", _memory(found.block_bytes)),
            ("all blocks at a time", _memory(found.blocks_bytes)),
            ("frames", _memory(found.frames_bytes)),
            ("map of soap terms", _memory(found.map_bytes)),
            ("the program itself", "100 MiB"),
        ],
        title=f"Memory{each}",
    )
    ranks = f", {found.ranks} ranks" if found.ranks > 1 else ""
    times = rows_table(
        [(stage, f"about {_time(seconds)}") for stage, seconds in found.seconds.items()]
        + [("in all", f"about {_time(sum(found.seconds.values()))}")],
        title=f"Time by {found.jobs} thread(s){ranks}",
    )
    return Group(sizes, terms, memory, "", times)
