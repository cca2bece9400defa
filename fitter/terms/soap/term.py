"""SOAP terms: functions of the power spectrum of the neighbours' density.

The density of neighbours about an atom is expanded in radial functions (`radial_basis`) and spherical
harmonics; its power spectrum p is invariant to rotations. The local energy has the covariance
``delta**2 (p . p')**zeta`` of normalised spectra (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115
(2013), DOI 10.1103/PhysRevB.87.184115). The centre's own density is part of p, so that p is never zero.

Elements have channels: c[alpha] = sum over elements of weights[alpha, element] times that element's
coefficients. Plain SOAP has a channel for each element (the weights are a unit matrix). A matrix
kappa of similarities between elements (De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem. Phys. 18,
13754 (2016), DOI 10.1039/C6CP00415F) is equivalent to weights with weights.T @ weights = kappa, and
fewer channels than elements compress them (Willatt, Musil and Ceriotti, Phys. Chem. Chem. Phys. 20,
29661 (2018), DOI 10.1039/C8CP05921G).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.solve.work import Work
from forcemap.fitter.terms.base import LARGEST, Array, Block, MapPlan, Species, TermView
from forcemap.fitter.terms.environments import Comparison, DotPower, EnvironmentTerm, Indices
from forcemap.fitter.terms.soap.contraction import tables
from forcemap.fitter.terms.soap.draws import drawing, drawn_bytes, drawn_functions
from forcemap.fitter.terms.soap.forms import forms_of, functions_of
from forcemap.fitter.terms.soap.radial_basis import RadialBasis
from forcemap.potentials import _core
from forcemap.potentials.terms.soap import SpectrumFunctions
from typing_extensions import override

__all__ = ["SoapTerm"]

DERIVATIVES = 10
"""Approximate number of rows of derivatives per atom of the frames that rank a map's vectors."""


