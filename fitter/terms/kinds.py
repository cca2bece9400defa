"""The registry of the kinds of terms: one line each, with its settings and its terms."""

from __future__ import annotations

from typing import NamedTuple

from forcemap.fitter.terms.base import Term, TermSettings
from forcemap.fitter.terms.bispectrum import BispectrumSettings, BispectrumTerm
from forcemap.fitter.terms.constants import ConstantsTerm
from forcemap.fitter.terms.embedding import EmbeddingSettings, EmbeddingTerm
from forcemap.fitter.terms.nbody import NBodySettings, NBodyTerm
from forcemap.fitter.terms.soap.settings import SoapSettings
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.fitter.terms.three_body import ThreeBodySettings, ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodySettings, TwoBodyTerm

__all__ = ["KINDS", "SETTINGS", "TERMS", "Kind", "register"]


class Kind(NamedTuple):
    """A kind of term.

    Attributes:
        term: class of its terms.
        settings: class of its settings; None for a kind that the fit adds by itself.
    """

    term: type[Term]
    settings: type[TermSettings] | None


KINDS: list[Kind] = []
"""All kinds, in the order in which messages list them."""

TERMS: dict[str, type[Term]] = {}
"""Terms by the name of their kind in model files."""

SETTINGS: dict[str, type[TermSettings]] = {}
"""Settings by the name of their kind in settings files."""


def register(term: type[Term], settings: type[TermSettings] | None = None) -> None:
    """Enter a kind in the registry."""
    KINDS.append(Kind(term, settings))
    TERMS[term.kind] = term
    if settings is not None:
        SETTINGS[settings.kind] = settings


register(TwoBodyTerm, TwoBodySettings)
register(ThreeBodyTerm, ThreeBodySettings)
register(EmbeddingTerm, EmbeddingSettings)
register(SoapTerm, SoapSettings)
register(BispectrumTerm, BispectrumSettings)
register(NBodyTerm, NBodySettings)
register(ConstantsTerm)
