"""What the data lack: isolated atoms, short distances, strain, stress, pairs of elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase.data import covalent_radii
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.energies import isolated_energies
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Place, Severity
from forcemap.fitter.doctor.surroundings import REACH, WIDTH, Pair
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["counts_of_distances", "examine"]

SHORT = 0.75
"""Shortest distances over the sum of covalent radii, below which the repulsion is sampled."""

STRAINED = 0.01
"""Relative spread of the volume per atom that teaches a pressure."""

FEW = 20
"""Distances of a pair of elements that are few."""

MANY_GROUPS = 12


def examine(case: Case, advance: Advance) -> list[Finding]:
    """What the frames to fit lack; what there is of each group and pair."""
    advance(len(case.frames))
    train = case.train_frames
    return [
        *_no_isolated(case),
        *_no_strain(_bulk(case)),
        *_no_stress(_bulk(case)),
        *_pairs(case),
        *_groups(train),
    ]


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(SYMBOLS[z] for z in numbers)


def _species(frames: Sequence[Frame]) -> list[int]:
    return sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})


def _no_isolated(case: Case) -> list[Finding]:
    given = case.settings.e0 if case.settings is not None else None
    if isinstance(given, dict):
        return []
    known = isolated_energies(case)
    lacking = [z for z in _species(case.train_frames) if z not in known]
    if not lacking:
        return []
    return [
        Finding(
            "no-isolated-atom",
            Severity.DOUBT,
            f"no frame with an isolated atom of {_symbols(lacking)}: the energy of cohesion is "
            "unknown, so that expanded cells and lone atoms can come out below the crystal",
            "Add a frame of one atom in a large box for each element (spin-polarised, same "
            "settings), and set e0: isolated; or give e0: {element: energy}",
            figures={"elements": [SYMBOLS[z] for z in lacking]},
        )
    ]


def _bulk(case: Case) -> list[Frame]:
    """Frames to fit of several atoms that fill space."""
    return [
        frame
        for frame in case.train_frames
        if frame.pbc.all()
        and len(frame.numbers) > 1
        and Place(frame.source, frame.index) not in case.vacua
    ]


def _no_strain(bulk: Sequence[Frame]) -> list[Finding]:
    """Frames of one volume per atom."""
    volumes: dict[tuple[tuple[int, int], ...], list[float]] = {}
    for frame in bulk:
        counts = Counter(frame.numbers.tolist())
        divisor = int(np.gcd.reduce(list(counts.values())))
        formula = tuple(sorted((z, count // divisor) for z, count in counts.items()))
        volume = abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)
        volumes.setdefault(formula, []).append(volume)
    several = {formula: v for formula, v in volumes.items() if len(v) > 1}
    stiff = [v for v in several.values() if np.ptp(v) < STRAINED * np.mean(v)]
    if not several or len(stiff) < len(several):
        return []
    return [
        Finding(
            "no-strain",
            Severity.DOUBT,
            f"all {sum(map(len, several.values()))} bulk frames of a composition have the same "
            f"volume per atom within {100 * max(float(np.ptp(v) / np.mean(v)) for v in stiff):.1g} %: "
            "pressure, bulk modulus and thermal expansion are extrapolated",
            "Add cells compressed and expanded by a few per cent, and sheared ones",
            figures={"frames": sum(map(len, several.values()))},
        )
    ]


def _no_stress(bulk: Sequence[Frame]) -> list[Finding]:
    if not bulk or any(frame.stress is not None for frame in bulk):
        return []
    return [
        Finding(
            "no-stress",
            Severity.NOTE,
            f"none of the {len(bulk)} bulk frames has a stress: pressure and elasticity come from "
            "energies and forces only",
            "Write stresses (eV/Å³, ASE's sign) or virials (eV) into the frames if the program "
            "gives them",
            figures={"frames": len(bulk)},
        )
    ]


# ----- pairs of elements -----


def counts_of_distances(case: Case) -> dict[Pair, NDArray[np.int64]]:
    """By pair of elements, how many distances of the frames to fit fall into each bin."""
    total: dict[Pair, NDArray[np.int64]] = {}
    for around in case.surroundings[: len(case.train_frames)]:
        for pair, counts in around.counts.items():
            total[pair] = total[pair] + counts if pair in total else counts
    return total


def _pairs(case: Case) -> list[Finding]:
    species = _species(case.train_frames)
    counts = counts_of_distances(case)
    shortest: dict[Pair, float] = {}
    for around in case.surroundings[: len(case.train_frames)]:
        for pair, distance in around.closest.items():
            shortest[pair] = min(distance, shortest.get(pair, np.inf))
    rare, long, gaps = [], [], []
    for pair in combinations_with_replacement(species, 2):
        name = f"{SYMBOLS[pair[0]]}–{SYMBOLS[pair[1]]}"
        found = counts.get(pair)
        if found is None or found.sum() < 2 * FEW:
            rare.append(f"{name} ({0 if found is None else int(found.sum()) // 2})")
            continue
        distance = shortest[pair]
        if distance > SHORT * (covalent_radii[pair[0]] + covalent_radii[pair[1]]):
            long.append(f"{name} {distance:.2f} Å")
        gap = _widest_gap(found[: round(case.cutoff / WIDTH)])
        if gap is not None:
            gaps.append(f"{name} {gap[0]:.2f} to {gap[1]:.2f} Å")
    return _pair_findings(rare, long, gaps)


def _widest_gap(counts: NDArray[np.int64], least: float = 0.5) -> tuple[float, float] | None:
    """The widest range (Å) between other distances that never occurs, if it is at least this wide."""
    filled = np.flatnonzero(counts)
    if len(filled) < 2:
        return None
    steps = np.diff(filled)
    widest = int(np.argmax(steps))
    if (steps[widest] - 1) * WIDTH < least:
        return None
    return float((filled[widest] + 1) * WIDTH), float(filled[widest + 1] * WIDTH)


def _pair_findings(rare: list[str], long: list[str], gaps: list[str]) -> list[Finding]:
    findings = []
    if rare:
        findings.append(
            Finding(
                "pairs-rare",
                Severity.DOUBT,
                f"pairs of elements that (almost) never come within {REACH:g} Å, with their number: "
                f"{', '.join(rare)}",
                "Add frames in which these elements meet, or leave one of them out",
                figures={"pairs": rare},
            )
        )
    if long:
        findings.append(
            Finding(
                "no-short-distances",
                Severity.NOTE,
                f"shortest distances: {', '.join(long)}; closer ones, as in collisions, at high "
                "pressure and with quantum nuclei, are extrapolated",
                "Add dimers at short distances or compressed cells, or keep the core repulsion of the "
                "settings (core: zbl)",
                figures={"shortest": long},
            )
        )
    if gaps:
        findings.append(
            Finding(
                "distances-gap",
                Severity.NOTE,
                f"distances that never occur: {', '.join(gaps)}; a pair potential is interpolated "
                "there",
                "Add strained or hot frames",
                figures={"gaps": gaps},
            )
        )
    return findings


def _groups(frames: Sequence[Frame]) -> list[Finding]:
    counts = Counter(frame.config_type for frame in frames)
    if len(counts) < 2:
        return []
    said = ", ".join(f"{name} {count}" for name, count in counts.most_common(MANY_GROUPS))
    more = f" and {len(counts) - MANY_GROUPS} others" if len(counts) > MANY_GROUPS else ""
    return [
        Finding(
            "groups",
            Severity.NOTE,
            f"frames by config_type: {said}{more}",
            figures={"frames": dict(counts)},
        )
    ]
