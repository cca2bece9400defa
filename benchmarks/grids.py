"""Maps a fitted process onto given grids, where ``forcemap map`` chooses them by a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from forcemap.fitter import Model
from forcemap.fitter.baseline.baseline import repulsion_terms
from forcemap.fitter.terms.distances import FewBodyTerm
from forcemap.fitter.mapping.map import Functions
from forcemap.fitter.terms.splines import spline_coefficients
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines

__all__ = ["exact", "table_sizes", "tabulate"]


def exact(model: Model) -> Model:
    """The process of the same sparse points and weights with its exact, not projected, kernels."""
    terms = tuple(
        replace(term, grid=None, products={}) if isinstance(term, FewBodyTerm) else term
        for term in model.terms
    )
    return replace(model, terms=terms)


def tabulate(
    model: Model, two_body: int, legs: int, base: int, jobs: int = 1, bare: bool = False
) -> PotentialData:
    """The potential of `model` on tables of so many intervals.

    Args:
        model: the process.
        two_body: intervals of every two-body table.
        legs, base: intervals of every three-body table, over [0, cutoff] and [0, 2 cutoff].
        jobs: threads.
        bare: leave out what is not a spline, the isolated atoms' energies and the core.
    """
    functions = Functions(model, jobs)
    terms: list[Any] = []
    for t, term in enumerate(model.terms):
        if not isinstance(term, FewBodyTerm):
            continue
        if term.kind == "two_body":
            pairs = {}
            for b, block in enumerate(term.blocks):
                values = functions.pair_table(t, block, functions.weights[t, b], two_body)
                pair = (SYMBOLS[block.species[0]], SYMBOLS[block.species[1]])
                pairs[pair] = spline_coefficients(values, fading=1)
            terms.append(TwoBodySplines(term.cutoff, two_body, pairs))
        else:
            knots = (
                np.linspace(0.0, term.cutoff, legs + 1),
                np.linspace(0.0, 2.0 * term.cutoff, base + 1),
            )
            triplets = {}
            for (centre, a, b), values in functions.triplet_table(t, knots).items():
                table = spline_coefficients(values, fading=2)
                if a == b:
                    table = 0.5 * (table + table.transpose(1, 0, 2))
                triplets[SYMBOLS[centre], SYMBOLS[a], SYMBOLS[b]] = table
            terms.append(ThreeBodySplines(term.cutoff, legs, base, triplets))
    e0: Mapping[int, float] = dict.fromkeys(model.species, 0.0)
    if not bare:
        terms.extend(core_terms(model.core))
        e0 = model.atom_energies()
    species = tuple(SYMBOLS[z] for z in model.species)
    return PotentialData(species, {SYMBOLS[z]: float(e0[z]) for z in model.species}, tuple(terms))


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
