"""Errors of predictions against labels, overall and by config_type, and a table of all metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.data.units import GPA
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray

__all__ = [
    "COUNTS",
    "DEVIATIONS",
    "GPA",
    "METRICS",
    "SIZES",
    "Column",
    "Comparison",
    "Metric",
    "SizePoint",
    "compare",
    "error_block",
]

Array = NDArray[np.float64]
Pairs = Sequence[tuple[Frame, Prediction]]


def _rmse(errors: Array) -> float | None:
    return float(np.sqrt(np.mean(errors**2))) if errors.size else None


def _mae(errors: Array) -> float | None:
    return float(np.mean(np.abs(errors))) if errors.size else None


@dataclass
class Comparison:
    """Flattened labels and predictions of the same quantities.

    Attributes:
        energies: (k, 2) labels and predictions of frames' energies per atom, eV.
        forces: (k, 2) the same of force components, eV/Å.
        stresses: (k, 2) the same of the six independent stress components, GPa.
    """

    n_frames: int = 0
    n_atoms: int = 0
    energies: Array = field(default_factory=lambda: np.zeros((0, 2)))
    forces: Array = field(default_factory=lambda: np.zeros((0, 2)))
    stresses: Array = field(default_factory=lambda: np.zeros((0, 2)))


def compare(pairs: Iterable[tuple[Frame, Prediction]]) -> Comparison:
    """Pair the labels of the frames with their predictions."""
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
            stresses.append(GPA * np.stack([six_of(frame.stress), six_of(stress)], axis=1))

    def joined(parts: list[Array]) -> Array:
        return np.concatenate([np.zeros((0, 2)), *parts])

    return Comparison(n_frames, n_atoms, joined(energies), joined(forces), joined(stresses))


# ---- reported numbers, with their names, units and formats -------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of numbers in a report.

    Attributes:
        label: heading.
        unit: unit below the heading; empty for a pure number.
        form: format of the numbers.
    """

    label: str
    unit: str
    form: str

    def shown(self, value: Any) -> str:
        """`value` in its format; a dash for None."""
        if value is None:
            return "–"
        return self.form.format(int(value) if self.form.startswith("{:d") else value)


@dataclass(frozen=True)
class Metric(Column):
    """An error computed from a `Comparison`; None without labels."""

    value: Callable[[Comparison], float | None]


COUNTS = {"n_frames": Column("frames", "", "{:d}"), "n_atoms": Column("atoms", "", "{:d}")}
"""Columns before the metrics in tables."""

METRICS = {
    "energy_rmse_mev_per_atom": Metric(
        "energy RMSE", "meV/atom", "{:.2f}", lambda c: _rmse(1000.0 * np.diff(c.energies))
    ),
    "energy_mae_mev_per_atom": Metric(
        "energy MAE", "meV/atom", "{:.2f}", lambda c: _mae(1000.0 * np.diff(c.energies))
    ),
    "force_rmse_ev_per_a": Metric(
        "force RMSE", "eV/Å", "{:.4f}", lambda c: _rmse(np.diff(c.forces))
    ),
    "force_mae_ev_per_a": Metric("force MAE", "eV/Å", "{:.4f}", lambda c: _mae(np.diff(c.forces))),
    "stress_rmse_gpa": Metric("stress RMSE", "GPa", "{:.3f}", lambda c: _rmse(np.diff(c.stresses))),
}
"""Errors of forces are per component, those of stresses over the six independent components."""


@dataclass(frozen=True)
class Deviation(Column):
    """The root mean square of predicted standard deviations, for comparison with an error."""

    value: Callable[[Pairs], float | None]


DEVIATIONS = {
    "energy_std_mev_per_atom": Deviation(
        "energy",
        "meV/atom",
        "{:.2f}",
        lambda found: _rmse(np.array([1000.0 * p.energy / len(f.numbers) for f, p in found])),
    ),
    "force_std_ev_per_a": Deviation(
        "force", "eV/Å", "{:.4f}", lambda found: _rmse(_joined(p.forces for _, p in found))
    ),
    "stress_std_gpa": Deviation(
        "stress",
        "GPa",
        "{:.3f}",
        lambda found: _rmse(
            GPA * _joined(six_of(p.stress) for _, p in found if p.stress is not None)
        ),
    ),
}

SIZES: Mapping[str, Column] = {
    "energy_rmse_mev_per_atom": METRICS["energy_rmse_mev_per_atom"],
    "force_rmse_ev_per_a": METRICS["force_rmse_ev_per_a"],
    "run_microseconds_per_atom": Column("evaluation", "µs/atom", "{:.2f}"),
    "seconds": Column("whole fit", "s", "{:.1f}"),
    "n_sparse": Column("sparse points", "", "{:d}"),
}
"""Columns of tables of sizes."""


@dataclass(frozen=True)
class SizePoint:
    """A point of the accuracy-cost curve; errors refer to test frames, or to training frames."""

    name: str
    energy_rmse_mev_per_atom: float | None
    force_rmse_ev_per_a: float | None
    run_microseconds_per_atom: float | None
    seconds: float
    n_sparse: int

    @classmethod
    def of(cls, name: str, judged: Mapping[str, Any], fit: Mapping[str, Any]) -> SizePoint:
        """The point from the blocks of a report."""
        return cls(
            name,
            judged["energy_rmse_mev_per_atom"],
            judged["force_rmse_ev_per_a"],
            fit["run_microseconds_per_atom"],
            fit["seconds"],
            fit["n_sparse"],
        )


def _joined(parts: Iterable[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(np.ravel(part) for part in parts)])


def _numbers(pairs: Pairs) -> dict[str, Any]:
    comparison = compare(pairs)
    block: dict[str, Any] = {"n_frames": comparison.n_frames, "n_atoms": comparison.n_atoms}
    return block | {name: metric.value(comparison) for name, metric in METRICS.items()}


def error_block(pairs: Pairs, deviations: Sequence[Prediction] | None = None) -> dict[str, Any]:
    """Numbers of frames and atoms and METRICS, overall and under `by_config_type`.

    With the standard deviations of all predictions, DEVIATIONS are included.
    """

    def numbers(places: Sequence[int]) -> dict[str, Any]:
        block = _numbers([pairs[n] for n in places])
        if deviations is not None:
            spreads = [(pairs[n][0], deviations[n]) for n in places]
            block |= {name: mean.value(spreads) for name, mean in DEVIATIONS.items()}
        return block

    groups: dict[str, list[int]] = {}
    for n, (frame, _) in enumerate(pairs):
        groups.setdefault(frame.config_type, []).append(n)
    by_config_type = {name: numbers(groups[name]) for name in sorted(groups)}
    return numbers(range(len(pairs))) | {"by_config_type": by_config_type}
