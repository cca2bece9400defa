"""First shells of crystals and liquids, and reaches that keep clear of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.config import Settings
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.prior import alternatives
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.terms.soap.scales import COARSE, MOST_CUTOFF, SINGLE
from forcemap.fitter.terms.soap.settings import SoapSettings
from forcemap.fitter.terms.soap.shells import Shell, clear_of, first_shell, first_shells
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]

FCC = bulk("Cu", "fcc", a=3.6, cubic=True)  # shells at 2.55, 3.60 Å
BCC = bulk("Mo", "bcc", a=3.15, cubic=True)  # 2.73 and 3.15, then 4.45 Å
DIAMOND = bulk("Si", "diamond", a=5.43, cubic=True)  # 2.35, 3.84 Å
ROCKSALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)  # Na-Cl 2.82, Na-Na and Cl-Cl 3.99 Å
CRYSTALS = {"fcc": FCC, "bcc": BCC, "diamond": DIAMOND, "rocksalt": ROCKSALT}

SHELLS = {
    "fcc": [(2.55, 3.60)],
    "bcc": [(3.15, 4.45)],
    "diamond": [(2.35, 3.84)],
    "rocksalt": [(2.82, 4.89), (3.99, 5.64), (3.99, 5.64)],
}
"""The last distance of the first shell and the next one of the same pair, nearest shells first."""


def disordered(crystal: Atoms, amplitude: float, count: int = 8) -> list[Atoms]:
    """Copies with thermal disorder (standard deviation in Å) and strains of up to 2 %."""
    rng = np.random.default_rng(4)
    found = []
    for strain in np.linspace(-0.02, 0.02, count):
        atoms = crystal * (2, 2, 2)
        atoms.set_cell(atoms.cell.array * (1.0 + strain), scale_atoms=True)
        atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
        found.append(atoms)
    return found


def liquid(count: int = 64, diameter: float = 2.5, side: float = 9.6) -> list[Atoms]:
    """Soft spheres pushed apart from random places: as disordered as a liquid, and as dense."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.uniform(0.0, side, (count, 3))
        for _ in range(400):
            d = x[:, None] - x
            d -= side * np.rint(d / side)
            r = np.linalg.norm(d, axis=2) + np.eye(count)
            push = np.clip(1.1 * diameter - r, 0.0, None) * (1.0 - np.eye(count))
            x += 0.2 * np.sum((push / r)[:, :, None] * d, axis=1)
        x += rng.normal(0.0, 0.08, x.shape)
        found.append(Atoms(f"Al{count}", x, cell=[side] * 3, pbc=True))
    return found


def distances(structures: Sequence[Atoms]) -> dict[tuple[int, int], Array]:
    found: dict[tuple[int, int], list[Array]] = {}
    for atoms in structures:
        neighbors = Structure(as_frame(atoms), MOST_CUTOFF).neighbors
        for a, b in combinations_with_replacement(sorted({int(z) for z in atoms.numbers}), 2):
            found.setdefault((a, b), []).append(neighbors.distances(a, b, MOST_CUTOFF))
    return {pair: np.concatenate(some) for pair, some in found.items()}


@pytest.mark.parametrize("amplitude", [0.0, 0.04, 0.12])
@pytest.mark.parametrize("name", CRYSTALS)
def test_shells_of_crystals(name: str, amplitude: float) -> None:
    """They end between the shells; those of bcc, 0.4 Å apart, are one shell at any temperature."""
    shells = first_shells(distances(disordered(CRYSTALS[name], amplitude)), MOST_CUTOFF)
    assert len(shells) == len(SHELLS[name])
    for shell, (last, following) in zip(shells, SHELLS[name], strict=True):
        assert shell.start < 0.95 * last
        assert 1.03 * last < shell.end < shell.gap < 0.97 * following


def test_shell_of_a_liquid_ends_at_the_first_minimum() -> None:
    found = distances(liquid())[13, 13]
    counts, edges = np.histogram(found, np.arange(2.0, 5.0, 0.1))
    radii = 0.5 * (edges[1:] + edges[:-1])
    density = counts / radii**2
    top = int(np.argmax(density))
    minimum = radii[top:][np.argmin(density[top : top + 16])]
    shell = first_shell(found, MOST_CUTOFF)
    assert shell is not None
    assert shell.start < radii[top] < shell.end <= shell.gap
    assert shell.gap == pytest.approx(minimum, abs=0.25)


