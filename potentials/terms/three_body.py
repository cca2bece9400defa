"""Triplet functions on splines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, TermView, Triplet, joined
from typing_extensions import override

__all__ = ["ThreeBodySplines"]


@dataclass(frozen=True, eq=False)
class ThreeBodySplines(MappedTerm):
    """Energy of a centre and two neighbours as a spline of (r_ij, r_ik, r_jk).

    Attributes:
        cutoff: Å, of r_ij and r_ik.
        leg_intervals: of r_ij and r_ik over [0, cutoff].
        base_intervals: of r_jk over [0, 2 cutoff].
        tables: (leg_intervals + 3, leg_intervals + 3, base_intervals + 3) eV by symbols: the
            centre, then its neighbours, the lower atomic number first; of draws one axis
            more, in front.
    """

    kind: ClassVar[str] = "three_body"

    cutoff: float
    leg_intervals: int
    base_intervals: int
    tables: Mapping[Triplet, Coefficients]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "leg_intervals": int(self.leg_intervals),
            "base_intervals": int(self.base_intervals),
            "tables": [list(triplet) for triplet in self.tables],
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        return {joined(triplet): table for triplet, table in self.tables.items()}

    @classmethod
    @override
    def read(cls, view: TermView) -> ThreeBodySplines:
        return cls(
            view.number("cutoff"),
            view.integer("leg_intervals"),
            view.integer("base_intervals"),
            {(c, a, b): view.arrays[joined((c, a, b))] for c, a, b in view.tables()},
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        legs, base = document["leg_intervals"], document["base_intervals"]
        names = ", ".join(joined(table) for table in document["tables"])
        megabytes = 8e-6 * (legs + 3) ** 2 * (base + 3) * len(document["tables"])
        return (
            f"cutoff {document['cutoff']:g} Å, {legs} × {legs} × {base} intervals, "
            f"{megabytes:.2g} MB: {names}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        return {"leg_intervals": self.leg_intervals, "base_intervals": self.base_intervals}
