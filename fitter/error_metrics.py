"""Errors of predictions against labels, overall and by config_type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from forcemap.fitter.frame import Frame
from numpy.typing import NDArray

__all__ = ["DEVIATIONS", "GPA", "METRICS", "Comparison", "Prediction", "compare", "error_block"]

Array = NDArray[np.float64]

Prediction: TypeAlias = tuple[float, Array, Array | None]
"""Energy (eV), forces (n, 3) (eV/Å), stress (3, 3) (eV/Å³, ASE's sign; None: there is none)."""

GPA = 160.21766208
"""GPa in one eV/Å³."""

SIX = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
"""Rows and columns of the independent components: xx yy zz yz xz xy."""


def _rmse(errors: Array) -> float | None:
    return float(np.sqrt(np.mean(errors**2))) if errors.size else None


def _mae(errors: Array) -> float | None:
    return float(np.mean(np.abs(errors))) if errors.size else None


@dataclass
class Comparison:
    """Labels and predictions of the same quantities, flattened.

    Attributes:
        energies: (k, 2) label and prediction of frames' energies per atom, eV.
        forces: (k, 2) of force components, eV/Å.
        stresses: (k, 2) of the six independent stress components, GPa.
    """

    n_frames: int = 0
    n_atoms: int = 0
    energies: Array = field(default_factory=lambda: np.zeros((0, 2)))
    forces: Array = field(default_factory=lambda: np.zeros((0, 2)))
    stresses: Array = field(default_factory=lambda: np.zeros((0, 2)))


def compare(pairs: Iterable[tuple[Frame, Prediction]]) -> Comparison:
    """Pair the labels that the frames have with their predictions."""
    n_frames = n_atoms = 0
    energies: list[Array] = []
    forces: list[Array] = []
    stresses: list[Array] = []
    for frame, (energy, force, stress) in pairs:
        count = len(frame.numbers)
        n_frames += 1
        n_atoms += count
        if frame.energy is not None:
            energies.append(np.array([[frame.energy / count, energy / count]]))
        if frame.forces is not None:
            which = frame.labelled
            forces.append(
                np.stack([frame.forces[which].ravel(), np.asarray(force)[which].ravel()], axis=1)
            )
        if frame.stress is not None and stress is not None:
            stresses.append(GPA * np.stack([frame.stress[SIX], np.asarray(stress)[SIX]], axis=1))

    def joined(parts: list[Array]) -> Array:
        return np.concatenate([np.zeros((0, 2)), *parts])

    return Comparison(n_frames, n_atoms, joined(energies), joined(forces), joined(stresses))


METRICS: dict[str, Callable[[Comparison], float | None]] = {
    "energy_rmse_mev_per_atom": lambda c: _rmse(1000.0 * np.diff(c.energies)),
    "energy_mae_mev_per_atom": lambda c: _mae(1000.0 * np.diff(c.energies)),
    "force_rmse_ev_per_a": lambda c: _rmse(np.diff(c.forces)),
    "force_mae_ev_per_a": lambda c: _mae(np.diff(c.forces)),
    "stress_rmse_gpa": lambda c: _rmse(np.diff(c.stresses)),
}
"""Forces per component, stresses over the six independent components; None without labels."""


def _numbers(pairs: Sequence[tuple[Frame, Prediction]]) -> dict[str, Any]:
    comparison = compare(pairs)
    block: dict[str, Any] = {"n_frames": comparison.n_frames, "n_atoms": comparison.n_atoms}
    return block | {name: metric(comparison) for name, metric in METRICS.items()}


DEVIATIONS: dict[str, Callable[[Sequence[tuple[Frame, Prediction]]], float | None]] = {
    "energy_std_mev_per_atom": lambda found: _rmse(
        np.array([1000.0 * energy / len(frame.numbers) for frame, (energy, _, _) in found])
    ),
    "force_std_ev_per_a": lambda found: _rmse(_joined(forces for _, (_, forces, _) in found)),
    "stress_std_gpa": lambda found: _rmse(
        GPA * _joined(stress[SIX] for _, (_, _, stress) in found if stress is not None)
    ),
}
"""Root mean squares of predicted standard deviations, to be set beside the errors of METRICS."""


def _joined(parts: Iterable[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(part) for part in parts)])


def error_block(
    pairs: Sequence[tuple[Frame, Prediction]], deviations: Sequence[Prediction] | None = None
) -> dict[str, Any]:
    """Numbers of frames and atoms, METRICS, and the same under `by_config_type`.

    With the predicted standard deviations of all predictions, DEVIATIONS too.
    """

    def numbers(places: Sequence[int]) -> dict[str, Any]:
        block = _numbers([pairs[n] for n in places])
        if deviations is not None:
            found = [(pairs[n][0], deviations[n]) for n in places]
            block |= {name: mean(found) for name, mean in DEVIATIONS.items()}
        return block

    groups: dict[str, list[int]] = {}
    for n, (frame, _) in enumerate(pairs):
        groups.setdefault(frame.config_type, []).append(n)
    by_config_type = {name: numbers(groups[name]) for name in sorted(groups)}
    return numbers(range(len(pairs))) | {"by_config_type": by_config_type}
