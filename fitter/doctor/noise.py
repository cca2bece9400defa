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
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.process.data_checks import structure_key
from forcemap.fitter.sharing.run import Run
from numpy.typing import NDArray

__all__ = ["examine", "force_noise"]

Array = NDArray[np.float64]

LEAST = {"force": 1e-3, "energy": 1e-4, "stress": 0.05 / GPA}
"""Noise that is reported: eV/Å, eV per atom, eV/Å³; smaller noise does not matter to any fit."""

UNITS = {"force": "eV/Å", "energy": "eV/atom", "stress": "eV/Å³"}

LEAST_FRAMES = 5


def examine(
    frames: Sequence[Frame], run: Run | None = None, advance: Callable[..., Any] = lambda *n: None
) -> list[Finding]:
    """The noise floor from net forces and from copies with different labels."""
    parts: list[str] = []
    sizes: dict[str, float] = {}
    nets = [noise for f in frames if (noise := force_noise(f)) is not None]
    usual = float(np.median(nets)) if len(nets) >= LEAST_FRAMES else 0.0
    if usual > LEAST["force"]:
        sizes["force"] = usual
        parts.append(
            f"the forces of most of {len(nets)} frames do not sum to zero, as errors of {usual:.2g} "
            "eV/Å of each component would give"
        )
    copies, differing = _of_copies(frames)
    if differing:
        said = ", ".join(f"{name} {size:.2g} {UNITS[name]}" for name, size in differing.items())
        parts.append(f"copies of {copies} structures have labels that differ, as errors: {said}")
        for name, size in differing.items():
            sizes[name] = max(size, sizes.get(name, 0.0))
    if not sizes:
        return []
    advice = ", ".join(f"{name}: {_round_up(size)}" for name, size in sizes.items())
    return [
        Finding(
            "noise-floor",
            Severity.NOTE,
            f"{'; '.join(parts)}; no fit has smaller errors of such labels",
            f"Use sigmas no smaller than this (sigma: {{{advice}}}), or converge the calculations "
            "better",
            (),
            sizes,
        )
    ]


def force_noise(frame: Frame) -> float | None:
    """Error per component of a frame's forces by their sum, eV/Å; None if that says nothing."""
    n = len(frame.numbers)
    if frame.forces is None or not frame.labelled.all() or n < 2:
        return None
    return float(np.linalg.norm(frame.forces.sum(axis=0)) / np.sqrt(3.0 * n))


def _of_copies(frames: Sequence[Frame]) -> tuple[int, dict[str, float]]:
    """Number of structures with several copies, and errors of the kinds of labels that differ."""
    by_key: dict[str, list[Frame]] = {}
    for frame in frames:
        by_key.setdefault(structure_key(frame), []).append(frame)
    copies = [those for those in by_key.values() if len(those) > 1]
    squares: dict[str, list[float]] = {}
    for those in copies:
        for name, spread in _spreads(those):
            squares.setdefault(name, []).append(spread**2)
    # The median: one wrong label among many copies is no noise.
    sizes = {name: float(np.sqrt(np.median(values))) for name, values in squares.items()}
    return len(copies), {name: size for name, size in sizes.items() if size > LEAST[name]}


def _spreads(copies: Sequence[Frame]) -> list[tuple[str, float]]:
    """Standard deviation of each kind of label among copies."""
    atoms = len(copies[0].numbers)
    kinds: list[tuple[str, list[Any]]] = [
        ("energy", [f.energy / atoms for f in copies if f.energy is not None]),
        ("force", [f.forces for f in copies if f.forces is not None]),
        ("stress", [f.stress for f in copies if f.stress is not None]),
    ]
    return [
        (name, float(np.sqrt(np.mean(np.var(np.array(values), axis=0, ddof=1)))))
        for name, values in kinds
        if len(values) > 1
    ]


def _round_up(value: float) -> str:
    """A value with one digit, rounded up."""
    power = np.floor(np.log10(value))
    return f"{np.ceil(value / 10**power - 1e-9) * 10**power:.1g}"
