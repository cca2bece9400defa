"""i-PI's client: energies, forces and virials of a mapped potential for i-PI's dynamics.

``forcemap driver`` speaks i-PI's socket protocol; `pes_path` is a file for i-PI's own programs
(``i-pi-driver-py -m custom -P FILE`` and ``<ffdirect>``). Both use one evaluation.

Modules: `units` (conversion between atomic units and eV, Å), `protocol` (messages as bytes),
`connection`, `client` (the conversation), `evaluation`, `template`, `atom_order` (compares i-PI's
first structure with the template), `committee` (members from a potential's draws), `tally` (counts
atoms with a grade above 1), `command` (the command line); `input`, `pimd` and `run_table` (judges a
run by its numbers) are for whole runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forcemap.ipi_driver.client import run_driver

__all__ = ["pes_path", "run_driver"]


def pes_path() -> str:
    """Path of the file for ``i-pi-driver-py -m custom -P`` and ``<ffdirect>``'s ``<pes_path>``."""
    return str(Path(__file__).with_name("pes.py"))


def __getattr__(name: str) -> Any:
    # The command line's help and `forcemap info --ipi-pes` need not wait for NumPy.
    if name == "run_driver":
        from forcemap.ipi_driver.client import run_driver

        return run_driver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
