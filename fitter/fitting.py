"""From frames and settings to a fitted process: ``fit(settings)``. Touches no files but the data's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.baseline.isolated_atoms import FreeAtoms
from forcemap.fitter.choice.learning import learned, learns
from forcemap.fitter.choice.optimise import (
    EVALUATIONS,
    freedom_of,
    optimise,
    wanted,
)
from forcemap.fitter.choice.trials import of_largest_evidence
from forcemap.fitter.config import STRESS_SIGMA, Settings
from forcemap.fitter.data.combinations import combination_lines
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.label_checks import label_counts
from forcemap.fitter.holes.filling import ROUNDS, Filling, Origin, filled, is_worth_filling
from forcemap.fitter.process.accumulate import accumulate
from forcemap.fitter.process.beyond import Imagined, imagined_labels
from forcemap.fitter.process.blocks import blocks_of, costs_of, places_of, rows_of
from forcemap.fitter.process.data_checks import warn_of_short_cutoffs
from forcemap.fitter.process.groups import check_groups
from forcemap.fitter.process.labelled import Labelled
from forcemap.fitter.process.model import Labels, Model
from forcemap.fitter.process.prior import (
    Prior,
    alternatives,
    dropped_points,
    nothing_to_fit,
    widest_cutoff,
)
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets, group_count
from forcemap.fitter.sharing.checkpoint import fit_key
from forcemap.fitter.sharing.ranks import share
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.blas import blas_threads, is_worth_threads
from forcemap.fitter.solve.evidence import Hyperparameters, maximise_evidence
from forcemap.fitter.solve.solver import Groups, Solution, Sums
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import columns, unwhitened
from forcemap.fitter.uncertainty.calibration import calibrated
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.fitter.uncertainty.leave_one_out import LeftOut, Posterior, leave_one_out
from forcemap.fitter.uncertainty.refinement import refined
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.progress import Progress
from threadpoolctl import threadpool_limits

__all__ = ["Fitted", "fit", "fit_frames", "fitted"]

NOISE_IS_GUESSED = (
    "the fit reproduces the labels almost exactly, which says little of its errors elsewhere: its "
    "standard deviations rest on the sigmas of the settings, until there are more frames, or others"
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
    progress = progress or Progress.silent()
    for line in [*label_counts(frames), *combination_lines(frames)]:
        progress.note(line)
    return fit_frames(settings, frames, jobs, progress)


def fit_frames(
    settings: Settings,
    frames: Sequence[Frame],
    jobs: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Fit the process to frames that are already read. See `fit`."""
    found = fitted(settings, frames, Run(jobs, progress or Progress.silent()))
    assert found is not None  # there is no other rank that could have it
    return found.model


@dataclass(frozen=True)
class Fitted:
    """A fit.

    Attributes:
        model: the process.
        settings: with every choice made that the ones given leave to the data.
        sigma_factors: of all sigmas that were given, by group of rows (the second: stresses).
        left_out: the training frames that have labels, each as if it had not been fitted; empty where
            there is only one, or none was left out.
    """

    model: Model
    left_out: Sequence[LeftOut]
    settings: Settings
    sigma_factors: Sequence[float]


