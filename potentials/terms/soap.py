"""Functions of the power spectrum of the neighbours' density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from forcemap.potentials.terms.base import Coefficients, MappedTerm, TermView
from typing_extensions import override

__all__ = [
    "RadialFunctions",
    "SingleOrDouble",
    "SoapCenter",
    "SoapFunctions",
    "SpectrumFunctions",
    "SpectrumSums",
]

AnyPrecision = TypeVar("AnyPrecision", bound="SingleOrDouble")

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
class RadialFunctions(MappedTerm):
    """Site energies that depend on an expansion of the neighbours' density.

    Attributes:
        cutoff: Å.
        intervals: of the radial splines over [0, cutoff].
        n_max, l_max: numbers of radial functions and largest order of spherical harmonics.
        radial: (intervals + degree, l_max + 1, n_max), with a first dimension (species) where each
            species has functions of its own.
        degree: of the splines, 3 or 5.
        cosine_width: Å; where it is above 0 the splines are multiplied by 1/2 (1 + cos) over this width
            before the cutoff, and need not vanish there.
    """

    cutoff: float
    intervals: int
    n_max: int
    l_max: int
    radial: Coefficients
    degree: int = 3
    cosine_width: float = 0.0

    def radial_document(self) -> dict[str, Any]:
        """The entries of the document that are about the radial functions."""
        document: dict[str, Any] = {"cutoff": float(self.cutoff), "intervals": int(self.intervals)}
        if self.degree != 3:
            document["degree"] = int(self.degree)
        if self.cosine_width > 0.0:
            document["cosine_width"] = float(self.cosine_width)
        return document | {"n_max": int(self.n_max), "l_max": int(self.l_max)}

    @staticmethod
    def read_radial(view: TermView) -> dict[str, Any]:
        """The attributes that are about the radial functions."""
        document = view.document
        return {
            "cutoff": view.number("cutoff"),
            "intervals": view.integer("intervals"),
            "n_max": view.integer("n_max"),
            "l_max": view.integer("l_max"),
            "radial": view.arrays["radial"],
            "degree": view.integer("degree") if "degree" in document else 3,
            "cosine_width": view.number("cosine_width") if "cosine_width" in document else 0.0,
        }

    @staticmethod
    def described_radial(document: Mapping[str, Any]) -> str:
        """The first part of a line about the term, from its document."""
        zeta = f", zeta {document['zeta']}" if "zeta" in document else ""
        return (
            f"cutoff {document['cutoff']:g} Å, n_max {document['n_max']}, l_max {document['l_max']}"
            f"{zeta}"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectrumFunctions(RadialFunctions):
    """Site energies that depend on the power spectrum of the neighbours' density.

    Attributes:
        self_density: (n_max,), or (species, n_max) as `radial`.
        weights: (channels, species).
    """

    self_density: Coefficients
    weights: Coefficients

    @property
    def dimension(self) -> int:
        """Numbers of the power spectrum."""
        return spectrum_dimension(len(self.weights), self.n_max, self.l_max)

    def expansion_document(self) -> dict[str, Any]:
        """The entries of the document that are about the density."""
        document = self.radial_document() | {"channels": len(self.weights)}
        if self.radial.ndim == 4:
            document["species_tables"] = len(self.radial)
        return document

    def expansion_tensors(self) -> dict[str, Coefficients]:
        """The tensors that are about the density."""
        return {"radial": self.radial, "self": self.self_density, "weights": self.weights}

    @classmethod
    def read_expansion(cls, view: TermView) -> dict[str, Any]:
        """The attributes that are about the density."""
        return cls.read_radial(view) | {
            "self_density": view.arrays["self"],
            "weights": view.arrays["weights"],
        }

    @classmethod
    def described_expansion(cls, document: Mapping[str, Any]) -> str:
        """A line about the density, from the term's document."""
        dimension = spectrum_dimension(document["channels"], document["n_max"], document["l_max"])
        return (
            f"{cls.described_radial(document)}, {document['channels']} species channels, "
            f"{dimension} numbers"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SingleOrDouble(MappedTerm):
    """Site energies that can be evaluated in single precision.

    Attributes:
        precision: "double" or "single", that of the numbers that it is evaluated in. In single
            precision forces change by less than 1e-5 eV/Å, but for stiff potentials, of which the map
            reports it, and a step takes two thirds of the time.
    """

    precision: str = "double"

    @override
    def in_single_precision(self: AnyPrecision) -> AnyPrecision:
        return replace(self, precision="single")

    def precision_document(self) -> dict[str, Any]:
        """The entry of the document that is about the precision; none of double."""
        return {} if self.precision == "double" else {"precision": self.precision}

    @staticmethod
    def read_precision(view: TermView) -> dict[str, Any]:
        """The attribute that is about the precision."""
        document = view.document
        return {
            "precision": document["precision"].string() if "precision" in document else "double"
        }

    @staticmethod
    def described_precision(document: Mapping[str, Any]) -> str:
        """The end of a line about the term, from its document; nothing of double."""
        precision = document.get("precision", "double")
        return "" if precision == "double" else f"; {precision} precision"


@dataclass(frozen=True, eq=False, kw_only=True)
class SpectrumSums(SingleOrDouble):
    """Sums of powers of a spectrum's products with some vectors.

    Attributes:
        zeta: the exponent, above 0.
        centers: by symbol.
    """

    zeta: float
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

    def sums_document(self) -> dict[str, Any]:
        """The entries of the document that are about the sums."""
        zeta = int(self.zeta) if self.zeta == int(self.zeta) else float(self.zeta)
        centers: list[dict[str, Any]] = []
        for symbol, center in self.centers.items():
            entry: dict[str, Any] = {"species": symbol, "count": len(center.vectors)}
            if not center.of_draws:
                entry["constant"] = float(center.constant)
            centers.append(entry)
        return {"zeta": zeta, "centers": centers} | self.precision_document()

    def sums_tensors(self) -> dict[str, Coefficients]:
        """The tensors that are about the sums."""
        tensors = {}
        for symbol, center in self.centers.items():
            tensors[f"{symbol}.vectors"] = center.vectors
            tensors[f"{symbol}.factors"] = center.factors
        return tensors

    @classmethod
    def read_sums(cls, view: TermView) -> dict[str, Any]:
        """The attributes that are about the sums."""
        centers = {}
        for item in view.document["centers"]:
            symbol = item["species"].string()
            centers[symbol] = SoapCenter(
                view.arrays[f"{symbol}.factors"],
                view.arrays[f"{symbol}.vectors"],
                item["constant"].number() if "constant" in item else 0.0,
            )
        zeta = view.number("zeta")
        return {
            "zeta": int(zeta) if zeta == int(zeta) else zeta,
            "centers": centers,
        } | cls.read_precision(view)

    @classmethod
    def described_sums(cls, document: Mapping[str, Any]) -> str:
        """The last part of a line about the term, from its document."""
        vectors = ", ".join(f"{c['species']} {c['count']} vectors" for c in document["centers"])
        return vectors + cls.described_precision(document)

    @property
    def dimension(self) -> int:
        """Numbers of the spectrum."""
        raise NotImplementedError

    @override
    def sizes(self) -> dict[str, Any]:
        return {
            "zeta": self.zeta,
            "dimension": self.dimension,
            "vectors": {symbol: len(c.vectors) for symbol, c in self.centers.items()},
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class SoapFunctions(SpectrumFunctions, SpectrumSums):
    """Sums of powers of the power spectrum's products with some vectors."""

    kind: ClassVar[str] = "soap"

    @override
    def document(self) -> dict[str, Any]:
        return self.expansion_document() | self.sums_document()

    @override
    def tensors(self) -> dict[str, Coefficients]:
        return self.expansion_tensors() | self.sums_tensors()

    @classmethod
    @override
    def read(cls, view: TermView) -> SoapFunctions:
        return cls(**cls.read_sums(view), **cls.read_expansion(view))

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        return f"{cls.described_expansion(document)}: {cls.described_sums(document)}"


def spectrum_dimension(channels: int, n_max: int, l_max: int) -> int:
    """Numbers of a power spectrum."""
    width = channels * n_max
    return (l_max + 1) * (width * (width + 1) // 2)
