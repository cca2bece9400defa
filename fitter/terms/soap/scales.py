"""Cutoffs of soap terms that leave them open, and two resolutions of different reach.

One resolution for all distances wastes functions: near neighbours differ by tenths of an Å, distant
ones only by their shells. A fine term of short reach and a coarse one of long reach, of half
the sparse points each, have smaller errors than one term with all of them (multi-scale SOAP: Bartók et
al., Sci. Adv. 3, e1701816 (2017), DOI 10.1126/sciadv.1701816). The best reach of the fine term
differs (water 2.4 Å, nickel 3.0, molybdenum 3.6, silicon 3.8); small fits decide, by their evidence. No
reach ends within the first shell of a pair of species (see `shells`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.soap.shells import Shell, clear_of, first_shells

__all__ = ["SINGLE", "Reaches", "Scale", "cutoff_by_neighbors"]

LEAST_CUTOFF, MOST_CUTOFF = 4.0, 6.0
"""Limits of the default cutoff, Å."""

NEIGHBORS = 30.0
"""Average number of neighbours within the default cutoff (Si 5.4 Å, Mo 5.1 Å, Ni 4.3 Å): farther ones
cost more than they are worth."""

SAMPLE = 30
"""Number of frames from which a cutoff is chosen."""


@dataclass(frozen=True)
class Scale:
    """A resolution of the density.

    Attributes:
        reach: the cutoff, in units of the one with NEIGHBORS neighbours.
        cutoff_width, atom_sigma: fractions of the cutoff.
    """

    reach: float
    cutoff_width: float
    atom_sigma: float


SINGLE = Scale(1.0, 0.6, 0.085)
"""The wide step reduces the weight of neighbours with their distance; errors of Si and Ni are smaller
than with a narrow one. The atom_sigma is 0.36 Å for Ni, 0.44 Å for Si."""

COARSE = Scale(1.225, 0.83, 0.085)
"""The wide step over a longer reach than a single scale could afford has smaller errors and larger
evidence for Si, Mo and Ni alike than (1.15, 0.6, 0.1)."""

FINE = tuple(Scale(reach, 0.5, 0.085) for reach in (0.77, 0.7, 0.62, 0.55))
"""Fine scales among which the data choose."""

ALIKE = 0.1
"""Reaches that differ by no more than this are one alternative, Å."""


@dataclass(frozen=True)
class Reaches:
    """Possible reaches of soap terms in the data at hand.

    Attributes:
        cutoff: the cutoff with NEIGHBORS neighbours, Å.
        shells: first shells, in which no reach may end.
    """

    cutoff: float
    shells: Sequence[Shell]

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Reaches:
        """The reaches, from some of the frames."""
        distances, atoms = _sampled_distances(frames)
        return cls(_cutoff_of(distances, atoms), first_shells(distances, MOST_CUTOFF))

    def single(self) -> Scale:
        """The scale of a single term."""
        return _clear(SINGLE, self.cutoff, self.shells)

    def pairs(self) -> list[tuple[Scale, Scale]]:
        """Alternatives of a fine and a coarse scale."""
        coarse = _clear(COARSE, self.cutoff, self.shells)
        return [(fine, coarse) for fine in _fine_scales(self.cutoff, self.shells)]


def _clear(scale: Scale, cutoff: float, shells: Sequence[Shell]) -> Scale:
    """The scale with the nearest reach that ends in no first shell.

    Its transition does not begin in one either, if it can begin earlier.
    """
    reach = clear_of(shells, scale.reach * cutoff)
    start = (1.0 - scale.cutoff_width) * reach
    for shell in sorted(shells, key=lambda shell: -shell.start):
        if shell.start < start < shell.end:
            start = shell.start
    return replace(scale, reach=reach / cutoff, cutoff_width=1.0 - start / reach)


def _fine_scales(cutoff: float, shells: Sequence[Shell]) -> list[Scale]:
    """FINE scales clear of the first shells, longest first.

    Of scales at the same place, the one that was moved least is kept.
    """
    kept: list[Scale] = []
    moved = {scale: _clear(scale, cutoff, shells) for scale in FINE}
    for scale in sorted(FINE, key=lambda scale: abs(moved[scale].reach - scale.reach)):
        if all(abs(moved[scale].reach - k.reach) * cutoff > ALIKE for k in kept):
            kept.append(moved[scale])
    return sorted(kept, key=lambda scale: -scale.reach)


def _sampled_distances(frames: Sequence[Frame]) -> tuple[dict[tuple[int, int], Array], int]:
    """Distances up to MOST_CUTOFF in some frames, by pair of species, and the number of their atoms."""
    step = max(1, len(frames) // SAMPLE)
    distances: dict[tuple[int, int], list[Array]] = {}
    atoms = 0
    for frame in frames[::step]:
        neighbors = Structure(frame, MOST_CUTOFF, derivatives=False).neighbors
        atoms += len(frame.numbers)
        found = sorted({int(z) for z in frame.numbers})
        for a, b in combinations_with_replacement(found, 2):
            distances.setdefault((a, b), []).append(neighbors.distances(a, b, MOST_CUTOFF))
    return {pair: np.concatenate(found) for pair, found in distances.items()}, atoms


def cutoff_by_neighbors(frames: Sequence[Frame]) -> float:
    """The cutoff, Å, within which an atom of the data has NEIGHBORS others on average."""
    return _cutoff_of(*_sampled_distances(frames))


def _cutoff_of(distances: Mapping[tuple[int, int], Array], atoms: int) -> float:
    near = np.sort(np.concatenate([np.zeros(0), *distances.values()]))
    place = int(0.5 * NEIGHBORS * atoms)  # a pair is a neighbour of both
    cutoff = float(near[place]) if place < len(near) else MOST_CUTOFF
    return float(np.clip(round(cutoff, 1), LEAST_CUTOFF, MOST_CUTOFF))
