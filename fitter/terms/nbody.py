"""Many-body terms made of a 3-body kernel, evaluated by the process only: they have no map.

The 3-body kernel of two environments is the sum over the triplets of one and of the other (Glielmo,
Zeni, Fekete, De Vita, "Building nonparametric n-body force fields using Gaussian process regression",
in Machine Learning Meets Quantum Physics, Springer 2020, DOI 10.1007/978-3-030-40245-7_5)::

    k_3(rho, rho') = sum_{ {j, k} } sum_{ {j', k'} } f_c(r_ij) f_c(r_ik) f_c(r'_ij) f_c(r'_ik) k(q, q')

with k the squared exponential on the three distances q = (r_ij, r_ik, r_jk), summed over the exchange
of equal neighbours; triplets of other species do not compare. Its integer power (eq. 5.30),
``k_3**power``, couples `power` triplets at a time: functions of up to 2 power + 1 atoms; the squared
exponential on its distance (eq. 5.31)::

    exp(-d**2 / (2 distance_lengthscale**2))
    d**2 = k_3(rho, rho) + k_3(rho', rho') - 2 k_3(rho, rho')

is of all orders. Neither is a sum over triplets any more, and no splines of few distances hold it.

*Features.* The double sum is approximated by inducing triplets q_m (Williams and Seeger, NIPS 13, 682
(2001)): with s_m(rho) = sum over the triplets of rho of f_c f_c k(q, q_m) and the triplets' own
covariance K = L Lᵀ, the descriptor phi = L⁻¹ s gives k_3(rho, rho') = phi . phi', from below, and
exactly where the triplets of rho or rho' are among the q_m. Descriptors are divided by the root of
the mean k_3(rho, rho) of the data's environments, the unit of `delta` and the lengthscale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from forcemap.fitter.checked import (
    CrossCheckError,
    choice,
    integer,
    number,
    optional,
    read_by,
)
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.solve.cholesky import RANK_TOLERANCE
from forcemap.fitter.terms.base import (
    DISTANCE,
    LENGTHSCALES,
    Array,
    Block,
    MapPlan,
    Pool,
    Species,
    Survey,
    TermSettings,
    TermView,
    positive,
    within,
)
from forcemap.fitter.terms.distances import check_distances, read_lengths
from forcemap.fitter.terms.environments import (
    Comparison,
    DotPower,
    EnvironmentSettings,
    EnvironmentTerm,
    Indices,
    SquaredExponential,
)
from forcemap.fitter.terms.three_body import CUTOFF_WIDTH, LENGTHSCALE, ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials import _core
from forcemap.potentials.elements import SYMBOLS, atomic_number
from typing_extensions import override

__all__ = ["NBodySettings", "NBodyTerm"]

DISTANCE_LENGTHSCALE = 1.0
"""Default, in units of the root mean square distance of the data's descriptors."""


@dataclass(frozen=True)
class NBodySettings(EnvironmentSettings):
    """A many-body function made of the 3-body kernel of whole environments; it has no map.

    `kernel`: "power" takes the 3-body kernel to the integer `power` (default 2): functions of up to
    2 power + 1 atoms; "squared_exponential" acts on its distance, with `distance_lengthscale` in units
    of the typical length of an environment's descriptor. `lengthscale` is that of the triplets, and
    `n_features` the number of inducing triplets for each centre and pair of neighbours' species.
    """

    kind: ClassVar[str] = "nbody"
    continuous: ClassVar[tuple[str, ...]] = (
        *("lengthscale", "cutoff", "cutoff_width"),
        "distance_lengthscale",
    )
    whole: ClassVar[Mapping[str, tuple[int, int]]] = {"power": (1, 4)}

    cutoff: float = field(default=4.0, metadata=read_by(DISTANCE))
    """Å: longest distance from the central atom to its neighbours."""
    lengthscale: float | None = field(default=None, metadata=read_by(optional(DISTANCE)))  # Å
    """Å: lengthscale of the kernel of triplets; by default a fraction of the cutoff."""
    kernel: str = field(default="power", metadata=read_by(choice("power", "squared_exponential")))
    """What acts on the 3-body kernel of environments."""
    power: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=8)))
    )
    """Exponent of the 3-body kernel; by default 2."""
    distance_lengthscale: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=1e6)))
    )
    """Lengthscale on the kernel's distance, in units of the descriptors' typical distance."""
    n_features: int = field(default=100, metadata=read_by(integer(at_least=1, at_most=5000)))
    """Number of inducing triplets for each centre and pair of neighbours' species."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for a setting of the kernel that was not chosen."""
        super().cross_check()
        of_kernel = {"power": "power", "distance_lengthscale": "squared_exponential"}
        for key, kernel in of_kernel.items():
            if getattr(self, key) is not None and self.kernel != kernel:
                raise CrossCheckError(key, f"goes with kernel: {kernel}, not {self.kernel}")

    @classmethod
    @override
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        """Powers 2 and 3, of 5 and 7 atoms; power 1 is a three-body term."""
        return {
            f"2-body + {2 * power + 1}-body": (TwoBodySettings(), cls(power=power))
            for power in (2, 3)
        }

    def open(self, survey: Survey) -> NBodyTerm:
        """The term with inducing triplets chosen from the data."""
        triplets = ThreeBodyTerm(
            cutoff=self.cutoff,
            cutoff_width=min(self.cutoff_width or CUTOFF_WIDTH * self.cutoff, self.cutoff),
            kernel_name="squared_exponential",
            lengthscale=self.lengthscale or LENGTHSCALE * self.cutoff,
        )
        return NBodyTerm(
            survey.chosen(triplets, "pivoted_cholesky", self.n_features),
            DotPower(self.power or 2)
            if self.kernel == "power"
            else SquaredExponential(self.distance_lengthscale or OPEN),
            self.cutoff,
            {},
            self.delta or 1.0,
        )


