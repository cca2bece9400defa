"""Triplet functions on splines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
from forcemap.potentials.terms.base import (
    Coefficients,
    MappedTerm,
    Tensor,
    TermView,
    Triplet,
    joined,
)
from numpy.typing import NDArray
from typing_extensions import override

__all__ = ["ThreeBodySplines"]

Places: TypeAlias = NDArray[np.intp]


def _reach(legs: int, base: int) -> tuple[Places, Places]:
    """(legs + 3, legs + 3) of each row of a table the first and the last coefficient of `_reached`."""
    a = np.arange(legs + 3)
    low, high = np.maximum(a - 3, 0), np.minimum(a + 1, legs)
    apart = np.maximum(low[None, :] - high[:, None], 0)
    gap, total = np.maximum(apart, apart.T), high[:, None] + high[None, :]
    return gap * base // (2 * legs), -(-total * base // (2 * legs)) + 2


@lru_cache(maxsize=8)
def _reached(legs: int, base: int, same: bool) -> Places:
    """Where in a flat table of so many intervals the coefficients are that some triangle reaches.

    By increasing index; of a table that is symmetric in the first two indices, as the neighbours are
    of one species (`same`), those with the first not above the second. What is reached is described
    in `forcemap.potentials.file.potential_file`; the numbers are whole, so that it is the same
    everywhere.
    """
    first, last = _reach(legs, base)
    a, c = np.arange(legs + 3), np.arange(base + 3)
    kept = (c >= first[:, :, None]) & (c <= last[:, :, None])
    if same:
        kept &= (a[:, None] <= a)[:, :, None]
    return np.flatnonzero(kept)


@dataclass(frozen=True, eq=False)
class ThreeBodySplines(MappedTerm):
    """Energy of a centre and two neighbours as a spline of (r_ij, r_ik, r_jk).

    Attributes:
        cutoff: Å, of r_ij and r_ik.
        leg_intervals: of r_ij and r_ik over [0, cutoff].
        base_intervals: of r_jk over [0, 2 cutoff].
        tables: (leg_intervals + 3, leg_intervals + 3, base_intervals + 3) eV by symbols: the
            centre, then its neighbours, the lower atomic number first; of draws what `drawn` keeps
            of them, one axis more in front.
    """

    kind: ClassVar[str] = "three_body"

    cutoff: float
    leg_intervals: int
    base_intervals: int
    tables: Mapping[Triplet, NDArray[Any]]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "leg_intervals": int(self.leg_intervals),
            "base_intervals": int(self.base_intervals),
            "tables": [list(triplet) for triplet in self.tables],
        }

    @override
    def tensors(self) -> Mapping[str, Tensor]:
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

    @staticmethod
    def drawn(tables: Coefficients, same: bool) -> NDArray[np.float32]:
        """Of whole tables of draws (draws, leg + 3, leg + 3, base + 3) what is kept: (draws, n).

        That is, in single precision, the coefficients that some triangle reaches; one half where the
        neighbours are of one species (`same`).
        """
        draws, legs, _, base = tables.shape
        flat = tables.reshape(draws, -1)
        return flat[:, _reached(legs - 3, base - 3, same)].astype(np.float32)

    @staticmethod
    def drawn_bytes(leg_intervals: int, base_intervals: int, same: bool) -> int:
        """Of what is kept of the table of one draw, in a file and in memory."""
        first, last = _reach(leg_intervals, base_intervals)
        counts = last - first + 1
        return 4 * int((np.triu(counts) if same else counts).sum())

    def whole(self, triplet: Triplet) -> Coefficients:
        """The whole tables of draws; zeros where no triangle reaches."""
        kept, same = self.tables[triplet], triplet[1] == triplet[2]
        legs, base = self.leg_intervals + 3, self.base_intervals + 3
        flat = np.zeros((len(kept), legs * legs * base))
        flat[:, _reached(legs - 3, base - 3, same)] = kept
        tables = flat.reshape(-1, legs, legs, base)
        if same:
            first, second = np.tril_indices(legs, -1)
            tables[:, first, second] = tables[:, second, first]
        return tables

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
