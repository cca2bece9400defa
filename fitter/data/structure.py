"""A frame as the terms see it: its atoms with their neighbours."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import _core

__all__ = ["Structure"]


class Structure:
    """A frame with the neighbours of its atoms.

    Attributes:
        frame: the frame.
        neighbors: of all atoms within the largest cutoff, in the core's form.
        species: atomic numbers that appear.
        derivatives: whether rows of forces and strain are wanted beside the energy's.
    """

    def __init__(self, frame: Frame, cutoff: float, derivatives: bool = True) -> None:
        """Raises ForcemapError for structures that cannot be used."""
        self.frame = frame
        self.neighbors = _core.Environments(
            np.ascontiguousarray(frame.positions, dtype=np.float64),
            np.ascontiguousarray(frame.numbers, dtype=np.int32),
            np.ascontiguousarray(frame.cell, dtype=np.float64),
            np.ascontiguousarray(frame.pbc, dtype=bool),
            cutoff,
        )
        self.species = frozenset(int(z) for z in frame.numbers)
        self.derivatives = derivatives
