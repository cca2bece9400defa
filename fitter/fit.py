"""From frames and settings to a fitted process: ``fit(settings)``; with files: `fit_to_folder`."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from forcemap.potentials.errors import ForcemapError

from .baseline import core_evaluator, evaluate_frame
from .config import Settings, TermSettings
from .dataset import Frame, atomic_energies, data_hash, read_frames
from .model import CorePair, Model, core_pairs
from .process import Block, Term, columns, frame_rows
from .progress import Progress
from .solver import Accumulator, choose_deltas
from .sparse_points import candidates, independent, select, shortest_distances

__all__ = ["fit", "fit_frames", "fit_to_folder"]

Array = NDArray[np.float64]

ROWS_PER_BLOCK = 1024
"""Rows whitened and added to the Gram matrix at once: large enough for level-3 BLAS."""

LENGTHSCALES = {"two_body": (0.6, 0.9, 1.3), "three_body": (0.8, 1.2, 1.8, 2.7)}
"""Å, tried by evidence where none is given."""

LENGTHSCALE_ROWS = 6000
"""Rows of the frames (a seeded sample) by which lengthscales are chosen."""


@dataclass(frozen=True)
class Targets:
    """A frame's labels minus what the process does not learn, with the rows they belong to.

    Attributes:
        frame: the frame.
        rows: indices into the frame's rows.
        values: (rows,) eV, eV/Å, eV.
        sigmas: (rows,) in the same units.
    """

    frame: Frame
    rows: NDArray[np.intp]
    values: Array
    sigmas: Array


def frame_targets(
    frame: Frame, e0: Mapping[int, float], core: tuple[float, Array, Array] | None
) -> Targets:
    """Labels of a frame as rows, with isolated atoms and core subtracted.

    The energy's sigma is that of one atom times the square root of their number, as in gap_fit: the
    errors of local energies add up like those of independent numbers.
    """
    n = len(frame.numbers)
    core_energy, core_forces, core_strain = core or (0.0, np.zeros((n, 3)), np.zeros(6))
    rows, values, sigmas = [], [], []
    if frame.energy is not None:
        free = sum(e0[int(z)] for z in frame.numbers)
        rows.append(np.array([0]))
        values.append(np.array([frame.energy - free - core_energy]))
        sigmas.append(np.array([frame.sigma.energy * np.sqrt(n)]))
    if frame.forces is not None:
        rows.append(np.arange(1, 1 + 3 * n))
        values.append((frame.forces - core_forces).ravel())
        sigmas.append(np.full(3 * n, frame.sigma.force))
    if frame.stress is not None:
        volume = abs(np.linalg.det(frame.cell))
        stress = frame.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        rows.append(np.arange(1 + 3 * n, 7 + 3 * n))
        values.append(volume * stress - core_strain)
        sigmas.append(np.full(6, volume * frame.sigma.stress))
    if not rows:
        return Targets(frame, np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
    return Targets(frame, np.concatenate(rows), np.concatenate(values), np.concatenate(sigmas))


def _in_blocks(targets: Iterable[Targets]) -> Iterator[list[Targets]]:
    block: list[Targets] = []
    rows = 0
    for target in targets:
        if len(target.rows):
            block.append(target)
            rows += len(target.rows)
        if rows >= ROWS_PER_BLOCK:
            yield block
            block, rows = [], 0
    if block:
        yield block


def _whitened_rows(
    block: Sequence[Targets], terms: Sequence[Term], factors: Sequence[Array]
) -> tuple[Array, Array, float]:
    """Scaled and whitened rows (n, m), scaled targets (n,), sum of log sigma."""
    rows = np.concatenate(
        [frame_rows(t.frame, terms)[t.rows] / t.sigmas[:, None] for t in block]
    )
    for (_, _, where), factor in zip(columns(terms), factors, strict=True):
        rows[:, where] = scipy.linalg.solve_triangular(
            factor, rows[:, where].T, lower=True, check_finite=False
        ).T
    values = np.concatenate([t.values / t.sigmas for t in block])
    log_sigma = float(sum(np.sum(np.log(t.sigmas)) for t in block))
    return rows, values, log_sigma


def in_order(
    function: Callable[[Any], Any], items: Iterable[Any], jobs: int
) -> Iterator[Any]:
    """Results of `function` over `items` in their order, `jobs` at a time, few held at once."""
    if jobs <= 1:
        for item in items:
            yield function(item)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting: list[Future[Any]] = []
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * jobs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def accumulate(
    targets: Sequence[Targets],
    terms: Sequence[Term],
    factors: Sequence[Array],
    jobs: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Accumulator:
    """Stream all frames' rows into an accumulator; the result does not depend on `jobs`."""
    data = Accumulator(sum(term.size for term in terms))
    # Every worker calls BLAS on its own block; nested threads would only get into each other's way.
    with threadpool_limits(limits=1 if jobs > 1 else None, user_api="blas"):
        blocks = list(_in_blocks(targets))
        results = in_order(lambda b: _whitened_rows(b, terms, factors), blocks, jobs)
        for block, (rows, values, log_sigma) in zip(blocks, results, strict=True):
            data.add(rows, values, log_sigma)
            advance(len(block))
    return data


