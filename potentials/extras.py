"""Programs and packages that not every use needs, and the extras of forcemap that bring them.

What ``pip install forcemap`` brings is enough to fit and evaluate potentials; molecular dynamics, path
integrals, figures and phonons need more. Whatever uses them asks here first, before it does any work.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from forcemap.potentials.errors import ForcemapError

__all__ = ["EXTRAS", "Extra", "install", "need"]


@dataclass(frozen=True)
class Extra:
    """What an extra brings.

    Attributes:
        label: its name among people.
        programs: found beside this Python or on PATH; where they come from does not matter.
        modules: imported by forcemap.
    """

    label: str
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


EXTRAS = {
    "lammps": Extra("LAMMPS", programs=("lmp",)),
    "ipi": Extra("i-PI", programs=("i-pi",)),
    "report": Extra("figures", modules=("matplotlib",)),
    "validate": Extra("phonons", modules=("phonopy",)),
    "build": Extra("compiling the LAMMPS plugin", programs=("cmake",)),
}


def install(*extras: str) -> str:
    """The command that installs extras."""
    return f"pip install 'forcemap[{','.join(extras)}]'"


def need(use: str, *extras: str) -> None:
    """See that all of some extras is there; costs no import of them.

    Args:
        use: what needs them, the subject of the message.
        extras: their names, keys of `EXTRAS`.

    Raises:
        ForcemapError: something is absent; the text names it and the command that installs it.
    """
    lacking = {extra: absent for extra in extras if (absent := _absent(EXTRAS[extra]))}
    if lacking:
        raise ForcemapError(
            f"{use} needs {' and '.join(lacking.values())}, not installed here: {install(*lacking)}"
        )


def _absent(extra: Extra) -> str:
    """What of an extra is not there, in words; empty if nothing."""
    from forcemap.potentials.runs.programs import program_path

    programs = [name for name in extra.programs if program_path(name) is None]
    if programs:
        return f"{extra.label} (the program {', '.join(programs)})"
    return " and ".join(name for name in extra.modules if not _is_there(name))


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: imported by halves, or barred
        return False
