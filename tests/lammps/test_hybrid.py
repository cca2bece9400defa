"""pair_style hybrid and hybrid/overlay: the potential beside other pair styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import load
from lammps_runs import Answer, evaluate, forcemap_pair


def assert_sum(whole: Answer, parts: list[Answer]) -> None:
    assert whole.energy == pytest.approx(sum(part.energy for part in parts), rel=1e-12)
    for name in ("energies", "forces", "virial", "atom_virials"):
        total = sum(getattr(part, name) for part in parts)
        assert np.abs(total).max() > 1e-3
        np.testing.assert_allclose(getattr(whole, name), total, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("modify", ["", "pair_modify nofdotr"])
def test_overlay_with_zbl(crystal: Atoms, silicon_file: Path, tmp_path: Path, modify: str) -> None:
    zbl = "zbl 2.0 2.8", "zbl 14 14"
    alone = [
        evaluate(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])),
        evaluate(tmp_path, crystal, f"pair_style {zbl[0]}\npair_coeff * * 14 14"),
    ]
    pair = (
        f"pair_style hybrid/overlay forcemap {zbl[0]}\n"
        f"pair_coeff * * forcemap {silicon_file} Si\npair_coeff * * {zbl[1]}\n{modify}"
    )
    assert_sum(evaluate(tmp_path, crystal, pair), alone)


@pytest.mark.parametrize("style", ["hybrid", "hybrid/overlay"])
def test_null_types_are_invisible(
    style: str, triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    """H and O see forcemap as if there were no Si; Si has another pair style."""
    lennard_jones = "lj/cut 4.0"
    pair = (
        f"pair_style {style} forcemap {lennard_jones}\n"
        f"pair_coeff * * forcemap {ternary_file} H O NULL\n"
        "pair_coeff * 3 lj/cut 0.01 2.0\n"
    )
    found = evaluate(tmp_path, triclinic, pair)
    lj_only = f"pair_style {lennard_jones}\npair_coeff * * 0.0 2.0\npair_coeff * 3 0.01 2.0\n"
    other = evaluate(tmp_path, triclinic, lj_only)
    seen = triclinic.numbers != 14
    expected = (
        load(ternary_file)
        .evaluator()
        .compute(
            triclinic.positions[seen],
            triclinic.numbers[seen],
            triclinic.cell.array,
            triclinic.pbc,
        )
    )
    assert found.energy == pytest.approx(expected.energy + other.energy, rel=1e-10)
    forces = other.forces.copy()
    forces[seen] += expected.forces
    np.testing.assert_allclose(found.forces, forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.virial, expected.virial + other.virial, rtol=0, atol=1e-9)


def test_two_potentials_in_one_simulation(
    triclinic: Atoms, silicon_file: Path, ternary_file: Path, tmp_path: Path
) -> None:
    """hybrid with forcemap twice: each keeps its own file, cutoff and elements."""
    pair = (
        "pair_style hybrid/overlay forcemap forcemap lj/cut 3.0\n"
        f"pair_coeff * * forcemap 1 {ternary_file} H O NULL\n"
        f"pair_coeff * * forcemap 2 {silicon_file} NULL NULL Si\n"
        "pair_coeff 1*2 3 lj/cut 0.0 2.0\n"
    )
    found = evaluate(tmp_path, triclinic, pair)
    energy, forces = 0.0, np.zeros((len(triclinic), 3))
    for file, seen in [
        (ternary_file, triclinic.numbers != 14),
        (silicon_file, triclinic.numbers == 14),
    ]:
        part = (
            load(file)
            .evaluator()
            .compute(
                triclinic.positions[seen],
                triclinic.numbers[seen],
                triclinic.cell.array,
                triclinic.pbc,
            )
        )
        energy += part.energy
        forces[seen] += part.forces
    assert found.energy == pytest.approx(energy, rel=1e-10)
    np.testing.assert_allclose(found.forces, forces, rtol=0, atol=1e-9)
