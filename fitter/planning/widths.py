"""Rows of the frames of a fit, and how many columns they have, before there are any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from forcemap.fitter.data.frame import Frame

__all__ = ["Widths", "row_counts"]


class Points(Protocol):
    """Sparse points of a combination of species."""

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers."""

    @property
    def n_sparse(self) -> int:
        """How many."""


def row_counts(frames: Iterable[Frame]) -> tuple[int, int, int]:
    """Rows of energies, forces and stresses."""
    energies = forces = stresses = 0
    for frame in frames:
        energies += frame.energy is not None
        forces += 3 * int(np.count_nonzero(frame.labelled)) if frame.forces is not None else 0
        stresses += 6 if frame.stress is not None else 0
    return energies, forces, stresses


@dataclass(frozen=True)
class Widths:
    """Rows of each frame, and columns that do not vanish: those of its own elements.

    Attributes:
        rows: of each frame that has any.
        widths: their columns.
        columns: of all frames.
    """

    rows: Sequence[int]
    widths: Sequence[int]
    columns: int

    @classmethod
    def of(cls, frames: Sequence[Frame], combinations: Sequence[Points]) -> Widths:
        """Of labelled frames, for sparse points of combinations of species."""
        known: dict[frozenset[int], int] = {}
        rows, widths = [], []
        for frame in frames:
            elements = frozenset(np.unique(frame.numbers).tolist())
            if elements not in known:
                mine = (c.n_sparse for c in combinations if elements.issuperset(c.species))
                known[elements] = sum(mine)
            if count := sum(row_counts([frame])):
                rows.append(count)
                widths.append(known[elements])
        return cls(rows, widths, sum(c.n_sparse for c in combinations))

    @property
    def left_out(self) -> Widths:
        """Those of the frames that will be left out."""
        return self if len(self.rows) > 1 else Widths([], [], self.columns)

    @property
    def numbers(self) -> int:
        """Of all rows."""
        return int(np.dot(self.rows, self.widths))

    @property
    def squares(self) -> float:
        """Rows whose sum of products takes as long, if all had all columns."""
        return float(np.dot(self.rows, np.square(self.widths))) / self.columns**2
