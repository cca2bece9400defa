"""Labels of all frames less what a quick fit to the other frames says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.comparison import Comparison, Group, Said
from forcemap.fitter.doctor.joint_fit import JointFit, joint_fit, least_deviations
from forcemap.fitter.doctor.quick_fit import Part, QuickFit
from forcemap.fitter.terms.rows import RowLayout
from numpy.typing import NDArray

__all__ = ["Residual", "Residuals", "residuals_of"]

Array = NDArray[np.float64]

MOST_UNSURE = 0.2
"""Deviations of a prediction that can show a fault of the labels, relative to the prediction."""


@dataclass(frozen=True, eq=False)
class Residual:
    """A frame with the prediction of a quick fit to others.

    Attributes:
        place: of the frame among all frames.
        frame: the frame.
        energy: predicted, eV, constants of the elements included; None without an energy.
        forces: predicted, (n, 3) eV/Å.
        strain: predicted volume times stress, (6,) eV.
        unit: usual size of the data's forces, eV/Å.
        deviations: of the prediction, (1 + 3n + 6,), in the order of `RowLayout`; None if not computed.
    """

    place: int
    frame: Frame
    energy: float | None
    forces: Array
    strain: Array
    unit: float
    deviations: Array | None = None

    @property
    def of_energy(self) -> float:
        """Label less prediction, eV per atom; 0 without an energy."""
        if self.energy is None or self.frame.energy is None:
            return 0.0
        return (self.frame.energy - self.energy) / len(self.frame.numbers)

    @property
    def of_forces(self) -> Array:
        """(n, 3) labels less predictions, eV/Å; 0 where there is no label."""
        if self.frame.forces is None:
            return np.zeros_like(self.forces)
        return np.where(self.frame.labelled[:, None], self.frame.forces - self.forces, 0.0)


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of all frames, by one fit.

    Attributes:
        all: by frame.
        quick: the rows of the fit.
        fit: the fit.
        kept: deviations of frames outside of the sample, as they were asked for.
    """

    all: list[Residual]
    quick: QuickFit
    fit: JointFit
    kept: dict[int, Array] = field(default_factory=dict)

    def is_sure(self, residual: Residual, label: str) -> bool:
        """Whether the fit knows the forces or the stress of a frame, or only extrapolates."""
        layout = RowLayout(len(residual.frame.numbers))
        deviations = self._deviations(residual)
        if label == "forces":
            said, unsure = residual.forces.ravel(), deviations[layout.forces]
        else:
            said, unsure = residual.strain, deviations[layout.strain]
        return bool(np.sum(unsure**2) < MOST_UNSURE**2 * np.sum(said**2))

    def energy_deviation(self, residual: Residual) -> float:
        """Standard deviation of the predicted energy, eV per atom."""
        deviations = self._deviations(residual)
        return float(deviations[RowLayout.energy]) / len(residual.frame.numbers)

    def _deviations(self, residual: Residual) -> Array:
        if residual.deviations is not None:
            return residual.deviations
        if residual.place not in self.kept:
            rows = self.quick.rows_of(residual.frame)
            self.kept[residual.place] = self.fit.solved.deviations(rows)
        return self.kept[residual.place]


def residuals_of(comparison: Comparison, unsure: frozenset[Group]) -> Residuals | None:
    """Residuals of all frames of groups that are not `unsure`; None where the data are too few.

    Frames of the sample are left out of the fit that judges them.
    """
    quick = comparison.quick
    if quick is None:
        return None
    places = [n for group, own in quick.groups.items() if group not in unsure for n in own]
    if len(places) < 3:
        return None
    fit = joint_fit(quick, places, stresses=True)
    if fit is None:
        return None
    said = comparison.said(fit.solved)
    deviations: dict[int, Array] = {}
    for n in places:
        place = quick.places[n]
        said[place], deviations[place] = _left_out(quick, n, fit)
    chosen = [
        place
        for group, own in comparison.groups.items()
        if group not in unsure
        for place in own
        if said[place] is not None
    ]
    found = _with_constants(comparison.frames, said, sorted(chosen), fit.unit)
    found = [replace(r, deviations=deviations.get(r.place)) for r in found]
    return Residuals(found, quick, fit)


def _left_out(quick: QuickFit, n: int, fit: JointFit) -> tuple[Said, Array]:
    """The prediction for a frame of the sample by the fit to all others, and its deviations.

    Labels of all kinds are left out together: the energy would reveal the forces a little.
    """
    said = Said(*quick.predicted(n, fit.solved))
    energy, forces, strain = said.energy, said.forces.copy(), said.strain
    parts = [kind[n] for kind in (fit.energies, fit.forces, fit.strains) if n in kind]
    deviations = fit.solved.deviations(quick.rows[n])
    if not parts:
        return said, deviations
    whole = Part(
        n,
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.sigmas for part in parts]),
    )
    plain = whole.labels - whole.rows @ fit.solved.values
    errors, spread = quick.left_out_with_deviations(whole, fit.solved)
    moved = plain - errors
    layout = RowLayout(len(quick.frames[n].numbers))
    start = 0
    if n in fit.energies:
        energy += float(moved[0])
        deviations[RowLayout.energy] = spread[0]
        start = 1
    if n in fit.forces:
        which = quick.frames[n].labelled
        count = 3 * int(which.sum())
        forces[which] += moved[start : start + count].reshape(-1, 3)
        deviations[layout.forces][np.repeat(which, 3)] = spread[start : start + count]
        start += count
    if n in fit.strains:
        strain = strain + moved[start : start + 6]
        deviations[layout.strain] = spread[start : start + 6]
    return Said(energy, forces, strain), deviations


def _with_constants(
    frames: Sequence[Frame], said: Sequence[Said | None], places: Sequence[int], unit: float
) -> list[Residual]:
    """The residuals, with constants of the elements that most energies agree with."""
    species = sorted({int(z) for place in places for z in frames[place].numbers})
    with_energy = [place for place in places if frames[place].energy is not None]
    counts = np.array([[np.sum(frames[p].numbers == z) for z in species] for p in with_energy])
    constants = np.zeros(len(species))
    if with_energy:
        atoms = counts.sum(axis=1)
        values = np.array([(frames[p].energy or 0.0) - said[p].energy for p in with_energy])  # type: ignore[union-attr]
        constants = least_deviations(counts / atoms[:, None], values / atoms)
    found = []
    for place in places:
        frame, each = frames[place], said[place]
        assert each is not None
        own = np.array([np.sum(frame.numbers == z) for z in species])
        energy = None if frame.energy is None else each.energy + float(own @ constants)
        found.append(Residual(place, frame, energy, each.forces, each.strain, unit))
    return found