# ---- terms -------------------------------------------------------------------------------------


def _open_term(settings: TermSettings, lengthscale: float) -> Term:
    width = settings.cutoff_width
    if width is None:
        width = DEFAULT_WIDTH[settings.kind](settings.cutoff)
    return Term(
        kind=settings.kind,
        cutoff=settings.cutoff,
        cutoff_width=min(width, settings.cutoff),
        kernel=settings.kernel,
        lengthscale=lengthscale,
        delta=settings.delta or 1.0,
        symmetry=getattr(settings, "symmetry", "central"),
    )


DEFAULT_WIDTH: dict[str, Callable[[float], float]] = {
    "two_body": lambda cutoff: min(1.0, 0.5 * cutoff),
    "three_body": lambda cutoff: min(0.8, 0.5 * cutoff),
}
"""Width of the smooth cutoff where none is given, Å."""

ONE_BODY_DELTA = 10.0
"""eV; so wide that the data alone decide the constants."""

DEFAULT_METHOD = {"two_body": "uniform", "three_body": "pivoted_cholesky"}


class TermBuilder:
    """Builds terms with sparse points for given lengthscales from one sample of the data."""

    def __init__(
        self, settings: Settings, frames: Sequence[Frame], species: tuple[int, ...]
    ) -> None:
        self.settings = settings
        self.species = species
        self.pools = [
            candidates(frames, _open_term(t, 1.0), species, np.random.default_rng(settings.seed))
            for t in settings.terms
        ]

    def build(self, index: int, lengthscale: float) -> tuple[Term, list[Array]]:
        """Term number `index` with its sparse points and their Cholesky factors."""
        given = self.settings.terms[index]
        term = _open_term(given, lengthscale)
        method = given.sparse_method or DEFAULT_METHOD[given.kind]
        rng = np.random.default_rng(self.settings.seed)
        blocks: list[Block] = []
        factors: list[Array] = []
        for combination, pool in self.pools[index].items():
            points = select(term, pool, combination, given.n_sparse, method, rng)
            block, factor = independent(term, points, combination)
            blocks.append(block)
            factors.append(factor)
        return term.with_blocks(blocks), factors

    def join(
        self, built: Sequence[tuple[Term, list[Array]]]
    ) -> tuple[list[Term], list[Array]]:
        """All terms of the process, and the Cholesky factors of all their blocks.

        With ``e0: average`` a constant of each species is fitted together with the terms: the mean
        energy of the data is not the energy from which sums of few-body functions count.
        """
        terms = [term for term, _ in built]
        factors = [f for _, fs in built for f in fs]
        if self.settings.e0 == "average":
            constants = Term.one_body(self.species, ONE_BODY_DELTA)
            terms.append(constants)
            factors.extend(np.eye(1) for _ in constants.blocks)
        return terms, factors


def _groups(terms: Sequence[Term]) -> list[slice]:
    edges = np.cumsum([0, *(term.size for term in terms)])
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _evidence(data: Accumulator, terms: Sequence[Term], settings: Settings) -> float:
    deltas, factor = _deltas(data, terms, settings)
    return data.solve(_column_deltas(terms, deltas)).log_marginal_likelihood(factor)


