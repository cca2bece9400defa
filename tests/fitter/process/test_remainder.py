"""Deviations of a process: what sparse points leave open of the prior, against closed forms and a dense
Gaussian process.

The energy of a dimer with a two-body term is 2 f_c(r) V(r), its prior variance 4 f_c² delta². Where the
sparse points hold all distances of the data, the sparse process is the dense one, which NumPy solves
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structures
from ase import Atoms
from ase.calculators.lj import LennardJones
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.remainder import remainders
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.methods import independent
from forcemap.fitter.terms.base import Block, Term
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from numpy.typing import NDArray

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")

CUTOFF, WIDTH, LENGTHSCALE, DELTA = 8.0, 2.0, 0.5, 0.3
SIGMA = FrameSigma(1e-3, 1e-2, 1e-2)
AXIS = np.array([0.36, 0.48, 0.8])


def labelled(atoms: Atoms, *, forces: bool) -> Frame:
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=100.0)
    energy = atoms.get_potential_energy()
    return structures.as_frame(
        atoms, energy=energy, forces=atoms.get_forces() if forces else None, sigma=SIGMA
    )


def dimer(r: float) -> Atoms:
    return Atoms("Ar2", [[0.0, 0.0, 0.0], r * AXIS])


def fitted(distances: Array, *, forces: bool = True, **term: Any) -> Model:
    """A two-body term fitted to dimers. The map's tolerance makes its splines the kernel to 1e-6."""
    shape = {"cutoff": CUTOFF, "cutoff_width": WIDTH, "lengthscale": LENGTHSCALE, "delta": DELTA}
    given = {
        "data": {"train": "a.xyz"},
        "core": "none",
        "e0": {"Ar": 0.0},
        "map": {"tolerance": 1e-7},
        "terms": [{"kind": "two_body", **shape, "sparse_method": "random", "n_sparse": 25, **term}],
    }
    frames = [labelled(dimer(r), forces=forces) for r in distances]
    # Deviations of the process itself: they are not calibrated.
    return replace(fit_frames(Settings.from_dict(given), frames), uncertainty=None)


def deviations(model: Model, atoms: Atoms) -> tuple[float, float]:
    """Of the energy, and of the force on the first atom along the bond."""
    found = Truth(model).with_deviations(structures.as_frame(atoms))[1]
    return found.energy, float(np.linalg.norm(found.forces[0]))


def cutoff_factor(r: Array) -> tuple[Array, Array]:
    """The factor and its slope."""
    x = np.clip((r - CUTOFF + WIDTH) / WIDTH, 0.0, 1.0)
    return 1 - 10 * x**3 + 15 * x**4 - 6 * x**5, -30 * x**2 * (1 - x) ** 2 / WIDTH


def covariance(a: Array, b: Array, slopes: tuple[bool, bool] = (False, False)) -> Array:
    """Of 2 f_c V at distances a and b, (n, m), or of its slopes at one of them or at both."""
    d = (a[:, None] - b) / LENGTHSCALE
    parts = {(0, 0): 1.0 + 0.0 * d, (1, 0): -d / LENGTHSCALE, (0, 1): d / LENGTHSCALE}
    parts[1, 1] = (1.0 - d**2) / LENGTHSCALE**2
    of_a, of_b = cutoff_factor(a), cutoff_factor(b)
    total = np.zeros_like(d)
    for i in range(2) if slopes[0] else (0,):
        for j in range(2) if slopes[1] else (0,):
            # The slope of a product: of the factor or of V.
            factor_a = of_a[1 - i] if slopes[0] else of_a[0]
            factor_b = of_b[1 - j] if slopes[1] else of_b[0]
            total += factor_a[:, None] * factor_b * parts[i, j]
    return np.asarray(4.0 * DELTA**2 * np.exp(-(d**2) / 2.0) * total)


