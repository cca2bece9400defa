"""The quantum example: its fit, its closed forms, its estimators, and a short path integral."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read
from forcemap.fitter import Settings, fit_to_folder
from forcemap.fitter.sharing.run import Run
from forcemap.potentials import ForcemapCalculator, load
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXAMPLE = Path(__file__).parents[2] / "examples" / "lithium_hydride"
MODULES = ("harmonic", "simulation", "run")
KT = 8.617333262e-5 * 300.0  # eV


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's run.py as a module."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield import_module("run")
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def harmonic(example: Any) -> Any:
    return sys.modules["harmonic"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder of a fit with the example's settings, and its report."""
    out = tmp_path_factory.mktemp("lithium-hydride")
    settings = Settings.read(EXAMPLE / "settings.yaml")
    return out, fit_to_folder(settings, out, Run(jobs=2))


@pytest.fixture(scope="module")
def crystal(fitted: tuple[Path, dict[str, Any]]) -> Any:
    """The simulated cell with the fitted potential."""
    atoms = read(EXAMPLE / "init.xyz")
    atoms.calc = ForcemapCalculator(fitted[0] / "potential.forcemap")
    return atoms


@pytest.fixture(scope="module")
def constants(harmonic: Any, crystal: Any) -> Array:
    return np.asarray(harmonic.force_constants(crystal))


def test_fit_has_the_stated_errors(fitted: tuple[Path, dict[str, Any]]) -> None:
    """A third above what the example's README states."""
    test = fitted[1]["test"]
    assert test["n_frames"] == 23
    for group, energy, force in (
        (test, 1.3, 0.021),
        (test["by_config_type"]["Beads-300K"], 0.2, 0.0115),
        (test["by_config_type"]["Beads-300K-64"], 0.1, 0.0115),
    ):
        assert group["energy_rmse_mev_per_atom"] < energy
        assert group["force_rmse_ev_per_a"] < force
    assert test["stress_rmse_gpa"] < 0.17


def test_fit_has_all_draws(fitted: tuple[Path, dict[str, Any]]) -> None:
    """In a file of a fifth of what whole tables in double precision take.

    They are as precise as single precision lets them be: parts of a draw cancel to a thousandth.
    """
    path = fitted[0] / "potential.forcemap"
    assert load(path).draws == 16
    assert fitted[1]["mapping"]["draws"]["force_relative_rms_error"] < 1e-3
    assert path.stat().st_size < 25e6


def test_committed_frames_hold_beads_for_training_and_test() -> None:
    for name, least in (("train", 35), ("test", 12)):
        frames = read(EXAMPLE / f"{name}.xyz", ":")
        beads = [a for a in frames if str(a.info["config_type"]).startswith("Beads")]
        assert len(beads) >= least
        assert all(set(a.symbols) == {"Li", "H"} for a in frames)


