"""From frames and settings to a fitted process: ``fit(settings)``; with files: `fit_to_folder`."""

from __future__ import annotations

import os
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.atomic_energies import atomic_energies
from forcemap.fitter.baseline import CoreEnergy
from forcemap.fitter.building import build_terms, dropped_points, nothing_to_fit, widest_cutoff
from forcemap.fitter.checkpoint import Checkpoint, fit_key
from forcemap.fitter.config import STRESS_SIGMA, Settings, SoapSettings
from forcemap.fitter.data_checks import warn_of_shared_frames, warn_of_short_cutoffs
from forcemap.fitter.dataset import check_groups, read_frames
from forcemap.fitter.distributed import ALONE, Ranks, share
from forcemap.fitter.error_metrics import SIX, Prediction, compare
from forcemap.fitter.frame import Frame, data_hash, sample_of
from forcemap.fitter.label_checks import label_counts, stress_slope_doubt
from forcemap.fitter.model import Model
from forcemap.fitter.parallel import in_order
from forcemap.fitter.process import Term, columns, frame_rows
from forcemap.fitter.run_cost import microseconds_per_atom
from forcemap.fitter.scales import choices
from forcemap.fitter.short_range import CorePair, core_pairs
from forcemap.fitter.sizes import SizePoint
from forcemap.fitter.solver import Groups, Hyperparameters, maximise_evidence
from forcemap.fitter.sparse_points import shortest_distances
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.progress import Progress
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["fit", "fit_frames", "fit_to_folder"]

Array = NDArray[np.float64]

ROWS_PER_BLOCK = 1024
"""Rows whitened and added to the Gram matrix at once: large enough for level-3 BLAS."""


TRIAL_ATOMS, TRIAL_FRAMES, TRIAL_POINTS = 1000, 10, 100
"""Size of the fits by whose evidence scales are chosen: half a second each for one species. With 2,500
atoms and twice the points, Si, Mo, Ni and water choose alike."""

NOISE_IS_GUESSED = (
    "the fit reproduces the labels almost exactly, which says little of its errors elsewhere: its "
    "standard deviations rest on the sigmas of the settings, until there are more frames, or others"
)


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

    @property
    def of_stress(self) -> NDArray[np.bool_]:
        """(rows,) which of the rows are of the stress."""
        return self.rows > 3 * len(self.frame.numbers)

    @property
    def has_derivatives(self) -> bool:
        """Whether forces or a stress are among the labels."""
        return bool(np.any(self.rows))


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
        labelled = frame.labelled
        rows.append(np.arange(1, 1 + 3 * n).reshape(n, 3)[labelled].ravel())
        values.append((frame.forces - core_forces)[labelled].ravel())
        sigmas.append(np.broadcast_to(frame.sigma.force, (n, 3))[labelled].ravel())
    if frame.stress is not None:
        volume = abs(np.linalg.det(frame.cell))
        stress = frame.stress[SIX]
        rows.append(np.arange(1 + 3 * n, 7 + 3 * n))
        values.append(volume * stress - core_strain)
        sigmas.append(volume * np.broadcast_to(frame.sigma.stress, (3, 3))[SIX])
    if not rows:
        return Targets(frame, np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
    return Targets(frame, np.concatenate(rows), np.concatenate(values), np.concatenate(sigmas))


def group_count(settings: Settings, frames: Iterable[Frame]) -> int:
    """Groups of rows with sigmas of their own: two where that of the stresses is to be found."""
    return 1 + (settings.sigma.stress is None and any(f.stress is not None for f in frames))


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
    block: Sequence[Targets], terms: Sequence[Term], factors: Sequence[Array], groups: int
) -> list[tuple[Array, Array, float]]:
    """Scaled and whitened rows (n, m), scaled targets (n,), sum of log sigma; for each group.

    Of two groups the second has the stresses.
    """
    rows = np.concatenate(
        [frame_rows(t.frame, terms, t.has_derivatives)[t.rows] / t.sigmas[:, None] for t in block]
    )
    for (_, _, where), factor in zip(columns(terms), factors, strict=True):
        rows[:, where] = scipy.linalg.solve_triangular(
            factor, rows[:, where].T, lower=True, check_finite=False
        ).T
    values = np.concatenate([t.values / t.sigmas for t in block])
    logs = np.log(np.concatenate([t.sigmas for t in block]))
    if groups == 1:
        return [(rows, values, float(np.sum(logs)))]
    second = np.concatenate([t.of_stress for t in block])
    return [(rows[which], values[which], float(np.sum(logs[which]))) for which in (~second, second)]


