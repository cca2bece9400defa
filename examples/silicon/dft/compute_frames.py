#!/usr/bin/env python3
"""Compute the silicon example data set with density-functional theory.

Every frame is a single point with GPAW in plane-wave mode: PBE, projector augmented waves,
spin-paired, one cutoff and one Fermi-Dirac smearing for all of them (the constants below).
The stored energy is the free energy of the smeared electrons, whose derivatives are the forces
and the stress.  The structures come from small deformations of the diamond
crystal and from molecular dynamics with the Stillinger-Weber potential written out below, so no
molecular dynamics is done with DFT.  All random numbers are seeded.

What to install (Debian or a derivative)::

    apt-get install gpaw gpaw-data

which brings GPAW with its PAW data sets, ASE, NumPy and SciPy; run the script with that system's
``/usr/bin/python3``.  Set ``OMP_NUM_THREADS=1``: the run is planned for one core.

Commands::

    python3 compute_frames.py --convergence       # print the convergence table (10 minutes)
    python3 compute_frames.py --work DIR          # write DIR/structures.xyz, then the DFT frames
    python3 compute_frames.py --work DIR --large  # the two 63- and 64-atom cells as well
    python3 compute_frames.py --work DIR --split OUT   # only split DIR/frames.xyz
    python3 compute_frames.py --work DIR --check  # sanity checks of DIR/frames.xyz
    python3 compute_frames.py --isolated FILE     # the isolated atom, spin-polarised

Each finished frame is appended to ``DIR/frames.xyz`` at once; a second run with the same ``DIR``
goes on where the first stopped.

Units are those of ASE: Angstrom, eV, eV/Angstrom, and eV/Angstrom^3 for the stress, whose sign is
ASE's (a compressed crystal has a negative diagonal).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.neighborlist import neighbor_list

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the folder of all examples

from dft_frames import (
    TABLE_HEAD,
    Method,
    check_frames,
    compute,
    deform,
    displace,
    random_strain,
    split_frames,
    supercell,
)

SEED = 20240614
A0 = 5.47  # PBE lattice constant of diamond silicon, Angstrom
CUTOFF = 300.0  # plane-wave cutoff, eV
SMEARING = 0.1  # width of the Fermi-Dirac distribution, eV
XC = "PBE"
# Monkhorst-Pack meshes by kind of cell, all even and hence shifted off Gamma.  C8, T16 and C64 fold
# the very same points; B32 has the nearest mesh of a body-centred cell.  The face-centred F16 is
# only in the convergence table: its shifted mesh is not cubic (stress off by 1 GPa), its centred
# one needs far more points for the same energy.
KPOINTS: dict[str, dict[str, Any]] = {
    "C8": {"size": (4, 4, 4)},
    "T16": {"size": (4, 4, 2)},
    "F16": {"size": (2, 2, 2)},
    "B32": {"size": (2, 2, 2)},
    "C64": {"size": (2, 2, 2)},
}
METHOD = Method(XC, CUTOFF, SMEARING, KPOINTS)
TEST_FRACTION = 0.15


class StillingerWeber(Calculator):
    """Stillinger-Weber silicon (Phys. Rev. B 31, 5262), lengths scaled to the PBE lattice.

    Gives energy (eV) and forces (eV/Angstrom).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    epsilon = 2.1683  # eV
    sigma = 2.0951 * A0 / 5.431  # Angstrom
    a = 1.8
    lam = 21.0
    gamma = 1.2
    big_a = 7.049556277
    big_b = 0.6022245584

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy and forces of ``atoms``."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        natoms = len(atoms)
        rcut = self.a * self.sigma
        i, j, r, vec = neighbor_list("ijdD", atoms, rcut - 1e-6)
        order = np.argsort(i, kind="stable")
        i, j, r, vec = i[order], j[order], r[order], vec[order]
        forces = np.zeros((natoms, 3))

        tail = np.exp(self.sigma / (r - rcut))
        dtail = -self.sigma / (r - rcut) ** 2 * tail
        rep = self.big_b * (self.sigma / r) ** 4 - 1.0
        drep = -4.0 * self.big_b * self.sigma**4 / r**5
        energy = 0.5 * self.big_a * self.epsilon * np.sum(rep * tail)
        dpair = 0.5 * self.big_a * self.epsilon * (drep * tail + rep * dtail)
        grad = (dpair / r)[:, None] * vec  # derivative with respect to each neighbour vector

        start = np.searchsorted(i, np.arange(natoms + 1))
        first, second = [], []
        for lo, hi in itertools.pairwise(start):
            u, v = np.triu_indices(hi - lo, 1)
            first.append(u + lo)
            second.append(v + lo)
        m, n = np.concatenate(first), np.concatenate(second)
        g = np.exp(self.gamma * self.sigma / (r - rcut))
        dg = -self.gamma * self.sigma / (r - rcut) ** 2 * g
        cos = np.einsum("ij,ij->i", vec[m], vec[n]) / (r[m] * r[n])
        dev = cos + 1.0 / 3.0
        scale = self.lam * self.epsilon
        energy += scale * np.sum(dev**2 * g[m] * g[n])
        for p, q in ((m, n), (n, m)):
            dcos = vec[q] / (r[p] * r[q])[:, None] - (cos / r[p] ** 2)[:, None] * vec[p]
            part = (2.0 * dev * g[p] * g[q])[:, None] * dcos
            part += (dev**2 * dg[p] * g[q] / r[p])[:, None] * vec[p]
            np.add.at(grad, p, scale * part)
        np.add.at(forces, i, grad)
        np.add.at(forces, j, -grad)
        self.results = {"energy": float(energy), "forces": forces}


