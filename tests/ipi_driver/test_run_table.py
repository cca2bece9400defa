"""Which tables of properties are refused, doubted or believed; made here, as i-PI writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.ipi_driver.input import InputSettings
from forcemap.ipi_driver.run_table import RunTable
from numpy.typing import NDArray

Array = NDArray[np.float64]


def table(path: Path, n_atoms: int, found: Any, lines: int = 200, **settings: Any) -> RunTable:
    """A table with a line each 10 steps of 0.5 fs, with the temperatures `found`, K.

    `conserved` and `potential` may be given, eV.
    """
    conserved = settings.pop("conserved", 0.0)
    potential = settings.pop("potential", 0.0)
    steps = 10.0 * np.arange(lines)
    columns = [steps, steps * 5e-4, conserved, found, 1.0, 1.0, potential, 0.1]
    rows = np.column_stack([np.broadcast_to(column, lines) for column in columns])
    header = "# column 1 --> step : The current simulation time step.\n"
    text = "".join("".join(f"{value:18.8e}" for value in row) + "\n" for row in rows)
    path.write_text(header + text)
    return RunTable(path, InputSettings(steps=10 * (lines - 1), **settings), n_atoms)


def fluctuating(n_atoms: int, beads: int, kelvin: float, lines: int, seed: int) -> Array:
    """Temperatures of a canonical ensemble, each line independent: the widest they can be."""
    freedom = max(3, 3 * n_atoms * beads - 3)
    drawn: Array = kelvin * np.random.default_rng(seed).chisquare(freedom, lines) / freedom
    return drawn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pimd.out"


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
@pytest.mark.parametrize(("n_atoms", "beads"), [(1, 1), (2, 1), (8, 16), (500, 4)])
@pytest.mark.parametrize("kelvin", [1.0, 300.0, 3000.0])
def test_fluctuations_of_small_systems_are_believed(
    path: Path, ensemble: Any, n_atoms: int, beads: int, kelvin: float
) -> None:
    for seed in range(5):
        for lines in (2, 12, 1000):
            hot = fluctuating(n_atoms, beads, kelvin, lines, seed)
            run = table(
                path, n_atoms, hot, lines, ensemble=ensemble, beads=beads, temperature=kelvin
            )
            assert (run.fault(), run.doubt(), run.has_exploded()) == (None, None, False)


@pytest.mark.parametrize(
    ("found", "settings"),
    [
        (np.linspace(300.0, 150.0, 200), {"ensemble": "nve"}),  # half goes to the potential energy
        (np.linspace(20.0, 900.0, 200), {"temperature": 20.0, "ensemble": "nve"}),  # strained
        (300.0 * (1 + 20 * np.exp(-np.arange(200) / 20)), {}),  # strained, cooled by the thermostat
        (900.0, {"thermostat": "piglet", "gle": "<thermostat/>"}),
    ],
    ids=["nve", "cold", "cooling", "piglet"],
)
def test_starts_away_from_equilibrium_are_believed(
    path: Path, found: Any, settings: dict[str, Any]
) -> None:
    run = table(path, 8, found, **{"beads": 4, **settings})
    assert (run.fault(), run.doubt()) == (None, None)


def test_run_that_ends_hot_has_blown_up(path: Path) -> None:
    hot = np.full(200, 300.0)
    hot[150:] = 4e10
    hot[170] = 9e11
    run = table(path, 8, hot, beads=4, timestep=50.0)
    assert run.has_exploded()
    fault = run.fault()
    assert fault is not None
    assert "4e+10 K at step 1990, asked for 300 K (above 20000 K first at step 1500" in fault
    assert "at most 9e+11 K at step 1700" in fault
    assert "timestep of 50 fs too large" in fault
    assert run.fault(until=1490) is None


def test_explosion_that_a_thermostat_has_cooled_is_a_fault(path: Path) -> None:
    hot = np.full(200, 300.0)
    hot[3] = 1e8
    assert "at most 1e+08 K at step 30" in str(table(path, 8, hot).fault())


def test_overlapping_atoms_at_the_start_do_not_stop_a_run(path: Path) -> None:
    hot = np.full(8, 30_000.0)
    run = table(path, 8, hot, lines=8)
    assert not run.has_exploded()
    assert run.fault() is not None, "unless it ends so"
    run = table(path, 8, np.append(hot, np.full(20, 400.0)), lines=28)
    assert run.fault() is None
    assert "was 3e+04 K at step" in str(run.doubt())
    assert table(path, 8, np.full(12, 30_000.0), lines=12).has_exploded()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", ["temperature", "potential", "conserved"])
def test_properties_that_are_not_finite_are_a_fault(path: Path, value: float, column: str) -> None:
    values = np.zeros(20)
    values[15:] = value
    found: dict[str, Any] = {"found": 300.0, "lines": 20, column: values}
    found["found"] = found.pop("temperature", found["found"])
    run = table(path, 8, **found)
    assert run.has_exploded()
    assert "not finite at step 150" in str(run.fault())


@pytest.mark.parametrize(
    ("found", "values", "message"),
    [
        (6000.0, {}, "6e[+]03 K on average at steps 1950 to 1990, asked for 300 K"),
        (600.0, {"lines": 1000}, "600 K on average from step 5000 on"),
        (300.0, {"ensemble": "nve", "conserved": np.linspace(0, 2, 200)}, "drifts by 2.. meV"),
        (300.0, {"potential": np.linspace(0, -100, 200)}, "falls by 12.5 eV per atom to step 1990"),
    ],
    ids=["hot", "unsettled", "drift", "hole"],
)
def test_suspicious_runs_are_doubted(
    path: Path, found: float, values: dict[str, Any], message: str
) -> None:
    """Drift: 2 eV in 1 ps; the kinetic energy of 8 atoms as 4 beads at 4 x 300 K is 1.2 eV per bead."""
    run = table(path, 8, found, **{"beads": 4, **values})
    assert run.fault() is None
    assert re.search(message, str(run.doubt())), run.doubt()


def test_what_is_not_there_or_cut_is_left_out(path: Path, tmp_path: Path) -> None:
    missing = RunTable(tmp_path / "none", InputSettings(), 8)
    assert (missing.fault(), missing.doubt(), missing.has_exploded()) == (None, None, False)
    run = table(path, 8, 300.0)
    with path.open("a") as file:
        file.write("   2.0e+03 1e9 1e9\n   2.1e+03  1.0 0.0 4e10")
    assert (run.fault(), run.doubt(), run.has_exploded()) == (None, None, False)
