"""Energies of surfaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, Place, integer, number, optional, read_by, reader
from forcemap.fitter.validation.check import (
    CrystalCheck,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
)
from forcemap.fitter.validation.defects import no_hole, positive
from forcemap.fitter.validation.relaxing import Collapse, energy_of, relax
from forcemap.potentials.quoting import quoted

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Surfaces", "slabs"]

J_PER_M2 = 16.0217663
"""J/m² in one eV/Å²."""

LAYER = 0.1
"""Å; atoms whose heights differ by less are one layer."""

Plane = tuple[int, int, int]


@reader(
    {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    }
)
def _planes(value: Any, place: Place) -> tuple[Plane, ...]:
    if not isinstance(value, list | tuple):
        place.fail(
            f"expected a list of planes, such as [[1, 0, 0], [1, 1, 1]], found {quoted(value)}"
        )
    read = integer(at_least=-20, at_most=20)
    planes = []
    for n, item in enumerate(value):
        where = place.item(n)
        if not isinstance(item, list | tuple) or len(item) != 3:
            where.fail(f"expected three indices, such as [1, 1, 0], found {quoted(item)}")
        h, k, l = (read(index, where) for index in item)  # noqa: E741
        if not (h or k or l):
            where.fail("is no plane: one index has to differ from 0")
        planes.append((h, k, l))
    return tuple(planes)


@dataclass(frozen=True)
class SurfacesSettings(Checked):
    """Slabs of the crystal, with relaxed positions."""

    planes: tuple[Plane, ...] | None = field(default=None, metadata=read_by(optional(_planes)))
    """indices of the crystal's conventional cell; by default 100, 110 and 111 of cubic crystals, 001,
    100 and 110 of others."""

    thickness: float = field(default=10.0, metadata=read_by(number(above=0, at_most=200)))
    """Å: least thickness of a slab."""

    vacuum: float = field(default=12.0, metadata=read_by(number(above=0, at_most=200)))
    """Å: least width of the vacuum."""

    fmax: float = field(default=0.02, metadata=read_by(number(above=0, at_most=1)))
    """eV/Å: forces below which a structure is relaxed."""

    steps: int = field(default=300, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """largest number of steps of a relaxation."""


class Surfaces(CrystalCheck):
    """Energy of each surface, by its most favourable cut, in cells of one unit of the surface.

    Reconstructions that need larger cells are not found.
    """

    name: ClassVar[str] = "surfaces"
    title: ClassVar[str] = "Surfaces"
    settings: ClassVar[type[Checked]] = SurfacesSettings

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of each plane, relaxed and not."""
        labels = [_label(plane) for plane in _planes_of(subject.atoms, settings)]
        return [name for label in labels for name in (label, f"{label}, unrelaxed")]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Planes."""
        return len(_planes_of(subject.atoms, settings))

    def run(self, task: Task) -> Outcome:
        """Relax a slab of each plane."""
        crystal = task.crystal()
        per_atom = energy_of(crystal) / len(crystal)
        numbers, remarks, collapsed = {}, [], []
        for plane in _planes_of(task.subject.atoms, task.settings):
            best: Atoms | None = None
            for slab in slabs(crystal, plane, task.settings.thickness, task.settings.vacuum):
                slab.calc = crystal.calc
                if best is None or energy_of(slab) < energy_of(best):
                    best = slab.copy()
                    best.calc = task.model.calculator(task.jobs)
            if best is None:
                raise NotComputed(f"the plane {plane} has no slab")
            area = float(np.linalg.norm(np.cross(best.cell[0], best.cell[1])))
            unrelaxed = _energy(best, per_atom, area)
            numbers[f"{_label(plane)}, unrelaxed"] = Number(unrelaxed, "J/m²")
            try:
                if not relax(best, task.settings.fmax, task.settings.steps, advance=task.advance):
                    remarks.append(f"the slab of {_label(plane)} does not come to rest")
                    continue
            except Collapse as reason:
                collapsed.append(f"{_label(plane)}: {reason}")
                continue
            numbers[_label(plane)] = Number(_energy(best, per_atom, area), "J/m²")
        if not numbers:
            raise NotComputed("no plane is asked for")
        values = [number.value for number in numbers.values()]
        verdicts = positive("surfaces-cost-energy", "surfaces", values, "J/m²")
        return Outcome(numbers, [*verdicts, no_hole("surfaces", collapsed)], {}, remarks)


def _energy(slab: Atoms, per_atom: float, area: float) -> float:
    return float((energy_of(slab) - len(slab) * per_atom) / (2.0 * area) * J_PER_M2)


def _label(plane: Plane) -> str:
    return f"surface {''.join(map(str, plane))}"


def _planes_of(atoms: Any, settings: Any) -> Sequence[Plane]:
    if settings.planes is not None:
        return tuple(settings.planes)
    lengths, angles = atoms.cell.lengths(), atoms.cell.angles()
    cubic = np.allclose(lengths, lengths[0], rtol=1e-3) and np.allclose(angles, 90.0, atol=0.1)
    return ((1, 0, 0), (1, 1, 0), (1, 1, 1)) if cubic else ((0, 0, 1), (1, 0, 0), (1, 1, 0))


def slabs(crystal: Atoms, plane: Plane, thickness: float, vacuum: float) -> Iterator[Atoms]:
    """Slabs of a plane with all different cuts between layers, each with both surfaces."""
    from ase.build import surface

    one = surface(crystal, plane, 1, periodic=True)
    height = float(one.cell[2, 2])  # the normal is the third axis
    count = max(1, int(np.ceil(thickness / height)))
    normal = np.array(plane) @ np.linalg.inv(crystal.cell.array).T
    normal /= np.linalg.norm(normal)
    # Heights of the layers, in one period of the crystal along the normal.
    heights = np.unique(np.round(np.sort((crystal.positions @ normal) % height), 6))
    ends = np.append(heights, heights[0] + height)
    for start, gap in zip(ends[:-1], np.diff(ends), strict=True):
        if gap < LAYER:
            continue
        shifted = crystal.copy()
        shifted.positions -= (start + 0.5 * gap) * normal
        shifted.wrap()
        slab = surface(shifted, plane, count, vacuum=0.5 * vacuum)
        slab.pbc = True
        yield slab
