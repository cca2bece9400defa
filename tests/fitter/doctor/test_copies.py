"""Frames that are the same structure up to symmetry."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from examined_data import (
    cluster,
    crystal,
    examined,
    isolated,
    labelled,
    named,
    slab,
    sound,
    written,
)
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.alignment import Alignment, Side, align
from forcemap.fitter.doctor.copies import sets_of_copies
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.surroundings import surroundings_of
from forcemap.fitter.doctor.vacuum import opened
from published_data import published
from structures import as_frame


def places(finding: Finding) -> list[int]:
    return [place.index for place in finding.frames]


def turned(atoms: Atoms, seed: int, decimals: int | None = None) -> Atoms:
    """Rotated or reflected, shifted, wrapped and reordered, with its labels."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(atoms))
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ q)
    copy.positions = atoms.positions @ q + rng.uniform(0.0, 9.0, 3)
    copy.wrap()
    copy = copy[order]
    if decimals is not None:
        copy.positions = np.round(copy.positions, decimals)
        copy.set_cell(np.round(copy.cell.array, decimals))
    results = atoms.calc.results if atoms.calc else {}
    labels = {}
    if "energy" in results:
        labels["energy"] = results["energy"]
    if "forces" in results:
        labels["forces"] = (results["forces"] @ q)[order]
    if "stress" in results:
        stress = q.T @ atoms.get_stress(voigt=False) @ q
        labels["stress"] = stress.ravel()[[0, 4, 8, 5, 2, 1]]
    copy.calc = SinglePointCalculator(copy, **labels)
    return copy


def aligned(a: Atoms, b: Atoms) -> Alignment | None:
    frames = [opened(as_frame(atoms)) for atoms in (a, b)]
    return align(*(Side(frame, surroundings_of(frame).features) for frame in frames))


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "crystal": lambda: crystal(1),
    "perfect crystal": lambda: bulk("Cu", cubic=True) * (2, 2, 2),
    "primitive cell": lambda: bulk("Cu"),
    "slab": lambda: slab(1),
    "cluster in a box": lambda: cluster(1),
    "molecule": lambda: molecule("CH3CH2OH"),
    "planar molecule": lambda: molecule("C6H6"),
    "linear molecule": lambda: molecule("CO2"),
    "dimer": lambda: molecule("N2"),
    "salt": lambda: bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "graphite": lambda: bulk("C", "hcp", a=2.46, c=6.7),
}


@pytest.mark.parametrize("decimals", [None, 3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_a_copy_of_itself_up_to_symmetry(
    name: str, decimals: int | None
) -> None:
    """Also with positions of three decimals; a motion of one atom by 0.05 Å makes another structure."""
    atoms = STRUCTURES[name]()
    for seed in range(3):
        copy = turned(atoms, seed, decimals)
        found = aligned(atoms, copy)
        assert found is not None
        assert np.allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-9)
        assert np.array_equal(atoms.numbers[found.partners], copy.numbers)
        assert found.distance < (1e-6 if decimals is None else 2e-3)
        if len(atoms) > 1:
            copy.positions[0] += (0.03, 0.03, 0.03)
            assert aligned(atoms, copy) is None


@pytest.mark.parametrize(
    "matrix",
    [np.diag([2, 1, 1]), np.diag([1, 2, 3]), np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])],
    ids=["double", "sextuple", "turned"],
)
def test_supercells_are_the_crystal(matrix: np.ndarray) -> None:
    atoms = crystal(2, (1, 1, 1))
    larger = turned(make_supercell(atoms, matrix), 3)
    found = aligned(atoms, larger)
    assert found is not None
    larger.positions[1] += 0.03
    assert aligned(atoms, larger) is None


def test_other_stackings_are_other_structures() -> None:
    """fcc and hcp have the same first neighbours; mirror images are copies."""
    fcc = make_supercell(bulk("Cu", "fcc", a=3.6), [[1, -1, 0], [0, 1, -1], [2, 2, 2]])
    hcp = bulk("Cu", "hcp", a=3.6 / np.sqrt(2), c=3.6 / np.sqrt(2) * np.sqrt(8 / 3)) * (1, 1, 3)
    assert len(fcc) == len(hcp) == 6
    assert aligned(fcc, hcp) is None
    hand = molecule("CH3CH2OH")
    mirrored = hand.copy()
    mirrored.positions[:, 0] *= -1.0
    assert aligned(hand, mirrored) is not None


def test_forces_and_stresses_follow_the_motion() -> None:
    """Brought into one orientation, the labels of copies are equal within rounding."""
    atoms = crystal(3, (1, 1, 1))
    frames = []
    for n, copy in enumerate([atoms, *(turned(atoms, seed) for seed in range(4))]):
        results = copy.calc.results
        frames.append(
            as_frame(
                copy,
                energy=float(results["energy"]),
                forces=np.asarray(results["forces"]),
                stress=copy.get_stress(voigt=False),
                index=n,
            )
        )
    larger = labelled(atoms * (2, 1, 1))
    frames.append(
        as_frame(
            larger,
            energy=larger.get_potential_energy(),
            forces=larger.get_forces(),
            stress=larger.get_stress(voigt=False),
        )
    )
    (copies,) = sets_of_copies(frames, [surroundings_of(frame) for frame in frames])
    assert [member.number for member in copies.members] == list(range(6))
    assert copies.deviations().max() < 1e-9


