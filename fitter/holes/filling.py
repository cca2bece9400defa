"""Fills holes: finds them with the fit, and adds labels that lift them, until none are left.

Random structures relax with the fit; those that end below the ground state become frames with an energy
alone, somewhat above it. A label pulls only where the process is below it (`lifting`): structures are
to lie above the ground state, how far nobody knows. That goes on with the process that knows the
labels, until several searches in a row find nothing, or until lifting spoils the fit to the data.

The process may be right to find a lower energy: the frames of an alloy seldom have the best order of
the elements. Where it knows the energy of a structure by its data alone, as its deviation says, that
structure is no hole. The search also ends where holes are shallow and get no shallower.

To lift structures must not make the energy of an expanded crystal fall: rises between imagined crystals
(`process.beyond`) are labels of the same kind here.

The labels that pull in the end count as what is imagined beyond the data: they are no part of the
evidence, of errors or of counts, and give no sparse points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.baseline.beyond import FEWEST, labelled
from forcemap.fitter.data.combinations import formula_of
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.holes.lifting import Lifts
from forcemap.fitter.holes.relaxation import Relaxation, Relaxed, Start
from forcemap.fitter.holes.search import Hole, compositions_of, holes_among, starts
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.fitter.process.accumulate import whole_rows
from forcemap.fitter.process.beyond import RISE_SIGMA, Rise, Rises
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.evidence import Hyperparameters
from forcemap.fitter.solve.solver import Sums
from forcemap.fitter.terms.base import Array, MapPlan, Term
from forcemap.fitter.terms.rows import unwhitened
from forcemap.fitter.uncertainty.leave_one_out import Posterior
from forcemap.potentials.file.potential_file import as_potential
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = [
    "ROUNDS",
    "STARTS",
    "SURE",
    "Filling",
    "Origin",
    "filled",
    "filled_holes",
    "is_worth_filling",
]

STARTS, ROUNDS = 50, 30
"""Random structures of a search, and searches that may find holes; each knows the holes of those
before."""

SURE = 3
"""Searches in a row without a hole, or with no other than before, after which there are no more."""

SHALLOW, NO_SHALLOWER = 0.02, 0.95
"""Depth of holes, in cohesive energies, that may be none; and the part of it that those of the next
search must reach to be as before. Labels that the process believes lift by a tenth and more."""

KNOWN, CERTAIN = 0.005, 3.0
"""Standard deviation per atom of a structure's energy, in cohesive energies and before anything is
lifted, up to which the process knows it; and depth in such deviations from which it is no hole then.
Deviations are .03 and more in deep holes, below .001 in orders of alloys that are lower indeed."""

ORDERS = 0.06
"""Depth, in cohesive energies, from which no order of the elements is so much lower."""

SIGMA = 0.03
"""Of a label (eV per atom), in cohesive energies."""

SOFTER = (1.0, 2.0, 4.0, 8.0)
"""Factors of the sigmas, of which the first is taken that does not spoil the fit."""

LEAST_LABELS = 3200
"""Labels of the data below which nothing is filled: the labels of holes would outweigh them."""

MOST_SPOILT = 1.1
"""Largest factor of the data's squared residuals that lifting holes may cost."""

SEED = 20_110_124
"""Of the random structures: a fixed one, so that the same frames give the same potential."""


class Filling(NamedTuple):
    """A fit before and after its holes are filled."""

    model: Model
    posterior: Posterior


class Origin(NamedTuple):
    """What a fit was made from.

    Attributes:
        frames: the training frames.
        imagined: labels beyond the data.
        prior: terms and their covariances.
        sums: of all rows; those of the holes are added.
        chosen: hyperparameters, with the deltas of the posterior.
    """

    frames: Sequence[Frame]
    imagined: Sequence[Targets]
    prior: Prior
    sums: Sums
    chosen: Hyperparameters


def is_worth_filling(terms: Sequence[Term], frames: Sequence[Frame], labels: int) -> bool:
    """Whether `terms` can be searched for holes, and enough labels are there to outweigh rough ones."""
    if labels < LEAST_LABELS or not all(term.has_map for term in terms):
        return False
    return len({frame.energy for frame in frames if frame.energy is not None}) >= FEWEST


