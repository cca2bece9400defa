"""What a fit will take, estimated before it starts: ``forcemap fit --dry-run``.

Settings and frames are read in full. The stages are those of the fit: a survey, terms opened on it,
candidates for their sparse points, rows, sums, the map. A sample of the frames and few sparse
points give the candidates and the time of the rows; algebra is counted, and its rate is measured. The
rest is proportion: times are meant to be right within a factor of two on a quiet machine, without that
of making the map's tables. The processor's time is measured, which other work on the machine does not
change. No trial fit is made: where the evidence chooses among alternatives, the first stands for all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from ase.geometry import complete_cell
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.isolated_atoms import free_atoms, uncertain_atoms, warn_of_cohesion
from forcemap.fitter.choice.learning import (
    LEAST_ROWS,
    STEP_ATOMS,
    has_many_combinations,
    learns,
    parameters,
)
from forcemap.fitter.choice.learning import POINTS as LEARNING_POINTS
from forcemap.fitter.choice.optimise import EVALUATIONS, sample_size, wanted
from forcemap.fitter.choice.trials import TRIAL_ATOMS, TRIAL_POINTS
from forcemap.fitter.config import Settings
from forcemap.fitter.data.combinations import combination_lines
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.label_checks import label_counts
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.data.sources import known_count
from forcemap.fitter.holes.filling import ROUNDS, is_worth_filling
from forcemap.fitter.mapping.probes import MEASURED_ATOMS, PROBE_FRAMES, RANDOM_CLUSTERS
from forcemap.fitter.planning.deviations import (
    drawing_seconds,
    drawn_bytes,
    level_seconds,
    sized,
    steps_of_draws,
)
from forcemap.fitter.planning.searching import searching_seconds
from forcemap.fitter.planning.widths import Widths, row_counts
from forcemap.fitter.process.blocks import ROWS_PER_BLOCK
from forcemap.fitter.process.data_checks import warn_of_shared_frames, warn_of_short_cutoffs
from forcemap.fitter.process.groups import check_groups
from forcemap.fitter.process.prior import (
    Opened,
    added_terms,
    alternatives,
    nothing_to_fit,
    widest_cutoff,
)
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import group_count
from forcemap.fitter.sharing.launch import launched
from forcemap.fitter.solve.solver import Accumulator
from forcemap.fitter.solve.work import FLOAT, Rates, Work, seconds_of
from forcemap.fitter.sparse.candidates import most_candidates
from forcemap.fitter.sparse.methods import independent, work_of_choice
from forcemap.fitter.terms.base import Array, Block, Species, Term, named
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.fitter.uncertainty.leave_one_out import work_of_leaving_out
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.progress import Progress
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

__all__ = ["Combination", "Estimate", "estimate", "estimate_settings", "estimate_table"]

SAMPLE_ATOMS = 2000
"""Atoms of the sample of frames; smaller data are looked at in full."""

SAMPLE_SECONDS = 1.0
"""Longest time spent on a term's candidates, and on rows (of one frame at least)."""

CHOICE_SECONDS = 4.0
"""Longest time for choosing sparse points (the sample being all data); else they are counted."""

FEW_POINTS = 12
"""Sparse points of each combination of species for which rows are timed, and for four times as many."""

TIMED_ATOMS = 150
"""Most atoms of a large periodic frame that are timed."""

TIMED_COLUMNS = 1000
"""Largest size of the matrices that are timed."""

EVIDENCE_STEPS = 6
"""Solutions that the search for the deltas takes; mostly 6 to 13 on published sets."""

LEARNING_PASSES = 1.5
"""Time of the loss of learned descriptors and its slopes, relative to that of the rows."""

BYTES_PER_ATOM = 220
"""Memory of frames, labels, targets and predictions, measured by `benchmarks/fit_scaling.py`."""

CLUSTER_ATOMS = 24