def test_no_shell_without_a_peak() -> None:
    rng = np.random.default_rng(1)
    even = MOST_CUTOFF * rng.uniform(0.02, 1.0, 20_000) ** (1.0 / 3.0)
    assert first_shell(even, MOST_CUTOFF) is None
    assert first_shell(np.zeros(0), MOST_CUTOFF) is None
    assert first_shell(np.full(5, 5.9), MOST_CUTOFF) is None
    assert first_shells({}, MOST_CUTOFF) == []


def test_one_distance_is_a_shell() -> None:
    shell = first_shell(np.full(3, 2.0), MOST_CUTOFF)
    assert shell is not None
    assert shell.start == pytest.approx(1.8, abs=0.05)
    assert shell.end == pytest.approx(2.2, abs=0.06)


def test_rare_pairs_have_no_say() -> None:
    found = distances(disordered(FCC, 0.1))
    (shell,) = first_shells(found, MOST_CUTOFF)
    assert first_shells(found | {(1, 29): np.full(10, 3.1)}, MOST_CUTOFF) == [shell]


def test_reaches_in_a_shell_move_to_the_nearest_place_beyond_the_first() -> None:
    shells = [Shell(1.8, 2.2, 2.5), Shell(2.8, 3.4, 4.0), Shell(3.2, 3.6, 3.9)]
    for reach in (2.21, 2.5, 2.79, 3.61, 9.0):
        assert clear_of(shells, reach) == reach
    for reach in (0.5, 1.9, 2.1, 3.0):
        assert clear_of(shells, reach) == 2.5  # between 2.2 and 2.8
    assert clear_of(shells, 3.5) == 3.9
    assert clear_of([], 1.0) == 1.0


def soaps_of(structures: Sequence[Atoms], **term: object) -> list[list[SoapSettings]]:
    given = Settings.from_dict({"data": {"train": "a.xyz"}, "terms": [{"kind": "soap", **term}]})
    survey = Survey.of([as_frame(atoms) for atoms in structures], given)
    options = alternatives(given, survey)
    return [[t for t in o.terms if isinstance(t, SoapSettings)] for o in options]


@pytest.mark.parametrize("amplitude", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("name", [*CRYSTALS, "liquid"])
def test_no_scale_ends_where_many_pairs_are(name: str, amplitude: float) -> None:
    """A reach is beyond the nearest neighbours, and neither it nor the start of its transition is
    within the first shell of any pair; there are few pairs about it."""
    structures = liquid() if name == "liquid" else disordered(CRYSTALS[name], amplitude)
    found = distances(structures)
    nearest = min(float(some.min()) for some in found.values())
    for terms in soaps_of(structures):
        for term in terms:
            assert term.cutoff is not None
            assert term.cutoff_width is not None
            assert term.cutoff > nearest
            for some in found.values():
                shell = first_shell(some, MOST_CUTOFF)
                assert shell is not None
                assert not shell.start < term.cutoff < shell.end
                if term is terms[0] and term.cutoff < 1.4 * nearest:
                    assert np.mean(np.abs(some - term.cutoff) < 0.1) < 0.02
                assert not shell.start + 0.01 < term.cutoff - term.cutoff_width < shell.end


def test_alternatives_are_not_alike() -> None:
    """Of four reaches two are in the first shell of copper, and one is where they would move to."""
    options = soaps_of(disordered(FCC, 0.1))
    fine = [terms[0].cutoff for terms in options]
    assert len(fine) == 2
    assert all(2.9 < (reach or 0.0) < 3.5 for reach in fine)
    assert options[0][1] == options[1][1]


def test_transition_keeps_the_width_that_is_given() -> None:
    fine, coarse = soaps_of(disordered(FCC, 0.1), n_scales=2, cutoff_width=0.5)[0]
    assert fine.cutoff_width == coarse.cutoff_width == 0.5


def test_scales_that_are_clear_stay() -> None:
    for terms in soaps_of(disordered(FCC, 0.1)):
        assert terms[1].cutoff == pytest.approx(COARSE.reach * 4.4, abs=0.15)
    ((single,),) = soaps_of(disordered(FCC, 0.1), n_scales=1)
    assert single.cutoff == pytest.approx(SINGLE.reach * 4.4, abs=0.15)
