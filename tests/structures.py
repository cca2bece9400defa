"""One list of small structures, named after what can go wrong in them.

>>> atoms = structures.get("triclinic cell")      # a copy
>>> atoms = structures.get("slab", ["H", "Si"])   # the same atoms as other elements, each at least once
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.geometry.cell import cellpar_to_cell
from forcemap.fitter.data.frame import Frame, FrameSigma

__all__ = ["NAMES", "PERIODIC", "SILICON", "as_frame", "get"]

SILICON = Path(__file__).resolve().parents[1] / "examples" / "silicon"
"""The example with its frames."""


def _rattled(atoms: Atoms, seed: int, amplitude: float = 0.12) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms.positions += rng.uniform(-amplitude, amplitude, atoms.positions.shape)
    return atoms


def _recoloured(atoms: Atoms, species: Sequence[str], seed: int) -> Atoms:
    """The elements `species` at random; every one, as far as there are atoms."""
    rng = np.random.default_rng(seed)
    first = list(species)[: len(atoms)]
    rest = rng.choice(list(species), len(atoms) - len(first)).tolist()
    atoms.set_chemical_symbols(rng.permutation([*first, *rest]).tolist())
    return atoms


def _structures() -> dict[str, Atoms]:
    silane = molecule("CH3SiH3")
    silane.symbols[silane.symbols == "C"] = "O"
    silane.set_cell(np.diag([14.0, 14.0, 14.0]))
    silane.center()

    triclinic = bulk("Si", "diamond", a=5.4, cubic=True)
    triclinic.set_cell(cellpar_to_cell([5.2, 5.6, 6.1, 76.0, 98.0, 67.0]), scale_atoms=True)
    # Atoms outside the cell, some of them by several lattice vectors.
    triclinic.positions[:3] += [[2, -1, 0], [-1, 0, 3], [0, 0, 1]] @ triclinic.cell.array

    slab = fcc111("Si", (2, 2, 3), a=3.7, vacuum=4.0, orthogonal=True)
    slab.info.clear()  # of no use here, and no file format can write it
    oblique = slab.cell.array.copy()
    oblique[1] += 0.15 * oblique[0]
    slab.set_cell(oblique, scale_atoms=True)
    slab.pbc = (True, True, False)

    wire = bulk("Si", "fcc", a=3.5, cubic=True)
    wire.pbc = (False, True, False)

    rocksalt = bulk("SiO", "rocksalt", a=4.1, cubic=True)
    mixture = _recoloured(
        bulk("Si", "bcc", a=2.9, cubic=True).repeat((2, 2, 1)), ["H", "O", "Si"], 1
    )
    far = Atoms("Si2", [[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]], cell=np.diag([30.0] * 3), pbc=False)
    return {
        "molecule": silane,
        "cell smaller than the cutoff": _rattled(bulk("Si", "fcc", a=3.5), 2),
        "needle cell": Atoms("Si2", [[0, 0, 0], [1.1, 0.9, 2]], cell=[2.4, 2.5, 13.0], pbc=True),
        "triclinic cell": _rattled(triclinic, 3),
        "slab": _rattled(slab, 4),
        "wire": _rattled(wire, 5),
        "isolated atom": Atoms("Si", cell=np.diag([18.0] * 3), pbc=True),
        "two atoms out of reach": far,
        "two species": _rattled(rocksalt, 6),
        "three species": _rattled(mixture, 7),
    }


_STRUCTURES = _structures()

NAMES: tuple[str, ...] = tuple(_STRUCTURES)

PERIODIC: tuple[str, ...] = tuple(name for name, a in _STRUCTURES.items() if a.pbc.all())
"""Those that are periodic in all directions."""


def get(name: str, species: Sequence[str] = ()) -> Atoms:
    """A copy of a structure (H, O and Si only); with `species`, the same places with these."""
    atoms = _STRUCTURES[name].copy()
    return _recoloured(atoms, species, 11) if species else atoms


def as_frame(atoms: Atoms, **changes: Any) -> Frame:
    """As the fitter reads it, without labels but for what `changes` name."""
    bare = Frame(
        numbers=atoms.numbers.astype(np.int32),
        positions=np.array(atoms.positions),
        cell=atoms.cell.array,
        pbc=np.array(atoms.pbc),
        energy=None,
        forces=None,
        stress=None,
        config_type="default",
        sigma=FrameSigma(1.0, 1.0, 1.0),
        source="test",
        index=0,
    )
    return replace(bare, **changes)
