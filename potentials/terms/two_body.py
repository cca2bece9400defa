"""Pair functions on splines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, Pair, TermView, joined
from typing_extensions import override

__all__ = ["TwoBodySplines"]


@dataclass(frozen=True, eq=False)
class TwoBodySplines(MappedTerm):
    """Half the pair energy as a spline of the distance, for each pair of species.

    Attributes:
        cutoff: Å.
        intervals: of the splines over [0, cutoff].
        tables: (intervals + 3,) eV by pair of symbols, the lower atomic number first; of draws
            (draws, intervals + 3).
    """

    kind: ClassVar[str] = "two_body"

    cutoff: float
    intervals: int
    tables: Mapping[Pair, Coefficients]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "intervals": int(self.intervals),
            "tables": [list(pair) for pair in self.tables],
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        return {joined(pair): table for pair, table in self.tables.items()}

    @classmethod
    @override
    def read(cls, view: TermView) -> TwoBodySplines:
        tables = {(a, b): view.arrays[joined((a, b))] for a, b in view.tables()}
        return cls(view.number("cutoff"), view.integer("intervals"), tables)

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        names = ", ".join(joined(table) for table in document["tables"])
        megabytes = 8e-6 * (document["intervals"] + 3) * len(document["tables"])
        return (
            f"cutoff {document['cutoff']:g} Å, {document['intervals']} intervals, "
            f"{megabytes:.2g} MB: {names}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        return {"intervals": self.intervals}
