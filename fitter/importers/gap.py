"""A Gaussian approximation potential of QUIP, as its files describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from forcemap.fitter.importers.quip_arguments import Arguments
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.terms.base import MappedTerm
from numpy.typing import NDArray

__all__ = ["Brought", "Coordinate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One descriptor of a GAP with its covariance and its sparse points (``gpCoordinates``).

    The energy is the sum over the descriptor's instances x in a structure of

        fc(x) sum_m alphas[m] point_cutoffs[m] (delta² k(x, points[m]) + f0²)

    with the instance's cutoff factor fc and the covariance function k, which is 1 at equal points.

    Attributes:
        place: the file and the element, to begin messages with.
        label: of the XML.
        kind: the descriptor, the first word of its string, in lower case: "distance_2b", "soap".
        arguments: of the descriptor's string, texts by name, whatever the case of the names.
        covariance: "ard_se", "dot_product", "bond_real_space" or "pp".
        delta: eV; the covariance's amplitude.
        f0: eV; the amplitude of a constant part of the covariance.
        zeta: the exponent of a dot product; None of other covariances.
        theta: (dimension,) length scales; None of a dot product.
        permutations: (n, dimension) of the descriptor's numbers, from 0.
        points: (sparse points, dimension); there may be no sparse point.
        alphas: (sparse points,), 1/eV.
        point_cutoffs: (sparse points,) the factors ``sparseCutoff``.
    """

    place: str
    label: str
    kind: str
    arguments: Arguments
    covariance: str
    delta: float
    f0: float
    zeta: float | None
    theta: Array | None
    permutations: NDArray[np.intp]
    points: Array
    alphas: Array
    point_cutoffs: Array

    def fail(self, text: str) -> NoReturn:
        """Raise ForcemapError about the coordinate."""
        raise ForcemapError(f"{self.place}: {text}")


@dataclass(frozen=True, eq=False)
class Brought:
    """What becomes of some coordinates of a GAP.

    Attributes:
        terms: of the potential file.
        e0: shares of the isolated atoms' energies by atomic number, eV.
        notes: facts for the user, such as the error of an approximation that was asked for, by name.
    """

    terms: tuple[MappedTerm, ...]
    e0: Mapping[int, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