def accumulate(
    targets: Sequence[Targets],
    terms: Sequence[Term],
    factors: Sequence[Array],
    jobs: int,
    advance: Callable[[int], None] = lambda n: None,
    ranks: Ranks = ALONE,
    checkpoint: Checkpoint | None = None,
    groups: int = 1,
) -> Groups:
    """Stream all frames' rows into sums; the result does not depend on `jobs`.

    Of two `groups`, the second has the stresses. Of several `ranks`, each streams its share of the
    blocks, and the first has the sum. With a `checkpoint`, blocks that are in it are not computed
    again, and it is written from time to time.
    """
    data = Groups(sum(term.size for term in terms), groups)
    blocks = list(_in_blocks(targets))
    costs = [sum(len(target.rows) for target in block) for block in blocks]
    blocks = [blocks[number] for number in share(costs, ranks.rank, ranks.size)]
    done = checkpoint.restore(data, len(blocks)) if checkpoint else 0
    advance(sum(len(block) for block in blocks[:done]))
    # Every worker calls BLAS on its own block; nested threads would only get into each other's way,
    # and round differently.
    with threadpool_limits(limits=1, user_api="blas"):
        results = in_order(lambda b: _whitened_rows(b, terms, factors, groups), blocks[done:], jobs)
        for number, rows in enumerate(results, start=done):
            data.add(rows)
            if checkpoint:
                checkpoint.block_added(data, number + 1)
            advance(len(blocks[number]))
            ranks.look()
    ranks.add_up(data)
    return data


def _hyperparameters(
    data: Groups, terms: Sequence[Term], settings: Settings, frames: Sequence[Frame]
) -> Hyperparameters:
    """By evidence; where the user gave a delta, the sigmas too are meant as they stand."""
    given = [t.delta for t in settings.terms]
    fixed = [d is not None for d in given]
    starts = [d or 1.0 for d in given]
    for term in terms[len(given) :]:
        fixed.append(True)
        starts.append(term.delta)
    scale_is_free = not any(fixed[: len(given)])
    distinct = {data_hash([frame]) for frame in frames}
    repeats = max(1, round(len(frames) / max(len(distinct), 1)))
    sizes = [t.size for t in terms]
    return maximise_evidence(data, sizes, starts, fixed, scale_is_free, repeats)


# ---- the fit -----------------------------------------------------------------------------------


