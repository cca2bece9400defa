"""``optimise: true``: hyperparameters of terms that maximise the evidence of a sample of the frames.

Each term is opened as for the fit, with fewer sparse points, chosen once from the sample at the largest
cutoff that is allowed. L-BFGS-B then maximises the evidence over the logarithms of all free
hyperparameters, with optimal deltas and sigmas at every step. Integers of a kernel change one by one
while that raises the evidence. The fit that follows takes the results as if they were in its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.optimize
from forcemap.fitter.choice.coordinates import Coordinate, Coordinates, origins_of
from forcemap.fitter.choice.slopes import Freedom, Point, Sample
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.process.prior import Opened, added_terms
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets, group_count, sampled
from forcemap.fitter.terms.base import Array, Term, TermSettings
from forcemap.fitter.terms.kinds import TERMS
from forcemap.potentials.errors import ForcemapError
from threadpoolctl import threadpool_limits

__all__ = [
    "EVALUATIONS",
    "Optimised",
    "Search",
    "freedom_of",
    "optimise",
    "sample_size",
    "wanted",
    "without_optimise",
]

SAMPLE_ATOMS, SAMPLE_FRAMES = 1500, 15
SLOW_ATOMS, SLOW_FRAMES = 600, 8
"""Sizes of the fits whose evidence is maximised; the smaller ones are for terms with slow rows."""

POINTS_OF_FEW_ATOMS, POINTS = 400, 120
"""Sparse points of a term in these fits, all its combinations of species together. Functions of few
atoms have as many as in the fit that follows, since fewer prefer longer lengthscales (with 150,
nickel's 3-body lengthscale grew, and the evidence of the whole fit fell)."""

EVALUATIONS = 25
"""Largest number of evaluations of the evidence with its slopes for one set of integers."""

FOLD = 5.0
"""Factor by which a hyperparameter may rise or fall from its start."""

CUTOFF_FOLD = 1.2
"""The same factor for a cutoff: the cost of a step grows with its third power or more."""

BEYOND = 1.01
"""Range of the neighbours over the largest cutoff: differences reach a little beyond the bounds."""

LEAST_WIDTH = 0.1
"""Smallest width of a transition, as a fraction of the cutoff."""

DIGITS = 4
"""Digits that results are rounded to: the evidence resolves no more, and machines agree."""

FLAT = 1.0
"""Largest slope of the log evidence by the logarithm of a hyperparameter that counts as zero."""


@dataclass(frozen=True)
class Optimised:
    """The result of a search.

    Attributes:
        settings: settings of the fit with the optimal hyperparameters.
        summary: plain values for the report: the sample, evidences and hyperparameters.
    """

    settings: Settings
    summary: Mapping[str, Any]


# ---- the request -----------------------------------------------------------------------------------


def wanted(settings: Settings) -> list[tuple[str, ...]]:
    """Hyperparameters of each term that the evidence is to choose."""
    return [_names(term, settings.optimise) for term in settings.terms]


def _names(term: TermSettings, of_all: bool) -> tuple[str, ...]:
    if isinstance(term.optimise, tuple):
        return term.optimise
    return (*term.continuous, *term.whole, "delta") if term.optimise or of_all else ()


def sample_size(settings: Settings) -> tuple[int, int]:
    """Approximate numbers of atoms and sparse points of the sample with the maximised evidence."""
    slow = any(TERMS[term.kind].is_slow for term in settings.terms)
    points = sum(POINTS_OF_FEW_ATOMS if term.few_atoms else POINTS for term in settings.terms)
    return SLOW_ATOMS if slow else SAMPLE_ATOMS, points


def without_optimise(settings: Settings) -> Settings:
    """The settings without anything to optimise."""
    terms = tuple(replace(term, optimise=False) for term in settings.terms)
    return replace(settings, terms=terms, optimise=False)


def freedom_of(settings: Settings, terms: Sequence[Term], frames: Sequence[Frame]) -> Freedom:
    """The deltas that the evidence may choose, and whether it may scale all sigmas with them.

    If the user set a delta, the sigmas are fixed, too.
    """
    deltas = [t.delta for t in settings.terms]
    fixed = [d is not None for d in deltas]
    starts = [d or 1.0 for d in deltas]
    for term in terms[len(deltas) :]:
        fixed.append(True)
        starts.append(term.delta)
    distinct = {data_hash([frame]) for frame in frames}
    return Freedom(
        starts,
        fixed,
        not any(fixed[: len(deltas)]),
        group_count(settings, frames),
        max(1, round(len(frames) / max(len(distinct), 1))),
    )


# ---- the search ------------------------------------------------------------------------------------


def optimise(
    settings: Settings,
    survey: Survey,
    targets: Sequence[Targets],
    jobs: int = 1,
    advance: Callable[[], Any] = lambda: None,
) -> Optimised:
    """The settings with the requested hyperparameters at the largest evidence of a sample.

    Args:
        settings: settings with every choice among alternatives made.
        survey: survey of the training frames.
        targets: labels of the training frames.
        jobs: threads.
        advance: called after each evaluation.

    Raises ForcemapError for a hyperparameter that a term does not have.
    """
    names = wanted(settings)
    free = tuple(
        replace(term, delta=None) if "delta" in asked else term
        for term, asked in zip(settings.terms, names, strict=True)
    )
    named = [term.optimise if isinstance(term.optimise, tuple) else () for term in settings.terms]
    settings = without_optimise(replace(settings, terms=free))
    with threadpool_limits(limits=1, user_api="blas"):
        search = Search.of(settings, names, survey, targets, jobs)
        for number, term in enumerate(search.coordinates.terms[: len(named)]):
            for name in named[number]:
                if name not in (*term.hyperparameters(), "delta"):
                    place = f"terms[{number}].optimise"
                    raise ForcemapError(f"{place}: this {term.kind} term has no {name}")
        search.advance = advance
        return search.run()


@dataclass
class Search:
    """A search for the largest evidence.

    Attributes:
        settings: settings of the fit.
        sample: frames whose evidence is maximised.
        coordinates: coordinates with the terms at the start.
        whole: (term, name, least, largest) of the free integers.
        evaluations: number of evaluations so far.
        advance: called after each evaluation.
    """

    settings: Settings
    sample: Sample
    coordinates: Coordinates
    whole: Sequence[tuple[int, str, int, int]]
    evaluations: int = 0
    advance: Callable[[], Any] = lambda: None

    @classmethod
    def of(
        cls,
        settings: Settings,
        names: Sequence[tuple[str, ...]],
        survey: Survey,
        targets: Sequence[Targets],
        jobs: int,
    ) -> Search:
        """The search with the terms opened on the sample."""
        slow = any(TERMS[term.kind].is_slow for term in settings.terms)
        size = (SLOW_ATOMS, SLOW_FRAMES) if slow else (SAMPLE_ATOMS, SAMPLE_FRAMES)
        chosen = sampled(targets, *size)
        frames = [target.frame for target in chosen]
        here = replace(survey, frames=frames, kept={})
        opened = [
            _opened(term, asked, here) for term, asked in zip(settings.terms, names, strict=True)
        ]
        terms = [*(term for term, _ in opened), *added_terms(survey)]
        free = tuple(
            _coordinate(number, name, settings.terms[number], opened[number][0])
            for number, asked in enumerate(names)
            for name in asked
            if name in settings.terms[number].continuous and name in terms[number].hyperparameters()
        )
        whole = [
            (number, name, *settings.terms[number].whole[name])
            for number, asked in enumerate(names)
            for name in asked
            if name in settings.terms[number].whole and name in terms[number].hyperparameters()
        ]
        reach = max(term.cutoff for _, term in opened) * BEYOND
        sample = Sample.of(chosen, reach, freedom_of(settings, terms, frames), jobs)
        origins = {
            number: origins_of(widest, sample.structures)
            for number, (_, widest) in enumerate(opened)
            if widest.points_follow
        }
        coordinates = Coordinates(tuple(terms), free, origins, sample.structures)
        return cls(settings, sample, _followed(coordinates, opened), whole)

    def point(self, coordinates: Coordinates, at: Array) -> Point:
        """The evidence at the coordinates `at` (free,)."""
        self.evaluations += 1
        self.advance()
        return self.sample.at(coordinates.all_terms(at))

    def run(self) -> Optimised:
        """The settings at the largest evidence; the old ones if there is nothing to fit."""
        if not any(term.size for term in self.coordinates.terms[: len(self.settings.terms)]):
            return Optimised(self.settings, {})
        start = self.point(self.coordinates, self.coordinates.start)
        coordinates, at, best = self.coordinates, self.coordinates.start, start
        at, best = self._continuous(coordinates, at, best)
        changed = self._whole(coordinates, at, best)
        if changed is not None:
            coordinates, best = changed
            at, best = self._continuous(coordinates, at, best)
        rounded = [
            _rounded(c, t) for c, t in zip(self._changes(start, best), best.terms, strict=False)
        ]
        terms = tuple(
            replace(term, **values)
            for term, values in zip(self.settings.terms, rounded, strict=True)
        )
        settings = replace(self.settings, terms=terms)
        return Optimised(settings, self._summary(start, best))

    def _continuous(self, coordinates: Coordinates, at: Array, best: Point) -> tuple[Array, Point]:
        if not len(at):
            return at, best
        seen: dict[bytes, Point] = {at.tobytes(): best}
        count = max(self.sample.count, 1)

        def cost(x: Array) -> tuple[float, Array]:
            key = x.tobytes()
            point = seen.get(key) or self.point(coordinates, x)
            seen[key] = point
            value, slopes = point.value, point.slopes(coordinates, x)
            nonlocal at, best
            if value > best.value:
                at, best = x.copy(), point
            seen.clear()
            return -value / count, -slopes / count

        scipy.optimize.minimize(
            cost,
            at,
            jac=True,
            method="L-BFGS-B",
            bounds=coordinates.bounds,
            options={"maxfun": EVALUATIONS, "ftol": 1e-7, "gtol": FLAT / count},
        )
        return at, best

    def _whole(
        self, coordinates: Coordinates, at: Array, best: Point
    ) -> tuple[Coordinates, Point] | None:
        """Coordinates with other integers and their evidence; None if none raises the evidence."""
        before = best
        for number, name, least, largest in self.whole:
            for step in (1, -1):
                while True:
                    value = int(coordinates.terms[number].hyperparameters()[name]) + step
                    if not least <= value <= largest:
                        break
                    terms = list(coordinates.terms)
                    terms[number] = terms[number].at({name: value})
                    other = replace(coordinates, terms=tuple(terms))
                    point = self.point(other, at)
                    if point.value <= best.value:
                        break
                    coordinates, best = other, point
        return None if best is before else (coordinates, best)

    def _changes(self, start: Point, best: Point) -> list[dict[str, float]]:
        """Hyperparameters of each term that have changed."""
        return [
            {
                name: value
                for name, value in after.hyperparameters().items()
                if value != before.hyperparameters()[name]
            }
            for before, after, _ in zip(start.terms, best.terms, self.settings.terms, strict=False)
        ]

    def _summary(self, start: Point, best: Point) -> dict[str, Any]:
        """The report's block: the sample, evidences and hyperparameters before and after."""
        numbers = {number for number, _, _, _ in self.whole}
        numbers |= {one.term for one in self.coordinates.free}
        terms = []
        for number, settings in enumerate(self.settings.terms):
            values = [
                {
                    k: float(f"{v:.{DIGITS}g}")
                    for k, v in point.terms[number].hyperparameters().items()
                }
                | {"delta": float(point.deltas[number])}
                for point in (start, best)
            ]
            terms.append({"kind": settings.kind, "before": values[0], "after": values[1]})
        return {
            "n_frames": len(self.sample.targets),
            "n_rows": self.sample.count,
            "n_sparse": sum(term.size for term in start.terms),
            "evaluations": self.evaluations,
            "log_evidence": {"before": start.log_evidence, "after": best.log_evidence},
            "terms": [{"term": n, **terms[n]} for n in sorted(numbers)],
            "sigma_factors": {
                "before": start.sigma_factors.tolist(),
                "after": best.sigma_factors.tolist(),
            },
        }


def _opened(settings: TermSettings, asked: Sequence[str], survey: Survey) -> tuple[Term, Term]:
    """A term with few sparse points, at the start and at the largest cutoff that is allowed."""
    open_term = settings.open(survey)
    start = open_term.hyperparameters()
    known = {name for name in start if name in settings.continuous}
    resolved: dict[str, Any] = {name: start[name] for name in known if np.isfinite(start[name])}
    most = POINTS_OF_FEW_ATOMS if settings.few_atoms else POINTS
    each = max(1, most // max(1, len(open_term.combinations(survey.species))))
    small = replace(settings.small(each), **resolved)
    if "cutoff" in asked and "cutoff" in resolved:
        largest = min(CUTOFF_FOLD * resolved["cutoff"], _limits(settings, "cutoff")[1])
        small = replace(small, cutoff=largest)
    opened = Opened.of(small, survey)
    widest = opened.term.with_blocks([block for block, _ in opened.blocks()])
    back: dict[str, float] = {n: resolved[n] for n in ("cutoff", "cutoff_width") if n in resolved}
    return (widest.at(back) if "cutoff" in asked and back else widest), widest


def _followed(coordinates: Coordinates, opened: Sequence[tuple[Term, Term]]) -> Coordinates:
    """The coordinates with the descriptors that the terms at the start assign to sparse points."""
    terms = list(coordinates.terms)
    for number, origins in coordinates.origins.items():
        if terms[number] is not opened[number][1]:
            terms[number] = terms[number].followed(coordinates.seen(terms[number], origins))
    return replace(coordinates, terms=tuple(terms))


def _coordinate(number: int, name: str, settings: TermSettings, term: Term) -> Coordinate:
    if name == "cutoff_width":
        return Coordinate(number, name, float(np.log(LEAST_WIDTH)), 0.0)
    value = term.hyperparameters()[name]
    fold = CUTOFF_FOLD if name == "cutoff" else FOLD
    least, largest = _limits(settings, name)
    low, high = max(value / fold, least), min(value * fold, largest)
    return Coordinate(number, name, float(np.log(low)), float(np.log(max(low, high))))


def _limits(settings: TermSettings, name: str) -> tuple[float, float]:
    """Smallest and largest value of a hyperparameter that the settings accept."""
    spec = next(spec for spec in fields(settings) if spec.name == name)
    schema = spec.metadata["read"].schema()
    schema = schema.get("anyOf", [schema])[0]
    return float(schema.get("minimum", 0.0)), float(schema.get("maximum", np.inf))


def _rounded(values: Mapping[str, float], term: Term) -> dict[str, Any]:
    """The values as settings: rounded to DIGITS, no width above its cutoff."""
    rounded: dict[str, Any] = {k: float(f"{v:.{DIGITS}g}") for k, v in values.items()}
    if "cutoff_width" in rounded:
        cutoff = rounded.get("cutoff", term.cutoff)
        rounded["cutoff_width"] = min(rounded["cutoff_width"], cutoff)
    return rounded
