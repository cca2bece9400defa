#!/usr/bin/env python3
"""Compute the lithium hydride example data set with density-functional theory.

Every frame is a single point with GPAW in plane-wave mode: PBE, projector augmented waves,
spin-paired, one cutoff for all of them (the constants below).  The first round holds structures
that need no potential: compressed and strained crystals, and crystals with random normal
displacements.  The second round labels what ``sample_beads.py`` took from path-integral and
classical molecular dynamics with a fit of the first round.  All random numbers are seeded.

What to install (Debian or a derivative)::

    apt-get install gpaw gpaw-data

which brings GPAW with its PAW data sets, ASE and NumPy; run the script with that system's
``/usr/bin/python3``.  Set ``OMP_NUM_THREADS=1``: the run is planned for one core.

Commands::

    python3 compute_frames.py --convergence       # print the convergence table
    python3 compute_frames.py --work DIR          # first round; then DIR/beads.xyz if it is there
    python3 compute_frames.py --work DIR --check  # sanity checks of DIR/frames.xyz
    python3 compute_frames.py --work DIR --split OUT   # write OUT/train.xyz and OUT/test.xyz

Each finished frame is appended to ``DIR/frames.xyz`` at once; a second run with the same ``DIR``
goes on where the first stopped.

Units are those of ASE: Angstrom, eV, eV/Angstrom, and eV/Angstrom^3 for the stress, whose sign is
ASE's (a compressed crystal has a negative diagonal).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.neighborlist import neighbor_list

SEED = 20261121
A0 = 4.08  # lattice constant at 300 K, Angstrom (experiment: 4.084)
CUTOFF = 550.0  # plane-wave cutoff, eV
SMEARING = 0.05  # width of the Fermi-Dirac distribution, eV; the gap is far wider
XC = "PBE"
# Meshes by kind of cell; C8, T16 and C64 fold the very same points, shifted off Gamma.
KPOINTS: dict[str, dict[str, Any]] = {
    "C8": {"size": (6, 6, 6), "gamma": False},
    "T16": {"size": (6, 6, 3), "gamma": False},
    "B32": {"size": (3, 3, 3), "gamma": True},
    "C64": {"size": (3, 3, 3), "gamma": False},
}
TEST_FRACTION = 0.2
HELD_OUT = "Beads-300K-64"  # the simulated cell: every frame of it is in test.xyz


def make_cell(kind: str, a: float = A0) -> Atoms:
    """Return a perfect rock-salt cell.

    Args:
        kind: ``C8`` cubic, ``T16`` 1x1x2 cubic cells, ``B32`` the body-centred 32-atom cell,
            ``C64`` 2x2x2 cubic cells.
        a: cubic lattice constant in Angstrom.
    """
    cubic = bulk("LiH", "rocksalt", a=a, cubic=True)
    if kind == "C8":
        return cubic
    if kind == "T16":
        return cubic * (1, 1, 2)
    if kind == "B32":
        return make_supercell(cubic, [[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    if kind == "C64":
        return cubic * (2, 2, 2)
    raise ValueError(f"unknown cell kind {kind!r}")


def dft_calculator(kind: str, **changes: Any) -> Any:
    """Return the GPAW calculator of a kind of cell.

    Args:
        kind: cell kind, which sets the k-point mesh.
        changes: ``cutoff`` (eV), ``kpts`` (divisions, one number or three), ``gamma`` (whether the
            mesh holds that point), ``smearing`` (eV) or ``txt`` (log file) in place of the
            defaults.
    """
    from gpaw import GPAW, PW, FermiDirac, Mixer

    mesh = dict(KPOINTS[kind])
    if "kpts" in changes:
        kpts = changes["kpts"]
        mesh["size"] = (kpts,) * 3 if isinstance(kpts, int) else kpts
    mesh["gamma"] = changes.get("gamma", mesh["gamma"])
    return GPAW(
        mode=PW(changes.get("cutoff", CUTOFF)),
        xc=XC,
        kpts=mesh,
        occupations=FermiDirac(changes.get("smearing", SMEARING)),
        mixer=Mixer(0.5, 8, 20),
        convergence={"density": 1e-4, "eigenstates": 4e-8},
        maxiter=150,
        txt=changes.get("txt"),
    )


def single_point(atoms: Atoms, kind: str, **changes: Any) -> dict[str, Any]:
    """Run one DFT single point; energy (eV), forces (eV/A), stress (eV/A^3, Voigt), time (s)."""
    work = atoms.copy()
    start = time.time()
    work.calc = dft_calculator(kind, **changes)
    energy = work.get_potential_energy(force_consistent=True)
    forces = work.get_forces()
    stress = work.get_stress()
    return {
        "energy": float(energy),
        "forces": forces,
        "stress": stress,
        "seconds": time.time() - start,
    }


def random_strain(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return a symmetric deformation matrix 1 + strain, components uniform in +-``size``."""
    strain = rng.uniform(-size, size, (3, 3))
    return np.eye(3) + 0.5 * (strain + strain.T)


