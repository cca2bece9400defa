"""The published sets that benchmarks fit: their places and splits, and errors of other potentials."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.io import read, write

__all__ = ["DATA", "SETS", "DataSet", "Split", "add_silicon_option", "silicon_folder"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Folder of the sets, beside the repository."""

SEED = 0
NI19_TRAIN = 200
"""Training frames of 792; the others are the test."""

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
        published: RMSE energy (meV/atom) / force (eV/Å), MAE in brackets, from the folder's
            README.md.
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


def add_silicon_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--data``, the folder of the silicon set; `silicon_folder` checks it."""
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA / "mlearn_Si",
        help="folder with train.xyz and test.xyz of silicon  [default: ../shared/data/mlearn_Si]",
    )


def silicon_folder(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Path:
    """The folder that was given; ends the program with a message if it holds no frames."""
    folder: Path = options.data
    if not (folder / "train.xyz").is_file():
        parser.error(f"{folder}: no train.xyz there; give --data")
    return folder.resolve()
