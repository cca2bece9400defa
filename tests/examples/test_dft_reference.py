"""Reference values of the examples are those of their DFT frames."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import UnitCellFilter
from ase.io import write
from ase.optimize import BFGS
from forcemap.fitter.data.units import GPA

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = runpy.run_path(str(EXAMPLES / "dft_reference.py"))


@pytest.mark.parametrize("name", ["silicon", "lithium_hydride"])
def test_the_files_hold_what_the_script_gives(name: str) -> None:
    pytest.importorskip("spglib")
    kept = yaml.safe_load((EXAMPLES / name / "reference.yaml").read_text(encoding="utf-8"))
    assert SCRIPT["reference"](EXAMPLES / name) == kept


def _label(atoms: Atoms, group: str) -> Atoms:
    atoms.calc = EMT()
    values = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **values)
    atoms.info["config_type"] = group
    return atoms


def test_elastic_constants_of_frames_are_the_second_derivatives(tmp_path: Path) -> None:
    """Frames of EMT, strained as the examples' are, against differences of small strains."""
    salt = bulk("CuAu", "rocksalt", a=5.2, cubic=True)
    salt.calc = EMT()
    BFGS(UnitCellFilter(salt), logfile=None).run(fmax=1e-6, steps=200)
    length = float(salt.cell.lengths()[0])

    def strained(xx: float = 0.0, yy: float = 0.0, zz: float = 0.0, yz: float = 0.0) -> Atoms:
        atoms = salt.copy()
        change = np.array([[xx, 0, 0], [0, yy, yz / 2], [0, yz / 2, zz]])
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + change), scale_atoms=True)
        return atoms

    def slope(component: int, **strain: float) -> float:
        both = [
            _label(strained(**{key: sign * value for key, value in strain.items()}), "")
            for sign in (1.0, -1.0)
        ]
        (value,) = strain.values()
        up, down = (atoms.get_stress()[component] for atoms in both)
        return float((up - down) / (2 * value) * GPA)

    frames = [_label(strained(s, s, s), "Bulk") for s in (-0.01, -0.005, 0.0, 0.005, 0.01)]
    frames += [_label(strained(xx=s), "Strain") for s in (-0.015, -0.0075, 0.0075, 0.015)]
    frames += [_label(strained(yz=s), "Strain") for s in (0.015, 0.03)]
    write(tmp_path / "train.xyz", frames)
    write(tmp_path / "test.xyz", frames[:1])
    found = SCRIPT["elastic_constants"](tmp_path, length)
    # Strains up to 0.015 leave some per cent of C12 to the fourth order.
    assert found["C11"] == pytest.approx(slope(0, xx=1e-3), rel=0.03, abs=0.5)
    assert found["C12"] == pytest.approx(slope(1, xx=1e-3), rel=0.03, abs=0.5)
    assert found["C44"] == pytest.approx(slope(3, yz=1e-3), rel=0.03, abs=0.5)
