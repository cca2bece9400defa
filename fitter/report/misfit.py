"""Implausible fits: labels missed by many times their sigmas, with likely reasons.

A fit to inconsistent labels (forces in kcal/mol/Å beside energies in eV, isolated atoms of another
code, one faulty frame) ends like any other: the evidence raises the factor of all sigmas. If that
factor is beyond doubt too large, or if one frame is far off beside all others, `misfit_warnings`
describes the misfit, the worst frame, and the reasons that the data suggest.

A small fit to the forces alone compares energies with forces: the slope of the labels against its
energies is 1 unless units differ, whatever the energies of isolated atoms.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.prior import alternatives
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.terms.base import TermSettings
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["misfit_warnings"]

Array = NDArray[np.float64]

BEYOND_DOUBT = 10.0
"""Errors in units of the sigmas. Mere two-body fits with default sigmas reach 2 to 9 (Ni, InP, water,
Si, Mo)."""

GOOD_FORCES, GOOD_ENERGIES = 0.2, 0.02
"""Errors relative to the size of forces, and in eV per atom: a fit with smaller errors is sound, and
the sigmas are smaller than its terms can reach."""

OUTLYING = 20.0
"""Errors in units of the other frames' root mean square; at most 10 in the sets above."""

WORST_PART = 0.05
"""Fraction of the frames left out of that root mean square: one fault must not hide another."""

LEAST_ENERGY, LEAST_FORCE = 0.1, 1.0
"""Errors in eV per atom and eV/Å below which no frame is called faulty."""

FAR_FROM_ATOMS = 15.0
"""Binding energy in eV per atom that raises a doubt; no solid is bound by more than 9."""

TRIAL_ATOMS, TRIAL_FRAMES, TRIAL_POINTS = 1000, 30, 60
"""Size of the fit to forces alone: a second or so for one species."""

FEWEST_ENERGIES = 6

PROPORTIONAL = 0.15
"""Energies count as proportional to those of the forces if the median distance from the line is below
this fraction of the distance without the line."""

SLOPES = {
    1 / 23.0605: "forces in kcal/mol/Å beside energies in eV",
    23.0605: "energies in kcal/mol beside forces in eV/Å",
    1 / 96.485: "forces in kJ/mol/Å beside energies in eV",
    96.485: "energies in kJ/mol beside forces in eV/Å",
    0.1: "forces per nm beside energies of the same unit",
    51.4221: "forces in Hartree/Bohr beside energies in eV",
    1 / 27.2114: "energies in Hartree beside forces in eV/Å",
    1.88973: "forces per Bohr beside energies of the same unit",
    25.7110: "forces in Rydberg/Bohr beside energies in eV",
    1 / 13.6057: "energies in Rydberg beside forces in eV/Å",
    1e-3: "forces in meV/Å beside energies in eV",
    1e3: "energies in meV beside forces in eV/Å",
    -1.0: "forces of the opposite sign (gradients)",
}
"""Reasons for a slope of the energies against those implied by the forces."""

SLOPE_TOLERANCE = 1.3
"""Factor by which a slope may miss one of these, since small fits are no better."""


# ---- frames --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Misfit:
    """Errors of a fit in one frame.

    Attributes:
        energy: error, eV per atom; None without a label.
        force: largest error of a component, eV/Å; None without labels.
        squares: sum of squared errors in units of the sigmas, of `count` labels.
    """

    frame: Frame
    energy: float | None
    force: float | None
    squares: float
    count: int

    @classmethod
    def of(cls, frame: Frame, prediction: Prediction) -> _Misfit:
        n = len(frame.numbers)
        energy = force = None
        squares, count = 0.0, 0
        if frame.energy is not None:
            energy = (prediction.energy - frame.energy) / n
            squares += n * (energy / frame.sigma.energy) ** 2
            count += 1
        if frame.forces is not None and frame.labelled.any():
            errors = (prediction.forces - frame.forces)[frame.labelled]
            sigmas = np.broadcast_to(frame.sigma.force, (n, 3))[frame.labelled]
            force = float(np.abs(errors).max())
            squares += float(np.sum((errors / sigmas) ** 2))
            count += errors.size
        return cls(frame, energy, force, squares, count)

    def __str__(self) -> str:
        parts = []
        if self.energy is not None:
            parts.append(f"energy off by {self.energy:+.3g} eV per atom")
        if self.force is not None:
            parts.append(f"largest force error {self.force:.3g} eV/Å")
        return f"{_name(self.frame)} (counted from 0; {', '.join(parts)})"


def _name(frame: Frame) -> str:
    return f"{Path(frame.source).name}: frame {frame.index}"


def _scale_of_others(values: Array) -> float:
    """Root mean square of `values` without the largest fraction WORST_PART, at least one of them."""
    left_out = max(1, int(np.ceil(WORST_PART * len(values))))
    return float(np.sqrt(np.mean(np.sort(values)[:-left_out] ** 2)))


