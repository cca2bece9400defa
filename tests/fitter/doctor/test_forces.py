"""Net forces and forces that constraints have zeroed."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from examined_data import crystal, examined, labelled, named, sound, written
from forcemap.fitter.doctor.finding import Severity
from forcemap.fitter.doctor.net_forces import independent_error


def test_independent_errors_are_found_from_net_forces() -> None:
    """Errors of 0.1 eV/Å on 200 frames of 30 atoms: sqrt of the mean square is 0.1 within 5 %."""
    rng = np.random.default_rng(2)
    errors = [independent_error(rng.normal(0.0, 0.1, (30, 3)))[0] for _ in range(200)]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.1, rel=0.05)


def test_net_forces_are_named(tmp_path: Path) -> None:
    """A constant force of 3 eV/Å on one atom in each of two frames."""
    frames = sound()
    for n in (3, 7):
        frames[n].calc.results["forces"][5] += (3.0, 0.0, 0.0)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "net-force")
    assert [place.index for place in finding.frames] == [3, 7]
    assert "the forces of 2 of 28 frames do not sum to zero: in frame " in finding.message
    assert "to (3, " in finding.message
    assert "Look for an external field" in finding.cure


def test_lone_atoms_with_a_force_are_wrong(tmp_path: Path) -> None:
    frames = sound()
    frames[-1].calc.results["forces"][0] = (0.0, 0.5, 0.0)
    finding = named(examined(written(tmp_path / "a.xyz", frames)), "net-force")
    assert finding.severity is Severity.WRONG


def test_constraints_are_recognised(tmp_path: Path) -> None:
    """The lower half of two frames is held; their net force is no other fault."""
    frames = sound()
    for n in (3, 7):
        frames[n].calc.results["forces"][:16] = 0.0
    path = written(tmp_path / "a.xyz", frames)
    findings = examined(path)
    finding = named(findings, "forces-frozen")
    assert finding.severity is Severity.WRONG
    assert [place.index for place in finding.frames] == [3, 7]
    assert finding.message == (
        "32 atoms in 2 frames have forces of exactly zero that no symmetry explains, such as atoms "
        f"0, 1, 2, 3, 4, … (from 0) of frame 3 of {path}: a constraint (FixAtoms, selective "
        "dynamics) has zeroed them"
    )
    assert "net-force" not in [finding.name for finding in findings]


def test_rounding_may_zero_forces(tmp_path: Path) -> None:
    """A relaxed structure with forces of three digits, and one atom that was moved."""
    frames = [crystal(n) for n in range(3)]
    rng = np.random.default_rng(4)
    forces = np.round(rng.normal(0.0, 0.0005, (32, 3)), 3)
    forces[0] = (2.0, 0.5, 0.1)
    assert (np.abs(forces).max(axis=1) == 0.0).any()
    frames[1].calc.results["forces"] = forces
    names = [finding.name for finding in examined(written(tmp_path / "a.xyz", frames))]
    assert "forces-frozen" not in names


def test_symmetry_may_hold_atoms(tmp_path: Path) -> None:
    """Layers beside a mirror move away from it: the forces of its own atoms vanish."""
    frames = [crystal(n) for n in range(3)]
    for shift in (0.1, 0.2):
        atoms: Atoms = bulk("Cu", a=3.6, cubic=True) * (4, 1, 1)
        heights = np.round(atoms.positions[:, 0] / 1.8)
        atoms.positions[heights == 1, 0] += shift
        atoms.positions[heights == 7, 0] -= shift
        moved = labelled(atoms)
        forces = moved.calc.results["forces"]
        forces[np.abs(forces) < 1e-9] = 0.0  # as symmetrised by a program
        still = np.abs(forces).max(axis=1) == 0.0
        assert still.any()
        assert not still.all()
        frames.append(moved)
    names = [finding.name for finding in examined(written(tmp_path / "a.xyz", frames))]
    assert "forces-frozen" not in names
