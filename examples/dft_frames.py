"""What the scripts that computed the examples' frames share.

Cells and their deformations, single points with GPAW in plane-wave mode, the run that computes frame
after frame, its split into training and test frames, sanity checks and convergence tables. Units are
those of ASE. GPAW is imported where it is needed only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

__all__ = [
    "TABLE_HEAD",
    "Method",
    "check_frames",
    "compute",
    "deform",
    "displace",
    "random_strain",
    "split_frames",
    "supercell",
]

TABLE_HEAD = """\
| structure | change | time (s) | dE (meV/atom) | max dF (meV/A) | max dstress (GPa) |
| --- | --- | --- | --- | --- | --- |"""


# ----- structures -----


def supercell(cubic: Atoms, kind: str) -> Atoms:
    """Return a supercell of a cubic cell of 8 atoms.

    Args:
        cubic: the cell.
        kind: ``C8`` the cell itself, ``T16`` 1x1x2 of it, ``B32`` the body-centred cell of 32
            atoms, ``C64`` 2x2x2.
    """
    if kind == "C8":
        return cubic
    if kind == "T16":
        return cubic * (1, 1, 2)
    if kind == "B32":
        return make_supercell(cubic, [[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    if kind == "C64":
        return cubic * (2, 2, 2)
    raise ValueError(f"unknown cell kind {kind!r}")


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


# ----- density-functional theory -----


@dataclass(frozen=True)
class Method:
    """How frames are computed.

    Attributes:
        xc: exchange and correlation.
        cutoff: of the plane waves, eV.
        smearing: width of the Fermi-Dirac distribution, eV.
        kpoints: by kind of cell, what GPAW's ``kpts`` takes.
    """

    xc: str
    cutoff: float
    smearing: float
    kpoints: Mapping[str, Mapping[str, Any]]

    def calculator(self, kind: str, **changes: Any) -> Any:
        """Return the GPAW calculator of a kind of cell.

        Args:
            kind: which sets the k-point mesh.
            changes: ``cutoff`` (eV), ``kpts`` (divisions, one number or three), ``smearing`` (eV)
                or ``txt`` (log file) in place of the defaults.
        """
        from gpaw import GPAW, PW, FermiDirac, Mixer

        mesh = dict(self.kpoints[kind])
        if "kpts" in changes:
            kpts = changes["kpts"]
            mesh["size"] = (kpts,) * 3 if isinstance(kpts, int) else kpts
        return GPAW(
            mode=PW(changes.get("cutoff", self.cutoff)),
            xc=self.xc,
            kpts=mesh,
            occupations=FermiDirac(changes.get("smearing", self.smearing)),
            mixer=Mixer(0.5, 8, 20),
            convergence={"density": 1e-4, "eigenstates": 4e-8},
            maxiter=150,
            txt=changes.get("txt"),
        )

    def single_point(self, atoms: Atoms, kind: str, **changes: Any) -> dict[str, Any]:
        """Run one single point; energy (eV), forces (eV/A), stress (eV/A^3, Voigt), time (s)."""
        work = atoms.copy()
        start = time.time()
        work.calc = self.calculator(kind, **changes)
        energy = work.get_potential_energy(force_consistent=True)
        forces = work.get_forces()
        stress = work.get_stress()
        return {
            "energy": float(energy),
            "forces": forces,
            "stress": stress,
            "seconds": time.time() - start,
        }

    def table(
        self,
        name: str,
        atoms: Atoms,
        kind: str,
        settings: Sequence[Mapping[str, Any]],
        reference: int = 0,
    ) -> list[dict[str, Any]]:
        """Print a block of the convergence table, and return the results.

        Args:
            name: of the structure.
            atoms: the structure, of the kind ``kind``.
            settings: changes, see ``calculator``; a row for each.
            reference: the number of the row that the others are set against.
        """
        results = [self.single_point(atoms, kind, **changes) for changes in settings]
        ref = results[reference]
        for changes, res in zip(settings, results, strict=True):
            what = ", ".join(f"{key} {value:g}" for key, value in changes.items())
            print(
                f"| {name} | {what or 'as the frames'} | {res['seconds']:.0f} "
                f"| {1e3 * (res['energy'] - ref['energy']) / len(atoms):+.2f} "
                f"| {1e3 * np.abs(res['forces'] - ref['forces']).max():.1f} "
                f"| {np.abs(res['stress'] - ref['stress']).max() / units.GPa:.3f} |",
                flush=True,
            )
        return results

    def compare_cells(self, make_cell: Callable[[str], Atoms]) -> None:
        """Print how well perfect crystals of all kinds of cells agree with a fine mesh."""
        ref = self.single_point(make_cell("C8"), "C8", kpts=8)["energy"] / 8
        print("\nPerfect crystal, each cell with its own mesh, against C8 with 8 x 8 x 8:\n")
        for kind in ("C8", "T16", "B32"):
            cell = make_cell(kind)
            res = self.single_point(cell, kind)
            print(
                f"    {kind:4s} {1e3 * (res['energy'] / len(cell) - ref):+.2f} meV/atom, "
                f"pressure {-res['stress'][:3].mean() / units.GPa:+.3f} GPa",
                flush=True,
            )


# ----- frames -----


def compute(
    method: Method, todo: Sequence[tuple[int | str, Atoms]], work: Path, limit: float
) -> None:
    """Compute all frames of ``todo`` that ``work/frames.xyz`` does not have yet.

    Args:
        method: how.
        todo: names and structures, whose ``info`` has ``config_type`` and ``cell``.
        work: folder of the frames and the log.
        limit: no frame is started after this many seconds.
    """
    begin = time.time()
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
            result = method.single_point(atoms, kind, txt=str(work / "last-frame.log"))
        except Exception as error:  # a frame which does not converge must not end the run
            print(f"frame {name} FAILED: {type(error).__name__}: {error}", flush=True)
            continue
        seconds = result.pop("seconds")
        atoms.calc = SinglePointCalculator(atoms, **result)
        atoms.info.update(frame=name, seconds=round(seconds, 1))
        write(target, atoms, format="extxyz", append=True)
        print(
            f"{name!s:10s} {config_type:16s} {kind:4s} "
            f"{len(atoms):3d} atoms {result['energy'] / len(atoms):9.5f} eV/atom "
            f"fmax {np.abs(result['forces']).max():7.3f} {seconds:6.1f} s",
            flush=True,
        )


def split_frames(
    work: Path,
    out: Path,
    rng: np.random.Generator,
    fraction: float,
    held_out: Collection[str] = (),
) -> None:
    """Write ``out/train.xyz`` and ``out/test.xyz`` from ``work/frames.xyz``, spread over the types.

    Args:
        work: folder of the frames.
        out: folder to write into.
        rng: seeded generator.
        fraction: part of the frames that goes to the test.
        held_out: every frame of these config_types goes there.
    """
    by_type: dict[str, list[Atoms]] = {}
    for atoms in read(work / "frames.xyz", ":"):
        by_type.setdefault(atoms.info["config_type"], []).append(atoms)
    parts: dict[str, list[Atoms]] = {"train": [], "test": []}
    number = 0
    for name, group in by_type.items():
        for pick in rng.permutation(len(group)).tolist():
            chosen = int((number + 1) * fraction) > int(number * fraction)
            part = "test" if chosen or name in held_out else "train"
            parts[part].append(_labelled(group[pick], name))
            number += name not in held_out
    for part, group in parts.items():
        write(out / f"{part}.xyz", group, format="extxyz")
        print(f"{part}.xyz: {len(group)} frames, {sum(map(len, group))} atoms")


def _labelled(atoms: Atoms, config_type: str) -> Atoms:
    """The atoms anew: nothing of the calculation but what a potential is fitted to."""
    energy = atoms.get_potential_energy()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    atoms.info = {"config_type": config_type}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def check_frames(work: Path) -> list[Atoms]:
    """Print counts, times, the equation of state and net forces; returns ``work/frames.xyz``."""
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
    return frames
