"""Judges a run of ``forcemap pimd`` by the table of properties that i-PI writes.

A timestep that is too large, or a structure outside the data, lets the atoms fly apart; i-PI goes on
to the last step all the same. Small systems fluctuate (the temperature of f degrees of freedom by
its sqrt(2/f) part), cold starts warm up, strained ones heat; the bounds below are far from that.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase.units import kB
from forcemap.ipi_driver.input import NPT_PROPERTIES, PROPERTIES, InputSettings
from numpy.typing import NDArray

__all__ = ["RunTable"]

Array = NDArray[np.float64]

BLOWN_UP = 20_000.0
"""K, and 20 times the temperature asked for: 2.6 eV per atom, more than any solid or liquid has."""

BLOWN_UP_RATIO = 20.0

EXPLODED = 50.0
"""Times `BLOWN_UP`: a single such line is enough, whatever follows."""

LASTING = 10
"""Lines that must be beyond `BLOWN_UP` before a run is stopped: atoms that start too near each other
are hot until the thermostat has cooled them."""

LAST = 5
"""Lines at the end of a run that are averaged."""

HOT, HOT_RATIO = 5_000.0, 10.0
"""K, and times the temperature asked for: suspicious at the end, though a strained start may do it."""

SETTLED = 10.0
"""Time constants of the thermostat after which the temperature should be the one asked for."""

SETTLED_RATIO = 1.5
"""Times the temperature asked for, and six standard errors more: suspicious in a settled run."""

DRIFT = 0.5
"""Part of the beads' kinetic energy that is suspicious as drift of the conserved quantity: over a run
without a thermostat, or in one time constant of the thermostat."""

DEEP = 10.0
"""eV per atom: no bond energy is that large (tungsten 8.9), so a potential energy that falls by more
has found a hole of the potential."""

FEWEST = 12
"""Lines that averages over parts of a run need."""

_TAIL = 1 << 13


class RunTable:
    """The table of one run, read anew at each question."""

    def __init__(self, path: Path, settings: InputSettings, n_atoms: int) -> None:
        """Prepare; nothing is read yet, and the table need not exist."""
        self.path = path
        self._settings = settings
        self._n_atoms = n_atoms
        self._limit = max(BLOWN_UP, BLOWN_UP_RATIO * settings.temperature)

    def has_exploded(self) -> bool:
        """Whether the last lines leave no doubt that the run cannot be saved."""
        rows = self._rows(tail=True)[-LASTING:]
        if len(rows) == 0:
            return False
        hot = _column(rows, "temperature")
        if not np.isfinite(rows[-1]).all() or hot[-1] > EXPLODED * self._limit:
            return True
        return len(rows) == LASTING and bool((hot > self._limit).all())

    def fault(self, until: float = np.inf) -> str | None:
        """Reason why the run, up to a step, has failed; None if it has not."""
        rows = self._until(until)
        if len(rows) == 0:
            return None
        broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(broken):
            return self._blown_up(f"a property is not finite at step {rows[broken[0], 0]:.0f}")
        hot = _column(rows, "temperature")
        last = _last(rows)
        mean = float(_column(last, "temperature").mean())
        if mean <= self._limit and hot.max() <= EXPLODED * self._limit:
            return None
        first, worst = int(np.argmax(hot > self._limit)), int(hot.argmax())
        return self._blown_up(
            f"the temperature is {hot[-1]:.3g} K at step {rows[-1, 0]:.0f}, asked for "
            f"{self._settings.temperature:g} K (above {self._limit:g} K first at step "
            f"{rows[first, 0]:.0f}, at most {hot[worst]:.3g} K at step {rows[worst, 0]:.0f})"
        )

    def doubt(self) -> str | None:
        """Anything suspicious in a run that has not failed; None if nothing is."""
        rows = self._rows()
        if len(rows) < 2:
            return None
        for look in (self._hot, self._unsettled, self._drift, self._hole):
            sign = look(rows)
            if sign is not None:
                return f"{self.path}: {sign}: {self._reasons()}"
        return None

    def _hot(self, rows: Array) -> str | None:
        asked = self._settings.temperature
        last = _last(rows)
        mean = float(_column(last, "temperature").mean())
        if mean > max(HOT, HOT_RATIO * asked):
            return f"the temperature is {mean:.3g} K {_in_last(last)}, asked for {asked:g} K"
        hot = _column(rows, "temperature")
        if hot.max() > self._limit:
            step = rows[hot.argmax(), 0]
            return (
                f"the temperature was {hot.max():.3g} K at step {step:.0f}, asked for {asked:g} K"
            )
        return None

    def _unsettled(self, rows: Array) -> str | None:
        s = self._settings
        # Other temperatures are what the thermostat of piglet is made for.
        if s.ensemble == "nve" or s.thermostat == "piglet":
            return None
        time = 1000.0 * _column(rows, "time")
        settled = rows[time > max(SETTLED * s.tau, 0.5 * time[-1])]
        if len(settled) < FEWEST:
            return None
        span = float(np.ptp(_column(settled, "time"))) * 1000.0
        independent = max(1.0, span / (2.0 * s.tau))
        freedom = max(1, 3 * self._n_atoms * s.beads - 3)
        error = float(np.sqrt(2.0 / (freedom * independent)))
        mean = float(_column(settled, "temperature").mean())
        if mean <= (SETTLED_RATIO + 6.0 * error) * s.temperature:
            return None
        return (
            f"the temperature is {mean:.3g} K on average from step {settled[0, 0]:.0f} on, asked for "
            f"{s.temperature:g} K"
        )

    def _drift(self, rows: Array) -> str | None:
        s = self._settings
        conserved, time = _column(rows, "conserved"), _column(rows, "time")
        if len(rows) < FEWEST:
            return None
        third = len(rows) // 3
        change = float(conserved[-third:].mean() - conserved[1 : third + 1].mean())
        slope = change / float(time[-third:].mean() - time[1 : third + 1].mean())  # eV/ps
        span = float(time[-1] - time[0])
        drift = abs(slope) * (span if s.ensemble == "nve" else min(span, s.tau / 1000.0))
        # i-PI gives the quantity per bead; the polymers' own dynamics are at P times T.
        mean = max(s.temperature, float(_column(rows, "temperature").mean()))
        if drift <= DRIFT * 1.5 * self._n_atoms * s.beads * kB * mean:
            return None
        return (
            f"the conserved quantity drifts by {1000.0 * slope / self._n_atoms:.3g} meV per atom and "
            "ps"
        )

    def _hole(self, rows: Array) -> str | None:
        potential = _column(rows, "potential")
        lowest = int(potential.argmin())
        fall = float(potential[0] - potential[lowest]) / self._n_atoms
        if fall <= DEEP:
            return None
        return (
            f"the potential energy falls by {fall:.3g} eV per atom to step {rows[lowest, 0]:.0f}, "
            "more than bonds hold"
        )

    def _blown_up(self, sign: str) -> str:
        return (
            f"{self.path}: the run has blown up: {sign}: {self._reasons()} It cannot go on: begin "
            "anew in another folder"
        )

    def _reasons(self) -> str:
        return (
            f"is the timestep of {self._settings.timestep:g} fs too large, or the structure far from "
            "the potential's training data?"
        )

    def _until(self, step: float) -> Array:
        rows = self._rows()
        kept: Array = rows[rows[:, 0] <= step]
        return kept

    def _rows(self, tail: bool = False) -> Array:
        """All whole rows, (n, columns), or those at the end."""
        try:
            with self.path.open("rb") as file:
                if tail:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode("utf-8", errors="replace").split("\n")[:-1]
        except OSError:
            lines = []
        # The first line of a tail may be cut, and so may a line that i-PI was writing when killed.
        words = [line.split() for line in lines[bool(tail) :] if not line.startswith("#")]
        width = len(PROPERTIES + (NPT_PROPERTIES if self._settings.ensemble == "npt" else ()))
        rows = [row for row in words if len(row) == width]
        try:
            table = np.array(rows, dtype=np.float64)
        except ValueError:  # not a table of i-PI's
            table = np.empty(0)
        return table.reshape(-1, width)


def _column(rows: Array, name: str) -> Array:
    names = [known.partition("{")[0] for known in PROPERTIES]
    column: Array = rows[:, names.index(name)]
    return column


def _last(rows: Array) -> Array:
    """The last lines, without the start if there are others."""
    last: Array = rows[1:][-LAST:] if len(rows) > 1 else rows
    return last


def _in_last(rows: Array) -> str:
    if len(rows) == 1:
        return f"at step {rows[-1, 0]:.0f}"
    return f"on average at steps {rows[0, 0]:.0f} to {rows[-1, 0]:.0f}"
