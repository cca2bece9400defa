"""Imported triplets on splines, against the sums over sparse points that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from forcemap.fitter.importers.triplet_splines import splined_triplets
from forcemap.potentials import ForcemapCalculator
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import MappedTerm, ThreeBodyKernelSums
from kernel_sums import random_kernel_sums
from numpy.typing import NDArray

SYMBOLS = ("O", "Si")
SUMS = [
    term
    for term in random_kernel_sums(np.random.default_rng(3), SYMBOLS, 4.0)
    if term.covariance != "spline"
]


def forces(term: MappedTerm, atoms: Atoms) -> tuple[float, NDArray[np.float64]]:
    data = PotentialData(SYMBOLS, dict.fromkeys(SYMBOLS, 0.0), (term,))
    atoms = atoms.copy()
    atoms.calc = ForcemapCalculator(as_potential(data))
    return atoms.get_potential_energy(), atoms.get_forces()


def cluster() -> Atoms:
    """Atoms 1.4 Å apart or more, which the importer has not seen."""
    rng = np.random.default_rng(8)
    lattice = 1.8 * np.stack(np.meshgrid(*3 * [np.arange(3.0)]), axis=-1).reshape(-1, 3)
    atoms = Atoms("OSi" * 13 + "O", lattice + rng.uniform(-0.2, 0.2, lattice.shape))
    return atoms


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4])
@pytest.mark.parametrize("term", SUMS, ids=lambda t: f"{t.coordinates}-{t.covariance}-{t.weight}")
def test_forces_are_as_near_as_was_asked_for(term: ThreeBodyKernelSums, tolerance: float) -> None:
    """Three times the tolerance is left to another cluster than those that it is measured on."""
    brought = splined_triplets([term], (8, 14), tolerance)
    assert brought.notes["triplet_force_error_ev_per_a"] <= tolerance
    (spline,) = brought.terms
    atoms = cluster()
    energy, exact = forces(term, atoms)
    found_energy, found = forces(spline, atoms)
    assert np.abs(exact).max() > 0.1
    assert np.abs(found - exact).max() < 3.0 * tolerance
    assert found_energy == pytest.approx(energy, abs=3.0 * tolerance * len(atoms))


def test_a_finer_tolerance_has_finer_knots() -> None:
    coarse, fine = (splined_triplets(SUMS[:1], (8, 14), t).terms[0] for t in (1e-3, 1e-5))
    assert isinstance(coarse, ThreeBodyKernelSums)
    assert isinstance(fine, ThreeBodyKernelSums)
    assert all(a < b for a, b in zip(coarse.intervals, fine.intervals, strict=True))


def test_a_tolerance_that_asks_for_too_much_memory_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forcemap.fitter.importers.triplet_splines.MOST_BYTES", 1 << 20)
    with pytest.warns(UserWarning, match="1e-07 eV/Å is not reached .* tables beyond 1 MiB"):
        brought = splined_triplets(SUMS[:1], (8, 14), 1e-7)
    assert brought.notes["triplet_force_error_ev_per_a"] > 1e-7
