"""The template: which elements i-PI's atoms are, in their order, and which directions repeat.

i-PI sends positions and a cell, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["Template", "read_template"]


@dataclass(frozen=True, slots=True)
class Template:
    """What i-PI does not send: `numbers` (n,) atomic numbers and `pbc` (3,) periodic directions."""

    numbers: NDArray[np.int32]
    pbc: NDArray[np.bool_]

    def describe(self) -> str:
        """Composition and periodicity in words, such as ``64 atoms (Si64), periodic in x y z``."""
        from ase.formula import Formula

        formula = Formula.from_list(_symbols(self.numbers)).format("metal")
        directions = " ".join(
            name for name, repeats in zip("xyz", self.pbc, strict=True) if repeats
        )
        periodic = f"periodic in {directions}" if directions else "not periodic"
        return f"{len(self.numbers)} atoms ({formula}), {periodic}"


def read_template(path: str | PathLike[str], species: Sequence[str] | None = None) -> Template:
    """Read the first structure of a file that ASE knows.

    A file without a cell (plain xyz, i-PI's own xyz with its ``# CELL`` comment) leaves periodicity
    open; the structure is then periodic in all directions, as it is for i-PI. In a cell larger than
    a molecule by the cutoff this makes no difference.

    Args:
        path: the file.
        species: elements that the potential has; no check without it.

    Raises:
        ForcemapError: the file cannot be read, has no atoms, or has elements not in `species`.
    """
    import ase.io

    name = fspath(path)
    try:
        atoms = ase.io.read(name, index=0)
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        reason = str(error) or type(error).__name__
        raise ForcemapError(f"cannot read the template {name}: {reason}") from error
    if len(atoms) == 0:
        raise ForcemapError(f"the template {name} has no atoms")
    if species is not None:
        symbols = _symbols(atoms.numbers)
        unknown = [s for s in dict.fromkeys(symbols) if s not in species]
        if unknown:
            raise ForcemapError(
                f"the template {name} has {', '.join(unknown)}; "
                f"the potential is for {', '.join(species)} only"
            )
    pbc = atoms.pbc if atoms.cell.rank else np.ones(3, dtype=bool)
    return Template(np.asarray(atoms.numbers, dtype=np.int32), np.array(pbc, dtype=bool))


def _symbols(numbers: NDArray[np.int32]) -> list[str]:
    from ase.data import chemical_symbols

    return [str(chemical_symbols[number]) for number in numbers]
