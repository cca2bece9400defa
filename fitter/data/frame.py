"""A structure with its labels, as the fit sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Frame", "FrameSigma", "data_hash"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FrameSigma:
    """Expected errors of a frame's labels: energy eV per atom, force eV/Å, stress eV/Å³.

    `force` is one number, or (n, 3) for each component; `stress` one number, or (3, 3). `names` are the
    keys of the frame that they were read from.
    """

    energy: float
    force: float | Array
    stress: float | Array
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """A structure with the labels it has.

    Attributes:
        numbers: (n,) int32 atomic numbers.
        positions: (n, 3) Å.
        cell: (3, 3) rows are lattice vectors, Å.
        pbc: (3,) which directions are periodic.
        energy: eV, or None.
        forces: (n, 3) eV/Å, or None.
        stress: (3, 3) symmetric, ASE's sign, eV/Å³, or None.
        config_type: group of frames the frame belongs to; "default" where the file has none.
        sigma: expected errors of the labels.
        source: the file.
        index: number of the frame in the file, from 0.
        force_mask: (n,) true for atoms whose forces are no labels, as in gap_fit; None if all are.
    """

    numbers: NDArray[np.int32]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    energy: float | None
    forces: Array | None
    stress: Array | None
    config_type: str
    sigma: FrameSigma
    source: str
    index: int
    force_mask: NDArray[np.bool_] | None = None

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,) true for the atoms whose forces are labels."""
        if self.forces is None:
            return np.zeros(len(self.numbers), dtype=bool)
        if self.force_mask is None:
            return np.ones(len(self.numbers), dtype=bool)
        return ~self.force_mask


def data_hash(frames: Iterable[Frame]) -> str:
    """SHA-256 over structures, labels and groups, in their order; not over files' names."""
    digest = hashlib.sha256()

    def add(value: ArrayLike | None, dtype: str) -> None:
        array = np.zeros(0) if value is None else np.asarray(value)
        digest.update(repr(None if value is None else array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())

    for frame in frames:
        add(frame.numbers, "<i4")
        add(frame.pbc, "|u1")
        for value in (frame.positions, frame.cell, frame.energy, frame.forces, frame.stress):
            add(value, "<f8")
        if frame.force_mask is not None:
            add(frame.force_mask, "|u1")
        digest.update(frame.config_type.encode() + b"\0")
    return digest.hexdigest()
