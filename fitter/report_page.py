"""The HTML of a fit's report: one file with its figures inside, readable on a phone."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from forcemap.potentials.elements import SYMBOLS

__all__ = ["page", "verdict"]

COLUMNS = (
    ("n_frames", "frames", "{:d}"),
    ("n_atoms", "atoms", "{:d}"),
    ("energy_rmse_mev_per_atom", "energy RMSE<br><small>meV/atom</small>", "{:.2f}"),
    ("energy_mae_mev_per_atom", "energy MAE<br><small>meV/atom</small>", "{:.2f}"),
    ("force_rmse_ev_per_a", "force RMSE<br><small>eV/Å</small>", "{:.4f}"),
    ("force_mae_ev_per_a", "force MAE<br><small>eV/Å</small>", "{:.4f}"),
    ("stress_rmse_gpa", "stress RMSE<br><small>GPa</small>", "{:.3f}"),
)

FIT_ROWS = (
    ("seconds", "whole fit", "{:.1f} s"),
    ("fit_seconds", "reading and fitting", "{:.1f} s"),
    ("map_seconds", "mapping", "{:.1f} s"),
    ("peak_memory_mb", "largest memory", "{:.0f} MB"),
    ("run_microseconds_per_atom", "evaluation, one thread", "{:.2f} µs per atom"),
    ("n_frames", "training frames", "{:d}"),
    ("n_atoms", "training atoms", "{:d}"),
    ("n_sparse", "sparse points", "{:d}"),
    ("log_marginal_likelihood", "log marginal likelihood", "{:.1f}"),
    ("noise_factor", "factor on all sigmas, by evidence", "{:.3g}"),
    ("sigma_energy", "sigma of energies", "{:.2g} eV per atom"),
    ("sigma_force", "of forces", "{:.2g} eV/Å"),
    ("sigma_stress", "of stresses", "{:.2g} eV/Å³"),
)

MAPPING_ROWS = (
    ("force_max_error_ev_per_a", "largest force error", "{:.2e} eV/Å"),
    ("force_rmse_error_ev_per_a", "force RMSE", "{:.2e} eV/Å"),
    ("energy_max_error_ev_per_atom", "largest energy error", "{:.2e} eV/atom"),
    (
        "random_clusters_force_max_error_ev_per_a",
        "largest force error on random clusters",
        "{:.2e} eV/Å",
    ),
    ("tolerance_ev_per_a", "asked for", "{:.0e} eV/Å"),
)

TERM_COLUMNS = (
    *("kind", "cutoff", "cutoff_width", "lengthscale", "atom_sigma", "n_max", "l_max", "zeta"),
    *("exponent", "decay", "kernel", "power", "distance_lengthscale", "n_features"),
    *("delta", "n_sparse"),
)

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 66rem; color: #26303a; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.sub { color: #5a6570; margin: .1rem 0 1.2rem; }
.verdict { background: #f2f6f9; border-left: 4px solid #00798c; padding: .8rem 1rem;
  margin: 0 0 1.2rem; border-radius: 0 6px 6px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; }
.card { border: 1px solid #dde3e9; border-radius: 8px; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.45rem; line-height: 1.25; }
.card span { color: #5a6570; font-size: .85rem; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #e8ecf0;
  white-space: nowrap; }
th { font-weight: 600; color: #3c4650; vertical-align: bottom; line-height: 1.2; }
th small { font-weight: 400; color: #7b8691; }
th:first-child, td:first-child { text-align: left; }
tr.all td { font-weight: 600; background: #f7f9fb; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
  gap: 1rem; }
.figures img { width: 100%; height: auto; }
.warning { border-color: #b3541e; }
.wide img { width: 100%; max-width: 42rem; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr));
  gap: 0 2rem; }
pre { background: #f7f9fb; padding: .8rem 1rem; border-radius: 6px; overflow-x: auto;
  font-size: .85rem; line-height: 1.4; }
summary { cursor: pointer; font-weight: 600; margin-top: 2rem; }
@media print { details > * { display: block; } .cards, .figures, table { break-inside: avoid; } }
"""