@dataclass(frozen=True)
class Combination:
    """Sparse points of one combination of species.

    Attributes:
        kind: of the term.
        species: atomic numbers.
        candidates: distances, triangles or environments in the data.
        n_sparse: largest number of points that will be chosen.
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
        choosing_bytes: candidates and the matrices by which points are chosen.
        gram_bytes: one (columns, columns) matrix.
        sums_bytes: what summing and solving hold at once.
        block_bytes: one block of rows.
        blocks_bytes: all blocks at work or waiting.
        frames_bytes: frames, their labels and the predictions.
        map_bytes: what the map takes while it is made.
        kept_bytes: of the rows that are kept on disk until frames have been left out; of each rank.
        draws: that the potential will have.
        drawn_bytes: of their part of the potential's file, at least and about at most.
        seconds: by stage.
        extrapolated: sentences about what was extrapolated.
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
    kept_bytes: int
    draws: int
    drawn_bytes: tuple[int, int]
    seconds: Mapping[str, float]
    jobs: int
    ranks: int
    extrapolated: Sequence[str] = ()

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
    start = time.process_time()
    count = partial(known_count, (*read.data.train, *read.data.test))
    with progress.stage("reading frames", count) as advance:
        train = read_frames(read.data.train, read.data.keys, read.sigma, advance=advance)
        test = read_frames(read.data.test, read.data.keys, read.sigma, advance=advance)
        warn_of_shared_frames(train, test)
    for line in [*label_counts(train), *label_counts(test), *combination_lines(train)]:
        progress.note(line)
    check_groups(train, read)
    for line in free_atoms(train, read.e0).origin:
        progress.note(f"isolated atoms: {line}")
    warn_of_cohesion(train, read.e0)
    reading = time.process_time() - start
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
    with threadpool_limits(limits=1, user_api="blas"):
        look = _Look.at(settings, frames)
        columns = sum(c.n_sparse for c in look.combinations)
        if columns == 0:
            raise nothing_to_fit(look.settings, Survey.of(frames, settings))
        warn_of_short_cutoffs(look.settings, frames)
        row = look.row
        whiten, add, solve = _matrix_seconds([c.n_sparse for c in look.combinations])
    counts, atoms = row_counts(frames), look.atoms
    wide = Widths.of(frames, look.combinations)
    adding = add * wide.squares + whiten * wide.numbers / columns
    free = any(term.delta is None for term in look.settings.terms)
    seconds = {
        "reading frames": reading,
        **look.seconds,
        "rows and their sum": (atoms * row.of(columns) + adding) / jobs / ranks,
        "deltas by evidence": solve * (EVIDENCE_STEPS if free else 1),
        **_filling_seconds(look, frames, sum(counts), jobs * ranks),
        **_left_out_seconds(look, len(frames), wide, jobs * ranks),
        **_end_seconds(look, row.of(columns), n_test, jobs, ranks),
    }
    return Estimate(
        n_frames=len(frames),
        n_test=n_test,
        n_atoms=atoms,
        **dict(zip(("n_energies", "n_forces", "n_stresses"), counts, strict=True)),
        combinations=look.combinations,
        whole=look.whole,
        choosing_bytes=look.choosing.bytes,
        **_matrix_bytes(look, frames, group_count(settings, frames), jobs),
        frames_bytes=BYTES_PER_ATOM * atoms,
        map_bytes=look.mapping.bytes,
        kept_bytes=FLOAT * wide.left_out.numbers // ranks,
        draws=_draws(look),
        drawn_bytes=drawn_bytes(look.sized, _draws(look)),
        seconds=seconds,
        jobs=jobs,
        ranks=ranks,
        extrapolated=look.extrapolated,
    )


def _draws(look: _Look) -> int:
    """Draws that the potential will have; there are none without a map."""
    has_map = all(term.has_map for term in look.sized)
    return look.settings.uncertainty.draws if has_map else 0


def _left_out_seconds(look: _Look, frames: int, wide: Widths, workers: int) -> dict[str, float]:
    """Seconds of leaving frames out, and of those that show what sparse points leave open."""
    sizes = [(c.n_sparse, c.candidates / frames) for c in look.combinations]
    left_out, atoms = wide.left_out, look.atoms / frames
    work = work_of_leaving_out(left_out.rows, left_out.widths, wide.columns)
    return {
        "leaving frames out": look.rates.seconds(work) / workers,
        "calibrating deviations": level_seconds(
            sizes, len(left_out.rows), atoms, look.rates, look.row.of
        ),
    }


def _filling_seconds(
    look: _Look, frames: Sequence[Frame], labels: int, workers: int
) -> dict[str, float]:
    """Seconds of the search for holes, where the fit makes one."""
    settings, terms = look.settings, look.sized
    if not (settings.fills_holes and is_worth_filling(terms, frames, labels)):
        return {}
    columns = sum(c.n_sparse for c in look.combinations)
    work, is_flexible = look.mapping, settings.is_flexible
    elements = len({int(z) for frame in frames for z in np.unique(frame.numbers)})
    if not is_flexible or elements > 1:
        look.extrapolated.append(f"holes are sought in at most {ROUNDS} searches, often fewer")
    seconds = searching_seconds(
        look.row.of, columns, work, look.rates, is_flexible, elements, workers
    )
    return {"filling holes": seconds}


def _matrix_bytes(look: _Look, frames: Sequence[Frame], groups: int, jobs: int) -> dict[str, int]:
    """Memory of the Gram matrix, of all sums and of the blocks of rows, by attribute of `Estimate`."""
    sizes = [c.n_sparse for c in look.combinations]
    gram = FLOAT * sum(sizes) ** 2
    layout = max(RowLayout(len(f.numbers)).count for f in frames)
    block = FLOAT * sum(sizes) * (ROWS_PER_BLOCK + layout // 2)
    waiting = 2 * jobs + 1 if jobs > 1 else 0
    least = 2 if len({tuple(np.unique(f.numbers)) for f in frames}) == 1 else 3
    return {
        "gram_bytes": gram,
        # Sums and what rounding cuts off from them; later the sums, all together, and a factor. Frames
        # of some of the elements are left out by a factor, its square and another one.
        "sums_bytes": max(2 * groups, least) * gram + FLOAT * sum(size**2 for size in sizes),
        "block_bytes": block,
        "blocks_bytes": block * (waiting + 3 * jobs),
    }


# ---- a look at the data ----------------------------------------------------------------------------


@dataclass
class _Look:
    """Sizes and times by a sample of the frames.

    Attributes:
        settings: with the first of all alternatives.
        atoms: of all frames.
        sample: frames of the sample; `whole`: whether they are all frames.
        combinations: sizes.
        timed: the terms, with few sparse points and with some more.
        sized: the terms, with sparse points in the fit's number.
        choosing, mapping: work of choosing sparse points, and of making the map.
        seconds: of the stages before the rows.
        counted: kinds of the terms whose sparse points were counted, not chosen.
        extrapolated: sentences.
    """

    settings: Settings
    atoms: int
    sample: list[Frame]
    whole: bool
    rates: Rates
    combinations: tuple[Combination, ...] = ()
    timed: tuple[list[Term], list[Term]] = field(default_factory=lambda: ([], []))
    sized: list[Term] = field(default_factory=list)
    choosing: Work = field(default_factory=Work)
    mapping: Work = field(default_factory=Work)
    seconds: dict[str, float] = field(default_factory=dict)
    counted: list[str] = field(default_factory=list)
    extrapolated: list[str] = field(default_factory=list)

    @cached_property
    def row(self) -> _RowSeconds:
        """What an atom's rows take, once all terms are open."""
        return _row_seconds(self.sample, self.timed)

    @classmethod
    def at(cls, given: Settings, frames: Sequence[Frame]) -> _Look:
        """A look at the frames of a fit. Raises ForcemapError for frames without labels."""
        if not any(f.energy is not None or f.forces is not None for f in frames):
            raise ForcemapError("the training frames hold neither energies nor forces")
        options = alternatives(given, Survey.of(frames, given))
        sample = sample_of(frames, SAMPLE_ATOMS)
        atoms = sum(len(f.numbers) for f in frames)
        look = cls(options[0], atoms, sample, len(sample) == len(frames), Rates.measured())
        if not look.whole:
            some = sum(len(f.numbers) for f in sample)
            look.extrapolated.append(
                f"sizes and times are extrapolated from {len(sample)} of {len(frames)} frames, "
                f"{some} of {atoms} atoms"
            )
        species = {int(z) for f in frames for z in f.numbers}
        uncertain = uncertain_atoms(frames, given.e0)
        survey = Survey.of(sample, given)
        survey = replace(survey, species=tuple(sorted(species)), uncertain_atoms=uncertain)
        survey = look._survey(survey)
        share = _shares(frames, sample)
        for settings in look.settings.terms:
            look._open(settings, survey, share)
        if look.counted:
            *others, last = dict.fromkeys(look.counted)
            kinds = " and ".join([*([", ".join(others)] if others else []), last])
            look.extrapolated.append(
                f"the sparse points of {kinds} terms are counted, not chosen: those that repeat others "
                "count too"
            )
        for added in added_terms(survey):
            for terms in look.timed:
                terms.append(added)
            look.combinations += tuple(
                Combination(added.kind, block.species, share.atoms[block.species[0]], block.size)
                for block in added.blocks
            )
        if len(options) > 1:
            look._trials(options)
        look._optimising(options[0])
        look._learning(options[0], survey)
        return look

    def _survey(self, survey: Survey) -> Survey:
        """With the repulsion, where there is one."""
        start = time.thread_time()
        if self.settings.has_repulsion:
            survey = survey.with_repulsion(widest_cutoff(self.settings))
        baseline = Baseline(survey.species, survey.repulsion)
        for frame in self.sample:
            baseline.of(frame)
        some = sum(len(f.numbers) for f in self.sample)
        self.seconds["short distances and core"] = (time.thread_time() - start) * self.atoms / some
        return survey

    def _open(self, settings: Any, survey: Survey, share: _Share) -> None:
        """One term: its candidates, sizes, and the work that its sparse points and map will be."""
        start = time.thread_time()
        opened = Opened.of(settings, survey, SAMPLE_SECONDS)
        finding = (time.thread_time() - start) * self.atoms / max(opened.atoms, 1)
        counts = {
            species: round(pool.count * share.ratio(species, opened.atoms))
            for species, pool in opened.pools.items()
        }
        kept = {
            species: min(counts[species], most_candidates(pool.points.shape[1]))
            for species, pool in opened.pools.items()
        }
        wanted = {s: min(opened.wanted(s, kept[s]), counts[s]) for s in opened.pools}
        work = Work()
        for species, pool in opened.pools.items():
            dimension = pool.points.shape[1]
            work += work_of_choice(opened.method, kept[species], dimension, wanted[species])
        choosing = self.rates.seconds(work)
        complete = opened.atoms == self.atoms
        if self.whole and complete and choosing < CHOICE_SECONDS:
            wanted = {block.species: block.size for block, _ in opened.blocks()}
        elif wanted:
            self.counted.append(opened.term.kind)
        self.choosing += work
        key = "choosing sparse points"
        self.seconds[key] = self.seconds.get(key, 0.0) + finding + choosing
        for terms, count in zip(self.timed, (FEW_POINTS, 4 * FEW_POINTS), strict=True):
            terms.append(opened.term.with_blocks(_some_points(opened, count)))
        dimensions = {s: pool.points.shape[1] for s, pool in opened.pools.items()}
        self.sized.append(sized(opened.term, wanted, dimensions))
        measured = min(self.atoms, MEASURED_ATOMS)
        self.mapping += opened.term.map_work(wanted, measured)
        self.combinations += tuple(
            Combination(opened.term.kind, s, counts[s], wanted[s]) for s in opened.pools
        )

    def _optimising(self, settings: Settings) -> None:
        """The time of the evidence with its slopes on a sample, where hyperparameters are free."""
        asked = wanted(settings)
        if not any(asked):
            return
        atoms, points = sample_size(settings)
        blocks = [max(1, len(term.blocks)) for term in self.timed[0]]
        each = points / max(1, sum(blocks))
        passes = sum(
            1 + 2 * len([name for name in names if name in term.continuous])
            for names, term in zip(asked, settings.terms, strict=True)
        )
        row = self.row.of(round(each * sum(blocks))) / max(1, len(settings.terms))
        self.seconds["optimising hyperparameters"] = (
            EVALUATIONS * min(atoms, self.atoms) * passes * row
        )
        self.extrapolated.append(
            f"the evidence is maximised in at most {EVALUATIONS} evaluations, often fewer; the fit "
            "then has other hyperparameters than those that were looked at"
        )

    def _learning(self, settings: Settings, survey: Survey) -> None:
        """The time in which descriptors learn from a sample, where there are labels enough."""
        if not (settings.learning_steps and learns(settings)):
            return
        if has_many_combinations(self.sample):
            return
        atoms = min(STEP_ATOMS, self.atoms)
        if 3 * self.atoms < LEAST_ROWS * parameters(settings, survey):
            return
        row = self.row.of(LEARNING_POINTS * len(settings.terms)) * LEARNING_PASSES
        self.seconds["learning descriptors"] = settings.learning_steps * atoms * row

    def _trials(self, options: Sequence[Settings]) -> None:
        """Time of the small fits that compare alternatives, from rows of few points.

        The rows of terms that alternatives share are computed once.
        """
        distinct: list[Any] = []
        for option in options:
            distinct += [term for term in option.terms if term not in distinct]
        atoms = min(TRIAL_ATOMS, self.atoms)
        blocks = sum(len(term.blocks) for term in self.timed[0])
        each = atoms * self.row.of(blocks * TRIAL_POINTS)
        self.seconds["choosing scales"] = each * len(distinct) / len(options[0].terms)
        self.extrapolated.append(
            f"the first of {len(options)} alternatives for the scales stands for the one that the fit "
            "chooses"
        )


