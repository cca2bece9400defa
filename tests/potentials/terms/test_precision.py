"""Terms in single precision: forces, isolated atoms, instruction sets, files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structures
from ase import Atoms
from forcemap.potentials import ForcemapError
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    potential_bytes,
    read_potential,
    write_potential,
)
from forcemap.potentials.terms.base import MappedTerm
from forcemap.potentials.terms.bispectrum import BispectrumFunctions
from forcemap.potentials.terms.soap import SpectrumSums
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

SPECIES = ["H", "O", "Si"]
WHOLE = random_potential(SPECIES, 21, soap=True)
TERMS = [term for term in WHOLE.terms if term.in_single_precision() is not term]
ROUNDING = 3e-6
"""Relative to the largest force: 6e-8 in every operation, and vectors of random numbers."""

STRONG_ROUNDING = 5e-7
"""The same where forces are strong and most of the way back to them is in doubles."""


def only(term: MappedTerm) -> PotentialData:
    return replace(WHOLE, terms=(term,))


def forces(data: PotentialData, atoms: Atoms, threads: int = 1) -> Array:
    evaluator = as_potential(data).evaluator(threads=threads)
    return evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc).forces


def test_these_terms_have_it() -> None:
    """Power spectra with whole and other powers, splines of both degrees, contracted ones, products."""
    assert {term.kind for term in TERMS} == {"soap", "soap_contracted", "bispectrum"}
    assert {term.precision for term in TERMS} == {"double"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("n", range(len(TERMS)))
@pytest.mark.parametrize("name", ["slab", "two species", "molecule"])
def test_forces_are_those_of_double(n: int, name: str) -> None:
    atoms = structures.get(name, SPECIES)
    expected = forces(only(TERMS[n]), atoms)
    found = forces(only(TERMS[n].in_single_precision()), atoms)
    assert np.abs(found - expected).max() > 0.0  # it is not double
    scale = 1.0 + np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * scale)


@pytest.mark.parametrize("n", range(len(TERMS)))
def test_strong_forces_lose_least(n: int) -> None:
    """Of neighbours that pull with tens of eV/Å: a few roundings of 6e-8 of the largest force."""
    strong = stiffer(TERMS[n], 64.0)
    for name in ("slab", "molecule"):
        atoms = structures.get(name, SPECIES)
        expected = forces(only(strong), atoms)
        found = forces(only(strong.in_single_precision()), atoms)
        scale = 1.0 + np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=STRONG_ROUNDING * scale)


def stiffer(term: MappedTerm, by: float) -> MappedTerm:
    """The term with so many times its energies."""
    if isinstance(term, BispectrumFunctions):
        factors = {symbol: by * one for symbol, one in term.factors.items()}
        return replace(term, factors=factors)
    assert isinstance(term, SpectrumSums)
    centers = {
        symbol: replace(center, factors=by * center.factors, constant=by * center.constant)
        for symbol, center in term.centers.items()
    }
    return replace(term, centers=centers)


@pytest.mark.parametrize("n", range(len(TERMS)))
def test_an_isolated_atom_has_its_e0_exactly(n: int) -> None:
    """Atoms beyond each other's cutoff, and one that has a cell to itself."""
    data = only(TERMS[n].in_single_precision())
    evaluator = as_potential(data).evaluator()
    for symbol in SPECIES:
        apart = Atoms([symbol, symbol], [[0, 0, 0], [0, 0, 40.0]])
        energy = evaluator.compute(apart.positions, apart.numbers, apart.cell.array, apart.pbc)
        assert energy.energy == 2.0 * data.e0[symbol]


def test_energies_are_smooth_and_forces_their_slope() -> None:
    """Differences of energies over 0.02 Å, where rounding of 1e-6 eV counts little."""
    data = replace(WHOLE, terms=tuple(term.in_single_precision() for term in TERMS))
    atoms, step = structures.get("slab", SPECIES), 0.01
    evaluator = as_potential(data).evaluator()

    def energy(shift: float) -> float:
        moved = atoms.positions.copy()
        moved[0, 1] += shift
        found = evaluator.compute(moved, atoms.numbers, atoms.cell.array, atoms.pbc)
        return float(found.energy)

    # the difference of fourth order
    near, far = energy(step) - energy(-step), energy(2 * step) - energy(-2 * step)
    slope = (8.0 * near - far) / (12.0 * step)
    assert forces(data, atoms)[0, 1] == pytest.approx(-slope, rel=1e-3, abs=2e-3)


def test_threads_do_not_matter() -> None:
    data = replace(WHOLE, terms=tuple(term.in_single_precision() for term in WHOLE.terms))
    atoms = structures.get("slab", SPECIES)
    one, three = forces(data, atoms), forces(data, atoms, threads=3)
    np.testing.assert_allclose(three, one, rtol=0, atol=1e-12 * np.abs(one).max())


def test_instruction_sets_agree(tmp_path: Path) -> None:
    """Each in a process of its own, where FORCEMAP_SIMD is read."""
    data = replace(WHOLE, terms=tuple(term.in_single_precision() for term in TERMS))
    atoms, file = structures.get("slab", SPECIES), tmp_path / "potential.forcemap"
    write_potential(data, file)
    code = (
        "import sys; import numpy as np; from forcemap.potentials import load\n"
        "np.save(sys.argv[3], load(sys.argv[1]).evaluator().compute(**np.load(sys.argv[2])).forces)\n"
    )
    arrays = {"positions": atoms.positions, "numbers": atoms.numbers, "pbc": atoms.pbc}
    np.savez(tmp_path / "atoms.npz", cell=atoms.cell.array, **arrays)
    expected = forces(data, atoms)
    for name in ("generic", "avx2"):
        environment = os.environ | {"FORCEMAP_SIMD": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        files = [str(file), str(tmp_path / "atoms.npz"), str(tmp_path / "forces.npy")]
        subprocess.run(
            [sys.executable, "-c", code, *files], env=environment, check=True, timeout=60
        )
        found = np.load(tmp_path / "forces.npy")
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2 * ROUNDING * scale)


def test_a_file_keeps_it(tmp_path: Path) -> None:
    data = replace(WHOLE, terms=tuple(term.in_single_precision() for term in WHOLE.terms))
    write_potential(data, tmp_path / "potential.forcemap")
    found = read_potential(tmp_path / "potential.forcemap")
    assert [getattr(t, "precision", "") for t in found.terms] == [
        getattr(t, "precision", "") for t in data.terms
    ]
    atoms = structures.get("slab", SPECIES)
    np.testing.assert_array_equal(forces(found, atoms), forces(data, atoms))


@pytest.mark.parametrize("n", range(len(TERMS)))
def test_another_precision_is_no_potential(n: int) -> None:
    data = only(replace(TERMS[n], precision="half"))  # type: ignore[call-arg]
    with pytest.raises(ForcemapError, match=r'precision.*"half".*"single" or "double"'):
        potential_bytes(data)
