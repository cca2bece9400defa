"""The terms of a process with their sparse points, from settings and a survey of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.config import Settings
from forcemap.fitter.process.survey import Survey, shortest_distances
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sparse.candidates import Pool, candidate_pools
from forcemap.fitter.sparse.methods import chosen_blocks
from forcemap.fitter.terms.base import Array, Block, Species, Term, TermSettings, named
from forcemap.fitter.terms.constants import ConstantsTerm
from forcemap.fitter.terms.kinds import TERMS
from forcemap.potentials.errors import ForcemapError

__all__ = [
    "Opened",
    "Prior",
    "added_terms",
    "alternatives",
    "dropped_points",
    "nothing_to_fit",
    "widest_cutoff",
]

QUICK = 0.3
"""Time of choosing the sparse points of a term whose functions are quick; of a slow one it is 1."""

FAR = 15.0
"""Range of the search for the two closest atoms, Å."""


def alternatives(settings: Settings, survey: Survey) -> list[Settings]:
    """The alternative settings for the evidence to judge, with every choice made.

    If several terms leave choices open, their first alternatives go together, then the second ones.
    """
    offered = [term.alternatives(survey) for term in settings.terms]
    choices = []
    for n in range(max(len(options) for options in offered)):
        terms = [term for options in offered for term in options[min(n, len(options) - 1)]]
        choices.append(replace(settings, terms=tuple(terms)))
    return choices


def widest_cutoff(settings: Settings) -> float:
    """Largest cutoff of all terms, Å."""
    return max(term.cutoff or 0.0 for term in settings.terms)


def added_terms(survey: Survey) -> list[Term]:
    """Terms with their blocks that a fit adds to those of its settings.

    A constant of each species whose energy of isolated atoms is uncertain is fitted together with the
    terms; there is one term for each size of uncertainty.
    """
    by_sigma: dict[float, list[int]] = {}
    for z, sigma in sorted(survey.uncertain_atoms.items()):
        by_sigma.setdefault(sigma, []).append(z)
    return [ConstantsTerm.of(species, sigma) for sigma, species in by_sigma.items()]


@dataclass(frozen=True, eq=False)
class Prior:
    """The terms of a process before its data are seen.

    Attributes:
        terms: terms with their sparse points.
        factors: Cholesky factor of every block's covariance, unit variance.
    """

    terms: tuple[Term, ...]
    factors: tuple[Array, ...]

    @classmethod
    def of(
        cls,
        settings: Settings,
        survey: Survey,
        advance: Callable[[], Any] = lambda: None,
        run: Run | None = None,
    ) -> Prior:
        """The terms of the settings, each with sparse points chosen from the data.

        The ranks of `run`, which call this together, share the terms, their threads the frames and
        blocks of each. On the first rank all terms are there, on others none need be.
        """
        run = run or Run()

        def chosen(asked: TermSettings) -> tuple[Term, list[Array]]:
            opened = Opened.of(asked, survey, jobs=run.jobs)
            blocks = opened.blocks(run.jobs)
            advance()
            return opened.term.with_blocks([b for b, _ in blocks]), [factor for _, factor in blocks]

        terms: list[Term] = []
        factors: list[Array] = []
        costs = [1.0 if TERMS[term.kind].is_slow else QUICK for term in settings.terms]
        for term, own in run.ranks.map_in_order(chosen, settings.terms, costs, jobs=1):
            terms.append(term)
            factors.extend(own)
        for term in added_terms(survey):
            terms.append(term)
            factors.extend(
                scipy.linalg.cholesky(term.covariance(block), lower=True) for block in term.blocks
            )
        return cls(tuple(terms), tuple(factors))

    @property
    def size(self) -> int:
        """Number of sparse points."""
        return sum(term.size for term in self.terms)


@dataclass(frozen=True)
class Opened:
    """A term with its candidates, before its sparse points are chosen.

    Attributes:
        settings: the settings it was opened from.
        term: the term, its hyperparameters resolved from the data.
        pools: candidates by combination of species.
        combinations: number of combinations of species that the term has functions for.
        atoms: number of atoms of the frames that were searched.
        rng: generator of random numbers for the choice.
    """

    settings: TermSettings
    term: Term
    pools: Mapping[Species, Pool]
    combinations: int
    atoms: int
    rng: np.random.Generator

    @classmethod
    def of(
        cls,
        settings: TermSettings,
        survey: Survey,
        most_seconds: float | None = None,
        jobs: int = 1,
    ) -> Opened:
        """The term opened on a survey; with `most_seconds`, the search may stop after some frames."""
        term = settings.open(survey)
        rng = survey.rng()
        raw_pools, atoms = candidate_pools(survey.frames, term, rng, most_seconds, jobs)
        term, pools = term.fitted_to(raw_pools)
        return cls(settings, term, pools, len(term.combinations(survey.species)), atoms, rng)

    @property
    def method(self) -> str:
        """Method by which sparse points are chosen."""
        return self.settings.sparse_method or self.settings.default_method

    def wanted(self, species: Species, candidates: int) -> int:
        """Number of sparse points to choose, if there are as many."""
        return self.settings.points_wanted(species, candidates, self.combinations)

    def blocks(self, jobs: int = 1) -> list[tuple[Block, Array]]:
        """Sparse points chosen from the candidates, with the factors of their covariances."""
        counts = {s: self.wanted(s, len(pool.points)) for s, pool in self.pools.items()}
        return chosen_blocks(
            *(self.term, self.pools, self.method, counts, self.settings.quotas, self.rng, jobs)
        )


def dropped_points(settings: Settings, terms: Sequence[Term]) -> list[str]:
    """A line for every block with fewer sparse points than the settings ask for."""
    lines = []
    for wanted, term in zip(settings.terms, terms, strict=False):
        for block in term.blocks:
            asked = wanted.points_given(block.species)
            if asked is not None and block.size < asked:
                lines.append(
                    f"{term.kind} {named(block.species)}: {block.size} of {asked} sparse points; the "
                    "data hold no more, or the others repeat these"
                )
    return lines


def nothing_to_fit(settings: Settings, survey: Survey) -> ForcemapError:
    """The error for cutoffs shorter than all distances, with the shortest distance in the data."""
    distances = shortest_distances(survey.frames, FAR).values()
    where = f"is {min(distances):.3g} Å" if distances else f"is more than {FAR:g} Å"
    return ForcemapError(
        f"there is nothing to fit: the largest cutoff of the terms is {widest_cutoff(settings):g} Å, "
        f"the shortest distance of two atoms of the training frames {where}; cutoffs and positions "
        "are meant in Å, and weights must not be 0"
    )
