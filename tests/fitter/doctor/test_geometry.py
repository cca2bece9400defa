"""Close and lonely atoms, odd cells, and what frames lack or have too much of."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from examined_data import case_of, crystal, examined, isolated, labelled, named, sound, written
from forcemap.fitter.data.settings import Source
from forcemap.fitter.doctor import far_frames
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.coverage import counts_of_distances
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.surroundings import WIDTH, surroundings_of
from published_data import published
from structures import NAMES, as_frame, get


def places(finding: Finding) -> list[int]:
    return [place.index for place in finding.frames]


# ----- structures -----


@pytest.mark.parametrize(
    ("distance", "name", "severity"),
    [(0.5, "atoms-on-top", Severity.WRONG), (1.2, "atoms-close", Severity.DOUBT)],
)
def test_close_atoms(tmp_path: Path, distance: float, name: str, severity: Severity) -> None:
    frames = sound()
    for n in (3, 7):
        frames[n].positions[1] = frames[n].positions[0] + (0.0, 0.0, distance)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), name)
    assert finding.severity is severity
    assert places(finding) == [3, 7]
    assert f"the closest are Cu–Cu {distance:g} Å apart, in frame " in finding.message


def test_dimers_may_be_as_short_as_they_like(tmp_path: Path) -> None:
    dimers = [
        Atoms("Cu2", [[0, 0, 0], [0, 0, d]], cell=[15.0] * 3, pbc=True) for d in (0.5, 1.0, 1.5)
    ]
    frames = [*sound(), *(labelled(atoms, stress=False) for atoms in dimers)]
    names = [finding.name for finding in examined(written(tmp_path / "a.xyz", frames))]
    assert "atoms-on-top" not in names
    assert "no-short-distances" not in names


def test_left_handed_cells(tmp_path: Path) -> None:
    frames = sound()
    frames[5].cell = frames[5].cell[[1, 0, 2]]
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "cell-left-handed")
    assert places(finding) == [5]
    assert finding.correction is not None
    frame = case_of(written(tmp_path / "a.xyz", frames)).frames[5]
    mended = finding.correction.change(frame)
    assert mended is not None
    assert np.linalg.det(mended.cell) > 0.0
    same = (surroundings_of(f).fingerprint for f in (frame, mended))
    assert np.allclose(*same, atol=1e-10)


def test_atoms_outside_and_lonely_ones(tmp_path: Path) -> None:
    frames = sound()
    frames[3].positions[2] += 12.0 * frames[3].cell[0]
    lonely = labelled(bulk("Cu", cubic=True))
    lonely = Atoms("Cu3", [[0, 0, 0], [0, 0, 2.3], [9.0, 9.0, 9.0]], cell=[18.0] * 3, pbc=True)
    findings = examined(written(tmp_path / "a.xyz", [*frames, labelled(lonely, stress=False)]))
    assert places(named(findings, "atoms-outside")) == [3]
    assert "more than 10 cells away" in named(findings, "atoms-outside").message
    assert places(named(findings, "atoms-lonely")) == [len(frames)]
    assert "without a neighbour within 6 Å beside others" in named(findings, "atoms-lonely").message


def test_small_cells_are_noted_by_the_cutoff_of_the_settings(tmp_path: Path) -> None:
    finding = named(examined(written(tmp_path / "a.xyz", sound())), "cell-small")
    assert finding.severity is Severity.NOTE
    assert "cells smaller than the cutoff of 5 Å: atoms see their own images" in finding.message


# ----- outliers -----


def test_energies_far_from_all_others(tmp_path: Path) -> None:
    frames = sound()
    frames[9].calc.results["energy"] += 3.0 * len(frames[9])
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "far-energy")
    assert places(finding) == [9]
    assert "1 frame has an energy far from all others of their composition: up to +" in (
        finding.message
    )
    assert "(1 of 24 crystal)" in finding.message


def test_whole_groups_far_from_others(tmp_path: Path) -> None:
    """A third of the frames: too many to be outliers of all."""
    frames = [crystal(n, (1, 1, 1)) for n in range(30)]
    others = [crystal(n, (1, 1, 1), 0.3) for n in range(50, 65)]
    for atoms in others:
        atoms.info["config_type"] = "far"
        atoms.calc.results["energy"] += 4.0 * len(atoms)
    finding = named(examined(written(tmp_path / "a.xyz", frames + others)), "far-energy")
    assert places(finding) == list(range(30, 45))
    assert "(15 of 15 far)" in finding.message


def test_forces_far_larger_than_others(tmp_path: Path) -> None:
    frames = sound()
    frames[4].calc.results["forces"] *= 40.0
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "far-force")
    assert places(finding) == [4]
    assert "1 frame has forces far larger than others: up to" in finding.message


def test_distances_far_shorter_than_others(tmp_path: Path) -> None:
    frames = [crystal(n, rattle=0.05) for n in range(25)]
    frames[11].positions[1] = frames[11].positions[0] + (0.0, 0.0, 1.7)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "short-distance")
    assert places(finding) == [11]
    assert "Cu–Cu distances far shorter than others: down to 1.7 Å, in frame 11" in finding.message


def test_the_published_shear_of_indium_phosphide_is_far_from_all_else() -> None:
    (path,) = published("InP_SNAP/all.xyz")
    case = case_of(path)
    findings = far_frames.examine(case, lambda n=1: None)
    shear = [n for n, frame in enumerate(case.frames) if frame.config_type == "Shear"]
    assert places(named(findings, "far-force")) == shear
    assert set(shear) <= set(places(named(findings, "far-energy")))
    assert "(346 of 346 Shear, 12 of 268 EOS)" in named(findings, "far-energy").message


# ----- what is missing -----


def test_missing_isolated_atoms(tmp_path: Path) -> None:
    finding = named(examined(written(tmp_path / "a.xyz", sound()[:-1])), "no-isolated-atom")
    assert finding.severity is Severity.DOUBT
    assert (
        "no frame with an isolated atom of Cu: the energy of cohesion is unknown" in finding.message
    )
    findings = examined(written(tmp_path / "a.xyz", sound()))
    assert "no-isolated-atom" not in [finding.name for finding in findings]


def test_missing_strain_and_stress(tmp_path: Path) -> None:
    frames = []
    for n in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += np.random.default_rng(n).normal(0.0, 0.1, (4, 3))
        frames.append(labelled(atoms, stress=False))
    findings = examined(written(tmp_path / "a.xyz", frames))
    assert "all 6 bulk frames of a composition have the same volume per atom within" in (
        named(findings, "no-strain").message
    )
    assert named(findings, "no-stress").message.startswith("none of the 6 bulk frames has a stress")
    names = [finding.name for finding in examined(written(tmp_path / "a.xyz", sound()))]
    assert not {"no-strain", "no-stress"} & set(names)


def test_pairs_that_never_meet(tmp_path: Path) -> None:
    """Copper and gold, each on its own but for one frame with a pair of them."""
    frames = [*sound()]
    gold = bulk("Au", cubic=True)
    frames += [labelled(gold) for _ in range(2)]
    pair = Atoms("CuAu", [[0, 0, 0], [0, 0, 2.5]], cell=[20.0] * 3, pbc=True)
    frames.append(labelled(pair, stress=False))
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "pairs-rare")
    assert finding.message == (
        "pairs of elements that (almost) never come within 6 Å, with their number: Cu–Au (1)"
    )


def test_gaps_between_distances(tmp_path: Path) -> None:
    frames = [labelled(bulk("Cu", cubic=True)) for _ in range(3)]
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "distances-gap")
    assert "distances that never occur: Cu–Cu 2.60 to 3.60 Å" in finding.message
    short = named(examined(written(tmp_path / "a.xyz", frames)), "no-short-distances")
    assert "shortest distances: Cu–Cu 2.55 Å" in short.message


def test_groups_are_counted(tmp_path: Path) -> None:
    finding = named(examined(written(tmp_path / "a.xyz", sound())), "groups")
    assert finding.message == "frames by config_type: crystal 24, slab 3, default 1"
    assert finding.figures == {"frames": {"crystal": 24, "slab": 3, "default": 1}}


# ----- distances -----


@pytest.mark.parametrize("name", NAMES)
def test_distances_are_those_of_ase(name: str) -> None:
    """Counts in bins and the nearest neighbours, against ASE's neighbour list."""
    from ase.neighborlist import neighbor_list

    atoms = get(name)
    found = surroundings_of(as_frame(atoms))
    owners, distances = neighbor_list("id", atoms, 6.0)
    total = sum(found.counts.values(), np.zeros(round(6.0 / WIDTH), dtype=int))
    assert np.array_equal(total, np.histogram(distances, np.arange(121) * WIDTH)[0])
    for atom, nearest in enumerate(found.nearest):
        mine = distances[owners == atom]
        assert nearest == pytest.approx(mine.min() if len(mine) else np.inf, abs=1e-9)


