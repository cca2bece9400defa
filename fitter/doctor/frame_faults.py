"""What explains the labels of a single frame that a fit to the others does not.

Each function compares the labels of a frame with a prediction and names the simplest change that makes
them agree: another sign, unit or scale, another order of components or atoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
import scipy.optimize
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Correction
from forcemap.fitter.doctor.residuals import Residual
from forcemap.fitter.doctor.stress_units import (
    PARTS,
    STRAIGHT,
    Order,
    mended_stress,
    order_text,
)
from forcemap.fitter.doctor.unit_factors import (
    ENERGY_UNITS,
    FORCE_UNITS,
    Explanation,
    stress_candidates,
)
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray

__all__ = ["Fault", "energy_fault", "force_fault", "misfit", "stress_fault"]

Array = NDArray[np.float64]

NEAR = 0.25
"""Relative deviation at which the scale of a frame's labels is taken for a known one."""

BETTER = 0.4
"""A change explains a misfit if it leaves no more than this part of it."""

MOST_ASSIGNED = 400
"""Atoms of a frame whose order is examined."""


@dataclass(frozen=True)
class Fault:
    """An explanation of a frame's labels.

    Attributes:
        name: of the finding.
        text: clause that follows "in this frame", such as "the sign of the forces is wrong".
        factor: the labels over those expected, where it is one factor; else 1.
        left: misfit that remains.
        correction: how the frame is mended; None where that is not certain.
    """

    name: str
    text: str
    factor: float
    left: float
    correction: Correction | None


def misfit(labels: Array, said: Array, floor: float) -> float:
    """Root mean square difference relative to the size of labels and prediction, at least `floor`."""
    off = float(np.sqrt(np.mean((labels - said) ** 2)))
    size = float(np.sqrt(0.5 * np.mean(labels**2) + 0.5 * np.mean(said**2)))
    return off / (size + floor)


def _least(faults: Iterator[Fault], whole: float, usual: float) -> Fault | None:
    """The first fault that explains the misfit `whole`; `usual`: that of frames like this."""
    for fault in faults:
        if fault.left < BETTER * whole and fault.left < max(3.0 * usual, 0.1):
            return fault
    return None


def _scaled(labels: Array, said: Array) -> float | None:
    """How many times as large as predicted the labels are; None if they are not proportional."""
    product, square = float(np.vdot(labels, said)), float(np.vdot(said, said))
    size = float(np.sqrt(square * np.vdot(labels, labels)))
    if size <= 0.0 or abs(product) < 0.8 * size:
        return None
    return float(np.copysign(np.sqrt(float(np.vdot(labels, labels)) / square), product))


# ---- forces


def force_fault(residual: Residual, floor: float, usual: float) -> Fault | None:
    """What explains the forces of a frame. `usual`: misfit of frames like this."""
    frame = residual.frame
    assert frame.forces is not None
    which = frame.labelled
    labels, said = frame.forces[which], residual.forces[which]
    whole = misfit(labels, said, floor)
    return _least(_force_faults(frame, labels, said, floor), whole, usual)


def _force_faults(frame: Frame, labels: Array, said: Array, floor: float) -> Iterator[Fault]:
    factor = _scaled(labels, said)
    if factor is not None:
        known, text = _force_scale(factor)
        left = misfit(labels / factor, said, floor)
        name = "frame-forces-sign" if known == -1.0 else "frame-forces-scale"
        correction = _times("forces", 1.0 / known) if known is not None else None
        yield Fault(name, text, factor, left, correction)
    yield from _swapped_atoms(frame, labels, said, floor)
    yield from _turned(labels, said, floor)


