"""Trajectories of CP2K: energies from comments, forces and cells from the files beside them."""

import gzip
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.settings import Source
from forcemap.potentials.errors import ForcemapError

HARTREE, BOHR = 27.211386, 0.52917721
WATER = ("O 0.0 0.0 0.117", "H 0.0 0.757 -0.469", "H 0.0 -0.757 -0.469")
FORCES = ("O 0.01 0.02 0.03", "H 0.0 0.0 -0.015", "H -0.01 -0.02 -0.015")


def frames(lines: tuple[str, ...], steps: range, end: str = "") -> str:
    return "".join(
        f"       3\n i = {n:8d}, time = {0.5 * n:12.3f}, E = {-17.0 - n:20.10f}{end}\n"
        + "".join(f"  {line}\n" for line in lines)
        for n in steps
    )


def cells(steps: range) -> str:
    rows = (f"{n} {0.5 * n} 10.0 0 0 0 11.0 0 0 {n}.5 12.0 1320.0\n" for n in steps)
    return "#   Step   Time [fs]       Ax [Angstrom]       Ay [Angstrom] ...\n" + "".join(rows)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "water-pos-1.xyz").write_text(frames(WATER, range(4)))
    (tmp_path / "water-frc-1.xyz").write_text(frames(FORCES, range(4)))
    (tmp_path / "water-1.cell").write_text(cells(range(4)))
    return tmp_path / "water-pos-1.xyz"


def read(path: Path, index: str = ":") -> tuple[list[Frame], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_frames([Source(path, index)])
    return found, [str(warning.message).replace(f"{path.parent}/", "") for warning in caught]


def refused(path: Path) -> str:
    with pytest.raises(ForcemapError) as caught:
        read(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_labels_are_in_our_units(run: Path) -> None:
    found, said = read(run, "-3::2")
    assert said == [
        "water-pos-1.xyz: is read as a trajectory of CP2K: energies (Hartree) from its comments, "
        "forces (Hartree/bohr) from water-frc-1.xyz, cells from water-1.cell; no stresses are read"
    ]
    assert [frame.index for frame in found] == [1, 3]
    for frame, step in zip(found, (1, 3), strict=True):
        assert frame.energy == pytest.approx((-17.0 - step) * HARTREE, rel=1e-6)
        assert frame.forces is not None
        np.testing.assert_allclose(
            frame.forces[0], np.array([1, 2, 3]) * 0.01 * HARTREE / BOHR, 1e-6
        )
        np.testing.assert_allclose(frame.positions[1], [0.0, 0.757, -0.469])
        assert frame.numbers.tolist() == [8, 1, 1]
        assert frame.pbc.all()
        assert frame.cell.tolist() == [[10.0, 0.0, 0.0], [0.0, 11.0, 0.0], [0.0, step + 0.5, 12.0]]


def test_other_files_may_be_packed_or_missing(run: Path) -> None:
    forces = run.with_name("water-frc-1.xyz")
    packed = run.with_name("water-pos-1.xyz.gz")
    packed.write_bytes(gzip.compress(run.read_bytes()))
    run.with_name("water-frc-1.xyz.gz").write_bytes(gzip.compress(forces.read_bytes()))
    forces.unlink()
    found, _ = read(packed)
    assert all(frame.forces is not None for frame in found)
    run.with_name("water-1.cell").unlink()
    found, (said, more) = read(run)
    assert "no forces as there is no NAME-frc-1.xyz beside it, no cells, as for clusters" in said
    assert more.startswith('water-pos-1.xyz: no force label under "forces", so none is used')
    assert not found[0].pbc.any()


def test_the_cell_may_be_that_of_the_restart_file(run: Path) -> None:
    run.with_name("water-1.cell").unlink()
    restart = run.with_name("water-1.restart")
    restart.write_text("&nonsense", encoding="utf-8")
    assert refused(run) == (
        "water-1.restart: has no section CELL with vectors A, B and C in Å; repair or remove the file"
    )
    atoms = "\n".join(WATER)
    restart.write_text(
        " &FORCE_EVAL\n   &SUBSYS\n     &CELL\n"
        "       A     1.00E+01    0.0    0.0\n       B     0. 11. 0.\n"
        "       C     0. 0. 12.\n       MULTIPLE_UNIT_CELL  1 1 1\n     &END CELL\n     &COORD\n"
        f"{atoms}\n&END COORD\n&END SUBSYS\n&END FORCE_EVAL\n",
        encoding="utf-8",
    )
    found, (said,) = read(run)
    assert "cells from water-1.restart" in said
    assert np.diag(found[2].cell).tolist() == [10.0, 11.0, 12.0]


def test_files_that_do_not_belong_together_are_refused(run: Path) -> None:
    forces, table = run.with_name("water-frc-1.xyz"), run.with_name("water-1.cell")
    forces.write_text(frames(FORCES, range(3)))
    assert refused(run) == (
        "water-pos-1.xyz: frame 3 (counted from 0): has no forces: water-frc-1.xyz ends before it"
    )
    forces.write_text(frames(FORCES, range(1, 5)))
    assert refused(run) == (
        "water-pos-1.xyz: frame 0 (counted from 0): is of step 0; the frame of water-frc-1.xyz in its "
        "place is of step 1, or of other atoms"
    )
    forces.write_text(frames((*FORCES[1:], FORCES[0]), range(4)))
    assert "is of step 0; the frame of water-frc-1.xyz in its place is of step 0, or" in refused(
        run
    )
    forces.write_text(frames(FORCES, range(4)))
    table.write_text(cells(range(2)))
    assert refused(run).endswith(
        "frame 2 (counted from 0): is of step 2, of which water-1.cell has no cell"
    )
    table.write_text("0 0.0 10 0 0 0 x\n")
    assert refused(run) == (
        "water-1.cell: line 1: expected a step, a time and nine components of a cell, found "
        "'0 0.0 10 0 0 0 x'"
    )


def test_faults_of_frames_are_named_by_line(run: Path) -> None:
    text = run.read_text()
    run.write_text(text.replace("i =        2, time", "step 2, time"))
    assert re.match(
        r"water-pos-1\.xyz: frame 2 .*: line 12: 'step 2, time .* is no comment of CP2K",
        refused(run),
    )
    run.write_text(text.replace("O 0.0 0.0 0.117", "O 0.0 0.0 x", 1))
    assert "frame 0 (counted from 0): line 3: 'x' in the column of pos is not a number" in refused(
        run
    )


def test_the_output_itself_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "cp2k.out"
    path.write_text(
        " DBCSR| CPU Multiplication driver    XSMM\n\n CP2K| version string: CP2K 2023.1\n"
    )
    assert refused(path) == (
        "cp2k.out: is an output of CP2K, which ASE does not read; give its trajectory NAME-pos-1.xyz, "
        "with NAME-frc-1.xyz (MOTION: PRINT: FORCES) and NAME-1.cell beside it"
    )
