"""Functions of the power spectrum of the neighbours' density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, TermView
from typing_extensions import override

__all__ = ["SoapCenter", "SoapFunctions", "SpectrumFunctions"]

MOST_FEATURES = 32
"""Projections of a site that the grade may use, of each term."""


@dataclass(frozen=True, eq=False)
class SoapCenter:
    """Energy of the atoms of one species as a function of their power spectrum.

    Attributes:
        factors: (count,) eV; (draws, count) of draws.
        vectors: (count, dimension).
        constant: eV. Draws have none: they give an isolated atom nothing.
    """

    factors: Coefficients
    vectors: Coefficients
    constant: float = 0.0

    @property
    def of_draws(self) -> bool:
        """Whether the factors are those of draws."""
        return self.factors.ndim == 2


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectrumFunctions(MappedTerm):
    """Site energies that depend on the power spectrum of the neighbours' density.

    Attributes:
        cutoff: Å.
        intervals: of the radial splines over [0, cutoff].
        n_max, l_max: numbers of radial functions and largest order of spherical harmonics.
        radial: (intervals + 3, l_max + 1, n_max).
        self_density: (n_max,).
        weights: (channels, species).
    """

    cutoff: float
    intervals: int
    n_max: int
    l_max: int
    radial: Coefficients
    self_density: Coefficients
    weights: Coefficients

    @property
    def dimension(self) -> int:
        """Numbers of the power spectrum."""
        return spectrum_dimension(len(self.weights), self.n_max, self.l_max)

    def expansion_document(self) -> dict[str, Any]:
        """The entries of the document that are about the density."""
        return {
            "cutoff": float(self.cutoff),
            "intervals": int(self.intervals),
            "n_max": int(self.n_max),
            "l_max": int(self.l_max),
            "channels": len(self.weights),
        }

    def expansion_tensors(self) -> dict[str, Coefficients]:
        """The tensors that are about the density."""
        return {"radial": self.radial, "self": self.self_density, "weights": self.weights}

    @staticmethod
    def read_expansion(view: TermView) -> dict[str, Any]:
        """The attributes that are about the density."""
        return {
            "cutoff": view.number("cutoff"),
            "intervals": view.integer("intervals"),
            "n_max": view.integer("n_max"),
            "l_max": view.integer("l_max"),
            "radial": view.arrays["radial"],
            "self_density": view.arrays["self"],
            "weights": view.arrays["weights"],
        }

    @staticmethod
    def described_expansion(document: Mapping[str, Any]) -> str:
        """A line about the density, from the term's document."""
        zeta = f"zeta {document['zeta']}, " if "zeta" in document else ""
        dimension = spectrum_dimension(document["channels"], document["n_max"], document["l_max"])
        return (
            f"cutoff {document['cutoff']:g} Å, n_max {document['n_max']}, l_max {document['l_max']}, "
            f"{zeta}{document['channels']} species channels, {dimension} numbers"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SoapFunctions(SpectrumFunctions):
    """Sums of powers of the power spectrum's products with some vectors.

    Attributes:
        zeta: the exponent.
        centers: by symbol.
    """

    kind: ClassVar[str] = "soap"

    zeta: int
    centers: Mapping[str, SoapCenter]

    @property
    @override
    def rank(self) -> int:
        """Vectors of the largest form."""
        return max(len(center.vectors) for center in self.centers.values())

    @override
    def features(self, symbol: str) -> int:
        """The projections on the first vectors, which are the most important ones."""
        center = self.centers.get(symbol)
        return 0 if center is None else min(MOST_FEATURES, len(center.vectors))

    @override
    def document(self) -> dict[str, Any]:
        centers: list[dict[str, Any]] = []
        for symbol, center in self.centers.items():
            entry: dict[str, Any] = {"species": symbol, "count": len(center.vectors)}
            if not center.of_draws:
                entry["constant"] = float(center.constant)
            centers.append(entry)
        return self.expansion_document() | {"zeta": int(self.zeta), "centers": centers}

    @override
    def tensors(self) -> dict[str, Coefficients]:
        tensors = self.expansion_tensors()
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
                item["constant"].number() if "constant" in item else 0.0,
            )
        return cls(zeta=view.integer("zeta"), centers=centers, **cls.read_expansion(view))

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        centers = ", ".join(f"{c['species']} {c['count']} vectors" for c in document["centers"])
        return f"{cls.described_expansion(document)}: {centers}"

    @override
    def sizes(self) -> dict[str, Any]:
        return {
            "zeta": self.zeta,
            "dimension": self.dimension,
            "vectors": {symbol: len(c.vectors) for symbol, c in self.centers.items()},
        }


def spectrum_dimension(channels: int, n_max: int, l_max: int) -> int:
    """Numbers of a power spectrum."""
    width = channels * n_max
    return (l_max + 1) * (width * (width + 1) // 2)
