"""Sums of products of the neighbours' densities on the sphere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from forcemap.potentials.terms.base import Coefficients, TermView
from forcemap.potentials.terms.soap import RadialFunctions, SingleOrDouble
from numpy.typing import NDArray
from typing_extensions import override

__all__ = ["BispectrumFunctions"]


@dataclass(frozen=True, eq=False, kw_only=True)
class BispectrumFunctions(RadialFunctions, SingleOrDouble):
    """Site energies that are sums of integrals over the sphere of products of fields.

    A field is that of a channel k and an l, numbered k + n_max l: the sum over m of coefficients of
    the density times harmonics. The coefficients are divided by the root of the offset and of the sum
    of their squares. Each species has radial functions of its own, (species, intervals + 3, l_max +
    1, n_max).

    Attributes:
        offset: above 0.
        products: (products, 4) fields in increasing order, -1 behind the last.
        factors: (products,) eV by symbol of the centre; (draws, products) of draws.
    """

    kind: ClassVar[str] = "bispectrum"

    offset: float
    products: NDArray[np.int64]
    factors: Mapping[str, Coefficients]

    @override
    def document(self) -> dict[str, Any]:
        products = {
            "offset": float(self.offset),
            "products": len(self.products),
            "centers": [{"species": symbol} for symbol in self.factors],
        }
        return self.radial_document() | products | self.precision_document()

    @override
    def tensors(self) -> dict[str, Coefficients]:
        shared = {"radial": self.radial, "products": self.products.astype(np.float64)}
        return shared | dict(self.factors)

    @classmethod
    @override
    def read(cls, view: TermView) -> BispectrumFunctions:
        symbols = [item["species"].string() for item in view.document["centers"]]
        return cls(
            offset=view.number("offset"),
            products=view.arrays["products"].astype(np.int64),
            factors={symbol: view.arrays[symbol] for symbol in symbols},
            **cls.read_radial(view),
            **cls.read_precision(view),
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        centers = ", ".join(center["species"] for center in document["centers"])
        return (
            f"{cls.described_radial(document)}, {document['products']} products of {centers}"
            f"{cls.described_precision(document)}"
        )

    @override
    def features(self, symbol: str) -> int:
        return self.n_max * (self.l_max + 1) if symbol in self.factors else 0
