"""GAPs for tests: small XMLs written by hand, fits of gap_fit on the spot, published files.

quippy, QUIP in Python, judges what is imported; tests that need it are skipped where it is missing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write
from numpy.typing import NDArray

Array = NDArray[np.float64]

LABEL = "GAP_by_hand"


@dataclass(frozen=True)
class HandMade:
    """An element <gpCoordinates>, as gap_fit would write it.

    `changes` replaces attributes, or drops those that are None.
    """

    descriptor: str
    points: Sequence[Sequence[float]]
    alphas: Sequence[float]
    theta: Sequence[float] | None = (1.0,)
    covariance: int = 1
    delta: float = 1.0
    f0: float = 0.0
    cutoffs: Sequence[float] | None = None
    permutations: Sequence[Sequence[int]] = ((1,),)
    changes: dict[str, str | None] = field(default_factory=dict)

    def attributes(self, number: int) -> dict[str, str]:
        known: dict[str, str | None] = {
            "label": f"{LABEL}{number}",
            "dimensions": str(len(self.points[0])),
            "signal_variance": repr(self.delta),
            "signal_mean": repr(self.f0),
            "sparsified": "T",
            "n_permutations": str(len(self.permutations)),
            "covariance_type": str(self.covariance),
            "n_sparseX": str(len(self.points)),
        }
        known.update(self.changes)
        return {name: value for name, value in known.items() if value is not None}

    def text(self, number: int) -> str:
        attributes = " ".join(f'{k}="{escape(v)}"' for k, v in self.attributes(number).items())
        lines = [f"<gpCoordinates {attributes}>"]
        if self.theta is not None:
            lines.append(f"<theta>{' '.join(map(repr, self.theta))}</theta>")
        lines.append(f"<descriptor>{escape(self.descriptor)}</descriptor>")
        for i, permutation in enumerate(self.permutations, 1):
            lines.append(f'<permutation i="{i}">{" ".join(map(str, permutation))}</permutation>')
        cutoffs = self.cutoffs or [1.0] * len(self.points)
        beside = "sparseX_filename" in self.changes
        for i, (point, alpha, cutoff) in enumerate(
            zip(self.points, self.alphas, cutoffs, strict=True), 1
        ):
            numbers = "" if beside else " ".join(map(repr, point))
            lines.append(
                f'<sparseX i="{i}" alpha="{alpha!r}" sparseCutoff="{cutoff!r}">{numbers}</sparseX>'
            )
        return "\n".join([*lines, "</gpCoordinates>"])


PAIR = HandMade("distance_2b cutoff=4.0 cutoff_transition_width=1.0 Z1=14 Z2=14", [[2.0]], [0.25])
"""k of the distance to 2 Å with a length of 1 Å, 0.25 eV; silicon."""


def xml_text(
    *coordinates: HandMade,
    e0: dict[int, float] | None = None,
    core: str = "F",
    potential: str = f"IP GAP label={LABEL}",
    more: str = "",
) -> str:
    energies = {14: -1.5} if e0 is None else e0
    lines = [
        f"<{LABEL}>",
        f'<Potential label="{LABEL}" init_args="{escape(potential)}"/>',
        more,
        f'<GAP_params label="{LABEL}" gap_version="1686220958">',
        f'<GAP_data do_core="{core}">',
        *(f'<e0 Z="{z}" value="{value!r}"/>' for z, value in energies.items()),
        "</GAP_data>",
        f'<gpSparse label="{LABEL}" n_coordinate="{len(coordinates)}" fitted="T">',
        *(one.text(number) for number, one in enumerate(coordinates, 1)),
        "</gpSparse>",
        "<command_line><![CDATA[ at_file=train.xyz gap={by hand} ]]></command_line>",
        "</GAP_params>",
        f"</{LABEL}>",
    ]
    return "\n".join(lines) + "\n"


def written(folder: Path, *coordinates: HandMade, **options: Any) -> Path:
    """The XML as a file."""
    path = folder / "gap.xml"
    path.write_text(xml_text(*coordinates, **options), encoding="utf-8")
    return path


def changed(coordinate: HandMade, **attributes: str | None) -> HandMade:
    return replace(coordinate, changes={**coordinate.changes, **attributes})


def glue_text(
    types: Sequence[int],
    pairs: dict[tuple[int, int], tuple[Array, Array]],
    ends: tuple[str, str] = ("1.0e50", "0.0"),
    embedding: float = 0.0,
) -> str:
    """An element <Glue_params> of pair functions (r, E)."""
    lines = [f'<Glue_params n_types="{len(types)}">']
    for number, z in enumerate(types, 1):
        lines += [
            f'<per_type_data atomic_num="{z}" type="{number}">',
            '<density num_points="2" density_y1="-1.0" density_yn="0.0">',
            '<point a="1.0" rho="1.0"/><point a="2.0" rho="2.0"/></density>',
            f'<potential_density num_points="2"><point rho="1.0" E="{embedding}"/>',
            '<point rho="2.0" E="0.0"/></potential_density></per_type_data>',
        ]
    for (a, b), (r, energy) in pairs.items():
        lines.append(f'<per_pair_data type1="{a}" type2="{b}">')
        lines.append(f'<potential_pair num_points="{len(r)}" y1="{ends[0]}" yn="{ends[1]}">')
        lines += [
            f'<point r="{x}" E="{y}"/>' for x, y in zip(r.tolist(), energy.tolist(), strict=True)
        ]
        lines.append("</potential_pair></per_pair_data>")
    return "\n".join([*lines, "</Glue_params>"])


# ----- QUIP itself -----


def frames(symbols: str, count: int = 5, seed: int = 1) -> list[Atoms]:
    """Disordered crystals, 8 atoms in cells that some cutoffs are longer than half of, with atoms."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        atoms = bulk("NaCl", "rocksalt", a=5.0, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.15, rng=rng)
        found.append(atoms)
    if symbols == "Si":
        for atoms in found:
            atoms.numbers[:] = 14
    return found


