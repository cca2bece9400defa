"""Units of stress that people's files have beside ours, eV/Å³."""

from __future__ import annotations

__all__ = ["GPA", "HARTREE_PER_BOHR3", "UNITS"]

GPA = 160.21766208
"""GPa in one eV/Å³."""

UNITS = {"GPa": GPA, "kbar": 10.0 * GPA, "bar": 1e4 * GPA}
"""How many of a unit are one eV/Å³."""

HARTREE_PER_BOHR3 = 183.6315
"""eV/Å³ in one Hartree/Bohr³."""
