"""The small terms by which data are examined, as the kinds of terms define them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.terms.base import Array, Term, TermSettings
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.errors import ForcemapError

__all__ = ["describing_term", "descriptors_of", "quick_terms"]


def quick_terms(sample: Sequence[Frame], cutoff: float | None = None) -> list[TermSettings]:
    """Settings of all terms of a quick fit, with one cutoff (Å): the one given, or the shortest."""
    survey = _survey(sample)
    found = [kind.quick(survey) for kind in SETTINGS.values()]
    terms = [term for term in found if term is not None]
    reach = cutoff or min(term.cutoff for term in terms if term.cutoff is not None)
    return [replace(term, cutoff=reach) for term in terms]


def describing_term(sample: Sequence[Frame], cutoff: float | None = None) -> Term:
    """The term among them whose candidates tell environments of atoms apart; without sparse points.

    Raises ForcemapError for structures that cannot be used.
    """
    survey = _survey(sample)
    for settings in quick_terms(sample, cutoff):
        term = settings.open(survey)
        if term.bodies == 1 and term.sees_angles:
            return term
    raise ForcemapError("no kind of term describes environments")


def descriptors_of(term: Term, frame: Frame, center: int) -> Array:
    """(n, dimension) descriptors of the atoms of one element, in their order."""
    found = term.candidates(Structure(frame, term.cutoff, derivatives=False))
    return found.get((center,), np.zeros((0, 0)))


def _survey(sample: Sequence[Frame]) -> Survey:
    return Survey(sample, tuple(sorted({int(z) for frame in sample for z in frame.numbers})))