def train_file(folder: Path, symbols: str) -> Path:
    """Frames with energies and forces of soft spheres, and isolated atoms."""
    labelled = frames(symbols, 8)
    alone = ["Si"] if symbols == "Si" else ["Na", "Cl"]
    labelled += [Atoms(symbol, cell=3 * [15.0], pbc=True) for symbol in alone]
    for atoms in labelled:
        energies = np.where(atoms.numbers == 11, -0.8, -0.5)
        atoms.calc = LennardJones(sigma=2.0, epsilon=0.3, rc=6.0, smooth=True)
        atoms.info["dft_energy"] = float(atoms.get_potential_energy() + energies.sum())
        atoms.arrays["dft_force"] = atoms.get_forces()
        atoms.info["config_type"] = "isolated_atom" if len(atoms) == 1 else "bulk"
        atoms.calc = None
    path = folder / "train.xyz"
    write(path, labelled, format="extxyz")
    return path


def fitted(folder: Path, symbols: str, gap: str, *more: str) -> Path:
    """A GAP of gap_fit; it takes a second or two."""
    pytest.importorskip("quippy", reason="quippy-ase, QUIP in Python, is not installed")
    program = shutil.which("gap_fit", path=str(Path(sys.executable).parent)) or shutil.which(
        "gap_fit"
    )
    if program is None:
        pytest.skip("gap_fit, which comes with quippy-ase, is not there")
    arguments = {
        "at_file": str(train_file(folder, symbols)),
        "gap": f"{{{gap}}}",
        "default_sigma": "{0.001 0.01 0.01 0}",
        "energy_parameter_name": "dft_energy",
        "force_parameter_name": "dft_force",
        "do_copy_at_file": "F",
        "gp_file": "gap.xml",
        "sparse_jitter": "1e-8",
    }
    arguments.update(dict(one.split("=", 1) for one in more))
    arguments.setdefault("e0_method", "isolated")
    command = [program, *(f"{name}={value}" for name, value in arguments.items())]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return folder / "gap.xml"


Answer = tuple[float, Array, Array]
"""Energy (eV), forces (eV/Å), stress (Voigt, eV/Å³)."""


def quip_answers(path: Path, structures: Sequence[Atoms]) -> list[Answer]:
    """What QUIP says of the structures."""
    potential = pytest.importorskip(
        "quippy.potential", reason="quippy-ase, QUIP in Python, is not installed"
    )
    calculator = potential.Potential(param_filename=str(path))
    answers = []
    for atoms in structures:
        one = atoms.copy()
        one.calc = calculator
        stress = one.get_stress() if one.pbc.all() else np.zeros(6)
        answers.append((one.get_potential_energy(), one.get_forces(), stress))
    return answers


def published(name: str) -> Path:
    """A folder of published data beside the project; the test is skipped where there is none."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data" / name
        if folder.is_dir():
            return folder
    pytest.skip(f"the published data {name} are not beside the project")
