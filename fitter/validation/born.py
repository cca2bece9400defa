"""Born charges and dielectric constants, from files called BORN as phonopy's users have them.

The term that they add to the dynamical matrix at long wavelengths, which splits longitudinal from
transverse optical modes: Gonze and Lee, Phys. Rev. B 55, 10355 (1997), doi:10.1103/PhysRevB.55.10355.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from forcemap.fitter.checked import Place, either, reader
from forcemap.fitter.data.settings import path_reader
from forcemap.fitter.validation.check import Case, Subject
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted

__all__ = ["born_reader", "charges_of", "check_names"]

COULOMB = 14.3996454784
"""eV Å: e²/(4πε₀) of CODATA 2018. BORN files may begin with that of another program's units: here
force constants are in eV/Å² whoever made the charges."""

ONLY = ""
"""Stands for the name of the only crystal."""


@reader(
    lambda: either(
        path_reader.schema(),
        {"type": "object", "additionalProperties": path_reader.schema()},
    )
)
def born_reader(value: Any, place: Place) -> dict[str, dict[str, str]]:
    """Reader of one file, or of one for each of some crystals: name and text of each file.

    The text is kept, since outcomes depend on it.
    """
    if not isinstance(value, Mapping):
        return {ONLY: _read(value, place)}
    return {
        str(name): dict(file) if isinstance(file, Mapping) else _read(file, place.key(name))
        for name, file in value.items()
    }


def _read(value: Any, place: Place) -> dict[str, str]:
    path = path_reader(value, place)
    try:
        return {"file": str(path), "text": path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        place.fail(f"{path}: {getattr(error, 'strerror', None) or 'is not text'}")


def check_names(given: Mapping[str, Mapping[str, str]], case: Case) -> None:
    """Raise ForcemapError unless each file is of one of the crystals."""
    names = [subject.name for subject in case.crystals]
    listed = ", ".join(names)
    if ONLY in given and len(names) > 1:
        example = f'born: {{"{names[0]}": {given[ONLY]["file"]}}}'
        raise ForcemapError(
            f"phonons.born: a BORN file is of one crystal, and there are {listed}: say which one, as "
            f"in {example}"
        )
    for name in given:
        if name != ONLY and name not in names:
            raise ForcemapError(
                f"phonons.born: {quoted(name)} is none of the crystals, which are {listed}"
            )


def charges_of(
    subject: Subject, given: Mapping[str, Mapping[str, str]], primitive: Any
) -> dict[str, Any] | None:
    """What phonopy takes as `nac_params`, for its primitive cell; None if there is no file.

    Raises ForcemapError for a file that cannot be one of this crystal.
    """
    from phonopy.file_IO import parse_BORN_from_strings

    file = given.get(subject.name) or given.get(ONLY)
    if file is None:
        return None
    try:
        with redirect_stdout(StringIO()):  # phonopy prints what it finds wrong
            read = parse_BORN_from_strings(file["text"], primitive)
    except (ValueError, RuntimeError) as error:
        raise ForcemapError(
            f"{file['file']}: is not phonopy's file BORN of {subject.name}: {_sentence(error)}"
        ) from None
    return {"born": read["born"], "dielectric": read["dielectric"], "factor": COULOMB}


def _sentence(error: Exception) -> str:
    return str(error).rstrip(".") + (
        " (a line for the unit, which is not used; one for the dielectric constant; one for the "
        "charges of each of the independent atoms, nine numbers each)"
    )
