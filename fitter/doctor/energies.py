"""What the energies are: of whole frames or per atom, with or without the isolated atoms, all alike?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.data import covalent_radii
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import Composition, least_absolute, scatter
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Correction, Finding, Place, Severity, places_of
from forcemap.fitter.doctor.surroundings import Surroundings
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["examine", "growth", "is_bonded", "isolated_atoms", "isolated_energies", "totals"]

Array = NDArray[np.float64]

BOND = 1.5
"""Nearest neighbours within this many sums of covalent radii are bonded."""

STRONGEST = 15.0
"""eV per atom; no solid or molecule is bound as strongly (tungsten: 9)."""

UNBOUND = 1.0
"""eV per atom that the better half of bonded frames may lie above isolated atoms."""

BOUND_LEVEL = 12.0
"""eV per atom; smaller energies are those of cohesion, or relative to reference atoms as VASP's are."""

MOST_UNSURE = 0.2
"""Error of the power by which energies grow with the number of atoms, which may be 0 or 1."""

SAME_ATOM = 0.05
"""eV; isolated atoms of one element differ by less."""


def isolated_atoms(case: Case) -> dict[int, list[Frame]]:
    """Frames of one atom without neighbours, by atomic number."""
    found: dict[int, list[Frame]] = {}
    for frame, around in case.with_surroundings:
        if len(frame.numbers) == 1 and np.isinf(around.nearest).all():
            found.setdefault(int(frame.numbers[0]), []).append(frame)
    return found


