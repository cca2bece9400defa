"""Harmonic frequencies and the spectrum of the velocities: two ways to the same numbers.

The harmonic ones are of a supercell, from forces at displacements in Python; the spectrum is of
dynamics in LAMMPS. At low temperature they agree if energies, forces and both evaluators belong
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
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
from forcemap.fitter.validation.drawing import COLORS, REFERENCE_COLOR, drawn
from forcemap.fitter.validation.dynamics import (
    DynamicsSettings,
    broken,
    frames_of_dump,
    moved,
    starting,
    timestep_of,
)
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

__all__ = ["Vibrations", "harmonic", "spectrum"]

Array = NDArray[np.float64]

GOOD, BAD = 1.0, 3.0
"""Per cent of the frequency; up to the first a pass, beyond the second a fail."""

DISPLACEMENT = 0.01
"""Å."""

WIDTH = 0.25
"""THz; lines are smeared by Gaussians of this deviation, in the figure."""


@dataclass(frozen=True)
class VibrationsSettings(DynamicsSettings):
    """Dynamics from the crystal at rest, all modes with the same energy."""

    temperature: float = field(default=5.0, metadata=read_by(number(above=0, at_most=1000)))
    """K: temperature of the dynamics, a low one."""

    settle: int = field(default=1, metadata=read_by(integer(at_least=1, at_most=10**9)))
    steps: int = field(default=10_000, metadata=read_by(integer(at_least=1000, at_most=10**9)))
    every: int = field(default=5, metadata=read_by(integer(at_least=1, at_most=1000)))
    """steps between velocities."""


class Vibrations(Check):
    """Frequencies of a supercell by second derivatives, and by the velocities of dynamics."""

    name: ClassVar[str] = "vibrations"
    title: ClassVar[str] = "Vibrations"
    settings: ClassVar[type[Checked]] = VibrationsSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal",)
    by_lammps: ClassVar[bool] = True

    def subjects(self, case: Case) -> Sequence[Subject]:
        """One crystal."""
        return case.crystals[:1]

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Root mean squares over all modes."""
        return ["rms frequency, harmonic", "rms frequency, dynamics"]

    def run(self, task: Task) -> Outcome:
        """Second derivatives, then dynamics, then the spectrum."""
        settings, atoms = task.settings, starting(task)
        # Second derivatives take two evaluations of the forces for each coordinate.
        share = 1.0 / (6 * len(atoms) + settings.steps)
        frequencies, modes = harmonic(atoms, lambda: task.advance(share))
        if frequencies[3] < 0.05:
            raise NotComputed("the crystal has modes that do not vibrate; see its phonons")
        atoms.set_velocities(_velocities(atoms, modes[:, 3:], settings.temperature, task.case.seed))
        step = timestep_of(atoms, settings)
        moves = moved(
            task,
            atoms,
            [
                "fix move all nve",
                f"dump out all custom {settings.every} moves.dump id vx vy vz",
                'dump_modify out format float "%.9g"',
                f"run {settings.steps}",
            ],
            lambda steps: task.advance(share * steps),
        )
        fault = broken(moves, settings.temperature)
        if fault is not None:
            return Outcome({}, [fault])
        text = (task.folder / "moves.dump").read_text(encoding="utf-8")
        velocities = frames_of_dump(text, 3)
        grid, power = spectrum(velocities, atoms.get_masses(), step, settings.every)
        still = float(np.sqrt(np.mean(frequencies[3:] ** 2)))
        moving = float(np.sqrt((grid**2 * power).sum() / power.sum()))
        off = 100.0 * (moving / still - 1.0)
        grade = Grade.PASS if abs(off) <= GOOD else Grade.WARN if abs(off) <= BAD else Grade.FAIL
        verdict = Verdict(
            "dynamics-follow-second-derivatives",
            grade,
            f"the rms frequency of dynamics at {settings.temperature:g} K is {off:+.2f} % from the "
            f"harmonic one ({moving:.4g} against {still:.4g} THz)",
            f"within {GOOD:g} % (within {BAD:g} %: warn)",
        )
        numbers = {
            "rms frequency, harmonic": Number(still, "THz"),
            "rms frequency, dynamics": Number(moving, "THz"),
        }
        data = {
            "frequencies": frequencies[3:].tolist(),
            "grid": grid.tolist(),
            "power": power.tolist(),
        }
        return Outcome(numbers, [verdict], data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Both, smeared alike."""

        def draw(axes: Any) -> None:
            for one in shown:
                for (model, outcome), color in zip(one.outcomes.items(), COLORS, strict=False):
                    data = outcome.data
                    if "grid" not in data:
                        continue
                    x = np.linspace(0.0, 1.1 * max(data["frequencies"]), 400)
                    grid, power = np.array(data["grid"]), np.array(data["power"])
                    lines = np.array(data["frequencies"])
                    axes.plot(
                        x, _smeared(x, grid, power), color=color, label=f"velocities, {model}"
                    )
                    axes.plot(
                        x,
                        _smeared(x, lines, np.ones(len(lines))),
                        "--",
                        color=REFERENCE_COLOR,
                        linewidth=1.0,
                        label=f"harmonic, {model}",
                    )
            axes.set(xlabel="frequency (THz)", ylabel="states per THz")
            axes.legend()

        with_data = any("grid" in o.data for one in shown for o in one.outcomes.values())
        return {self.title: drawn(draw, self.title)} if with_data else {}


def harmonic(atoms: Atoms, advance: Callable[[], None] = lambda: None) -> tuple[Array, Array]:
    """(3n,) frequencies in THz, imaginary ones negative; (3n, 3n) mass-weighted modes as columns.

    `advance` is called after each of 6n evaluations of forces.
    """
    from ase import units

    rest = atoms.positions.copy()
    rows = []
    for atom in range(len(atoms)):
        for axis in range(3):
            forces = []
            for sign in (1.0, -1.0):
                atoms.positions = rest
                atoms.positions[atom, axis] += sign * DISPLACEMENT
                forces.append(atoms.get_forces().ravel())
                advance()
            rows.append((forces[1] - forces[0]) / (2.0 * DISPLACEMENT))
    atoms.positions = rest
    roots = np.sqrt(np.repeat(atoms.get_masses(), 3))
    matrix = np.array(rows) / np.outer(roots, roots)
    values, modes = np.linalg.eigh(0.5 * (matrix + matrix.T))
    # Of ASE's unit of time to picoseconds, of radians to periods.
    frequencies = np.sign(values) * np.sqrt(np.abs(values)) * 1000.0 * units.fs / (2.0 * np.pi)
    # The three modes of translation first, wherever rounding has put them.
    order = np.argsort(np.abs(frequencies))
    order = np.concatenate([order[:3], np.sort(order[3:])])
    return frequencies[order], modes[:, order]


def _velocities(atoms: Atoms, modes: Array, temperature: float, seed: int) -> Array:
    """Velocities that give every mode the energy kT, in ASE's units."""
    from ase import units

    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=modes.shape[1])
    amplitude = np.sqrt(2.0 * units.kB * temperature)
    weighted = amplitude * (modes @ signs)
    return np.asarray((weighted / np.sqrt(np.repeat(atoms.get_masses(), 3))).reshape(-1, 3))


def spectrum(velocities: Array, masses: Array, step: float, every: int) -> tuple[Array, Array]:
    """Frequencies (THz) and the power of mass-weighted velocities (frames, n, 3), one in `every` steps.

    The leapfrog's frequencies, (2/dt) asin(omega dt/2), are turned back into omega.
    """
    weighted = velocities * np.sqrt(masses)[None, :, None]
    window = np.hanning(len(weighted))[:, None, None]
    power = (np.abs(np.fft.rfft(weighted * window, axis=0)) ** 2).sum(axis=(1, 2))
    grid = np.fft.rfftfreq(len(weighted), step * every)
    return np.sin(np.pi * grid * step) / (np.pi * step), power


def _smeared(x: Array, lines: Array, weights: Array) -> Array:
    gaussians = np.exp(-0.5 * ((x[:, None] - lines) / WIDTH) ** 2)
    return np.asarray(gaussians @ weights / (weights.sum() * WIDTH * np.sqrt(2.0 * np.pi)))
