"""Orders of many-body kernels compared on one set of data, as in the n-body chapter.

The 3-body kernel of environments to the powers 1, 2, 3 (functions of up to 3, 5, 7 atoms), sums of
these powers, and the squared exponential on its distance, each beside the same 2-body term; and the
three_body term, whose sum over triplets power 1 approximates. Errors are those of the process: the
many-body terms have no map. Which order serves best depends on the number of training frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fits import SILICON
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.truth import truth_in_thread
from forcemap.fitter.report.metrics import error_block
from forcemap.fitter.sharing.threads import in_order
from published_sets import SETS
from text_table import shown, text_table

HEAD = ["terms", "points", "train E", "train F", "E RMSE", "E MAE", "F RMSE", "F MAE", "cpu s"]
ERRORS = (
    ("train", "energy_rmse_mev_per_atom", 2),
    ("train", "force_rmse_ev_per_a", 4),
    ("test", "energy_rmse_mev_per_atom", 2),
    ("test", "energy_mae_mev_per_atom", 2),
    ("test", "force_rmse_ev_per_a", 4),
    ("test", "force_mae_ev_per_a", 4),
)


def cases(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Terms beside the 2-body term, by name."""
    triplets: dict[str, Any] = {"cutoff": options.cutoff}
    if options.lengthscale is not None:
        triplets["lengthscale"] = options.lengthscale
    many = {**triplets, "kind": "nbody", "n_features": options.n_features}
    if options.n_sparse is not None:
        many["n_sparse"] = options.n_sparse
    powers = [{**many, "power": power} for power in (1, 2, 3)]
    exponential = {**many, "kernel": "squared_exponential"}
    if options.distance_lengthscale is not None:
        exponential["distance_lengthscale"] = options.distance_lengthscale
    return {
        "2-body": [],
        "+ three_body": [{**triplets, "kind": "three_body"}],
        "+ power 1 (3 atoms)": powers[:1],
        "+ power 2 (5 atoms)": powers[1:2],
        "+ power 3 (7 atoms)": powers[2:],
        "+ powers 1, 2": powers[:2],
        "+ powers 1, 2, 3": powers,
        "+ squared exponential": [exponential],
    }


def errors(model: Any, frames: Sequence[Frame], jobs: int) -> dict[str, Any]:
    """Errors of the process on `frames`."""
    found = in_order(truth_in_thread(model), frames, jobs)
    return error_block(list(zip(frames, found, strict=True)))


def row(
    name: str,
    terms: list[dict[str, Any]],
    train: Sequence[Frame],
    test: Sequence[Frame],
    options: argparse.Namespace,
) -> list[str]:
    """Fit `terms` beside the 2-body term; a line of the table."""
    settings = Settings.from_dict(
        {
            "data": {"train": "frames.xyz"},  # named only: the frames are at hand
            "terms": [{"kind": "two_body", "cutoff": options.cutoff2}, *terms],
        }
    )
    start = time.process_time()
    model = fit_frames(settings, train, options.jobs)
    seconds = time.process_time() - start
    blocks = {
        "train": errors(model, train, options.jobs),
        "test": errors(model, test, options.jobs),
    }
    points = "+".join(str(t.size) for t in model.terms[1 : 1 + len(terms)])
    found = [shown(blocks[block][key], digits) for block, key, digits in ERRORS]
    return [name, points or "-", *found, f"{seconds:.1f}"]


def read(options: argparse.Namespace) -> tuple[list[Frame], list[Frame]]:
    """Training and test frames."""
    with tempfile.TemporaryDirectory() as scratch:
        if options.data is None:
            paths = SILICON / "train.xyz", SILICON / "test.xyz"
        else:
            paths = SETS[options.set].split(options.data / options.set, Path(scratch))
        train, test = (read_frames([Source(path)]) for path in paths)
    return train, test


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder of the published sets  [default: examples/silicon]"
    )
    parser.add_argument(
        "--set", choices=sorted(SETS), default="Ni19_cluster", help="[default: Ni19_cluster]"
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", help="numbers of training frames, seeded  [default: all]"
    )
    parser.add_argument("--cutoff", type=float, default=4.0, help="of triplets, Å  [default: 4.0]")
    parser.add_argument("--cutoff2", type=float, default=5.5, help="2-body, Å  [default: 5.5]")
    parser.add_argument("--lengthscale", type=float, help="of triplets, Å  [default: the fit's]")
    parser.add_argument("--distance-lengthscale", type=float, help="[default: the fit's]")
    parser.add_argument(
        "--n-features", type=int, default=100, help="inducing triplets  [default: 100]"
    )
    parser.add_argument("--n-sparse", type=int, help="sparse points  [default: the fit's]")
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    options = parser.parse_args(arguments)
    if options.data is not None and not (options.data / options.set).is_dir():
        parser.error(f"{options.data / options.set}: no such folder")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit all orders and print a table for each number of training frames."""
    options = parsed(arguments)
    train, test = read(options)
    order = np.random.default_rng(0).permutation(len(train))
    name = "examples/silicon" if options.data is None else options.set
    print(f"{name}, errors of the process; energies meV/atom, forces eV/Å per component")
    for count in options.frames or [len(train)]:
        chosen = [train[n] for n in sorted(order[:count])]
        lines = []
        for label, terms in cases(options).items():
            print(f"fitting {label} to {len(chosen)} frames ...", file=sys.stderr, flush=True)
            lines.append(row(label, terms, chosen, test, options))
        print(f"\n{len(chosen)} training, {len(test)} test frames")
        print(text_table(HEAD, lines), flush=True)


if __name__ == "__main__":
    main()
