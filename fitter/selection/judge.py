"""Fits of candidates and their judgement: evidence, errors on unseen frames, learning curves, cost.

*Evidence.* The logarithm of the evidence of all training rows. Different sparse points approximate
their processes differently well, and the evidence of a coarse one may be too large. The trace term

    -tr(K_nn - Q_nn) / (2 sigma²)

of the variational bound (Titsias, AISTATS 2009, PMLR 5, 567), which contains the prior's variance left
open by the sparse points in the rows, bounds the excess. It is computed from some frames
(`process.remainder`).
*BIC.* -2 log(evidence) + k log(rows), k the hyperparameters that the evidence has chosen (Schwarz, Ann.
Stat. 6, 461 (1978), DOI 10.1214/aos/1176344136): smaller is better.
*Errors.* Errors of the process on the training frames, each left out of the fit that predicts it, and
on test frames, if there are any. Learning curves have errors of fits to random parts of the training
frames with the same hyperparameters, on the test frames or else on frames outside the part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from forcemap.fitter.choice.optimise import wanted
from forcemap.fitter.config import Settings, UncertaintySettings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.fitting import Fitted, fitted
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.planning.step_cost import microseconds_per_atom
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.remainder import remainders
from forcemap.fitter.process.truth import truth_in_thread
from forcemap.fitter.report.metrics import error_block
from forcemap.fitter.selection.candidates import Candidate
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.threads import in_order

__all__ = ["CurvePoint", "Errors", "Judged", "Plan", "judge"]

PARTS = (0.125, 0.25, 0.5)
"""Fractions of the training frames in learning curves, before all of them."""

LEAST_FRAMES = 4
"""Fewest frames of a point of a learning curve."""

MOST_UNSEEN = 60
"""Most frames that judge a point of a learning curve without test frames."""

TRACE_FRAMES = 4
"""Frames from which the trace term is extrapolated; each takes some seconds."""


@dataclass(frozen=True)
class Plan:
    """The data and options by which candidates are judged.

    Attributes:
        train, test: frames; `test` may be empty.
        optimise: whether hyperparameters are chosen by evidence first.
        repeats: random parts of each size in learning curves; 0: no curves.
        run: threads and progress.
    """

    train: Sequence[Frame]
    test: Sequence[Frame]
    optimise: bool
    repeats: int
    run: Run


@dataclass(frozen=True)
class Errors:
    """Errors of a process on unseen frames; None without labels.

    Attributes:
        force_rmse: RMSE per force component, eV/Å.
        force_norm: mean length of the errors of atoms' forces, eV/Å.
        energy_rmse: RMSE of energies, meV/atom.
    """

    force_rmse: float | None
    force_norm: float | None
    energy_rmse: float | None

    @classmethod
    def of(cls, pairs: Sequence[tuple[Frame, Prediction]]) -> Errors:
        """The errors of predictions."""
        block = error_block(pairs)
        lengths = [
            np.linalg.norm((prediction.forces - frame.forces)[frame.labelled], axis=1)
            for frame, prediction in pairs
            if frame.forces is not None
        ]
        norms = np.concatenate([np.zeros(0), *lengths])
        return cls(
            block["force_rmse_ev_per_a"],
            float(np.mean(norms)) if len(norms) else None,
            block["energy_rmse_mev_per_atom"],
        )


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes:
        frames: number of fitted frames.
        force_rmse: RMSE per force component of each repeat, eV/Å.
    """

    frames: int
    force_rmse: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the repeats, eV/Å."""
        return float(np.mean(self.force_rmse))

    @property
    def bar(self) -> float:
        """Standard deviation of the repeats, eV/Å; 0 for one."""
        return float(np.std(self.force_rmse, ddof=1)) if len(self.force_rmse) > 1 else 0.0


@dataclass(frozen=True)
class Judged:
    """A candidate with its judgement.

    Attributes:
        candidate: the candidate with its original settings.
        settings: settings with the choices of the evidence, ready to fit.
        optimised: hyperparameters before and after, as in a report; None without a choice.
        rows, sparse: numbers of rows and sparse points of the fit to all training frames.
        log_evidence, trace, bic: log evidence, trace term and Bayesian information criterion.
        left_out, test: errors on these frames; None without such frames.
        curve: learning curve of force errors, the whole set last.
        microseconds: time of a step of the mapped potential per atom; None without a map.
        fit_seconds: processor time of the fit and its optimisation.
    """

    candidate: Candidate
    settings: Settings
    optimised: dict[str, Any] | None
    rows: int
    sparse: int
    log_evidence: float
    trace: float
    bic: float
    left_out: Errors | None
    test: Errors | None
    curve: tuple[CurvePoint, ...]
    microseconds: float | None
    fit_seconds: float

    @property
    def errors(self) -> Errors | None:
        """The errors that decide: those of test frames, or of frames left out."""
        return self.test or self.left_out

    @property
    def error(self) -> float | None:
        """The force RMSE that decides, eV/Å per component."""
        return self.errors.force_rmse if self.errors else None

    def document(self) -> dict[str, Any]:
        """The judgement as plain values for JSON."""
        return {
            "name": self.candidate.name,
            "settings_file": self.candidate.file,
            "log_evidence": self.log_evidence,
            "log_evidence_per_row": self.log_evidence / max(self.rows, 1),
            "trace_term": self.trace,
            "bic": self.bic,
            "n_rows": self.rows,
            "n_sparse": self.sparse,
            "leave_one_out": asdict(self.left_out) if self.left_out else None,
            "test": asdict(self.test) if self.test else None,
            "learning_curve": [
                {"frames": p.frames, "force_rmse": list(p.force_rmse), "mean": p.mean, "bar": p.bar}
                for p in self.curve
            ],
            "microseconds_per_atom": self.microseconds,
            "fit_seconds": self.fit_seconds,
            "optimised": self.optimised,
            "terms": self.settings.to_dict()["terms"],
        }


def judge(candidate: Candidate, plan: Plan) -> Judged:
    """Fit a candidate to all training frames and to parts of them, and judge the fits.

    Raises ForcemapError if it cannot be fitted.
    """
    settings = replace(candidate.settings, uncertainty=UncertaintySettings(draws=0))
    if plan.optimise:
        settings = replace(settings, optimise=True)
    start = time.process_time()
    fit = fitted(settings, plan.train, plan.run)
    seconds = time.process_time() - start
    assert fit is not None  # there is no other rank that could have it
    model = fit.model
    rows = int(model.data["n_rows"])
    asked = candidate.settings
    ready = replace(fit.settings, uncertainty=asked.uncertainty)
    left_out = [(left.frame, left.prediction()) for left in fit.left_out]
    left = Errors.of(left_out) if left_out else None
    test = Errors.of(_predicted(model, plan.test, plan.run)) if plan.test else None
    return Judged(
        candidate,
        ready,
        model.data.get("optimised"),
        rows,
        len(model.weights),
        model.log_marginal_likelihood,
        _trace(fit, plan),
        -2.0 * model.log_marginal_likelihood + _chosen(settings, fit) * float(np.log(max(rows, 1))),
        left,
        test,
        _curve(fit, plan, test or left),
        _cost(model, plan),
        seconds,
    )


def _chosen(settings: Settings, fit: Fitted) -> int:
    """Number of hyperparameters chosen by evidence: kernels', deltas, sigmas of groups of rows."""
    names = sum(len(set(asked) - {"delta"}) for asked in wanted(settings))
    deltas = sum(term.delta is None for term in fit.settings.terms)
    return names + deltas + len(fit.sigma_factors)


