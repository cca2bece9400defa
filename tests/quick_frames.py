"""Labelled frames of several kinds of matter, into which tests of the data doctor put faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron
from ase.md.verlet import VelocityVerlet
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.potentials.voigt import matrix_of, six_of

__all__ = [
    "KINDS",
    "Change",
    "alloy",
    "clusters",
    "liquid",
    "molecules",
    "strains",
    "stress_in_order",
    "stress_times",
    "with_fault",
]

Change = Callable[[Frame], Frame]


def _frame(atoms: Atoms, calculator: Calculator, group: str, index: int) -> Frame:
    atoms = atoms.copy()
    atoms.calc = calculator
    periodic = bool(atoms.pbc.all())
    return Frame(
        numbers=np.array(atoms.numbers, dtype=np.int32),
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        pbc=np.array(atoms.pbc, dtype=bool),
        energy=float(atoms.get_potential_energy()),
        forces=atoms.get_forces(),
        stress=matrix_of(atoms.get_stress()) if periodic else None,
        config_type=group,
        sigma=FrameSigma(0.001, 0.1, 0.01),
        source="made.xyz",
        index=index,
    )


@cache
def strains() -> tuple[Frame, ...]:
    """Copper at several volumes and elastic strains, no atom displaced."""
    frames = []
    for scale in np.linspace(-0.03, 0.03, 9):
        atoms = bulk("Cu", "fcc", a=3.6 * (1.0 + scale), cubic=True)
        frames.append(_frame(atoms, EMT(), "volumes", len(frames)))
    rng = np.random.default_rng(0)
    for _ in range(16):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        strain = rng.uniform(-0.03, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frames.append(_frame(atoms, EMT(), "elastic", len(frames)))
    return tuple(frames)


@cache
def alloy() -> tuple[Frame, ...]:
    """Rattled and strained crystals of gold and copper of several compositions."""
    frames = []
    rng = np.random.default_rng(1)
    for n in range(40):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 2, 1 + n % 2)
        atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // (2 + n % 3)]] = 79
        strain = rng.uniform(-0.03, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.12, (len(atoms), 3))
        frames.append(_frame(atoms, EMT(), "alloy", n))
    return tuple(frames)


def _trajectory(
    atoms: Atoms,
    calculator: Callable[[], Calculator],
    group: str,
    kelvin: float,
    steps: int,
    count: int,
) -> tuple[Frame, ...]:
    rng = np.random.RandomState(2)
    atoms.calc = calculator()
    widths = np.sqrt(units.kB * kelvin * atoms.get_masses())[:, None]
    atoms.set_momenta(widths * rng.normal(size=(len(atoms), 3)))
    run = VelocityVerlet(atoms, 4.0 * units.fs)
    frames = []
    for n in range(-10, count):
        # A crude thermostat: any temperature near the one asked for will do.
        run.run(steps)
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(kelvin / atoms.get_temperature()))
        if n < 0:
            continue
        frames.append(_frame(atoms, calculator(), group, n))
    return tuple(frames)


@cache
def liquid() -> tuple[Frame, ...]:
    """Liquid aluminium, frames far apart in time."""
    atoms = bulk("Al", "fcc", a=4.2, cubic=True) * (2, 2, 2)
    return _trajectory(atoms, EMT, "liquid", 2500.0, 10, 36)


@cache
def clusters() -> tuple[Frame, ...]:
    """An open cluster of 13 argon atoms, close to melting, scaled to some eV."""
    atoms = Atoms(Icosahedron("Ar", 2, latticeconstant=5.2))

    def pair() -> Calculator:
        return LennardJones(sigma=3.4, epsilon=0.5, rc=20.0, smooth=False)

    return _trajectory(atoms, pair, "cluster", 700.0, 5, 50)


@cache
def molecules() -> tuple[Frame, ...]:
    """Rattled molecules of three kinds, open."""
    frames = []
    rng = np.random.default_rng(3)
    for n in range(90):
        atoms = molecule(("CH4", "NH3", "C2H6")[n % 3])
        atoms.positions += rng.normal(0.0, 0.06, (len(atoms), 3))
        frames.append(_frame(atoms, EMT(), "molecules", n))
    return tuple(frames)


KINDS = {
    "strains": strains,
    "alloy": alloy,
    "liquid": liquid,
    "clusters": clusters,
    "molecules": molecules,
}


# ---- faults


def with_fault(
    frames: Sequence[Frame], change: Change, which: Sequence[int] | None = None
) -> list[Frame]:
    """The frames with all of them, or those at some places, changed."""
    places = range(len(frames)) if which is None else which
    return [change(f) if n in places else f for n, f in enumerate(frames)]


def stress_times(factor: float, volume: bool = False) -> Change:
    """Multiplies the stress, by the volume as well if asked for."""

    def change(frame: Frame) -> Frame:
        if frame.stress is None:
            return frame
        scale = factor * (abs(float(np.linalg.det(frame.cell))) if volume else 1.0)
        return replace(frame, stress=frame.stress * scale)

    return change


def stress_in_order(order: Sequence[int]) -> Change:
    """Puts component order[k] of the stress at place k of xx yy zz yz xz xy."""

    def change(frame: Frame) -> Frame:
        if frame.stress is None:
            return frame
        return replace(frame, stress=matrix_of(six_of(frame.stress)[list(order)]))

    return change
