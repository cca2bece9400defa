"""Fills holes: finds them with the fit, and adds labels that lift them, until none are left.

Each hole becomes a frame with an energy alone, somewhat above the ground state. Its sigma is a share of
the hole's depth, so that a deep hole is lifted by its order of magnitude first and by less the next
time: labels that ask for more than a process of few bodies can follow spoil its fit to the data, which
ends the search. None pulls harder than `process.beyond.imagined_rows` allows.

The labels count as what is imagined beyond the data: they are no part of the evidence, of errors or of
counts, and give no sparse points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.baseline.beyond import FEWEST, labelled
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.holes.search import (
    STARTS,
    Composition,
    Hole,
    compositions_of,
    holes_among,
    starts,
)
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.fitter.process.beyond import imagined_rows
from forcemap.fitter.process.model import Labels, Model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.solve.evidence import Hyperparameters
from forcemap.fitter.solve.solver import Sums
from forcemap.fitter.terms.base import Array, MapPlan
from forcemap.fitter.terms.rows import unwhitened
from forcemap.fitter.uncertainty.leave_one_out import Posterior
from forcemap.potentials import Evaluator
from forcemap.potentials.file.potential_file import as_potential

__all__ = ["Filling", "filled", "filled_holes"]

ROUNDS = 8
"""Searches at most, each with the process that knows the holes of those before."""

SHARE, LEAST = 0.2, 0.05
"""Sigma of a filled hole: share of what it is lifted by, and at least so many cohesive energies."""

LEAST_LABELS = 10 * STARTS * ROUNDS
"""Labels of the data from which on those of holes are a tenth at the most."""

MOST_SPOILT = 1.1
"""Largest factor of the data's squared residuals that lifting holes may cost; the last round that would
is left out. Embedding functions of copper, all of whose frames are near one another, cannot be lifted
elsewhere without it."""

SEED = 20_110_124
"""Of the random structures: a fixed one, so that the same frames give the same potential."""

SKIN = 0.5
"""Of the neighbour lists of relaxations, Å."""


class Filling(NamedTuple):
    """A fit before and after its holes are filled."""

    model: Model
    posterior: Posterior


def filled(
    fit: Filling,
    frames: Sequence[Frame],
    prior: Prior,
    data: Sums,
    chosen: Hyperparameters,
    advance: Callable[[], Any] = lambda: None,
) -> Filling:
    """The fit with its holes filled, as far as its terms can.

    Args:
        fit: the process and its posterior.
        frames: the training frames.
        prior: terms and their covariances.
        data: sums of all rows of the fit; those of the holes are added.
        chosen: hyperparameters, with the deltas of the posterior.
        advance: called after each round.
    """
    if not fit.model.repulsion or fit.model.unmapped or _say_too_little(frames, data.count):
        return fit
    compositions = compositions_of(frames, fit.model.e0)
    rng = np.random.default_rng(SEED)
    found: list[Hole] = []
    holes: list[dict[str, Any]] = []
    most = MOST_SPOILT * _squares(fit.posterior, data)
    log_sigma, count = data.log_sigma, data.count
    for _ in range(ROUNDS):
        found = _found(fit.model, frames, compositions, found, rng)
        advance()
        if not found:
            break
        labels = [_label(hole, fit.model.e0) for hole in found]
        trial, sigmas = _refitted(fit, labels, prior, data, chosen)
        if _squares(trial.posterior, data) > most:
            break
        fit, log_sigma, count = trial, data.log_sigma, data.count
        holes += [_document(h, s) for h, s in zip(found, sigmas, strict=True)]
    if not holes:
        return fit
    known = fit.model.labels
    assert known is not None
    solution = fit.posterior
    projected = solution.factor.T @ (solution.values / solution.deltas)
    known = replace(known, projected=projected, log_sigma=log_sigma, count=count)
    model = replace(fit.model, labels=known, data={**fit.model.data, "holes": holes})
    return fit._replace(model=model)


def _squares(posterior: Posterior, data: Sums) -> float:
    """Sum of the squared, scaled residuals of the data's own labels."""
    rows, values = posterior.imagined
    return data.residual(posterior.values) - float(np.sum((rows @ posterior.values - values) ** 2))


