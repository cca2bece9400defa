"""Triplet functions with cosine cutoffs: sums over sparse points, or splines in their place."""

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
        covariance: "squared_exponential" or "wendland"; or "spline" of the coordinates.
        weight: "center", or "cluster" for a triangle that is counted once.
        pairs: "unordered", or "ordered" for neighbours of one species in both orders.
        tables: by symbols: the centre, then its neighbours, the lower atomic number first; of
            splines (n + 3, m + 3, l + 3) coefficients, eV.
        intervals: of splines, (n, m, l), over `ranges`.
    """

    kind: ClassVar[str] = "three_body_kernel"

    cutoff: float
    transition: float
    coordinates: Literal["distances", "sums"]
    covariance: Literal["squared_exponential", "wendland", "spline"]
    weight: Literal["center", "cluster"]
    pairs: Literal["unordered", "ordered"]
    tables: Mapping[Triplet, ThreeBodyPoints | Coefficients]
    intervals: tuple[int, ...] = ()

    @property
    def ranges(self) -> tuple[float, float, float]:
        """Largest values of the coordinates."""
        if self.coordinates == "sums":
            return 2.0 * self.cutoff, self.cutoff**2, 2.0 * self.cutoff
        return self.cutoff, self.cutoff, 2.0 * self.cutoff

    @override
    def document(self) -> dict[str, Any]:
        intervals = {"intervals": [int(n) for n in self.intervals]}
        return (intervals if self.covariance == "spline" else {}) | {
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
        tensors: dict[str, Coefficients] = {}
        for triplet, table in self.tables.items():
            if isinstance(table, ThreeBodyPoints):
                for part in _PARTS:
                    values = np.asarray(getattr(table, part), dtype=np.float64)
                    tensors[f"{joined(triplet)}.{part}"] = values
            else:
                tensors[f"{joined(triplet)}.values"] = table
        return tensors

    @classmethod
    @override
    def read(cls, view: TermView) -> ThreeBodyKernelSums:
        is_spline = view.document["covariance"].string() == "spline"

        def table(triplet: Triplet) -> ThreeBodyPoints | Coefficients:
            if is_spline:
                return view.arrays[f"{joined(triplet)}.values"]
            return ThreeBodyPoints(*(view.arrays[f"{joined(triplet)}.{part}"] for part in _PARTS))

        words: dict[str, Any] = {  # the core has checked them
            name: view.document[name].string()
            for name in ("coordinates", "covariance", "weight", "pairs")
        }
        tables = {(c, a, b): table((c, a, b)) for c, a, b in view.tables()}
        counts = view.document["intervals"] if is_spline else ()
        return cls(
            cutoff=view.number("cutoff"),
            transition=view.number("transition"),
            tables=tables,
            **words,
            intervals=tuple(count.integer(1, 2**31) for count in counts),
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        names = ", ".join(joined(table) for table in document["tables"])
        if document["covariance"] == "spline":
            return (
                f"cutoff {document['cutoff']:g} Å, "
                f"{' x '.join(str(n) for n in document['intervals'])} intervals: {names}"
            )
        return (
            f"cutoff {document['cutoff']:g} Å, {document['covariance'].replace('_', ' ')} of "
            f"{document['coordinates']}, exact: {names}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        if self.covariance == "spline":
            return {"intervals": list(self.intervals)}
        tables = {k: t for k, t in self.tables.items() if isinstance(t, ThreeBodyPoints)}
        return {"points": {joined(key): len(table.points) for key, table in tables.items()}}
