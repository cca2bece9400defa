"""Tables of the page of benchmarks, from the numbers that ``benchmarks/publish.py`` keeps."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["accuracy_table", "other_tables", "runs"]

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

COLUMNS = (
    ("force_rmse_ev_per_a", "force", "{:.3f}"),
    ("energy_rmse_mev_per_atom", "energy", "{:.2f}"),
    ("run_us_per_atom_step", "run", "{:.3g}"),
    ("fit_s", "fit", "{:.3g}"),
    ("memory_mb", "memory", "{:.0f}"),
)
"""Names in the peers' table and in ours, and formats."""

TITLES = {
    "md_speed": "Speed in molecular dynamics",
    "uncertainty_speed": "What grades and deviations cost",
    "fit_scaling": "Time and memory of a fit",
    "ipi_cost": "Path integrals: the driver beside i-PI's own work",
}
"""Headings of what programs print."""


def _kept(name: str) -> dict[str, Any]:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _cells(values: Iterable[tuple[Any, str]]) -> list[str]:
    return ["–" if value in (None, "") else form.format(float(value)) for value, form in values]


def accuracy_table() -> str:
    """Our points and the peers', by force error."""
    rows = []
    for name, entry in _kept("accuracy_cost.json").items():
        cells = _cells((entry[ours], form) for _, ours, form in COLUMNS)
        rows.append((entry["force"], [f"**forcemap**, {name}", *cells, "measured", "–"]))
    with (RESULTS / "peers.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            cells = _cells((line[theirs], form) for theirs, _, form in COLUMNS)
            name = line["potential"].replace(" (session B)", "")
            about = [line["provenance"], line["session"]]
            rows.append((float(line["force_rmse_ev_per_a"]), [name, *cells, *about]))
    head = [
        *("potential", "force RMSE, eV/Å", "energy RMSE, meV/atom", "run, µs/atom/step"),
        *("fit, s", "peak, MB", "how known", "session"),
    ]
    lines = [head, ["---", *["---:"] * 5, "---", "---"]]
    lines += [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _circumstances(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry['date']}, {entry['machine']} (load {entry['load']}), forcemap {entry['version']} "
        f"at commit {entry['commit']}"
    )


def runs() -> str:
    """When, where and by which command each of our points was made."""
    return "\n".join(
        f"- {name}: {_circumstances(entry)}: `{entry['command']}`"
        for name, entry in _kept("accuracy_cost.json").items()
    )


def other_tables() -> str:
    """What the other programs printed, with the circumstances."""
    kept = _kept("runs.json")
    parts = []
    for name, title in TITLES.items():
        parts += [f"## {title}", ""]
        if name not in kept:
            parts += [
                f"No numbers are kept yet: `python benchmarks/publish.py {name}` makes them.",
                "",
            ]
            continue
        entry = kept[name]
        parts += [f"{_circumstances(entry)}:", "", "```text", f"$ {entry['command']}"]
        parts += [entry["output"], "```", ""]
    return "\n".join(parts)
