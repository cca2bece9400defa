"""What potentials do outside their data: to compressed and expanded crystals, dimers, random cells.

Each set is fitted with bare defaults, once for each choice of priors, by few frames and sparse points.
Nothing is tuned to a set. The laws:

- the energy of the crystal rises all the way from the data's densest to 0.7 of the lattice constant,
  and from their widest until the atoms are free;
- dimers repel each other below the data's shortest distance, and have no well there;
- random structures that are relaxed end above the crystal, without atoms on top of each other.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import FIRE
from forcemap.fitter import Frame, Settings, fit_frames, map_model
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.prediction import evaluated
from forcemap.potentials import Potential
from forcemap.potentials.calculator import ForcemapCalculator
from published_sets import DATA
from text_table import shown, text_table

SETS = {
    "mlearn_Si": ("train.xyz", "test.xyz"),
    "mlearn_Ni": ("train.xyz", "test.xyz"),
    "mlearn_Mo": ("train.xyz", "test.xyz"),
    "InP_SNAP": ("all.xyz", None),
    "water_RPBE-D3_n2p2": ("all.xyz", None),
    "Ni19_cluster": ("bip300.xyz", None),
}
PRIORS: Mapping[str, Mapping[str, Any]] = {
    "before": {"e0": "average", "outside": "free"},
    "now": {},
}
SCALES = np.round(np.arange(0.7, 2.501, 0.02), 2)
"""Lattice constants, relative to that of the crystal."""

PAIRS = np.arange(0.3, 8.001, 0.02)
"""Distances of dimers, Å."""

BACKWARDS = 1e-3
"""Steps back of a curve that count, eV per atom (crystals) or eV (dimers)."""


class Parts(NamedTuple):
    """Frames to fit, and others to judge by."""

    train: list[Frame]
    test: list[Frame]


class Laws(NamedTuple):
    """What a potential does outside its data; energies in eV, per atom but for those of dimers."""

    dense: float  # energy of the crystal at the smallest scale, above the ground state
    wide: float  # at 1.5
    cohesion: float  # of free atoms
    dense_back: float  # largest fall on the way in, below the data
    wide_back: float  # largest fall on the way out, above the data
    dimer_back: float  # largest fall on the way in, below the data
    dimer_well: float  # the lowest energy below the data less that in and beyond them
    lowest: float  # of the relaxed random structures, above the ground state
    holes: int  # of these, as many are below the ground state or have atoms on top of each other
    unsettled: int


def parts(data: Path, name: str, count: int) -> Parts:
    """`count` frames, spread over the set, and at most 100 others."""
    first, second = SETS[name]
    frames = read_frames(sources(data / name / first))
    order = np.random.default_rng(0).permutation(len(frames))
    train = [frames[n] for n in sorted(order[:count])]
    others = [frames[n] for n in order[count:]] if second is None else None
    return Parts(train, (others or read_frames(sources(data / name / str(second))))[:100])


def sources(path: Path) -> Sequence[Any]:
    """The one file."""
    return Settings.from_dict(
        {"data": {"train": str(path)}, "terms": [{"kind": "two_body"}]}
    ).data.train


def fitted(train: list[Frame], priors: Mapping[str, Any], points: int) -> Potential:
    """The mapped potential of bare defaults, with few sparse points."""
    terms = [{"kind": "two_body"}, {"kind": "soap", "n_sparse": points}]
    settings = Settings.from_dict({"data": {"train": "frames.xyz"}, "terms": terms, **priors})
    model = fit_frames(settings, train)
    return map_model(model, train[:20], settings.map.tolerance).potential


def atoms_of(frame: Frame) -> Atoms:
    """For ASE."""
    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def per_atom(potential: Potential, atoms: Atoms) -> float:
    """Energy of interaction per atom, eV."""
    free = sum(potential.e0[symbol] for symbol in atoms.get_chemical_symbols())
    atoms = atoms.copy()
    atoms.calc = ForcemapCalculator(potential)
    return float((atoms.get_potential_energy() - free) / len(atoms))


def crystal_of(frames: Sequence[Frame]) -> Atoms:
    """The lowest in energy of frames without vacuum, or of all."""
    known = [f for f in frames if f.energy is not None and len(f.numbers) > 1]
    filled = [
        f for f in known if f.pbc.all() and volume(f) < 1.3 * np.median([*map(volume, known)])
    ]
    lowest = min(filled or known, key=lambda f: (f.energy or 0.0) / len(f.numbers))
    return atoms_of(lowest)


def volume(frame: Frame) -> float:
    """Per atom, Å³."""
    return abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)


def stretched(atoms: Atoms, scale: float) -> Atoms:
    """All lengths times `scale`; those of molecules remain."""
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * scale)
    atoms.positions *= scale
    return atoms


def falls(energies: np.ndarray) -> float:
    """Largest fall below an earlier value of a curve that should rise."""
    return float(np.max(np.maximum.accumulate(energies) - energies, initial=0.0))


def equation_of_state(potential: Potential, frames: Sequence[Frame]) -> dict[str, float]:
    """The laws of the crystal compressed and expanded."""
    crystal = crystal_of(frames)
    curve = np.array([per_atom(potential, stretched(crystal, s)) for s in SCALES])
    ground = float(curve[np.abs(SCALES - 1.0) < 0.1].min())
    own = abs(crystal.cell.volume) / len(crystal) if crystal.pbc.all() else None
    if own is None:
        narrow, wide = 0.97, 1.03
    else:
        dense = [volume(f) for f in frames if f.pbc.all() and volume(f) < 1.5 * own]
        narrow, wide = (float((v / own) ** (1 / 3)) for v in (min(dense), max(dense)))
    inside, outside = curve[narrow >= SCALES], curve[wide <= SCALES]
    return {
        "dense": float(curve[0]) - ground,
        "wide": float(curve[np.argmin(np.abs(SCALES - 1.5))]) - ground,
        "cohesion": -ground,
        "dense_back": falls(inside[::-1]),
        "wide_back": falls(outside),
    }


def dimers(
    potential: Potential, frames: Sequence[Frame], shortest: Mapping[Any, float]
) -> dict[str, float]:
    """The worst of all pairs."""
    found = {"dimer_back": 0.0, "dimer_well": np.inf}
    symbols = potential.species
    for a, b in combinations_with_replacement(symbols, 2):
        nearest = shortest[a, b]
        curve = 2 * np.array(
            [per_atom(potential, Atoms([a, b], [[0, 0, 0], [r, 0, 0]])) for r in PAIRS]
        )
        inside, beyond = curve[nearest > PAIRS], curve[nearest <= PAIRS]
        found["dimer_back"] = max(found["dimer_back"], falls(inside[::-1]))
        found["dimer_well"] = min(found["dimer_well"], float(inside.min() - beyond.min()))
    return found


def nearest_distances(
    frames: Sequence[Frame], symbols: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Shortest distance of each pair; from covalent radii where there is none."""
    from ase.data import atomic_numbers
    from forcemap.fitter.process.survey import shortest_distances

    known = shortest_distances(frames, 6.0)
    found = {}
    for a, b in combinations_with_replacement(symbols, 2):
        za, zb = sorted((atomic_numbers[a], atomic_numbers[b]))
        found[a, b] = known.get((za, zb), 0.8 * float(covalent_radii[za] + covalent_radii[zb]))
    return found


