"""Learned channels: the combinations of radial functions and elements that predict unseen labels.

`contraction` combines radial functions and elements by their variance in the data, which says nothing
of the energy. Here twice as many such combinations are combined once more, into the term's channels,

    c[lm, k] = sum over r of combination[l, k, r] c[lm, r],

and `choice.learning` changes the combinations until unseen frames are predicted best. The power
spectrum of the channels is linear in that of the wide term, p[l] = C[l] P[l], with C quadratic in the
combination. Slopes of sums of energies are therefore products of matrices of spectra (the coefficients
of the process stay fixed: variable projection; Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973),
DOI 10.1137/0710036).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block
from forcemap.fitter.terms.rows import columns
from forcemap.fitter.terms.soap.contraction import tables
from forcemap.fitter.terms.soap.term import SoapTerm

__all__ = ["WIDER", "LearnedChannels", "WideChannels"]

WIDER = 2
"""Combinations of largest variance for each channel that is learned."""

FREEDOM = 0.25
"""Power of a combination's variance in the unit of its coefficient: rare combinations may grow."""

MOST = 4.0
"""Ratio of the largest to the smallest singular value of a combination."""

LEAST_VARIANCE = 1e-9
"""Smallest variance that sets a unit, relative to the largest."""


@dataclass(frozen=True)
class WideChannels:
    """What a term learns from: combinations of largest variance, in which its sparse points are known.

    Attributes:
        wide: the term of these combinations, with its sparse points, which only the number of
            parameters does not need.
        channels: number of the channels to be learned.
    """

    wide: SoapTerm
    channels: int

    @cached_property
    def units(self) -> Array:
        """(l_max + 1, wide) units of the parameters."""
        orders, wide = self._orders, self.wide.functions
        rows, columns_ = np.triu_indices(wide)
        diagonal = np.concatenate([block.points for block in self.wide.blocks])
        values = np.mean(diagonal.reshape(-1, orders, len(rows)), axis=0)[:, rows == columns_]
        values = values / np.max(values, axis=1, keepdims=True)
        return np.asarray(np.maximum(values, LEAST_VARIANCE) ** -FREEDOM)

    @property
    def _orders(self) -> int:
        return self.wide.basis.l_max + 1

    @property
    def count(self) -> int:
        """Number of parameters."""
        return self._orders * self.channels * self.wide.functions

    @property
    def start(self) -> Array:
        """Parameters of the channels of largest variance."""
        first = np.eye(self.channels, self.wide.functions)
        return np.ravel(first / self.units[:, None, :])

    def at(self, parameters: Array) -> LearnedChannels:
        """The term of some channels."""
        return LearnedChannels(self, self._combination(parameters))

    def held(self, parameters: Array) -> Array:
        """Parameters whose channels stretch no combination more than MOST times as much as another.

        An environment far from the data may have much of what is rare in them; amplified, it would be
        like no other, and its energy nothing.
        """
        left, sizes, right = np.linalg.svd(self._combination(parameters), full_matrices=False)
        most = np.sqrt(MOST)
        held = (left * np.clip(sizes, 1.0 / most, most)[:, None, :]) @ right
        return np.ravel(held / self.units[:, None, :])

    def _combination(self, parameters: Array) -> Array:
        shape = (self._orders, self.channels, self.wide.functions)
        return parameters.reshape(shape) * self.units[:, None, :]