def fitted(
    given: Settings, frames: Sequence[Frame], run: Run, leave_out: bool = True
) -> Fitted | None:
    """The fit by all ranks, each with all frames; its result on the first rank, None on others.

    With `leave_out`, every frame is left out in turn, and the deviations are calibrated by that.
    """
    check_groups(frames, given)
    if not any(f.energy is not None or f.forces is not None for f in frames):
        raise ForcemapError("the training frames hold neither energies nor forces")
    prepared = _prepared(given, frames, run)
    settings, survey, targets = prepared.settings, prepared.survey, prepared.targets
    # One thread of BLAS: its rounding decides between equals, on any machine alike.
    with (
        run.stage("choosing sparse points", len(settings.terms)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        mine = Prior.of(settings, survey, advance, run)
        prior = run.ranks.on_first(lambda: mine)
    for line in dropped_points(settings, prior.terms):
        run.note(line)
    if not any(term.size for term in prior.terms[: len(settings.terms)]):
        raise nothing_to_fit(settings, survey)
    warn_of_short_cutoffs(settings, frames)
    if run.checkpoint:
        labels = [array for t in targets for array in (t.rows, t.values, t.sigmas)]
        points = [block.points for _, block, _ in columns(prior.terms)]
        key = fit_key(settings.to_dict(), data_hash(frames), *points, *prior.factors, *labels)
        run.checkpoint.open(key)
        run.ranks.meet()  # before a file that another rank looks for is replaced
    several = leave_out and sum(len(target.rows) > 0 for target in targets) > 1
    scratch = _scratch(targets, prior, run) if several else KeptRows.none()
    with scratch as kept:
        solved = _by_all_ranks(prepared, prior, run, kept.keep)
        posterior = run.ranks.on_first(lambda: solved and solved.posterior) if several else None
        left_out: Sequence[LeftOut] = []
        if posterior:
            posterior = refined(targets, prior, posterior, kept, run)
            left_out = leave_one_out(targets, prior, posterior, kept, run)
    if solved is None:
        return None
    if posterior:
        solved = solved.of(posterior)
    summary = {} if prepared.optimised is None else {"optimised": prepared.optimised}
    data_block = {**solved.model.data, **summary}
    model = replace(solved.model, settings=given.to_dict(), data=data_block)
    if leave_out:
        with blas_threads(model.largest_block, run.jobs_while_others_wait):
            model = calibrated(model, left_out, run.note)
    factors = solved.posterior.sigma_factors * model.noise_factor
    return Fitted(model, left_out, settings, factors.tolist())


# ---- the stages ----------------------------------------------------------------------------------


def _chosen(given: Settings, survey: Survey, run: Run) -> Settings:
    """The settings with all that they leave open chosen by the evidence."""
    options = alternatives(given, survey)
    if len(options) == 1:
        return options[0]
    with run.stage("choosing scales", len(options)) as advance:
        return of_largest_evidence(options, survey.frames, advance, run)


class _Prepared(NamedTuple):
    """What a fit starts from.

    Attributes:
        settings: with every choice made.
        survey: of the frames.
        free: energies of isolated atoms.
        targets: labels of the frames.
        imagined: weak labels beyond the data, with sigmas in eV.
        optimised: account of chosen hyperparameters.
    """

    settings: Settings
    survey: Survey
    free: FreeAtoms
    targets: list[Targets]
    imagined: list[Targets]
    optimised: Mapping[str, Any] | None = None


def _prepared(given: Settings, frames: Sequence[Frame], run: Run) -> _Prepared:
    """The settings with every choice made, and the targets of all frames."""
    survey = Survey.of(frames, given)
    settings = _chosen(given, survey, run)
    data = _labelled(settings, survey, run)
    summary = None
    if any(wanted(settings)):
        with run.stage("optimising hyperparameters", EVALUATIONS) as advance:
            best = run.ranks.on_first(
                lambda: optimise(settings, data.survey, data.targets, run.jobs, advance)
            )
        if widest_cutoff(best.settings) != widest_cutoff(settings):
            data = _labelled(best.settings, data.survey, run)
        settings, summary = best.settings, best.summary
    return _Prepared(settings, *_taught(settings, data, run), summary)


def _taught(settings: Settings, data: Labelled, run: Run) -> Labelled:
    """The data with what terms learn from them."""
    if not (settings.learning_steps and learns(settings)):
        return data
    with run.stage("learning descriptors", settings.learning_steps) as advance:
        found = learned(settings, data.survey, data.targets, advance, run)
    if found is None:
        return data
    run.note(
        f"learned channels: the loss of a label in frames left out falls from {found.before:.3f} to "
        f"{found.after:.3f}"
    )
    return data._replace(survey=replace(data.survey, learned=found.outcomes))


def _labelled(settings: Settings, survey: Survey, run: Run) -> Labelled:
    with run.stage("short distances and core", len(survey.frames)) as advance:
        return Labelled.of(settings, survey, advance)


@dataclass(frozen=True)
class _Solved:
    model: Model
    posterior: Posterior
    factors: Sequence[Array]
    noise_is_guessed: bool

    def of(self, posterior: Posterior) -> _Solved:
        """The fit with the weights of a refined posterior."""
        model = self.model
        assert model.labels is not None
        weights = unwhitened(model.terms, self.factors, posterior.values.copy())
        labels = replace(model.labels, projected=_projected(posterior))
        return replace(
            self, model=replace(model, weights=weights, labels=labels), posterior=posterior
        )


def _scratch(targets: Sequence[Targets], prior: Prior, run: Run) -> KeptRows:
    """Room for the rows that this rank will compute."""
    blocks = blocks_of(targets)
    mine = share(costs_of(blocks, prior), run.ranks.rank, run.ranks.size)
    folder = run.scratch or (run.checkpoint.folder if run.checkpoint else None)
    widths = [len(places_of(block, prior)) for block in blocks]
    kept = KeptRows(folder, rows_of(blocks), widths, mine)
    if kept.room < kept.bytes:
        run.note(
            f"{kept.folder}: has room for {kept.room / 1e9:.1f} GB of the {kept.bytes / 1e9:.1f} GB of "
            "rows that leaving frames out needs again; the others are computed twice"
        )
    return kept


def _by_all_ranks(
    prepared: _Prepared, prior: Prior, run: Run, keep: Callable[[int, Array], None]
) -> _Solved | None:
    """The fit on the first rank, by the rows of all, which `keep` is called with; None on others."""
    targets, solved = prepared.targets, None
    threads = partial(blas_threads, prior.size, run.jobs_while_others_wait)
    with run.stage("fitting", -(-len(targets) // run.ranks.size)) as advance:
        groups = group_count(prepared.settings, prepared.survey.frames)
        data = accumulate(targets, prior, run, groups, advance, keep)
        if run.ranks.is_first:
            with threads():
                solved, sums, chosen = _from_sums(prepared, prior, data)
            if solved.noise_is_guessed:
                run.note(NOISE_IS_GUESSED)
        del data  # as large as what is needed from here on
    if not _fills_holes(prepared, prior):
        return solved
    with run.stage("filling holes", ROUNDS) as advance, threads():

        def on_first() -> Filling:
            assert solved is not None
            frames = prepared.survey.frames
            origin = Origin(frames, prepared.imagined, prior, sums, chosen)
            return filled(Filling(solved.model, solved.posterior), origin, run, advance)

        found = run.ranks.lead(on_first)
    if solved is None or found is None:
        return None
    return replace(solved, model=found.model, posterior=found.posterior)


def _fills_holes(prepared: _Prepared, prior: Prior) -> bool:
    """Whether holes are sought; all ranks know."""
    labels = sum(len(target.rows) for target in prepared.targets)
    return prepared.settings.fills_holes and is_worth_filling(
        prior.terms, prepared.survey.frames, labels
    )


def _from_sums(
    prepared: _Prepared, prior: Prior, data: Groups
) -> tuple[_Solved, Sums, Hyperparameters]:
    """Hyperparameters by evidence, then the posterior; `data` gives its memory away."""
    freedom = freedom_of(prepared.settings, prior.terms, prepared.survey.frames)
    sizes = [term.size for term in prior.terms]
    chosen = maximise_evidence(
        *(data, sizes, freedom.start, freedom.fixed, freedom.scale_is_free, freedom.repeats)
    )
    exactly = prepared.settings.fills_holes and is_worth_threads(prior.size)
    if exactly:
        # Which structures are holes depends on the last digits, which shall not depend on threads.
        chosen = chosen.rounded([*freedom.fixed])
    together = data.together(chosen.sigma_factors)
    data.members = ()  # as large as what is needed from here on
    held = _known_deltas(prior, chosen) if prepared.settings.is_flexible else chosen.deltas
    with threadpool_limits(limits=1 if exactly else None, user_api="blas"):
        # The evidence that compares terms knows the data alone.
        alone = together.solve(np.repeat(chosen.deltas, sizes))
        evidence = alone.log_marginal_likelihood(chosen.noise_factor)
        if not np.array_equal(held, chosen.deltas):
            del alone  # before there is another
            alone = together.solve(np.repeat(held, sizes))
        chosen = replace(chosen, deltas=held)
        model, posterior = _solved(prepared, prior, together, chosen, alone)
    del alone
    model = replace(model, log_marginal_likelihood=evidence)
    solved = _Solved(model, posterior, prior.factors, chosen.noise_is_guessed)
    return solved, together, chosen


def _known_deltas(prior: Prior, chosen: Hyperparameters) -> Array:
    """Deltas in the units of the given sigmas, none above what its term is known to."""
    most = np.array([term.known_to for term in prior.terms])
    return np.minimum(chosen.deltas, most / chosen.noise_factor)


def _projected(posterior: Posterior) -> Array:
    """(m,) targets projected on the factor, which the solution follows from."""
    return np.asarray(posterior.factor.T @ (posterior.values / posterior.deltas))


def _solved(
    prepared: _Prepared,
    prior: Prior,
    together: Sums,
    chosen: Hyperparameters,
    solution: Solution,
) -> tuple[Model, Posterior]:
    """The posterior; `solution` is that of the data alone."""
    survey, terms = prepared.survey, prior.terms
    deltas = np.repeat(chosen.deltas, [term.size for term in terms])
    n_rows = together.count
    beyond = Imagined.none(prior.size)
    if prepared.imagined:
        beyond = imagined_labels(prepared.imagined, prior, solution, chosen, n_rows)
        together.add_rows(beyond.rows, beyond.values, beyond.log_sigma)
        solution = together.solve(deltas)
    posterior = Posterior(
        *(solution.values, solution.factor, deltas, chosen.sigma_factors, chosen.noise_factor),
        imagined=(beyond.rows, beyond.values),
    )
    weights = unwhitened(terms, prior.factors, solution.values.copy())
    model = Model(
        species=survey.species,
        terms=tuple(
            t.with_delta(float(d * chosen.noise_factor))
            for t, d in zip(terms, chosen.deltas, strict=True)
        ),
        weights=weights,
        e0=prepared.free.energies,
        repulsion=survey.repulsion,
        posterior=solution.factor,
        noise_factor=chosen.noise_factor,
        log_marginal_likelihood=solution.log_marginal_likelihood(chosen.noise_factor),
        data=_account(prepared, chosen, beyond, n_rows),
        labels=Labels(
            projected=_projected(posterior),
            misfit=solution.misfit,
            log_sigma=together.log_sigma,
            count=together.count,
            factors=prior.factors,
            stress_factor=float(chosen.sigma_factors[-1]),
        ),
    )
    return model, posterior


def _account(
    prepared: _Prepared, chosen: Hyperparameters, beyond: Imagined, n_rows: int
) -> dict[str, Any]:
    """What a model says of the data and of what it knew besides; sigmas as they came out."""
    settings, frames, noise = prepared.settings, prepared.survey.frames, chosen.noise_factor
    return {
        "hash": data_hash(frames),
        "n_frames": len(frames),
        "n_atoms": int(sum(len(f.numbers) for f in frames)),
        "n_rows": n_rows,
        "isolated_atoms": list(prepared.free.origin),
        "imagined_sigmas": (beyond.sigmas * noise).tolist(),
        "rises": [rise.document(noise) for rise in beyond.rises],
        "terms": [term.to_dict() for term in settings.terms],
        "sigma": {
            "energy": settings.sigma.energy * noise,
            "force": settings.sigma.force * noise,
            "stress": (settings.sigma.stress or STRESS_SIGMA)
            * float(noise * chosen.sigma_factors[-1]),
        },
    }