def _predicted(model: Model, frames: Sequence[Frame], run: Run) -> list[tuple[Frame, Prediction]]:
    return list(zip(frames, in_order(truth_in_thread(model), frames, run.jobs), strict=True))


def _trace(fit: Fitted, plan: Plan) -> float:
    """The trace term of all training frames, from evenly chosen ones."""
    labelled = [f for f in plan.train if f.energy is not None or f.forces is not None]
    step = max(1, len(labelled) // TRACE_FRAMES)
    targets = {id(left.frame): left.target for left in fit.left_out}
    total, count = 0.0, 0
    some = [targets[id(f)] for f in labelled[::step][:TRACE_FRAMES] if id(f) in targets]
    with plan.run.stage("trace term", len(some)) as advance:
        for target in some:
            left = remainders(target.frame, fit.model.terms, fit.model.factors)[target.rows]
            factors = np.where(target.of_stress, fit.sigma_factors[-1], fit.sigma_factors[0])
            total += float(np.sum(left / (target.sigmas * factors) ** 2))
            count += len(target.rows)
            advance()
    rows = float(fit.model.data["n_rows"])
    return -0.5 * total * rows / count if total else 0.0


def _curve(fit: Fitted, plan: Plan, whole: Errors | None) -> tuple[CurvePoint, ...]:
    """Force errors of fits to parts of the training frames, and of the fit to all of them."""
    frames, rng = plan.train, np.random.default_rng(fit.settings.seed)
    counts = sorted({round(part * len(frames)) for part in PARTS})
    counts = [count for count in counts if LEAST_FRAMES <= count < len(frames)]
    points = []
    quiet = Run(plan.run.jobs)
    with plan.run.stage("learning curve", len(counts) * plan.repeats) as advance:
        for count in counts if plan.repeats else ():
            errors = []
            for _ in range(plan.repeats):
                order = rng.permutation(len(frames))
                part = [frames[n] for n in sorted(order[:count])]
                unseen = plan.test or [frames[n] for n in order[count : count + MOST_UNSEEN]]
                some = fitted(_without_isolated(fit.settings, part), part, quiet, leave_out=False)
                assert some is not None
                error = Errors.of(_predicted(some.model, unseen, quiet)).force_rmse
                errors += [] if error is None else [error]
                advance()
            if errors:
                points.append(CurvePoint(count, tuple(errors)))
    if points and whole is not None and whole.force_rmse is not None:
        points.append(CurvePoint(len(frames), (whole.force_rmse,)))
    return tuple(points)


def _without_isolated(settings: Settings, frames: Sequence[Frame]) -> Settings:
    """The settings for a part of the frames, which may lack the isolated atoms."""
    if settings.e0 == "isolated" and not any(len(frame.numbers) == 1 for frame in frames):
        return replace(settings, e0="average")
    return settings


def _cost(model: Model, plan: Plan) -> float | None:
    """Cost of the mapped potential, µs per atom and step; None without a map."""
    if model.unmapped:
        return None
    tolerance = float(model.settings["map"]["tolerance"])
    mapped = map_model(model, plan.train, tolerance, plan.run.jobs, plan.run.progress)
    return microseconds_per_atom(mapped.potential, plan.train)
