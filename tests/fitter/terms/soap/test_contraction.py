"""Contractions of radial functions and elements into channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.terms.soap.channels import species_weights
from forcemap.fitter.terms.soap.contraction import learned_mixing, second_moments, tables
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")

METALS = (13, 28, 29, 46)
"""Elements of the mixtures, whose pairs have wells of these depths (eV) and distances (Å)."""
DEPTHS = {13: 0.30, 28: 0.42, 29: 0.34, 46: 0.38}
DISTANCES = {13: 2.90, 28: 2.55, 29: 2.62, 46: 2.80}
CUTOFF = 4.5
BASIS = RadialBasis(CUTOFF, 2.0, 6, 3, 0.5)


def mixture(elements: Sequence[int], rng: np.random.Generator) -> Atoms:
    """A rattled and strained crystal of eight atoms on an fcc lattice, elements at random."""
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 1, 1)
    atoms.numbers[:] = rng.permutation(np.resize(list(elements), len(atoms)))
    atoms.rattle(0.12, rng=rng)
    strain = rng.normal(0.0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
    return atoms


def labelled(atoms: Atoms, index: int) -> Frame:
    """The frame with energy and forces of an embedded-atom potential of all its pairs.

    E = sum of pairs - sum over atoms of the root of the density, with functions that end smoothly.
    """
    frame = structures.as_frame(atoms, sigma=FrameSigma(1e-3, 1e-2, 1e-2), index=index)
    from ase.neighborlist import neighbor_list

    i, j, d, vectors = neighbor_list("ijdD", atoms, CUTOFF)
    z = atoms.numbers
    depth = np.array([DEPTHS[int(a)] for a in z])
    reach = np.array([DISTANCES[int(a)] for a in z])
    eps, r0 = np.sqrt(depth[i] * depth[j]), 0.5 * (reach[i] + reach[j])
    end, slope = (1.0 - d / CUTOFF) ** 3, -3.0 / CUTOFF * (1.0 - d / CUTOFF) ** 2
    swell = np.exp(-6.0 * (d / r0 - 1.0))
    pair, dpair = eps * swell * end, eps * swell * (slope - 6.0 / r0 * end)
    cloud = depth[j] * np.exp(-3.0 * (d / reach[j] - 1.0))
    density, ddensity = cloud * end, cloud * (slope - 3.0 / reach[j] * end)
    total = np.bincount(i, density, len(z))
    energy = 0.5 * pair.sum() - np.sqrt(total).sum()
    along = 0.5 * dpair - 0.5 / np.sqrt(total[i]) * ddensity
    pull = (along / d)[:, None] * vectors
    forces = np.zeros((len(z), 3))
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return replace(frame, energy=float(energy), forces=forces)


@cache
def mixtures(together: tuple[tuple[int, ...], ...], count: int, seed: int) -> tuple[Frame, ...]:
    rng = np.random.default_rng(seed)
    return tuple(labelled(mixture(together[n % len(together)], rng), n) for n in range(count))


PAIRS = tuple((a, b) for n, a in enumerate(METALS) for b in METALS[n:])


def settings(**term: Any) -> Settings:
    soap = {"kind": "soap", "cutoff": CUTOFF, "cutoff_width": 2.0, "l_max": 3, "n_sparse": 60}
    return Settings.from_dict(
        {
            "data": {"train": "made.xyz"},
            "core": "none",
            "e0": "average",
            "terms": [{"kind": "two_body", "cutoff": CUTOFF}, {**soap, **term}],
        }
    )


def errors(model: Model, frames: Sequence[Frame]) -> tuple[float, float]:
    """Root mean squares of the errors of energies, eV/atom, and forces, eV/Å."""
    truth = Truth(model)
    energies, forces = [], []
    for frame in frames:
        found = truth.prediction(frame)
        assert frame.energy is not None
        assert frame.forces is not None
        energies.append((found.energy - frame.energy) / len(frame.numbers))
        forces.append((found.forces - frame.forces).ravel())
    return float(np.sqrt(np.mean(np.square(energies)))), float(
        np.sqrt(np.mean(np.concatenate(forces) ** 2))
    )


def test_all_channels_are_the_plain_spectrum() -> None:
    """An orthogonal mixing leaves every overlap as it is, to rounding."""
    frames = mixtures(((13, 29),), 3, 1)
    numbers = (13, 29)
    radial, own = tabulate(BASIS)
    plain = SoapTerm(BASIS, 2, numbers, species_weights(numbers, None), radial, own, CUTOFF)
    mixing = learned_mixing(second_moments(frames, BASIS, numbers), np.eye(2), 2 * BASIS.n_max)
    radial, own = tables(BASIS, mixing)
    mixed = SoapTerm(BASIS, 2, numbers, np.ones((1, 2)), radial, own, CUTOFF, mixing=mixing)
    assert mixed.dimension == plain.dimension
    structure = Structure(frames[0], CUTOFF)
    both = [term.descriptors(structure, 29)[1] for term in (plain, mixed)]
    np.testing.assert_allclose(both[1] @ both[1].T, both[0] @ both[0].T, atol=1e-12)


def test_channels_are_the_largest_variances() -> None:
    """The moments in the channels are diagonal, and decrease; no combination has a larger one."""
    frames = mixtures(((28, 46),), 4, 2)
    moments = second_moments(frames, BASIS, (28, 46))
    mixing = learned_mixing(moments, np.eye(2), 5)
    kept = np.einsum("lken,lenfm,lqfm->lkq", mixing, moments, mixing)
    for order in range(BASIS.l_max + 1):
        values = np.diag(kept[order])
        np.testing.assert_allclose(kept[order], np.diag(values), atol=1e-12 * values[0])
        assert np.all(np.diff(values) <= 0.0)
        whole = np.linalg.eigvalsh(moments[order].reshape(12, 12))[::-1]
        np.testing.assert_allclose(values, whole[:5], rtol=1e-9, atol=1e-13 * whole[0])


def test_alike_elements_share_channels() -> None:
    """Elements of similarity 1 have the same functions, so that exchanging them changes nothing."""
    frames = mixtures(((28, 46),), 4, 2)
    mixing = learned_mixing(second_moments(frames, BASIS, (28, 46)), np.ones((1, 2)), 4)
    np.testing.assert_array_equal(mixing[:, :, 0], mixing[:, :, 1])


def test_combinations_that_no_frame_has_are_interpolated() -> None:
    """Trained on elements and pairs of them, four at once: the errors are a fraction of plain soap's.

    Deterministic; the plain spectrum's errors are above 1.5 times as large.
    """
    train, unseen = mixtures(PAIRS, 40, 5), mixtures((METALS,), 6, 6)
    learned = errors(fit_frames(settings(n_channels=5, n_max=8), train), unseen)
    plain = errors(fit_frames(settings(n_max=5), train), unseen)
    assert learned[0] < plain[0] / 1.5
    assert learned[1] < plain[1]


@pytest.fixture(scope="module")
def fitted() -> tuple[Model, tuple[Frame, ...]]:
    frames = mixtures(PAIRS, 20, 5)
    return fit_frames(settings(n_channels=5, n_max=8), frames), frames


def test_the_map_is_the_process(fitted: tuple[Model, tuple[Frame, ...]], tmp_path: Path) -> None:
    """Also after its file was written and read; the dimension is that of the channels."""
    model, frames = fitted
    mapped = map_model(model, list(frames), 1e-4, soap="exact")
    write_potential(mapped.data, tmp_path / "p.forcemap")
    truth = Truth(model)
    read = load(tmp_path / "p.forcemap").evaluator(skin=0.0)
    for frame in frames[:4]:
        expected = truth.prediction(frame)
        for evaluator in (mapped.potential.evaluator(skin=0.0), read):
            found = evaluated(evaluator, frame)
            # The pair functions are splines: their error is below the tolerance.
            np.testing.assert_allclose(found.forces, expected.forces, atol=2e-4)
    assert model.terms[1].dimension == 4 * 15  # type: ignore[attr-defined]


def test_model_is_read_as_it_was_written(
    fitted: tuple[Model, tuple[Frame, ...]], tmp_path: Path
) -> None:
    model, frames = fitted
    write_model(model, tmp_path / "m.forcemap")
    again = read_model(tmp_path / "m.forcemap")
    for name in ("mixing", "radial", "own"):
        np.testing.assert_array_equal(getattr(again.terms[1], name), getattr(model.terms[1], name))
    np.testing.assert_array_equal(
        Truth(again).prediction(frames[0]).forces, Truth(model).prediction(frames[0]).forces
    )


def test_other_widths_keep_the_mixing(fitted: tuple[Model, tuple[Frame, ...]]) -> None:
    """The term at its own hyperparameters is itself, and at others its functions are others."""
    term = fitted[0].terms[1]
    assert isinstance(term, SoapTerm)
    here = term.at(term.hyperparameters())
    np.testing.assert_allclose(here.radial, term.radial, atol=1e-13)
    other = term.at({"atom_sigma": 1.2 * term.basis.atom_sigma})
    assert other.radial.shape == term.radial.shape
    assert np.abs(other.radial - term.radial).max() > 1e-3
