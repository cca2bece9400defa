"""Conventions of energies: per frame or per atom, with or without the isolated atoms, all alike."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from examined_data import crystal, examined, isolated, named, sound, written
from forcemap.fitter.doctor.composition import Composition
from forcemap.fitter.doctor.energies import growth
from forcemap.fitter.doctor.finding import Finding, Severity
from structures import as_frame


def shifted(frames: Sequence[Atoms], per_atom: float) -> list[Atoms]:
    """With another zero of the energy."""
    for atoms in frames:
        atoms.calc.results["energy"] += per_atom * len(atoms)
    return list(frames)


def wrong(findings: Sequence[Finding]) -> list[str]:
    return [finding.name for finding in findings if finding.severity is Severity.WRONG]


@pytest.mark.parametrize("level", [0.0, -3.5, -1300.0])
def test_totals_of_any_zero_are_sound(tmp_path: Path, level: float) -> None:
    findings = examined(written(tmp_path / "a.xyz", shifted(sound(), level)))
    assert not wrong(findings)
    message = named(findings, "energy-level").message
    relative = abs(level + 3.51) < 1e-6
    assert ("relative to isolated atoms" in message) == relative
    assert "bonded frames are bound by 3.3" in message


@pytest.mark.parametrize("level", [-4.0, -1300.0])
def test_energies_per_atom_are_recognised(tmp_path: Path, level: float) -> None:
    frames = shifted(sound(), level)
    for atoms in frames:
        atoms.calc.results["energy"] /= len(atoms)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "energy-per-atom")
    assert finding.severity is Severity.WRONG
    assert finding.message.startswith(
        "the energies look like energies per atom: from 4 to 32 atoms they grow as the number of "
        "atoms to the power of "
    )
    assert finding.cure == "Give the energies of whole frames: multiply by the number of atoms"


def test_a_few_energies_per_atom_are_recognised(tmp_path: Path) -> None:
    frames = shifted(sound(), -4.0)
    for n in (3, 6, 11):
        frames[n].calc.results["energy"] /= len(frames[n])
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "energy-per-atom")
    assert [place.index for place in finding.frames] == [3, 6, 11]
    others = examined(tmp_path / "a.xyz")
    assert not {"energy-offset", "far-energy"} & {other.name for other in others}
    assert "the energies of 3 of 27 frames look like energies per atom, such as" in finding.message


def test_isolated_atoms_without_energy_of_their_own(tmp_path: Path) -> None:
    """All-electron totals, with isolated atoms that nobody computed."""
    frames = shifted(sound(), -1300.0)
    frames[-1].calc.results["energy"] = 0.0
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "isolated-atoms-inconsistent")
    assert finding.severity is Severity.WRONG
    assert [place.index for place in finding.frames] == [len(frames) - 1]
    assert "below the isolated atoms (Cu 0.0000 eV) (zero: not computed?)" in finding.message


def test_energies_that_lack_the_isolated_atoms(tmp_path: Path) -> None:
    """Cohesive energies beside the total energy of an atom."""
    frames = shifted(sound(), -3.51)
    frames[-1].calc.results["energy"] = -1300.0
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "isolated-atoms-inconsistent")
    assert finding.severity is Severity.WRONG
    assert "above the isolated atoms (Cu -1300.0000 eV): the frames' energies seem to lack" in (
        finding.message
    )


def test_isolated_atoms_that_differ(tmp_path: Path) -> None:
    frames = [*sound(), isolated(), isolated()]
    frames[-1].calc.results["energy"] -= 0.4
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "isolated-atoms-differ")
    assert finding.severity is Severity.WRONG
    assert finding.message.startswith("3 isolated Cu atoms have energies from 3.1100 to 3.5100 eV")


@pytest.mark.parametrize("offset", [-3.51, 0.7])
def test_files_with_another_zero(tmp_path: Path, offset: float) -> None:
    first = [*(crystal(n, (2, 1, 1), 0.02) for n in range(40)), isolated()]
    second = shifted([crystal(n, (2, 1, 1), 0.02) for n in range(100, 115)], offset)
    paths = [
        written(tmp_path / name, those) for name, those in (("a.xyz", first), ("b.xyz", second))
    ]
    finding = named(examined(*paths), "energy-offset")
    assert finding.severity is Severity.WRONG
    assert {place.source for place in finding.frames} == {str(paths[1])}
    assert finding.figures is not None
    error = finding.figures["error"]
    assert abs(finding.figures["offset_ev_per_atom"] - offset) < 5.0 * error
    assert f"the energies of file {paths[1]} lie {offset:+.1f}" in finding.message
    assert ("about what the isolated atoms have (3.510 eV)" in finding.message) == (offset == -3.51)


@pytest.mark.parametrize("offset", [-2.0, 1.0])
def test_frames_with_another_zero_that_no_group_tells_apart(tmp_path: Path, offset: float) -> None:
    frames = [crystal(n, (2, 1, 1), 0.02) for n in range(60)]
    those = list(range(2, 60, 3))
    shifted([frames[n] for n in those], offset)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "energy-offset")
    assert finding.severity is Severity.WRONG
    assert [place.index for place in finding.frames] == those
    assert finding.figures is not None
    assert finding.figures["offset_ev_per_atom"] == pytest.approx(offset, abs=0.01)
    assert "the energies of 20 frames lie " in finding.message


def test_energies_grow_with_the_number_of_atoms(tmp_path: Path) -> None:
    """To the power of 1 within the error, which is that of 50 frames with 2 % of noise."""
    rng = np.random.default_rng(3)
    frames = []
    for size in rng.choice([8, 12, 16], 50):
        atoms = Atoms(f"Cu{size}", rng.uniform(0.0, 9.0, (size, 3)), cell=[9.0] * 3, pbc=True)
        frames.append(as_frame(atoms, energy=float(-3.5 * size * (1 + rng.normal(0.0, 0.02)))))
    found = growth(Composition.of(frames))
    assert found is not None
    power, error = found
    assert abs(power - 1.0) < 3.0 * error
    assert error == pytest.approx(0.02 / np.sqrt(50) / np.std(np.log([8, 12, 16])), rel=0.3)


def test_groups_with_another_zero(tmp_path: Path) -> None:
    frames = [crystal(n, (2, 1, 1), 0.02) for n in range(60)]
    shifted(frames[40:], 0.5)
    for atoms in frames[40:]:
        atoms.info["config_type"] = "other"
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "energy-offset")
    assert [place.index for place in finding.frames] == list(range(40, 60))


def test_levels_do_not_follow_outliers() -> None:
    """Two elements with energies -3 and -5 eV: ten wild frames of fifty change nothing."""
    rng = np.random.default_rng(1)
    frames = []
    for n in range(50):
        numbers = rng.choice([29, 79], 8)
        energy = float(np.where(numbers == 29, -3.0, -5.0).sum()) + (40.0 if n % 5 == 0 else 0.0)
        atoms = Atoms(numbers, rng.uniform(0.0, 9.0, (8, 3)), cell=[9.0] * 3, pbc=True)
        frames.append(as_frame(atoms, energy=energy))
    data = Composition.of(frames)
    assert data.levels(data.energies / data.sizes) == pytest.approx([-3.0, -5.0], abs=1e-3)