@dataclass(frozen=True)
class _Share:
    """How many atoms of each species there are in all frames and in the sample."""

    atoms: Mapping[int, int]
    sampled: Mapping[int, int]

    def ratio(self, species: Species, looked_at: int) -> float:
        """Candidates of all frames over those of the first `looked_at` atoms of the sample."""
        part = sum(self.sampled.values()) / max(looked_at, 1)
        return part * self.atoms[species[0]] / max(self.sampled.get(species[0], 0), 1)


def _shares(frames: Sequence[Frame], sample: Sequence[Frame]) -> _Share:
    def counted(part: Sequence[Frame]) -> dict[int, int]:
        numbers, counts = np.unique(np.concatenate([f.numbers for f in part]), return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    return _Share(counted(frames), counted(sample))


def _some_points(opened: Opened, count: int) -> list[Block]:
    """Blocks of a few sparse points, for timing."""
    blocks = []
    for species, pool in opened.pools.items():
        step = max(1, len(pool.points) // count)
        block, _ = independent(opened.term, pool.points[::step][:count], species)
        blocks.append(block)
    return blocks


@dataclass(frozen=True)
class _RowSeconds:
    """Seconds that an atom's rows take: a fixed part, and a part for each sparse point."""

    fixed: float
    each: float

    def of(self, columns: int) -> float:
        """Seconds for `columns` sparse points."""
        return self.fixed + self.each * columns


def _row_seconds(
    sample: Sequence[Frame], timed: tuple[Sequence[Term], Sequence[Term]]
) -> _RowSeconds:
    """Measured on a few frames, or parts of them, with few and with some more sparse points."""
    start = time.perf_counter()
    seconds, atoms = np.zeros(2), 0
    for whole in sorted(sample, key=lambda f: len(f.numbers) % 17):  # not in the file's order
        frame = _part(whole, TIMED_ATOMS)
        for n, terms in enumerate(timed):
            begin = time.thread_time()
            frame_rows(frame, terms)
            seconds[n] += time.thread_time() - begin
        atoms += len(frame.numbers)
        if time.perf_counter() - start > SAMPLE_SECONDS:
            break
    few, some = (sum(term.size for term in terms) for terms in timed)
    if some <= few:
        return _RowSeconds(0.0, float(seconds[0]) / atoms / max(few, 1))
    each = max(float(seconds[1] - seconds[0]) / atoms / (some - few), 0.0)
    return _RowSeconds(max(float(seconds[0]) / atoms - each * few, 0.0), each)


def _part(frame: Frame, most: int) -> Frame:
    """A periodic frame cut down to at most `most` atoms, at the same density, without labels.

    The cell is halved along its longest periodic direction, and so on: an atom at the cut has other
    neighbours, but about as many. Directions that are not periodic stay whole.
    """
    cell, positions, numbers = np.array(frame.cell), frame.positions, frame.numbers
    while len(numbers) > most and np.any(frame.pbc):
        lengths = np.where(frame.pbc, np.linalg.norm(cell, axis=1), 0.0)
        axis = int(np.argmax(lengths))
        # A direction that is not periodic may have no vector.
        kept = np.linalg.solve(complete_cell(cell).T, positions.T)[axis] % 1.0 < 0.5
        if not 0 < np.count_nonzero(kept) < len(numbers):
            break
        positions, numbers = positions[kept], numbers[kept]
        cell[axis] *= 0.5
    bare = replace(frame, energy=None, forces=None, stress=None, force_mask=None)
    return replace(bare, cell=cell, positions=positions, numbers=numbers)


def _matrix_seconds(sizes: Sequence[int]) -> tuple[float, float, float]:
    """Seconds to whiten a row, to add it, and to solve with slopes, for blocks of these sizes."""
    whole = sum(sizes)
    n = min(whole, TIMED_COLUMNS)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS_PER_BLOCK, n))
    targets = rng.normal(size=ROWS_PER_BLOCK)
    factor = np.asfortranarray(np.tril(rng.normal(size=(n, n))) + 10.0 * n * np.eye(n))
    data = Accumulator(n)

    def whitened() -> Array:
        return np.asarray(
            scipy.linalg.solve_triangular(factor, rows.T, lower=True, check_finite=False)
        )

    whiten = seconds_of(whitened) / (ROWS_PER_BLOCK * n**2) * sum(size**2 for size in sizes)
    adding = seconds_of(lambda: data.add(rows, targets, 0.0))
    add = adding / (ROWS_PER_BLOCK * n**2) * whole**2
    solve = seconds_of(lambda: lapack.dpotri(data.solve(np.ones(n)).factor.T, lower=0))
    return whiten, add, solve * (whole / n) ** 3