def filled(
    fit: Filling, origin: Origin, run: Run, advance: Callable[[], Any] = lambda: None
) -> Filling:
    """The fit with its holes filled, as far as its terms can; the first rank calls this where it leads.

    Args:
        fit: the process and its posterior.
        origin: what it was made from.
        run: its threads and ranks share the relaxations; the result does not depend on them.
        advance: called after each of at most `ROUNDS` searches.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        search = _Search(fit, origin, run)
        for _ in range(ROUNDS):
            search.look()
            advance()
            if search.is_over or not search.lift():
                break
    return search.filled()


class _Search:
    """Holes found so far and the process that knows them."""

    def __init__(self, fit: Filling, origin: Origin, run: Run) -> None:
        self.fit, self.run = fit, run
        self.frames, self.prior, self.chosen = origin.frames, origin.prior, origin.chosen
        self.data = origin.sums
        posterior, frames = fit.posterior, origin.frames
        self.baseline = Baseline(fit.model.species, fit.model.repulsion)
        self.compositions = compositions_of(frames, fit.model.e0)
        self.rng = np.random.default_rng(SEED)
        self.model, self.relaxation = fit.model, _relaxation(fit.model, frames, run)
        self.holes: list[Hole] = []
        self.lifts = Lifts.none(self.prior.size)
        self.weights = np.zeros(0)
        rises = Rises.of(origin.imagined, self.prior)
        self.steps, self.rise_weights = rises.steps, np.zeros(len(rises.steps))
        self.rises = Lifts.of(rises.rows, rises.least, posterior, posterior.deltas)
        self.last: list[Hole] = []
        self.labels = self.lifts
        self.most = MOST_SPOILT * _squares(posterior.values, posterior, self.data)
        self.calm, self.deepest = 0, np.inf
        self.known: dict[str, float] = {}
        """Depth of the lowest structure of a formula that the data know, eV per atom."""

    @property
    def is_over(self) -> bool:
        """Whether enough searches have found nothing, or nothing new."""
        return self.calm >= SURE

    def look(self) -> None:
        """Search once more; the holes are the last ones then, with their labels."""
        like = next(frame for frame in self.frames if frame.energy is not None)
        structures = starts(self.compositions, self.last, like, self.rng, STARTS)
        found = holes_among(self._relaxed, structures, self.model.e0, self.model.repulsion)
        labels = self._labels(found)
        unknown = ~self._are_known(found, labels)
        for hole, is_hole in zip(found, unknown, strict=True):
            if not is_hole:
                formula = formula_of(hole.frame, "metal")
                self.known[formula] = max(hole.depth, self.known.get(formula, 0.0))
        self.last = [hole for hole, keep in zip(found, unknown, strict=True) if keep]
        self.labels = labels.those(unknown)
        self._count()

    def _are_known(self, holes: Sequence[Hole], labels: Lifts) -> NDArray[np.bool_]:
        """Which are none, since the data alone say how low they are."""
        atoms = np.array([len(hole.frame.numbers) for hole in holes])
        deviations = self.chosen.noise_factor * labels.deviations / atoms
        scales = np.array([hole.composition.scale for hole in holes])
        depths = np.array([hole.depth for hole in holes])
        are_certain = (deviations < KNOWN * scales) & (depths > CERTAIN * deviations)
        return np.asarray(are_certain & (depths < ORDERS * scales))

    def _count(self) -> None:
        """Count this search if it brought nothing new."""
        depths = [hole.depth / hole.composition.scale for hole in self.last]
        deepest = max(depths, default=0.0)
        # Holes that are not below the ground state have atoms too near to each other.
        are_shallow = all(0.0 < depth < SHALLOW for depth in depths)
        are_same = are_shallow and deepest >= NO_SHALLOWER * self.deepest
        self.calm = self.calm + 1 if are_same or not depths else 0
        self.deepest = min(self.deepest, deepest)

    def _relaxed(self, starts: Sequence[Start]) -> Iterable[Relaxed]:
        atoms = [len(frame.numbers) for frame, _ in starts]
        return self.run.handed_out(self.relaxation, starts, atoms)

    def _labels(self, holes: Sequence[Hole]) -> Lifts:
        """Labels that lift holes, of unit sigma."""
        if not holes:
            return Lifts.none(self.prior.size)
        targets = [self._target(hole) for hole in holes]
        values = np.concatenate([target.values for target in targets])
        posterior = self.fit.posterior
        return Lifts.of(whole_rows(targets, self.prior), values, posterior, posterior.deltas)

    def lift(self) -> bool:
        """Take labels for the last holes; False where that spoils the fit to the data."""
        if not self.last:
            return True
        posterior = self.fit.posterior
        lifts = self.lifts.and_those(self.labels)
        both = self.rises.and_those(lifts)
        known, count = [*self.holes, *self.last], len(self.steps)
        rise_sigmas = np.full(count, RISE_SIGMA / self.chosen.noise_factor)
        sigmas = np.append(rise_sigmas, self._sigmas(known))
        for softer in SOFTER:
            weights = both.weights(posterior, softer * sigmas)
            trial = both.lifted(posterior, posterior.deltas, weights)
            if _squares(trial, posterior, self.data) <= self.most:
                self.rise_weights, weights = weights[:count], weights[count:]
                on = weights > 0.0
                self.lifts, self.weights = lifts.those(on), weights[on]
                self.holes = [hole for hole, pulls in zip(known, on, strict=True) if pulls]
                whole = unwhitened(self.model.terms, self.prior.factors, trial)
                self.model = replace(self.model, weights=whole)
                self.relaxation = _relaxation(self.model, self.frames, self.run)
                return True
        return False

    def _target(self, hole: Hole) -> Targets:
        """Of unit sigma, in the units of the fit."""
        e0 = self.model.e0
        energy = len(hole.frame.numbers) * hole.bound + free_energy(hole.frame, e0)
        frame = labelled(hole.frame, energy, 1.0)
        return Targets.of(frame, e0, self.baseline.of(frame))

    def _sigmas(self, holes: Sequence[Hole]) -> Array:
        """(n,) of the whole energies, in the units of the fit's."""
        found = [SIGMA * hole.composition.scale * len(hole.frame.numbers) for hole in holes]
        return np.array(found) / self.chosen.noise_factor

    def filled(self) -> Filling:
        """The fit with the labels that pull."""
        fit = self.fit
        if self.known:
            model = replace(fit.model, data={**fit.model.data, "lower": self.known})
            fit = fit._replace(model=model)
        if not self.holes:
            return fit
        on = self.rise_weights > 0.0
        lifts = self.lifts.and_those(self.rises.those(on))
        roots = np.sqrt(np.append(self.weights, self.rise_weights[on]))
        labels = lifts.rows * roots[:, None], lifts.values * roots, 1.0 / roots
        holes = [
            _document(hole, 1.0 / root)
            for hole, root in zip(self.holes, np.sqrt(self.weights), strict=True)
        ]
        rises = [
            rise.document(self.chosen.noise_factor)
            for rise in Rise.those_that_pull(self.steps, self.rise_weights)
        ]
        entries = {"holes": holes, "rises": [*fit.model.data["rises"], *rises]}
        return _refitted(fit, labels, entries, self.prior, self.data)


