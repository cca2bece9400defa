"""Errors on published test sets, of the mapped potential that ``forcemap fit`` writes.

Every set is fitted by a process of its own, whose time and peak memory are measured. Nothing is tuned
to a set: all settings without an option here are forcemap's defaults.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fits import Cost, fit_by_command
from published_sets import DATA, SETS
from text_table import shown, text_table


def settings_file(name: str, given: Path) -> Path:
    """The settings of a set: a file for all sets, or the set's in a folder with one for each."""
    return given / f"{name}.yaml" if given.is_dir() else given


def missing(name: str, options: argparse.Namespace) -> Path | None:
    """Missing files that the fit of a set needs."""
    data: Path = options.data / name
    if not data.is_dir():
        return data
    if options.settings is None:
        return None
    file = settings_file(name, options.settings)
    return None if file.is_file() else file


def settings(name: str, train: Path, test: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The settings of a fit: paths, terms, and the options of the command line."""
    data = {"train": str(train.resolve()), "test": str(test.resolve())}
    if options.settings is not None:
        file = settings_file(name, options.settings)
        given: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        return given | {"data": data}
    two_body = {"kind": "two_body", "cutoff": options.cutoff2}
    three_body = {"kind": "three_body", "cutoff": options.cutoff3}
    if options.n_sparse is not None:
        three_body["n_sparse"] = options.n_sparse
    if options.lengthscale is not None:
        three_body["lengthscale"] = options.lengthscale
    found: dict[str, Any] = {
        "data": data,
        "terms": [two_body],
    }
    if options.cutoff3 > 0:
        found["terms"].append(three_body)
    for exponent in options.embedding:
        embedding = {"kind": "embedding", "cutoff": options.cutoff2, "exponent": exponent}
        found["terms"].append(embedding)
    if options.tolerance is not None:
        found["map"] = {"tolerance": options.tolerance}
    return found


def fit(name: str, options: argparse.Namespace) -> tuple[dict[str, Any], Cost]:
    """Fit a set by ``forcemap fit``; report and cost. Exits with the fit's message if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train, test = SETS[name].split(options.data / name, folder)
        found = fit_by_command(name, settings(name, train, test, options), folder, options.jobs)
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(found.folder / "potential.forcemap", options.keep / f"{name}.forcemap")
        return found.report, found.cost


def row(name: str, report: Mapping[str, Any], cost: Cost) -> list[str]:
    """A line of the table of results."""
    test, fitted = report["test"], report["fit"]
    return [
        name,
        f"{report['train']['n_frames']}/{test['n_frames']}",
        f"{report['train']['energy_rmse_mev_per_atom']:.2f}",
        f"{report['train']['force_rmse_ev_per_a']:.3f}",
        f"{test['energy_rmse_mev_per_atom']:.2f}",
        f"{test['energy_mae_mev_per_atom']:.2f}",
        f"{test['force_rmse_ev_per_a']:.4f}",
        f"{test['force_mae_ev_per_a']:.4f}",
        f"{report['mapping']['force_max_error_ev_per_a']:.1e}",
        str(fitted["n_sparse"]),
        f"{fitted['run_microseconds_per_atom']:.2f}",
        f"{cost.processor:.1f}",
        f"{cost.wall:.1f}",
        f"{fitted['peak_memory_mb']:.0f}",
    ]


HEAD = [
    "set",
    "train/test",
    "train E",
    "train F",
    "E RMSE",
    "E MAE",
    "F RMSE",
    "F MAE",
    "map F max",
    "points",
    "µs/atom",
    "cpu s",
    "wall s",
    "peak MB",
]


def groups(name: str, report: Mapping[str, Any]) -> list[list[str]]:
    """Test errors by config_type."""
    return [
        [
            f"{name} {group}",
            str(block["n_frames"]),
            shown(block["energy_rmse_mev_per_atom"], 2),
            shown(block["force_rmse_ev_per_a"], 4),
            shown(block["stress_rmse_gpa"], 2),
        ]
        for group, block in report["test"]["by_config_type"].items()
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="folder of the published sets  [default: ../shared/data beside the repository]",
    )
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        choices=sorted(SETS),
        help="a set to fit, repeatable  [default: all that the data folder holds]",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        help="settings file without `data`, or a folder with one for each set it is to fit "
        "(settings/); the options about terms then have no effect  [default: 2-body and 3-body terms]",
    )
    parser.add_argument("--cutoff2", type=float, default=5.5, help="2-body, Å  [default: 5.5]")
    parser.add_argument(
        "--cutoff3", type=float, default=4.25, help="3-body, Å; 0 for none  [default: 4.25]"
    )
    parser.add_argument(
        "--embedding",
        type=float,
        action="append",
        default=[],
        metavar="EXPONENT",
        help="an embedding term with this exponent and the 2-body cutoff, repeatable  [default: none]",
    )
    parser.add_argument("--keep", type=Path, help="folder for each set's potential")
    parser.add_argument("--n-sparse", type=int, help="3-body sparse points  [default: the fit's]")
    parser.add_argument("--lengthscale", type=float, help="3-body, Å  [default: the fit's]")
    parser.add_argument("--tolerance", type=float, help="of the map, eV/Å  [default: the fit's]")
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    parser.add_argument("--groups", action="store_true", help="print errors by config_type too")
    options = parser.parse_args(arguments)
    if options.settings is not None and not options.settings.exists():
        parser.error(f"{options.settings}: no such file or folder")
    if options.sets is None:
        options.sets = [name for name in SETS if missing(name, options) is None]
    if not options.sets:
        parser.error(f"{options.data} holds none of {', '.join(SETS)}; give --data")
    for name in options.sets:
        if path := missing(name, options):
            parser.error(f"{path}: no such file or folder")
    return options


def _title(options: argparse.Namespace) -> str:
    """The terms of the fits."""
    terms = [f"2-body {options.cutoff2:g} Å"]
    if options.cutoff3 > 0:
        terms.append(f"3-body {options.cutoff3:g} Å")
    terms += [f"embedding with exponent {exponent:g}" for exponent in options.embedding]
    return " + ".join(terms)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the sets and print the tables."""
    options = parsed(arguments)
    fits = {name: fit(name, options) for name in options.sets}
    reports = {name: report for name, (report, _) in fits.items()}
    print(
        f"{options.settings or _title(options)}, {options.jobs} thread(s); energies meV/atom, "
        "forces eV/Å;\n"
        "map F max: largest force error of the map against the process; points: all sparse points; "
        "µs/atom: an evaluation, one thread; cpu s: of the processor, for the whole program\n"
    )
    print(text_table(HEAD, [row(name, *found) for name, found in fits.items()]))
    if options.groups:
        lines = [line for name, report in reports.items() for line in groups(name, report)]
        print("\n" + text_table(["test group", "frames", "E RMSE", "F RMSE", "stress GPa"], lines))
    print("\nPublished for these sets, RMSE energy/force (MAE in brackets):")
    for name in options.sets:
        listed = ", ".join(f"{who} {what}" for who, what in SETS[name].published.items())
        print(f"  {name}: {listed}")


if __name__ == "__main__":
    main()
