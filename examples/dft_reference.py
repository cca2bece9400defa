"""Reference values for ``forcemap validate`` from an example's DFT frames: EXAMPLE/reference.yaml.

    python3 dft_reference.py silicon

The equation of state is that of the Bulk frames. Elastic constants are a fit of the second and third
order to the stresses of the Bulk and Strain frames (second Piola-Kirchhoff stress against Lagrangian
strain; Thurston and Brugger, Phys. Rev. 133, A1604 (1964), doi:10.1103/PhysRev.133.A1604). Only
frames at rest count: what has no sheared one among them, as silicon, whose atoms were not relaxed, gets
no C44.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.io import read
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.settings import Source
from forcemap.fitter.data.units import GPA
from forcemap.fitter.validation.equation_of_state import BirchMurnaghan
from forcemap.fitter.validation.structures import crystals_of_frames

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
HELD = 0.02
"""eV/Å; a frame with smaller forces is at rest."""

STRAINED = 0.04
"""Frames with more strain need a fit of higher order."""


def frames_of(folder: Path, group: str) -> list[Any]:
    """Frames of a config_type, of both files."""
    both = [a for name in ("train.xyz", "test.xyz") for a in read(folder / name, ":")]
    return [atoms for atoms in both if atoms.info["config_type"] == group]


def equation_of_state(folder: Path) -> BirchMurnaghan:
    """Of the Bulk frames, per atom."""
    bulk = frames_of(folder, "Bulk")
    volumes = [atoms.get_volume() / len(atoms) for atoms in bulk]
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in bulk]
    inside = np.abs(np.array(volumes) / volumes[int(np.argmin(energies))] - 1.0) < 0.13
    return BirchMurnaghan.fitted(np.array(volumes)[inside], np.array(energies)[inside])


def invariants(strain: np.ndarray) -> np.ndarray:
    """(9,) cubic invariants of second and third order, whose factors are the elastic constants.

    C11, C12, C44, C111, C112, C123, C144, C166, C456.
    """
    e1, e2, e3 = np.diag(strain)
    e4, e5, e6 = 2 * strain[1, 2], 2 * strain[0, 2], 2 * strain[0, 1]
    return np.array(
        [
            (e1**2 + e2**2 + e3**2) / 2,
            e1 * e2 + e2 * e3 + e3 * e1,
            (e4**2 + e5**2 + e6**2) / 2,
            (e1**3 + e2**3 + e3**3) / 6,
            (e1**2 * (e2 + e3) + e2**2 * (e1 + e3) + e3**2 * (e1 + e2)) / 2,
            e1 * e2 * e3,
            (e1 * e4**2 + e2 * e5**2 + e3 * e6**2) / 2,
            (e4**2 * (e2 + e3) + e5**2 * (e1 + e3) + e6**2 * (e1 + e2)) / 2,
            e4 * e5 * e6,
        ]
    )


def elastic_constants(folder: Path, length: float) -> dict[str, float]:
    """C11, C12 and, if a frame is sheared, C44 (GPa); prints the misfit of the stresses."""
    rows, values, sheared = [], [], False
    for atoms in frames_of(folder, "Strain") + frames_of(folder, "Bulk"):
        if len(atoms) != 8 or np.abs(atoms.get_forces()).max() > HELD:
            continue
        deformation = atoms.cell.array.T / length
        strain = 0.5 * (deformation.T @ deformation - np.eye(3))
        if np.abs(strain).max() > STRAINED:
            continue
        inverse = np.linalg.inv(deformation)
        cauchy = atoms.get_stress(voigt=False)
        stress = np.linalg.det(deformation) * inverse @ cauchy @ inverse.T
        for i, j in VOIGT:
            step = np.zeros((3, 3))
            step[i, j] += 0.5e-6
            step[j, i] += 0.5e-6
            rows.append((invariants(strain + step) - invariants(strain - step)) / 2e-6)
            values.append(stress[i, j] * GPA)
        sheared = sheared or abs(float(strain[1, 2])) > 0.005
    # A constant on the diagonal: the stresses' own zero (Pulay), not quite that of the energies.
    matrix = np.column_stack([np.array(rows), np.tile([1, 1, 1, 0, 0, 0], len(rows) // 6)])
    found = np.linalg.lstsq(matrix, np.array(values), rcond=None)[0]
    misfit = float(np.sqrt(np.mean((matrix @ found - values) ** 2)))
    print(f"elastic constants: the stresses of {len(rows) // 6} frames within {misfit:.2g} GPa")
    names = ("C11", "C12", "C44") if sheared else ("C11", "C12")
    return {name: round(float(value), 1) for name, value in zip(names, found, strict=False)}


def reference(folder: Path) -> dict[str, Any]:
    """Values by the names of the table of ``forcemap validate``."""
    (crystal,) = crystals_of_frames(read_frames([Source(folder / "train.xyz")]))
    state = equation_of_state(folder)
    length = float((state.volume * 8) ** (1 / 3))
    values = {
        "lattice constant a": round(length, 4),
        "volume per atom": round(state.volume, 3),
        "bulk modulus": round(state.modulus * GPA, 1),
        "its pressure derivative": round(state.derivative, 2),
        **elastic_constants(folder, length),
    }
    return {crystal.name: values}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    text = yaml.safe_dump(reference(folder), sort_keys=False, allow_unicode=True)
    (folder / "reference.yaml").write_text(f"# From the DFT frames, by dft_reference.py.\n{text}")
    print(text)
