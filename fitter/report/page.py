"""The HTML of a fit's report: one file with its figures inside, readable on a phone.

The page itself is ``page.html.j2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import yaml
from forcemap.fitter.report.calibration import CALIBRATION
from forcemap.fitter.report.metrics import COUNTS, METRICS, SIZES, Column
from forcemap.fitter.report.optimised import changes, heading
from forcemap.fitter.report.template import template
from forcemap.potentials.elements import SYMBOLS

__all__ = ["Figures", "page", "verdict"]

FIT = {
    "seconds": Column("whole fit", "s", "{:.1f}"),
    "fit_seconds": Column("reading and fitting", "s", "{:.1f}"),
    "map_seconds": Column("mapping", "s", "{:.1f}"),
    "peak_memory_mb": Column("largest memory", "MB", "{:.0f}"),
    "run_microseconds_per_atom": Column("evaluation, one thread", "µs per atom", "{:.2f}"),
    "grade_steps": Column("grades of all atoms, beside it", "steps", "{:.2f}"),
    "deviation_microseconds_per_atom": Column("deviations by all draws", "µs per atom", "{:.2f}"),
    "deviation_steps": Column("the same", "steps", "{:.1f}"),
    "n_frames": Column("training frames", "", "{:d}"),
    "n_atoms": Column("training atoms", "", "{:d}"),
    "n_sparse": Column("sparse points", "", "{:d}"),
    "log_marginal_likelihood": Column("log marginal likelihood", "", "{:.1f}"),
    "noise_factor": Column("factor on all sigmas, by evidence", "", "{:.3g}"),
    "sigma_energy": Column("sigma of energies", "eV per atom", "{:.2g}"),
    "sigma_force": Column("of forces", "eV/Å", "{:.2g}"),
    "sigma_stress": Column("of stresses", "eV/Å³", "{:.2g}"),
}

MAPPING = {
    "force_max_error_ev_per_a": Column("largest force error", "eV/Å", "{:.2e}"),
    "force_rmse_error_ev_per_a": Column("force RMSE", "eV/Å", "{:.2e}"),
    "energy_max_error_ev_per_atom": Column("largest energy error", "eV/atom", "{:.2e}"),
    "random_clusters_force_max_error_ev_per_a": Column(
        "largest force error on random clusters", "eV/Å", "{:.2e}"
    ),
    "single_precision_force_error_ev_per_a": Column(
        "of that by single precision", "eV/Å", "{:.2e}"
    ),
    "tolerance_ev_per_a": Column("asked for", "eV/Å", "{:.0e}"),
}


@dataclass(frozen=True)
class Figures:
    """Figures of the page as SVG by title: parity plots, pair energies, sizes, deviations."""

    parity: Mapping[str, str]
    curves: Mapping[str, str]
    sizes: Mapping[str, str]
    honesty: Mapping[str, str] = field(default_factory=dict)


def _shown(value: Any, form: str) -> str:
    return Column("", "", form).shown(value)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None or isinstance(value, jinja2.Undefined) else str(value)


def verdict(report: Mapping[str, Any], force_scale: float | None) -> str:
    """A paragraph on the quality of the potential, composed from the numbers.

    `force_scale` is the root mean square of the judged frames' reference forces, eV/Å.
    """
    train, test = report["train"], report["test"]
    judged, name = (test, "test") if test["n_frames"] else (train, "training")
    subject = "process" if report.get("errors_of") == "process" else "potential"
    sentences = [_accuracy(judged, name, force_scale, subject)]
    if not test["n_frames"]:
        sentences.append(
            "No test frames were given: errors on the frames that were fitted flatter a potential."
        )
    else:
        sentences.append(_generalisation(train, test))
    sentences.append(_weakest(judged))
    mapped = report["mapping"].get("force_max_error_ev_per_a")
    if mapped is not None:
        text = f"The map keeps to the Gaussian process within {mapped:.1e} eV/Å"
        own = judged["force_rmse_ev_per_a"]
        if own and mapped < 0.1 * own:
            text += ", far below these errors"
        elif own:
            text += ", which is not small beside these errors: lower map: tolerance:"
        sentences.append(text + ".")
    return " ".join(sentence for sentence in sentences if sentence)


def _accuracy(judged: Mapping[str, Any], name: str, force_scale: float | None, subject: str) -> str:
    parts = []
    if judged["energy_rmse_mev_per_atom"] is not None:
        parts.append(f"energies with an RMSE of {judged['energy_rmse_mev_per_atom']:.2f} meV/atom")
    force = judged["force_rmse_ev_per_a"]
    if force is not None:
        text = f"forces with {force:.3f} eV/Å"
        if force_scale:
            text += (
                f" ({100 * force / force_scale:.0f} % of their own size, {force_scale:.2f} eV/Å)"
            )
        parts.append(text)
    if judged["stress_rmse_gpa"] is not None:
        parts.append(f"stresses with {judged['stress_rmse_gpa']:.2f} GPa")
    errors = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
    if not errors:
        return f"The {judged['n_frames']} {name} frames have no labels to compare with."
    return f"On {judged['n_frames']} {name} frames the {subject} gives {errors}."


def _generalisation(train: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """A sentence on the ratio of test to training errors of forces (or energies)."""
    for key in ("force_rmse_ev_per_a", "energy_rmse_mev_per_atom"):
        if train[key] and test[key] is not None:
            ratio = test[key] / train[key]
            if ratio < 1.5:
                return "Test and training errors are alike: the fit carries over to new frames."
            advice = (
                "the test frames differ from what was fitted, or the fit follows its data too "
                "closely: see the tables by group"
            )
            return f"Test errors are {ratio:.1f} times the training errors: {advice}."
    return ""


def _weakest(judged: Mapping[str, Any]) -> str:
    """A sentence on the group with an outstanding force error, or an empty string."""
    overall = judged["force_rmse_ev_per_a"]
    groups = {
        name: block["force_rmse_ev_per_a"]
        for name, block in judged["by_config_type"].items()
        if block["force_rmse_ev_per_a"] is not None
    }
    if len(groups) < 2 or not overall:
        return ""
    name = max(groups, key=lambda group: float(groups[group]))
    if groups[name] < 1.3 * overall:
        return ""
    return f"The weakest group is {name} with {groups[name]:.3f} eV/Å."


def _cards(report: Mapping[str, Any]) -> list[tuple[Any, str, str]]:
    """Value, format and label of the most important numbers."""
    test = report["test"]
    judged, name = (test, "test") if test["n_frames"] else (report["train"], "training")
    cards = [
        (judged["energy_rmse_mev_per_atom"], "{:.2f}", f"{name} energy RMSE, meV/atom"),
        (judged["force_rmse_ev_per_a"], "{:.3f}", f"{name} force RMSE, eV/Å"),
        (judged["stress_rmse_gpa"], "{:.2f}", f"{name} stress RMSE, GPa"),
        (
            report["mapping"].get("force_max_error_ev_per_a"),
            "{:.1e}",
            "largest force error of the map, eV/Å",
        ),
        (report["fit"].get("seconds"), "{:.1f} s", "whole fit"),
    ]
    return [card for card in cards if card[0] is not None]


def _term_columns(terms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of the table of terms: their settings in order, without empty columns."""
    first, last = ("kind", "cutoff"), ("delta", "n_sparse")
    names = dict.fromkeys(name for term in terms for name in term if name not in (*first, *last))
    wanted = [*first, *names, *last]
    return [name for name in wanted if any(term.get(name) is not None for term in terms)]


