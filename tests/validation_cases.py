"""Potentials whose physics is known in closed form, and a short way to check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.validation.check import Case, Outcome, Subject
from forcemap.fitter.validation.models import Model, model_of, of_potential
from forcemap.fitter.validation.registry import CHECKS
from forcemap.fitter.validation.settings import ValidationSettings
from forcemap.fitter.validation.steps import Validation, run_checks
from forcemap.fitter.validation.structures import data_of
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray
from potentials_factory import morse_potential

Array = NDArray[np.float64]

MORSE = {"depth": 0.34, "stiffness": 1.36, "distance": 2.87, "cutoff": 5.5}
"""Near copper; beyond the second neighbours nothing is left."""


def morse_file(folder: Path, symbol: str = "Cu", **changes: float) -> Path:
    """A potential file of Morse pairs."""
    path = folder / "potential.forcemap"
    write_potential(morse_potential(symbol, **{**MORSE, **changes}), path)
    return path


def morse_pair(r: Array) -> Array:
    """Energy of a pair, eV, as `potentials_factory.morse_potential` has it."""
    depth, cutoff = MORSE["depth"], MORSE["cutoff"]
    well = depth * (1.0 - np.exp(-MORSE["stiffness"] * (r - MORSE["distance"]))) ** 2 - depth
    fade = np.clip((cutoff - r) / (0.25 * cutoff), 0.0, 1.0)
    return np.asarray(well * fade**3 * (10.0 - 15.0 * fade + 6.0 * fade**2))


def derivatives(r: Array, step: float = 1e-4) -> tuple[Array, Array]:
    """First and second derivative of `morse_pair` by central differences of fourth order."""
    values = [morse_pair(r + n * step) for n in (-2, -1, 0, 1, 2)]
    first = (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * step)
    second = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (
        12 * step**2
    )
    return first, second


def fcc_neighbours(a: float, reach: float = MORSE["cutoff"]) -> Array:
    """(n, 3) vectors from an atom of an fcc crystal to all others within `reach`, Å."""
    size = int(np.ceil(2 * reach / a)) + 1
    grid = np.array(
        [p for p in product(range(-2 * size, 2 * size + 1), repeat=3) if sum(p) % 2 == 0 and any(p)]
    )
    vectors = 0.5 * a * grid
    return vectors[np.linalg.norm(vectors, axis=1) < reach]


def fcc_energy(a: float) -> float:
    """Energy per atom of the fcc crystal of Morse pairs."""
    return 0.5 * float(morse_pair(np.linalg.norm(fcc_neighbours(a), axis=1)).sum())


def subject(atoms: Atoms, name: str = "crystal") -> Subject:
    """A crystal to check."""
    return Subject(name, data_of(atoms), atoms)


COPPER = bulk("Cu", "fcc", a=3.9, cubic=True)
EMT = "ase.calculators.emt:EMT()"


def case_of(
    crystals: Sequence[Subject],
    settings: Mapping[str, Any] | None = None,
    frames: Sequence[Frame] = (),
    species: Sequence[str] = ("Cu",),
) -> Case:
    """What is to be checked, with settings as a file gives them."""
    read = ValidationSettings.from_dict(dict(settings or {}), CHECKS)
    return Case(read.of, crystals, frames, species, read.general.seed)


def checked(
    folder: Path,
    model: Model | str | Path,
    names: str,
    case: Case | None = None,
) -> Validation:
    """Make the checks called `names` (with those before them), one model."""
    if isinstance(model, Path):
        model = of_potential(model)
    elif isinstance(model, str):
        model = model_of(model)
    wanted = names.split()
    checks = [check for check in CHECKS if check.name in wanted]
    return run_checks(case or case_of([subject(COPPER)]), [model], checks, folder, Run())


def outcome(found: Validation, name: str) -> Outcome:
    """Of one check with one subject; the reason why there is none fails the test."""
    assert not found.left_out, [left.reason for left in found.left_out]
    (step,) = [step for step in found.steps if step.check.name == name]
    return step.outcome


def grades(one: Outcome) -> dict[str, str]:
    """Verdicts by name."""
    return {verdict.name: verdict.grade.value for verdict in one.verdicts}


def minimum_of(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is smallest."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return float(found.x)
