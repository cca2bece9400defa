"""The forms in which a potential can be written for other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forcemap.potentials.export import uf3
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms.base import MappedTerm

__all__ = ["EXPORTS", "Export", "Written"]


@dataclass(frozen=True)
class Written:
    """What an export has written.

    Attributes:
        files: the files, that to begin with last.
        use: lines that say how to use it.
    """

    files: tuple[Path, ...]
    use: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """A form for another program.

    Attributes:
        summary: one line about it.
        takes: the terms that it has a form for; a potential with any other is refused.
        write: from the content, the folder, the stem of the files' names and the elements of the
            other program's atom types (None: the species).
    """

    summary: str
    takes: tuple[type[MappedTerm], ...]
    write: Callable[[PotentialData, Path, str, Sequence[str] | None], Written]


def _uf3(data: PotentialData, folder: Path, stem: str, types: Sequence[str] | None) -> Written:
    found = uf3.export_uf3(data, folder, stem, types)
    return Written(
        (*found.files, found.input_file),
        (
            "In the LAMMPS input, after the atoms are defined:",
            f"    include {found.input_file}",
        ),
    )


EXPORTS = {
    "uf3": Export("tables and input lines for LAMMPS' own pair_style uf3", uf3.TAKES, _uf3),
}
"""By name."""
