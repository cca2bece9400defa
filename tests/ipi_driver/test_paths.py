"""Every way from i-PI to a real potential gives the same dynamics, and the evaluator's numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver import pes_path
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template
from forcemap.potentials import Potential, load
from forcemap.potentials.file.potential_file import write_potential
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

BOHR, HARTREE = 1.8897261, 0.036749326
STEPS, BEADS = 20, 4


def crystal() -> Atoms:
    """Nine atoms of two elements in a small triclinic cell, i-PI's orientation."""
    rng = np.random.default_rng(8)
    cell = np.array([[6.0, 0.0, 0.0], [1.2, 6.3, 0.0], [-0.8, 1.0, 6.6]])
    grid = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float) / 2
    fractional = np.vstack([grid, [[0.25, 0.25, 0.25]]])
    positions = fractional @ cell + rng.normal(scale=0.05, size=(9, 3))
    return Atoms("SiOSiSiOOSiOSi", positions, cell=cell, pbc=True)


@pytest.fixture(scope="module")
def potential_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("potential") / "siO.forcemap"
    write_potential(random_potential(["Si", "O"], seed=4), path)
    return path


STRUCTURES = {
    "triclinic": crystal(),
    "slab": Atoms(
        "SiOSi",
        [[0, 0, 5], [1.5, 1.5, 6], [0.2, 0, 7.5]],
        cell=[[4, 0, 0], [1, 4, 0], [0, 0, 20]],
        pbc=(True, True, False),
    ),
    "molecule": Atoms("OSiO", [[0, 0, 0], [1.7, 0, 0.1], [3.1, 0.9, 0]], cell=[30, 30, 30]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_reply_is_the_evaluators_answer_in_atomic_units(potential_file: Path, name: str) -> None:
    atoms = STRUCTURES[name]
    potential: Potential = load(potential_file)
    template = Template(atoms.numbers.astype(np.int32), atoms.pbc)
    cells = np.ascontiguousarray(atoms.cell.array.T)[None] * BOHR
    batch = Batch.empty(cells, len(atoms))
    batch.positions[0] = atoms.positions * BOHR
    BeadEvaluator(potential, template).evaluate(batch)
    result = potential.evaluator().compute(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )
    # Å -> bohr -> Å rounds positions; nothing else differs.
    assert batch.energies[0] / HARTREE == pytest.approx(result.energy, rel=1e-13)
    np.testing.assert_allclose(batch.forces[0] * BOHR / HARTREE, result.forces, atol=1e-12)
    np.testing.assert_allclose(batch.virials[0] / HARTREE, result.virial, atol=1e-12)


DRIVER = "from forcemap.ipi_driver.command import driver; driver()"

SOCKETS = {
    "plain": "<consolidate_messages>False</consolidate_messages>",
    # Four beads in batches of three: the second batch is padded.
    "batches": "<batch_size>3</batch_size><latency>0.02</latency>",
    "inet": "",
    "shm": "",
    "shm batches": "<batch_size>3</batch_size><latency>0.02</latency>",
    "shm plain": "<consolidate_messages>False</consolidate_messages>",
    "i-pi-driver-py": "",
}


@pytest.fixture(scope="module")
def by_ffdirect() -> dict[str, Array]:
    """What ``<ffdirect>`` gave, for all parameters of the test below."""
    return {}


@pytest.fixture
def run(
    ipi_in: Callable[[Path], Any],
    helpers: Any,
    tmp_path: Path,
    potential_file: Path,
    find_program: Callable[[str], str],
) -> Callable[[str], Array]:
    pytest.importorskip("ipi")
    settings = f"potential={potential_file},template=init.xyz"

    def dynamics(way: str) -> Array:
        ipi = ipi_in(tmp_path / way.replace(" ", "-"))
        if way == "ffdirect":
            parameters = settings.replace("=", ": ").replace(",", ", ")
            forcefield = (
                f"<ffdirect name='ff'><pes>custom</pes><pes_path>{pes_path()}</pes_path>"
                f"<parameters>{{{{ {parameters} }}}}</parameters></ffdirect>"
            )
        else:
            mode = "shm" if "shm" in way else "unix"
            forcefield = ipi.unix(SOCKETS[way], mode)
            if way == "inet":
                forcefield = (
                    "<ffsocket name='ff' mode='inet'><address>localhost</address>"
                    "<port>{port}</port></ffsocket>"
                )
        ipi.start(crystal(), forcefield, steps=STEPS, beads=BEADS)
        client = None
        if way == "i-pi-driver-py":
            _wait_for(Path(f"/tmp/ipi_{ipi.address}"))
            client = [find_program("i-pi-driver-py"), "-u", "-a", ipi.address, "-m", "custom"]
            client += ["-P", pes_path(), "-o", settings]
        elif way != "ffdirect":
            client = [sys.executable, "-c", DRIVER, str(potential_file), "--template", "init.xyz"]
            place = ["--port", str(ipi.port)] if way == "inet" else ["--unix", ipi.address]
            client += place
        if client is not None:
            process = helpers.start(client, ipi.folder)
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            if way != "i-pi-driver-py":
                assert "the server said EXIT" in errors
        assert ipi.wait() == 0, ipi.log()
        table: Array = ipi.table()
        assert table[-1, 0] == STEPS
        return table

    return dynamics


def _wait_for(path: Path) -> None:
    import time

    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("way", SOCKETS)
def test_all_ways_give_the_same_path_integral_dynamics(
    run: Callable[[str], Array], by_ffdirect: dict[str, Array], potential_file: Path, way: str
) -> None:
    if not by_ffdirect:
        by_ffdirect["table"] = run("ffdirect")
    reference = by_ffdirect["table"]
    table = run(way)
    # Properties are printed with nine digits; neighbour lists of other ages sum in other orders.
    np.testing.assert_allclose(table, reference, rtol=2e-8, atol=1e-8)
    atoms = crystal()
    first = load(potential_file).evaluator().compute(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )  # fmt: skip
    assert table[0, 2] == pytest.approx(first.energy, rel=1e-8)
    virial = BEADS * first.virial / atoms.get_volume() * HARTREE / BOHR**3
    np.testing.assert_allclose(
        table[0, 3:], virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], rtol=1e-7
    )
    assert np.ptp(table[:, 1]) < 0.02 * np.ptp(table[:, 2])