OPEN = float("inf")
"""Placeholder of a lengthscale that `NBodyTerm.fitted_to` determines."""


@dataclass(frozen=True, eq=False)
class NBodyTerm(EnvironmentTerm):
    """A many-body term with its sparse points, which are descriptors phi, for each species of centre.

    Attributes:
        triplets: kernel and cutoff of triplets; its blocks hold the inducing triplets.
        scales: mean k_3 of an environment with itself, by species of centre; 1 by default.
        comparison: `environments.DotPower` or `environments.SquaredExponential`.
    """

    triplets: ThreeBodyTerm
    comparison: Comparison
    cutoff: float
    scales: Mapping[int, float]
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()

    kind: ClassVar[str] = "nbody"
    has_map: ClassVar[bool] = False

    def fitted_to(self, pools: Mapping[Species, Pool]) -> tuple[NBodyTerm, Mapping[Species, Pool]]:
        """The term with its scales and, if it was open, the lengthscale of distances."""
        scales = {z: float(np.mean(np.sum(pool.points**2, axis=1))) for (z,), pool in pools.items()}
        scales = {z: scale for z, scale in scales.items() if scale > 0.0}
        scaled: dict[Species, Pool] = {
            (z,): pools[z,].scaled(1.0 / np.sqrt(scales[z])) for z in scales
        }
        comparison = self.comparison
        if comparison == SquaredExponential(OPEN):
            spreads = [np.sum(np.var(pool.points, axis=0)) for pool in scaled.values()]
            typical = float(np.sqrt(2.0 * max(spreads, default=0.0)))
            comparison = SquaredExponential(DISTANCE_LENGTHSCALE * typical or 1.0)
        return replace(self, scales=scales, comparison=comparison), scaled

    def hyperparameters(self) -> dict[str, float]:
        """Hyperparameters of the triplets, Å, and the lengthscale or the power of the comparison."""
        own = self.comparison.named()
        compared = {key: float(own[key]) for key in ("distance_lengthscale", "power") if key in own}
        return self.triplets.hyperparameters() | compared

    @override
    def at(self, values: Mapping[str, float]) -> NBodyTerm:
        of_triplets = {k: v for k, v in values.items() if k in self.triplets.hyperparameters()}
        comparison = self.comparison
        if "distance_lengthscale" in values:
            comparison = SquaredExponential(values["distance_lengthscale"])
        if "power" in values:
            comparison = DotPower(int(values["power"]))
        triplets = self.triplets.at(of_triplets)
        return replace(self, triplets=triplets, cutoff=triplets.cutoff, comparison=comparison)

    @override
    def followed(self, blocks: Sequence[Block]) -> NBodyTerm:
        """The term rescaled, so that descriptors keep the length that `fitted_to` gave them."""
        scales, scaled = dict(self.scales), []
        for old, new in zip(self.blocks, blocks, strict=True):
            before, after = (float(np.sum(block.points**2)) for block in (old, new))
            ratio = after / before if before > 0.0 and after > 0.0 else 1.0
            scales[new.species[0]] = scales.get(new.species[0], 1.0) * ratio
            scaled.append(Block(new.species, new.points / np.sqrt(ratio)))
        return replace(self, scales=scales, blocks=tuple(scaled))

    @cached_property
    def expansion(self) -> _core.TripletExpansion:
        """The inducing triplets in the core."""
        blocks = []
        for block in self.triplets.blocks:
            for (center, a, b), images in self.triplets.views(block):
                blocks.append((center, a, b, images))
        return _core.TripletExpansion(self.triplets.settings, blocks)

    @cached_property
    def factors(self) -> list[Array]:
        """Cholesky factor of the covariance of each block of inducing triplets.

        Raises LinAlgError if triplets repeat others.
        """
        return [
            scipy.linalg.cholesky(self.triplets.covariance(block), lower=True)
            for block in self.triplets.blocks
        ]

    @override
    def summary(self) -> dict[str, Any]:
        return {
            **self.comparison.named(),
            "lengthscale": self.triplets.lengthscale,
            "cutoff_width": self.triplets.cutoff_width,
            "n_features": self.triplets.size,
        }

    @override
    def dimension_of(self, center: int) -> int:
        return sum(block.size for block in self.triplets.blocks if block.species[0] == center)

    @override
    def descriptors(self, structure: Structure, center: int) -> tuple[Indices, Array]:
        atoms, sums = self.expansion.values(structure.neighbors, center)
        return atoms, self._whitened(sums, center)

    def isolated(self, structure: Structure, center: int) -> Array:
        """The descriptor phi of an isolated atom, which has no triplets: 0."""
        return np.zeros(self.dimension_of(center))

    @override
    def derivatives(
        self, structure: Structure, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        targets, centers, sums = self.expansion.derivatives(
            structure.neighbors, center, first, last
        )
        return targets, centers, self._whitened(sums, center)

    def _whitened(self, sums: Array, center: int) -> Array:
        """(n, dimension) sums s over triplets as descriptors phi."""
        descriptors = np.empty_like(sums)
        start = 0
        for block, factor in zip(self.triplets.blocks, self.factors, strict=True):
            if block.species[0] == center:
                where = slice(start, start + block.size)
                descriptors[:, where] = scipy.linalg.solve_triangular(
                    factor, sums[:, where].T, lower=True, check_finite=False
                ).T
                start += block.size
        return np.asarray(descriptors / np.sqrt(self.scales.get(center, 1.0)))

    def mapped(self, weights: Array, plan: MapPlan) -> None:
        """None: neither kernel is a function of few distances."""
        return None

    # ---- the file

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff_width": self.triplets.cutoff_width,
            "lengthscale": self.triplets.lengthscale,
            "cutoff_function": self.triplets.cutoff_function,
            "comparison": self.comparison.named(),
            "triplets": [[SYMBOLS[z] for z in block.species] for block in self.triplets.blocks],
            "scales": {SYMBOLS[z]: scale for z, scale in self.scales.items()},
        }

    @override
    def tensors(self) -> dict[str, Array]:
        return {f"triplets.{b}": block.points for b, block in enumerate(self.triplets.blocks)}

    @classmethod
    @override
    def read(cls, view: TermView) -> NBodyTerm:
        entry = view.entry
        width, lengthscale = read_lengths(view)
        blocks = view.blocks(3, lambda species: 3, entry="triplets", prefix="triplets")
        if any(block.species[1] > block.species[2] for block in blocks):
            entry["triplets"].reject(
                "expected a centre and two neighbours, the lower atomic number first"
            )
        check_distances(view, blocks, view.cutoff)
        stored = entry["scales"]
        scales = {atomic_number(symbol): positive(stored[symbol]) for symbol in stored.members()}
        triplets = ThreeBodyTerm(
            cutoff=view.cutoff,
            cutoff_width=width,
            kernel_name="squared_exponential",
            lengthscale=lengthscale,
            cutoff_function=view.one_of("cutoff_function", "quintic", "cosine"),
            blocks=blocks,
        )
        term = cls(triplets, _read_comparison(view), view.cutoff, scales, view.delta)
        term.check_triplets(view)
        return replace(term, blocks=view.blocks(1, lambda species: term.dimension_of(species[0])))

    def check_triplets(self, view: TermView) -> None:
        """Raise ModelFileError if triplets of a file repeat others."""
        try:
            variances = [np.diag(factor) ** 2 for factor in self.factors]
        except (scipy.linalg.LinAlgError, ValueError):  # ValueError: a number is not finite
            variances = [np.zeros(1)]
        # The variance each triplet adds to those before it; the fit keeps none below RANK_TOLERANCE.
        if any(np.min(v, initial=np.inf) < 1e-3 * RANK_TOLERANCE for v in variances):
            view.entry["triplets"].reject("some of its triplets repeat others")


def _read_comparison(view: TermView) -> Comparison:
    entry = view.entry["comparison"]
    name = entry["kernel"].string()
    if name == "power":
        return DotPower(entry["power"].integer(1, 8))
    if name != "squared_exponential":
        entry["kernel"].reject("expected power or squared_exponential")
    return SquaredExponential(within(entry["distance_lengthscale"], *LENGTHSCALES))
