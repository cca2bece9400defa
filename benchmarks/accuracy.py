"""Errors on published test sets, of the mapped potential that ``forcemap fit`` writes.

Every set is fitted by a process of its own, so that its time and peak memory are its own. Nothing is
tuned to a set: all settings that have no option here are forcemap's defaults.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.io import read, write
from forcemap.potentials.runs.programs import forcemap_command
from text_table import text_table

SEED = 0
NI19_TRAIN = 200
"""Of 792 frames; the others are the test."""

Split = tuple[Path, Path]


def official(folder: Path, scratch: Path) -> Split:
    """The published split."""
    return folder / "train.xyz", folder / "test.xyz"


def sampled(folder: Path, scratch: Path) -> Split:
    """A seeded sample for training, the rest for testing: Ni19 has no published split."""
    frames = read(folder / "bip300.xyz", ":")
    order = np.random.default_rng(SEED).permutation(len(frames))
    parts = {"train.xyz": order[:NI19_TRAIN], "test.xyz": order[NI19_TRAIN:]}
    for name, chosen in parts.items():
        write(scratch / name, [frames[n] for n in sorted(chosen)])
    return scratch / "train.xyz", scratch / "test.xyz"


@dataclass(frozen=True)
class DataSet:
    """A set of frames in the data folder.

    Attributes:
        split: paths of training and test frames, given the set's folder and one to write into.
        published: RMSE energy (meV/atom) / force (eV/Å), MAE in brackets, as the folder's README.md
            tells them.
    """

    split: Callable[[Path, Path], Split]
    published: Mapping[str, str]


SETS = {
    "mlearn_Ni": DataSet(
        official,
        {
            "SNAP": "1.17/.085 (.78/.038)",
            "qSNAP": "1.04/.075 (.78/.031)",
            "MTP": ".75/.027 (.48/.014)",
            "GAP": "(.42/.02)",
            "linear ACE": "(.42/.018)",
        },
    ),
    "mlearn_Mo": DataSet(
        official,
        {
            "SNAP": "9.25/.376 (5.48/.207)",
            "qSNAP": "4.04/.333 (2.77/.184)",
            "MTP": "3.98/.151 (2.94/.090)",
            "GAP": "(2.24/.09)",
            "linear ACE": "(2.60/.128)",
        },
    ),
    "mlearn_Si": DataSet(
        official,
        {
            "SNAP": "8.06/.205 (6.44/.133)",
            "qSNAP": "5.51/.177 (3.81/.116)",
            "MTP": "3.03/.088 (2.31/.056)",
            "GAP": "(2.91/.07)",
            "linear ACE": "(3.50/.086)",
        },
    ),
    "Ni19_cluster": DataSet(sampled, {"2-body GP": "-/.147-.178", "n-body chapter": "-/.15"}),
}


def settings(name: str, train: Path, test: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The settings of a fit: paths, terms, and whatever the command line gives."""
    data = {"train": str(train.resolve()), "test": str(test.resolve())}
    if options.settings is not None:
        # A file for one set, or a folder with a file for each.
        file = options.settings / f"{name}.yaml" if options.settings.is_dir() else options.settings
        return yaml.safe_load(file.read_text(encoding="utf-8")) | {"data": data}
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


def fit(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fit a set by ``forcemap fit``; returns its report. Exits with the fit's message if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train, test = SETS[name].split(options.data / name, folder)
        file = folder / "settings.yaml"
        file.write_text(yaml.safe_dump(settings(name, train, test, options)), encoding="utf-8")
        arguments = ["fit", str(file), "-o", str(folder / "out"), "--jobs", str(options.jobs)]
        done = subprocess.run(
            forcemap_command(*arguments, "--quiet"), capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{name}: {done.stderr.strip()}")
        if done.stderr.strip():
            print(f"{name}: {done.stderr.strip()}", file=sys.stderr)
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "out" / "potential.forcemap", options.keep / f"{name}.forcemap")
        report: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text("utf-8"))
        return report


def row(name: str, report: Mapping[str, Any]) -> list[str]:
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
        f"{fitted['fit_seconds']:.1f}",
        f"{fitted['map_seconds']:.1f}",
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
    "fit s",
    "map s",
    "peak MB",
]


def groups(name: str, report: Mapping[str, Any]) -> list[list[str]]:
    """Test errors by config_type."""

    def shown(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

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
        default=Path(__file__).resolve().parents[2] / "shared" / "data",
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
        help="settings file without `data`, or a folder with one for each set (settings/); the "
        "options about terms then have no effect  [default: 2-body and 3-body terms]",
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
    if options.sets is None:
        options.sets = [name for name in SETS if (options.data / name).is_dir()]
    if not options.sets:
        parser.error(f"{options.data} holds none of {', '.join(SETS)}; give --data")
    for name in options.sets:
        if not (options.data / name).is_dir():
            parser.error(f"{options.data / name}: no such folder")
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
    reports = {}
    for name in options.sets:
        print(f"fitting {name} ...", file=sys.stderr, flush=True)
        reports[name] = fit(name, options)
    print(
        f"{options.settings or _title(options)}, {options.jobs} thread(s); energies meV/atom, "
        "forces eV/Å;\n"
        "map F max: largest force error of the map against the process; points: all sparse points; "
        "µs/atom: an evaluation, one thread\n"
    )
    print(text_table(HEAD, [row(name, report) for name, report in reports.items()]))
    if options.groups:
        lines = [line for name, report in reports.items() for line in groups(name, report)]
        print("\n" + text_table(["test group", "frames", "E RMSE", "F RMSE", "stress GPa"], lines))
    print("\nPublished for these sets, RMSE energy/force (MAE in brackets):")
    for name in options.sets:
        listed = ", ".join(f"{who} {what}" for who, what in SETS[name].published.items())
        print(f"  {name}: {listed}")


if __name__ == "__main__":
    main()
