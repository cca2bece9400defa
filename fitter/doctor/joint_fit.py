"""A quick fit to energies, forces and stresses together that a few wrong frames do not spoil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from forcemap.fitter.doctor.force_units import force_parts, force_unit
from forcemap.fitter.doctor.quick_fit import Part, QuickFit, Solved
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray

__all__ = ["JointFit", "joint_fit", "least_deviations"]

Array = NDArray[np.float64]

PASSES = 3
"""Fits, each of which trusts the frames that the one before could not explain less."""

TRUSTED = 3.0
"""Misfits beyond so many times the usual one lower the weight of a frame (Cauchy's weights)."""

FAR_OFF = 10.0
"""Deviations of energies per atom beyond so many times the median lower their weight from the start."""

ENERGY_RATE, STRESS_RATE = 0.1, 0.05
"""Expected errors of energies, per root of the number of atoms, and of stresses, in units of forces."""


@dataclass(frozen=True)
class JointFit:
    """A fit with its parts.

    Attributes:
        solved: the fit.
        energies, forces, strains: rows of each kind by place in the sample.
        unit: usual size of forces, eV/Å; of energies per Å if there are no forces.
    """

    solved: Solved
    energies: dict[int, Part]
    forces: dict[int, Part]
    strains: dict[int, Part]
    unit: float


def joint_fit(
    quick: QuickFit, places: Sequence[int], stresses: bool, passes: int = PASSES
) -> JointFit | None:
    """Fit the labels of frames of the sample; None if they hold too little."""
    unit = force_unit([quick.frames[n] for n in places])
    with_energy = [n for n in places if quick.frames[n].energy is not None]
    atoms = np.array([len(quick.frames[n].numbers) for n in with_energy])
    energies = np.array([quick.frames[n].energy or 0.0 for n in with_energy])
    if not unit:
        spread = quick.energies(with_energy, energies, np.sqrt(atoms))
        sizes = [abs(float(part.labels[0])) for part in spread] / np.maximum(atoms, 1)
        unit = float(np.median(sizes)) if len(sizes) else 0.0
        if not unit:
            return None
    sigmas = ENERGY_RATE * unit * np.sqrt(atoms)
    if len(with_energy):
        sigmas = sigmas * _far_off(quick, with_energy, energies, atoms)
    kinds: list[list[Part]] = [
        quick.energies(with_energy, energies, sigmas),
        force_parts(quick, places, unit),
        _strains(quick, places, unit) if stresses else [],
    ]
    solved = None
    for turn in range(passes):
        solved = quick.solve([part for parts in kinds for part in parts])
        if solved is None:
            return None
        if turn < passes - 1:
            kinds = [_trusted(quick, parts, solved) for parts in kinds]
    if solved is None:
        return None
    by_place = [{part.place: part for part in parts} for parts in kinds]
    return JointFit(solved, by_place[0], by_place[1], by_place[2], unit)


def _far_off(quick: QuickFit, places: Sequence[int], energies: Array, atoms: Array) -> Array:
    """(places,) factors of the sigmas of energies that no structure can have, before any fit."""
    species = quick.prior_species
    counts = np.array([[np.sum(quick.frames[n].numbers == z) for z in species] for n in places])
    values, fractions = energies / atoms, counts / atoms[:, None]
    off = np.abs(values - fractions @ least_deviations(fractions, values))
    usual = float(np.median(off))
    return np.sqrt(1.0 + (off / (FAR_OFF * usual)) ** 2) if usual else np.ones(len(places))


def least_deviations(x: Array, y: Array) -> Array:
    """Coefficients b (k,) of y = x b by least absolute deviations; of smallest norm if not unique."""
    weights: Any = np.ones(len(y))
    found: Array = np.zeros(x.shape[1])
    for _ in range(30):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(x * root[:, None], y * root, rcond=1e-8)[0]
        off = np.abs(y - x @ found)
        weights = 1.0 / np.maximum(off, max(1e-3 * float(np.median(off)), 1e-9))
    return np.asarray(found)


def _strains(quick: QuickFit, places: Sequence[int], unit: float) -> list[Part]:
    parts = []
    for n in places:
        frame = quick.frames[n]
        if frame.stress is None:
            continue
        volume = abs(float(np.linalg.det(frame.cell)))
        labels = volume * six_of(frame.stress)
        size = float(np.sqrt(np.mean(labels**2)))
        # Of the order of a force times the distance of neighbours, which adds up like energies do.
        sigma = STRESS_RATE * (unit * len(frame.numbers) + 5.0 * size)
        parts.append(quick.strain(n, labels, sigma))
    return parts


def _trusted(quick: QuickFit, parts: Sequence[Part], solved: Solved) -> list[Part]:
    """The parts with larger sigmas where the fit to the others is far off."""
    if len(parts) < 4:
        return list(parts)
    misfits = np.array(
        [float(np.sqrt(np.mean((quick.left_out(p, solved) / p.sigmas) ** 2))) for p in parts]
    )
    usual = float(np.median(misfits))
    if not usual:
        return list(parts)
    factors = np.sqrt(1.0 + (misfits / (TRUSTED * usual)) ** 2)
    return [replace(p, sigmas=p.sigmas * f) for p, f in zip(parts, factors, strict=True)]
