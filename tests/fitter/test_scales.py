"""Cutoffs and resolutions of soap terms that leave them to the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.neighborlist import neighbor_list
from forcemap.fitter.config import Settings, SoapSettings
from forcemap.fitter.dataset import read_frames
from forcemap.fitter.fitting import fit, of_largest_evidence
from forcemap.fitter.frame import Frame
from forcemap.fitter.scales import COARSE, FINE, choices, cutoff_by_neighbors
from forcemap.potentials import ForcemapError
from numpy.typing import NDArray
from structures import SILICON, as_frame


def frames_of(structures: list[Atoms], path: Path) -> list[Frame]:
    """The structures with zero labels, as the fitter reads them."""
    for atoms in structures:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    write(path, structures)
    settings = Settings.from_dict({"data": {"train": str(path)}, "terms": [{"kind": "soap"}]})
    return read_frames(settings.data.train, settings.data.keys, settings.sigma)


def test_cutoff_has_thirty_neighbours(tmp_path: Path) -> None:
    """Shells of diamond silicon hold 28 neighbours up to 4.5 Å, 34 up to 5.43 Å, 46 up to 5.92 Å."""
    frames = frames_of([bulk("Si", "diamond", a=5.43, cubic=True)], tmp_path / "si.xyz")
    assert cutoff_by_neighbors(frames) == pytest.approx(5.4, abs=0.05)
    dense = frames_of([bulk("Ni", "fcc", a=2.6, cubic=True)], tmp_path / "dense.xyz")
    assert cutoff_by_neighbors(dense) == 4.0
    few = as_frame(Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]))
    assert cutoff_by_neighbors([few]) == 6.0


def angle_energy(atoms: Atoms) -> float:
    """Σ (cos θ + 1/3)² over angles between bonds, which fade out from 2.2 to 3.0 Å; in eV."""
    i, d, vectors = neighbor_list("idD", atoms, 3.0)
    weight = 0.5 * (1.0 + np.cos(np.pi * np.clip((d - 2.2) / 0.8, 0.0, 1.0)))
    unit = vectors / d[:, None]
    total = 0.0
    for centre in range(len(atoms)):
        mine = i == centre
        cosines = unit[mine] @ unit[mine].T + 1.0 / 3.0
        product = np.multiply.outer(weight[mine], weight[mine])
        total += float(np.sum(np.triu(product * cosines**2, 1)))
    return total


def angle_forces(atoms: Atoms) -> NDArray[np.float64]:
    """By central differences of `angle_energy`, eV/Å."""
    forces = np.zeros((len(atoms), 3))
    for n, axis in np.ndindex(forces.shape):
        for step in (1e-4, -1e-4):
            moved = atoms.copy()
            moved.positions[n, axis] += step
            forces[n, axis] -= angle_energy(moved) / (2 * step)
    return forces


@pytest.fixture
def silicon(tmp_path: Path) -> list[Frame]:
    return frames_of([bulk("Si", "diamond", a=5.43, cubic=True)], tmp_path / "si.xyz")


def chosen(frames: list[Frame], **term: Any) -> list[SoapSettings]:
    """The soap terms that one with these settings stands for."""
    given = Settings.from_dict({"data": {"train": "a.xyz"}, "terms": [{"kind": "soap", **term}]})
    options = choices(given, frames)
    assert len(options) in (1, len(FINE))
    return [t for t in options[0].terms if isinstance(t, SoapSettings)]


def test_bare_term_is_a_fine_one_and_a_coarse_one(silicon: list[Frame]) -> None:
    fine, coarse = chosen(silicon, n_max=5, zeta=3)
    for term, scale in zip((fine, coarse), (FINE[0], COARSE), strict=True):
        assert term.cutoff == pytest.approx(5.4 * scale.reach, abs=0.006)
        assert term.cutoff_width == pytest.approx(scale.cutoff_width * term.cutoff)
        assert term.atom_sigma == pytest.approx(scale.atom_sigma * term.cutoff)
        assert (term.n_max, term.zeta, term.n_sparse_factor) == (5, 3, 0.5)
    assert fine.cutoff is not None
    assert coarse.cutoff is not None
    assert fine.cutoff < 5.4 < coarse.cutoff


def test_scales_share_what_the_term_has(silicon: list[Frame]) -> None:
    """Sparse points, quotas and the variance, which is the sum of the parts'."""
    parts = chosen(silicon, n_sparse=101, delta=2.0, config_type_n_sparse={"liquid": 40})
    assert [p.n_sparse for p in parts] == [50, 50]
    assert sum((p.delta or 0.0) ** 2 for p in parts) == pytest.approx(4.0)
    assert [dict(p.config_type_n_sparse) for p in parts] == [{"liquid": 20}] * 2
    parts = chosen(silicon, n_sparse={"Si": 1})
    assert [p.n_sparse for p in parts] == [{"Si": 1}, {"Si": 1}]


