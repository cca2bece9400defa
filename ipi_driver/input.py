"""Inputs for i-PI that run as they stand, and the structure they start from."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from xml.etree import ElementTree

import numpy as np
from forcemap.ipi_driver.committee import FEWEST_MEMBERS, check_members
from forcemap.ipi_driver.template import is_potential, read_structure
from forcemap.potentials import load
from forcemap.potentials.errors import ForcemapError

if TYPE_CHECKING:
    from ase import Atoms
    from forcemap.potentials import Potential

__all__ = [
    "NPT_PROPERTIES",
    "PROPERTIES",
    "Ensemble",
    "InputSettings",
    "Mode",
    "Thermostat",
    "Trajectory",
    "batch_latency",
    "input_text",
    "potential_and_start",
    "read_gle_file",
    "starting_structure",
    "structures_per_message",
]

Ensemble = Literal["nvt", "npt", "nve"]
Thermostat = Literal["pile_g", "pile_l", "piglet"]
Mode = Literal["unix", "shm", "inet"]
Trajectory = Literal["centroid", "beads", "none"]

VACUUM = 10.0
"""Å of empty space on either side of a structure without a cell, beyond the cutoff."""

LONGEST_MESSAGE = 8_000_000
"""Bytes of positions in one message. i-PI 3.3 drops a client that has not taken one within 0.1 s:
between processes of one machine this happened from 50 to 80 MB on; 8 MB also pass a fast network."""

PROPERTIES = (
    "step",
    "time{picosecond}",
    "conserved{electronvolt}",
    "temperature{kelvin}",
    "kinetic_cv{electronvolt}",
    "kinetic_td{electronvolt}",
    "potential{electronvolt}",
    "r_gyration{angstrom}",
)
NPT_PROPERTIES = ("volume{angstrom3}", "density{g/cm3}", "pressure_cv{bar}")


@dataclass(frozen=True)
class InputSettings:
    """Settings of a run of path integrals.

    Attributes:
        beads: beads of each ring polymer; 1 is classical dynamics.
        temperature: K; in nve, of the first velocities only.
        ensemble: nvt, npt (the cell scales isotropically) or nve.
        thermostat: pile_g (damps internal modes critically, centroids by velocity rescaling),
            pile_l (the same, centroids by a Langevin equation) or piglet (needs `gle`).
        gle: matrices of piglet, from `read_gle_file`.
        steps: number of steps.
        timestep: fs.
        tau: time constant of the thermostat of the centroids, fs.
        pressure: bar, in npt.
        barostat_tau: time constant of the barostat, fs.
        mode: how i-PI and its clients exchange data.
        batch_size: structures in one message; None: `structures_per_message`.
        latency: seconds that i-PI waits for more structures; None: from the size.
        output_stride: steps between lines of properties.
        trajectory: the positions that are written.
        trajectory_stride: steps between them; None: 10 x `output_stride`.
        checkpoint_stride: steps between checkpoints; None: 100 x `output_stride`.
        seed: of i-PI's random numbers; None: another one each time.
        committee: members of a committee, made from the potential's draws, whose energies and spread
            are written for each bead; None: no committee.
    """

    beads: int = 32
    temperature: float = 300.0
    ensemble: Ensemble = "nvt"
    thermostat: Thermostat = "pile_g"
    gle: str = ""
    steps: int = 10_000
    timestep: float = 0.5
    tau: float = 100.0
    pressure: float = 1.0
    barostat_tau: float = 500.0
    mode: Mode = "unix"
    batch_size: int | None = None
    latency: float | None = None
    output_stride: int = 10
    trajectory: Trajectory = "centroid"
    trajectory_stride: int | None = None
    checkpoint_stride: int | None = None
    seed: int | None = None
    committee: int | None = None
    address: str = field(default_factory=lambda: f"forcemap-{uuid.uuid4().hex[:12]}")
    port: int = field(default_factory=lambda: random.SystemRandom().randrange(20000, 32000))

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ForcemapError: a value out of its range, or piglet without its matrices.
        """
        for name, kind in (
            ("ensemble", Ensemble),
            ("thermostat", Thermostat),
            ("mode", Mode),
            ("trajectory", Trajectory),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ForcemapError(f"{name} is one of {', '.join(get_args(kind))}")
        for name in ("temperature", "timestep", "tau", "barostat_tau"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ForcemapError(f"{name} must be > 0, found {getattr(self, name)}")
        for name in ("beads", "steps", "output_stride"):
            if getattr(self, name) < 1:
                raise ForcemapError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.committee is not None and self.committee < FEWEST_MEMBERS:
            raise ForcemapError(
                f"a committee needs two members or more, found {self.committee}: i-PI would take the "
                "spread of one for NaN"
            )
        if self.ensemble != "nve" and self.thermostat == "piglet" and not self.gle:
            raise ForcemapError(
                "piglet needs the matrices of a generalised Langevin equation for this temperature "
                "and number of beads: they are fitted, not computed; have them made by "
                "gle4md.org (GLE type PIGLET, format i-PI) and give the file with --gle-file, or "
                "take --thermostat pile_g with more beads"
            )

    def stride(self, name: Literal["trajectory", "checkpoint"]) -> int:
        """A stride whose default follows `output_stride`."""
        given: int | None = getattr(self, f"{name}_stride")
        factor = {"trajectory": 10, "checkpoint": 100}[name]
        return factor * self.output_stride if given is None else given


def batch_latency(n_atoms: int) -> float:
    """Seconds that i-PI should wait for the beads of a step to come together.

    If it waits less, the first batches leave with a part of the beads, padded; if more, it sleeps.
    Measured (benchmarks/ipi_cost.py): 64 atoms x 16 beads take 1.4 ms at 0.3 ms and 3 ms at 2 ms;
    512 x 16 take 5.0 ms at 0.1 ms and 3.8 ms from 0.3 ms on.
    """
    return float(np.clip(3e-4 * n_atoms / 512, 3e-4, 2e-3))


def structures_per_message(settings: InputSettings, n_atoms: int, clients: int = 1) -> int:
    """Beads that i-PI should send at once: all of a step over the clients, unless the message is
    too long for the time that i-PI allows it.
    """
    if settings.batch_size is not None:
        return settings.batch_size
    share = -(-settings.beads // clients)
    if settings.mode == "shm":  # structures do not go through the socket
        return share
    messages = -(-24 * n_atoms * share // LONGEST_MESSAGE)
    return -(-share // min(max(messages, 1), share))


def input_text(settings: InputSettings, n_atoms: int, *, keep_checkpoints: bool = False) -> str:
    """The input for i-PI, to be run in the folder of ``init.xyz``.

    Args:
        settings: what to run.
        n_atoms: atoms of the structure.
        keep_checkpoints: write every checkpoint to a file of its own, not over the last.
    """
    s = settings
    root = ElementTree.Element("simulation", verbosity="medium", safe_stride=str(s.output_stride))
    output = _add(root, "output", prefix="pimd")
    properties = PROPERTIES + (NPT_PROPERTIES if s.ensemble == "npt" else ())
    _add(output, "properties", f"[ {', '.join(properties)} ]", filename="out",
         stride=s.output_stride)  # fmt: skip
    if s.trajectory != "none":
        what = {"centroid": "x_centroid", "beads": "positions"}[s.trajectory]
        _add(output, "trajectory", f"{what}{{angstrom}}", filename=s.trajectory,
             stride=s.stride("trajectory"), format="xyz", cell_units="angstrom")  # fmt: skip
    for what in ("committee_pot", "committee_uncertainty") if s.committee else ():
        _add(output, "trajectory", "extras", filename=what, stride=s.output_stride, extra_type=what)
    _add(output, "checkpoint", filename="checkpoint", stride=s.stride("checkpoint"),
         overwrite=not keep_checkpoints)  # fmt: skip
    _add(root, "total_steps", s.steps)
    seed = random.SystemRandom().randrange(1, 10**6) if s.seed is None else s.seed
    _add(_add(root, "prng"), "seed", seed)
    _add_socket(root, s, n_atoms)
    system = _add(root, "system")
    start = _add(system, "initialize", nbeads=s.beads)
    _add(start, "file", "init.xyz", mode="ase")
    _add(start, "velocities", f"{s.temperature:.12g}", mode="thermal", units="kelvin")
    _add(_add(system, "forces"), "force", forcefield="forcemap")
    motion = _add(system, "motion", mode="dynamics")
    if n_atoms == 1:  # nothing but its centre of mass could move
        _add(motion, "fixcom", False)
    dynamics = _add(motion, "dynamics", mode=s.ensemble)
    _add(dynamics, "timestep", f"{s.timestep:.12g}", units="femtosecond")
    if s.ensemble != "nve":
        dynamics.append(_thermostat(s))
    if s.ensemble == "npt":
        barostat = _add(dynamics, "barostat", mode="isotropic")
        _add(barostat, "tau", f"{s.barostat_tau:.12g}", units="femtosecond")
        bath = _add(barostat, "thermostat", mode="langevin")
        _add(bath, "tau", f"{s.tau:.12g}", units="femtosecond")
    ensemble = _add(system, "ensemble")
    _add(ensemble, "temperature", f"{s.temperature:.12g}", units="kelvin")
    if s.ensemble == "npt":
        _add(ensemble, "pressure", f"{s.pressure:.12g}", units="bar")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_socket(root: ElementTree.Element, s: InputSettings, n_atoms: int) -> None:
    batch = structures_per_message(s, n_atoms)
    parent, name = root, "forcemap"
    if s.committee:
        parent, name = _add(root, "ffcommittee", name="forcemap"), "members"
        _add(parent, "parse_json", True)
    socket = _add(parent, "ffsocket", name=name, mode=s.mode)
    if s.mode == "inet":
        _add(socket, "address", "localhost")
        _add(socket, "port", s.port)
    else:
        _add(socket, "address", s.address)
    _add(socket, "batch_size", batch)
    latency = batch_latency(n_atoms) if s.latency is None else s.latency
    _add(socket, "latency", f"{latency:.12g}" if batch > 1 or s.latency is not None else "1e-4")
    # A run whose client has died should end, not wait.
    _add(socket, "exit_on_disconnect", True)


def _thermostat(s: InputSettings) -> ElementTree.Element:
    if s.thermostat == "piglet":
        return ElementTree.fromstring(s.gle)
    thermostat = ElementTree.Element("thermostat", mode=s.thermostat)
    _add(thermostat, "tau", f"{s.tau:.12g}", units="femtosecond")
    return thermostat


def _add(
    parent: ElementTree.Element, tag: str, text: object = None, **attributes: Any
) -> ElementTree.Element:
    values = {name: str(value) for name, value in attributes.items()}
    child = ElementTree.SubElement(parent, tag, values)
    if text is not None:
        child.text = f" {text} "
    return child


def read_gle_file(path: str | PathLike[str], beads: int) -> str:
    """The thermostat from a file of matrices in i-PI's format, as gle4md.org makes it.

    Args:
        path: a file with ``<A shape='(beads, n, n)' units=...>`` and ``<C ...>``.
        beads: number of beads that the matrices must be for.

    Raises:
        ForcemapError: the file cannot be read, or its matrices are for another number of beads.
    """
    name = fspath(path)
    try:
        text = Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ForcemapError(f"{name}: cannot be read: {error.strerror}") from None
    thermostat = ElementTree.Element("thermostat", mode="nm_gle")
    for tag in ("A", "C"):
        found = re.search(rf"<{tag}\b[^>]*>.*?</{tag}>", text, re.S)
        if found is None:
            raise ForcemapError(f"{name}: has no <{tag}>; ask gle4md.org for i-PI's format")
        try:
            matrix = ElementTree.fromstring(found[0])
        except ElementTree.ParseError as error:
            raise ForcemapError(f"{name}: <{tag}> is not XML: {error}") from None
        shape = [int(number) for number in re.findall(r"\d+", matrix.get("shape", ""))]
        values = re.findall(r"[^\s,\[\]]+", matrix.text or "")
        if len(shape) != 3 or shape[1] != shape[2] or len(values) != np.prod(shape):
            raise ForcemapError(
                f"{name}: <{tag}> has the shape {matrix.get('shape')!r} and {len(values)} numbers; "
                "expected (beads, n, n)"
            )
        try:
            finite = np.isfinite([float(value) for value in values]).all()
        except ValueError:
            finite = np.False_
        if not finite:
            raise ForcemapError(f"{name}: <{tag}> holds what is not a finite number")
        if shape[0] != beads:
            raise ForcemapError(f"{name}: <{tag}> is for {shape[0]} beads, not for {beads}")
        thermostat.append(matrix)
    return ElementTree.tostring(thermostat, encoding="unicode")


def potential_and_start(
    potential: str | PathLike[str],
    structure: str | PathLike[str],
    settings: InputSettings,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Potential, Atoms]:
    """Load a run's two files: the potential, and the structure to start from (`starting_structure`).

    Raises:
        ForcemapError: one of them cannot be used, or they are exchanged.
    """
    if is_potential(structure) and not is_potential(potential):
        raise ForcemapError(
            f"{fspath(structure)} is a potential's file and {fspath(potential)} is none: the "
            "potential comes first, then the structure"
        )
    loaded = load(potential)
    if settings.committee is not None:
        check_members(loaded, settings.committee)
    return loaded, starting_structure(
        structure, loaded.species, loaded.cutoff, settings.ensemble, note
    )


def starting_structure(
    path: str | PathLike[str],
    species: list[str],
    cutoff: float,
    ensemble: Ensemble,
    note: Callable[[str], None] = lambda text: None,
) -> Atoms:
    """The structure to start from, in i-PI's orientation: first vector along x, second in xy.

    Args:
        path: any file that ASE reads; its first structure is taken.
        species: elements of the potential.
        cutoff: of the potential, Å; enlarges the box of a structure without a cell.
        ensemble: npt needs a structure that is periodic in all directions.
        note: called with a line about the box of a structure without a cell.

    Raises:
        ForcemapError: the file cannot be used.
    """
    atoms = read_structure(path, "structure", species)
    # Without results, constraints, momenta; masses stay, as they may be those of isotopes.
    masses = atoms.get_masses() if atoms.has("masses") else None
    atoms = type(atoms)(
        atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc, masses=masses
    )
    if atoms.cell.rank < 3:
        if atoms.cell.rank or ensemble == "npt":
            raise ForcemapError(f"{fspath(path)}: has no cell in three directions, i-PI needs one")
        _refuse_unread_cell(path)
        extent = np.ptp(atoms.positions, axis=0)
        atoms.cell = np.diag(extent + 2.0 * (VACUUM + cutoff))
        atoms.pbc = False
        box = " x ".join(f"{length:.1f}" for length in atoms.cell.lengths())
        note(
            f"{fspath(path)} has no cell: its {len(atoms)} atoms run as a molecule or cluster, alone "
            f"in a box of {box} Å; for a crystal give a file with the cell (extended xyz with "
            'Lattice="...")'
        )
    if ensemble == "npt" and not atoms.pbc.all():
        raise ForcemapError(f"{fspath(path)}: is not periodic in three directions, npt needs it")
    if atoms.cell.handedness < 0:
        raise ForcemapError(
            f"{fspath(path)}: the lattice vectors are left-handed; swap two of them for i-PI"
        )
    upright, _ = atoms.cell.standard_form()
    rotation = np.linalg.solve(atoms.cell.array, upright.array)
    atoms.set_cell(upright.array)
    atoms.positions = atoms.positions @ rotation
    return atoms


def _refuse_unread_cell(path: str | PathLike[str]) -> None:
    """Raise for i-PI's own xyz, whose cell is in a comment that ASE does not read."""
    with open(path, encoding="utf-8", errors="replace") as file:
        head = [file.readline(1 << 12) for _ in range(2)]
    if re.search(r"#.*\bCELL\b", head[1]):
        raise ForcemapError(
            f"{fspath(path)}: has its cell in i-PI's comment (# CELL), without which it would run as "
            'a cluster; give extended xyz with Lattice="...", such as the init.xyz it started from'
        )