def deform(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """Return ``atoms`` with the cell and the positions multiplied by ``matrix``."""
    out = atoms.copy()
    out.set_cell(atoms.cell[:] @ np.asarray(matrix).T, scale_atoms=True)
    return out


def displace(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    """Return ``atoms`` with normal displacements of ``size`` Angstrom per component."""
    out = atoms.copy()
    out.positions += rng.normal(0.0, size, out.positions.shape)
    return out


def first_round() -> list[Atoms]:
    """Return the structures of the first round, with ``config_type``, ``cell`` and ``frame``.

    The groups are taken in turns, so that a run stopped early still holds some of each.  The
    widest displacements, 0.2 A per component, exceed those of a quantum proton at 300 K (0.15 A).
    """
    groups: list[list[Atoms]] = []

    def add(config_type: str, kind: str, frames: list[Atoms]) -> None:
        for atoms in frames:
            atoms.info = {"config_type": config_type, "cell": kind}
        groups.append(frames)

    ratios = (0.80, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12)
    add("Bulk", "C8", [make_cell("C8", A0 * ratio ** (1 / 3)) for ratio in ratios])

    rng = np.random.default_rng([SEED, 1])
    strains = [deform(make_cell("C8"), np.diag([1.0 + size, 1.0, 1.0])) for size in (-0.03, 0.03)]
    shear = np.eye(3)
    shear[1, 2] = shear[2, 1] = 0.03
    strains.append(deform(make_cell("C8"), shear))
    for _ in range(6):
        strains.append(displace(deform(make_cell("C8"), random_strain(rng, 0.04)), rng, 0.02))
    add("Strain", "C8", strains)

    for number, size in enumerate((0.05, 0.10, 0.15, 0.20)):
        for kind, count in (("C8", 3), ("T16", 3), ("B32", 2)):
            rng = np.random.default_rng([SEED, 10 + number, len(make_cell(kind))])
            frames = []
            for _ in range(count):
                cell = make_cell(kind, A0 * rng.uniform(0.97, 1.02))
                frames.append(displace(deform(cell, random_strain(rng, 0.02)), rng, size))
            add(f"Random-{size:.2f}A", kind, frames)

    return in_turns(groups)


def in_turns(groups: list[list[Any]]) -> list[Any]:
    """Return one item of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def second_round(path: Path) -> list[tuple[str, Atoms]]:
    """Return what ``sample_beads.py`` wrote, with names, in the order of computation.

    The kinds of frames are shuffled and taken in turns; the costly cells of 64 atoms come last.
    """
    groups: dict[tuple[str, str], list[tuple[str, Atoms]]] = {}
    frames = read(path, ":")
    for number in np.random.default_rng([SEED, 98]).permutation(len(frames)).tolist():
        atoms = frames[number]
        key = (atoms.info["config_type"], atoms.info["cell"])
        groups.setdefault(key, []).append((f"{path.stem}-{number}", atoms))
    last = [frames for (_, kind), frames in groups.items() if kind == "C64"]
    first = [frames for (_, kind), frames in groups.items() if kind != "C64"]
    return in_turns(first) + in_turns(last)


def run(work: Path, limit: float) -> None:
    """Compute all frames that ``work/frames.xyz`` does not have yet.

    Args:
        work: folder of the frames and the log, and of ``beads.xyz`` of the second round.
        limit: no frame is started after this many seconds.
    """
    work.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    todo = [(f"first-{number}", atoms) for number, atoms in enumerate(first_round())]
    for path in work.glob("beads.xyz"):
        todo += second_round(path)
    target = work / "frames.xyz"
    done = {a.info["frame"] for a in read(target, ":")} if target.exists() else set()
    for name, atoms in todo:
        if name in done:
            continue
        if time.time() - begin > limit:
            print(f"time limit: stopped before frame {name}", flush=True)
            break
        kind, config_type = atoms.info["cell"], atoms.info["config_type"]
        try:
            result = single_point(atoms, kind, txt=str(work / "last-frame.log"))
        except Exception as error:  # a frame which does not converge must not end the run
            print(f"frame {name} FAILED: {type(error).__name__}: {error}", flush=True)
            continue
        seconds = result.pop("seconds")
        atoms.calc = SinglePointCalculator(atoms, **result)
        atoms.info.update(frame=name, seconds=round(seconds, 1))
        write(target, atoms, format="extxyz", append=True)
        print(
            f"{name:10s} {config_type:16s} {kind:4s} "
            f"{len(atoms):3d} atoms {result['energy'] / len(atoms):9.5f} eV/atom "
            f"fmax {np.abs(result['forces']).max():7.3f} {seconds:6.1f} s",
            flush=True,
        )


def split(work: Path, out: Path) -> None:
    """Write ``out/train.xyz`` and ``out/test.xyz``, seeded and spread over the config_types."""
    rng = np.random.default_rng([SEED, 99])
    by_type: dict[str, list[Atoms]] = {}
    for atoms in read(work / "frames.xyz", ":"):
        by_type.setdefault(atoms.info["config_type"], []).append(atoms)
    train: list[Atoms] = []
    test: list[Atoms] = []
    number = 0
    for name, group in by_type.items():
        for pick in rng.permutation(len(group)).tolist():
            atoms = group[pick]
            energy = atoms.get_potential_energy()
            forces, stress = atoms.get_forces(), atoms.get_stress()
            atoms = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
            atoms.info = {"config_type": name}
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
            held_out = int((number + 1) * TEST_FRACTION) > int(number * TEST_FRACTION)
            (test if held_out or name == HELD_OUT else train).append(atoms)
            number += name != HELD_OUT
    for name, group in (("train", train), ("test", test)):
        write(out / f"{name}.xyz", group, format="extxyz")
        print(f"{name}.xyz: {len(group)} frames, {sum(map(len, group))} atoms")


def check(work: Path) -> None:
    """Print sanity checks of the frames: counts, equation of state, net forces, distances."""
    from ase.eos import EquationOfState

    frames = read(work / "frames.xyz", ":")
    kinds: dict[tuple[str, int], list[float]] = {}
    for atoms in frames:
        kinds.setdefault((atoms.info["config_type"], len(atoms)), []).append(atoms.info["seconds"])
    for (name, natoms), times in sorted(kinds.items()):
        print(f"{name:16s} {natoms:3d} atoms: {len(times)} frames, {np.mean(times):.0f} s each")
    print(f"{len(frames)} frames, {sum(a.info['seconds'] for a in frames) / 60:.0f} minutes")
    static = sorted(
        (a for a in frames if a.info["config_type"] == "Bulk"), key=lambda a: a.get_volume()
    )
    volumes = [a.get_volume() / len(a) for a in static]
    energies = [a.get_potential_energy() / len(a) for a in static]
    v0, e0, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    print(f"a0 {(8 * v0) ** (1 / 3):.4f} A, E0 {e0:.5f} eV/atom, B {modulus / units.GPa:.1f} GPa")
    spline = np.polynomial.Polynomial.fit(volumes, energies, 5)
    for atoms, volume, energy in zip(static, volumes, energies, strict=True):
        pressure = -np.mean(atoms.get_stress()[:3]) / units.GPa
        slope = -spline.deriv()(volume) / units.GPa
        print(
            f"V {volume:7.3f} A^3/atom  E {energy:9.5f} eV/atom  "
            f"P {pressure:7.2f} GPa  -dE/dV {slope:7.2f} GPa"
        )
    net = max(np.abs(a.get_forces().sum(axis=0)).max() for a in frames)
    print(f"largest net force on a cell {net:.1e} eV/A")
    for pair in (("H", "H"), ("H", "Li"), ("Li", "Li")):
        shortest = min(neighbor_list("d", a, {pair: 3.4}).min(initial=3.4) for a in frames)
        print(f"shortest {pair[0]}-{pair[1]} {shortest:.2f} A")


def convergence() -> None:
    """Print how energy, forces and stress change with cutoff, k-points and smearing."""
    rng = np.random.default_rng([SEED, 70])
    moved = {kind: displace(make_cell(kind), rng, 0.2) for kind in ("C8", "B32")}
    print("| structure | change | time (s) | dE (meV/atom) | max dF (meV/A) | max dstress (GPa) |")
    print("| --- | --- | --- | --- | --- | --- |")

    def table(name: str, atoms: Atoms, kind: str, settings: list[dict[str, Any]]) -> None:
        """One block of rows, each against the first."""
        ref = None
        for change in settings:
            res = single_point(atoms, kind, **change)
            ref = ref or res
            what = ", ".join(f"{key} {value}" for key, value in change.items())
            print(
                f"| {name} | {what or 'as the frames'} | {res['seconds']:.0f} "
                f"| {1e3 * (res['energy'] - ref['energy']) / len(atoms):+.2f} "
                f"| {1e3 * np.abs(res['forces'] - ref['forces']).max():.1f} "
                f"| {np.abs(res['stress'] - ref['stress']).max() / units.GPa:.3f} |",
                flush=True,
            )

    cutoffs: list[dict[str, Any]] = [{"cutoff": c} for c in (800.0, 400.0, 500.0, CUTOFF)]
    table("8 atoms, displaced", moved["C8"], "C8", [{"kpts": 4, **c} for c in cutoffs])
    table("8 atoms, a = 3.95 A", make_cell("C8", 3.95), "C8", cutoffs)
    meshes: list[dict[str, Any]] = [{"kpts": 8}, {"kpts": 4}, {}, {"smearing": 0.01}]
    table("8 atoms, displaced", moved["C8"], "C8", meshes)
    table("32 atoms, displaced", moved["B32"], "B32", [{"kpts": 4}, {"kpts": 2}, {}])

    ref = single_point(make_cell("C8"), "C8", kpts=8)["energy"] / 8
    print("\nPerfect crystal, each cell with its own mesh, against C8 with 8 x 8 x 8:\n")
    for kind in ("C8", "T16", "B32"):
        cell = make_cell(kind)
        res = single_point(cell, kind)
        print(
            f"    {kind:4s} {1e3 * (res['energy'] / len(cell) - ref):+.2f} meV/atom, "
            f"pressure {-res['stress'][:3].mean() / units.GPa:+.3f} GPa",
            flush=True,
        )


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("dft-work"), help="working folder")
    parser.add_argument("--limit", type=float, default=1e9, help="start no frame after (s)")
    parser.add_argument("--convergence", action="store_true", help="print the table")
    parser.add_argument("--check", action="store_true", help="check the frames")
    parser.add_argument("--split", type=Path, metavar="OUT", help="write train.xyz, test.xyz")
    args = parser.parse_args()
    if args.convergence:
        convergence()
    elif args.check:
        check(args.work)
    elif args.split:
        split(args.work, args.split)
    else:
        run(args.work, args.limit)


if __name__ == "__main__":
    main()
