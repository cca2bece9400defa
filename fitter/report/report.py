"""The report of a fit: `report.json` for programs, `report.html` (one file, offline) for people.

`report.json` holds `train` and `test` (from `metrics.error_block`), `leave_one_out` with the same and
`frames`, the errors of each training frame predicted by the process fitted to all others, `uncertainty`
(from `calibration.uncertainty_block`), `mapping` (errors of the map against the process), `fit` (time,
memory, terms), `settings` and `errors_of`: all errors of `train` and `test` are those of the mapped
potential, the one that people run, or of the process if one of its terms has no map. `warnings` is a
list of sentences on a fit whose results are implausible, `fit_id` the identity that all files of the
fit share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.report.calibration import Honest, uncertainty_block
from forcemap.fitter.report.metrics import SizePoint, compare, error_block
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.whole_file import write_whole
from forcemap.potentials.plain import plain

__all__ = ["Judgement", "build_report", "worst_frames", "write_report"]

Pairs = Sequence[tuple[Frame, Prediction]]

WORST_FRAMES = 8

DRAWING = (4.0, 3.0, 1.0, 3.0)
"""What the figures of parity, curves, sizes and deviations take, relative to one another."""


@dataclass(frozen=True)
class Judgement:
    """The input of a report.

    Attributes:
        train, test: frames with predictions; `test` may be empty.
        mapping: errors of the map, as in `report.json`; empty without a map.
        fit: time, memory, likelihood, terms, as in `report.json`.
        settings: the expanded settings.
        curves: pair energies by pair of species: r (Å) and V (eV); none without a map.
        errors_of: source of the predictions: "mapped potential", or "process" without a map.
        warnings: sentences on a fit whose results are implausible.
        fit_id: identity of the fit.
        honest: predicted errors and their calibration.
        optimised: hyperparameters before and after their choice by evidence; None without a choice.
        size: name of the size, for a fit in several sizes.
        smaller: points of the sizes before it.
    """

    train: Pairs
    test: Pairs
    mapping: Mapping[str, Any]
    fit: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    errors_of: str = "mapped potential"
    warnings: Sequence[str] = ()
    fit_id: str = ""
    honest: Honest = field(default_factory=Honest)
    optimised: Mapping[str, Any] | None = None
    size: str | None = None
    smaller: Sequence[SizePoint] = ()


def build_report(judged: Judgement) -> dict[str, Any]:
    """The content of `report.json`; an empty `test` becomes a block without numbers.

    A fit with a size also has `sizes`, the points of the smaller ones and its own.
    """
    from forcemap import __version__

    report: dict[str, Any] = plain(
        {
            "forcemap_version": __version__,
            "fit_id": judged.fit_id,
            "train": error_block(judged.train),
            "test": error_block(judged.test),
            "leave_one_out": _leave_one_out_block(judged.honest.left_out.pairs),
            "uncertainty": uncertainty_block(judged.honest),
            "mapping": judged.mapping,
            "optimised": judged.optimised,
            "fit": judged.fit,
            "settings": judged.settings,
            "errors_of": judged.errors_of,
            "warnings": list(judged.warnings),
        }
    )
    if judged.size is not None:
        block = report["test"] if judged.test else report["train"]
        points = [*judged.smaller, SizePoint.of(judged.size, block, report["fit"])]
        report["sizes"] = [plain(asdict(point)) for point in points]
    return report


def worst_frames(pairs: Pairs, count: int = WORST_FRAMES) -> list[dict[str, Any]]:
    """The frames with the largest error of a single force (of the energy if all lack forces).

    Each row has `source`, `index`, `config_type`, and `force_ev_per_a` (the largest),
    `force_rmse_ev_per_a` and `energy_mev_per_atom`, which may be None.
    """
    rows = [_frame_errors(frame, prediction) for frame, prediction in pairs]

    def error(row: Mapping[str, Any]) -> tuple[float, float]:
        return row["force_ev_per_a"] or 0.0, abs(row["energy_mev_per_atom"] or 0.0)

    return sorted(rows, key=error, reverse=True)[:count]


def _leave_one_out_block(pairs: Pairs) -> dict[str, Any]:
    """Errors overall and of each frame."""
    return error_block(pairs) | {"frames": [_frame_errors(*pair) for pair in pairs]}


def _frame_errors(frame: Frame, prediction: Prediction) -> dict[str, Any]:
    """Errors of one frame; None without labels."""
    force = rmse = energy_error = None
    if frame.forces is not None:
        errors = (prediction.forces - frame.forces)[frame.labelled]
        force = float(np.linalg.norm(errors, axis=1).max(initial=0.0))
        rmse = float(np.sqrt(np.mean(errors**2))) if errors.size else None
    if frame.energy is not None:
        energy_error = 1000.0 * (prediction.energy - frame.energy) / len(frame.numbers)
    return {
        "source": Path(frame.source).name,
        "index": frame.index,
        "config_type": frame.config_type,
        "force_ev_per_a": force,
        "force_rmse_ev_per_a": rmse,
        "energy_mev_per_atom": energy_error,
    }


def write_report(out: str | Path, judged: Judgement, run: Run | None = None) -> dict[str, Any]:
    """Write `report.json` and `report.html` into the existing folder `out`; returns the report.

    The ranks of `run` share the figures, where the first leads.
    """
    # Of an extra: who only fits and evaluates does without.
    from forcemap.fitter.report.figures import curve_figures, parity_figures, size_figures
    from forcemap.fitter.report.honesty_figures import honesty_figures
    from forcemap.fitter.report.page import Figures, page

    out = Path(out)
    report = build_report(judged)
    train, test = judged.train, judged.test
    # Isolated atoms lie several eV away from all other frames, which they would squeeze together.
    shown = [[pair for pair in pairs if len(pair[0].numbers) > 1] for pairs in (train, test)]
    drawings: list[Callable[[], Any]] = [
        partial(parity_figures, compare(shown[0]), compare(shown[1])),
        partial(curve_figures, judged.curves),
        partial(size_figures, report.get("sizes", [])),
        partial(honesty_figures, judged.honest),
    ]
    ranks = (run or Run()).ranks  # Matplotlib is not made for threads
    figures = ranks.hand_out(_called, drawings, DRAWING, jobs=1)
    text = page(
        report,
        species=sorted({int(z) for frame, _ in train for z in frame.numbers}),
        force_scale=_force_scale(test or train),
        figures=Figures(*figures),
        worst={"train": worst_frames(train), "test": worst_frames(test)},
    )
    write_whole(out / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_whole(out / "report.html", text)
    return report


def _called(function: Callable[[], Any]) -> Any:
    return function()


def _force_scale(pairs: Pairs) -> float | None:
    """Root mean square of the reference force components, eV/Å."""
    forces = compare(pairs).forces[:, 0]
    return float(np.sqrt(np.mean(forces**2))) if len(forces) else None
