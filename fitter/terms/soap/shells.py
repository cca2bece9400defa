"""Nearest-neighbour shells of the data: first peaks of the radial distribution of every pair.

The third derivative of a function that begins or ends where many pairs are jumps for all of them, and
a cutoff inside the first shell splits one environment into neighbours and others. Peaks are looked for
on a scale of relative distances, smoothed by the amplitude of thermal motion in a solid: shells closer
together than that (the first two of bcc crystals) count as one, even in perfect crystals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shell", "clear_of", "first_shell", "first_shells"]

Array = NDArray[np.float64]

SMOOTHING = 0.05
"""Standard deviation of the smoothing over the distance; solids melt at twice that (Lindemann)."""

STEP = 0.2 * SMOOTHING
"""Step of the grid of logarithms of distances."""

NOTABLE = 0.25
"""Least height of a first peak, relative to the largest one: a lower peak is a few stray pairs."""

DIP = 0.4
"""A shell ends where the distribution falls to this fraction of its peak (0.2 in liquid metals)."""

EDGE = 0.1
"""The edge of a peak: this fraction of its height above the gap."""

RARE = 0.2
"""Pairs of species with less than this fraction of an average pair's distances are ignored."""


@dataclass(frozen=True)
class Shell:
    """The first peak of a radial distribution, Å.

    Attributes:
        start, end: where the peak rises and where it has fallen off.
        gap: middle of the gap beyond it, where pairs are fewest.
    """

    start: float
    end: float
    gap: float


def first_shell(distances: Array, furthest: float) -> Shell | None:
    """The first shell of distances (n,), Å, which are complete up to `furthest`.

    The result is None if no peak is followed by a dip.
    """
    if not len(distances):
        return None
    radii, density = _distribution(distances, furthest)
    notable = NOTABLE * float(np.max(density, initial=0.0))
    top = 0
    for place in range(len(density)):
        if density[place] > density[top]:
            top = place
        elif density[top] >= notable and density[place] <= DIP * density[top]:
            return _around(radii, density, top, place)
    return None


def _distribution(distances: Array, furthest: float) -> tuple[Array, Array]:
    """Radii, Å, and the smoothed number of pairs per volume there, in any unit."""
    width = round(6.0 * SMOOTHING / STEP)
    logs = np.log(distances)
    start = float(logs.min()) - width * STEP
    # The grid ends before the furthest distance: smoothing would miss the pairs beyond it.
    count = int((np.log(furthest) - 2.0 * SMOOTHING - start) / STEP)
    places = np.arange(count + width)
    counts = np.bincount(np.rint((logs - start) / STEP).astype(int), minlength=len(places))
    kernel = np.exp(-0.5 * (np.arange(-width, width + 1) * STEP / SMOOTHING) ** 2)
    smooth = np.convolve(counts[: len(places)], kernel, mode="same")[:count]
    centers = start + STEP * places[:count]
    return np.exp(centers), smooth * np.exp(-3.0 * centers)


def _around(radii: Array, density: Array, top: int, fallen: int) -> Shell:
    """The shell of the peak at `top`, which ends before `fallen`."""
    peak, last, lowest = density[top], fallen, fallen
    while last < len(density) and density[last] < density[lowest] + EDGE * peak:
        if density[last] < density[lowest]:
            lowest = last
        last += 1
    depth = peak - density[lowest]
    many = density > density[lowest] + 0.2 * EDGE * depth
    first = lowest - int(np.argmax(many[lowest::-1]))
    after = np.flatnonzero(many[lowest:last])
    gap = np.sqrt(radii[first] * radii[lowest + after[0] if len(after) else last - 1])
    start = top - int(np.argmax(density[top::-1] <= EDGE * peak))
    end = top + int(np.argmax(density[top:] <= density[lowest] + EDGE * depth))
    return Shell(float(radii[start]), float(radii[end]), float(gap))


def first_shells(distances: Mapping[tuple[int, int], Array], furthest: float) -> list[Shell]:
    """The `first_shell` of each pair of species that has one, the nearest first."""
    total = sum(len(values) for values in distances.values())
    fewest = RARE * total / max(len(distances), 1)
    shells = [first_shell(some, furthest) for some in distances.values() if len(some) >= fewest]
    return sorted((s for s in shells if s is not None), key=lambda shell: shell.end)


def clear_of(shells: Sequence[Shell], reach: float) -> float:
    """The distance nearest to `reach`, Å, that lies in no shell and beyond the nearest one."""
    blocked: list[tuple[float, float]] = []
    for start, end in sorted((shell.start, shell.end) for shell in shells):
        if blocked and start <= blocked[-1][1]:
            blocked[-1] = (blocked[-1][0], max(end, blocked[-1][1]))
        else:
            blocked.append((start, end))
    if not blocked or (
        reach > blocked[0][1] and not any(start <= reach <= end for start, end in blocked)
    ):
        return reach
    between = [0.5 * (a[1] + b[0]) for a, b in pairwise(blocked)]
    # Beyond the last shell, its gap is the choice.
    beyond = max(shell.gap for shell in shells if shell.end == blocked[-1][1])
    return min([*between, beyond], key=lambda place: abs(place - reach))
