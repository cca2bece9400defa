"""Real i-PI with the fake potential: endings and faults, and who goes on afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver import run_driver
from forcemap.ipi_driver.connection import InetAddress, UnixAddress
from forcemap.ipi_driver.template import read_template

pytest.importorskip("ipi")

PATIENCE = 120.0
STEPS = 10
PLAIN = "<consolidate_messages>False</consolidate_messages>"
# Off their springs' rest at the origin, in a triclinic cell.
ATOMS = Atoms(
    "OHHO",
    [[0.5, 0.0, 0.2], [1.5, 0.3, 0.0], [-0.5, 1.0, 0.0], [0.0, -1.0, 1.0]],
    cell=[[8, 0, 0], [1, 8, 0], [-1, 2, 9]],
    pbc=True,
)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("inet", [False, True])
def test_dynamics_conserve_energy_and_end_with_exit(ipi: Any, springs: Any, inet: bool) -> None:
    if inet:
        forcefield = (
            "<ffsocket name='ff' mode='inet'><address>localhost</address><port>{port}</port>"
            f"{PLAIN}</ffsocket>"
        )
    else:
        forcefield = ipi.unix()
    ipi.start(ATOMS, forcefield, steps=STEPS)
    address = InetAddress("localhost", ipi.port) if inet else UnixAddress(ipi.address)
    potential = springs.Springs()
    wait_for((ipi.folder / "init.xyz").exists)
    template = read_template(ipi.folder / "init.xyz")
    farewell = run_driver(potential, template, address, timeout=PATIENCE)
    assert farewell == f"the server said EXIT after {STEPS + 1} evaluations"
    assert ipi.wait() == 0
    table = ipi.table()
    assert table[-1, 0] == STEPS
    answer = springs.Springs().answer(ATOMS.positions, ATOMS.numbers)
    assert table[0, 2] == pytest.approx(answer.energy, rel=1e-8)
    virial = answer.virial / ATOMS.get_volume() * 0.036749326 / 1.8897261**3
    np.testing.assert_allclose(table[0, 3:], virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], 1e-7)
    # Velocity Verlet at 0.5 fs gives 1.2e-3; forces wrong by 1 % would give 1e-2.
    assert np.ptp(table[:, 1]) < 3e-3 * np.ptp(table[:, 2])


@pytest.mark.parametrize("messages", ["", PLAIN], ids=["consolidated", "plain"])
def test_fault_is_logged_and_another_client_goes_on(ipi: Any, helpers: Any, messages: str) -> None:
    ipi.start(ATOMS, ipi.unix(messages), steps=STEPS)
    faulty = helpers.springs(ipi.address, "fault")
    output, errors = faulty.communicate(timeout=PATIENCE)
    assert faulty.returncode == 1, output + errors
    assert "non-finite force" in errors
    assert "Traceback" not in errors
    fault = ase.io.read(ipi.folder / "forcemap_driver_fault.xyz")
    assert fault.get_chemical_formula(mode="reduce") == "OH2O"
    good = helpers.springs(ipi.address)
    output, errors = good.communicate(timeout=PATIENCE)
    assert good.returncode == 0, errors
    assert f"EXIT after {STEPS + 1 - 3} evaluations" in output
    assert ipi.wait() == 0
    assert ipi.table()[-1, 0] == STEPS


def test_killed_client_leaves_its_structure_to_another(ipi: Any, helpers: Any) -> None:
    ipi.start(ATOMS, ipi.unix(), steps=STEPS)
    hanging = helpers.springs(ipi.address, "hang")
    wait_for((ipi.folder / "hanging").exists)
    hanging.kill()
    hanging.communicate(timeout=PATIENCE)
    good = helpers.springs(ipi.address)
    output, _ = good.communicate(timeout=PATIENCE)
    assert f"EXIT after {STEPS + 1 - 3} evaluations" in output
    assert ipi.wait() == 0
    assert ipi.table()[-1, 0] == STEPS


@pytest.mark.parametrize("mode", ["unix", "shm"])
@pytest.mark.parametrize("batches", ["", "<batch_size>2</batch_size>"])
def test_other_client_takes_over_at_once(ipi: Any, helpers: Any, mode: str, batches: str) -> None:
    """Both clients are at work when one is killed in the midst of an evaluation."""
    ipi.start(ATOMS, ipi.unix(batches, mode), steps=STEPS, beads=4)
    hanging = helpers.springs(ipi.address, "hang")
    wait_for((ipi.folder / "hanging").exists)
    good = helpers.springs(ipi.address)
    time.sleep(1.0)  # i-PI has taken it up and waits for the first one
    assert good.poll() is None
    hanging.kill()
    hanging.communicate(timeout=PATIENCE)
    _, errors = good.communicate(timeout=PATIENCE)
    assert good.returncode == 0, errors
    assert ipi.wait() == 0
    assert ipi.table()[-1, 0] == STEPS
    assert not list(Path("/dev/shm").glob(f"ipi_shm_{ipi.process.pid}_*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # i-PI's sockets
def test_client_killed_over_a_large_structure_is_replaced(
    helpers: Any, tmp_path: Path, address: str
) -> None:
    """i-PI's own server writes more than the socket's buffers hold to a client that is killed."""
    sockets = pytest.importorskip("ipi.interfaces.sockets")
    forcefields = pytest.importorskip("ipi.engine.forcefields")
    n_atoms = 50_000
    Atoms(f"H{n_atoms}", np.zeros((n_atoms, 3))).write(tmp_path / "init.xyz", format="extxyz")
    server = sockets.InterfaceSocket(address=address, mode="unix", timeout=0)
    server.requests = []
    server.open()
    try:
        killed = helpers.springs(address)
        while not server.clients:
            server.pool_update()
        (driver,) = server.clients
        driver.initialize(0, " ")
        driver.get_status()
        os.kill(killed.pid, signal.SIGSTOP)
        request = forcefields.ForceRequest(
            id=0, pos=np.ones(3 * n_atoms), active=np.arange(3 * n_atoms), pars=" ",
            cell=(9.0 * np.eye(3), np.eye(3) / 9.0), status="Queued", start=-1, offset=0.0,
        )  # fmt: skip
        server.requests.append(request)
        death = threading.Timer(0.03, killed.kill)
        death.start()
        server.poll()
        death.join()
        assert request["status"] == "Queued"
        helpers.springs(address)
        deadline = time.monotonic() + PATIENCE
        while request["status"] != "Done":
            assert time.monotonic() < deadline
            server.poll()
    finally:
        server.close()
        server.executor.shutdown()
    energy, forces = request["result"][:2]
    k = 0.01 * 0.036749326 / 1.8897261**2
    assert energy == pytest.approx(0.5 * k * 3 * n_atoms, rel=1e-6)
    np.testing.assert_allclose(forces, -k, rtol=1e-6)


def test_wrong_atom_count_ends_this_client_only(ipi: Any, helpers: Any) -> None:
    ipi.start(ATOMS, ipi.unix(), steps=STEPS)
    Atoms("H3").write(ipi.folder / "other.xyz", format="extxyz")
    wrong = helpers.springs(ipi.address, template="other.xyz")
    _, errors = wrong.communicate(timeout=PATIENCE)
    assert wrong.returncode == 1
    assert "structure has 4 atoms, the template 3" in errors
    good = helpers.springs(ipi.address)
    good.communicate(timeout=PATIENCE)
    assert good.returncode == 0
    assert ipi.table()[-1, 0] == STEPS


@pytest.mark.parametrize("mode", ["unix", "shm"])
@pytest.mark.parametrize("batches", ["", "<batch_size>2</batch_size>"])
def test_template_in_another_order_ends_this_client_only(
    ipi: Any, helpers: Any, mode: str, batches: str
) -> None:
    ipi.start(ATOMS, ipi.unix(batches, mode), steps=STEPS, beads=4)
    ATOMS[[1, 2, 0, 3]].write(ipi.folder / "other.xyz", format="extxyz")
    wrong = helpers.springs(ipi.address, template="other.xyz")
    _, errors = wrong.communicate(timeout=PATIENCE)
    assert wrong.returncode == 1
    assert "not in the order of the template other.xyz: atom 0 (H by the template)" in errors
    good = helpers.springs(ipi.address)
    good.communicate(timeout=PATIENCE)
    assert good.returncode == 0
    assert ipi.wait() == 0
    assert ipi.table()[-1, 0] == STEPS


def test_killed_server_ends_the_client(ipi: Any, springs: Any) -> None:
    ipi.start(ATOMS, ipi.unix(), steps=10**6)
    wait_for((ipi.folder / "init.xyz").exists)

    def kill(count: int) -> None:
        if count == 5:
            ipi.process.kill()
            ipi.process.wait(PATIENCE)

    potential = springs.Springs(kill)
    template = read_template(ipi.folder / "init.xyz")
    with pytest.raises(Exception, match="connection"):
        run_driver(potential, template, UnixAddress(ipi.address), timeout=PATIENCE)
    assert potential.evaluations == 6


def test_asks_server_agrees(springs: Any, tmp_path: Path, address: str) -> None:
    """ASE's own server: another implementation of the protocol (plain, INIT without batches)."""
    from ase.calculators.socketio import SocketIOCalculator

    atoms = ATOMS.copy()
    atoms.write(tmp_path / "init.xyz")
    template = read_template(tmp_path / "init.xyz")
    farewell: list[str] = []

    def serve() -> None:
        place = UnixAddress(address)
        farewell.append(run_driver(springs.Springs(), template, place, timeout=PATIENCE))

    client = threading.Thread(target=serve)
    client.start()
    with SocketIOCalculator(unixsocket=address, timeout=PATIENCE) as atoms.calc:
        for step in range(3):
            atoms.positions += 0.1 * step
            answer = springs.Springs().answer(atoms.positions, atoms.numbers)
            # i-PI's and ASE's constants differ by some 1e-8.
            assert atoms.get_potential_energy() == pytest.approx(answer.energy, rel=1e-6)
            np.testing.assert_allclose(atoms.get_forces(), answer.forces, rtol=1e-6, atol=1e-9)
            stress = -answer.virial / atoms.get_volume()
            np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, rtol=1e-6, atol=1e-9)
    client.join(PATIENCE)
    assert len(farewell) == 1
    assert farewell[0].endswith("after 3 evaluations")
