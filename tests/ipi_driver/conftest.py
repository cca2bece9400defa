from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.evaluation import BeadEvaluator, Extras
from forcemap.ipi_driver.protocol import Channel
from forcemap.ipi_driver.template import Template
from forcemap.potentials.file.potential_file import Draws, PotentialData
from forcemap.potentials.grade import AngularMoments, Grade, Moments
from forcemap.potentials.terms import ThreeBodySplines
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

HERE = Path(__file__).parent
PATIENCE = 120.0  # seconds after which anything that hangs is stopped


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def springs() -> Any:
    """The module with the fake potential."""
    return _load("springs")


@pytest.fixture
def water() -> Template:
    """Three atoms with two elements, not sorted."""
    return Template(np.array([1, 8, 1], dtype=np.int32), np.ones(3, dtype=bool))


class Wire:
    """What a server says, written down without the code under test."""

    STATUS = b"STATUS      "
    GETFORCE = b"GETFORCE    "
    EXIT = b"EXIT        "
    NEEDINIT = b"NEEDINIT    "
    READY = b"READY       "
    HAVEDATA = b"HAVEDATA    "

    @staticmethod
    def init(text: str = " ", length: int | None = None) -> bytes:
        content = text.encode()
        size = len(content) if length is None else length
        return b"INIT        " + struct.pack("=ii", 7, size) + content

    @staticmethod
    def posdata(cell: Array, positions: Array, count: int | None = None) -> bytes:
        """`cell` with vectors in columns, `positions` (n, 3); both in bohr."""
        return b"".join(
            [
                b"POSDATA     ",
                np.ascontiguousarray(cell).tobytes(),
                np.linalg.inv(cell).tobytes(),
                struct.pack("=i", len(positions) if count is None else count),
                positions.tobytes(),
            ]
        )

    @staticmethod
    def batch(structures: list[tuple[Array, Array]], count: int | None = None) -> bytes:
        n = len(structures[0][1]) if count is None else count
        cells = [
            np.ascontiguousarray(h).tobytes() + np.linalg.inv(h).tobytes() for h, _ in structures
        ]
        return b"".join(
            [b"POSDATA     ", struct.pack("=i", n), *cells, *(q.tobytes() for _, q in structures)]
        )

    @staticmethod
    def forces(replies: list[tuple[float, Array, Array]]) -> bytes:
        """What a client answers to GETFORCE: energies, forces, virials in atomic units."""
        return b"".join(
            [
                b"FORCEREADY  ",
                *(struct.pack("=d", energy) for energy, _, _ in replies),
                struct.pack("=i", len(replies[0][1])),
                *(np.ascontiguousarray(forces).tobytes() for _, forces, _ in replies),
                *(np.ascontiguousarray(virial).tobytes() for _, _, virial in replies),
                struct.pack("=i", 0) * len(replies),
            ]
        )


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def converse(
    springs: Any, water: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, bytes]]:
    """Let a client hear `said` in pieces of `size` bytes; returns its farewell and its answer."""
    monkeypatch.chdir(tmp_path)

    def run(
        said: bytes,
        size: int | None = None,
        potential: Any = None,
        template: Template = water,
        extras: Extras | None = None,
    ) -> tuple[str, bytes]:
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        answer = bytearray()

        def serve() -> None:
            step = size or max(len(said), 1)
            for start in range(0, len(said), step):
                ours.sendall(said[start : start + step])
            ours.shutdown(socket.SHUT_WR)
            while part := ours.recv(1 << 16):
                answer.extend(part)

        server = threading.Thread(target=serve)
        with ours:
            server.start()
            try:
                with Channel(theirs) as channel:
                    evaluator = BeadEvaluator(
                        potential or springs.Springs(), template, extras=extras
                    )
                    farewell = Client(channel, evaluator).serve()
            finally:
                server.join(PATIENCE)
        return farewell, bytes(answer)

    return run


@pytest.fixture
def address() -> Iterator[str]:
    """A socket name that no other test uses; the file goes away with the test."""
    name = f"forcemap-test-{os.getpid()}-{next(_COUNTER)}"
    yield name
    Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)


_COUNTER = iter(range(10**9))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


INPUT = """
<simulation verbosity='low'>
  <output prefix='md'>
    <properties filename='out' stride='1'>
      [ step, conserved{{electronvolt}}, potential{{electronvolt}}, virial_md ]
    </properties>
    <checkpoint filename='end' stride='1000' overwrite='true'/>
    {output}
  </output>
  <total_steps> {steps} </total_steps>
  <prng><seed> 31415 </seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase' units='angstrom' cell_units='angstrom'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 400 </velocities>
    </initialize>
    <forces><force forcefield='ff'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 0.5 </timestep></dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> 400 </temperature></ensemble>
  </system>
</simulation>
"""


