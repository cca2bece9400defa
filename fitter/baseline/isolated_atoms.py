"""Energies of the isolated atoms, `e0`, which a fit subtracts before it learns interactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["atomic_energies"]

Array = NDArray[np.float64]

ISOLATED = 6.0
"""Å; a lone atom whose periodic images are farther away counts as isolated."""


def atomic_energies(
    frames: Sequence[Frame],
    e0: str | float | Mapping[str, float],
    baseline: Sequence[float] | Array | None = None,
) -> dict[int, float]:
    """Energy (eV) of each element's isolated atom, by atomic number.

    Args:
        frames: the training frames.
        e0: "isolated": from frames of one atom; "average": least squares of energy per atom over
            composition, of smallest norm where compositions do not determine those of all elements; or
            energies by symbol, or one for every element.
        baseline: (frames,) eV; part of the energy that another term explains, such as the core.

    Raises:
        ForcemapError: an element has no isolated atom, or no energy is given for it.
    """
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    if isinstance(e0, float | int):
        return dict.fromkeys(numbers, float(e0))
    if not isinstance(e0, str):
        missing = [SYMBOLS[z] for z in numbers if SYMBOLS[z] not in e0]
        if missing:
            raise ForcemapError(
                f"e0: no energy for {', '.join(missing)}, which the training frames contain; "
                "name every element, or use average or isolated"
            )
        return {z: float(e0[SYMBOLS[z]]) for z in numbers}
    explained = np.zeros(len(frames)) if baseline is None else np.asarray(baseline, dtype=float)
    if e0 == "isolated":
        return _isolated_energies(frames, numbers)
    rows, values = [], []
    for frame, known in zip(frames, explained, strict=True):
        if frame.energy is not None:
            counts = Counter(frame.numbers.tolist())
            rows.append([counts[z] / len(frame.numbers) for z in numbers])
            values.append((frame.energy - known) / len(frame.numbers))
    if not rows:
        return dict.fromkeys(numbers, 0.0)
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=1e-8)[0]
    return dict(zip(numbers, solution.tolist(), strict=True))


def _nearest_image(frame: Frame) -> float:
    """Distance (Å) of a lone atom to its nearest periodic image; infinite without any."""
    vectors = frame.cell[frame.pbc]
    if not len(vectors):
        return float("inf")
    steps = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * len(vectors))).reshape(len(vectors), -1).T
    lengths = np.linalg.norm(steps @ vectors, axis=1)
    return float(lengths[lengths > 0].min())


def _isolated_energies(frames: Sequence[Frame], numbers: Sequence[int]) -> dict[int, float]:
    """Energy of each element from the frame in which one atom of it is most alone."""
    best: dict[int, tuple[float, float]] = {}
    for frame in frames:
        if len(frame.numbers) == 1 and frame.energy is not None:
            z, distance = int(frame.numbers[0]), _nearest_image(frame)
            if distance > max(ISOLATED, best.get(z, (0.0, 0.0))[0]):
                best[z] = (distance, frame.energy)
    missing = [SYMBOLS[z] for z in numbers if z not in best]
    if missing:
        raise ForcemapError(
            f"e0: isolated: no training frame holds one isolated atom (no periodic image within "
            f"{ISOLATED:g} Å) with an energy for {', '.join(missing)}; add such frames, or use "
            "average or energies such as {" + f"{missing[0]}: -0.79" + "}"
        )
    return {z: best[z][1] for z in numbers}