def isolated_energies(case: Case) -> dict[int, float]:
    """Median energy of an isolated atom (eV) by atomic number, where there is any."""
    energies = {
        z: [frame.energy for frame in frames if frame.energy is not None]
        for z, frames in isolated_atoms(case).items()
    }
    return {z: float(np.median(values)) for z, values in energies.items() if values}


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Conventions of the energies."""
    advance(len(case.frames))
    per_atom = _per_atom(case.frames)
    cohesion = [] if per_atom else _cohesion(case, isolated_atoms(case))
    return [*_isolated_differ(isolated_atoms(case)), *per_atom, *cohesion]


# ----- per atom -----


def _per_atom(frames: Sequence[Frame]) -> list[Finding]:
    data = Composition.of([frame for frame in frames if len(frame.numbers) > 1])
    if len(data.frames) < 3:
        return []
    return _all_per_atom(data) or _some_per_atom(data)


def totals(frames: Sequence[Frame]) -> list[Frame]:
    """The frames with energies of whole frames, where those of some look like energies per atom."""
    those = {place for finding in _per_atom(frames) for place in finding.frames}
    return [_whole(f) if Place(f.source, f.index) in those else f for f in frames]


def _all_per_atom(data: Composition) -> list[Finding]:
    """All energies are per atom: they do not grow with the number of atoms."""
    found = growth(data)
    if found is None:
        return []
    power, error = found
    if abs(power) > 3.0 * error + 0.1 or power + 5.0 * error > 1.0 or error > MOST_UNSURE:
        return []
    return [
        Finding(
            "energy-per-atom",
            Severity.WRONG,
            f"the energies look like energies per atom: from {data.sizes.min():g} to "
            f"{data.sizes.max():g} atoms they grow as the number of atoms to the power of "
            f"{power:.2f} ± {error:.2f}, which is 1 for energies of whole frames",
            "Give the energies of whole frames: multiply by the number of atoms",
            places_of(data.frames),
            {"power": power, "error": error},
            _multiply,
        )
    ]


def growth(data: Composition) -> tuple[float, float] | None:
    """The power of the number of atoms by which energies grow at a fixed composition, and its error.

    None if the sizes are all the same, or the energies have no common sign.
    """
    sign = np.sign(np.median(data.energies))
    chosen = data.energies * sign > 0.0
    if chosen.sum() < max(3.0, 0.95 * len(chosen)) or np.ptp(data.sizes[chosen]) == 0.0:
        return None
    logs = np.log(data.energies[chosen] * sign)
    # By composition: the sizes' own part of it, then least absolute residuals along that.
    sizes = np.log(data.sizes[chosen])
    design = np.column_stack([sizes, data.shares[chosen]])
    levels = least_absolute(design, logs)
    residuals = logs - design @ levels
    shares = data.shares[chosen]
    free = sizes - shares @ (np.linalg.pinv(shares) @ sizes)
    spread = float((free**2).sum())
    if spread < 1e-6:
        return None
    error = float(np.sqrt(np.mean(residuals**2) / spread))
    return float(levels[0]), error


def _some_per_atom(data: Composition) -> list[Finding]:
    """A few energies are per atom among others of whole frames."""
    totals = data.energies / data.sizes
    levels = data.shares @ data.levels(totals)
    usual = scatter(totals - levels)
    off = np.abs(totals - levels)
    as_given = np.abs(data.energies - levels)
    bad = (data.sizes > 1) & (off > max(10.0 * usual, 0.5)) & (as_given < 0.25 * off)
    bad &= as_given < max(10.0 * usual, 0.5)
    if not bad.any():
        return []
    those = [frame for frame, wrong in zip(data.frames, bad, strict=True) if wrong]
    first = int(np.flatnonzero(bad)[0])
    return [
        Finding(
            "energy-per-atom",
            Severity.WRONG,
            f"the energies of {len(those)} of {len(data.frames)} frames look like energies per "
            f"atom, such as {data.energies[first]:.6g} eV of frame {those[0].index} of "
            f"{those[0].source} with {data.sizes[first]:g} atoms, where others have about "
            f"{levels[first]:.4g} eV per atom",
            "Give the energies of whole frames: multiply by the number of atoms",
            places_of(those),
            {"frames": len(those), "level_ev_per_atom": float(levels[first])},
            _multiply,
        )
    ]


def _whole(frame: Frame) -> Frame:
    assert frame.energy is not None
    return replace(frame, energy=frame.energy * len(frame.numbers))


_multiply = Correction("energy multiplied by the number of atoms", _whole)


# ----- isolated atoms -----


def _isolated_differ(isolated: Mapping[int, Sequence[Frame]]) -> list[Finding]:
    findings = []
    for number, frames in isolated.items():
        energies = [frame.energy for frame in frames if frame.energy is not None]
        if len(energies) < 2 or np.ptp(energies) < SAME_ATOM:
            continue
        findings.append(
            Finding(
                "isolated-atoms-differ",
                Severity.WRONG,
                f"{len(energies)} isolated {SYMBOLS[number]} atoms have energies from "
                f"{min(energies):.4f} to {max(energies):.4f} eV",
                "Keep the one whose settings (spin, cutoff, functional) are those of the other frames",
                places_of(frames),
                {"element": SYMBOLS[number], "spread_ev": float(np.ptp(energies))},
            )
        )
    return findings


def is_bonded(frame: Frame, around: Surroundings) -> bool:
    """Whether half of the atoms have a neighbour at the distance of a bond."""
    radii = covalent_radii[frame.numbers]
    return bool(np.median(around.nearest / (2.0 * radii)) < BOND)


def _cohesion(case: Case, isolated: Mapping[int, Sequence[Frame]]) -> list[Finding]:
    """Energies of bonded frames relative to isolated atoms."""
    atoms = isolated_energies(case)
    bonded = [f for f, around in case.with_surroundings if is_bonded(f, around)]
    data = Composition.of([f for f in bonded if len(f.numbers) > 1])
    if len(data.frames) < 3:
        return []
    per_atom = data.energies / data.sizes
    if any(z not in atoms for z in data.species):
        return [_level_note(data, per_atom)]
    cohesive = per_atom - data.shares @ np.array([atoms[z] for z in data.species])
    median, best = float(np.median(cohesive)), float(np.quantile(cohesive, 0.25))
    said = ", ".join(f"{SYMBOLS[z]} {energy:.4f} eV" for z, energy in atoms.items())
    figures = {
        "cohesive_ev_per_atom": median,
        "isolated_ev": {SYMBOLS[z]: e for z, e in atoms.items()},
    }
    frames = places_of([frame for each in isolated.values() for frame in each])
    if best > UNBOUND:
        return [
            Finding(
                "isolated-atoms-inconsistent",
                Severity.WRONG,
                f"bonded frames lie {median:.3g} eV per atom (median) above the isolated atoms "
                f"({said}): the frames' energies seem to lack those of the isolated atoms, or the "
                "isolated atoms were computed otherwise",
                "Give total energies everywhere, with the isolated atoms from the same program, "
                "functional, pseudopotentials and cutoff",
                frames,
                figures,
            )
        ]
    if median < -STRONGEST:
        zero = " (zero: not computed?)" if not any(atoms.values()) else ""
        return [
            Finding(
                "isolated-atoms-inconsistent",
                Severity.WRONG,
                f"bonded frames lie {-median:.4g} eV per atom (median) below the isolated atoms "
                f"({said}){zero}, more than any bond gives: the frames' energies seem to include "
                "what the isolated atoms' leave out",
                "Give total energies everywhere, with the isolated atoms from the same program, "
                "functional, pseudopotentials and cutoff",
                frames,
                figures,
            )
        ]
    relative = all(abs(energy) < 1e-6 for energy in atoms.values())
    kind = "relative to isolated atoms" if relative else "totals that include the isolated atoms'"
    return [
        Finding(
            "energy-level",
            Severity.NOTE,
            f"the energies are {kind} ({said}); bonded frames are bound by {-median:.3g} eV per atom "
            "(median)",
            figures=figures,
        )
    ]


def _level_note(data: Composition, per_atom: Array) -> Finding:
    levels = data.levels(per_atom)
    said = ", ".join(
        f"{SYMBOLS[z]} {level:.4g} eV" for z, level in zip(data.species, levels, strict=True)
    )
    small = np.abs(levels).max() < BOUND_LEVEL
    kind = (
        "cohesive energies, or totals relative to reference atoms as VASP's are"
        if small
        else "total energies that include the isolated atoms'"
    )
    determined = np.linalg.matrix_rank(data.shares) == len(data.species)
    share = "" if determined else " (compositions do not determine the elements' shares)"
    return Finding(
        "energy-level",
        Severity.NOTE,
        f"by regression over the composition an atom has {said}{share}: these look like {kind}",
        figures={
            "levels_ev": {SYMBOLS[z]: float(e) for z, e in zip(data.species, levels, strict=True)}
        },
    )
