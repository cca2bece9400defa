"""Phonon bands and density of states, by phonopy.

Togo, Chaput, Tadano, Tanaka, J. Phys.: Condens. Matter 35, 353001 (2023), doi:10.1088/1361-648X/acd831.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.validation.born import born_reader, charges_of, check_names
from forcemap.fitter.validation.check import (
    Case,
    CrystalCheck,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.drawing import COLORS, LINES, panels
from forcemap.fitter.validation.supercells import repeats
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

__all__ = ["Phonons"]

Array = NDArray[np.float64]

PLANCK = 4.135667696e-3
"""eV per THz."""

IMAGINARY = 0.05
"""THz; imaginary frequencies up to this are rounding of forces."""

WIDTH = 0.15
"""THz; the states are smeared by Gaussians of this deviation."""


@dataclass(frozen=True)
class PhononsSettings(Checked):
    """Displacements of atoms in a supercell."""

    displacement: float = field(default=0.01, metadata=read_by(number(above=0, at_most=0.2)))
    """Å: displacement of an atom."""

    length: float = field(default=10.0, metadata=read_by(number(above=0, at_most=100)))
    """Å: least distance of opposite faces of the supercell."""

    path: int = field(default=150, metadata=read_by(integer(at_least=10, at_most=10_000)))
    """number of points along the bands."""

    mesh: int = field(default=12, metadata=read_by(integer(at_least=2, at_most=100)))
    """points in each direction for the density of states."""

    born: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict, metadata=read_by(born_reader)
    )
    """phonopy's file BORN, or `{name of a crystal: file}` for several crystals: Born charges
    and dielectric constant, which split longitudinal from transverse optical modes; none by default."""


class Phonons(CrystalCheck):
    """Harmonic lattice dynamics.

    Potentials are short-ranged: the field of the dipoles of a longitudinal mode is added where Born
    charges are given, by phonopy.
    """

    name: ClassVar[str] = "phonons"
    title: ClassVar[str] = "Phonons"
    settings: ClassVar[type[Checked]] = PhononsSettings
    extra: ClassVar[str | None] = "phonopy"

    def subjects(self, case: Case) -> Sequence[Subject]:
        """All crystals. Raises ForcemapError for Born charges that are of none of them."""
        given = case.settings[self.name].born  # type: ignore[attr-defined]
        check_names(given, case)
        for subject in case.crystals if given else ():
            assert subject.atoms is not None
            charges_of(subject, given, _phonopy(subject.atoms, np.eye(3)).primitive)
        return case.crystals

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """At the special points of the lattice, and over the whole zone."""
        assert subject.atoms is not None
        points = _path(_primitive(subject.atoms), settings.path).special_points
        bounds = [f"{which} frequency at {_label(p)}" for p in points for which in BOUNDS]
        return [
            *bounds,
            "lowest optical frequency at Gamma",
            "highest frequency",
            "zero-point energy",
        ]

    def run(self, task: Task) -> Outcome:
        """Force constants by finite differences, then frequencies."""
        crystal = task.crystal()
        phonons = _force_constants(crystal, task)
        at_gamma = np.sort(_frequencies(phonons, np.zeros((1, 3)))[0])
        acoustic = float(np.abs(at_gamma[np.argsort(np.abs(at_gamma))[:3]]).max())
        phonons.symmetrize_force_constants()
        charges = charges_of(task.subject, task.settings.born, phonons.primitive)
        if charges is not None:
            phonons.nac_params = charges
        bands = _bands(phonons, task.settings.path)
        phonons.run_mesh([task.settings.mesh] * 3, is_gamma_center=True)
        mesh, weights = phonons.mesh.frequencies, phonons.mesh.weights
        numbers = _special_numbers(bands)
        optical = np.sort(_frequencies(phonons, np.zeros((1, 3)))[0])[3:]
        if len(optical):
            numbers["lowest optical frequency at Gamma"] = Number(float(optical[0]), "THz")
        every = np.concatenate([np.array(bands["frequencies"]).ravel(), mesh.ravel()])
        numbers["highest frequency"] = Number(float(every.max()), "THz")
        mean = (np.maximum(mesh, 0.0).sum(axis=1) * weights).sum() / weights.sum()
        zero_point = 0.5 * PLANCK * float(mean) / len(phonons.primitive)
        numbers["zero-point energy"] = Number(zero_point, "eV per atom")
        data = {**bands, **_states(mesh, weights)}
        verdicts = [_stable(float(every.min()), task), _sum_rule(acoustic)]
        return Outcome(numbers, verdicts, data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Bands and density of states of each crystal."""
        return {f"Phonons of {one.subject.name}": _figure(one) for one in shown}


BOUNDS = ("lowest", "highest")


def _label(point: str) -> str:
    return "Gamma" if point == "G" else point


def _primitive(atoms: Atoms) -> Atoms:
    """The primitive cell that phonopy uses."""
    return _from_phonopy(_phonopy(atoms, np.eye(3)).primitive)


def _phonopy(atoms: Atoms, matrix: Array) -> Any:
    """phonopy's object for a crystal, a supercell of it, and its primitive cell."""
    from phonopy import Phonopy
    from phonopy.structure.cells import guess_primitive_matrix

    cell = _to_phonopy(atoms)
    primitive = guess_primitive_matrix(cell)
    return Phonopy(cell, matrix, primitive_matrix=primitive, log_level=0)


def _to_phonopy(atoms: Atoms) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
    )