def _outlying(misfits: Sequence[_Misfit]) -> list[_Misfit]:
    """Frames whose energy or force error is far beyond that of all others, the worst first."""
    ratios: dict[int, float] = {}
    for least, of in (
        (LEAST_ENERGY, [m.energy for m in misfits]),
        (LEAST_FORCE, [m.force for m in misfits]),
    ):
        known = [(n, abs(value)) for n, value in enumerate(of) if value is not None]
        if len(known) < FEWEST_ENERGIES:
            continue
        scale = max(_scale_of_others(np.array([value for _, value in known])), 1e-300)
        for n, value in known:
            if value > least and value > OUTLYING * scale:
                ratios[n] = max(ratios.get(n, 0.0), value / scale)
    return [misfits[n] for n in sorted(ratios, key=lambda n: -ratios[n])]


def _is_good(pairs: Sequence[tuple[Frame, Prediction]], misfits: Sequence[_Misfit]) -> bool:
    """Whether the errors are small in absolute terms, whatever the sigmas."""
    energies = np.array([m.energy for m in misfits if m.energy is not None])
    if len(energies) and np.sqrt(np.mean(energies**2)) > GOOD_ENERGIES:
        return False
    errors, sizes = 0.0, 0.0
    for frame, prediction in pairs:
        if frame.forces is not None:
            which = frame.labelled
            errors += float(np.sum((prediction.forces - frame.forces)[which] ** 2))
            sizes += float(np.sum(frame.forces[which] ** 2))
    return errors <= GOOD_FORCES**2 * sizes


# ---- energies against forces ---------------------------------------------------------------------


@dataclass(frozen=True)
class _AgainstForces:
    """Comparison of some frames' energies with those of a fit to their forces alone.

    Attributes:
        slope: slope of the labels against that fit's energies, robust against a few faulty ones; None
            if the two are not proportional.
        outlying: frames whose energies lie far from that line, by eV per atom.
    """

    slope: float | None
    outlying: Sequence[tuple[Frame, float]]

    @classmethod
    def of(cls, model: Model, settings: Settings, frames: Sequence[Frame]) -> _AgainstForces | None:
        """The comparison; None if too few frames have both energies and forces."""
        from forcemap.fitter.fitting import fit_frames
        from forcemap.fitter.process.truth import Truth

        both = [f for f in frames if f.energy is not None and f.forces is not None]
        both = sample_of([f for f in both if len(f.numbers) > 1], TRIAL_ATOMS, TRIAL_FRAMES)
        species = sorted({int(z) for f in both for z in f.numbers})
        if len(both) < FEWEST_ENERGIES + 2 + len(species):
            return None
        bare = [replace(frame, energy=None, stress=None) for frame in both]
        chosen = alternatives(settings, Survey.of(bare, settings))[0]
        small = replace(chosen, e0={SYMBOLS[z]: e for z, e in model.e0.items()})
        small = replace(small, terms=_few_and_small(small.terms))
        with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("ignore")  # about what a sample lacks
            truth = Truth(fit_frames(small, bare))
            implied = np.array([truth.prediction(frame).energy for frame in both])
        counts = np.array([[np.count_nonzero(f.numbers == z) for z in species] for f in both])
        return cls._line(both, implied, counts.astype(float))

    @classmethod
    def _line(cls, frames: Sequence[Frame], implied: Array, counts: Array) -> _AgainstForces:
        atoms = counts.sum(axis=1)
        energies = np.array([frame.energy for frame in frames]) / atoms
        free = np.column_stack([counts / atoms[:, None], *_powers_of_volume(frames, atoms)])
        matrix = np.column_stack([implied / atoms, free])
        line = _least_deviations(matrix, energies)
        residuals = energies - matrix @ line
        spread = float(np.median(np.abs(energies - free @ _least_deviations(free, energies))))
        typical = float(np.median(np.abs(residuals)))
        far = [
            (frames[n], float(residuals[n]))
            for n in np.argsort(-np.abs(residuals))
            if abs(residuals[n]) > max(LEAST_ENERGY, OUTLYING * typical)
        ]
        return cls(float(line[0]) if typical < PROPORTIONAL * spread else None, far)


def _powers_of_volume(frames: Sequence[Frame], atoms: Array) -> list[Array]:
    """Scaled volume per atom and its square, (frames,) each; empty if a frame has no volume.

    Forces on atoms hardly determine how the energy depends on the volume.
    """
    if not all(np.all(frame.pbc) for frame in frames):
        return []
    volumes = np.array([abs(float(np.linalg.det(frame.cell))) for frame in frames]) / atoms
    spread = float(np.std(volumes))
    if spread < 1e-6 * float(np.mean(volumes)):
        return []
    scaled = (volumes - np.mean(volumes)) / spread
    return [scaled, scaled**2]


def _few_and_small(terms: Sequence[TermSettings]) -> tuple[TermSettings, ...]:
    """Terms for the fit to forces, with few sparse points: those of few atoms, or else all.

    With few frames, functions of few atoms, which are integrals of forces, determine energies better
    than comparisons of whole environments.
    """
    few = [term for term in terms if term.few_atoms]
    return tuple(term.small(TRIAL_POINTS) for term in few or terms)