def fit_frames(
    settings: Settings,
    frames: Sequence[Frame],
    jobs: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Fit the process to frames that are already read. See `fit`."""
    model = _fit_shared(settings, frames, jobs, progress or Progress.silent())
    assert model is not None  # there is no other rank that could have it
    return model


def of_largest_evidence(
    options: Sequence[Settings],
    frames: Sequence[Frame],
    advance: Callable[[], Any] = lambda: None,
) -> Settings:
    """The settings that explain the frames best, of alternatives for the scales of soap terms.

    By small fits, to a few frames with few sparse points: they tell apart what differs much.
    """
    if len(options) == 1:
        return options[0]
    labelled = [f for f in frames if f.energy is not None or f.forces is not None]
    sample = sample_of(labelled, TRIAL_ATOMS, TRIAL_FRAMES)

    found = []
    for option in options:
        found.append(trial_evidence(option, sample))
        advance()
    return options[int(np.argmax(found))]


def trial_evidence(option: Settings, sample: Sequence[Frame]) -> float:
    """Logarithm of the evidence of a fit to the frames `sample` with few sparse points."""
    terms = [
        replace(term, n_sparse=TRIAL_POINTS, config_type_n_sparse={})
        if isinstance(term, SoapSettings)
        else term
        for term in option.terms
    ]
    # There may be no isolated atom in the sample.
    e0 = "average" if option.e0 == "isolated" else option.e0
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore")  # what the sample lacks the frames may have
        return fit_frames(
            replace(option, terms=tuple(terms), e0=e0), sample
        ).log_marginal_likelihood


def _fit_shared(
    settings: Settings,
    frames: Sequence[Frame],
    jobs: int,
    progress: Progress,
    ranks: Ranks = ALONE,
    checkpoint: Checkpoint | None = None,
) -> Model | None:
    """The fit by all `ranks`, each with all frames; the model on the first rank, None on others."""
    check_groups(frames, settings)
    if not any(f.energy is not None or f.forces is not None for f in frames):
        raise ForcemapError("the training frames hold neither energies nor forces")
    given = settings
    options = choices(settings, frames)
    settings = options[0]
    if len(options) > 1:
        with progress.stage("choosing scales", len(options)) as advance:
            settings = ranks.on_first(lambda: of_largest_evidence(options, frames, advance))
    species = tuple(sorted({int(z) for f in frames for z in f.numbers}))
    widest = widest_cutoff(settings)
    core: dict[tuple[int, int], CorePair] = {}
    with progress.stage("short distances and core", len(frames)) as advance:
        if settings.core == "zbl":
            core = core_pairs(species, shortest_distances(frames, widest))
        core_energy = CoreEnergy(species, core)
        baselines = []
        for frame in frames:
            baselines.append(core_energy.of(frame))
            advance()
    e0 = atomic_energies(frames, settings.e0, baseline=[b[0] for b in baselines])
    targets = [frame_targets(f, e0, b) for f, b in zip(frames, baselines, strict=True)]

    # One thread of BLAS: its rounding decides between equals, on any machine alike.
    with (
        progress.stage("choosing sparse points", len(settings.terms)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        terms, factors = ranks.on_first(
            lambda: build_terms(settings, frames, species, core, advance)
        )
    for line in dropped_points(settings, terms):
        progress.note(line)
    if not any(term.size for term in terms[: len(settings.terms)]):
        raise nothing_to_fit(settings, frames)
    warn_of_short_cutoffs(settings, frames)
    if checkpoint:
        labels = [array for t in targets for array in (t.rows, t.values, t.sigmas)]
        points = [block.points for _, block, _ in columns(terms)]
        checkpoint.open(fit_key(settings.to_dict(), data_hash(frames), *points, *factors, *labels))
        ranks.meet()  # before a file that another rank looks for is replaced
    with progress.stage("fitting", -(-len(targets) // ranks.size)) as advance:
        groups = group_count(settings, frames)
        data = accumulate(targets, terms, factors, jobs, advance, ranks, checkpoint, groups)
        if not ranks.is_first:
            return None
        chosen = _hyperparameters(data, terms, settings, frames)
        if chosen.noise_is_guessed:
            progress.note(NOISE_IS_GUESSED)
        together = data.together(chosen.sigma_factors)
        del data  # as large as what is needed from here on
        solution = together.solve(np.repeat(chosen.deltas, [term.size for term in terms]))
    weights = solution.values.copy()
    for (_, _, where), factor in zip(columns(terms), factors, strict=True):
        weights[where] = scipy.linalg.solve_triangular(factor.T, weights[where], lower=False)
    return Model(
        species=species,
        terms=tuple(
            t.with_delta(float(d * chosen.noise_factor))
            for t, d in zip(terms, chosen.deltas, strict=True)
        ),
        weights=weights,
        e0=e0,
        core=core,
        posterior=solution.factor,
        noise_factor=chosen.noise_factor,
        log_marginal_likelihood=solution.log_marginal_likelihood(chosen.noise_factor),
        settings=given.to_dict(),
        data={
            "hash": data_hash(frames),
            "n_frames": len(frames),
            "n_atoms": int(sum(len(f.numbers) for f in frames)),
            "n_rows": together.count,
            "sigma": {
                "energy": settings.sigma.energy * chosen.noise_factor,
                "force": settings.sigma.force * chosen.noise_factor,
                "stress": (settings.sigma.stress or STRESS_SIGMA)
                * float(chosen.noise_factor * chosen.sigma_factors[-1]),
            },
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
    if progress:
        for line in label_counts(frames):
            progress.note(line)
    return fit_frames(settings, frames, jobs, progress)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _shared_truths(
    model: Model | None, frames: Sequence[Frame], jobs: int, ranks: Ranks
) -> Iterable[Prediction]:
    """What the process of the first rank says of the frames its map is judged by, by all ranks."""
    from forcemap.fitter.mapping import measured_frames, truth_in_thread

    def process() -> Model:
        assert model is not None  # this is the first rank
        return replace(model, posterior=np.zeros((0, 0)))  # large, and of no use to the mean

    known = ranks.on_first(process)
    measured = measured_frames(known, frames)
    costs = [len(frame.numbers) for frame in measured]
    return ranks.map_in_order(truth_in_thread(known), measured, costs, jobs)


def fit_to_folder(
    settings: Settings,
    out: Path,
    jobs: int,
    progress: Progress,
    ranks: Ranks = ALONE,
    checkpoint: Checkpoint | None = None,
    size: str | None = None,
    smaller: Sequence[SizePoint] = (),
) -> dict[str, Any]:
    """Fit, map, judge, and write everything into the folder `out`, together; returns the report.

    Files: model.forcemap, potential.forcemap, settings.yaml (expanded), report.json, report.html. Of
    several `ranks`, the first maps, judges and writes; the report of the others is empty. The files of
    `checkpoint` are removed in the end. `size` names what is fitted, `smaller` the sizes before it, for
    the report's curve.
    A model with a term that has no map gives no potential.forcemap and is judged by itself; a
    potential.forcemap that is left from an earlier fit is removed.

    Raises:
        ForcemapError: settings, frames or the folder cannot be used, or another fit is still going on
            in it; the text says why and what to do.
    """
    from forcemap.fitter.fit_folder import fit_folder

    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(fit_folder(out))

        ranks.on_first(hold)
        return _fit_into(settings, out, jobs, progress, ranks, checkpoint, size, smaller)


def _fit_into(
    settings: Settings,
    out: Path,
    jobs: int,
    progress: Progress,
    ranks: Ranks,
    checkpoint: Checkpoint | None,
    size: str | None,
    smaller: Sequence[SizePoint],
) -> dict[str, Any]:
    """`fit_to_folder` in a folder that is there and held."""
    from forcemap.fitter.fit_folder import put_together
    from forcemap.fitter.label_misfit import misfit_warnings
    from forcemap.fitter.mapping import map_model, mapped_curves, truth_in_thread
    from forcemap.fitter.model import write_model
    from forcemap.fitter.report import write_report

    start = time.perf_counter()
    with progress.stage("reading frames", 1) as advance:
        train = read_frames(settings.data.train, settings.data.keys, settings.sigma)
        test = (
            read_frames(settings.data.test, settings.data.keys, settings.sigma)
            if settings.data.test
            else []
        )
        warn_of_shared_frames(train, test)
        advance()
    counts = {"train": label_counts(train), "test": label_counts(test)}
    if ranks.is_first:
        for line in [*counts["train"], *counts["test"]]:
            progress.note(line)
    model = _fit_shared(settings, train, jobs, progress, ranks, checkpoint)
    fitted = time.perf_counter()
    has_map = ranks.on_first(lambda: model is not None and not model.unmapped)
    truths = None
    if has_map and ranks.size > 1:
        with progress.stage("predictions of the process"):
            truths = _shared_truths(model, train, jobs, ranks)
    if model is None:
        return {}
    key = fit_key(settings.to_dict(), data_hash(train) + data_hash(test), model.weights)
    model = replace(model, identity=key)
    mapped = None
    if has_map:
        mapped = map_model(
            model, train, settings.map.tolerance, jobs, progress, settings.map.soap, truths
        )
    judged_one: Callable[[Frame], Any]
    if mapped is not None:
        judged_one = partial(predict, mapped.potential.evaluator(skin=0.0, threads=jobs))
    else:
        judged_one = truth_in_thread(model)
    errors_of = "process" if mapped is None else "mapped potential"
    with progress.stage(f"evaluating the {errors_of}", len(train) + len(test)) as advance:
        judged = []
        for frames in (train, test):
            predictions = []
            # The evaluator has threads of its own.
            found = in_order(judged_one, frames, jobs if mapped is None else 1)
            for frame, prediction in zip(frames, found, strict=True):
                predictions.append((frame, prediction))
                advance()
            judged.append(predictions)
    found_warnings = misfit_warnings(model, settings, judged[0])
    found_warnings += filter(None, [stress_slope_doubt(compare(judged[0]))])
    for text in found_warnings:
        warnings.warn(text, stacklevel=2)
    end = time.perf_counter()
    fit_block = {
        "labels": counts,
        "seconds": end - start,
        "fit_seconds": fitted - start,
        "map_seconds": None if mapped is None else mapped.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "mpi_ranks": ranks.size,
        "run_microseconds_per_atom": None
        if mapped is None
        else microseconds_per_atom(mapped.potential, train),
        "n_frames": len(train),
        "n_atoms": model.data["n_atoms"],
        "n_rows": model.data["n_rows"],
        "n_sparse": len(model.weights),
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "noise_factor": model.noise_factor,
        "sigma": model.data["sigma"],
        "terms": [
            {"kind": t.kind, "cutoff": t.cutoff, "delta": t.delta, "n_sparse": t.size} | t.summary()
            for t in model.terms
        ],
    }
    with put_together(out) as part:
        write_model(model, part / "model.forcemap")
        if mapped is not None:
            mapped.write(part / "potential.forcemap")
        settings.dump(part / "settings.yaml", out, model.identity)
        report = write_report(
            part,
            train=judged[0],
            test=judged[1],
            mapping={} if mapped is None else mapped.errors,
            fit=fit_block,
            settings=settings.to_dict(),
            curves={} if mapped is None else mapped_curves(mapped),
            errors_of=errors_of,
            size=size,
            smaller=smaller,
            fit_id=model.identity,
            found_warnings=found_warnings,
        )
    if checkpoint:
        checkpoint.remove()
    return report


def predict(evaluator: Any, frame: Frame) -> tuple[float, Array, Array | None]:
    """Energy (eV), forces (eV/Å) and stress ((3, 3) eV/Å³; None unless periodic) of a frame."""
    result = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    if not np.all(frame.pbc):
        return result.energy, result.forces, None
    return result.energy, result.forces, -result.virial / abs(np.linalg.det(frame.cell))
