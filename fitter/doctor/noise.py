"""Noise of the labels, as far as they show it themselves: a suggestion for sigmas.

Forces of an isolated or periodic system sum to zero; independent errors of size s per component make
sums of s sqrt(atoms). Copies of a structure with different labels show the same for all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.units import GPA
from forcemap.fitter.doctor.finding import Finding, Severity, places_of
from forcemap.fitter.process.data_checks import structure_key
from forcemap.fitter.sharing.run import Run
from numpy.typing import NDArray

__all__ = ["examine", "force_noise"]

Array = NDArray[np.float64]

LEAST_FORCE, LEAST_ENERGY, LEAST_STRESS = 1e-3, 1e-4, 0.05 / GPA
"""eV/Å, eV per atom, eV/Å³; smaller noise does not matter to any fit."""

LEAST_FRAMES = 5


def examine(
    frames: Sequence[Frame], run: Run | None = None, advance: Callable[..., Any] = lambda *n: None
) -> list[Finding]:
    """The noise floor from net forces and from copies with different labels."""
    return _of_net_forces(frames) + _of_copies(frames)


def force_noise(frame: Frame) -> float | None:
    """Error per component of a frame's forces by their sum, eV/Å; None if that says nothing."""
    n = len(frame.numbers)
    if frame.forces is None or not frame.labelled.all() or n < 2:
        return None
    return float(np.linalg.norm(frame.forces.sum(axis=0)) / np.sqrt(3.0 * n))


def _of_net_forces(frames: Sequence[Frame]) -> list[Finding]:
    found = [(f, noise) for f in frames if (noise := force_noise(f)) is not None]
    if len(found) < LEAST_FRAMES:
        return []
    noises = np.array([noise for _, noise in found])
    usual = float(np.sqrt(np.median(noises**2)))
    if usual < LEAST_FORCE:
        return []
    text = (
        f"the forces of most of {len(found)} frames do not sum to zero: as independent errors this is "
        f"{usual:.2g} eV/Å per component (median), which no fit can undercut"
    )
    return [
        Finding(
            "noise-floor",
            Severity.NOTE,
            text,
            f"Use sigma: force: {_round_up(usual)} or larger, or converge the calculations better",
            (),
            {"force": usual, "frames": len(found)},
        )
    ]


def _of_copies(frames: Sequence[Frame]) -> list[Finding]:
    """Frames of the same structure whose labels differ."""
    by_key: dict[str, list[Frame]] = {}
    for frame in frames:
        by_key.setdefault(structure_key(frame), []).append(frame)
    copies = [those for those in by_key.values() if len(those) > 1]
    squares: dict[str, list[float]] = {"energy": [], "force": [], "stress": []}
    concerned: list[Frame] = []
    for those in copies:
        differ = False
        for name, spread, least in _spreads(those):
            squares[name].append(spread**2)
            differ = differ or spread > least
        if differ:
            concerned += those
    if not concerned:
        return []
    sizes = {n: float(np.sqrt(np.mean(values))) for n, values in squares.items() if values}
    units = {"energy": "eV/atom", "force": "eV/Å", "stress": "eV/Å³"}
    said = ", ".join(f"{name} {size:.2g} {units[name]}" for name, size in sizes.items())
    advice = ", ".join(f"{name}: {_round_up(size)}" for name, size in sizes.items() if size)
    return [
        Finding(
            "copies-differ",
            Severity.DOUBT,
            f"{len(concerned)} frames are copies of {len(copies)} structures with different labels; as "
            f"errors of each label this is: {said}",
            f"Keep one of each, or use sigmas of at least this size ({advice})",
            places_of(concerned),
            sizes,
        )
    ]


def _spreads(copies: Sequence[Frame]) -> list[tuple[str, float, float]]:
    """Standard deviation of each kind of label among copies, with the least that matters."""
    atoms = len(copies[0].numbers)
    energies = [f.energy / atoms for f in copies if f.energy is not None]
    forces = [f.forces for f in copies if f.forces is not None]
    stresses = [f.stress for f in copies if f.stress is not None]
    kinds: list[tuple[str, list[Any], float]] = [
        ("energy", energies, LEAST_ENERGY),
        ("force", forces, LEAST_FORCE),
        ("stress", stresses, LEAST_STRESS),
    ]
    return [
        (name, float(np.sqrt(np.mean(np.var(np.array(values), axis=0, ddof=1)))), least)
        for name, values, least in kinds
        if len(values) > 1
    ]


def _round_up(value: float) -> str:
    """A value with one digit, rounded up."""
    power = np.floor(np.log10(value))
    return f"{np.ceil(value / 10**power - 1e-9) * 10**power:.1g}"
