"""Functions of the power spectrum of the neighbours' density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, TermView
from typing_extensions import override

__all__ = ["SoapCenter", "SoapFunctions"]


@dataclass(frozen=True, eq=False)
class SoapCenter:
    """Energy of the atoms of one species as a function of their power spectrum.

    Attributes:
        factors: (count,) eV.
        vectors: (count, dimension).
        constant: eV.
    """

    factors: Coefficients
    vectors: Coefficients
    constant: float


@dataclass(frozen=True, eq=False)
class SoapFunctions(MappedTerm):
    """Site energies that depend on the power spectrum of the neighbours' density.

    Attributes:
        cutoff: Å.
        intervals: of the radial splines over [0, cutoff].
        n_max, l_max: numbers of radial functions and largest order of spherical harmonics.
        zeta: the exponent.
        radial: (intervals + 3, l_max + 1, n_max).
        self_density: (n_max,).
        weights: (channels, species).
        centers: by symbol.
    """

    kind: ClassVar[str] = "soap"

    cutoff: float
    intervals: int
    n_max: int
    l_max: int
    zeta: int
    radial: Coefficients
    self_density: Coefficients
    weights: Coefficients
    centers: Mapping[str, SoapCenter]

    @property
    def rank(self) -> int:
        """Vectors of the largest form."""
        return max(len(center.factors) for center in self.centers.values())

    @property
    def dimension(self) -> int:
        """Numbers of the power spectrum."""
        return _dimension(len(self.weights), self.n_max, self.l_max)

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff": float(self.cutoff),
            "intervals": int(self.intervals),
            "n_max": int(self.n_max),
            "l_max": int(self.l_max),
            "channels": len(self.weights),
            "zeta": int(self.zeta),
            "centers": [
                {"species": symbol, "count": len(c.factors), "constant": float(c.constant)}
                for symbol, c in self.centers.items()
            ],
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        tensors = {"radial": self.radial, "self": self.self_density, "weights": self.weights}
        for symbol, center in self.centers.items():
            tensors[f"{symbol}.vectors"] = center.vectors
            tensors[f"{symbol}.factors"] = center.factors
        return tensors

    @classmethod
    @override
    def read(cls, view: TermView) -> SoapFunctions:
        centers = {}
        for item in view.document["centers"]:
            symbol = item["species"].string()
            centers[symbol] = SoapCenter(
                view.arrays[f"{symbol}.factors"],
                view.arrays[f"{symbol}.vectors"],
                item["constant"].number(),
            )
        return cls(
            cutoff=view.number("cutoff"),
            intervals=view.integer("intervals"),
            n_max=view.integer("n_max"),
            l_max=view.integer("l_max"),
            zeta=view.integer("zeta"),
            radial=view.arrays["radial"],
            self_density=view.arrays["self"],
            weights=view.arrays["weights"],
            centers=centers,
            draws=view.draws,
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        centers = ", ".join(f"{c['species']} {c['count']} vectors" for c in document["centers"])
        dimension = _dimension(document["channels"], document["n_max"], document["l_max"])
        return (
            f"cutoff {document['cutoff']:g} Å, n_max {document['n_max']}, l_max {document['l_max']}, "
            f"zeta {document['zeta']}, {document['channels']} species channels, "
            f"{dimension} numbers: {centers}"
        )

    @override
    def sizes(self) -> dict[str, Any]:
        return {
            "zeta": self.zeta,
            "dimension": self.dimension,
            "vectors": {symbol: len(c.factors) for symbol, c in self.centers.items()},
        }


def _dimension(channels: int, n_max: int, l_max: int) -> int:
    width = channels * n_max
    return (l_max + 1) * (width * (width + 1) // 2)