def _shown(value: Any, form: str) -> str:
    """`value` in the format `form`; a dash for None."""
    if value is None:
        return "–"
    return form.format(int(value) if form.startswith("{:d") else value)


def verdict(report: Mapping[str, Any], force_scale: float | None) -> str:
    """One paragraph on how good the potential is, written from the numbers.

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
    found = ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
    if not found:
        return f"The {judged['n_frames']} {name} frames have no labels to compare with."
    return f"On {judged['n_frames']} {name} frames the {subject} gives {found}."


def _generalisation(train: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """What the ratio of test to training errors of forces (or energies) says."""
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
    """Name the group whose force error stands out, if one does."""
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


def _cards(report: Mapping[str, Any]) -> str:
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
    return "".join(
        f'<div class="card"><b>{_shown(value, form)}</b><span>{label}</span></div>'
        for value, form, label in cards
        if value is not None
    )


def _error_table(title: str, block: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{label}</th>" for _, label, _ in COLUMNS)

    def row(name: str, numbers: Mapping[str, Any], kind: str = "") -> str:
        cells = "".join(f"<td>{_shown(numbers[key], form)}</td>" for key, _, form in COLUMNS)
        return f"<tr{kind}><td>{html.escape(name)}</td>{cells}</tr>"

    groups = block["by_config_type"]
    rows = [row(name, numbers) for name, numbers in groups.items()] if len(groups) > 1 else []
    rows.append(row("all", block, ' class="all"'))
    return (
        f'<div class="scroll"><table><caption>{title}</caption>'
        f"<thead><tr><th>config_type</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        "</table></div>"
    )


def _worst_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    body = "".join(
        f"<tr><td>{html.escape(row['source'])}</td><td>{row['index']}</td>"
        f"<td>{html.escape(row['config_type'])}</td>"
        f"<td>{_shown(row['force_ev_per_a'], '{:.3f}')}</td>"
        f"<td>{_shown(row['energy_mev_per_atom'], '{:+.2f}')}</td></tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{title}</caption><thead><tr><th>file</th>'
        "<th>frame<br><small>from 0</small></th><th>config_type</th>"
        "<th>largest force error<br><small>eV/Å</small></th>"
        "<th>energy error<br><small>meV/atom</small></th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _rows_table(title: str, rows: Sequence[tuple[str, str, str]], values: Mapping[str, Any]) -> str:
    body = "".join(
        f"<tr><td>{label}</td><td>{_shown(values[key], form)}</td></tr>"
        for key, label, form in rows
        if values.get(key) is not None
    )
    return (
        f'<div class="scroll"><table><caption>{title}</caption><tbody>{body}</tbody></table></div>'
    )


def _terms_table(terms: Sequence[Mapping[str, Any]]) -> str:
    if not terms:
        return ""
    used = [name for name in TERM_COLUMNS if any(term.get(name) is not None for term in terms)]
    head = "".join(f"<th>{name}</th>" for name in used)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(term.get(name))}</td>" for name in used) + "</tr>"
        for term in terms
    )
    return (
        '<div class="scroll"><table><caption>Terms as fitted (Å, eV)</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


SIZE_COLUMNS = (
    ("energy_rmse_mev_per_atom", "energy RMSE<br><small>meV/atom</small>", "{:.2f}"),
    ("force_rmse_ev_per_a", "force RMSE<br><small>eV/Å</small>", "{:.4f}"),
    ("run_microseconds_per_atom", "evaluation<br><small>µs per atom</small>", "{:.2f}"),
    ("seconds", "whole fit<br><small>s</small>", "{:.1f}"),
    ("n_sparse", "sparse points", "{:d}"),
)


def _sizes_part(points: Sequence[Mapping[str, Any]], figures: Mapping[str, str]) -> str:
    """Accuracy and cost of all sizes; nothing where only one was fitted without a name."""
    if not points:
        return ""
    head = "".join(f"<th>{label}</th>" for _, label, _ in SIZE_COLUMNS)
    body = "".join(
        f"<tr><td>{html.escape(point['name'])}</td>"
        + "".join(f"<td>{_shown(point[key], form)}</td>" for key, _, form in SIZE_COLUMNS)
        + "</tr>"
        for point in points
    )
    return (
        "<h2>Accuracy and cost of the sizes</h2>"
        f'<div class="scroll"><table><thead><tr><th>size</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<div class="figures">{_images(figures)}</div>'
    )


def _warnings(report: Mapping[str, Any]) -> str:
    return "".join(
        f'<p class="verdict warning">Warning: {html.escape(text)}</p>\n'
        for text in report.get("warnings", [])
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else html.escape(str(value))


def _images(figures: Mapping[str, str]) -> str:
    parts = []
    for title, svg in figures.items():
        data = base64.b64encode(svg.encode()).decode()
        alt = html.escape(title, quote=True)
        parts.append(f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">')
    return "".join(parts)


def _whose_errors(report: Mapping[str, Any]) -> str:
    if report["errors_of"] == "process":
        return "all errors are those of the process; it has no map and cannot be run in MD"
    return "all errors are those of the mapped potential"


def _mapped_sections(report: Mapping[str, Any], curves: Mapping[str, str]) -> str:
    """Pair energies, and fit and map; of a process that has no map, the fit alone."""
    sigmas = {f"sigma_{label}": value for label, value in report["fit"].get("sigma", {}).items()}
    fit = _rows_table("Fit", FIT_ROWS, report["fit"] | sigmas)
    if report["errors_of"] == "process":
        return f"<h2>Fit</h2>\n{fit}"
    return f"""<h2>Pair energies</h2>