def page(
    report: Mapping[str, Any],
    *,
    species: Sequence[int],
    force_scale: float | None,
    figures: Figures,
    worst: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The whole page.

    Args:
        report: the content of `report.json`.
        species: atomic numbers in the training frames.
        force_scale: root mean square of the judged frames' reference forces, eV/Å; None without forces.
        figures: figures of the page.
        worst: rows of `report.worst_frames` under "train" and "test".
    """
    fit = report["fit"]
    sigmas = {f"sigma_{label}": value for label, value in fit.get("sigma", {}).items()}
    terms = fit.get("terms") or []
    return template(
        "forcemap.fitter.report.report", "page.html.j2", shown=_shown, cell=_cell
    ).render(
        report={"warnings": [], "sizes": [], "fit_id": "", **report},
        symbols=", ".join(SYMBOLS[z] for z in species),
        verdict=verdict(report, force_scale),
        is_process=report["errors_of"] == "process",
        cards=_cards(report),
        errors={**COUNTS, **METRICS},
        sizes=SIZES,
        honesty=CALIBRATION,
        figures=figures,
        worst=worst,
        fit=fit | sigmas,
        fit_columns=FIT,
        mapping_columns=MAPPING,
        terms=terms,
        optimised=report.get("optimised"),
        changes=changes,
        heading_of_changes=heading(report["optimised"]) if report.get("optimised") else "",
        term_columns=_term_columns(terms),
        settings=yaml.safe_dump(dict(report["settings"]), sort_keys=False, allow_unicode=True),
    )
