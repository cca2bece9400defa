"""The report of a fit: `report.json` for programs, `report.html` (one file, offline) for people.

`report.json` holds `train` and `test` (see `error_metrics.error_block`), `mapping` (errors of the
map against the process), `fit` (time, memory, terms), `settings` and `errors_of`: all errors of
`train` and `test` are those of the mapped potential, the one that people run, or of the process where
that has a term without a map. `warnings` is a list of sentences on a fit whose results cannot be meant.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.error_metrics import Prediction, compare, error_block
from forcemap.fitter.frame import Frame
from forcemap.fitter.report_figures import curve_figures, parity_figures, size_figures
from forcemap.fitter.report_page import page
from forcemap.fitter.sizes import SizePoint
from forcemap.fitter.whole_file import write_whole

__all__ = ["build_report", "worst_frames", "write_report"]

Pairs = Sequence[tuple[Frame, Prediction]]

WORST_FRAMES = 8


def plain(value: Any) -> Any:
    """`value` for strict JSON: numpy turned into Python, numbers that are not finite into None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def build_report(
    train: Pairs,
    test: Pairs,
    mapping: Mapping[str, Any],
    fit: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    size: str | None = None,
    smaller: Sequence[SizePoint] = (),
    errors_of: str = "mapped potential",
    fit_id: str = "",
    found_warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of `report.json`; an empty `test` gives a block without numbers.

    With a `size` there are also `sizes`: the points of the `smaller` ones and this one.
    """
    from forcemap import __version__

    report: dict[str, Any] = plain(
        {
            "forcemap_version": __version__,
            "fit_id": fit_id,
            "train": error_block(train),
            "test": error_block(test),
            "mapping": mapping,
            "fit": fit,
            "settings": settings or {},
            "errors_of": errors_of,
            "warnings": list(found_warnings),
        }
    )
    if size is not None:
        judged = report["test"] if test else report["train"]
        points = [*smaller, SizePoint.of(size, judged, report["fit"])]
        report["sizes"] = [plain(asdict(point)) for point in points]
    return report


def worst_frames(pairs: Pairs, count: int = WORST_FRAMES) -> list[dict[str, Any]]:
    """The frames with the largest single error of a force (of the energy, where all lack forces).

    Each with `source`, `index`, `config_type`, `force_ev_per_a` and `energy_mev_per_atom` or None.
    """
    rows: list[tuple[float, float, dict[str, Any]]] = []
    for frame, (energy, forces, _) in pairs:
        force = energy_error = None
        if frame.forces is not None and frame.labelled.any():
            off = np.linalg.norm(forces - frame.forces, axis=1)
            force = float(off[frame.labelled].max())
        if frame.energy is not None:
            energy_error = 1000.0 * (energy - frame.energy) / len(frame.numbers)
        row = {
            "source": Path(frame.source).name,
            "index": frame.index,
            "config_type": frame.config_type,
            "force_ev_per_a": force,
            "energy_mev_per_atom": energy_error,
        }
        rows.append((force or 0.0, abs(energy_error or 0.0), row))
    rows.sort(key=lambda entry: entry[:2], reverse=True)
    return [row for _, _, row in rows[:count]]


def write_report(
    out: str | Path,
    *,
    train: Pairs,
    test: Pairs,
    mapping: Mapping[str, Any],
    fit: Mapping[str, Any],
    settings: Mapping[str, Any],
    curves: Mapping[str, tuple[Any, Any]],
    size: str | None = None,
    smaller: Sequence[SizePoint] = (),
    errors_of: str = "mapped potential",
    fit_id: str = "",
    found_warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `report.json` and `report.html` into the folder `out`; returns the report.

    Args:
        out: an existing folder.
        train, test: frames with predictions; `test` may be empty.
        mapping: errors of the map, as in `report.json`.
        fit: time, memory, likelihood, terms, as in `report.json`.
        settings: the expanded settings.
        curves: pair energies by pair of species: r (Å) and V (eV); none without a map.
        errors_of: whose predictions they are: "mapped potential", or "process", which has no map.
        size, smaller: see `build_report`.
        fit_id: identity of the fit (`fit_folder`).
        found_warnings: sentences of `label_misfit.misfit_warnings`.
    """
    out = Path(out)
    report = build_report(
        train, test, mapping, fit, settings, size, smaller, errors_of, fit_id, found_warnings
    )
    # An isolated atom lies eV away from all else: with it, nothing else could be seen.
    shown = [[pair for pair in pairs if len(pair[0].numbers) > 1] for pairs in (train, test)]
    figures = parity_figures(compare(shown[0]), compare(shown[1]))
    text = page(
        report,
        species=sorted({int(z) for frame, _ in train for z in frame.numbers}),
        force_scale=_force_scale(test or train),
        parity=figures,
        curves=curve_figures(curves),
        sizes=size_figures(report.get("sizes", [])),
        worst={"train": worst_frames(train), "test": worst_frames(test)},
    )
    write_whole(out / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_whole(out / "report.html", text)
    return report


def _force_scale(pairs: Pairs) -> float | None:
    """Root mean square of the reference force components, eV/Å."""
    forces = compare(pairs).forces[:, 0]
    return float(np.sqrt(np.mean(forces**2))) if len(forces) else None