@dataclass(frozen=True, eq=False)
class SoapTerm(EnvironmentTerm):
    """A SOAP term with its sparse points, which are normalised power spectra, per species of centre.

    Attributes:
        basis: radial basis from which the tables were made.
        zeta: power of the dot product.
        numbers: atomic numbers of the columns of `weights`, increasing.
        weights: (channels, species) weights of the elements' densities.
        radial: (intervals + 3, l_max + 1, n_max) splines of the radial functions over [0, cutoff];
            (species, intervals + 3, l_max + 1, channels) of contracted ones.
        own: (n_max,) coefficients of the centre's own density; (species, channels).
        mixing: (l_max + 1, channels, species, n_max) contraction of the radial functions and elements
            into channels (`contraction`); None: radial functions as they are, of `weights`.
    """

    kind: ClassVar[str] = "soap"

    basis: RadialBasis
    zeta: int
    numbers: tuple[int, ...]
    weights: Array
    radial: Array
    own: Array
    cutoff: float
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()
    mixing: Array | None = None

    @property
    def functions(self) -> int:
        """Radial functions of a channel of the elements, of the splines."""
        return int(self.radial.shape[-1])

    @property
    def intervals(self) -> int:
        """Intervals of the splines."""
        return int(self.radial.shape[-3]) - 3

    @cached_property
    def expansion(self) -> _core.SoapExpansion:
        """The density expansion in the core."""
        shared = self.mixing is None
        return _core.SoapExpansion(
            self.cutoff,
            self.radial[None] if shared else self.radial,
            self.own[None] if shared else self.own,
            self.weights,
            list(self.numbers),
        )

    @property
    def dimension(self) -> int:
        """Length of the power spectrum."""
        return int(self.expansion.dimension)

    @override
    def summary(self) -> dict[str, Any]:
        basis = self.basis
        return {
            "cutoff_width": basis.cutoff_width,
            "atom_sigma": basis.atom_sigma,
            "n_max": basis.n_max,
            "l_max": basis.l_max,
            "zeta": self.zeta,
            "channels": len(self.weights) if self.mixing is None else self.functions,
            "dimension": self.dimension,
        }

    def hyperparameters(self) -> dict[str, float]:
        """Widths and cutoff, Å, and the power."""
        return self.basis.lengths | {"zeta": float(self.zeta)}

    @override
    def at(self, values: Mapping[str, float]) -> SoapTerm:
        shape: dict[str, Any] = {name: value for name, value in values.items() if name != "zeta"}
        basis = replace(self.basis, **shape)
        radial, own = tables(basis, self.mixing, self.intervals)
        zeta = int(values.get("zeta", self.zeta))
        return replace(self, basis=basis, radial=radial, own=own, cutoff=basis.cutoff, zeta=zeta)

    @cached_property
    @override
    def comparison(self) -> Comparison:  # type: ignore[override]
        return DotPower(self.zeta)

    @override
    def dimension_of(self, center: int) -> int:
        return self.dimension

    def descriptors(self, structure: Structure, center: int) -> tuple[Indices, Array]:
        """Normalised power spectra of the atoms of one species."""
        atoms, spectra = self.expansion.spectra(structure.neighbors, center)
        return atoms, spectra

    @override
    def isolated(self, structure: Structure, center: int) -> Array:
        return np.asarray(self.expansion.isolated(structure.neighbors, center))

    @override
    def derivatives(
        self, structure: Structure, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        targets, centers, rows = self.expansion.derivatives(
            structure.neighbors, center, first, last
        )
        return targets, centers, rows

    # ---- the map and the file

    def may_leave_out(self, choice: str | None) -> bool:
        """Forms of few vectors (zeta <= 2) may be truncated; sparse points may not, by default."""
        return choice == "low_rank" if choice is not None else self.zeta <= 2

    def map_work(self, sizes: Mapping[Species, int], atoms: int) -> Work:
        """Algebra of a form for each species of centre, in the span of its points."""
        work = Work()
        d = float(self.dimension)
        for size in sizes.values():
            if self.zeta != 2:
                continue
            r = min(float(size), d)
            rows = DERIVATIVES * atoms + atoms  # spectra and some of their derivatives
            work += Work(
                products=2.0 * rows * d * r + 2.0 * rows * r**2 + 6.0 * size * d * r + 8.0 * r**3,
                eigen=3.0 * r**3,
                bytes=int(8 * (2 * size * d + 4 * r**2)),
            )
        return work

    def mapped(self, weights: Array, plan: MapPlan) -> SpectrumFunctions | None:
        """Forms of the spectra; that of the mean has the fraction `plan.part` of its vectors."""
        if not any(block.size for block in self.blocks):
            return None
        if plan.draws:
            return drawn_functions(self, weights, plan)
        forms = plan.once(
            ("forms", id(self)),
            lambda: forms_of(self, weights[:, 0], plan.frames, plan.jobs, plan),
        )
        return functions_of(self, forms, plan.part)

    @override
    def map_bytes(self, plan: MapPlan) -> int:
        """Memory of the draws, with as many functions as the plan keeps; 0 for the mean."""
        return drawn_bytes(self, plan) if plan.draws else 0

    @override
    def drawn_work(self, plan: MapPlan) -> Work:
        """Algebra of the draws; the moments of the frames' spectra are known from the mean's map."""
        return drawing(self, plan)

    @property
    def expansion_fields(self) -> dict[str, Any]:
        """The fields of a mapped term that define the density expansion."""
        return {
            "cutoff": self.cutoff,
            "intervals": self.intervals,
            "n_max": self.functions,
            "l_max": self.basis.l_max,
            "radial": self.radial,
            "self_density": self.own,
            "weights": self.weights,
        }

    @override
    def document(self) -> dict[str, Any]:
        document = {"zeta": self.zeta, "basis": asdict(self.basis)}
        return document if self.mixing is None else document | {"contracted": self.functions}

    @override
    def tensors(self) -> dict[str, Array]:
        tensors = {"radial": self.radial, "own": self.own, "channels": self.weights}
        if self.mixing is None:
            return tensors
        rows = self.radial.reshape(-1, *self.radial.shape[-2:])
        return tensors | {"radial": rows, "mixing": self.mixing}

    @classmethod
    @override
    def read(cls, view: TermView) -> SoapTerm:
        basis = RadialBasis.read(view.entry["basis"], 20)
        mixing, radial, own = cls._tables_of(view, basis)
        weights = view.tensor("channels", len(view.species))
        if radial.shape[-3] < 4 or not 1 <= len(weights) <= 128:
            view.entry.reject(
                "its radial, own or channels tensor has not the size that `basis` asks for"
            )
        zeta = view.entry["zeta"].integer(1, 4)
        if np.abs(weights).max() < 1.0 / LARGEST:
            view.entry.reject(
                "its channels tensor is 0: the file is damaged; copy it again or fit anew"
            )
        term = cls(
            *(basis, zeta, view.species, weights, radial, own, basis.cutoff, view.delta),
            mixing=mixing,
        )
        return term.with_blocks(view.blocks(1, lambda species: term.dimension))

    @staticmethod
    def _tables_of(view: TermView, basis: RadialBasis) -> tuple[Array | None, Array, Array]:
        """The mixing, if there is one, the splines and the centre's own coefficients."""
        orders, species = basis.l_max + 1, len(view.species)
        if "contracted" not in view.entry:
            radial, own = view.tensor("radial", orders, basis.n_max), view.tensor("own")
            if len(own) != basis.n_max:
                view.entry.reject("its own tensor has not the size that `basis` asks for")
            return None, radial, own
        count = view.entry["contracted"].integer(1, 128)
        mixing = view.tensor("mixing", count, species, basis.n_max)
        rows, own = view.tensor("radial", orders, count), view.tensor("own", count)
        if len(mixing) != orders or len(own) != species or len(rows) % species:
            view.entry.reject("its tensors have not the sizes that `basis` and the species ask for")
        return mixing, np.ascontiguousarray(rows.reshape(species, -1, orders, count)), own