def _least_deviations(matrix: Array, values: Array) -> Array:
    """Coefficients with the smallest sum of absolute deviations, by reweighted least squares."""
    weights = np.ones(len(values))
    coefficients = np.zeros(matrix.shape[1])
    for _ in range(50):
        roots = np.sqrt(weights)
        coefficients[:] = np.linalg.lstsq(matrix * roots[:, None], values * roots, rcond=1e-10)[0]
        deviations = np.abs(values - matrix @ coefficients)
        weights = 1.0 / np.maximum(deviations, 1e-6 * max(float(np.median(deviations)), 1e-300))
        weights /= weights.max()
    return coefficients


# ---- reasons -------------------------------------------------------------------------------------


def _about_slope(slope: float, atoms: Sequence[int]) -> str | None:
    """A sentence on the reason for a slope; None for one that is near 1."""
    if slope > 0 and 1 / 1.6 < slope < 1.6:
        return None
    known = dict(SLOPES)
    if min(atoms) > 1 and max(atoms) < SLOPE_TOLERANCE * min(atoms):
        known[1.0 / float(np.median(atoms))] = "energies per atom, not of the whole frame"
    near = {
        abs(float(np.log(slope / value))): text
        for value, text in known.items()
        if slope / value > 0 and abs(np.log(slope / value)) < np.log(SLOPE_TOLERANCE)
    }
    text = f"Energies change by {slope:.3g} times what the forces imply"
    if not near and 1 / 3 < slope < 3:
        return None  # a fit of few terms is no better
    if not near:
        return f"{text}: are both of the same calculation, in eV and eV/Å?"
    return f"{text}: {', or '.join(near[n] for n in sorted(near))}?"


def _about_e0(model: Model, frames: Sequence[Frame]) -> str | None:
    """A sentence if the energies lie too far from those of the isolated atoms, or None."""
    if model.settings.get("e0") == "average":
        return None
    bound = [
        (frame.energy - sum(model.e0[int(z)] for z in frame.numbers)) / len(frame.numbers)
        for frame in frames
        if frame.energy is not None and len(frame.numbers) > 1
    ]
    middle = float(np.median(bound)) if bound else 0.0
    if abs(middle) < FAR_FROM_ATOMS:
        return None
    e0 = ", ".join(f"{SYMBOLS[z]}: {energy:.6g}" for z, energy in sorted(model.e0.items()))
    return (
        f"Energies lie {middle:+.4g} eV per atom from those of the isolated atoms, e0 {{{e0}}}: is e0 "
        "of another code, method or unit?"
    )


def _reasons(
    model: Model, settings: Settings, frames: Sequence[Frame], misfits: Sequence[_Misfit]
) -> list[str]:
    """Reasons that the data suggest: e0, units, or else one faulty frame."""
    against = _AgainstForces.of(model, settings, frames)
    slope = None if against is None else against.slope
    remarks = [_about_e0(model, frames)]
    if slope is not None:
        remarks.append(_about_slope(slope, [len(f.numbers) for f in frames]))
    sentences = [sentence for sentence in remarks if sentence]
    if sentences:
        return sentences
    if against is not None and slope is not None and against.outlying:
        frame, off = against.outlying[0]
        return [
            f"The energy of {_name(frame)} lies {off:+.3g} eV per atom from what the forces imply: a "
            "faulty calculation?"
        ]
    total = sum(m.squares for m in misfits)
    largest = max(misfits, key=lambda m: m.squares)
    if largest.squares > 0.5 * total and len(misfits) > 2:
        return [
            f"{100 * largest.squares / total:.0f} % of the squared errors are those of "
            f"{_name(largest.frame)}: a faulty calculation?"
        ]
    return [
        "Reasons may be units of energies and forces, e0, faulty frames, or terms that cannot describe "
        "these data."
    ]


def misfit_warnings(
    model: Model, settings: Settings, pairs: Sequence[tuple[Frame, Prediction]]
) -> list[str]:
    """Warnings about labels that the fit misses by far, with likely reasons; usually empty.

    Args:
        model: the fit.
        settings: the settings of the fit.
        pairs: the training frames with their predictions.
    """
    misfits = [_Misfit.of(frame, prediction) for frame, prediction in pairs]
    misfits = [m for m in misfits if m.count]
    if not misfits:
        return []
    count = sum(m.count for m in misfits)
    factor = float(np.sqrt(sum(m.squares for m in misfits) / count))
    factor = max(factor, model.noise_factor)
    outlying = _outlying(misfits)
    if factor > BEYOND_DOUBT and (outlying or not _is_good(pairs, misfits)):
        reasons = _reasons(model, settings, [frame for frame, _ in pairs], misfits)
        worst = max(misfits, key=lambda m: m.squares / m.count)
        return [
            f"the fit misses its labels by {factor:.0f} times the sigmas given. {' '.join(reasons)} "
            f"The worst frame is {worst}."
        ]
    about_e0 = _about_e0(model, [frame for frame, _ in pairs])
    if about_e0:
        return [about_e0[0].lower() + about_e0[1:]]
    return [
        f"{misfit} is missed by more than {OUTLYING:g} times the errors of the other frames: a faulty "
        "calculation?"
        for misfit in outlying[:3]
    ]
