"""The symmetry of crystals, by spglib where it is installed.

Togo, Shinohara, Tanaka, Sci. Technol. Adv. Mater.: Methods 4, 2384822 (2024),
doi:10.1080/27660400.2024.2384822.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["conventional", "is_installed", "primitive_size", "symmetry_of"]


def is_installed() -> bool:
    """Whether spglib is there."""
    return find_spec("spglib") is not None


def symmetry_of(atoms: Atoms, precision: float) -> Any:
    """spglib's dataset of a structure whose atoms may be off by `precision` (Å); None without one."""
    return _asked("get_symmetry_dataset", atoms, precision)


def conventional(atoms: Atoms, precision: float) -> Atoms | None:
    """The conventional cell with its symmetry made exact; None if spglib finds none."""
    from ase import Atoms

    found = _asked("standardize_cell", atoms, precision, to_primitive=False)
    if found is None:
        return None
    lattice, places, numbers = found
    return Atoms(numbers, scaled_positions=places, cell=lattice, pbc=True)


def primitive_size(atoms: Atoms, precision: float) -> int | None:
    """Atoms of the primitive cell; None if spglib finds none."""
    found = _asked("standardize_cell", atoms, precision, to_primitive=True)
    return None if found is None else len(found[2])


def _asked(name: str, atoms: Atoms, precision: float, **options: Any) -> Any:
    """What a function of spglib says of a structure; None where it fails or spglib is missing."""
    try:
        import spglib
    except ImportError:
        return None
    function: Callable[..., Any] = getattr(spglib, name)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        # Some releases announce by each call that failures will be raised.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return function(cell, symprec=precision, **options)
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "spglib":
                raise
            return None
