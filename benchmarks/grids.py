"""Maps a fitted process onto given grids, where ``forcemap map`` chooses them by a tolerance."""

from __future__ import annotations

from dataclasses import replace

from forcemap.fitter import Model
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.fitter.terms.base import MapPlan
from forcemap.fitter.terms.distances import DistanceTerm
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines

__all__ = ["exact", "table_sizes", "tabulate"]


def exact(model: Model) -> Model:
    """The process of the same sparse points and weights with its exact, not projected, kernels."""
    terms = tuple(
        replace(term, grid=None) if isinstance(term, DistanceTerm) else term for term in model.terms
    )
    return replace(model, terms=terms)


def tabulate(
    model: Model, two_body: int, legs: int, base: int, jobs: int = 1, bare: bool = False
) -> PotentialData:
    """The potential of `model` on tables of given numbers of intervals.

    Args:
        model: the process.
        two_body: intervals of every two-body table.
        legs, base: intervals of every three-body table, over [0, cutoff] and [0, 2 cutoff].
        jobs: threads.
        bare: leave out all but splines: the isolated atoms' energies and the core.
    """
    grids = {1: (two_body,), 3: (legs, base)}
    terms = tuple(
        replace(term, grid=grids[term.dimension]) if isinstance(term, DistanceTerm) else term
        for term in model.terms
    )
    data = Tabulation(replace(model, terms=terms), MapPlan(jobs=jobs)).data()
    if not bare:
        return data
    tables = (TwoBodySplines, ThreeBodySplines)
    return PotentialData(
        data.species,
        dict.fromkeys(data.species, 0.0),
        tuple(term for term in data.terms if isinstance(term, tables)),
    )


def table_sizes(data: PotentialData) -> tuple[str, float]:
    """Intervals of the tables, such as ``50 + 30x40``, and MB of the three-body ones."""
    shown, size = [], 0
    for term in data.terms:
        if isinstance(term, TwoBodySplines):
            shown.append(str(term.intervals))
        elif isinstance(term, ThreeBodySplines):
            shown.append(f"{term.leg_intervals}x{term.base_intervals}")
            size += sum(table.nbytes for table in term.tables.values())
    return " + ".join(shown), size / 1e6
