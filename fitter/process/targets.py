"""The labels of a frame, assigned to rows, less what the process does not learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.baseline.baseline import free_energy
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray

__all__ = ["Targets", "group_count", "sampled"]


@dataclass(frozen=True)
class Targets:
    """A frame's labels and their rows.

    Attributes:
        frame: the frame.
        rows: (rows,) indices into the frame's rows (`rows.RowLayout`).
        values: (rows,) energy in eV, forces in eV/Å, volume times stress in eV.
        sigmas: (rows,) expected errors in the same units.
    """

    frame: Frame
    rows: NDArray[np.intp]
    values: Array
    sigmas: Array

    @classmethod
    def of(cls, frame: Frame, e0: Mapping[int, float], baseline: Prediction) -> Targets:
        """The labels less isolated atoms and the baseline.

        The energy's sigma is that of one atom times the square root of the number of atoms, as in
        gap_fit: errors of local energies add up like independent numbers.
        """
        n = len(frame.numbers)
        layout = RowLayout(n)
        places = np.arange(layout.count)
        rows, values, sigmas = [], [], []
        if frame.energy is not None:
            rows.append(places[layout.energy : layout.energy + 1])
            values.append(np.array([frame.energy - free_energy(frame, e0) - baseline.energy]))
            sigmas.append(np.array([frame.sigma.energy * np.sqrt(n)]))
        if frame.forces is not None:
            labelled = frame.labelled
            rows.append(places[layout.forces].reshape(n, 3)[labelled].ravel())
            values.append((frame.forces - baseline.forces)[labelled].ravel())
            sigmas.append(np.broadcast_to(frame.sigma.force, (n, 3))[labelled].ravel())
        if frame.stress is not None:
            volume = abs(np.linalg.det(frame.cell))
            rows.append(places[layout.strain])
            values.append(volume * six_of(frame.stress) - baseline.strain)
            sigmas.append(volume * six_of(np.broadcast_to(frame.sigma.stress, (3, 3))))
        if not rows:
            return cls(frame, np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
        return cls(frame, np.concatenate(rows), np.concatenate(values), np.concatenate(sigmas))

    @property
    def of_stress(self) -> NDArray[np.bool_]:
        """(rows,) mask of the rows of the stress."""
        return np.asarray(self.rows >= RowLayout(len(self.frame.numbers)).strain.start)

    @property
    def has_derivatives(self) -> bool:
        """Whether forces or a stress are among the labels."""
        return bool(np.any(self.rows))


def sampled(targets: Iterable[Targets], enough: int, least: int = 1) -> list[Targets]:
    """Those with labels of some frames, which `data.sampling.sample_of` chooses."""
    with_labels = [target for target in targets if len(target.rows)]
    by_frame = {id(target.frame): target for target in with_labels}
    frames = [target.frame for target in with_labels]  # one may be there several times
    return [by_frame[id(frame)] for frame in sample_of(frames, enough, least)]


def group_count(settings: Settings, frames: Iterable[Frame]) -> int:
    """Number of groups of rows with their own sigma: two if the stresses' is to be determined."""
    return 1 + (settings.sigma.stress is None and any(f.stress is not None for f in frames))
