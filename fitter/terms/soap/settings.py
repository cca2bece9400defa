"""Settings of SOAP terms, and the scales of a term without a cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.checked import (
    Checked,
    CrossCheckError,
    Place,
    element,
    integer,
    mapping,
    nested,
    number,
    optional,
    read_by,
    reader,
    yes_or_no,
)
from forcemap.fitter.terms.base import DISTANCE, Array, Size, Survey, Term, TermSettings
from forcemap.fitter.terms.bispectrum import BispectrumSettings
from forcemap.fitter.terms.environments import EnvironmentSettings
from forcemap.fitter.terms.soap.channels import (
    channels_of,
    learned_similarity,
    similar_channels,
    species_weights,
)
from forcemap.fitter.terms.soap.contraction import mixing_of, tables
from forcemap.fitter.terms.soap.learning import WIDER, WideChannels
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, data_end
from forcemap.fitter.terms.soap.scales import SINGLE, Reaches, Scale
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials.elements import atomic_number
from forcemap.potentials.errors import ForcemapError
from typing_extensions import override

__all__ = ["RadialScaling", "SoapSettings"]

CHANNELS, ORDERS = 8, 6
"""Learned channels, and the largest angular number."""

BESIDE_CHANNELS, BESIDE_ORDERS = 6, 4
"""The same beside a bispectrum term: more of either is more accurate by a few per cent at twice the
time, and products gain more."""

PLAIN, COMBINED = 8, 16
"""Radial functions: as they are, and to be combined, where more of them cost nothing later."""

_SIMILARITY = number(at_least=-1, at_most=1)


@reader(
    lambda: {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Z][a-z]?-[A-Z][a-z]?$"},
        "additionalProperties": _SIMILARITY.schema(),
    }
)
def _kappa(value: Any, place: Place) -> dict[str, float]:
    similarities = {}
    for pair, similarity in mapping(value, place, "Si-O: 0.3").items():
        names = str(pair).split("-")
        if len(names) != 2 or names[0] == names[1]:
            place.key(pair).fail("expected two different elements, such as Si-O")
        for symbol in names:
            element(symbol, place.key(pair))
        similarities["-".join(names)] = float(_SIMILARITY(similarity, place.key(pair)))
    return similarities


@dataclass(frozen=True)
class RadialScaling(Checked):
    """Weight 1 / (1 + (r / radius)^exponent) of a neighbour at distance r, Å."""

    radius: float = field(default=2.0, metadata=read_by(DISTANCE))  # Å
    """Å: distance at which a neighbour counts half."""
    exponent: float = field(default=4.0, metadata=read_by(number(above=0, at_most=20)))
    """How fast the weight falls beyond the radius."""


@dataclass(frozen=True)
class SoapSettings(EnvironmentSettings):
    """A function of the smooth overlap of atomic positions: the power spectrum of the density of
    neighbours, compared by the normalised dot product to the power `zeta`.

    Radial functions and elements are combined into few channels, learned from the data. With `n_max`,
    `n_species_channels` or `kappa` the radial functions stay as they are, unless `n_channels` is given,
    too: `kappa` gives the similarity of pairs of elements, and `n_species_channels` mixes the elements'
    densities in that many channels. A term without a `cutoff` stands for
    `n_scales` terms of different reach and resolution, which share its sparse points. The default is 2,
    with the reach of the fine one chosen by evidence, or 1 if cutoff_width or atom_sigma is set. Beside
    two scales of learned channels stands a `bispectrum` term, of products of three and four densities
    that no spectrum knows.
    """

    kind: ClassVar[str] = "soap"
    continuous: ClassVar[tuple[str, ...]] = ("atom_sigma", "cutoff", "cutoff_width")
    whole: ClassVar[Mapping[str, tuple[int, int]]] = {"zeta": (1, 4)}
    is_flexible: ClassVar[bool] = True

    n_max: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=32)))
    )
    """Number of radial functions; by default 16 that channels combine, or 8."""
    l_max: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=0, at_most=20)))
    )
    """Largest angular number, also of a bispectrum term beside it, up to 4; by default 4 beside one, or
    6."""
    atom_sigma: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=0.05, at_most=5)))
    )
    """Å: width of the neighbours' Gaussians; by default from the data."""
    zeta: int = field(default=2, metadata=read_by(integer(at_least=1, at_most=4)))
    """Exponent of the kernel; 2 is mapped to a quadratic form of few vectors."""
    radial_scaling: RadialScaling | None = field(
        default=None, metadata=read_by(optional(nested(RadialScaling, "radius: 2, exponent: 4")))
    )
    """Smaller weights of far neighbours."""
    n_species_channels: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=118)))
    )
    """Number of channels that the elements' densities are mixed in."""
    n_channels: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=64)))
    )
    """Number of learned channels, each a combination of the radial functions of all elements; by
    default 6 beside a bispectrum term, or 8."""
    n_scales: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=2)))
    )
    """Number of terms that a term without a cutoff stands for."""
    bispectrum: bool | None = field(default=None, metadata=read_by(optional(yes_or_no)))
    """Whether a bispectrum term stands beside it; by default where reach and shape are left to the data
    and channels are learned."""
    kappa: Mapping[str, float] | None = field(default=None, metadata=read_by(optional(_kappa)))
    """Similarity of pairs of elements, from -1 to 1, such as {Si-O: 0.3}."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for settings that exclude each other."""
        super().cross_check()
        if self.cutoff is not None and self.n_scales not in (None, 1):
            raise CrossCheckError("n_scales", "is for terms without a cutoff, which choose several")
        if self.cutoff is not None and self.bispectrum:
            fault = "is for terms without a cutoff; add a term of that kind instead"
            raise CrossCheckError("bispectrum", fault)
        if self.kappa is not None and self.n_species_channels is not None:
            raise CrossCheckError("kappa", "cannot be combined with n_species_channels; give one")

    @classmethod
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        """Soap terms of three sizes, each beside a 2-body term."""
        sizes = {"small": (0.5, 4, 3), "medium": (1.0, None, None), "large": (2.0, 12, 8)}
        return {
            f"2-body + soap, {name}": (
                TwoBodySettings(),
                cls(n_sparse_factor=points, n_channels=channels, l_max=angular),
            )
            for name, (points, channels, angular) in sizes.items()
        }

    @classmethod
    @override
    def quick(cls, survey: Survey) -> SoapSettings:
        """Few functions and points, and three channels for any number of elements."""
        channels = 3 if len(survey.species) > 3 else None
        cutoff = survey.once("reaches of soap terms", lambda: Reaches.of(survey.frames)).cutoff
        return cls(cutoff=cutoff, n_max=4, l_max=3, n_sparse=40, n_species_channels=channels)

    @property
    def contracts(self) -> bool:
        """Whether channels combine radial functions and elements."""
        plain = (self.n_max, self.n_species_channels, self.kappa)
        return self.n_channels is not None or plain == (None, None, None)

    @property
    def functions(self) -> int:
        """Number of radial functions, those that channels combine included."""
        return self.n_max or (COMBINED if self.contracts else PLAIN)

    # ---- scales

    def alternatives(self, survey: Survey) -> Sequence[tuple[TermSettings, ...]]:
        """Terms with a cutoff, one for each scale."""
        if self.cutoff is not None:
            return [(self,)]
        reaches = survey.once("reaches of soap terms", lambda: Reaches.of(survey.frames))
        beside: tuple[TermSettings, ...] = ()
        if self.is_corrected:
            beside = (BispectrumSettings(l_max=min(self.orders, BESIDE_ORDERS)),)
        if self.scale_count == 1:
            return [self._scaled(reaches.cutoff, (reaches.single(),)) + beside]
        return [self._scaled(reaches.cutoff, scales) + beside for scales in reaches.pairs()]

    @property
    def is_corrected(self) -> bool:
        """Whether products of three and four densities, which spectra miss, are a term beside it."""
        default = self.has_usual_shape and self.contracts
        return default if self.bispectrum is None else self.bispectrum

    @property
    def channels(self) -> int:
        """Number of learned channels."""
        return self.n_channels or (BESIDE_CHANNELS if self.is_corrected else CHANNELS)

    @property
    def orders(self) -> int:
        """Largest angular number."""
        default = BESIDE_ORDERS if self.is_corrected else ORDERS
        return default if self.l_max is None else self.l_max

    @property
    def has_usual_shape(self) -> bool:
        """Whether reach and resolution are left to the data."""
        return self.cutoff is None and self.cutoff_width is None and self.atom_sigma is None

    @property
    def scale_count(self) -> int:
        """Number of scales of the term; one if its cutoff or its shape is set."""
        return self.n_scales or (2 if self.has_usual_shape else 1)

    def _scaled(self, cutoff: float, scales: Sequence[Scale]) -> tuple[SoapSettings, ...]:
        """One term for each of the scales, which share its sparse points and its variance."""
        count = len(scales)

        def part(points: int) -> int:
            return max(1, round(points / count))

        n_sparse = self.n_sparse
        if isinstance(n_sparse, Mapping):
            n_sparse = {symbol: part(n) for symbol, n in n_sparse.items()}
        elif n_sparse is not None:
            n_sparse = part(n_sparse)
        shared = replace(
            self,
            n_scales=1,
            bispectrum=None,
            l_max=self.orders,
            n_channels=self.channels if self.contracts else None,
            n_sparse=n_sparse,
            n_sparse_factor=self.n_sparse_factor / count,
            config_type_n_sparse={k: part(n) for k, n in self.config_type_n_sparse.items()},
            delta=None if self.delta is None else self.delta / float(count**0.5),
        )
        terms = []
        for scale in scales:
            reach = round(scale.reach * cutoff, 2)
            width = self.cutoff_width or scale.cutoff_width * reach
            terms.append(
                replace(
                    shared,
                    cutoff=reach,
                    cutoff_width=min(width, reach),
                    atom_sigma=self.atom_sigma or scale.atom_sigma * reach,
                )
            )
        return tuple(terms)

    @override
    def for_trial(self, points: int) -> SoapSettings:
        return self.small(points)  # type: ignore[return-value]

    def resized(self, size: Size) -> SoapSettings:
        """The settings in another size, the numbers of functions included."""
        other = super().resized(size)
        assert isinstance(other, SoapSettings)
        if self.contracts and size.radial != 1.0:
            other = replace(other, n_channels=min(64, Size.times(self.channels, size.radial, 2)))
        elif not self.contracts:
            other = replace(other, n_max=min(32, Size.times(self.functions, size.radial, 2)))
        if size.angular == 1.0:
            return other
        return replace(other, l_max=min(20, Size.times(self.orders, size.angular, 1)))

    # ---- learning

    @property
    @override
    def widened(self) -> SoapSettings | None:
        if not self.contracts:
            return None
        return replace(self, n_channels=min(64, WIDER * self.channels))

    @override
    def learnable(self, wide: Term) -> WideChannels:
        assert isinstance(wide, SoapTerm)
        return WideChannels(wide, min(self.channels, wide.functions))

    # ---- the term

    def open(self, survey: Survey) -> SoapTerm:
        """The term with its radial functions, species channels and widths; no points.

        Raises:
            ValueError: the cutoff is open (`alternatives` choose it).
        """
        if self.cutoff is None:
            raise ValueError("a soap term without a cutoff")
        scaling = self.radial_scaling
        basis = RadialBasis(
            cutoff=self.cutoff,
            cutoff_width=min(self.cutoff_width or SINGLE.cutoff_width * self.cutoff, self.cutoff),
            n_max=self.functions,
            l_max=self.orders,
            atom_sigma=self.atom_sigma or SINGLE.atom_sigma * self.cutoff,
            scaling_radius=scaling.radius if scaling else 2.0,
            scaling_exponent=scaling.exponent if scaling else 0.0,
            **data_end(survey.repulsion),
        )
        weights, mixing = self._channels(survey), None
        if self.contracts:
            mixing = survey.learned.get(repr(self))
            if mixing is None:
                mixing = self._mixing(survey, basis, weights)
            weights = np.ones((1, len(survey.species)))
        radial, own = tables(basis, mixing)
        return SoapTerm(
            *(basis, self.zeta, survey.species, weights, radial, own),
            cutoff=self.cutoff,
            delta=self.delta or 1.0,
            mixing=mixing,
        )

    def _mixing(self, survey: Survey, basis: RadialBasis, weights: Array) -> Array:
        """(l_max + 1, n_channels, species, n_max) contraction of the elements' radial functions."""
        if len(survey.species) > 1 and self.kappa is None and self.n_species_channels is None:
            weights = similar_channels(survey, basis.cutoff)
        return mixing_of(survey, basis, weights, self.channels)

    def _channels(self, survey: Survey) -> Array:
        """(channels, species) weights of the elements."""
        assert self.cutoff is not None
        species = survey.species
        if self.n_species_channels is not None and self.n_species_channels < len(species):
            similarity = learned_similarity(survey.frames, species, self.cutoff)
            return channels_of(similarity, self.n_species_channels)
        kappa = None
        if self.kappa is not None:
            kappa = {
                (atomic_number(a), atomic_number(b)): value
                for (a, b), value in ((pair.split("-"), v) for pair, v in self.kappa.items())
            }
        try:
            return species_weights(species, kappa)
        except ValueError as error:
            raise ForcemapError(f"terms: soap: {error}") from None