def _from_phonopy(cell: Any) -> Atoms:
    from ase import Atoms

    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def _path(primitive: Atoms, points: int) -> Any:
    """ASE's path between the special points. Raises NotComputed for a lattice it does not know."""
    try:
        return primitive.cell.bandpath(npoints=points)
    except Exception as error:  # ASE raises several kinds for lattices between its types
        raise NotComputed(f"the special points of the lattice are unknown: {error}") from None


def _force_constants(crystal: Atoms, task: Task) -> Any:
    phonons = _phonopy(crystal, np.diag(repeats(crystal, task.settings.length)))
    phonons.generate_displacements(distance=task.settings.displacement)
    forces, cells = [], phonons.supercells_with_displacements
    for displaced in cells:
        atoms = _from_phonopy(displaced)
        atoms.calc = crystal.calc
        forces.append(atoms.get_forces())
        task.advance(1.0 / len(cells))
    if not np.isfinite(forces).all():
        raise NotComputed("the forces are not finite")
    phonons.forces = np.array(forces)
    phonons.produce_force_constants()
    return phonons


def _frequencies(phonons: Any, points: Array, direction: Array | None = None) -> Array:
    """(points, bands) THz; imaginary ones are negative.

    At Gamma, Born charges act on modes that are approached along `direction`, and on none without it.
    """
    phonons.run_qpoints(points, nac_q_direction=direction)
    return np.array(phonons.qpoints.frequencies)


def _along(phonons: Any, points: Array) -> Array:
    """(points, bands) THz of a path, whose points at Gamma are those of the path's direction there."""
    frequencies = _frequencies(phonons, points)
    for n in np.flatnonzero((points == 0.0).all(axis=1)):
        frequencies[n] = _frequencies(phonons, points[n : n + 1], points[n - 1 if n else 1])[0]
    return np.sort(frequencies, axis=1)


def _bands(phonons: Any, points: int) -> dict[str, Any]:
    path = _path(_from_phonopy(phonons.primitive), points)
    x, places, labels = path.get_linear_kpoint_axis()
    first = path.kpts[np.argmax((path.kpts != 0.0).any(axis=1))]  # the way that leads from Gamma
    special = {
        _label(name): np.sort(_frequencies(phonons, np.array([point]), first)[0]).tolist()
        for name, point in path.special_points.items()
    }
    return {
        "x": x.tolist(),
        "frequencies": _along(phonons, path.kpts).tolist(),
        "places": places.tolist(),
        "labels": [label.replace("G", "Γ") for label in labels],
        "special": special,
    }


def _special_numbers(bands: dict[str, Any]) -> dict[str, Number]:
    """Lowest and highest frequency at each special point; the lowest at Gamma is zero."""
    numbers = {}
    for name, frequencies in bands["special"].items():
        for which, value in zip(BOUNDS, (frequencies[0], frequencies[-1]), strict=True):
            if (name, which) != ("Gamma", "lowest"):
                numbers[f"{which} frequency at {name}"] = Number(value, "THz")
    return numbers


def _states(mesh: Array, weights: Array) -> dict[str, Any]:
    """Density of states per THz and primitive cell."""
    grid = np.linspace(min(0.0, float(mesh.min())) - 0.5, float(mesh.max()) + 0.5, 300)
    share = np.repeat(weights / weights.sum(), mesh.shape[1])
    gaussians = np.exp(-0.5 * ((grid[:, None] - mesh.ravel()) / WIDTH) ** 2)
    density = gaussians @ share / (WIDTH * np.sqrt(2.0 * np.pi))
    return {"grid": grid.tolist(), "density": density.tolist()}


def _stable(lowest: float, task: Task) -> Verdict:
    """Imaginary modes are a fault of the ground state, and to be expected of some other crystals."""
    energies = {name: one.data["energy"] for name, one in task.given["crystal"].items()}
    ground = min(energies, key=energies.__getitem__)
    grade = Grade.PASS
    if lowest < -IMAGINARY:
        grade = Grade.FAIL if ground == task.subject.name else Grade.WARN
    text = "all frequencies are real" if grade is Grade.PASS else f"a mode has {-lowest:.3g}i THz"
    criterion = (
        f"no imaginary frequency beyond {IMAGINARY}i THz in the ground state (elsewhere: warn)"
    )
    return Verdict("no-imaginary-modes", grade, text, criterion)


def _sum_rule(acoustic: float) -> Verdict:
    return Verdict(
        "acoustic-sum-rule",
        Grade.PASS if acoustic < IMAGINARY else Grade.WARN,
        f"the acoustic modes at Gamma are within {acoustic:.2g} THz of zero, unsymmetrised",
        f"within {IMAGINARY} THz",
    )


def _figure(one: Shown) -> Figure:
    def bands(axes: Any) -> None:
        for (model, outcome), line, color in zip(one.outcomes.items(), LINES, COLORS, strict=False):
            data = outcome.data
            lines = axes.plot(data["x"], data["frequencies"], line, color=color, linewidth=1.2)
            lines[0].set_label(model)
            axes.set_xticks(data["places"], data["labels"])
            axes.set(ylabel="frequency (THz)", xlim=(data["x"][0], data["x"][-1]))
        axes.axhline(0.0, color="#8b95a1", linewidth=0.8)
        if len(one.outcomes) > 1:
            axes.legend()

    def states(axes: Any) -> None:
        for outcome, line, color in zip(one.outcomes.values(), LINES, COLORS, strict=False):
            axes.plot(outcome.data["density"], outcome.data["grid"], line, color=color)
        axes.set(xlabel="states per THz", xlim=(0, None))

    title = f"Phonons of {one.subject.name}"
    return panels([bands, states], title, across=True, size=(6.8, 3.8), widths=(3, 1))
