"""Fits that benchmarks make: by ``forcemap fit`` in a process of its own, of silicon in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from forcemap.fitter import Frame, Model, Settings, fit_frames, map_model
from forcemap.fitter.config import MapSettings
from forcemap.fitter.data.dataset import read_frames
from forcemap.potentials.runs.programs import find_program, forcemap_command

__all__ = ["SILICON", "Cost", "Fit", "fit_by_command", "fit_silicon", "silicon_potential", "timed"]

SILICON = Path(__file__).resolve().parents[1] / "examples" / "silicon"


class Cost(NamedTuple):
    """Cost of a process: wall s, processor s, peak MB."""

    wall: float
    processor: float
    memory: float


class Fit(NamedTuple):
    """Result of ``forcemap fit``.

    Attributes:
        report: content of report.json.
        cost: of the whole process, its start included; the processor time with that of MPI ranks.
        folder: holds the potential and the other files.
    """

    report: dict[str, Any]
    cost: Cost
    folder: Path


def timed(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[Cost, str]:
    """Run a program to its end in `folder`; returns its cost and its stderr.

    Its output goes to files there; exits with the end of it if the program fails.
    """
    logs = [folder / f"{name.replace(' ', '_')}.{stream}" for stream in ("stdout", "stderr")]
    start = time.perf_counter()
    with logs[0].open("w") as output, logs[1].open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
    cost = Cost(
        time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0
    )
    said = [log.read_text(encoding="utf-8", errors="replace").strip() for log in logs]
    if status:
        sys.exit(f"{name} failed:\n{said[0][-2000:]}\n{said[1][-2000:]}")
    return cost, said[1]


def fit_by_command(
    name: str, settings: Mapping[str, Any], folder: Path, jobs: int = 1, ranks: int = 1
) -> Fit:
    """Fit `settings` by ``forcemap fit`` into `folder`/out, under mpirun if `ranks` > 1.

    `name` is for messages; warnings go to stderr. Exits with the fit's message if it fails.
    """
    file, out = folder / "settings.yaml", folder / "out"
    file.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    launcher = []
    if ranks > 1:
        mpirun = find_program("mpirun", "install the mpich wheel, or leave --ranks out")
        launcher = [mpirun, "-n", str(ranks)]
    print(f"fitting {name} ...", file=sys.stderr, flush=True)
    arguments = ["fit", str(file), "-o", str(out), "--jobs", str(jobs), "--quiet"]
    cost, said = timed("forcemap fit", [*launcher, *forcemap_command(*arguments)], folder)
    if said:
        print(f"{name}: {said}", file=sys.stderr)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return Fit(report, cost, out)


def fit_silicon(
    terms: Sequence[Mapping[str, Any]], jobs: int = 1, **settings: Any
) -> tuple[Model, list[Frame]]:
    """The process of `terms` fitted to examples/silicon, isolated atoms apart; training frames."""
    train = [str(SILICON / "train.xyz"), str(SILICON / "isolated.xyz")]
    given = {"data": {"train": train}, "e0": "isolated", "terms": list(terms), **settings}
    found = Settings.from_dict(given)
    frames = read_frames(found.data.train, found.data.keys, found.sigma)
    return fit_frames(found, frames, jobs), frames


def silicon_potential(file: Path, cutoff3: float) -> Path:
    """2-body (5.5 Å) and 3-body terms (`cutoff3`, Å) of examples/silicon, mapped; returns `file`."""
    terms = [{"kind": "two_body", "cutoff": 5.5}, {"kind": "three_body", "cutoff": cutoff3}]
    model, frames = fit_silicon(terms)
    map_model(model, frames, MapSettings().tolerance).write(file)
    return file