def _force_scale(factor: float) -> tuple[float | None, str]:
    """The known factor nearest to one, if any, and the clause."""
    if abs(factor + 1.0) < NEAR:
        return -1.0, "the sign of the forces is wrong"
    sign = float(np.sign(factor))
    also = "" if sign > 0 else ", and their sign is wrong"
    off = {unit: abs(np.log(abs(factor) * size)) for unit, size in FORCE_UNITS.items()}
    near = min(off, key=lambda unit: off[unit])
    if off[near] < 0.1 and near not in ("eV/Bohr",):
        return sign / FORCE_UNITS[near], f"the forces are in {near}{also}"
    return None, f"the forces are {factor:.3g} times those expected"


def _times(label: str, factor: float) -> Correction:
    def change(frame: Frame) -> Frame:
        if label == "forces" and frame.forces is not None:
            return replace(frame, forces=frame.forces * factor)
        if label == "energy" and frame.energy is not None:
            return replace(frame, energy=frame.energy * factor)
        return frame

    return Correction(f"{label} multiplied by {factor:.9g}", change)


def _swapped_atoms(frame: Frame, labels: Array, said: Array, floor: float) -> Iterator[Fault]:
    """Forces that stand at other atoms: two of them, or all."""
    places = np.flatnonzero(frame.labelled)
    if not 2 <= len(labels) <= MOST_ASSIGNED:
        return
    costs = np.sum((labels[:, None, :] - said[None, :, :]) ** 2, axis=2)
    _, order = scipy.optimize.linear_sum_assignment(costs)
    gain = np.diag(costs) - costs[np.arange(len(order)), order]
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved):
        return
    # A few pairs of nearly equal forces are always better the other way round.
    pairs = [
        (a, b)
        for a, b in combinations(moved.tolist(), 2)
        if order[a] == b and order[b] == a and gain[a] + gain[b] > 0.5 * gain[moved].sum()
    ]
    if pairs:
        a, b = pairs[0]
        mended = labels.copy()
        mended[[a, b]] = labels[[b, a]]
        i, j = int(places[a]), int(places[b])
        text = f"the forces of atoms {i} and {j} (counted from 0) are swapped"
        left = misfit(mended, said, floor)
        yield Fault("frame-forces-swapped", text, 1.0, left, _exchanged(i, j))
        return
    mended = np.empty_like(labels)
    mended[order] = labels
    if len(moved) > 0.5 * len(labels):
        text = "the forces are in another order than the atoms"
        yield Fault("frame-forces-order", text, 1.0, misfit(mended, said, floor), None)


def _exchanged(i: int, j: int) -> Correction:
    def change(frame: Frame) -> Frame:
        if frame.forces is None:
            return frame
        forces = frame.forces.copy()
        forces[[i, j]] = forces[[j, i]]
        return replace(frame, forces=forces)

    return Correction(f"forces of atoms {i} and {j} exchanged", change)


def _turned(labels: Array, said: Array, floor: float) -> Iterator[Fault]:
    """Forces in other axes than the positions."""
    if len(labels) < 4:
        return
    u, _, v = np.linalg.svd(labels.T @ said)
    turned = labels @ (u @ v)
    axes = np.round(u @ v).astype(int)
    name = "frame-forces-axes"
    if np.abs(u @ v - axes).max() < 0.2 and np.array_equal(np.abs(axes).sum(axis=0), [1, 1, 1]):
        of = ", ".join(
            f"{'xyz'[k]} holds {'-' if axes[k, n] < 0 else ''}{'xyz'[n]}"
            for k in range(3)
            for n in range(3)
            if axes[k, n] and (k != n or axes[k, n] < 0)
        )
        text = f"components of the forces are swapped or of the wrong sign ({of})"
        yield Fault(name, text, 1.0, misfit(labels @ axes, said, floor), None)
        return
    left = misfit(turned, said, floor)
    yield Fault(name, "the forces are in other axes than the positions (turned)", 1.0, left, None)


# ---- stresses