def make_cell(kind: str, a: float = A0) -> Atoms:
    """Return a perfect diamond cell.

    Args:
        kind: ``C8`` cubic, ``T16`` 1x1x2 cubic cells, ``F16`` 2x2x2 primitive cells
            (face-centred), ``B32`` the body-centred 32-atom cell, ``C64`` 2x2x2 cubic cells.
        a: cubic lattice constant in Angstrom.
    """
    if kind == "F16":
        return bulk("Si", "diamond", a=a) * (2, 2, 2)
    return supercell(bulk("Si", "diamond", a=a, cubic=True), kind)


def sample_md(
    atoms: Atoms,
    temperature: float,
    frames: int,
    rng: np.random.Generator,
    steps: int = 800,
    interval: int = 300,
    melt: float = 0.0,
) -> list[Atoms]:
    """Sample configurations by Langevin dynamics on the Stillinger-Weber potential.

    Args:
        atoms: start.
        temperature: kelvin.
        frames: number of configurations.
        rng: seeded generator.
        steps: equilibration steps of 1.5 fs.
        interval: steps between the configurations kept.
        melt: temperature (K) of 2000 steps run before the equilibration; 0 for none.
    """
    work = atoms.copy()
    work.calc = StillingerWeber()
    hot = melt or 2.0 * temperature
    MaxwellBoltzmannDistribution(work, temperature_K=hot, rng=rng)
    dyn = Langevin(work, 1.5 * units.fs, temperature_K=melt or temperature, friction=0.02, rng=rng)
    if melt:
        dyn.run(2000)
        dyn.set_temperature(temperature_K=temperature)
    dyn.run(steps)
    out = []
    for _ in range(frames):
        dyn.run(interval)
        snapshot = work.copy()
        del snapshot.arrays["momenta"]
        out.append(snapshot)
    return out


