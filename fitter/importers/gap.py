"""A Gaussian approximation potential of QUIP, as its files describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from forcemap.potentials.terms.base import MappedTerm
from numpy.typing import NDArray

__all__ = ["Brought", "Coordinate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One descriptor of a GAP with its covariance and its sparse points (``gpCoordinates``).

    Attributes:
        label: of the XML, for messages.
        kind: the descriptor, the first word of its string: "distance_2b", "soap".
        arguments: of the descriptor's string, text by name; names in lower case.
        covariance: "ard_se", "dot_product", "pp", ...
        delta: eV; the covariance's amplitude.
        f0: eV; a constant share of the energy of each descriptor, delta aside.
        zeta: the exponent of a dot product; None of other covariances.
        theta: (dimension,) length scales; None of a dot product.
        permutations: (n, dimension) of the descriptor's numbers, from 0.
        points: (sparse points, dimension).
        alphas: (sparse points,).
        point_cutoffs: (sparse points,) the factors ``sparseCutoff``.
    """

    label: str
    kind: str
    arguments: Mapping[str, str]
    covariance: str
    delta: float
    f0: float
    zeta: float | None
    theta: Array | None
    permutations: NDArray[np.intp]
    points: Array
    alphas: Array
    point_cutoffs: Array


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
