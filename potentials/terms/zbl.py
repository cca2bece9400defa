"""The repulsion of atoms that come nearer than the data: Ziegler, Biersack and Littmark (1985).

In the switched form of LAMMPS' ``pair_style zbl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, Pair, TermView
from typing_extensions import override

__all__ = ["ZblPairs"]


@dataclass(frozen=True, eq=False)
class ZblPairs(MappedTerm):
    """Switched ZBL repulsion: for each pair of species the distances (inner, outer) in Å."""

    kind: ClassVar[str] = "zbl"

    pairs: Mapping[Pair, tuple[float, float]]

    @override
    def document(self) -> dict[str, Any]:
        return {
            "pairs": [
                {"species": list(species), "inner": float(inner), "outer": float(outer)}
                for species, (inner, outer) in self.pairs.items()
            ]
        }

    def tensors(self) -> dict[str, Coefficients]:
        """None: the function is universal."""
        return {}

    @classmethod
    @override
    def read(cls, view: TermView) -> ZblPairs:
        pairs = {}
        for item in view.document["pairs"]:
            a, b = (symbol.string() for symbol in item["species"])
            pairs[a, b] = item["inner"].number(), item["outer"].number()
        return cls(pairs)

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        return ", ".join(
            f"{'-'.join(pair['species'])} whole below {pair['inner']:.3g} Å, "
            f"gone beyond {pair['outer']:.3g} Å"
            for pair in document["pairs"]
        )