def remove_atom(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return ``atoms`` without one randomly chosen atom."""
    out = atoms.copy()
    del out[int(rng.integers(len(out)))]
    return out


def push_pair(atoms: Atoms, distance: float, rng: np.random.Generator) -> Atoms:
    """Return ``atoms`` with one bonded pair moved along its bond to ``distance`` Angstrom."""
    out = atoms.copy()
    i, j, vec, r = neighbor_list("ijDd", out, 2.9)
    pick = int(rng.integers(len(i)))
    shift = 0.5 * (r[pick] - distance) / r[pick] * vec[pick]
    out.positions[i[pick]] += shift
    out.positions[j[pick]] -= shift
    return out


def strained_md(
    kind: str,
    temperature: float,
    frames: int,
    rng: np.random.Generator,
    vacancy: bool = False,
    size: float = 0.02,
) -> list[Atoms]:
    """Thermal configurations (``temperature`` in K), each from its own slightly strained cell."""
    out = []
    for _ in range(frames):
        cell = deform(make_cell(kind), random_strain(rng, size))
        if vacancy:
            cell = remove_atom(cell, rng)
        out += sample_md(cell, temperature, 1, rng)
    return out


def build_structures() -> list[Atoms]:
    """Return all structures in the order of their computation, with ``config_type`` and ``cell``.

    The groups are taken in turns, so that a run stopped early still holds some of each; the
    costly 63- and 64-atom cells come last.
    """
    groups: dict[tuple[str, str], list[Atoms]] = {}

    def add(config_type: str, kind: str, frames: list[Atoms]) -> None:
        groups.setdefault((config_type, kind), []).extend(frames)

    def rng_of(number: int) -> np.random.Generator:
        return np.random.default_rng([SEED, number])

    ratios = (0.88, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08, 1.12)
    add("Bulk", "C8", [make_cell("C8", A0 * ratio ** (1 / 3)) for ratio in ratios])

    rng = rng_of(1)
    strains = []
    for size in (-0.04, -0.02, 0.02, 0.04):
        strains.append(deform(make_cell("C8"), np.diag([1.0 + size, 1.0, 1.0])))
    for size in (0.02, 0.04):
        shear = np.eye(3)
        shear[1, 2] = shear[2, 1] = size
        strains.append(deform(make_cell("C8"), shear))
    for size in (0.03, 0.03, 0.03, 0.03, 0.05, 0.05, 0.05, 0.05):
        strains.append(displace(deform(make_cell("C8"), random_strain(rng, size)), rng, 0.03))
    add("Strain", "C8", strains)

    for number, temperature in enumerate((300, 600, 900, 1200, 1500)):
        name = f"Thermal-{temperature}K"
        add(name, "C8", strained_md("C8", temperature, 2, rng_of(10 + number)))
        add(name, "T16", strained_md("T16", temperature, 6, rng_of(20 + number)))
        add(name, "B32", strained_md("B32", temperature, 2, rng_of(30 + number)))
    add("Thermal-2000K", "T16", strained_md("T16", 2000, 4, rng_of(40)))

    rng = rng_of(41)
    liquid = []
    for ratio in (0.90, 0.94, 0.98, 1.02):
        cell = make_cell("T16", A0 * ratio ** (1 / 3))
        liquid += sample_md(cell, 2000, 1, rng, melt=5000)
    add("Liquid-2000K", "T16", liquid)

    rng = rng_of(42)
    pairs = []
    for distance in (1.85, 1.92, 2.0, 2.08, 2.15):
        start = sample_md(make_cell("T16"), 600, 1, rng)[0]
        pairs.append(push_pair(start, distance, rng))
    add("ShortPair", "T16", pairs)

    for number, temperature in enumerate((300, 600, 900, 1200, 1500)):
        add("Vacancy", "T16", strained_md("T16", temperature, 1, rng_of(50 + number), True))
        add("Vacancy", "B32", strained_md("B32", temperature, 1, rng_of(60 + number), True))

    ordered = []
    queues = [(key, list(frames)) for key, frames in groups.items()]
    while any(frames for _, frames in queues):
        for key, frames in queues:
            if frames:
                ordered.append((key, frames.pop(0)))
    last = [
        ("Vacancy", strained_md("C64", 600, 1, rng_of(70), True)[0]),
        ("Thermal-300K", strained_md("C64", 300, 1, rng_of(71))[0]),
    ]
    ordered += [((name, "C64"), atoms) for name, atoms in last]
    out = []
    for index, ((config_type, kind), atoms) in enumerate(ordered):
        atoms.info = {"config_type": config_type, "cell": kind, "frame": index}
        atoms.wrap()
        out.append(atoms)
    return out


def run(work: Path, limit: float, large: bool) -> None:
    """Compute all frames that ``work/frames.xyz`` does not have yet.

    Args:
        work: folder of the structures, the frames and the logs.
        limit: no frame is started after this many seconds.
        large: also compute the 63- and 64-atom cells.
    """
    work.mkdir(parents=True, exist_ok=True)
    structures = work / "structures.xyz"
    if not structures.exists():
        write(structures, build_structures(), format="extxyz")
    todo = [(int(atoms.info["frame"]), atoms) for atoms in read(structures, ":")]
    if not large:
        todo = [(index, atoms) for index, atoms in todo if atoms.info["cell"] != "C64"]
    compute(METHOD, todo, work, limit)


def check(work: Path) -> None:
    """Print sanity checks of the frames: counts, equation of state, net forces, distances."""
    frames = check_frames(work)
    for atoms in frames:
        r = neighbor_list("d", atoms, 3.2)
        print(
            f"{atoms.info['frame']:3d} {atoms.info['config_type']:14s} {len(atoms):3d} atoms "
            f"rmin {r.min():.3f} A  fmax {np.abs(atoms.get_forces()).max():6.2f} eV/A  "
            f"E {atoms.get_potential_energy() / len(atoms):8.4f} eV/atom"
        )


def convergence() -> None:
    """Print how energy, forces and stress change with cutoff, k-points and smearing."""
    small = displace(
        deform(make_cell("C8"), random_strain(np.random.default_rng([SEED, 70]), 0.03)),
        np.random.default_rng([SEED, 71]),
        0.1,
    )
    squeezed = deform(small, np.eye(3) * 0.97)
    thermal = {
        kind: sample_md(make_cell(kind), 900, 1, np.random.default_rng([SEED, 72]))[0]
        for kind in ("F16", "B32")
    }
    print(TABLE_HEAD)
    cutoffs: list[dict[str, float]] = [
        {"kpts": 3, "cutoff": c} for c in (250.0, 300.0, 350.0, 400.0, 550.0)
    ]
    one = METHOD.table("8 atoms, strained", small, "C8", cutoffs, -1)
    two = METHOD.table("8 atoms, 3 % compressed", squeezed, "C8", [cutoffs[1], cutoffs[-1]], -1)
    gap = [1e3 * (b["energy"] - a["energy"]) / 8 for a, b in ((one[1], two[0]), (one[-1], two[1]))]
    print(f"\nEnergy of compression, meV/atom: {gap[0]:.2f} at 300 eV, {gap[1]:.2f} at 550 eV\n")
    print(TABLE_HEAD)
    for name, atoms, kind, changes in (
        ("8 atoms, strained", small, "C8", [{"kpts": k} for k in (3, 4, 6)]),
        ("16 atoms (F16), 900 K", thermal["F16"], "F16", [{"kpts": k} for k in (2, 3, 4)]),
        (
            "16 atoms (F16), 900 K",
            thermal["F16"],
            "F16",
            [{"kpts": 2, "smearing": w} for w in (0.1, 0.02)],
        ),
        ("32 atoms, 900 K", thermal["B32"], "B32", [{"kpts": k} for k in (2, 3)]),
    ):
        METHOD.table(name, atoms, kind, changes, -1)
    METHOD.compare_cells(make_cell)


def isolated(path: Path) -> None:
    """Write the isolated atom: spin-polarised (2 unpaired electrons), same cutoff, Gamma only."""
    from gpaw import GPAW, PW, FermiDirac, MixerSum

    atoms = Atoms("Si", cell=[10.0, 10.5, 11.0], pbc=True, magmoms=[2.0])
    atoms.center()
    atoms.calc = GPAW(
        mode=PW(CUTOFF),
        xc=XC,
        spinpol=True,
        hund=True,
        occupations=FermiDirac(0.0, fixmagmom=True),
        mixer=MixerSum(0.1, 5, 50),
        convergence={"density": 1e-4, "eigenstates": 4e-8},
        maxiter=300,
        txt=None,
    )
    energy = atoms.get_potential_energy(force_consistent=True)
    out = Atoms("Si", positions=atoms.positions, cell=atoms.cell, pbc=True)
    out.info = {"config_type": "isolated_atom", "magnetic_moment": 2.0}
    out.calc = SinglePointCalculator(out, energy=float(energy), forces=np.zeros((1, 3)))
    write(path, out, format="extxyz")
    print(f"isolated atom: {energy:.5f} eV")


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("dft-work"), help="working folder")
    parser.add_argument("--limit", type=float, default=1e9, help="start no frame after (s)")
    parser.add_argument("--large", action="store_true", help="also the 63- and 64-atom cells")
    parser.add_argument("--convergence", action="store_true", help="print the table")
    parser.add_argument("--check", action="store_true", help="check the frames")
    parser.add_argument("--split", type=Path, metavar="OUT", help="write train.xyz, test.xyz")
    parser.add_argument("--isolated", type=Path, metavar="FILE", help="compute the free atom")
    args = parser.parse_args()
    if args.convergence:
        convergence()
    elif args.check:
        check(args.work)
    elif args.isolated:
        isolated(args.isolated)
    elif args.split:
        rng = np.random.default_rng([SEED, 99])
        split_frames(args.work, args.split, rng, TEST_FRACTION)
    else:
        run(args.work, args.limit, args.large)


if __name__ == "__main__":
    main()
