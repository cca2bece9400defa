"""The template: the elements of i-PI's atoms, in their order, and the periodic directions.

i-PI sends positions and a cell, nothing else. The template's own are kept to compare them with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

import numpy as np
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import MAX_HEADER_BYTES
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Template", "is_potential", "read_structure", "read_template"]


@dataclass(frozen=True, slots=True)
class Template:
    """Elements and periodicity, which i-PI does not send, and a structure to compare i-PI's with.

    Attributes:
        numbers: (n,) atomic numbers.
        pbc: (3,) periodic directions.
        positions: (n, 3) Å; None: i-PI's atoms are in this order, without a comparison.
        cell: (3, 3) Å, vectors in the rows; None: not known in three directions.
        name: for messages.
    """

    numbers: NDArray[np.int32]
    pbc: NDArray[np.bool_]
    positions: NDArray[np.float64] | None = None
    cell: NDArray[np.float64] | None = None
    name: str = ""

    def symbols(self) -> list[str]:
        """The element of each atom."""
        return _symbols(self.numbers)

    def describe(self) -> str:
        """Composition and periodicity in words, such as ``64 atoms (Si64), periodic in x y z``."""
        from ase.formula import Formula

        formula = Formula.from_list(self.symbols()).format("metal")
        directions = " ".join(
            name for name, repeats in zip("xyz", self.pbc, strict=True) if repeats
        )
        periodic = f"periodic in {directions}" if directions else "not periodic"
        return f"{len(self.numbers)} atoms ({formula}), {periodic}"


def read_template(
    path: str | PathLike[str], species: Sequence[str] | None = None, *, trusted: bool = False
) -> Template:
    """Read the first structure of a file that ASE knows.

    A file without a cell (plain xyz, i-PI's own xyz with its ``# CELL`` comment) leaves periodicity
    open; the structure is then periodic in all directions, as it is for i-PI. In a cell larger than
    a molecule by the cutoff this makes no difference.

    Args:
        path: the file.
        species: elements that the potential has; no check without it.
        trusted: leave positions and cell out, so that i-PI's are not compared with them.

    Raises:
        ForcemapError: the file cannot be read, has no atoms, positions that are not finite, or
            elements not in `species`.
    """
    atoms = read_structure(path, "template", species)
    pbc = atoms.pbc if atoms.cell.rank else np.ones(3, dtype=bool)
    numbers = np.asarray(atoms.numbers, dtype=np.int32)
    template = Template(numbers, np.array(pbc, dtype=bool), name=fspath(path))
    if trusted:
        return template
    cell = atoms.cell.array.copy() if atoms.cell.rank == 3 else None
    return replace(template, positions=atoms.positions.copy(), cell=cell)


def read_structure(
    path: str | PathLike[str], what: str, species: Sequence[str] | None = None
) -> Atoms:
    """The first structure of a file; messages call it `what`.

    Labels (energies, forces) may be anything; they are not used.

    Raises:
        ForcemapError: as in `read_template`.
    """
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    name = fspath(path)
    if is_potential(name):
        raise ForcemapError(f"the {what} {name} is a potential's file; give a structure")
    try:
        atoms: Atoms = ase.io.read(name, index=0)
    except UnknownFileTypeError:
        raise ForcemapError(
            f"cannot read the {what} {name}: ASE knows no format of structures of its name and "
            "content; give a structure, such as extended xyz"
        ) from None
    except Exception as error:  # ASE's readers raise exceptions of any kind
        reason = str(error) or type(error).__name__
        raise ForcemapError(f"cannot read the {what} {name}: {reason}") from error
    if len(atoms) == 0:
        raise ForcemapError(f"the {what} {name} has no atoms")
    if species is not None:
        unknown = [s for s in dict.fromkeys(_symbols(atoms.numbers)) if s not in species]
        if unknown:
            raise ForcemapError(
                f"the {what} {name} has {', '.join(unknown)}; "
                f"the potential is for {', '.join(species)} only"
            )
    if not np.isfinite(atoms.cell.array).all():
        raise ForcemapError(f"the {what} {name} has a cell that is not finite: mend or remove it")
    lost = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(lost):
        raise ForcemapError(
            f"the {what} {name} has a position that is not finite, of atom {lost[0]} (counted from "
            f"0): {' '.join(f'{x:g}' for x in atoms.positions[lost[0]])}; mend it"
        )
    return atoms


def is_potential(path: str | PathLike[str]) -> bool:
    """Whether the file begins as a potential's does: a header's length and its JSON."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES


def _symbols(numbers: NDArray[np.int32]) -> list[str]:
    from ase.data import chemical_symbols

    return [str(chemical_symbols[number]) for number in numbers]