def test_no_rotation_reflection_or_supercell_changes_fingerprints() -> None:
    rng = np.random.default_rng(5)
    atoms = crystal(3, (1, 1, 1))
    atoms.set_chemical_symbols(["Cu", "Au", "Cu", "Cu"])
    print_of = surroundings_of(as_frame(atoms)).fingerprint
    turned = atoms.copy()
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned.set_cell(atoms.cell.array @ q)
    turned.positions = atoms.positions @ q + (1.0, 2.0, 3.0)
    turned = turned[rng.permutation(4)]
    for other in (turned, atoms * (2, 1, 3)):
        assert np.allclose(surroundings_of(as_frame(other)).fingerprint, print_of, atol=1e-10)
    moved = atoms.copy()
    moved.positions[0] += 0.01
    assert np.abs(surroundings_of(as_frame(moved)).fingerprint - print_of).max() > 1e-4


def test_distances_of_the_frames_to_fit_only(tmp_path: Path) -> None:
    train = written(tmp_path / "a.xyz", [crystal(1)])
    test = written(tmp_path / "b.xyz", [crystal(2), isolated()])
    both, alone = case_of(train, test=[test]), case_of(train)
    assert isinstance(both, Case)
    assert both.train[0].source == Source(train)
    pair = (29, 29)
    assert np.array_equal(counts_of_distances(both)[pair], counts_of_distances(alone)[pair])
