"""Bispectrum terms: functions of products of three and four densities on the sphere.

The density of the neighbours about an atom is expanded in spherical harmonics and a few channels k,
combinations of radial functions and elements that have the largest variance in the data
(`soap.contraction`). Each channel and l is a field on the sphere::

    f_kl(u) = (offset + |c|^2)^(-1/2)  sum_m c[lm, k] Y_lm(u)

and the descriptors are the integrals over the sphere of products of up to `order` fields, all that no
symmetry makes vanish, times a scale each. Those of three fields are components of the bispectrum, which
no function of the power spectrum knows (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013), DOI
10.1103/PhysRevB.87.184115; Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020), DOI
10.1103/PhysRevLett.125.166001); energies linear in such products are those of the atomic cluster
expansion (Drautz, Phys. Rev. B 99, 014104 (2019), DOI 10.1103/PhysRevB.99.014104). The local energy is
linear in the descriptors b, with the covariance ``delta**2 b . b'``: beside SOAP terms, which are free
in two- and three-body functions and in squares of them, few of these products correct what is left.

The fields are divided by their own size, as spectra are: no compression makes the products run away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.checked import integer, number, optional, read_by
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import (
    LARGEST,
    Array,
    Block,
    MapPlan,
    Size,
    Species,
    Survey,
    TermSettings,
    TermView,
)
from forcemap.fitter.terms.environments import (
    Comparison,
    DotPower,
    EnvironmentSettings,
    EnvironmentTerm,
    Indices,
)
from forcemap.fitter.terms.soap.channels import similar_channels
from forcemap.fitter.terms.soap.contraction import mixing_of, tables
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, data_end
from forcemap.fitter.terms.soap.scales import Reaches
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials import _core
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.terms import BispectrumFunctions
from numpy.typing import NDArray
from typing_extensions import override

__all__ = ["BispectrumSettings", "BispectrumTerm", "products_of"]

FACTORS = 4
"""Most fields of a product."""

FEW_POINTS = 10
"""Largest sum of l for which 25 points on the sphere are enough."""

FUNCTIONS, CHANNELS, ORDERS = 16, 2, 3
"""Radial functions that the channels combine, channels, and the largest l."""

REACH = 0.85
"""The cutoff without a setting, in units of the one with 30 neighbours (`soap.scales`)."""

CUTOFF_WIDTH, ATOM_SIGMA = 0.55, 0.09
"""Fractions of the cutoff."""

OFFSET = 0.1
"""Of the sum of the squares of an atom's coefficients in the data. More of it describes atoms in the
data a little better, but crystals that are expanded beyond them worse."""

SAMPLE = 60
"""Frames from which the offset and the scales are taken."""

LEAST_SCALE = 1e-3
"""Products that hardly vary count as if they varied by this fraction of the one that varies most."""


@dataclass(frozen=True)
class BispectrumSettings(EnvironmentSettings):
    """A function of products of the neighbours' densities on the sphere, one per species of the centre.

    Without `n_sparse` there are as many sparse points as products, which loses nothing: the
    energy is linear in them.
    """

    kind: ClassVar[str] = "bispectrum"
    default_method: ClassVar[str] = "pivoted_cholesky"
    continuous: ClassVar[tuple[str, ...]] = ("atom_sigma", "cutoff", "cutoff_width")

    order: int = field(default=FACTORS, metadata=read_by(integer(at_least=2, at_most=FACTORS)))
    """Most fields of a product: 3 is the bispectrum, functions of three neighbours; 4 of four."""
    n_channels: int = field(default=CHANNELS, metadata=read_by(integer(at_least=1, at_most=8)))
    """Number of channels, each a combination of the radial functions of all elements."""
    n_max: int = field(default=FUNCTIONS, metadata=read_by(integer(at_least=1, at_most=32)))
    """Number of radial functions that the channels combine."""
    l_max: int = field(default=ORDERS, metadata=read_by(integer(at_least=0, at_most=6)))
    """Largest angular number of a field."""
    atom_sigma: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=0.05, at_most=5)))
    )
    """Å: width of the neighbours' Gaussians; by default 0.09 times the cutoff."""

    @classmethod
    @override
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        return {"2-body + bispectrum": (TwoBodySettings(), cls())}

    @property
    def products(self) -> NDArray[np.int64]:
        """(products, 4) fields of the products, `products_of`."""
        return products_of(self.n_channels, self.l_max, self.order)

    @override
    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        explicit = self.points_given(species)
        count = round(len(self.products) * min(self.n_sparse_factor, 1.0))
        return explicit if explicit is not None else max(1, count)

    @override
    def for_trial(self, points: int) -> BispectrumSettings:
        return replace(self, n_sparse=min(points, len(self.products)), config_type_n_sparse={})

    @override
    def resized(self, size: Size) -> BispectrumSettings:
        other = super().resized(size)
        assert isinstance(other, BispectrumSettings)
        return replace(
            other,
            n_channels=min(8, Size.times(self.n_channels, size.radial, 1)),
            l_max=min(6, Size.times(self.l_max, size.angular, 1)),
        )

    @override
    def open(self, survey: Survey) -> BispectrumTerm:
        basis = self._basis(survey)
        mixing = self._mixing(survey, basis)
        radial, _ = tables(basis, mixing)
        products = products_of(mixing.shape[1], self.l_max, self.order)
        term = BispectrumTerm(
            *(basis, survey.species, mixing, radial, products, np.ones(len(products)), 1.0),
            cutoff=basis.cutoff,
            delta=self.delta or 1.0,
        )
        offset, scales = survey.once(
            f"sizes of products of {self!r} {basis}", lambda: _sizes(term, survey.frames)
        )
        return replace(term, offset=offset, scales=scales)

    def _basis(self, survey: Survey) -> RadialBasis:
        cutoff = self.cutoff
        if cutoff is None:
            reaches = survey.once("reaches of soap terms", lambda: Reaches.of(survey.frames))
            cutoff = round(REACH * reaches.cutoff, 2)
        return RadialBasis(
            cutoff=cutoff,
            cutoff_width=min(self.cutoff_width or CUTOFF_WIDTH * cutoff, cutoff),
            n_max=self.n_max,
            l_max=self.l_max,
            atom_sigma=self.atom_sigma or ATOM_SIGMA * cutoff,
            **data_end(survey.repulsion),
        )

    def _mixing(self, survey: Survey, basis: RadialBasis) -> Array:
        """(l_max + 1, channels, species, n_max) contraction of the elements' radial functions."""
        weights = np.eye(len(survey.species))
        if len(survey.species) > 1:
            weights = similar_channels(survey, basis.cutoff)
        return mixing_of(survey, basis, weights, self.n_channels)


