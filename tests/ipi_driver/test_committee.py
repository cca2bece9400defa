"""A committee of several potentials, with i-PI's ``<ffcommittee>``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner
from forcemap.ipi_driver.command import driver
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential

HARTREE = 0.036749326
DRIVER = "from forcemap.ipi_driver.command import driver; driver()"
SEEDS = (4, 5, 6)


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"member{seed}.forcemap" for seed in SEEDS]
    for seed, path in zip(SEEDS, paths, strict=True):
        write_potential(random_potential(["Si", "O"], seed=seed), path)
    return paths


def atoms() -> Atoms:
    return Atoms(
        "SiOSiO",
        [[0, 0, 0], [1.7, 0.1, 0], [3.0, 0.9, 0.2], [0.2, 2.5, 1.4]],
        cell=[[6, 0, 0], [1, 6.2, 0], [-0.8, 1, 6.6]],
        pbc=True,
    )


@pytest.mark.parametrize("settings", ["", "<batch_size>3</batch_size><latency>1e-2</latency>"])
def test_ipi_gets_mean_and_spread(
    ipi: Any, helpers: Any, members: list[Path], settings: str
) -> None:
    pytest.importorskip("ipi")
    inner = "<ffsocket name='inner' mode='unix'><address>{address}</address>" + settings
    ipi.start(
        atoms(),
        f"<ffcommittee name='ff'>{inner}</ffsocket><parse_json> True </parse_json></ffcommittee>",
        steps=3,
        beads=2,
        output="<trajectory filename='spread' extra_type='committee_uncertainty' stride='1'>"
        " extras </trajectory>",
    )
    command = [sys.executable, "-c", DRIVER, *map(str, members), "--template", "init.xyz"]
    client = helpers.start([*command, "--unix", ipi.address])
    _, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors
    assert ipi.wait() == 0, ipi.log()
    start = atoms()
    energies = [
        load(path)
        .evaluator()
        .compute(start.positions, start.numbers, start.cell.array, True)
        .energy
        for path in members
    ]
    assert ipi.table()[0, 2] == pytest.approx(np.mean(energies), rel=1e-7)
    spread = np.loadtxt(ipi.folder / "md.spread_0", ndmin=1)
    assert spread[0] == pytest.approx(np.std(energies, ddof=1) * HARTREE, rel=1e-6)


def test_committee_of_one_is_wrong_usage(members: list[Path]) -> None:
    one = [str(members[0]), "--template", "init.xyz", "--unix", "a"]
    Atoms("Si").write(members[0].with_name("init.xyz"))
    one[2] = str(members[0].with_name("init.xyz"))
    done = CliRunner().invoke(driver, [*one, "--committee", "1"])
    assert done.exit_code == 2
    assert "two members or more" in done.output
    done = CliRunner().invoke(driver, [one[0], *one])
    assert done.exit_code == 2
    assert "given twice" in done.output