class Run:
    """An i-PI in a folder of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._watch: threading.Timer | None = None

    def start(
        self, atoms: Atoms, forcefield: str, *, steps: int = 10, beads: int = 1, output: str = ""
    ) -> None:
        """`forcefield` may use {address} and {port}."""
        atoms.write(self.folder / "init.xyz", format="extxyz")
        forcefield = forcefield.format(address=self.address, port=self.port)
        self.launch(INPUT.format(steps=steps, beads=beads, forcefield=forcefield, output=output))

    def launch(self, text: str, patience: float = PATIENCE) -> None:
        """Start an input; what hangs longer than `patience` seconds is killed."""
        (self.folder / "input.xml").write_text(text)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program("i-pi"), "input.xml"],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        # A hang becomes a failure: clients see the end of the connection.
        self._watch = threading.Timer(patience, self.process.kill)
        self._watch.start()

    def unix(self, settings: str = "", mode: str = "unix") -> str:
        return (
            f"<ffsocket name='ff' mode='{mode}'><address>{{address}}</address>{settings}</ffsocket>"
        )

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def table(self) -> Array:
        """Step, conserved and potential energy (eV), virial/volume (xx yy zz xy xz yz, atomic).

        One row a step; the virial is the sum over beads.
        """
        return np.loadtxt(self.folder / "md.out", ndmin=2)


def program(name: str) -> str:
    """A program of this Python's environment, or of PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no program {name}")
    return found


@pytest.fixture
def find_program() -> Callable[[str], str]:
    return program


@pytest.fixture
def ipi(tmp_path: Path, address: str) -> Iterator[Run]:
    """An i-PI to start; stopped with the test."""
    run = Run(tmp_path, address)
    yield run
    run.stop()


@pytest.fixture
def ipi_in(address: str) -> Iterator[Callable[[Path], Run]]:
    """As `ipi`, any number of them one after another."""
    runs: list[Run] = []

    def make(folder: Path) -> Run:
        folder.mkdir()
        runs.append(Run(folder, address))
        return runs[-1]

    yield make
    for run in runs:
        run.stop()


class Helpers:
    """Other processes that serve an i-PI."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def springs(self, address: str, *modes: str, template: str = "init.xyz") -> Any:
        return self.start([sys.executable, str(HERE / "springs.py"), address, template, *modes])

    def start(self, command: list[str], folder: Path | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=folder or self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process


@pytest.fixture
def helpers(tmp_path: Path) -> Iterator[Helpers]:
    started = Helpers(tmp_path)
    yield started
    for process in started.processes:
        process.kill()
        process.communicate(timeout=PATIENCE)


FLOOR = 0.003
"""Of the energies of `uncertain`, eV per square root of an atom."""


def _uncertain(species: list[str], draws: int = 5, seed: int = 4) -> PotentialData:
    """A random potential with draws (a tenth as large), a calibration and a grade by moments."""
    data = random_potential(species, seed=seed)
    others = [random_potential(species, seed=100 * seed + k) for k in range(draws)]
    pairs, triplets = data.terms[:2]

    def tables(n: int, key: Any) -> Any:
        return 0.1 * np.array([other.terms[n].tables[key] for other in others])

    drawn = (
        dataclasses.replace(pairs, tables={key: tables(0, key) for key in pairs.tables}),
        dataclasses.replace(
            triplets,
            tables={
                key: ThreeBodySplines.drawn(tables(1, key), key[1] == key[2])
                for key in triplets.tables
            },
        ),
    )
    moments = Moments(4.5, 3, AngularMoments(4.0, 1))
    features = moments.count(len(data.species))
    rng = np.random.default_rng(seed)
    centers = {
        symbol: (rng.normal(size=features), 0.2 * np.tril(rng.normal(size=(features, features))))
        for symbol in data.species
    }
    return dataclasses.replace(
        data,
        draws=Draws(draws, drawn, 0.01 * rng.normal(size=(draws, len(data.species)))),
        uncertainty=Uncertainty(
            Calibration(2.5, FLOOR, 0.004),
            Calibration(7.0, 0.01, 0.04),
            Calibration(4.0, 1e-4, 1e-3),
        ),
        grade=Grade(shortest={}, centers=centers, moments=moments),
    )


@pytest.fixture(scope="session")
def uncertain() -> Callable[..., PotentialData]:
    return _uncertain
