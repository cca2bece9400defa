"""Frames for tests of ``forcemap check``: sound ones, labelled by EMT, for faults to be put in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter.data.settings import Keys, SigmaSettings, Source
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.examination import findings_of
from forcemap.fitter.doctor.finding import Finding
from forcemap.fitter.doctor.reading import read_data
from forcemap.fitter.doctor.registry import EXAMINATIONS
from forcemap.fitter.sharing.run import Run

__all__ = [
    "case_of",
    "cluster",
    "crystal",
    "examined",
    "isolated",
    "labelled",
    "named",
    "slab",
    "sound",
    "written",
]


def labelled(atoms: Atoms, stress: bool | None = None) -> Atoms:
    """With energy, forces and, where periodic, stress of EMT."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    results: dict[str, Any] = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
    }
    if stress if stress is not None else atoms.pbc.all() and len(atoms) > 1:
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystal(seed: int, repeat: tuple[int, int, int] = (2, 2, 2), rattle: float = 0.1) -> Atoms:
    """Strained and rattled copper, labelled."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * repeat
    strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0.0, rattle, (len(atoms), 3))
    atoms.info["config_type"] = "crystal"
    return labelled(atoms)


def slab(seed: int) -> Atoms:
    """A rattled surface in vacuum, labelled without stress."""
    atoms = fcc111("Cu", (2, 2, 4), a=3.6, vacuum=6.0, periodic=True)
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, (len(atoms), 3))
    atoms.info = {"config_type": "slab"}
    return labelled(atoms, stress=False)


def cluster(seed: int, stress: bool = False) -> Atoms:
    """A rattled cluster of 13 atoms in a periodic box, labelled."""
    from ase.cluster import Icosahedron

    atoms = Atoms(Icosahedron("Cu", 2))
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, (len(atoms), 3))
    atoms.center(vacuum=5.0)
    atoms.pbc = True
    atoms.info["config_type"] = "cluster"
    return labelled(atoms, stress)


def isolated() -> Atoms:
    """A lone atom of copper."""
    return labelled(Atoms("Cu", cell=[20.0, 20.0, 20.0], pbc=True))


def sound() -> list[Atoms]:
    """Frames without a fault: crystals of three sizes, slabs, and an isolated atom."""
    sizes = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2)]
    return [
        *(crystal(n, sizes[n % 4]) for n in range(24)),
        *(slab(n) for n in range(3)),
        isolated(),
    ]


def written(path: Path, frames: Sequence[Atoms]) -> Path:
    """The path, after writing the frames to it as extended XYZ."""
    write(path, list(frames), format="extxyz")
    return path


def case_of(*train: Path, test: Sequence[Path] = (), keys: Keys | None = None) -> Case:
    """The case of some files."""
    readings = [
        read_data([Source(path) for path in paths], keys or Keys(), SigmaSettings(), Run())
        for paths in (train, test)
    ]
    return Case(readings[0], readings[1])


def examined(*train: Path, test: Sequence[Path] = ()) -> list[Finding]:
    """All that the examinations find in some files, but for those by quick fits, which take longer."""
    return findings_of(case_of(*train, test=test), [each for each in EXAMINATIONS if each.once])


def named(findings: Sequence[Finding], name: str) -> Finding:
    """The one finding of a name."""
    those = [finding for finding in findings if finding.name == name]
    assert len(those) == 1, [(finding.name, finding.message) for finding in findings]
    return those[0]
