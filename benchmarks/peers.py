"""Points of other potentials on the published silicon set, from the table ``results/peers.csv``.

They were measured once, in two sessions on machines of the kind of ours (2 shared cores), by each
program's own means, and nobody was tuned but UF3. Times of the two sessions differ by up to 1.5 for
the same potential: compare factors, not per cents. `provenance` says what was measured and what
was taken from a publication.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

__all__ = ["RESULTS", "Peer", "Point", "peers"]

RESULTS = Path(__file__).resolve().parent / "results"
"""Folder of the numbers that are kept."""


class Point(NamedTuple):
    """A potential: fit s, peak MB, energy RMSE meV/atom, force RMSE eV/Å, µs per atom and step."""

    fit: float | None
    memory: float | None
    energy: float
    force: float
    run: float | None


class Peer(NamedTuple):
    """A line of the table.

    Attributes:
        name: program and settings.
        point: its numbers; None where nobody measured.
        session: A or B.
        provenance: what was measured, and how.
        label: name in figures; empty where they leave it out.
    """

    name: str
    point: Point
    session: str
    provenance: str
    label: str


def _number(text: str) -> float | None:
    return float(text) if text else None


def peers() -> list[Peer]:
    """All lines of the table."""
    with (RESULTS / "peers.csv").open(encoding="utf-8", newline="") as file:
        return [
            Peer(
                line["potential"],
                Point(
                    _number(line["fit_s"]),
                    _number(line["memory_mb"]),
                    float(line["energy_rmse_mev_per_atom"]),
                    float(line["force_rmse_ev_per_a"]),
                    _number(line["run_us_per_atom_step"]),
                ),
                line["session"],
                line["provenance"],
                line["label"],
            )
            for line in csv.DictReader(file)
        ]