def _deltas(
    data: Accumulator, terms: Sequence[Term], settings: Settings
) -> tuple[Array, float]:
    """Deltas of all terms; where the user gave one, the sigmas too are meant as they stand."""
    given = [t.delta for t in settings.terms]
    fixed = [d is not None for d in given]
    starts = [d or 1.0 for d in given]
    for term in terms[len(given) :]:
        fixed.append(True)
        starts.append(term.delta)
    return choose_deltas(data, _groups(terms), starts, fixed, not any(fixed[: len(given)]))


def _column_deltas(terms: Sequence[Term], deltas: Sequence[float] | Array) -> Array:
    return np.concatenate(
        [np.full(term.size, delta) for term, delta in zip(terms, deltas, strict=True)]
    )


def choose_lengthscales(
    builder: TermBuilder,
    targets: Sequence[Targets],
    settings: Settings,
    jobs: int,
    progress: Progress,
) -> list[float]:
    """Lengthscales of largest evidence on a sample of the frames, one term after the other."""
    chosen = [
        t.lengthscale or LENGTHSCALES[t.kind][len(LENGTHSCALES[t.kind]) // 2 - 1]
        for t in settings.terms
    ]
    free = [n for n, t in enumerate(settings.terms) if t.lengthscale is None]
    if not free or not targets:
        return chosen
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(targets))
    sample: list[Targets] = []
    rows = 0
    for n in order:
        sample.append(targets[n])
        rows += len(targets[n].rows)
        if rows >= LENGTHSCALE_ROWS:
            break
    total = sum(len(LENGTHSCALES[settings.terms[n].kind]) for n in free)
    with progress.stage("choosing lengthscales by evidence", total) as advance:
        built = [builder.build(n, s) for n, s in enumerate(chosen)]
        # The term of highest order decides most: it goes first.
        for n in sorted(free, key=lambda n: -len(LENGTHSCALES[settings.terms[n].kind])):
            best = -np.inf
            best_scale, best_built = chosen[n], built[n]
            for scale in LENGTHSCALES[settings.terms[n].kind]:
                built[n] = builder.build(n, scale)
                terms, factors = builder.join(built)
                evidence = _evidence(accumulate(sample, terms, factors, jobs), terms, settings)
                if evidence > best:
                    best, best_scale, best_built = evidence, scale, built[n]
                advance()
            chosen[n], built[n] = best_scale, best_built
    return chosen


# ---- the fit -----------------------------------------------------------------------------------


