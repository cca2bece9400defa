"""Frames of strained copper with labels of ASE's EMT, and their text as users' programs write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter.config import Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame


class Labelled(NamedTuple):
    """A structure with its energy (eV), forces (eV/Å) and stress ((3, 3) eV/Å³)."""

    atoms: Any
    energy: float
    forces: np.ndarray
    stress: np.ndarray


@lru_cache
def copper(count: int = 10, rattle: float = 0.08, strain: float = 0.03) -> tuple[Labelled, ...]:
    """Cells of four atoms, a little different from each other."""
    rng = np.random.default_rng(3)
    frames = []
    for number in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        change = rng.normal(0.0, strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (change + change.T) / 2), scale_atoms=True)
        if rattle:
            atoms.rattle(rattle, seed=number)
        atoms.calc = EMT()
        frames.append(
            Labelled(
                atoms,
                atoms.get_potential_energy(),
                atoms.get_forces(),
                atoms.get_stress(voigt=False),
            )
        )
    return tuple(frames)


def numbers(values: Any) -> str:
    """An array as the value of a key."""
    return '"' + " ".join(f"{x:.10g}" for x in np.ravel(values)) + '"'


def text(
    frames: Sequence[Labelled],
    *,
    energy: str | None = "energy",
    forces: str | None = "forces",
    stress: str | None = "stress",
    virial: str | None = None,
    more: Callable[[int], str] = lambda number: "",
    columns: str = "",
    values: Callable[[int, int], str] = lambda number, atom: "",
) -> str:
    """Extended XYZ with the labels under the names given; None leaves one out."""
    lines = []
    for number, (atoms, e, f, s) in enumerate(frames):
        comment = [f"Lattice={numbers(atoms.cell.array)}"]
        forced = f":{forces}:R:3" if forces else ""
        comment.append(f"Properties=species:S:1:pos:R:3{forced}{columns}")
        comment += [f"{energy}={e:.10g}"] if energy else []
        comment += [f"{stress}={numbers(s)}"] if stress else []
        comment += [f"{virial}={numbers(-s * atoms.get_volume())}"] if virial else []
        lines += [str(len(atoms)), " ".join([*comment, more(number), 'pbc="T T T"'])]
        for atom, symbol in enumerate(atoms.get_chemical_symbols()):
            row = [*atoms.positions[atom], *(f[atom] if forces else [])]
            words = [symbol, *(f"{x:.10g}" for x in row), values(number, atom)]
            lines.append(" ".join(words).strip())
    return "\n".join(lines) + "\n"


def read(folder: Path, content: str, **options: Any) -> list[Frame]:
    """The frames of a file `data.xyz` with this content."""
    path = folder / "data.xyz"
    path.write_text(content, encoding="utf-8")
    return read_frames([Source(path)], **options)