def dense(data: Array, r: Array, *, forces: bool) -> tuple[Array, Array]:
    """Deviations of energies and slopes at r by the dense process of all labels of the dimers.

    The six components of a dimer's forces are one slope, with half the variance of one component.
    """
    matrix, noise = covariance(data, data), np.full(len(data), 2.0 * SIGMA.energy**2)
    of_energy, of_slope = covariance(r, data), covariance(r, data, (True, False))
    if forces:
        cross = covariance(data, data, (False, True))
        matrix = np.block([[matrix, cross], [cross.T, covariance(data, data, (True, True))]])
        noise = np.concatenate([noise, np.full(len(data), float(SIGMA.force) ** 2 / 2.0)])
        of_energy = np.hstack([of_energy, covariance(r, data, (False, True))])
        of_slope = np.hstack([of_slope, covariance(r, data, (True, True))])
    matrix = matrix + np.diag(noise)

    def left(own: Array, rows: Array) -> Array:
        return np.asarray(
            np.sqrt(np.diag(own) - np.sum(rows * np.linalg.solve(matrix, rows.T).T, 1))
        )

    return left(covariance(r, r), of_energy), left(covariance(r, r, (True, True)), of_slope)


def test_covariance_of_slopes_is_the_derivative_of_the_covariance() -> None:
    a, b, h = np.array([4.1, 6.7]), np.array([3.9, 7.1, 5.0]), 1e-5
    by_a = (covariance(a + h, b) - covariance(a - h, b)) / (2 * h)
    np.testing.assert_allclose(covariance(a, b, (True, False)), by_a, rtol=0, atol=1e-8)
    by_b = (covariance(a, b + h) - covariance(a, b - h)) / (2 * h)
    np.testing.assert_allclose(covariance(a, b, (False, True)), by_b, rtol=0, atol=1e-8)
    left, right = (covariance(a, b + s, (True, False)) for s in (-h, h))
    np.testing.assert_allclose(
        covariance(a, b, (True, True)), (right - left) / (2 * h), rtol=0, atol=1e-8
    )


# ----- dimers -----

DATA = np.linspace(3.4, 4.6, 25)


@pytest.fixture(scope="module", params=["random", "cur"])
def model(request: pytest.FixtureRequest) -> Model:
    """Sparse points from the data alone, which end at 4.6 Å."""
    found = fitted(DATA, sparse_method=request.param, n_sparse=8)
    (block,) = found.terms[0].blocks
    assert block.points.max() <= 4.6 + 1e-9
    return found


def test_deviation_far_from_the_data_is_that_of_the_prior(model: Model) -> None:
    """2 f_c delta, four and more lengthscales away: exp(-4²/2) squared is 1e-7 of a variance."""
    for r in (6.7, 7.0, 7.5):
        energy, force = deviations(model, dimer(r))
        factor, slope = (float(x[0]) for x in cutoff_factor(np.array([r])))
        assert energy == pytest.approx(2.0 * factor * DELTA, rel=1e-3)
        # Differences of displaced copies see slopes to 1 %.
        of_slope = 2.0 * DELTA * np.hypot(slope, factor / LENGTHSCALE)
        assert force == pytest.approx(of_slope, rel=1e-2)


def test_deviation_rises_from_the_data_to_the_prior(model: Model) -> None:
    """Without what the sparse points leave open it would fall to nothing with the kernel."""
    parts = []
    for r in (4.6, 4.9, 5.2, 5.6, 6.0, 6.6):
        frame = structures.as_frame(dimer(r))
        whole = model.variances(frame)
        left = remainders(frame, model.terms)
        factor = float(cutoff_factor(np.array([r]))[0][0])
        parts.append([np.sqrt(v[0]) / (2.0 * factor * DELTA) for v in (whole, whole - left)])
        assert np.all(
            whole >= left
        )  # what the data leave of the sparse points' own is no less than 0
        assert np.all(left >= 0.0)
    whole, before = np.array(parts).T
    assert np.all(np.diff(whole) > 0.0)
    assert whole[-1] > 0.999
    assert before[-1] < 0.1


def test_deviation_inside_the_data_is_that_of_the_labels(model: Model) -> None:
    """Less than that of one label alone: of an energy, 1.4e-3 eV, and of a force, 1e-2 eV/Å."""
    for r in (4.0, 4.1, 4.2, 4.3):
        energy, force = deviations(model, dimer(r))
        assert energy < SIGMA.energy
        assert force < float(SIGMA.force)


# ----- a dense process -----


def test_deviations_of_energies_are_those_of_a_dense_process() -> None:
    """All distances are sparse points: exactly, but for the splines; slopes from below, to 5 %."""
    data = np.linspace(3.4, 4.6, 7)
    model = fitted(data, forces=False)
    assert model.terms[0].size == len(data)
    r = np.array([3.4, 3.5, 3.7, 4.0, 4.33, 4.6, 4.75, 4.9, 5.2, 5.6, 6.0, 6.6, 7.2])
    found = np.array([deviations(model, dimer(x)) for x in r])
    energies, slopes = dense(data, r, forces=False)
    np.testing.assert_allclose(found[:, 0], energies, rtol=2e-4)
    assert np.all(found[:, 1] < 1.001 * slopes)
    assert np.all(found[:, 1] > 0.95 * slopes)