def _say_too_little(frames: Sequence[Frame], labels: int) -> bool:
    """Whether rough labels would outweigh the data."""
    if labels < LEAST_LABELS:
        return True
    return len({frame.energy for frame in frames if frame.energy is not None}) < FEWEST


def _found(
    model: Model,
    frames: Sequence[Frame],
    compositions: Sequence[Composition],
    known: Sequence[Hole],
    rng: np.random.Generator,
) -> list[Hole]:
    """The holes of one search."""
    like = next(frame for frame in frames if frame.energy is not None)
    structures = starts(compositions, known, like, rng)
    return holes_among(_evaluator(model, frames), structures, model.e0, model.repulsion)


def _evaluator(model: Model, frames: Sequence[Frame]) -> Evaluator:
    """Of the process as a potential, as coarse as a first try of the map."""
    some: dict[int, Frame] = {}
    for frame in frames:
        for z in set(frame.numbers.tolist()) - set(some):
            some[z] = frame
    plan = MapPlan(list(some.values()))
    return as_potential(Tabulation(model, plan).data()).evaluator(skin=SKIN)


def _label(hole: Hole, e0: Mapping[int, float]) -> Frame:
    n = len(hole.frame.numbers)
    sigma = max(SHARE * (hole.bound - hole.energy), LEAST * hole.composition.scale)
    return labelled(hole.frame, n * hole.bound + free_energy(hole.frame, e0), n * sigma)


def _refitted(
    fit: Filling, frames: Sequence[Frame], prior: Prior, data: Sums, chosen: Hyperparameters
) -> tuple[Filling, Array]:
    """The fit with more labels, and (n,) their sigmas in units of the fit's."""
    model, posterior = fit
    baseline = Baseline(model.species, model.repulsion)
    targets = [Targets.of(frame, model.e0, baseline.of(frame)) for frame in frames]
    rows, values, sigmas = imagined_rows(targets, prior, posterior, chosen)
    data.add_rows(rows, values, float(np.sum(np.log(sigmas))))
    solution = data.solve(posterior.deltas)
    before, known = posterior.imagined
    posterior = replace(
        posterior,
        values=solution.values,
        factor=solution.factor,
        imagined=(np.concatenate([before, rows]), np.concatenate([known, values])),
    )
    weights = unwhitened(model.terms, prior.factors, solution.values.copy())
    assert model.labels is not None
    labels: Labels = replace(model.labels, misfit=solution.misfit)
    model = replace(model, weights=weights, posterior=solution.factor, labels=labels)
    return Filling(model, posterior), sigmas


# ---- what a file holds of a hole -----------------------------------------------------------------


def _document(hole: Hole, sigma: float) -> dict[str, Any]:
    """`sigma` is that of the whole energy, in units of the fit's sigmas."""
    frame = hole.frame
    return {
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
        "cell": frame.cell.tolist(),
        "energy": hole.bound,
        "sigma": float(sigma),
    }


def filled_holes(model: Model, like: Frame) -> list[tuple[Frame, float]]:
    """Labels of the holes that a fit has filled, with their sigmas in units of the fit's.

    `like`: a frame for everything that a hole does not say.
    """
    found = []
    for entry in model.data.get("holes", []):
        numbers = np.array(entry["numbers"], dtype=np.int32)
        frame = replace(
            like,
            numbers=numbers,
            positions=np.array(entry["positions"]),
            cell=np.array(entry["cell"]),
            pbc=np.ones(3, dtype=bool),
            config_type="default",
        )
        energy = len(numbers) * entry["energy"] + free_energy(frame, model.e0)
        found.append((labelled(frame, energy, 1.0), float(entry["sigma"])))
    return found