def _end_seconds(look: _Look, row: float, n_test: int, jobs: int, ranks: int) -> dict[str, float]:
    """Seconds of the map and its error, or of the predictions of a process without map."""
    frames = max(1, round(len(look.sample) * look.atoms / sum(len(f.numbers) for f in look.sample)))
    if not all(term.has_map for term in look.timed[0]):
        return {"predictions of the process": look.atoms * row * (1.0 + n_test / frames) / jobs}
    slow = any(term.is_slow for term in look.timed[0])
    compared = min(look.atoms, MEASURED_ATOMS) if slow else look.atoms
    # The resolution is chosen, by one thread, on some frames and clusters.
    probes = min(PROBE_FRAMES, frames) * look.atoms / frames + CLUSTER_ATOMS * RANDOM_CLUSTERS
    made = look.rates.seconds(look.mapping)
    seconds = {"mapping, its error": row * (compared / jobs / ranks + probes) + made}
    if draws := look.settings.uncertainty.draws:
        drawn = min(PROBE_FRAMES, frames) * look.atoms / frames
        seconds["mapping draws"] = row * drawn / jobs + drawing_seconds(
            look.sized, draws, look.rates
        )
    return seconds


# ---- what is printed ---------------------------------------------------------------------------


def _memory(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def _time(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"


def _drawn(estimated: Estimate) -> str:
    """The number of draws, and their size."""
    if not estimated.draws:
        return "none"
    least, most = (_memory(size) for size in estimated.drawn_bytes)
    size = least if least == most else f"{least} to {most}"
    return f"{estimated.draws}, about {size} of its file"


def estimate_table(estimated: Estimate) -> Any:
    """The estimate as tables for rich's console."""
    from forcemap.fitter.report.terminal import rows_table
    from rich.console import Group

    each = " of each rank" if estimated.ranks > 1 else ""
    ranks = f", {estimated.ranks} ranks" if estimated.ranks > 1 else ""
    sizes = [
        ("training frames", f"{estimated.n_frames}, {estimated.n_atoms} atoms"),
        ("test frames", f"{estimated.n_test}"),
        (
            "rows",
            f"{estimated.n_rows}: {estimated.n_energies} energies, {estimated.n_forces} forces, "
            f"{estimated.n_stresses} stresses",
        ),
        ("columns", f"{estimated.n_columns} sparse points"),
    ]
    memory = [
        ("choosing sparse points", _memory(estimated.choosing_bytes)),
        ("Gram matrix", _memory(estimated.gram_bytes)),
        ("its sums and solution", _memory(estimated.sums_bytes)),
        ("block of rows", _memory(estimated.block_bytes)),
        ("all blocks at a time", _memory(estimated.blocks_bytes)),
        ("frames", _memory(estimated.frames_bytes)),
        ("making the map", _memory(estimated.map_bytes)),
        ("the program itself", "100 MiB"),
    ]
    uncertainty = [
        ("rows kept on disk during the fit", f"{_memory(estimated.kept_bytes)}{each}"),
        ("draws in the potential", _drawn(estimated)),
    ]
    if estimated.draws:
        steps = f"about {steps_of_draws(estimated.draws):.0f} steps, when asked for"
        uncertainty.append(("deviations in a run", steps))
    times = [(stage, f"about {_time(seconds)}") for stage, seconds in estimated.seconds.items()]
    times.append(("in all", f"about {_time(sum(estimated.seconds.values()))}"))
    notes = [f"Note: {sentence}." for sentence in estimated.extrapolated]
    return Group(
        rows_table(sizes, title="Sizes"),
        _terms_table(estimated),
        rows_table(memory, title=f"Memory{each}"),
        "",
        rows_table(uncertainty, title="Uncertainty"),
        "",
        rows_table(times, title=f"Time by {estimated.jobs} thread(s){ranks}"),
        *(["", *notes] if notes else []),
    )


def _terms_table(estimated: Estimate) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    about = "" if estimated.whole else "about "
    table = Table(box=SIMPLE_HEAD)
    for heading in ("term", "species"):
        table.add_column(heading)
    for heading in ("candidates", "sparse points"):
        table.add_column(heading, justify="right")
    for c in estimated.combinations:
        table.add_row(c.kind, named(c.species), f"{about}{c.candidates}", f"{about}{c.n_sparse}")
    return table
