"""Random structures, relaxed: one below the ground state is a hole of the potential.

The search is that of Pickard and Needs, J. Phys.: Condens. Matter 23, 053201 (2011),
doi:10.1088/0953-8984/23/5/053201.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.data.combinations import formula_of
from forcemap.fitter.validation.check import (
    Case,
    Check,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.drawing import COLORS, drawn
from forcemap.fitter.validation.relaxing import Collapse, energy_of, relax
from forcemap.fitter.validation.structures import data_of, lowest_frame

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

__all__ = ["RandomStructures", "random_structure"]

SAME = 0.005
"""eV per atom; what is as little below the ground state is the ground state, not quite relaxed."""

BELOW = 0.1
"""eV per atom below the ground state, where a relaxation has shown a hole."""

TRIES = 2000
"""Places tried for an atom before the cell is made larger."""


@dataclass(frozen=True)
class RandomSettings(Checked):
    """Random structures, relaxed with their cells."""

    structures: int = field(default=50, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """number of structures."""

    atoms: int = field(default=8, metadata=read_by(integer(at_least=1, at_most=200)))
    """atoms of a structure, about: a multiple of the formula's."""

    nearest: float = field(default=0.8, metadata=read_by(number(at_least=0.5, at_most=1.2)))
    """shortest distance at the start, over the sum of the two covalent radii."""

    fmax: float = field(default=0.05, metadata=read_by(number(above=0, at_most=1)))
    """eV/Å: forces below which a structure is relaxed."""

    steps: int = field(default=200, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """largest number of steps of a relaxation."""


class RandomStructures(Check):
    """Random structures of a composition against its lowest crystal or frame."""

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random structures"
    settings: ClassVar[type[Checked]] = RandomSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal",)

    def subjects(self, case: Case) -> Sequence[Subject]:
        """The compositions of the crystals; those of periodic frames where there are no crystals."""
        found: dict[str, Any] = {}
        for crystal in case.crystals:
            assert crystal.atoms is not None
            formula = formula_of(crystal.atoms)
            found.setdefault(formula, {"formula": formula, "crystals": True})
        if not found:
            atoms = lowest_frame(case.frames)
            if atoms is not None:
                formula = formula_of(atoms)
                found[formula] = {"formula": formula, "crystals": False, "atoms": data_of(atoms)}
        return [Subject(f"random {formula}", content) for formula, content in found.items()]

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of the lowest one."""
        return ["lowest against the ground state"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Structures."""
        return int(settings.structures)

    def run(self, task: Task) -> Outcome:
        """Relax all of them."""
        settings = task.settings
        ground, name, volume = _ground_state(task)
        rng = np.random.default_rng(task.case.seed)
        calculator = task.model.calculator(1)
        energies: list[float] = []
        lowest: Atoms | None = None
        collapsed, unfinished = [], 0
        for place in range(settings.structures):
            atoms = random_structure(task.subject.content["formula"], settings, volume, rng)
            atoms.calc = calculator
            floor = len(atoms) * (ground - BELOW)
            try:
                unfinished += not relax(
                    atoms,
                    settings.fmax,
                    settings.steps,
                    cell=True,
                    floor=floor,
                    advance=task.advance,
                )
            except Collapse:
                collapsed.append(place)
                continue
            except NotComputed:
                unfinished += 1
                continue
            energy = energy_of(atoms) / len(atoms) - ground
            if not energies or energy < min(energies):
                lowest = atoms.copy()
            energies.append(energy)
        numbers = {}
        if energies:
            numbers["lowest against the ground state"] = Number(min(energies), "eV per atom")
        data: dict[str, Any] = {"energies": energies, "ground": name}
        if lowest is not None:
            data["lowest"] = data_of(lowest)
        remarks = [f"{unfinished} of them did not come to rest"] if unfinished else []
        return Outcome(numbers, [_verdict(energies, collapsed, name)], data, remarks)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Energies in their order."""
        made = {}
        for one in shown:

            def draw(axes: Any, one: Shown = one) -> None:
                for (model, outcome), color in zip(one.outcomes.items(), COLORS, strict=False):
                    axes.plot(sorted(outcome.data["energies"]), ".", color=color, label=model)
                axes.axhline(0.0, color="#3c4650", linewidth=0.8)
                axes.set(
                    xlabel="structure, in order", ylabel="energy over ground state (eV per atom)"
                )
                axes.legend()

            title = f"Relaxed {one.subject.name}"
            made[title] = drawn(draw, title)
        return made


def _verdict(energies: Sequence[float], collapsed: Sequence[int], ground: str) -> Verdict:
    count = len(energies) + len(collapsed)
    below = sum(energy < -SAME for energy in energies)
    parts = []
    if below:
        parts.append(
            f"{below} of {count} relax below the ground state, {ground}, by "
            f"{-min(energies):.3g} eV per atom or more"
        )
    if collapsed:
        parts.append(f"in {len(collapsed)} of {count} atoms fall into each other")
    text = "; ".join(parts)
    if not text:
        text = f"none of {count} is below the ground state, {ground}"
        if energies:
            text += f"; the lowest is {min(energies):+.3g} eV per atom from it"
    return Verdict(
        "no-hole",
        Grade.FAIL if parts else Grade.PASS,
        text,
        f"no relaxed structure is more than {SAME} eV per atom below the ground state, none collapses",
    )


def _ground_state(task: Task) -> tuple[float, str, float]:
    """Energy per atom, name and volume per atom of the lowest crystal, or the relaxed lowest frame."""
    from forcemap.fitter.validation.structures import atoms_of

    found = []
    for name, outcome in task.given.get("crystal", {}).items():
        atoms = atoms_of(outcome.data["atoms"])
        if formula_of(atoms) == task.subject.content["formula"]:
            found.append((float(outcome.data["energy"]), name, atoms.get_volume() / len(atoms)))
    if "atoms" in task.subject.content:
        atoms = atoms_of(task.subject.content["atoms"])
        atoms.calc = task.model.calculator(task.jobs)
        relax(atoms, task.settings.fmax, task.settings.steps)
        volume = atoms.get_volume() / len(atoms)
        found.append((energy_of(atoms) / len(atoms), "the lowest frame, relaxed", volume))
    if not found:
        raise NotComputed("there is no crystal to compare with")
    return min(found)


def random_structure(
    formula: str, settings: RandomSettings, volume: float, rng: np.random.Generator
) -> Atoms:
    """A random cell with random atoms, of 0.8 to 1.4 times `volume` (Å³ per atom).

    The cell grows where the atoms have no room.
    """
    from ase import Atoms
    from ase.data import covalent_radii
    from ase.formula import Formula

    symbols = list(Formula(formula))
    symbols *= max(1, round(settings.atoms / len(symbols)))
    empty = Atoms(symbols)
    radii = covalent_radii[empty.numbers]
    size = len(symbols) * volume * float(rng.uniform(0.8, 1.4))
    while True:
        shape = np.eye(3) + rng.uniform(-0.35, 0.35, size=(3, 3))
        cell = shape * (size / abs(np.linalg.det(shape))) ** (1 / 3)
        places = _places(cell, radii, settings.nearest, rng)
        if places is not None:
            return Atoms(symbols, scaled_positions=places, cell=cell, pbc=True)
        size *= 1.1


def _places(cell: Any, radii: Any, nearest: float, rng: np.random.Generator) -> Any:
    """Fractional positions that keep their distance; None if there is no room."""
    images = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    own = np.linalg.norm(images[(images != 0).any(axis=1)] @ cell, axis=1).min()
    if own < 2.0 * nearest * radii.max():
        return None
    places = np.zeros((0, 3))
    for _ in range(TRIES):
        trial = rng.uniform(size=3)
        difference = places - trial
        vectors = (difference[:, None, :] + images) @ cell
        distances = np.linalg.norm(vectors, axis=2).min(axis=1)
        count = len(places)
        if (distances > nearest * (radii[:count] + radii[count])).all():
            places = np.vstack([places, trial])
            if len(places) == len(radii):
                return places
    return None
