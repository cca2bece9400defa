"""The extrapolation grade of an atom: how far its neighbourhood is from those of the training frames.

It is the Mahalanobis distance of the neighbourhood's features, |whitening (x - mean)|, with the
whitening scaled so that 1 is the 99 % quantile of the training atoms; and where a neighbour is nearer
(r) than the data's shortest distance s of that pair of elements, at least s / r.

The features come from what a step computes anyway: a mapped term may have some (`MappedTerm.features`),
which stand one after the other in the order of the terms. A potential whose terms have too few of
them has moments of the neighbours' density instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_RADIAL", "AngularMoments", "Grade", "Moments"]

Array = NDArray[np.float64]

MOST_RADIAL = 16


@dataclass(frozen=True)
class AngularMoments:
    """The part of `Moments` that knows angles.

    Attributes:
        cutoff: Å.
        radial: number of radial functions, 1 to MOST_RADIAL.
    """

    cutoff: float
    radial: int


@dataclass(frozen=True)
class Moments:
    """Invariant moments of the density of an atom's neighbours, as features.

    The radial functions are f_n(x) = (1 - x)² T_n(2 x - 1), n < radial, T_n of Chebyshev, and zero
    for x > 1. A function and a species of neighbours make a channel, a = (species, n), species by
    increasing atomic number. With x = r / cutoff, and y = r / angular.cutoff for channels of
    angular.radial functions, the features are

        s_a = sum_j f_a(x_j),
        p_l,ab = sum_jk f_a(y_j²) f_b(y_k²) (y_j y_k)^l P_l(cos theta_jk),   l = 1, 2, a <= b,

    P_l of Legendre, j and k also the same neighbour: first all s_a, then for each l the p_l,ab, b
    running faster. In this form the second need no more than products of the neighbours' coordinates.

    Attributes:
        cutoff: Å.
        radial: number of radial functions, 1 to MOST_RADIAL.
        angular: None without angles.
    """

    cutoff: float
    radial: int
    angular: AngularMoments | None = None

    def count(self, species: int) -> int:
        """How many features an atom has in a potential of so many species."""
        channels = species * self.angular.radial if self.angular else 0
        return species * self.radial + channels * (channels + 1)

    def document(self) -> dict[str, Any]:
        """As files hold it."""
        found: dict[str, Any] = {"cutoff": self.cutoff, "radial": self.radial}
        return found | ({} if self.angular is None else {"angular": asdict(self.angular)})

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Moments:
        """From the entry of a checked file."""
        angular = document.get("angular")
        return cls(
            float(document["cutoff"]),
            int(document["radial"]),
            None if angular is None else AngularMoments(**angular),
        )


@dataclass(frozen=True, eq=False)
class Grade:
    """What a potential grades atoms by.

    Attributes:
        shortest: the data's shortest distances, Å, by pair of symbols, the lower atomic number first.
        centers: by symbol the mean (features,) of the training atoms' features and the whitening
            (features, features), lower triangular.
        moments: the features, where they are not those of the terms.
    """

    shortest: Mapping[tuple[str, str], float]
    centers: Mapping[str, tuple[Array, Array]]
    moments: Moments | None = field(default=None)

    def document(self) -> dict[str, Any]:
        """As files hold it, but for the tensors."""
        return {
            "shortest": [
                {"species": list(pair), "distance": float(s)} for pair, s in self.shortest.items()
            ],
            "centers": [
                {"species": symbol, "features": len(mean)}
                for symbol, (mean, _) in self.centers.items()
            ],
        } | ({} if self.moments is None else {"moments": self.moments.document()})

    def tensors(self) -> dict[str, Array]:
        """Arrays by name, which the file prefixes with ``grade.``."""
        tensors = {}
        for symbol, (mean, whitening) in self.centers.items():
            tensors[f"{symbol}.mean"] = np.asarray(mean, dtype=np.float64)
            tensors[f"{symbol}.whitening"] = np.asarray(whitening, dtype=np.float64)
        return tensors

    @classmethod
    def read(cls, document: Mapping[str, Any], tensors: Mapping[str, Array]) -> Grade:
        """From a checked file's entry and its tensors, without the prefix."""
        moments = document.get("moments")
        return cls(
            shortest={tuple(e["species"]): float(e["distance"]) for e in document["shortest"]},
            centers={
                symbol: (tensors[f"{symbol}.mean"], tensors[f"{symbol}.whitening"])
                for entry in document["centers"]
                for symbol in (entry["species"],)
            },
            moments=None if moments is None else Moments.read(moments),
        )
