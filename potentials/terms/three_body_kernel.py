"""Triplet functions as sums over sparse points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from forcemap.potentials.terms.base import Coefficients, MappedTerm, TermView, Triplet, joined
from typing_extensions import override

__all__ = ["ThreeBodyKernelSums", "ThreeBodyPoints"]

_PARTS = ("points", "factors", "constant", "lengthscales", "permutations")


@dataclass(frozen=True, eq=False)
class ThreeBodyPoints:
    """The sparse points of one triplet of species.

    Attributes:
        points: (n, 3) coordinates, with all their permutations.
        factors: (n,) eV; of draws (draws, n).
        constant: (1,) eV; of draws (draws, 1).
        lengthscales: (3,) of the coordinates.
        permutations: (m, 3) of the coordinates, from 0, the identity among them.
    """

    points: Coefficients
    factors: Coefficients
    constant: Coefficients
    lengthscales: Coefficients
    permutations: Coefficients


@dataclass(frozen=True, eq=False)
class ThreeBodyKernelSums(MappedTerm):
    """Energy of a centre and two neighbours as a sum of covariances with sparse points.

    The formula is that of :mod:`forcemap.potentials.file.potential_file`.

    Attributes:
        cutoff: Å, of r_ij and r_ik.
        transition: Å; where the cosine of the cutoff begins, before it.
        coordinates: "distances" (r_ij, r_ik, r_jk) or "sums" (r_ij + r_ik, (r_ij - r_ik)², r_jk).
        covariance: "squared_exponential" or "wendland".
        weight: "center", or "cluster" for a triangle that is counted once.
        pairs: "unordered", or "ordered" for neighbours of one species in both orders.
        tables: by symbols: the centre, then its neighbours, the lower atomic number first.
    """

    kind: ClassVar[str] = "three_body_kernel"

    cutoff: float
    transition: float
    coordinates: Literal["distances", "sums"]
    covariance: Literal["squared_exponential", "wendland"]
    weight: Literal["center", "cluster"]
    pairs: Literal["unordered", "ordered"]
    tables: Mapping[Triplet, ThreeBodyPoints]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "transition": float(self.transition),
            "coordinates": self.coordinates,
            "covariance": self.covariance,
            "weight": self.weight,
            "pairs": self.pairs,
            "tables": [list(triplet) for triplet in self.tables],
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        return {
            f"{joined(triplet)}.{part}": np.asarray(getattr(table, part), dtype=np.float64)
            for triplet, table in self.tables.items()
            for part in _PARTS
        }

    @classmethod
    @override
    def read(cls, view: TermView) -> ThreeBodyKernelSums:
        def points(triplet: Triplet) -> ThreeBodyPoints:
            return ThreeBodyPoints(*(view.arrays[f"{joined(triplet)}.{part}"] for part in _PARTS))

        words: dict[str, Any] = {  # the core has checked them
            name: view.document[name].string()
            for name in ("coordinates", "covariance", "weight", "pairs")
        }
        tables = {(c, a, b): points((c, a, b)) for c, a, b in view.tables()}
        return cls(
            cutoff=view.number("cutoff"),
            transition=view.number("transition"),
            tables=tables,
            **words,
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        names = ", ".join(joined(table) for table in document["tables"])
        return (
            f"cutoff {document['cutoff']:g} Å, {document['covariance'].replace('_', ' ')} of "
            f"{document['coordinates']}, exact: {names}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        return {"points": {joined(key): len(t.points) for key, t in self.tables.items()}}