def formula_of(crystal: Atoms) -> list[str]:
    """Symbols of the smallest cell of about the crystal's composition: defects do not count."""
    elements, counts = np.unique(crystal.get_chemical_symbols(), return_counts=True)
    shares = counts / counts.min()
    best = min(
        range(1, 5),
        key=lambda k: (float(np.abs(k * shares - np.rint(k * shares)).sum()) > 0.2 * k, k),
    )
    return [
        str(e)
        for e, share in zip(elements, shares, strict=True)
        for _ in range(round(best * share))
    ]


def random_structures(
    potential: Potential, frames: Sequence[Frame], shortest: Mapping[Any, float], count: int
) -> dict[str, Any]:
    """`count` random structures of the crystal's composition, relaxed; their cells are free."""
    crystal = crystal_of(frames)
    ground = min(per_atom(potential, stretched(crystal, s)) for s in SCALES if abs(s - 1.0) < 0.1)
    rng = np.random.default_rng(1)
    unit = formula_of(crystal)
    pool = unit * max(1, round(8 / len(unit)))
    n = len(pool)
    room = 1.2 * (crystal.cell.volume / len(crystal) if crystal.pbc.all() else 12.0)
    lowest, holes, unsettled = np.inf, 0, 0
    for _ in range(count):
        symbols = rng.permutation(pool)
        side = (room * n) ** (1 / 3)
        cell = side * (np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3)))
        atoms = Atoms(symbols, cell=cell, scaled_positions=rng.random((n, 3)), pbc=True)
        atoms.calc = ForcemapCalculator(potential)
        relaxation = FIRE(atoms, logfile=None, maxstep=0.1)
        settled = relaxation.run(fmax=0.1, steps=150)
        energy = per_atom(potential, atoms) - ground
        distances = atoms.get_all_distances(mic=True)
        names = atoms.get_chemical_symbols()
        near = any(
            distances[i, j]
            < 0.7 * shortest[tuple(sorted((names[i], names[j]), key=potential.species.index))]
            for i in range(n)
            for j in range(i)
        )
        lowest = min(lowest, energy)
        holes += bool(energy < -0.02 or near)
        unsettled += not settled
    return {"lowest": lowest, "holes": holes, "unsettled": unsettled}


