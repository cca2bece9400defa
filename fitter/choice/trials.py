"""Trials: which of alternative settings explains a few frames best.

Alternatives have terms in common. Every term is opened once, its rows are computed once, and the sums
of each alternative are a part of the sums of all terms together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from forcemap.fitter.choice.optimise import freedom_of, without_optimise
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.process.accumulate import accumulate
from forcemap.fitter.process.labelled import Labelled
from forcemap.fitter.process.prior import Prior, nothing_to_fit, widest_cutoff
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import group_count
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.evidence import maximise_evidence
from forcemap.fitter.solve.solver import Groups
from forcemap.fitter.terms.base import Term, TermSettings
from forcemap.fitter.terms.rows import term_columns
from forcemap.potentials.runs.progress import Progress
from threadpoolctl import threadpool_limits

__all__ = ["TRIAL_ATOMS", "TRIAL_POINTS", "evidences", "of_largest_evidence", "trial_of"]

TRIAL_ATOMS, TRIAL_FRAMES, TRIAL_POINTS = 1000, 10, 100
"""Size of the trials: half a second each for one species. With 2,500 atoms and twice the points, Si,
Mo, Ni and water choose alike."""


def of_largest_evidence(
    options: Sequence[Settings],
    frames: Sequence[Frame],
    advance: Callable[[], Any] = lambda: None,
    run: Run | None = None,
) -> Settings:
    """The settings that explain the frames best, of alternatives that differ in their terms.

    By small fits, to a few frames with few sparse points: they distinguish what differs much. All ranks
    of `run` call this together; threads and ranks share the rows.
    """
    if len(options) == 1:
        return options[0]
    run = replace(run or Run(), progress=Progress.silent(), checkpoint=None)
    labelled = [f for f in frames if f.energy is not None or f.forces is not None]
    sample = sample_of(labelled, TRIAL_ATOMS, TRIAL_FRAMES)
    trials = [trial_of(option) for option in options]
    found = np.full(len(options), -np.inf)
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore")  # what the sample lacks the frames may have
        # The core ends where the data end within the widest cutoff: those that share it are compared.
        for reach in dict.fromkeys(widest_cutoff(trial) for trial in trials):
            alike = [n for n, trial in enumerate(trials) if widest_cutoff(trial) == reach]
            found[alike] = evidences([trials[n] for n in alike], sample, advance, run)
    return options[int(np.argmax(found))]


def trial_of(option: Settings) -> Settings:
    """An alternative with few sparse points, and nothing to optimise."""
    terms = tuple(term.for_trial(TRIAL_POINTS) for term in option.terms)
    # There may be no isolated atom in the sample.
    e0 = "average" if option.e0 in ("cohesive", "isolated") else option.e0
    return without_optimise(replace(option, terms=terms, e0=e0, outside="free"))


def evidences(
    trials: Sequence[Settings], sample: Sequence[Frame], advance: Callable[[], Any], run: Run
) -> list[float]:
    """The logarithm of the largest evidence of each, on all ranks."""
    every: list[TermSettings] = []
    for trial in trials:
        every += [term for term in trial.terms if term not in every]
    settings = replace(trials[0], terms=tuple(every))
    data = Labelled.of(settings, Survey.of(sample, settings))
    mine = Prior.of(settings, data.survey, run=run)
    prior = run.ranks.on_first(lambda: mine)
    sums = accumulate(data.targets, prior, run, group_count(settings, sample))
    parts = [slice(0), *(where for _, where in term_columns(prior.terms))][1:]
    added = range(len(every), len(parts))

    def evidence(trial: Settings) -> float:
        places = [*(every.index(term) for term in trial.terms), *added]
        columns = [np.arange(parts[n].start, parts[n].stop) for n in places]
        terms = [prior.terms[n] for n in places]
        if not any(term.size for term in terms[: len(trial.terms)]):
            raise nothing_to_fit(trial, data.survey)
        return _largest(sums.of(np.concatenate(columns)), trial, terms, sample)

    alone = sums
    sums = run.ranks.on_first(lambda: alone)  # they are there on the first rank alone
    found = []
    for value in run.ranks.map_in_order(evidence, trials, [1.0] * len(trials), run.jobs):
        found.append(value)
        advance()
    return run.ranks.on_first(lambda: found)


def _largest(
    sums: Groups, settings: Settings, terms: Sequence[Term], sample: Sequence[Frame]
) -> float:
    freedom = freedom_of(settings, terms, sample)
    sizes = [term.size for term in terms]
    chosen = maximise_evidence(
        *(sums, sizes, freedom.start, freedom.fixed, freedom.scale_is_free, freedom.repeats)
    )
    solution = sums.together(chosen.sigma_factors).solve(np.repeat(chosen.deltas, sizes))
    return solution.log_marginal_likelihood(chosen.noise_factor)