def test_kinetic_energy_of_one_oscillator(harmonic: Any) -> None:
    """An atom in a well of three different curvatures, against coth and the classical limit."""
    quanta = np.array([0.06, 0.11, 0.16])  # eV
    mass = np.array([1.008])
    wells = np.diag((quanta / harmonic.HBAR) ** 2 * mass)
    # The translations of the module have zero: two atoms, the other one very heavy and unbound.
    both = np.zeros((6, 6))
    both[:3, :3] = wells
    masses = np.array([1.008, 1e6])
    exact = np.sum(quanta / 4 / np.tanh(quanta / (2 * KT)))
    assert harmonic.kinetic_energies(both, masses, 300.0)[0] == pytest.approx(exact, rel=1e-6)
    assert harmonic.kinetic_energies(both, masses, 300.0, 1) == pytest.approx(1.5 * KT, rel=1e-6)
    short = harmonic.kinetic_energies(both, masses, 300.0, 32, 1e-3)[0]
    assert short == pytest.approx(harmonic.kinetic_energies(both, masses, 300.0, 32)[0], rel=1e-6)
    # Trotter's error falls with the square of the number of beads.
    errors = [exact - harmonic.kinetic_energies(both, masses, 300.0, p)[0] for p in (64, 128)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


def test_kinetic_energy_with_a_time_step(harmonic: Any) -> None:
    """Against the stationary covariance of i-PI's integrator on one mode of a ring polymer.

    Two beads have one internal mode, of frequency 4 kT/hbar (ring_energies).
    """
    quantum, step = 0.15, 1.5  # eV, fs
    unit = KT / harmonic.HBAR  # frequencies
    tau = step * 0.09822694788464063 * unit  # fs in ASE's unit of time
    spring, kick = 4.0, (quantum / KT) ** 2
    cos, sin = np.cos(spring * tau), np.sin(spring * tau)
    free = np.array([[cos, sin / spring], [-spring * sin, cos]])
    push = np.array([[1.0, 0.0], [-0.5 * tau * kick, 1.0]])
    friction = np.diag([1.0, 0.6])
    whole = friction @ push @ free @ push @ friction
    # The covariance C of (x, v) that a step leaves alone, with <v²> = 1 in each noise.
    noise = np.diag([0.0, 1.0 - 0.6**2])
    added = noise + friction @ push @ free @ push @ noise @ (friction @ push @ free @ push).T
    covariance = np.linalg.solve(np.eye(4) - np.kron(whole, whole), added.ravel()).reshape(2, 2)
    expected = 0.5 * KT * (1.0 + kick * covariance[0, 0])
    constants = np.zeros((6, 6))
    masses = np.array([1.008, 1e9])
    constants[:3, :3] = np.eye(3) * (quantum / harmonic.HBAR) ** 2 * masses[0]
    found = harmonic.kinetic_energies(constants, masses, 300.0, 2, step)[0]
    assert found == pytest.approx(3 * expected, rel=1e-6)
    exact = harmonic.kinetic_energies(constants, masses, 300.0, 2)[0]
    assert found > 1.002 * exact


@pytest.mark.parametrize("beads", [4, 32, None])
def test_partition_function_and_kinetic_energy_agree(
    example: Any, harmonic: Any, crystal: Any, constants: Array, beads: int | None
) -> None:
    """d ln(Q/Q_classical) / d ln m of hydrogen is the sum of K/kT - 3/2."""
    change = 1e-3
    above, below = (
        harmonic.log_quantum_ratio(constants, example.masses(crystal, mass), 300.0, beads)
        for mass in (np.exp(change), np.exp(-change))
    )
    kinetic = harmonic.kinetic_energies(constants, example.masses(crystal, 1.0), 300.0, beads)
    expected = np.sum(kinetic[crystal.numbers == 1] / KT - 1.5)
    assert (above - below) / (2 * change) == pytest.approx(expected, rel=1e-5)


def test_unstable_crystal_is_refused(harmonic: Any) -> None:
    with pytest.raises(ValueError, match="not stable"):
        harmonic.modes(-np.eye(6), np.ones(2))


def test_crystal_is_stable_and_stiff_as_lithium_hydride(
    harmonic: Any, crystal: Any, constants: Array
) -> None:
    energies, _ = harmonic.modes(constants, crystal.get_masses())
    assert energies[3] > 0.01
    assert 0.10 < energies[-1] < 0.16
    # Translating all atoms costs nothing.
    assert np.abs(constants.reshape(-1, 64, 3).sum(axis=1)).max() < 1e-4


def test_simpson_rule_for_isotopes(
    example: Any, harmonic: Any, crystal: Any, constants: Array
) -> None:
    """The integral of harmonic kinetic energies is the harmonic ratio of partition functions."""
    hydrogen = crystal.numbers == 1
    kinetic, ratios = {}, []
    for mass in (example.HYDROGEN, example.MIDDLE, example.DEUTERIUM):
        masses = example.masses(crystal, mass)
        each = harmonic.kinetic_energies(constants, masses, 300.0)
        kinetic[mass] = (1e3 * each[hydrogen].mean(), 1.0)
        ratios.append(harmonic.log_quantum_ratio(constants, masses, 300.0))
    ratio, error = example.isotope_fractionation(kinetic)
    assert ratio == pytest.approx((ratios[2] - ratios[0]) / 32, rel=1e-3)
    assert 0.01 < error < 0.1


def test_average_force_constants(
    example: Any, harmonic: Any, crystal: Any, constants: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rest they are those of the crystal; the start of a run is left out, all beads are in."""
    monkeypatch.setattr(example, "SNAPSHOTS", 2)
    frames = np.broadcast_to(crystal.positions, (3, 2, 64, 3)).copy()
    frames[0] += np.random.default_rng(2).normal(0, 0.3, (64, 3))
    assert example.average_force_constants(crystal, frames) == pytest.approx(constants)
    frames[1, 0, 5, 0] += 0.2
    moved = crystal.copy()
    moved.calc, moved.positions = crystal.calc, frames[1, 0]
    expected = 0.5 * (constants + harmonic.force_constants(moved))
    assert example.average_force_constants(crystal, frames) == pytest.approx(expected)


def test_pair_distribution_of_a_gas_and_of_a_crystal(example: Any, crystal: Any) -> None:
    cell = crystal.cell.array
    hydrogen = crystal.numbers == 1
    edges = np.arange(1.0, 4.0, 0.05)
    gas = np.random.default_rng(1).uniform(0, cell[0, 0], (300, 2, 64, 3))
    g = example.pair_distribution(gas, cell, hydrogen, ~hydrogen, edges)
    assert g[20:] == pytest.approx(1.0, abs=0.06)
    frames = np.broadcast_to(crystal.positions, (3, 2, 64, 3))
    for second, shell in ((~hydrogen, 6), (hydrogen, 12)):
        g = example.pair_distribution(frames, cell, hydrogen, second, edges)
        r3 = 4 / 3 * np.pi * np.diff(edges**3) * 32 / crystal.get_volume()
        assert np.sum((g * r3)[edges[1:] < 3.2]) == pytest.approx(shell)


def test_short_path_integral(
    example: Any, harmonic: Any, crystal: Any, constants: Array, fitted: Any, tmp_path: Path
) -> None:
    """300 steps of 8 beads: quantum, not classical, kinetic energy, and its two masses."""
    pytest.importorskip("ipi")
    potential = fitted[0] / "potential.forcemap"
    run = example.Run(8)
    result = example.perform(run, crystal, potential, tmp_path, 300, False)
    assert result.output.positions.shape == (7, 8, 64, 3)
    each = 1e3 * harmonic.kinetic_energies(constants, crystal.get_masses(), 300.0, 8)
    hydrogen = crystal.numbers == 1
    assert result.hydrogen == pytest.approx(each[hydrogen].mean(), abs=6.0)
    assert result.lithium == pytest.approx(each[~hydrogen].mean(), abs=3.0)
    assert result.hydrogen > 1.7 * 1.5e3 * KT
    # Read again, it is the same; for more steps, it is refused.
    again = example.perform(run, crystal, potential, tmp_path, 300, True)
    assert replace(again, output=result.output) == result
    with pytest.raises(Exception, match="does not reach step 400"):
        example.perform(run, crystal, potential, tmp_path, 400, True)


@pytest.mark.slow
def test_whole_example(
    example: Any, fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beads, isotopes and the figure; the two harmonic crystals enclose the anharmonic one.

    Force constants at rest are too soft for this crystal, averaged ones a little too stiff.
    """
    pytest.importorskip("ipi")
    potential = fitted[0] / "potential.forcemap"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "run.py",
            *("--potential", str(potential), "--work", str(tmp_path / "runs")),
            *("--output", str(tmp_path), "--steps", "1000"),
        ],
    )
    example.main()
    numbers = json.loads((tmp_path / "results.json").read_text())
    rows = {(row["beads"], row["mass"]): row for row in numbers["runs"]}
    light = [rows[beads, example.HYDROGEN] for beads in example.BEADS]
    assert light[0]["hydrogen_mev"] == pytest.approx(numbers["classical_mev"], rel=1e-4)
    for row in light[1:]:
        allowed = 5 * row["hydrogen_error_mev"]
        assert row["hydrogen_mev"] > row["hydrogen_harmonic_mev"] - allowed
        assert row["hydrogen_mev"] < row["hydrogen_averaged_mev"] + allowed
        assert row["hydrogen_error_mev"] < 1.0
    assert numbers["ln_beta_d_h"] == pytest.approx(numbers["ln_beta_d_h_harmonic"], rel=0.1)
    assert (tmp_path / "quantum.png").stat().st_size < 150_000