@dataclass(frozen=True)
class LearnedChannels:
    """A term of channels, and slopes in their parameters.

    Attributes:
        source: what the channels combine.
        combination: (l_max + 1, channels, wide).
    """

    source: WideChannels
    combination: Array

    @property
    def outcome(self) -> Array:
        """(l_max + 1, channels, species, n_max) mixing of the term."""
        assert self.source.wide.mixing is not None
        return np.asarray(np.einsum("lkr,lren->lken", self.combination, self.source.wide.mixing))

    @cached_property
    def term(self) -> SoapTerm:
        """With the wide term's sparse points."""
        wide = self.source.wide
        mixing = self.outcome
        radial, own = tables(wide.basis, mixing, wide.intervals)
        term = replace(wide, mixing=mixing, radial=radial, own=own, blocks=())
        return term.with_blocks(
            [Block(block.species, self._spectra(block.points).unit) for block in wide.blocks]
        )

    # ---- spectra, which are linear in those of the wide term

    @cached_property
    def _pairs(self) -> tuple[Array, Array]:
        """Factors of the packed pairs of channels: those that differ count twice."""
        return tuple(  # type: ignore[return-value]
            np.where(np.equal(*np.triu_indices(n)), 1.0, np.sqrt(2.0))
            for n in (self.source.wide.functions, self.source.channels)
        )

    @cached_property
    def _linear(self) -> Array:
        """(l_max + 1, wide pairs, pairs) C."""
        (a, b), (k, m) = (
            np.triu_indices(n) for n in (self.source.wide.functions, self.source.channels)
        )
        wide, own = self._pairs
        u = self.combination
        both = u[:, k][:, :, a] * u[:, m][:, :, b] + u[:, k][:, :, b] * u[:, m][:, :, a]
        # Of equal wide channels the two products are one.
        both *= np.where(a == b, 0.5, 1.0)
        return np.ascontiguousarray((both * own[:, None] / wide).transpose(0, 2, 1))

    def _combination_slopes(self, slopes: Array) -> Array:
        """Slopes in the combination from those in C."""
        channels, wide = self.source.channels, self.source.wide.functions
        (a, b), (k, m) = np.triu_indices(wide), np.triu_indices(channels)
        of_wide, own = self._pairs
        scaled = slopes.transpose(0, 2, 1) * own[:, None] / of_wide * np.where(a == b, 0.5, 1.0)
        square = np.zeros((len(slopes), channels, channels, wide, wide))
        square[:, k[:, None], m[:, None], a, b] = scaled
        square = square + square.transpose(0, 2, 1, 3, 4)
        square = square + square.transpose(0, 1, 2, 4, 3)
        return np.asarray(np.einsum("lkmab,lmb->lka", square, self.combination, optimize=True))

    def _spectra(self, wide: Array) -> _Spectra:
        by_order = wide.reshape(len(wide), self.source._orders, -1)
        own = np.stack([by_order[:, n] @ some for n, some in enumerate(self._linear)], axis=1)
        flat = own.reshape(len(wide), -1)
        lengths = np.linalg.norm(flat, axis=1)
        return _Spectra(by_order, flat / lengths[:, None], lengths)

    @cached_property
    def _points(self) -> list[_Spectra]:
        return [self._spectra(block.points) for block in self.source.wide.blocks]

    def _to_parameters(self, slopes: Array) -> Array:
        return np.ravel(self._combination_slopes(slopes) * self.source.units[:, None, :])

    # ---- slopes

    def energy_slopes(
        self, frames: Sequence[Frame], factors: Sequence[float], weights: Array
    ) -> Array:
        """Slopes of sum_f factors[f] E(frames[f]) at fixed `weights` (points of all blocks,).

        The sparse points change with the channels, as the spectra of their environments do.
        """
        wide = self.source.wide
        structures = [Structure(frame, wide.cutoff, derivatives=False) for frame in frames]
        total = np.zeros_like(self._linear)
        for points, (_, block, where) in zip(self._points, columns([wide]), strict=True):
            center = block.species[0]
            spectra, counts = [], []
            for structure, factor in zip(structures, factors, strict=True):
                own = wide.descriptors(structure, center)[1]
                spectra.append(own)
                counts.append(np.full(len(own), factor))
            atoms = np.concatenate(counts)
            if not len(atoms):
                continue
            free = wide.isolated(structures[0], center)[None]
            every = self._spectra(np.concatenate([*spectra, free]))
            every_factor = np.append(atoms, -np.sum(atoms))
            dots = every.unit @ points.unit.T
            slopes = dots ** (wide.zeta - 1) * (wide.zeta * every_factor[:, None]) * weights[where]
            total += every.slopes(slopes @ points.unit) + points.slopes(slopes.T @ every.unit)
        return self._to_parameters(total)

    def covariance_slopes(self, left: Array, right: Array) -> Array:
        """Slopes of left . K right, with the covariance K of the sparse points of all blocks."""
        zeta = self.source.wide.zeta
        total = np.zeros_like(self._linear)
        for points, (_, _, where) in zip(self._points, columns([self.source.wide]), strict=True):
            dots = points.unit @ points.unit.T
            a, b = left[where], right[where]
            outer = np.outer(a, b) + np.outer(b, a)
            total += points.slopes(zeta * (outer * dots ** (zeta - 1)) @ points.unit)
        return self._to_parameters(total)


@dataclass(frozen=True)
class _Spectra:
    """Spectra of some atoms.

    Attributes:
        wide: (n, l_max + 1, wide pairs) of the wide term, to a factor.
        unit: (n, dimension) of the channels, normalised.
        lengths: (n,) before that.
    """

    wide: Array
    unit: Array
    lengths: Array

    def slopes(self, of_unit: Array) -> Array:
        """(l_max + 1, wide pairs, pairs) slopes in C from those in the normalised spectra."""
        inside = np.sum(of_unit * self.unit, axis=1)
        of_own = (of_unit - inside[:, None] * self.unit) / self.lengths[:, None]
        by_order = of_own.reshape(*self.wide.shape[:2], -1)
        return np.stack([self.wide[:, n].T @ by_order[:, n] for n in range(self.wide.shape[1])])
