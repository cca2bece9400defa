"""Descriptors learned from the data: their parameters predict frames that were not fitted best.

Some terms have descriptors with many parameters (`TermSettings.widened`), which take some steps down a
loss. The frames of a step, other ones each time, are split in two halves. With the rows A and the
targets y of the other half, scaled by sigmas, the weights

    w = (Aᵀ A + K / delta²)⁻¹ Aᵀ y

of sparse points predict the residuals r = y_f - A_f w of a half f, and the parameters minimise

    loss = sum over both halves of nu / 2 log(1 + r² / nu),

which a few wrong or far frames do not dominate (Student's t). With s = r / (1 + r² / nu) and the
adjoint weights m = (Aᵀ A + K / delta²)⁻¹ A_fᵀ s, the slope of a half's loss is exactly

    d(loss) = -sᵀ dA_f w - (y - A w)ᵀ dA m + (A m)ᵀ dA w + mᵀ dK w / delta²

(Foo, Do and Ng, Adv. Neural Inf. Process. Syst. 20, 377 (2008), differentiate such losses in the same
way). Products uᵀ dA w of all rows of a frame are slopes of one number: of the energy, times its u, less
the derivative of the energy as atoms and cell move along the u of forces and stress. That derivative is
a central difference, linear in u; no row is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.choice.optimise import freedom_of
from forcemap.fitter.choice.slopes import jittered
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.accumulate import accumulate, whole_rows
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets, group_count, sampled
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.evidence import maximise_evidence
from forcemap.fitter.terms.base import Array, Learnable, Learned, Term
from forcemap.fitter.terms.rows import RowLayout, columns, term_columns, unwhitened
from forcemap.potentials.runs.progress import Progress
from forcemap.potentials.voigt import matrix_of
from threadpoolctl import threadpool_limits

__all__ = [
    "LEAST_ROWS",
    "POINTS",
    "STEP_ATOMS",
    "Halves",
    "Lesson",
    "has_many_combinations",
    "learned",
    "learns",
    "parameters",
]

POINTS = 250
"""Sparse points of a term in the fits to halves."""

LEAST_POINTS = 60
"""Sparse points of each element among many."""

LEAST_ROWS = 6
"""Labels for each parameter that is learned: fewer teach what does not hold for others."""

COMBINATIONS = 4
"""Combinations of several elements from which on nothing is learned: channels of the largest variance,
with elements mixed by their similarity, say more of combinations that no frame has (for 240 frames of
elements and pairs of Al, Cu, Ni and Pd, frames of all four: 3.8 meV/atom, not 4.7 to 5.9)."""

STEP_ATOMS = 3000
"""Approximate number of atoms of the frames of one step."""

RATE, MOMENTUM, SQUARES = 0.3, 0.8, 0.95
"""Of Adam (Kingma and Ba, arXiv:1412.6980): the first step of a parameter, and what averages keep."""

FLOOR = 1.0
"""What is added to the root mean square of each slope, relative to the largest: steps in parameters on
which the loss hardly depends stay small. As long as others, they spoil frames far from all others."""

LEAST_WAY = 0.1
"""Part of what was learned that is kept at the least, if any is."""

SEED = 3

HALVES = 2
NU = 16.0
"""Of Student's t: residuals of more than 4 sigma count less than by their square."""

STEP = 1e-4
"""Largest displacement in the central differences, Å."""

AT_ONCE = 600
"""Atoms whose descriptors are in memory at once, of a thread."""


def learns(settings: Settings) -> bool:
    """Whether a term of the settings has something to learn."""
    return any(term.widened is not None for term in settings.terms)


def parameters(settings: Settings, survey: Survey) -> int:
    """Number of parameters that the terms of the settings learn."""
    return sum(
        term.learnable(term.widened.open(survey)).count
        for term in settings.terms
        if term.widened is not None
    )


def learned(
    settings: Settings,
    survey: Survey,
    targets: Sequence[Targets],
    advance: Callable[[], Any] = lambda: None,
    run: Run | None = None,
) -> Lesson | None:
    """What the terms learn; None where too few frames have labels, or too many kinds of elements.

    All ranks of `run` call this together, and have the same result; threads and ranks share the work.
    """
    # One thread of BLAS: its rounding would decide what is learned, on any machine another.
    with threadpool_limits(limits=1, user_api="blas"):
        start = Halves.of(settings, survey, targets, run)
        if start is None:
            return None
        best, before, after = start.checked(start.least(settings.learning_steps, advance))
    outcomes = (one.outcome for one in start.at(best).learned)
    return Lesson(dict(zip(start.keys, outcomes, strict=True)), before, after)


