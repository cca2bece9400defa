"""Fits to data that hardly show an error: the deviations they expect are of the order of the errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import NOISE_IS_GUESSED, fit_frames
from forcemap.potentials.runs.progress import Progress
from structures import as_frame

TERMS: dict[str, list[dict[str, Any]]] = {
    "pairs": [{"kind": "two_body", "cutoff": 4.5}],
    "pairs and soap": [
        {"kind": "two_body", "cutoff": 4.5},
        {"kind": "soap", "cutoff": 4.0, "n_max": 4, "l_max": 3},
    ],
    "pairs and embedding": [
        {"kind": "two_body", "cutoff": 4.5},
        {"kind": "embedding", "cutoff": 4.5},
    ],
}


def lennard_jones() -> Calculator:
    return LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)


def labelled(atoms: Atoms, calculator: Callable[[], Calculator], *labels: str) -> Frame:
    atoms = atoms.copy()
    atoms.calc = calculator()
    found = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(voigt=False),
    }
    kept = {name: found[name] for name in labels or found}
    return as_frame(atoms, sigma=FrameSigma(0.002, 0.05, 0.005), **kept)


def crystals(count: int = 7) -> list[Atoms]:
    """An equation of state: perfect crystals, whose forces are zero by symmetry."""
    scales = np.linspace(0.95, 1.07, count) if count > 1 else [1.01]
    return [bulk("Cu", "fcc", a=3.6 * scale, cubic=True) for scale in scales]


def displaced(count: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    found = []
    for atoms in crystals(7)[1:6] * count:
        atoms.positions += rng.normal(0.0, 0.06, atoms.positions.shape)
        found.append(atoms)
    return found[:count]


def expected_and_actual(
    train: list[Frame], test: list[Frame], terms: str
) -> tuple[float, float, float, list[float]]:
    """Root mean squares of the forces' deviations and errors, eV/Å; noise factor and deltas."""
    # This Lennard-Jones copper is not bound by copper's cohesive energy.
    given = {"data": {"train": "unused.xyz"}, "terms": TERMS[terms], "e0": "average"}
    model = fit_frames(Settings.from_dict(given), train)
    baseline = Baseline(model.species, model.repulsion)
    deviations, errors = [], []
    for frame in test:
        (_, forces, _), variances = model.predict_with_variances(frame)
        assert frame.forces is not None
        deviations.append(variances[1 : 1 + forces.size])
        errors.append((forces + baseline.of(frame).forces - frame.forces).ravel() ** 2)
    rms = [float(np.sqrt(np.mean(np.concatenate(some)))) for some in (deviations, errors)]
    deltas = [term.delta for term in model.terms[: len(TERMS[terms])]]
    return rms[0], rms[1], model.noise_factor, deltas


CASES: dict[str, Callable[[Callable[[], Calculator]], list[Frame]]] = {
    "equation of state": lambda calc: [labelled(a, calc) for a in crystals()],
    "one crystal": lambda calc: [labelled(a, calc) for a in crystals(1)],
    "one frame": lambda calc: [labelled(a, calc) for a in displaced(1, 1)],
    "one frame ten times": lambda calc: [labelled(a, calc) for a in displaced(1, 1)] * 10,
    "energies only": lambda calc: [labelled(a, calc, "energy") for a in crystals()],
    "one-atom crystal": lambda calc: [labelled(bulk("Cu", "fcc", a=3.6), calc)],
    "stresses of zero": lambda calc: [
        replace(labelled(a, calc), stress=np.zeros((3, 3))) for a in displaced(2, 1)
    ],
}


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("calculator", [EMT, lennard_jones], ids=["EMT", "LJ"])
def test_deviations_are_of_the_order_of_the_errors(
    calculator: Callable[[], Calculator], case: str, terms: str
) -> None:
    """Within a factor of 20: frames so few say no more. Without a floor it was more than 1e100."""
    train = CASES[case](calculator)
    test = [labelled(atoms, calculator) for atoms in displaced(5, 9)]
    deviation, error, factor, deltas = expected_and_actual(train, test, terms)
    assert 0.05 < factor < 20.0
    assert all(1e-3 < delta < 300.0 for delta in deltas)
    assert error / 20.0 < deviation < 20.0 * max(error, 0.05)


def test_single_atom_leaves_the_sigmas() -> None:
    """Neither labels nor rows that are not zero: there is nothing to estimate a factor from."""
    atoms = Atoms("Cu", cell=[12.0] * 3, pbc=True)
    terms = {"data": {"train": "unused.xyz"}, "terms": TERMS["pairs and soap"]}
    with pytest.warns(UserWarning, match="0 neighbours on average"):
        model = fit_frames(Settings.from_dict(terms), [labelled(atoms, EMT)])
    assert 0.3 < model.noise_factor <= 1.0
    assert all(0.3 < term.delta <= 1.0 for term in model.terms[:2])


def test_fit_says_that_the_noise_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    terms = {"data": {"train": "unused.xyz"}, "terms": TERMS["pairs"]}
    for structures, guessed in ((crystals(), True), (displaced(10, 1), False)):
        frames = [labelled(atoms, EMT) for atoms in structures]
        fit_frames(Settings.from_dict(terms), frames, progress=Progress())
        assert (NOISE_IS_GUESSED in capsys.readouterr().err) == guessed