def stress_fault(residual: Residual, floor: float, usual: float) -> Fault | None:
    """What explains the stress of a frame."""
    frame = residual.frame
    assert frame.stress is not None
    volume = abs(float(np.linalg.det(frame.cell)))
    labels, said = six_of(frame.stress), residual.strain / volume
    whole = misfit(labels, said, floor)
    return _least(_stress_faults(labels, said, volume, floor), whole, usual)


def _stress_faults(labels: Array, said: Array, volume: float, floor: float) -> Iterator[Fault]:
    factor = _scaled(labels, said)
    if factor is not None:
        yield _stress_scale(labels, said, factor, volume, floor)
    found = []
    for part in PARTS:
        for chosen in permutations(part):
            order: Order = chosen + STRAIGHT[3:] if part == PARTS[0] else STRAIGHT[:3] + chosen
            if order != STRAIGHT:
                left = misfit(labels[np.argsort(order)], said, floor)
                text = f"components of the stress are swapped: {order_text(order)}"
                found.append(Fault("frame-stress-order", text, 1.0, left, _ordered(order)))
    yield min(found, key=lambda fault: fault.left)


def _stress_scale(labels: Array, said: Array, factor: float, volume: float, floor: float) -> Fault:
    left = misfit(labels / factor, said, floor)
    off: list[tuple[float, Explanation]] = []
    for explanation in stress_candidates():
        expected = (volume if explanation.by_volume else 1.0) / explanation.factor
        if expected * factor > 0.0:
            off.append((abs(float(np.log(expected / factor))), explanation))
    off.sort(key=lambda pair: pair[0])
    distance, nearest = off[0]
    # A pressure alone is proportional to any other.
    deviatoric = np.linalg.norm(said - np.where(np.arange(6) < 3, said[:3].mean(), 0.0))
    if deviatoric < 0.1 * np.linalg.norm(said) and (nearest.unit or distance > 0.1):
        left = np.inf
    if distance > NEAR:
        text = f"the stress is {factor:.3g} times the one expected"
        return Fault("frame-stress-scale", text, factor, left, None)
    rivals = [e for d, e in off[1:] if d < max(2.0 * distance, 0.1)]
    text = ", or ".join(e.text for e in (nearest, *rivals)).replace("stresses are", "stress is")
    text = text.replace("of the stresses", "of the stress")
    correction = None if rivals else _stress_correction(nearest)
    name = "frame-stress-scale" if nearest.unit else "frame-stress-sign"
    return Fault(name, text, factor, left, correction)


def _stress_correction(explanation: Explanation) -> Correction:
    by = f"{explanation.factor:.9g}" + (" / volume" if explanation.by_volume else "")
    return Correction(f"stress multiplied by {by}", lambda f: mended_stress(f, explanation))


def _ordered(order: Order) -> Correction:
    text = f"components of the stress put in order ({order_text(order)})"
    return Correction(text, lambda f: mended_stress(f, None, order))


# ---- energies


def energy_fault(residual: Residual, spread: float) -> Fault | None:
    """What explains the energy of a frame. `spread`: usual deviation of energies, eV per atom."""
    energy, expected = residual.frame.energy, residual.energy
    assert energy is not None
    assert expected is not None
    n = len(residual.frame.numbers)
    options: list[tuple[str, str, float]] = [
        ("frame-energy-sign", "the sign of the energy is wrong", -1.0)
    ]
    if n > 1:
        options.append(("frame-energy-per-atom", "the energy is per atom", float(n)))
        options.append(
            ("frame-energy-scale", "the energy is multiplied by the number of atoms", 1.0 / n)
        )
    options += [
        ("frame-energy-scale", f"the energy is in {unit}", size)
        for unit, size in ENERGY_UNITS.items()
    ]
    whole = abs(energy - expected) / n
    for name, text, factor in options:
        left = abs(energy * factor - expected) / n
        if left < max(5.0 * spread, 0.01 * whole) and left < 0.1 * whole:
            return Fault(name, text, 1.0 / factor, left, _times("energy", factor))
    return None
