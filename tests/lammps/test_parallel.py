"""The same answers on any number of MPI ranks, started the way users do: `mpirun lmp`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from lammps_runs import forcemap_pair, program, run_lmp, structure_input

pytestmark = pytest.mark.skipif(
    not Path(program("mpirun")).exists(), reason="the MPICH wheel's mpirun is not installed"
)

OUTPUT = """
compute e all pe/atom
compute s all stress/atom NULL virial
compute p all pressure NULL virial
thermo_style custom step pe c_p[*]
thermo_modify norm no
fix move all nve
timestep 0.001
velocity all create 300 5 mom yes rot no loop all
dump all all custom 4 dump.txt id x y z fx fy fz c_e c_s[*]
dump_modify all sort id format float %.17g
run 4
print "pe $(pe:%.17g) $(c_p[1]:%.17g) $(c_p[2]:%.17g) $(c_p[4]:%.17g)" file total.txt
"""


@dataclass(frozen=True)
class Outcome:
    total: np.ndarray  # energy and three components of the pressure after the run
    frames: np.ndarray  # (2, n, 13) positions, forces, energies, stresses: first and last step


def run(folder: Path, atoms: Atoms, pair: str, ranks: int) -> Outcome:
    folder.mkdir()
    finished = run_lmp(folder, structure_input(folder, atoms, pair) + OUTPUT, ranks=ranks)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    rows = [line.split() for line in (folder / "dump.txt").read_text().splitlines()]
    frames = np.array([row[1:] for row in rows if len(row) == 14 and row[0] != "ITEM:"], float)
    total = np.array((folder / "total.txt").read_text().split()[1:], float)
    return Outcome(total, frames.reshape(2, len(atoms), 13))


@pytest.mark.parametrize("file", ["ternary_file", "soap_file"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks(
    ranks: int, file: str, triclinic: Atoms, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With soap terms too, whose sites are evaluated by fours: each rank groups others."""
    atoms = triclinic.repeat((2, 2, 2))
    pair = forcemap_pair(request.getfixturevalue(file), ["H", "O", "Si"])
    serial = run(tmp_path / "serial", atoms, pair, 0)
    parallel = run(tmp_path / "parallel", atoms, pair, ranks)
    np.testing.assert_allclose(parallel.total, serial.total, rtol=1e-12)
    for found, expected in zip(parallel.frames, serial.frames, strict=True):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 7), slice(7, 13)):
            scale = np.abs(expected[:, columns]).max()
            np.testing.assert_allclose(
                found[:, columns], expected[:, columns], rtol=0, atol=1e-12 * scale
            )


def test_ranks_without_atoms(silicon_file: Path, tmp_path: Path) -> None:
    """A dimer in a box cut in four: some ranks own nothing."""
    atoms = Atoms("Si2", [[3, 3, 3], [3, 3, 5.4]], cell=np.diag([40.0, 40.0, 12.0]), pbc=True)
    pair = forcemap_pair(silicon_file, ["Si"])
    serial = run(tmp_path / "serial", atoms, pair, 0)
    parallel = run(tmp_path / "parallel", atoms, pair, 4)
    np.testing.assert_allclose(parallel.total[0], serial.total[0], rtol=1e-12)
    np.testing.assert_allclose(parallel.frames[:, :, 3:6], serial.frames[:, :, 3:6], atol=1e-11)


@pytest.mark.parametrize("fault", ["missing", "truncated", "element"])
def test_all_ranks_stop_with_one_message(
    fault: str, crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    file, element = tmp_path / "bad.forcemap", "Si"
    if fault == "truncated":
        file.write_bytes(silicon_file.read_bytes()[:-8])
    elif fault == "element":
        file, element = silicon_file, "Ge"
    commands = structure_input(tmp_path, crystal, forcemap_pair(file, [element])) + "run 0\n"
    finished = run_lmp(tmp_path, commands, ranks=2)
    assert finished.returncode != 0
    output = finished.stdout + finished.stderr
    assert output.count("ERROR") == 1, output
    assert file.name in output
