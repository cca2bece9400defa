"""Clusters, wires and slabs: the vacuum in the cells of periodic frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from numpy.typing import NDArray

__all__ = ["Vacuum", "completed_cell", "opened", "vacuum_of"]

Array = NDArray[np.float64]

GAP = 6.0
"""Å; a wider empty layer is vacuum. Layers of van der Waals solids are below 4 Å apart."""


@dataclass(frozen=True)
class Vacuum:
    """The vacuum around the atoms of a periodic frame.

    Attributes:
        axes: cell vectors along which there is vacuum.
        normals: (len(axes), 3) unit normals of the empty layers.
        positions: (n, 3) of the images that leave the vacuum at the boundary of the cell, Å.
        widths: (len(axes),) of the empty layers, Å.
    """

    axes: tuple[int, ...]
    normals: Array
    positions: Array
    widths: Array


def vacuum_of(frame: Frame, least: float = GAP) -> Vacuum | None:
    """The vacuum of a frame with several atoms; None if there is none, or no periodic direction."""
    if len(frame.numbers) < 2 or not frame.pbc.any():
        return None
    cell = completed_cell(frame)
    inverse = np.linalg.inv(cell)  # columns are normal to the faces
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    axes, widths = [], []
    fractions = frame.positions @ inverse
    for axis in np.flatnonzero(frame.pbc):
        inside = np.sort(fractions[:, axis] % 1.0)
        gaps = np.diff(inside, append=inside[0] + 1.0)
        widest = int(np.argmax(gaps))
        width = float(gaps[widest] * heights[axis])
        if width < least:
            continue
        axes.append(int(axis))
        widths.append(width)
        start = inside[(widest + 1) % len(inside)]
        fractions[:, axis] = (fractions[:, axis] - start + 1e-9) % 1.0
    if not axes:
        return None
    normals = (inverse / np.linalg.norm(inverse, axis=0)).T[axes]
    return Vacuum(tuple(axes), normals, fractions @ cell, np.array(widths))


def completed_cell(frame: Frame) -> Array:
    """The cell, with unit vectors for the directions that are not periodic."""
    if frame.pbc.all():
        return frame.cell
    _, _, vh = np.linalg.svd(frame.cell * frame.pbc[:, None])
    cell = frame.cell.copy()
    cell[~frame.pbc] = vh[int(frame.pbc.sum()) :]
    return cell


def opened(frame: Frame) -> Frame:
    """A cluster in a periodic box as an open one; other frames as they are."""
    found = vacuum_of(frame) if frame.pbc.any() else None
    if found is None or len(found.axes) < frame.pbc.sum():
        return frame
    return replace(frame, positions=found.positions, pbc=np.zeros(3, dtype=bool))