@dataclass(frozen=True)
class Lesson:
    """What terms have learned.

    Attributes:
        outcomes: for `Survey.learned`.
        before, after: loss of a label of the frames left out.
    """

    outcomes: Mapping[str, Any]
    before: float
    after: float


@dataclass(frozen=True)
class Halves:
    """Two halves of a sample, each predicted by a fit to the other.

    Attributes:
        targets: of frames with labels.
        terms: of the fits; those that learn are as they start.
        sources: what learns, by the number of the term.
        keys: of what they learn.
        deltas: (points,) of all sparse points, eV.
        run: the ranks and threads that share the work.
    """

    targets: Sequence[Targets]
    terms: Sequence[Term]
    sources: Mapping[int, Learnable]
    keys: Sequence[str]
    deltas: Array
    run: Run

    @classmethod
    def of(
        cls,
        settings: Settings,
        survey: Survey,
        targets: Sequence[Targets],
        run: Run | None = None,
    ) -> Halves | None:
        """The halves with the terms of the settings, smaller; None where nothing is learned."""
        if has_many_combinations(survey.frames):
            return None
        labelled = sampled(targets, settings.learning_steps * STEP_ATOMS)
        wide = {n: t.widened for n, t in enumerate(settings.terms) if t.widened is not None}
        # What the terms take from the data, which `survey` keeps, they take from all frames.
        needed = LEAST_ROWS * parameters(settings, survey)
        if sum(len(target.rows) for target in labelled) < needed:
            return None
        chosen = sampled(labelled, STEP_ATOMS)
        frames = [target.frame for target in chosen]
        asked = [wide.get(n, t) for n, t in enumerate(settings.terms)]
        points = max(LEAST_POINTS, POINTS // len(survey.species))
        small = replace(settings, terms=tuple(term.small(points) for term in asked))
        run = replace(run or Run(), progress=Progress.silent(), checkpoint=None)
        mine = Prior.of(small, replace(survey, frames=frames), run=run)
        prior = run.ranks.on_first(lambda: mine)
        sources = {n: settings.terms[n].learnable(prior.terms[n]) for n in wide}
        terms = list(prior.terms)
        for n, source in sources.items():
            terms[n] = source.at(source.start).term
        factors = _factors(terms)
        data = accumulate(
            chosen, Prior(tuple(terms), tuple(factors)), run, group_count(settings, frames)
        )
        free = freedom_of(settings, terms, frames)
        sizes = [term.size for term in terms]
        found = run.ranks.on_first(
            lambda: maximise_evidence(
                *(data, sizes, free.start, free.fixed, free.scale_is_free, free.repeats)
            )
        )
        scaled = [_scaled(t, found.sigma_factors * found.noise_factor) for t in labelled]
        deltas = np.repeat(found.deltas * found.noise_factor, sizes)
        keys = [repr(settings.terms[n]) for n in sources]
        return cls(scaled, terms, sources, keys, deltas, run)

    @property
    def start(self) -> Array:
        """Parameters of all that learns, one after another."""
        return np.concatenate([source.start for source in self.sources.values()])

    @property
    def count(self) -> int:
        """Number of labels."""
        return sum(len(target.rows) for target in self.targets)

    def at(self, parameters: Array) -> Trial:
        """The fits with some parameters."""
        found = [source.at(part) for source, part in self._by_source(parameters)]
        return Trial(self, found)

    def held(self, parameters: Array) -> Array:
        """The nearest parameters within what the terms can answer for far from the data."""
        return np.concatenate([s.held(part) for s, part in self._by_source(parameters)])

    def _by_source(self, parameters: Array) -> Iterator[tuple[Learnable, Array]]:
        sources = self.sources.values()
        ends = np.cumsum([source.count for source in sources])[:-1]
        return zip(sources, np.split(parameters, ends), strict=True)

    def some(self, number: int) -> Halves:
        """The halves of fewer frames: other ones for each number, all in turn."""
        every = len(self.targets)
        atoms = sum(len(target.frame.numbers) for target in self.targets)
        count = min(every, max(HALVES, round(STEP_ATOMS * every / atoms)))
        order = np.random.default_rng(SEED).permutation(every)
        chosen = np.sort(order[(number * count + np.arange(count)) % every])
        return replace(self, targets=[self.targets[n] for n in chosen])

    def least(self, steps: int, advance: Callable[[], Any] = lambda: None) -> Array:
        """Parameters after so many steps, each along the slopes of the loss of other frames.

        The mean of those of the second half of the steps: each by itself is that of its own frames.
        """
        at = self.start
        first, second, mean = np.zeros((3, len(at)))
        for step in range(steps):
            halves = self.some(step)
            slopes = halves.at(at).slopes / halves.count
            first += (1.0 - MOMENTUM) * (slopes - first)
            second += (1.0 - SQUARES) * (slopes**2 - second)
            along = first / (1.0 - MOMENTUM ** (step + 1))
            size = np.sqrt(second / (1.0 - SQUARES ** (step + 1)))
            rate = RATE * 0.5 * (1.0 + np.cos(np.pi * step / steps))
            at = self.held(at - rate * along / (size + FLOOR * size.max()))
            mean += at * (step >= steps // 2) / (steps - steps // 2)
            advance()
        return self.held(mean)

    def checked(self, parameters: Array) -> tuple[Array, float, float]:
        """Parameters on the way to the given ones, and the losses of a label before and after.

        The loss does not say how far off the worst frames are, of which molecular dynamics has more:
        the way ends where the sum of the squares of all residuals has not grown.
        """
        sample = self.some(0)
        start = sample.at(self.start)
        way = 1.0
        while way > LEAST_WAY:
            at = self.held(self.start + way * (parameters - self.start))
            trial = sample.at(at)
            if trial.squares <= start.squares and trial.loss <= start.loss:
                return at, start.loss / sample.count, trial.loss / sample.count
            way *= 0.5
        return self.start, start.loss / sample.count, start.loss / sample.count


@dataclass(frozen=True)
class Trial:
    """The fits to both halves with some parameters, their loss, and its slopes.

    Attributes:
        halves: the data.
        learned: what learns, with the parameters.
    """

    halves: Halves
    learned: Sequence[Learned]

    @cached_property
    def terms(self) -> list[Term]:
        """Of the fits."""
        terms = list(self.halves.terms)
        for n, one in zip(self.halves.sources, self.learned, strict=True):
            terms[n] = one.term
        return terms

    @cached_property
    def _fits(self) -> list[_Fit]:
        halves, run = self.halves, self.halves.run
        prior = Prior(tuple(self.terms), tuple(_factors(self.terms)))
        costs = [len(target.rows) for target in halves.targets]
        parts = run.ranks.map_in_order(
            lambda target: whole_rows([target], prior), halves.targets, costs, run.jobs
        )
        white = list(parts)  # on the first rank
        return run.ranks.on_first(lambda: self._of_rows(white, prior.factors))

    def _of_rows(self, white: Sequence[Array], factors: Sequence[Array]) -> list[_Fit]:
        """The fits from the rows of all frames, whitened by the factors of the points' covariances."""
        halves = self.halves
        bounds = np.cumsum([0, *(len(part) for part in white)])
        rows = np.concatenate(white) * halves.deltas
        values = np.concatenate([t.values / t.sigmas for t in halves.targets])
        places = [np.arange(a, b) for a, b in pairwise(bounds)]
        gram, vector = rows.T @ rows, rows.T @ values
        gram[np.diag_indices_from(gram)] += 1.0

        def weights_of(white: Array) -> Array:
            return unwhitened(self.terms, factors, halves.deltas * white)

        def fit(half: int) -> _Fit:
            own = np.concatenate([places[n] for n in range(half, len(places), HALVES)])
            some = rows[own]
            factor = scipy.linalg.cho_factor(gram - some.T @ some, lower=True)
            weights = scipy.linalg.cho_solve(factor, vector - some.T @ values[own])
            residuals = values - rows @ weights
            squares = residuals[own] ** 2 / NU
            pull = residuals[own] / (1.0 + squares)
            adjoint = scipy.linalg.cho_solve(factor, some.T @ pull)
            along, against = rows @ adjoint, -residuals
            along[own], against[own] = -pull, 0.0
            return _Fit(
                weights_of(weights),
                weights_of(adjoint),
                [along[place] for place in places],
                [against[place] for place in places],
                0.5 * NU * float(np.sum(np.log1p(squares))),
                NU * float(np.sum(squares)),
            )

        return [fit(half) for half in range(HALVES)]

    @property
    def loss(self) -> float:
        """Of both halves."""
        return sum(fit.loss for fit in self._fits)

    @property
    def squares(self) -> float:
        """Sum of the squares of all residuals."""
        return sum(fit.squares for fit in self._fits)

    @property
    def slopes(self) -> Array:
        """Of the loss in the parameters."""
        halves, run = self.halves, self.halves.run
        total = np.zeros(len(halves.start))
        for fit in self._fits:
            for rows, weights in ((fit.along, fit.weights), (fit.against, fit.adjoint)):
                moves = [m for t, u in zip(halves.targets, rows, strict=True) for m in _moves(t, u)]
                pieces = list(_together(moves))
                costs = [sum(len(frame.numbers) for frame, _ in piece) for piece in pieces]
                of_pieces = partial(self._energy_slopes, weights=weights)
                for some in run.ranks.map_in_order(of_pieces, pieces, costs, run.jobs):
                    total += some
            total += self._covariance_slopes(fit)
        return run.ranks.on_first(lambda: total)

    @cached_property
    def _columns(self) -> list[slice]:
        """Those of the terms that learn."""
        where = [part for _, part in term_columns(self.terms)]
        return [where[n] for n in self.halves.sources]

    def _energy_slopes(self, piece: Sequence[tuple[Frame, float]], weights: Array) -> Array:
        frames, factors = zip(*piece, strict=True)
        return np.concatenate(
            [
                one.energy_slopes(frames, factors, weights[where])
                for one, where in zip(self.learned, self._columns, strict=True)
            ]
        )

    def _covariance_slopes(self, fit: _Fit) -> Array:
        parts = []
        for one, where in zip(self.learned, self._columns, strict=True):
            delta = self.halves.deltas[where.start]
            parts.append(one.covariance_slopes(fit.adjoint[where], fit.weights[where]) / delta**2)
        return np.concatenate(parts)


@dataclass(frozen=True)
class _Fit:
    """A half predicted by the fit to the other.

    Attributes:
        weights, adjoint: (points,) w and m of the unit-variance columns.
        along, against: by frame, what multiplies dA w and dA m.
        loss: of the half.
        squares: of its residuals.
    """

    weights: Array
    adjoint: Array
    along: list[Array]
    against: list[Array]
    loss: float
    squares: float


def _moves(target: Targets, scaled: Array) -> Iterator[tuple[Frame, float]]:
    """Frames with factors so that the sum of factor times energy has the slope u . dA w.

    `scaled` (rows,) is u of rows divided by sigmas.
    """
    frame = target.frame
    layout = RowLayout(len(frame.numbers))
    rows = np.zeros(layout.count)
    rows[target.rows] = scaled / target.sigmas
    energy, forces, strain = layout.split(rows)
    longest = float(np.max(np.abs(frame.positions - frame.positions.mean(axis=0)), initial=1.0))
    most = max(np.abs(forces).max(initial=0.0), np.abs(strain).max() * longest)
    if most == 0.0:
        if energy != 0.0:
            yield frame, energy
        return
    step = STEP / most
    # Off the diagonal, a strain's derivative is that of both of its components together.
    turned = matrix_of(strain * np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5]))
    for sign in (1.0, -1.0):
        deformed = np.eye(3) - sign * step * turned
        moved = replace(
            frame,
            positions=(frame.positions + sign * step * forces) @ deformed,
            cell=frame.cell @ deformed,
        )
        yield moved, 0.5 * energy - sign / (2.0 * step)


def has_many_combinations(frames: Sequence[Frame]) -> bool:
    """Whether the frames have more combinations of elements than descriptors learn from."""
    groups = {frozenset(frame.numbers.tolist()) for frame in frames}
    return sum(len(elements) > 1 for elements in groups) >= COMBINATIONS


def _together(moves: Sequence[tuple[Frame, float]]) -> Iterator[list[tuple[Frame, float]]]:
    """Pieces of some hundred atoms."""
    piece: list[tuple[Frame, float]] = []
    atoms = 0
    for move in moves:
        piece.append(move)
        atoms += len(move[0].numbers)
        if atoms >= AT_ONCE:
            yield piece
            piece, atoms = [], 0
    if piece:
        yield piece


def _factors(terms: Sequence[Term]) -> list[Array]:
    """Cholesky factors of the covariances of all blocks."""
    return [
        np.asarray(scipy.linalg.cholesky(jittered(term.covariance(block)), lower=True))
        for term, block, _ in columns(terms)
    ]


def _scaled(target: Targets, factors: Array) -> Targets:
    """Targets with sigmas times the factor of their group."""
    groups = np.where(target.of_stress, min(1, len(factors) - 1), 0)
    return replace(target, sigmas=target.sigmas * factors[groups])
