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

__all__ = [
    "Fault",
    "energy_fault",
    "exchanged_atoms",
    "force_fault",
    "misfit",
    "shear_fault",
    "stress_fault",
]

Array = NDArray[np.float64]

NEAR = 0.25
"""Relative deviation at which the scale of a frame's labels is taken for a known one."""

SIGN_ONLY = 0.6, 1.6
"""Range of minus the factor in which a stress has the wrong sign only: quick fits are that far off."""

LARGE = 6.0
"""Times the usual error of a quick fit of a pressure whose sign is certain."""

LEAST_SCALES = 1.3, 2.5
"""Scales of forces and of stresses of one frame that quick fits can distinguish from 1."""

BETTER = 0.4
"""A change explains a misfit if it leaves no more than this part of it."""

EXCHANGED = 6
"""Atoms of largest residuals among which two may be exchanged."""

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
        order: of the components of the stress.
    """

    name: str
    text: str
    factor: float
    left: float
    correction: Correction | None
    order: Order = STRAIGHT


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
    known, text = (None, "") if factor is None else _force_scale(factor)
    scaled = factor is not None and _is_scale(labels, said, factor, LEAST_SCALES[0])
    if factor is not None and (known is not None or scaled):
        left = misfit(labels / factor, said, floor)
        name = "frame-forces-sign" if known == -1.0 else "frame-forces-scale"
        correction = _times("forces", 1.0 / known) if known is not None else None
        yield Fault(name, text, factor, left, correction)
    yield from _swapped_atoms(frame, labels, said, floor)
    yield from _turned(labels, said, floor)


def _is_scale(labels: Array, said: Array, factor: float, least: float) -> bool:
    """Whether a factor that is of no unit explains labels: they are proportional, not only alike.

    `least`: factor, or one over it, that a quick fit can distinguish from 1.
    """
    product = float(np.vdot(labels, said))
    size = float(np.sqrt(np.vdot(labels, labels) * np.vdot(said, said)))
    return factor > 0.0 and product > 0.95 * size and abs(np.log(factor)) > np.log(least)


def _force_scale(factor: float) -> tuple[float | None, str]:
    """The known factor nearest to one, if any, and the clause."""
    if 1.0 - NEAR < -factor < 1.0 + NEAR:
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


def exchanged_atoms(residual: Residual, usual: float) -> Fault | None:
    """Two atoms whose forces agree with the prediction once they are exchanged.

    `usual`: median length of the forces' residuals in frames like this, eV/Å.
    """
    frame = residual.frame
    if frame.forces is None or not usual:
        return None
    lengths = np.linalg.norm(residual.of_forces, axis=1)
    worst = np.argsort(-lengths)[:EXCHANGED]
    worst = worst[lengths[worst] > 6.0 * usual]
    best: tuple[float, int, int] | None = None
    for i, j in combinations(worst.tolist(), 2):
        # Opposite forces, as of a dumbbell: exchanged is reversed, which a fit may get wrong.
        both = np.linalg.norm(frame.forces[i] + frame.forces[j])
        if both < 0.5 * max(np.linalg.norm(frame.forces[i]), np.linalg.norm(frame.forces[j])):
            continue
        after = float(
            np.hypot(
                np.linalg.norm(frame.forces[i] - residual.forces[j]),
                np.linalg.norm(frame.forces[j] - residual.forces[i]),
            )
        )
        before = float(np.hypot(lengths[i], lengths[j]))
        if after < 0.25 * before and after < 5.0 * usual and (best is None or after < best[0]):
            best = after, min(i, j), max(i, j)
    if best is None:
        return None
    _, i, j = best
    text = f"the forces of atoms {i} and {j} (counted from 0) are swapped"
    return Fault("frame-forces-swapped", text, 1.0, best[0], _exchanged(i, j))


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
    labels, said, volume = _stress_pair(residual)
    whole = misfit(labels, said, floor)
    factor = _scaled(labels, said)
    faults = [] if factor is None else [_stress_scale(labels, said, factor, volume, floor)]
    faults += [_swapped(labels, said, part, floor) for part in PARTS]
    return _least(iter(faults), whole, usual)


def shear_fault(residual: Residual, floor: float, usual: float) -> Fault | None:
    """What explains the off-diagonal components alone, which the diagonal ones may exceed by far."""
    labels, said, _ = _stress_pair(residual)
    part = list(PARTS[1])
    whole = misfit(labels[part], said[part], floor)
    fault = _swapped(labels, said, PARTS[1], floor)
    mended = replace(fault, left=misfit(_in_order(labels, fault.order)[part], said[part], floor))
    return _least(iter([mended]), whole, usual)


def _stress_pair(residual: Residual) -> tuple[Array, Array, float]:
    """Stress and its prediction, (6,) eV/Å³, and the volume."""
    volume = abs(float(np.linalg.det(residual.frame.cell)))
    return six_of(residual.frame.stress), residual.strain / volume, volume


def _in_order(labels: Array, order: Order) -> Array:
    return np.asarray(labels[np.argsort(order)])


def _swapped(labels: Array, said: Array, part: Order, floor: float) -> Fault:
    """The best order of some of the components, other than the straight one."""
    found = []
    for chosen in permutations(part):
        order: Order = chosen + STRAIGHT[3:] if part == PARTS[0] else STRAIGHT[:3] + chosen
        if order != STRAIGHT:
            left = misfit(_in_order(labels, order), said, floor)
            text = f"components of the stress are swapped: {order_text(order)}"
            found.append(Fault("frame-stress-order", text, 1.0, left, _ordered(order), order))
    return min(found, key=lambda fault: fault.left)


def _stress_scale(labels: Array, said: Array, factor: float, volume: float, floor: float) -> Fault:
    left = misfit(labels / factor, said, floor)
    off: list[tuple[float, Explanation]] = []
    for explanation in stress_candidates():
        expected = (volume if explanation.by_volume else 1.0) / explanation.factor
        if expected * factor > 0.0:
            off.append((abs(float(np.log(expected / factor))), explanation))
    off.sort(key=lambda pair: pair[0])
    distance, nearest = off[0]
    rivals = [e for d, e in off[1:] if d < max(2.0 * distance, 0.1)]
    if SIGN_ONLY[0] < -factor < SIGN_ONLY[1]:  # no unit is near
        distance, nearest, rivals = abs(factor + 1.0), stress_candidates()[0], []
    # A pressure alone is proportional to any other.
    deviatoric = np.linalg.norm(said - np.where(np.arange(6) < 3, said[:3].mean(), 0.0))
    alike = abs(np.log(abs(factor))) < 2.0
    is_large = np.linalg.norm(said) > LARGE * floor
    is_sign = not nearest.unit and distance < (0.25 if is_large else 0.1)
    if deviatoric < 0.1 * np.linalg.norm(said) and alike and not is_sign:
        left = np.inf
    if distance > NEAR and nearest.unit:
        if not _is_scale(labels, said, factor, LEAST_SCALES[1]):
            left = np.inf
        text = f"the stress is {factor:.3g} times the one expected"
        return Fault("frame-stress-scale", text, factor, left, None)
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


def energy_fault(residual: Residual, middle: float, spread: float) -> Fault | None:
    """What explains the energy of a frame.

    `middle`, `spread`: median and deviation of the residuals of energies of frames like this, eV/atom.
    """
    energy = residual.frame.energy
    assert energy is not None
    assert residual.energy is not None
    n = len(residual.frame.numbers)
    expected = residual.energy + n * middle
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