@pytest.mark.parametrize("given", [{"atom_sigma": 0.5}, {"cutoff_width": 2.0}, {"n_scales": 1}])
def test_one_scale_where_its_shape_is_given(silicon: list[Frame], given: dict[str, Any]) -> None:
    (term,) = chosen(silicon, **given)
    assert term.cutoff == 5.4
    assert term.n_sparse_factor == 1.0
    for key, value in given.items():
        assert getattr(term, key) == value


def test_two_scales_take_the_shape_that_is_given(silicon: list[Frame]) -> None:
    fine, coarse = chosen(silicon, n_scales=2, atom_sigma=0.5, cutoff_width=5.0)
    assert fine.atom_sigma == coarse.atom_sigma == 0.5
    assert fine.cutoff_width == fine.cutoff  # no wider than that
    assert coarse.cutoff_width == 5.0


def test_terms_with_a_cutoff_stay(silicon: list[Frame]) -> None:
    terms = [{"kind": "two_body"}, {"kind": "soap", "cutoff": 4.0}]
    given = Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})
    assert choices(given, silicon) == [given]
    terms[1]["n_scales"] = 2  # type: ignore[assignment]
    with pytest.raises(ForcemapError, match=r"n_scales.*without a cutoff"):
        Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})


def test_alternatives_differ_in_the_reach_of_the_fine_scale(silicon: list[Frame]) -> None:
    given = Settings.from_dict({"data": {"train": "a.xyz"}, "terms": [{"kind": "soap"}]})
    reaches = [option.terms[0].cutoff for option in choices(given, silicon)]
    assert reaches == sorted(reaches, key=lambda r: -(r or 0.0))
    assert len(set(reaches)) == len(FINE)
    first, *others = (option.terms[1] for option in choices(given, silicon))
    assert all(other == first for other in others)


def test_evidence_finds_the_reach_of_the_interaction(tmp_path: Path) -> None:
    """Angles of bonds shorter than 2.6 Å alone make the energy: the finest scale explains it best."""
    rng = np.random.default_rng(5)
    structures = [bulk("Si", "diamond", a=5.43, cubic=True) * (2, 1, 1) for _ in range(12)]
    for atoms in structures:
        atoms.positions += rng.normal(0.0, 0.12, (len(atoms), 3))
        labels = {"energy": angle_energy(atoms), "forces": angle_forces(atoms)}
        atoms.calc = SinglePointCalculator(atoms, **labels)
    write(tmp_path / "short.xyz", structures)
    given = Settings.from_dict(
        {
            "data": {"train": str(tmp_path / "short.xyz")},
            "terms": [{"kind": "soap", "n_max": 6, "l_max": 4}],
        }
    )
    frames = read_frames(given.data.train, given.data.keys, given.sigma)
    options = choices(given, frames)
    found = of_largest_evidence(options, frames)
    assert found in options[2:]


def test_bare_term_fits(tmp_path: Path) -> None:
    """The model's terms are those of the two scales, each of the term's size."""
    model = fit(
        {
            "data": {"train": {"path": str(SILICON / "train.xyz"), "index": "::8"}},
            "terms": [{"kind": "soap", "n_max": 3, "l_max": 2, "n_sparse": 40}],
        }
    )
    soaps = [term for term in model.terms if term.kind == "soap"]
    assert len(soaps) == 2
    assert soaps[0].cutoff < soaps[1].cutoff
    assert all(0 < term.size <= 20 for term in soaps)
    assert model.settings["terms"][0]["cutoff"] is None
