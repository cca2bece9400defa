"""Quadratic forms of the power spectrum, about its mean: what draws of exponent 2 are on.

The form p . W p of a normalised spectrum p needs as many numbers as W has. About a unit vector q, the
mean spectrum's direction, p = a q + d with a = q . p, and

    p . W p = 2 a (l . p) - a² (l . q) + d . W d,   l = W q.

The first two terms are exact; the last is small of second order, and is taken in a subspace that is
orthogonal to q and that all draws share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forcemap.potentials.terms.base import Coefficients, TermView
from forcemap.potentials.terms.soap import SpectrumFunctions
from typing_extensions import override

__all__ = ["SoapQuadraticCenter", "SoapQuadraticFunctions"]


@dataclass(frozen=True, eq=False)
class SoapQuadraticCenter:
    """Energy 2 a (lines . p) - a² (lines . spectrum) + y . forms y, less that of an isolated atom.

    a = spectrum . p and y = subspace p of the normalised power spectrum p.

    Attributes:
        spectrum: (dimension,) of length 1.
        lines: (dimension,) eV; (draws, dimension) of draws.
        subspace: (rank, dimension) orthonormal rows, orthogonal to the spectrum.
        forms: (rank, rank) eV, symmetric; (draws, rank, rank) of draws.
    """

    spectrum: Coefficients
    lines: Coefficients
    subspace: Coefficients
    forms: Coefficients


@dataclass(frozen=True, eq=False, kw_only=True)
class SoapQuadraticFunctions(SpectrumFunctions):
    """Quadratic forms of the power spectrum, with centers by symbol."""

    kind: ClassVar[str] = "soap_quadratic"

    centers: Mapping[str, SoapQuadraticCenter]

    @property
    @override
    def rank(self) -> int:
        """Dimensions of the largest subspace."""
        return max(len(center.subspace) for center in self.centers.values())

    @override
    def document(self) -> dict[str, Any]:
        return self.expansion_document() | {
            "centers": [
                {"species": symbol, "rank": len(center.subspace)}
                for symbol, center in self.centers.items()
            ]
        }

    @override
    def tensors(self) -> dict[str, Coefficients]:
        tensors = self.expansion_tensors()
        for symbol, center in self.centers.items():
            tensors[f"{symbol}.spectrum"] = center.spectrum
            tensors[f"{symbol}.lines"] = center.lines
            tensors[f"{symbol}.subspace"] = center.subspace
            tensors[f"{symbol}.forms"] = center.forms
        return tensors

    @classmethod
    @override
    def read(cls, view: TermView) -> SoapQuadraticFunctions:
        centers = {}
        for item in view.document["centers"]:
            symbol = item["species"].string()
            centers[symbol] = SoapQuadraticCenter(
                *(view.arrays[f"{symbol}.{part}"] for part in ("spectrum", "lines")),
                *(view.arrays[f"{symbol}.{part}"] for part in ("subspace", "forms")),
            )
        return cls(centers=centers, **cls.read_expansion(view))

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        centers = ", ".join(f"{c['species']} rank {c['rank']}" for c in document["centers"])
        return f"{cls.described_expansion(document)}: {centers}"

    @override
    def sizes(self) -> dict[str, Any]:
        return {
            "dimension": self.dimension,
            "rank": {symbol: len(c.subspace) for symbol, c in self.centers.items()},
        }