def products_of(channels: int, l_max: int, order: int) -> NDArray[np.int64]:
    """The products of up to `order` fields whose integral does not vanish by symmetry, (products, 4).

    A field is channel + channels * l, -1 stands behind the last. Parity asks for an even sum of l,
    rotations for no l above the sum of the others. Sums of l above 3 l_max are left out, and those
    above `FEW_POINTS`, up to which 25 points on the sphere suffice.
    """
    found = []
    largest = max(2 * l_max, min(3 * l_max, FEW_POINTS))
    for count in range(1, order + 1):
        for product in combinations_with_replacement(range(channels * (l_max + 1)), count):
            angular = [place // channels for place in product]
            total = sum(angular)
            if total % 2 == 0 and 2 * max(angular) <= total <= largest:
                found.append([*product, *[-1] * (FACTORS - count)])
    return np.array(found, dtype=np.int64)


def _sizes(term: BispectrumTerm, frames: Sequence[Frame]) -> tuple[float, Array]:
    """Offset and scales of a term from some of the frames.

    The scales give the products unit variances, all together: their sum is 1.
    """
    orders, channels = term.basis.l_max + 1, term.radial.shape[-1]
    squares = np.array([[n, n, -1, -1] for n in range(orders * channels)], dtype=np.int64)
    powers = replace(term, products=squares, scales=np.ones(len(squares)))
    structures = [Structure(frame, term.cutoff) for frame in sample_of(frames, SAMPLE)]
    # The powers of all fields add up to |c|^2 / (1 + |c|^2), the offset being 1.
    parts = np.sum(_all_descriptors(powers, structures), axis=1)
    offset = OFFSET * float(np.mean(parts / np.maximum(1.0 - parts, 1e-9))) if len(parts) else 0.0
    offset = offset if offset > 0.0 else 1.0
    values = _all_descriptors(replace(term, offset=offset), structures)
    spread = np.std(values, axis=0) if len(values) else np.zeros(len(term.products))
    largest = float(np.max(spread))
    if not largest > 0.0:
        return offset, np.ones(len(term.products))
    spread = np.maximum(spread, LEAST_SCALE * largest)
    return offset, 1.0 / (spread * np.sqrt(len(spread)))


def _all_descriptors(term: BispectrumTerm, structures: Sequence[Structure]) -> Array:
    """Descriptors of all atoms of some structures, (atoms, products)."""
    found = [
        term.descriptors(structure, center)[1]
        for structure in structures
        for center in sorted(structure.species)
    ]
    return np.concatenate([np.zeros((0, len(term.products))), *found])


@dataclass(frozen=True, eq=False)
class BispectrumTerm(EnvironmentTerm):
    """A bispectrum term with its sparse points, vectors of products, per species of centre.

    Attributes:
        basis: radial basis that the channels combine.
        numbers: atomic numbers of the elements, increasing.
        mixing: (l_max + 1, channels, species, n_max) contraction into channels.
        radial: (species, intervals + 3, l_max + 1, channels) splines over [0, cutoff].
        products: (products, 4) fields, `products_of`.
        scales: (products,) factors of the descriptors.
        offset: added to the sum of the squares of an atom's coefficients.
    """

    kind: ClassVar[str] = "bispectrum"

    basis: RadialBasis
    numbers: tuple[int, ...]
    mixing: Array
    radial: Array
    products: NDArray[np.int64]
    scales: Array
    offset: float
    cutoff: float
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()

    @cached_property
    def expansion(self) -> _core.FieldProducts:
        """The descriptors in the core."""
        return _core.FieldProducts(
            *(self.cutoff, self.radial, list(self.numbers), self.offset),
            *(self.products, self.scales.tolist()),
        )

    @cached_property
    @override
    def comparison(self) -> Comparison:  # type: ignore[override]
        return DotPower(1)

    @override
    def summary(self) -> dict[str, Any]:
        basis = self.basis
        return {
            "cutoff_width": basis.cutoff_width,
            "atom_sigma": basis.atom_sigma,
            "n_max": basis.n_max,
            "l_max": basis.l_max,
            "channels": self.radial.shape[-1],
            "order": int(np.max(np.sum(self.products >= 0, axis=1))),
            "products": len(self.products),
        }

    def hyperparameters(self) -> dict[str, float]:
        """Widths and cutoff, Å."""
        return self.basis.lengths

    @override
    def at(self, values: Mapping[str, float]) -> BispectrumTerm:
        shape: dict[str, Any] = dict(values)
        basis = replace(self.basis, **shape)
        radial, _ = tables(basis, self.mixing, self.radial.shape[1] - 3)
        return replace(self, basis=basis, radial=radial, cutoff=basis.cutoff)

    # ---- descriptors

    @override
    def dimension_of(self, center: int) -> int:
        return len(self.products)

    def descriptors(self, structure: Structure, center: int) -> tuple[Indices, Array]:
        """Scaled products of the atoms of one species."""
        atoms, values = self.expansion.values(structure.neighbors, center)
        return atoms, values

    @override
    def isolated(self, structure: Structure, center: int) -> Array:
        return np.zeros(len(self.products))

    @override
    def derivatives(
        self, structure: Structure, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        targets, centers, rows = self.expansion.derivatives(
            structure.neighbors, center, first, last
        )
        return targets, centers, rows

    # ---- the map and the file

    @override
    def mapped(self, weights: Array, plan: MapPlan) -> BispectrumFunctions | None:
        """The energies as they are: sums of factors times products."""
        if not any(block.size for block in self.blocks):
            return None
        factors = {
            SYMBOLS[block.species[0]]: plan.columns(self.scales[:, None] * (block.points.T @ some))
            for block, some in self.block_weights(weights)
            if block.size
        }
        return BispectrumFunctions(
            cutoff=self.cutoff,
            intervals=self.radial.shape[1] - 3,
            n_max=self.radial.shape[-1],
            l_max=self.basis.l_max,
            radial=self.radial,
            offset=self.offset,
            products=self.products,
            factors=factors,
        )

    @override
    def document(self) -> dict[str, Any]:
        return {
            "basis": asdict(self.basis),
            "channels": self.radial.shape[-1],
            "offset": self.offset,
        }

    @override
    def tensors(self) -> dict[str, Array]:
        return {
            "radial": self.radial.reshape(-1, *self.radial.shape[-2:]),
            "mixing": self.mixing,
            "products": self.products.astype(np.float64),
            "scales": self.scales,
        }

    @classmethod
    @override
    def read(cls, view: TermView) -> BispectrumTerm:
        entry = view.entry
        basis = RadialBasis.read(entry["basis"], 8)
        offset = entry["offset"].number()
        if not 1.0 / LARGEST <= offset <= LARGEST:
            entry["offset"].reject(f"found {offset}, expected a number above 0")
        orders, species = basis.l_max + 1, len(view.species)
        channels = entry["channels"].integer(1, 64)
        mixing = view.tensor("mixing", channels, species, basis.n_max)
        rows = view.tensor("radial", orders, channels)
        products, scales = view.tensor("products", FACTORS), view.tensor("scales")
        whole = np.all((products == np.floor(products)) & (products >= -1.0))
        in_fields = np.all(products < orders * channels)
        if len(mixing) != orders or len(rows) % species or len(rows) < 4 * species:
            entry.reject("its tensors have not the sizes that `basis` and the species ask for")
        if len(scales) != len(products) or not len(products) or not (whole and in_fields):
            entry.reject("its products tensor is not a list of fields: the file is damaged")
        radial = np.ascontiguousarray(rows.reshape(species, -1, orders, channels))
        term = cls(
            *(basis, view.species, mixing, radial, products.astype(np.int64), scales, offset),
            cutoff=basis.cutoff,
            delta=view.delta,
        )
        return term.with_blocks(view.blocks(1, lambda species: len(products)))