def test_deviations_with_forces_are_those_of_a_dense_process_to_a_twentieth() -> None:
    """Slopes at distances of the data are not spanned by function values there, only nearly."""
    model = fitted(DATA)
    r = np.array([3.45, 3.7, 4.0, 4.3, 4.6, 4.7, 4.9, 5.2, 5.6, 6.0, 6.6, 7.2])
    found = np.array([deviations(model, dimer(x)) for x in r])
    for one, other in zip(found.T, dense(DATA, r, forces=True), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05)


def test_energy_of_several_pairs_has_the_covariances_of_all_of_them() -> None:
    """A trimer: some distances of the data, some between them, some beyond."""
    data = np.linspace(3.4, 4.6, 7)
    model = fitted(data, forces=False)
    for sides in ([3.4, 3.6, 4.1], [4.0, 5.3, 5.5], [5.2, 6.1, 6.5]):
        a, b, c = sides
        x = (a**2 + b**2 - c**2) / (2.0 * a)
        atoms = Atoms("Ar3", [[0, 0, 0], [a, 0, 0], [x, np.sqrt(b**2 - x**2), 0]])
        r = atoms.get_all_distances()[np.triu_indices(3, 1)]
        np.testing.assert_allclose(np.sort(r), sides, atol=1e-12)
        rows = covariance(r, data)
        matrix = covariance(data, data) + 2.0 * SIGMA.energy**2 * np.eye(len(data))
        expected = np.sum(covariance(r, r) - rows @ np.linalg.solve(matrix, rows.T))
        assert deviations(model, atoms)[0] == pytest.approx(np.sqrt(expected), rel=1e-3)


# ----- other kinds -----


def three_body(species: Sequence[int]) -> Term:
    return ThreeBodyTerm(3.7, 2.2, "squared_exponential", 1.1, delta=0.7)


def soap(species: Sequence[int]) -> Term:
    basis = RadialBasis(cutoff=3.8, cutoff_width=1.3, n_max=3, l_max=3, atom_sigma=0.5)
    radial, own = tabulate(basis)
    numbers = tuple(species)
    return SoapTerm(basis, 2, numbers, np.eye(len(numbers)), radial, own, 3.8, delta=0.7)


@pytest.mark.parametrize("make", [three_body, soap])
@pytest.mark.parametrize("name", ["molecule", "two species", "cell smaller than the cutoff"])
def test_sparse_points_leave_less_open_the_more_they_are(name: str, make: Any) -> None:
    """Never less than nothing; of the energy nothing where they hold all of a frame's environments.

    Tolerances: what counts as a repeat, 1e-7 of the prior's variance.
    """
    frame = structures.as_frame(structures.get(name))
    term = make(sorted({int(z) for z in frame.numbers}))
    pools, _ = candidate_pools([frame], term, np.random.default_rng(0))
    blocks = [independent(term, pool.points, species)[0] for species, pool in pools.items()]
    half = [Block(block.species, block.points[::2]) for block in blocks]
    prior, some, none = (
        remainders(frame, [term.with_blocks(given)]) for given in ([], half, blocks)
    )
    room = 1e-7 * prior.max()
    layout = RowLayout(len(frame.numbers))
    for found in (prior, some, none):
        assert found.shape == (layout.count,)
        assert np.all(found >= 0.0)
    assert prior[layout.energy] > 0.1
    assert np.all(some <= prior + room)
    assert np.all(none <= some + room)
    assert none[layout.energy] <= room


def test_isolated_atoms_leave_nothing_open() -> None:
    """Their energy is e0, whatever the sparse points are."""
    known = structures.as_frame(structures.get("molecule"))
    term = soap([1, 8, 14])
    pools, _ = candidate_pools([known], term, np.random.default_rng(0))
    term = term.with_blocks([Block(s, pool.points[:1]) for s, pool in pools.items()])
    for name in ("isolated atom", "two atoms out of reach"):
        found = remainders(structures.as_frame(structures.get(name)), [term])
        assert found[0] < 1e-12