<p class="sub">What two lone atoms feel: 2-body terms and the short-range core, as mapped.</p>
<div class="wide">{_images(curves)}</div>
<h2>Fit and map</h2>
<div class="pair">
{fit}
{_rows_table("Errors of the map against the process", MAPPING_ROWS, report["mapping"])}
</div>"""


def page(
    report: Mapping[str, Any],
    *,
    species: Sequence[int],
    force_scale: float | None,
    parity: Mapping[str, str],
    curves: Mapping[str, str],
    sizes: Mapping[str, str],
    worst: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The whole page.

    Args:
        report: the content of `report.json`.
        species: atomic numbers in the training frames.
        force_scale: see `verdict`.
        parity, curves, sizes: SVG by title.
        worst: rows of `report.worst_frames` of "train" and "test".
    """
    symbols = ", ".join(SYMBOLS[z] for z in species)
    train, test, fit = report["train"], report["test"], report["fit"]
    has_test = test["n_frames"] > 0
    settings = yaml.safe_dump(dict(report["settings"]), sort_keys=False, allow_unicode=True)
    tables = [_error_table("Test frames", test)] if has_test else []
    tables.append(_error_table("Training frames", train))
    outliers = [_worst_table("Test", worst["test"])] if has_test else []
    outliers.append(_worst_table("Training", worst["train"]))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="fit" content="{html.escape(report.get("fit_id", ""), quote=True)}">
<title>forcemap: {symbols}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>A potential for {symbols}</h1>
<p class="sub">forcemap {html.escape(report["forcemap_version"])} · {train["n_frames"]} training and
{test["n_frames"]} test frames · {_whose_errors(report)}</p>
<p class="verdict">{html.escape(verdict(report, force_scale))}</p>
{_warnings(report)}<div class="cards">{_cards(report)}</div>
{_sizes_part(report.get("sizes") or [], sizes)}
<h2>Errors by group</h2>
{"".join(tables)}
<h2>Reference and prediction</h2>
<div class="figures">{_images(parity)}</div>
<h2>Frames that fit worst</h2>
<p class="sub">Worth a look: a frame far off is often a faulty calculation, or one of its kind.</p>
{"".join(outliers)}
{_mapped_sections(report, curves)}
{_terms_table(fit.get("terms") or [])}
<details><summary>Settings, expanded</summary><pre>{html.escape(settings)}</pre></details>
</body>
</html>
"""