def fit_frames(
    settings: Settings,
    frames: Sequence[Frame],
    jobs: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Fit the process to frames that are already read. See `fit`."""
    progress = progress or Progress.silent()
    if not any(f.energy is not None or f.forces is not None for f in frames):
        raise ForcemapError("the training frames hold neither energies nor forces")
    species = tuple(sorted({int(z) for f in frames for z in f.numbers}))
    widest = max(t.cutoff for t in settings.terms)
    core: dict[tuple[int, int], CorePair] = {}
    with progress.stage("short distances and core", len(frames)) as advance:
        if settings.core == "zbl":
            core = core_pairs(species, shortest_distances(frames, widest))
        evaluator = core_evaluator(species, core)
        baselines = []
        for frame in frames:
            baselines.append(evaluate_frame(evaluator, frame))
            advance()
    e0 = atomic_energies(frames, settings.e0, baseline=[b[0] for b in baselines])
    targets = [frame_targets(f, e0, b) for f, b in zip(frames, baselines, strict=True)]

    builder = TermBuilder(settings, frames, species)
    lengthscales = choose_lengthscales(builder, targets, settings, jobs, progress)
    built = [builder.build(n, s) for n, s in enumerate(lengthscales)]
    terms, factors = builder.join(built)
    if not any(term.size for term, _ in built):
        raise ForcemapError(
            "no two atoms of the training frames are within the terms' cutoffs: there is nothing to fit"
        )
    with progress.stage("fitting", len(targets)) as advance:
        data = accumulate(targets, terms, factors, jobs, advance)
        deltas, noise_factor = _deltas(data, terms, settings)
        column_deltas = _column_deltas(terms, deltas)
        solution = data.solve(column_deltas)
    weights = solution.values.copy()
    for (_, _, where), factor in zip(columns(terms), factors, strict=True):
        weights[where] = scipy.linalg.solve_triangular(factor.T, weights[where], lower=False)
    return Model(
        species=species,
        terms=tuple(
            replace(t, delta=float(d * noise_factor)) for t, d in zip(terms, deltas, strict=True)
        ),
        weights=weights,
        e0=e0,
        core=core,
        posterior=solution.factor,
        noise_factor=noise_factor,
        log_marginal_likelihood=solution.log_marginal_likelihood(noise_factor),
        settings=settings.to_dict(),
        data={
            "hash": data_hash(frames),
            "n_frames": len(frames),
            "n_atoms": int(sum(len(f.numbers) for f in frames)),
            "n_rows": data.count,
        },
    )


def fit(
    settings: Settings | Mapping[str, Any] | str | os.PathLike[str],
    jobs: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Fit a process to the training frames that the settings name; touches no files but theirs.

    Args:
        settings: a Settings, a dictionary of the same form, or the path of a YAML file.
        jobs: threads.
        progress: where to show progress; silent by default.

    Raises:
        ForcemapError: settings or frames cannot be used; the text says why and what to do.
    """
    if isinstance(settings, Mapping):
        settings = Settings.from_dict(dict(settings), base_dir=Path())
    elif not isinstance(settings, Settings):
        settings = Settings.read(Path(settings))
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    return fit_frames(settings, frames, jobs, progress)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def fit_to_folder(settings: Settings, out: Path, jobs: int, progress: Progress) -> dict[str, Any]:
    """Fit, map, judge, and write everything into the folder `out`; returns the report.

    Files: model.forcemap, potential.forcemap, settings.yaml (expanded), report.json, report.html.
    """
    from .mapping import map_model, mapped_curves
    from .model import write_model
    from .report import write_report

    start = time.perf_counter()
    with progress.stage("reading frames", 1) as advance:
        train = read_frames(settings.data.train, settings.data.keys, settings.sigma)
        test = (
            read_frames(settings.data.test, settings.data.keys, settings.sigma)
            if settings.data.test
            else []
        )
        advance()
    model = fit_frames(settings, train, jobs, progress)
    fitted = time.perf_counter()
    mapped = map_model(model, train, settings.map.tolerance, jobs, progress)
    out.mkdir(parents=True, exist_ok=True)
    write_model(model, out / "model.forcemap")
    mapped.write(out / "potential.forcemap")
    settings.dump(out / "settings.yaml")
    evaluator = mapped.potential.evaluator(skin=0.0, threads=jobs)
    with progress.stage("evaluating the mapped potential", len(train) + len(test)) as advance:
        judged = []
        for frames in (train, test):
            predictions = []
            for frame in frames:
                predictions.append((frame, predict(evaluator, frame)))
                advance()
            judged.append(predictions)
    end = time.perf_counter()
    fit_block = {
        "seconds": end - start,
        "fit_seconds": fitted - start,
        "map_seconds": mapped.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "n_frames": len(train),
        "n_atoms": model.data["n_atoms"],
        "n_sparse": int(len(model.weights)),
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "noise_factor": model.noise_factor,
        "terms": [
            {
                "kind": t.kind,
                "cutoff": t.cutoff,
                "cutoff_width": t.cutoff_width,
                "lengthscale": t.lengthscale,
                "delta": t.delta,
                "n_sparse": t.size,
            }
            for t in model.terms
        ],
    }
    return write_report(
        out,
        train=judged[0],
        test=judged[1],
        mapping=mapped.errors,
        fit=fit_block,
        settings=settings.to_dict(),
        curves=mapped_curves(mapped),
    )


def predict(evaluator: Any, frame: Frame) -> tuple[float, Array, Array | None]:
    """Energy (eV), forces (eV/Å) and stress ((3, 3) eV/Å³; None unless periodic) of a frame."""
    result = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    if not np.all(frame.pbc):
        return result.energy, result.forces, None
    return result.energy, result.forces, -result.virial / abs(np.linalg.det(frame.cell))