def _squares(values: Array, known: Posterior, data: Sums) -> float:
    """Sum of the squared, scaled residuals of the data's own labels with whitened weights (m,)."""
    rows, targets = known.imagined
    return data.residual(values) - float(np.sum((rows @ values - targets) ** 2))


def _relaxation(model: Model, frames: Sequence[Frame], run: Run) -> Relaxation:
    """By the process as a potential, as coarse as a first try of the map."""
    some: dict[int, Frame] = {}
    for frame in frames:
        for z in set(frame.numbers.tolist()) - set(some):
            some[z] = frame
    plan = MapPlan(list(some.values()))
    return Relaxation(as_potential(Tabulation(model, plan).made(run).data()))


def _refitted(
    fit: Filling,
    labels: tuple[Array, Array, Array],
    entries: Mapping[str, Any],
    prior: Prior,
    data: Sums,
) -> Filling:
    """The fit with more labels.

    `labels`: (n, m) rows and (n,) targets over sigmas, and (n,) sigmas. `entries`: what the model's
    data say of them.
    """
    model, posterior = fit
    rows, values, sigmas = labels
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
    account = replace(
        model.labels,
        projected=solution.factor.T @ (solution.values / posterior.deltas),
        misfit=solution.misfit,
        log_sigma=data.log_sigma,
        count=data.count,
    )
    model = replace(
        model,
        weights=weights,
        posterior=solution.factor,
        labels=account,
        data={**model.data, **entries},
    )
    return Filling(model, posterior)


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
