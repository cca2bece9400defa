"""What is known beyond the data, roughly: imagined frames whose energies a fit takes as weak labels.

Nothing in a set says what a crystal does that is compressed or expanded far beyond it, and kernels say
anything there. Physics says more, and it is the same for all matter:

- Between its ground state and free atoms the energy of a crystal follows one curve, whatever the
  bonding, if it is scaled by the cohesive energy and a length (Rose, Smith, Guinea and Ferrante, Phys.
  Rev. B 29, 2963 (1984), DOI 10.1103/PhysRevB.29.2963)::

      E(a) = E_c (-1 - a - 0.05 a³) exp(-a),     a = (scale - 1) STIFFNESS

  From a crystal of the data and its cohesive energy follow energies of the crystal expanded and
  compressed. A process of finite reach has free atoms where neighbours leave it: its curve ends there,
  and is drawn out to do so.
- Pairs of atoms nearer to each other than any in the data repel like screened nuclei. There the process
  adds nothing to the repulsion of the baseline.

The imagined frames have energies only, with sigmas of `SHARE` of how far a label lies from the nearer
of the ground state and free atoms, and are only where the data have no frames. They are no part of
the evidence by which hyperparameters are chosen, of errors or of counts, and give no sparse points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from forcemap.fitter.baseline.baseline import free_energy
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.data.frame import Frame, FrameSigma
from numpy.typing import NDArray

__all__ = [
    "FEWEST",
    "binding",
    "by_composition",
    "imagined_frames",
    "labelled",
    "steps_of",
    "universal_energy",
]

Array = NDArray[np.float64]

STIFFNESS = 5.0
"""Ratio of the crystal's length to the curve's, the root of 12 pi times bulk modulus and cubed radius
over the cohesive energy: 3.7 (K) and 4.6 (Al) to 5.1 (Cu, Ni) and 6.5 (Au), 4.9 in Si."""

COMPRESSED = (0.7, 0.75, 0.8, 0.85, 0.9)
EXPANDED = (1.2, 1.35, 1.5, 1.6, 1.7, 1.8, *np.round(np.arange(1.9, 2.81, 0.05), 2).tolist())
EXPANDED += (3.0, 3.2, 3.4, 3.7, 4.0)
"""Lengths of imagined crystals over those of the crystal in the data, close to each other where shells
of neighbours leave cutoffs and the curve is flat: energies between would not rise else."""

SIDES = {False: "compressed", True: "expanded"}
"""Config types of imagined crystals."""

FREE = 1.01
"""Distance of the nearest atoms in crystals of free atoms, in units of the reach."""

MARGIN = 0.04
"""Imagined crystals keep this distance of scales from frames of the data that are as loose as they."""

SHARE, LEAST = 0.03, 0.002
"""Sigma of an imagined crystal: share of its distance from the ground state or free atoms, whichever is
nearer, and eV per atom."""

DISTANCES = (0.85, 0.75, 0.65, 0.55, 0.45)
"""Distances of imagined dimers over the shortest one in the data."""

DIMER_SIGMA = 1.0
"""Of imagined dimers, eV."""

WEAKEST, STRONGEST = 0.005, 15.0
"""Energies of cohesion (eV per atom) that are believed. Outside, e0 belongs to another calculation."""

FEWEST = 8
"""Number of different energies below which nothing is imagined: the rough labels would outweigh data
that say so little, and the deviations would trust them."""

CRYSTALS = 8
"""Largest number of compositions with imagined crystals: those with most frames."""

EnergyOf = Callable[[Frame], float]


def universal_energy(scale: float, end: float = np.inf) -> float:
    """Energy of a crystal in units of its cohesive energy, free atoms at 0, its ground state at -1.

    `end`: scale from which its atoms are free; up to there, the curve is drawn out to end at 0.
    """
    if scale >= end:
        return 0.0
    left = 0.0 if np.isinf(end) or scale <= 1.0 else universal_energy(end)
    a = (scale - 1.0) * STIFFNESS
    return float((-(1.0 + a + 0.05 * a**3) * np.exp(-a) - left) / (1.0 + left))


def imagined_frames(
    frames: Sequence[Frame],
    e0: Mapping[int, float],
    repulsion: Repulsion,
    baseline: EnergyOf,
    reach: float,
) -> list[Frame]:
    """Imagined crystals and dimers with energies and sigmas (eV).

    Args:
        frames: the training frames.
        e0: energies of isolated atoms by atomic number, eV.
        repulsion: where the data end, by pair of species; there are no dimers without it.
        baseline: energy (eV) of a frame that the process does not learn, without isolated atoms.
        reach: largest cutoff of the process, Å: atoms farther from each other are free.
    """
    if len({frame.energy for frame in frames if frame.energy is not None}) < FEWEST:
        return []
    return [
        *_crystals(frames, e0, baseline, reach),
        *_dimers(repulsion, e0, baseline),
    ]


# ---- crystals ------------------------------------------------------------------------------------


def _crystals(
    frames: Sequence[Frame], e0: Mapping[int, float], baseline: EnergyOf, reach: float
) -> Iterator[Frame]:
    for members in by_composition(frames):
        crystal = _ground_state(members, e0)
        if WEAKEST < -binding(crystal, e0) < STRONGEST:
            yield from _scaled(crystal, members, e0, baseline, reach)


def by_composition(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of several atoms with energies, those of one composition together, at most `CRYSTALS`."""
    groups: dict[tuple[tuple[int, int], ...], list[Frame]] = {}
    for frame in frames:
        if frame.energy is not None and len(frame.numbers) > 1:
            groups.setdefault(_composition(frame), []).append(frame)
    return sorted(groups.values(), key=len, reverse=True)[:CRYSTALS]