def laws(potential: Potential, frames: Sequence[Frame], count: int) -> Laws:
    """All."""
    shortest = nearest_distances(frames, potential.species)
    return Laws(
        **equation_of_state(potential, frames),
        **dimers(potential, frames, shortest),
        **random_structures(potential, frames, shortest, count),
    )


def errors(potential: Potential, test: Sequence[Frame]) -> tuple[float, float]:
    """RMSE of energies (meV/atom) and of forces (eV/Å)."""
    evaluator = potential.evaluator(skin=0.0)
    energies, forces = [], []
    for frame in test:
        found = evaluated(evaluator, frame)
        if frame.energy is not None:
            energies.append((found.energy - frame.energy) / len(frame.numbers))
        if frame.forces is not None:
            forces.append((found.forces - frame.forces).ravel())
    rms = [float(np.sqrt(np.mean(np.square(x)))) for x in (energies, np.concatenate(forces))]
    return 1e3 * rms[0], rms[1]


HEAD = ["set", "priors", "E meV/at", "F eV/Å", "E(0.7)", "E(1.5)", "free", "back in", "back out"]
HEAD += ["dimer back", "well", "lowest", "holes", "not settled", "fit cpu s"]


def main() -> None:
    """Fit, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS), help="names of sets")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--points", type=int, default=150)
    parser.add_argument("--structures", type=int, default=100)
    parser.add_argument("--priors", nargs="*", default=list(PRIORS))
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        train, test = parts(options.data, name, options.frames)
        for prior in options.priors:
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                potential = fitted(train, PRIORS[prior], options.points)
            seconds = time.process_time() - start
            found = laws(potential, train, options.structures)
            energy, force = errors(potential, test)
            cells = [shown(value, 3) for value in found[:-3]]
            row = [name, prior, shown(energy, 2), shown(force, 3), *cells]
            row += [
                shown(found.lowest, 3),
                str(found.holes),
                str(found.unsettled),
                shown(seconds, 0),
            ]
            print("  ".join(f"{h} {c}" for h, c in zip(HEAD, row, strict=True)), flush=True)
            rows.append(row)
    print(text_table(HEAD, rows))


if __name__ == "__main__":
    main()
