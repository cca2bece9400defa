"""Energies of interstitials: in the holes of the crystal, and split along its axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, read_by
from forcemap.fitter.validation.check import (
    CrystalCheck,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
)
from forcemap.fitter.validation.defects import (
    DefectSettings,
    chemical_potential,
    no_hole,
    positive,
    relaxed_energy,
)
from forcemap.fitter.validation.relaxing import Collapse, energy_of
from forcemap.fitter.validation.supercells import equivalent_sites, supercell
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Interstitial", "holes"]

Array = NDArray[np.float64]

DIRECTIONS = {"100": (1, 0, 0), "110": (1, 1, 0), "111": (1, 1, 1)}

SPLIT = 0.35
"""Half of the distance between the two atoms of a split one, over that of neighbours."""


@dataclass(frozen=True)
class InterstitialSettings(DefectSettings):
    """Relaxation of supercells with an atom more, of fixed shape."""

    holes: int = field(default=2, metadata=read_by(integer(at_least=0, at_most=20)))
    """how many of the crystal's largest holes are tried, beside split sites."""


class Interstitial(CrystalCheck):
    """Formation energies, E(N + 1) - mu - E(N), of self-interstitials."""

    name: ClassVar[str] = "interstitial"
    title: ClassVar[str] = "Interstitials"
    settings: ClassVar[type[Checked]] = InterstitialSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal", "vacancy")

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of each element: the lowest, and all that are tried."""
        assert subject.atoms is not None
        ways = [f"hole {n + 1}" for n in range(settings.holes)]
        ways += [f"split {direction}" for direction in DIRECTIONS]
        symbols = dict.fromkeys(subject.atoms.get_chemical_symbols())
        named = [f"interstitial {s}{w}" for s in symbols for w in ["", *(f", {w}" for w in ways)]]
        return [*named, *(f"Frenkel pair {symbol}" for symbol in symbols)]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Interstitials, as many as there are ways to put in an atom."""
        assert subject.atoms is not None
        ways = len(holes(subject.atoms, settings.holes)) + len(DIRECTIONS)
        return ways * len(set(subject.atoms.get_chemical_symbols()))

    def run(self, task: Task) -> Outcome:
        """Relax supercells with one atom more."""
        crystal = task.crystal()
        whole = supercell(crystal, task.settings.length)
        energy = energy_of(whole)
        vacancies = task.given.get("vacancy", {}).get(task.subject.name)
        removed = vacancies.data["removed"] if vacancies is not None else {}
        compound = len(set(crystal.get_chemical_symbols())) > 1
        numbers: dict[str, Number] = {}
        collapsed: list[str] = []
        remarks: list[str] = []
        for symbol in dict.fromkeys(crystal.get_chemical_symbols()):
            added = _added(task, (crystal, whole, energy), symbol, collapsed, remarks)
            if not added:
                continue
            potential, reservoir = chemical_potential(task, symbol)
            lowest = min(added.values())
            numbers[f"interstitial {symbol}"] = Number(lowest - potential, "eV")
            for name, change in added.items():
                numbers[name] = Number(change - potential, "eV")
            if symbol in removed:
                numbers[f"Frenkel pair {symbol}"] = Number(lowest + removed[symbol], "eV")
            if compound:
                remarks.append(f"interstitial {symbol}: against {reservoir}")
        what = "Frenkel pairs" if compound else "interstitials"
        judged = [n.value for name, n in numbers.items() if name.startswith("Frenkel") == compound]
        verdicts = positive("interstitials-cost-energy", what, judged, "eV")
        return Outcome(numbers, [*verdicts, no_hole("interstitials", collapsed)], {}, remarks)


def _added(
    task: Task,
    cells: tuple[Atoms, Atoms, float],
    symbol: str,
    collapsed: list[str],
    remarks: list[str],
) -> dict[str, float]:
    """Changes of energy by an atom more, for each way; what fails is added to one of the lists."""
    crystal, whole, energy = cells
    changes = {}
    for way, atoms in _tried(crystal, whole, symbol, task.settings.holes):
        atoms.calc = crystal.calc
        name = f"interstitial {symbol}, {way}"
        try:
            changes[name] = relaxed_energy(atoms, task) - energy
        except Collapse as reason:
            collapsed.append(f"{name}: {reason}")
        except NotComputed as reason:
            remarks.append(f"{name}: {reason}")
    return changes


def holes(atoms: Atoms, most: int) -> list[Array]:
    """Centres of the largest empty spheres of a crystal, of different size, Cartesian, Å.

    They are vertices of Voronoi's polyhedra.
    """
    from scipy.spatial import Voronoi, cKDTree

    big = atoms.repeat((3, 3, 3))
    centre = atoms.cell.array.sum(axis=0)
    positions = big.positions - centre
    vertices = Voronoi(positions).vertices
    inside = np.linalg.solve(atoms.cell.array.T, vertices.T).T
    vertices = vertices[((inside > -1e-6) & (inside < 1 - 1e-6)).all(axis=1)]
    radii = cKDTree(positions).query(vertices)[0]
    chosen: list[int] = []
    for place in np.argsort(-radii, kind="stable"):
        if all(abs(radii[place] - radii[other]) > 0.05 for other in chosen):
            chosen.append(int(place))
    return [vertices[place] for place in chosen[:most]]


def _tried(crystal: Atoms, whole: Atoms, symbol: str, most: int) -> Iterator[tuple[str, Atoms]]:
    """Supercells with one more atom of an element, by what is done."""
    from ase import Atom

    rng = np.random.default_rng(0)
    for number, place in enumerate(holes(crystal, most)):
        atoms = whole.copy()
        atoms.append(Atom(symbol, place))
        # Off the point of symmetry, which may be a saddle.
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        yield f"hole {number + 1}", atoms
    site = next(n for n in equivalent_sites(crystal) if crystal.symbols[n] == symbol)
    distances = np.linalg.norm(
        whole.get_distances(site, range(len(whole)), mic=True, vector=True), axis=1
    )
    nearest = float(np.sort(distances)[1])
    for name, direction in DIRECTIONS.items():
        axis = np.array(direction) @ crystal.cell.array
        half = SPLIT * nearest * axis / np.linalg.norm(axis)
        atoms = whole.copy()
        atoms.positions[site] += half
        atoms.append(Atom(symbol, whole.positions[site] - half))
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        yield f"split {name}", atoms