def _composition(frame: Frame) -> tuple[tuple[int, int], ...]:
    """Elements with their shares in tenths: crystals with a few defects count as one."""
    elements, counts = np.unique(frame.numbers, return_counts=True)
    tenths = np.rint(10.0 * counts / counts.sum()).astype(int)
    return tuple(zip(elements.tolist(), tenths.tolist(), strict=True))


def binding(frame: Frame, e0: Mapping[int, float]) -> float:
    """Energy per atom relative to isolated atoms, eV."""
    assert frame.energy is not None
    return (frame.energy - free_energy(frame, e0)) / len(frame.numbers)


def _ground_state(frames: Sequence[Frame], e0: Mapping[int, float]) -> Frame:
    """The smallest of the frames that are bound almost as strongly as the strongest."""
    energies = np.array([binding(frame, e0) for frame in frames])
    lowest = float(energies.min())
    near = energies <= lowest + 0.01 * abs(lowest)
    return min(
        (frame for frame, is_near in zip(frames, near, strict=True) if is_near),
        key=lambda frame: (len(frame.numbers), frame.energy),
    )


def _scaled(
    crystal: Frame,
    members: Sequence[Frame],
    e0: Mapping[int, float],
    baseline: EnergyOf,
    reach: float,
) -> Iterator[Frame]:
    n = len(crystal.numbers)
    cohesion = -binding(crystal, e0)
    ground = baseline(crystal) / n
    end = reach / _nearest(crystal)
    expanded = [scale for scale in EXPANDED if scale < end]
    for scale in (*COMPRESSED, *expanded, *([FREE * end] if expanded else [])):
        energy = cohesion * universal_energy(scale, end)
        if any(_is_like(frame, crystal, scale, energy, e0) for frame in members):
            continue
        imagined = replace(_with_scale(crystal, scale), config_type=SIDES[scale > 1.0])
        # Where the baseline alone rises more steeply, the process is as in the ground state.
        least = baseline(imagined) / n - cohesion - ground
        energy = max(energy, least) if scale < 1.0 else energy
        sigma = LEAST + SHARE * min(energy + cohesion, abs(energy))
        yield labelled(imagined, n * energy + free_energy(crystal, e0), n * sigma)


def _is_like(
    frame: Frame, crystal: Frame, scale: float, energy: float, e0: Mapping[int, float]
) -> bool:
    """Whether a frame of the data says what an imagined crystal does, of that scale and energy.

    Frames with vacuum are as large, but bound more strongly.
    """
    if not (np.all(frame.pbc) and np.all(crystal.pbc)):
        return False
    own = float((_volume(frame) / _volume(crystal)) ** (1.0 / 3.0))
    if scale < 1.0:
        return own <= scale + MARGIN
    return own >= scale - MARGIN and binding(frame, e0) > energy + 0.25 * binding(crystal, e0)


def _volume(frame: Frame) -> float:
    return abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)


def _nearest(frame: Frame) -> float:
    """Shortest distance of two atoms, Å."""
    from ase.geometry import get_distances

    if len(frame.numbers) == 1:
        lengths = np.linalg.norm(frame.cell[frame.pbc], axis=1)
        return float(lengths.min(initial=np.inf))
    _, distances = get_distances(frame.positions, cell=frame.cell, pbc=frame.pbc)
    return float(distances[~np.eye(len(distances), dtype=bool)].min())


def _with_scale(frame: Frame, scale: float) -> Frame:
    return replace(frame, positions=scale * frame.positions, cell=scale * frame.cell)


def steps_of(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Pairs (lower, higher) of imagined crystals that follow each other on one side of a curve.

    `frames`: all that were imagined, in their order.
    """
    found = []
    for n, (one, other) in enumerate(pairwise(frames)):
        is_side = one.config_type == other.config_type and one.config_type in SIDES.values()
        if is_side and np.array_equal(one.numbers, other.numbers):
            found.append((n, n + 1) if one.config_type == SIDES[True] else (n + 1, n))
    return found


# ---- dimers --------------------------------------------------------------------------------------


def _dimers(repulsion: Repulsion, e0: Mapping[int, float], baseline: EnergyOf) -> Iterator[Frame]:
    for (a, b), pair in repulsion.items():
        for share in DISTANCES:
            positions = np.array([[0.0, 0.0, 0.0], [share * pair.shortest, 0.0, 0.0]])
            frame = Frame(
                np.array([a, b], dtype=np.int32),
                positions,
                np.zeros((3, 3)),
                np.zeros(3, dtype=bool),
                *(None, None, None, "default", FrameSigma(1.0, 1.0, 1.0), "imagined dimer", 0),
            )
            yield labelled(frame, e0[a] + e0[b] + baseline(frame), DIMER_SIGMA)


def labelled(frame: Frame, energy: float, sigma: float) -> Frame:
    """The frame with an energy (eV) only; `sigma` (eV) is that of the whole energy."""
    per_root = sigma / float(np.sqrt(len(frame.numbers)))
    return replace(
        frame,
        energy=energy,
        forces=None,
        stress=None,
        sigma=FrameSigma(per_root, 1.0, 1.0),
        force_mask=None,
        source="imagined",
        index=0,
    )
