"""Functions of the neighbours' density, on splines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, Pair, TermView, joined
from typing_extensions import override

__all__ = ["EmbeddingCenter", "EmbeddingFunctions"]


@dataclass(frozen=True, eq=False)
class EmbeddingCenter:
    """Energy of the atoms of one species as a spline of the density at them.

    Attributes:
        range: of the density; the function is linear beyond.
        coefficients: (intervals + 3,) eV; (draws, intervals + 3) of draws.
    """

    range: float
    coefficients: Coefficients


@dataclass(frozen=True, eq=False)
class EmbeddingFunctions(MappedTerm):
    """Site energies that depend on the density of the neighbours, a sum over them.

    Attributes:
        cutoff: Å.
        intervals: of the densities over [0, cutoff].
        densities: (intervals + 3,) by symbols, the centre first, then the neighbour.
        centers: by symbol.
    """

    kind: ClassVar[str] = "embedding"

    cutoff: float
    intervals: int
    densities: Mapping[Pair, Coefficients]
    centers: Mapping[str, EmbeddingCenter]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "intervals": int(self.intervals),
            "tables": [list(pair) for pair in self.densities],
            "centers": [
                {
                    "species": symbol,
                    "intervals": center.coefficients.shape[-1] - 3,
                    "range": float(center.range),
                }
                for symbol, center in self.centers.items()
            ],
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        tensors = {joined(pair): table for pair, table in self.densities.items()}
        return tensors | {symbol: c.coefficients for symbol, c in self.centers.items()}

    @classmethod
    @override
    def read(cls, view: TermView) -> EmbeddingFunctions:
        densities = {(a, b): view.arrays[joined((a, b))] for a, b in view.tables()}
        centers = {
            symbol: EmbeddingCenter(item["range"].number(), view.arrays[symbol])
            for item in view.document["centers"]
            for symbol in (item["species"].string(),)
        }
        return cls(view.number("cutoff"), view.integer("intervals"), densities, centers)

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        names = ", ".join(joined(table) for table in document["tables"])
        centers = ", ".join(
            f"{c['species']} {c['intervals']} intervals" for c in document["centers"]
        )
        return (
            f"cutoff {document['cutoff']:g} Å, densities {names} of {document['intervals']} "
            f"intervals, functions of {centers}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        counts = {symbol: c.coefficients.shape[-1] - 3 for symbol, c in self.centers.items()}
        return {"intervals": self.intervals, "density_intervals": counts}
