"""Potentials in single precision: LAMMPS gives what Python gives, on any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import write_potential
from lammps_runs import evaluate, forcemap_pair, run_lmp, species_of, structure_input
from potentials_factory import random_potential

ORDER = 2e-6
"""Relative to the largest force: floats add up in the order of the neighbours."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("potentials") / "single.forcemap"
    data = random_potential(["H", "O", "Si"], 2, two_body_cutoff=4.0, soap=True)
    terms = tuple(term.in_single_precision() for term in data.terms)
    write_potential(replace(data, terms=terms), path)
    return path


def test_equals_the_python_evaluator(structure: Atoms, file: Path, tmp_path: Path) -> None:
    found = evaluate(tmp_path, structure, forcemap_pair(file, species_of(structure)))
    evaluator = load(file).evaluator()
    expected = evaluator.compute(
        structure.positions, structure.numbers, structure.cell.array, structure.pbc
    )
    scale = 1.0 + np.abs(expected.forces).max()
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=ORDER * scale)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=10 * ORDER * scale)
    assert found.energy == pytest.approx(expected.energy, rel=1e-6, abs=1e-5)
    np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-10 * scale)


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks(ranks: int, triclinic: Atoms, file: Path, tmp_path: Path) -> None:
    atoms = triclinic.repeat((2, 2, 2))
    commands = structure_input(tmp_path, atoms, forcemap_pair(file, species_of(atoms)))
    commands += (
        "\nrun 0\nwrite_dump all custom forces.txt id fx fy fz modify sort id format float %.17g\n"
    )
    found = []
    for count in (0, ranks):
        finished = run_lmp(tmp_path, commands, ranks=count)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        found.append(np.loadtxt(tmp_path / "forces.txt", skiprows=9)[:, 1:])
    assert found[0].shape == (len(atoms), 3)
    scale = np.abs(found[0]).max()
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=ORDER * scale)
