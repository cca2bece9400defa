"""Atoms in nearly equal surroundings with different forces: a bound to what any potential can reach.

Pairs of atoms with similar SOAP vectors within the cutoff are turned onto each other, and their forces
compared. As the surroundings become equal, what is left of the difference is what the cutoff hides, or
noise: half the squared difference of the forces is extrapolated to equal surroundings by a straight
line in the squared distance (the Gamma test: Stefánsson, Končar and Jones, Neural Comput. Appl. 5, 131
(1997), DOI 10.1007/BF01413858). The surroundings are those that one atom's energy depends on; the force
on it depends on the surroundings of its neighbours as well, which a potential may use.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.evidence import rounded
from forcemap.fitter.doctor.finding import Finding, Severity, places_of
from forcemap.fitter.doctor.force_units import force_unit
from forcemap.fitter.doctor.quick_fit import spread_sample
from forcemap.fitter.doctor.quick_terms import describing_term, descriptors_of
from forcemap.fitter.doctor.surroundings import neighbours
from forcemap.fitter.process.data_checks import structure_key
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Bound", "NearPair", "examine", "near_pairs"]

Array = NDArray[np.float64]

SAMPLE_ATOMS = 6000
SAMPLE_FRAMES = 1500

NEAREST = 6
"""Neighbours in the space of SOAP vectors that each atom is compared with."""

LIKE = 0.15
"""Largest relative difference of the turned neighbours of two atoms that are compared."""

CLOSEST = 0.1
"""Part of all pairs, the closest ones, by which forces are extrapolated; more if they are few."""

LEAST_PAIRS = 200

ALIKE = 0.02
"""Mismatch of surroundings that may be called equal."""

LEAST_BOUND = 1e-3
"""eV/Å; what is less does not matter."""

SIGNIFICANT = 4.0
"""Standard errors of a bound that is reported."""

CONTRADICTION = 8.0
"""Times the difference of forces usual at this distance of two atoms that contradict each other."""

LEAST_CONTRADICTION = 0.1
"""eV/Å."""

POWERS = (1, 2, 4, 8)


@dataclass(frozen=True)
class NearPair:
    """Two atoms with similar surroundings.

    Attributes:
        atoms: (frame's place, atom) of each.
        distance: of their SOAP vectors, relative to the spread of all.
        mismatch: relative difference of their turned neighbours.
        difference: length of the difference of their forces, turned onto each other, eV/Å.
        force: mean length of their forces, eV/Å.
    """

    atoms: tuple[tuple[int, int], tuple[int, int]]
    distance: float
    mismatch: float
    difference: float
    force: float


@dataclass(frozen=True)
class Bound:
    """Error per component of forces in equal surroundings, eV/Å, with its standard error."""

    value: float
    error: float
    pairs: int


def examine(
    frames: Sequence[Frame],
    run: Run | None = None,
    cutoff: float | None = None,
    advance: Callable[..., Any] = lambda *n: None,
) -> list[Finding]:
    """A bound to the error of forces, and pairs of atoms that contradict each other.

    `cutoff`: of the potential, Å; by default a usual one.
    """
    found = near_pairs(frames, run or Run(), cutoff)
    unit = force_unit(frames)
    if found is None or not unit:
        return []
    reach, pairs = found
    findings = []
    bound = _bound(pairs)
    least = max(0.02 * unit, LEAST_BOUND, SIGNIFICANT * bound.error) if bound else 0.0
    if bound is not None and bound.value > least:
        findings.append(
            Finding(
                "error-bound",
                Severity.NOTE,
                f"atoms in equal surroundings within {reach:.2g} Å have forces that differ: no "
                "potential of local energies that sees nothing beyond is expected to have errors much "
                f"below {rounded(bound.value, bound.error)} eV/Å per component (from {bound.pairs} "
                "pairs of atoms)",
                f"A force sigma below {bound.value:.2g} eV/Å asks for a larger cutoff",
                (),
                {"force": bound.value, "error": bound.error, "cutoff": reach},
            )
        )
    return findings + _contradictions(frames, pairs, reach, unit)


def near_pairs(
    frames: Sequence[Frame], run: Run, cutoff: float | None = None
) -> tuple[float, list[NearPair]] | None:
    """The reach of the surroundings, Å, and pairs of atoms of different frames; None without any."""
    usable = [n for n, f in enumerate(frames) if f.labelled.any() and len(f.numbers) > 1]
    some = spread_sample([frames[n] for n in usable], SAMPLE_ATOMS, SAMPLE_FRAMES)
    places = [usable[n] for n in some]
    sample = [frames[n] for n in places]
    if len(sample) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            term = describing_term(sample, cutoff)
        except ForcemapError:
            return None
    pairs: list[NearPair] = []
    geometry = _Geometry(frames, term.cutoff)
    for center in sorted({int(z) for frame in sample for z in frame.numbers}):
        rows = list(run.in_order(partial(descriptors_of, term, center=center), sample))
        owners = [(n, int(a)) for n in places for a in np.flatnonzero(frames[n].numbers == center)]
        values = np.concatenate([spectra for spectra in rows if len(spectra)])
        labelled = np.array([bool(frames[n].labelled[a]) for n, a in owners], dtype=bool)
        if np.sum(labelled) > NEAREST:
            chosen = [owners[k] for k in np.flatnonzero(labelled)]
            pairs += _pairs(values[labelled], chosen, geometry)
    return (term.cutoff, pairs) if pairs else None


def _pairs(
    spectra: Array, owners: Sequence[tuple[int, int]], geometry: _Geometry
) -> Iterator[NearPair]:
    """Pairs of atoms of different structures, each with its nearest."""
    off = spectra - spectra.mean(axis=0)
    spread = float(np.sqrt(np.mean(np.sum(off**2, axis=1)))) or 1.0
    _, values, axes = np.linalg.svd(off.T @ off, hermitian=True)
    kept = values > 1e-6 * values[0]
    points = off @ axes[kept][:24].T / spread
    distances, near = cKDTree(points).query(points, k=min(NEAREST + 1, len(points)))
    seen: set[tuple[int, int]] = set()
    for a in range(len(points)):
        for distance, b in zip(distances[a], near[a], strict=True):
            pair = (min(a, int(b)), max(a, int(b)))
            if pair in seen or pair[0] == pair[1]:
                continue
            seen.add(pair)
            first, second = owners[pair[0]], owners[pair[1]]
            if first[0] == second[0] or geometry.are_copies(first[0], second[0]):
                continue
            compared = geometry.compared(first, second)
            if compared is not None:
                yield NearPair((first, second), float(distance), *compared)


class _Geometry:
    """Neighbours of atoms as vectors that turn with the structure."""

    def __init__(self, frames: Sequence[Frame], cutoff: float) -> None:
        self.frames, self.cutoff = frames, cutoff
        self._vectors: dict[int, Array] = {}
        self._keys: dict[int, str] = {}
        self._species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})

    def are_copies(self, a: int, b: int) -> bool:
        """Whether two frames are the same structure, whose labels `noise` compares."""
        for n in (a, b):
            if n not in self._keys:
                self._keys[n] = structure_key(self.frames[n])
        return self._keys[a] == self._keys[b]

    def vectors(self, n: int) -> Array:
        """(atoms, vectors, 3) sums over neighbours of unit vectors times functions of distance."""
        if n not in self._vectors:
            frame = self.frames[n]
            found = neighbours(frame, self.cutoff)
            unit = found.vectors / found.distances[:, None]
            radial = (1.0 - found.distances / self.cutoff)[:, None] ** np.array(POWERS)
            parts = []
            for z in self._species:
                own = radial * (frame.numbers[found.second] == z)[:, None]
                sums = np.zeros((len(frame.numbers), len(POWERS), 3))
                np.add.at(sums, found.first, own[:, :, None] * unit[:, None, :])
                parts.append(sums)
            self._vectors[n] = np.concatenate(parts, axis=1)
        return self._vectors[n]

    def compared(
        self, first: tuple[int, int], second: tuple[int, int]
    ) -> tuple[float, float, float] | None:
        """Mismatch, difference and mean of the forces of two atoms turned onto each other.

        None if they do not fit.

        Components along directions in which the vectors vanish, as by symmetry, are compared by their
        length: no rotation is then better than another.
        """
        a, b = self.vectors(first[0])[first[1]], self.vectors(second[0])[second[1]]
        size = float(np.sqrt(0.5 * np.sum(a**2) + 0.5 * np.sum(b**2)))
        u, values, v = np.linalg.svd(b.T @ a)
        turn = u @ v  # rows of b times this fit those of a; mirror images are equal, too
        mismatch = float(np.linalg.norm(a - b @ turn)) / max(size, 1e-3)
        if mismatch > LIKE:
            return None
        one, other = self.frames[first[0]].forces, self.frames[second[0]].forces
        assert one is not None
        assert other is not None
        # A direction is known if the vectors reach into it by more than they differ.
        known = np.sqrt(values) > max(0.02, 3.0 * mismatch) * np.sqrt(max(float(values[0]), 1e-6))
        # In the axes of the first atom's vectors.
        x, y = v @ one[first[1]], u.T @ other[second[1]]
        inside = float(np.sum((x - y)[known] ** 2))
        outside = float(np.linalg.norm(x[~known]) - np.linalg.norm(y[~known]))
        force = 0.5 * float(np.linalg.norm(x) + np.linalg.norm(y))
        return mismatch, float(np.sqrt(inside + outside**2)), force


def _bound(pairs: Sequence[NearPair]) -> Bound | None:
    """The Gamma test: half the squared difference per component, extrapolated to equal surroundings."""
    order = sorted(pairs, key=lambda pair: pair.distance)
    count = max(LEAST_PAIRS, int(CLOSEST * len(order)))
    if len(order) < count:
        return None
    x = np.array([pair.distance**2 for pair in order[:count]])
    y = np.array([pair.difference**2 / 6.0 for pair in order[:count]])
    # Medians of bins: a few wrong labels are another matter.
    bins = np.array_split(np.arange(count), 10)
    centre = np.array([x[b].mean() for b in bins])
    height = np.array([float(np.median(y[b])) for b in bins])
    # The median of a squared normal vector's length is below its mean.
    height *= 3.0 / 2.366
    design = np.stack([np.ones(len(bins)), centre], axis=1)
    values = np.linalg.lstsq(design, height, rcond=None)[0]
    found = [
        np.linalg.lstsq(np.delete(design, k, 0), np.delete(height, k), rcond=None)[0][0]
        for k in range(len(bins))
    ]
    error = float(np.sqrt((len(bins) - 1) / len(bins) * np.sum((found - np.mean(found)) ** 2)))
    # No bound exceeds what the closest pairs themselves show.
    square = min(float(values[0]), float(height[0]))
    # An extrapolation over far more than it starts from says nothing.
    if square <= 0.0 or height[0] > 3.0 * square or centre[-1] < 4.0 * centre[0]:
        return None
    root = float(np.sqrt(square))
    return Bound(root, 0.5 * error / root, count)


def _contradictions(
    frames: Sequence[Frame], pairs: Sequence[NearPair], reach: float, unit: float
) -> list[Finding]:
    """Pairs whose forces differ far more than those of others as similar."""
    order = sorted(pairs, key=lambda pair: pair.distance)
    bins = np.array_split(np.arange(len(order)), max(1, len(order) // 50))
    found: list[NearPair] = []
    for part in bins[: max(1, len(bins) // 4)]:
        usual = float(np.median([order[k].difference for k in part]))
        limit = max(CONTRADICTION * usual, 0.5 * unit, LEAST_CONTRADICTION)
        found += [
            pair
            for pair in (order[k] for k in part)
            if pair.difference > max(limit, 0.7 * pair.force) and pair.mismatch < ALIKE
        ]
    if not found:
        return []
    worst = max(found, key=lambda pair: pair.difference)
    (n, a), (m, b) = worst.atoms
    places = sorted({place for pair in found for place, _ in pair.atoms})
    symbol = SYMBOLS[int(frames[n].numbers[a])]
    return [
        Finding(
            "near-environments",
            Severity.DOUBT,
            f"{counted(len(found), 'pair')} of atoms: very different forces in nearly equal "
            f"surroundings within {reach:.2g} Å, such as {symbol} atom {a} of frame "
            f"{frames[n].index} of {frames[n].source} and atom {b} of frame {frames[m].index} of "
            f"{frames[m].source}: they differ by {worst.difference:.3g} eV/Å",
            "Look at these frames: labels of one are wrong, or what matters is beyond the cutoff",
            places_of([frames[place] for place in places]),
            {
                "pairs": [
                    {"frames": [p for p, _ in pair.atoms], "atoms": [q for _, q in pair.atoms]}
                    for pair in found
                ]
            },
        )
    ]