def test_copies_are_counted_once_each(tmp_path: Path) -> None:
    """One frame exactly as it was, two turned ones, and a supercell."""
    frames = sound()
    first = frames[0]
    larger = labelled(first * (1, 2, 1))
    frames += [first.copy(), turned(frames[5], 1), turned(frames[9], 2), larger]
    frames[28].calc = first.calc
    path = written(tmp_path / "a.xyz", frames)
    finding = named(examined(path), "copies-in-train")
    assert finding.severity is Severity.DOUBT
    assert places(finding) == [28, 29, 30, 31]
    assert finding.message == (
        "4 of 32 frames to fit are copies of others, with the same labels (1 exactly, 3 rotated, "
        "reflected, shifted, reordered or in another cell): they count twice, and cost time"
    )


def test_copies_in_the_test_data(tmp_path: Path) -> None:
    frames = sound()
    test = [crystal(200), turned(frames[6], 1), frames[2], isolated()]
    paths = [
        written(tmp_path / name, those) for name, those in (("a.xyz", frames), ("b.xyz", test))
    ]
    finding = named(examined(paths[0], test=[paths[1]]), "copies-in-test")
    assert places(finding) == [1, 2]
    assert {place.source for place in finding.frames} == {str(paths[1])}
    assert "2 of 4 test frames are copies of frames to fit, with the same labels (1 exactly" in (
        finding.message
    )


@pytest.mark.parametrize(
    ("label", "change", "severity"),
    [
        ("energy", 0.32, Severity.WRONG),
        ("energy", 0.032, Severity.DOUBT),
        ("forces", 0.5, Severity.WRONG),
        ("stress", 0.02, Severity.WRONG),
    ],
)
def test_copies_with_other_labels(
    tmp_path: Path, label: str, change: float, severity: Severity
) -> None:
    """A turned copy of a frame of 32 atoms, whose labels differ by as much as is said."""
    frames = sound()
    other = turned(frames[7], 1)
    values = np.asarray(other.calc.results[label], dtype=float)
    if label == "forces":
        values[0, 1] += change
        values[1, 1] -= change
    else:
        values = values + change
    other.calc.results[label] = values if values.ndim else float(values)
    finding = named(examined(written(tmp_path / "a.xyz", [*frames, other])), "copies-differ")
    assert finding.severity is severity
    assert places(finding) == [7, 28]
    size = change / 32 if label == "energy" else change
    assert (
        f"1 structure occurs more than once, up to symmetry, with different labels: {label} by"
        in (finding.message)
    )
    assert finding.figures is not None
    if label != "stress":  # whose largest component depends on the orientation
        assert finding.figures[label] == pytest.approx(size, rel=0.3)


def test_the_odd_one_of_three_copies_is_named(tmp_path: Path) -> None:
    frames = sound()
    copies = [turned(frames[7], seed) for seed in range(3)]
    copies[1].calc.results["energy"] += 1.0
    finding = named(examined(written(tmp_path / "a.xyz", [*frames, *copies])), "copies-differ")
    assert places(finding) == [29]


def test_many_equal_frames_take_no_time(tmp_path: Path) -> None:
    """Two hundred times the same perfect crystal in all orientations."""
    atoms = labelled(bulk("Cu", cubic=True))
    frames = [as_frame(turned(atoms, seed), index=seed) for seed in range(200)]
    (copies,) = sets_of_copies(frames, [surroundings_of(frame) for frame in frames])
    assert len(copies.members) == 200


def test_isolated_atoms_are_no_copies() -> None:
    frames = [as_frame(isolated(), index=n) for n in range(3)]
    assert not sets_of_copies(frames, [surroundings_of(frame) for frame in frames])


def test_masked_forces_are_not_compared() -> None:
    atoms = crystal(3, (1, 1, 1))
    frame: Frame = as_frame(atoms, forces=atoms.get_forces())
    mask = np.array([True, False, False, False])
    spoilt = replace(frame, forces=frame.forces + 5.0 * mask[:, None], force_mask=mask)
    frames = [frame, spoilt]
    (copies,) = sets_of_copies(frames, [surroundings_of(each) for each in frames])
    assert np.nanmax(copies.deviations()) < 1e-12


@pytest.mark.parametrize(("name", "count"), [("Ni", 12), ("Si", 3), ("Mo", 0)])
def test_published_test_sets_have_copies(name: str, count: int) -> None:
    """The numbers were found by hand; one more of Ni has another energy than its copies."""
    train, test = published(f"mlearn_{name}/train.xyz", f"mlearn_{name}/test.xyz")
    findings = examined(train, test=[test])
    known = [finding for finding in findings if finding.name == "copies-in-test"]
    assert sum(len(finding.frames) for finding in known) == count
    assert Severity.WRONG not in [finding.severity for finding in findings]
