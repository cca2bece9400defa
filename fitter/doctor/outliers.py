"""Frames and atoms at odds with all others, by a quick fit of the process.

Each frame is judged by a fit without it. Misfits are compared with those of its group (file and
config_type), so that a liquid is not measured by a crystal. Where a change of sign, unit, scale or
order explains a frame's labels, it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.units import GPA
from forcemap.fitter.doctor.comparison import Comparison, Group
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.finding import Correction, Finding, Severity, places_of
from forcemap.fitter.doctor.frame_faults import (
    Fault,
    energy_fault,
    exchanged_atoms,
    force_fault,
    misfit,
    shear_fault,
    stress_fault,
)
from forcemap.fitter.doctor.quick_fit import group_of
from forcemap.fitter.doctor.residuals import Residual, Residuals, residuals_of
from forcemap.fitter.doctor.virtual_work import judged
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray

__all__ = ["examine", "outlier_findings"]

Array = NDArray[np.float64]

K_SIGMA = 15.0
"""Robust standard deviations beyond which an energy is at odds; tails of sound data reach 10."""

SURE, FAR = 4.0, 3.0
"""Deviations of the fit's own that an energy must be off, unless it is off so many times K_SIGMA."""

UNKNOWN = 20.0
"""Times the usual error of energies of a deviation that shows that the fit extrapolates."""

TIMES_USUAL = 6.0
"""Misfits of forces and stresses, in units of the group's median, of frames that are at odds."""

LEAST_MISFIT = 0.5
"""Relative misfit of such frames at least."""

SUSPECT_TIMES, SUSPECT_MISFIT = 4.0, 0.25
"""The same for frames whose misfit an explanation may cure."""

LEAST_SPREAD = 1e-4
"""eV per atom; smaller spreads of energies are that of few frames."""

LEAST_MEDIAN = 0.02
"""Relative misfit that is usual anywhere."""

LEAST_GROUP = 4
"""Frames of a group that has a median of its own; others share that of all."""

ATOM_TIMES, LEAST_ATOM = 25.0, 1.0
"""Times the usual residual of its group, and eV/Å, of an atom's force that is at odds."""


def examine(
    frames: Sequence[Frame], run: Run | None = None, advance: Callable[..., Any] = lambda *n: None
) -> list[Finding]:
    """Frames and atoms at odds with the others, after faults of whole groups are mended."""
    found = judged(Comparison(frames, run or Run(), advance))
    return outlier_findings(found.mended, residuals_of(found.mended, found.unsure))


def outlier_findings(comparison: Comparison, residuals: Residuals | None) -> list[Finding]:
    """The findings, from the residuals of all frames."""
    if residuals is None or not residuals.all:
        return []
    usual = _Usual.of(residuals.all)
    faults: dict[int, list[Fault]] = {}
    odd: dict[str, list[tuple[Residual, float]]] = {"energy": [], "forces": [], "stress": []}
    atoms: list[tuple[Residual, int, float]] = []
    for residual in residuals.all:
        explained, at_odds = _judge(residuals, residual, usual)
        if explained:
            faults[residual.place] = explained
        if not explained:
            few = _odd_atoms(residual, usual)
            if len(few) <= max(1, len(residual.frame.numbers) // 10):
                atoms += few
                at_odds = {k: v for k, v in at_odds.items() if k != "forces" or not few}
        for label, figure in at_odds.items():
            odd[label].append((residual, figure))
    return [
        *_fault_findings(comparison, faults),
        *(_odd_finding(label, those) for label, those in odd.items() if those),
        *_atom_findings(atoms),
    ]


@dataclass(frozen=True)
class _Usual:
    """What is usual in each group.

    Attributes:
        floors: sizes below which forces (eV/Å) and stresses (eV/Å³) are noise.
        forces, stresses, shears: median relative misfits by group, the last of off-diagonal stresses.
        energies: median and robust deviation of the energies' residuals by group, eV per atom.
        atoms: median length of the forces' residuals by group, eV/Å.
    """

    floors: tuple[float, float]
    forces: Mapping[Group, float]
    stresses: Mapping[Group, float]
    shears: Mapping[Group, float]
    energies: Mapping[Group, tuple[float, float]]
    atoms: Mapping[Group, float]

    @classmethod
    def of(cls, residuals: Sequence[Residual]) -> _Usual:
        groups: dict[Group, list[Residual]] = {}
        for residual in residuals:
            groups.setdefault(group_of(residual.frame), []).append(residual)
        floors = _force_floor(residuals), _stress_floor(residuals)
        force = {r.place: _force_misfit(r, floors[0]) for r in residuals}
        stress = {r.place: _stress_misfit(r, floors[1]) for r in residuals}
        shear = {
            r.place: _shear_misfit(r, floors[1]) for r in residuals if r.frame.stress is not None
        }
        energy = {r.place: r.of_energy for r in residuals if r.energy is not None}
        length = {
            r.place: float(np.median(np.linalg.norm(r.of_forces[r.frame.labelled], axis=1)))
            for r in residuals
            if r.frame.labelled.any()
        }
        medians = [
            _by_group(groups, {p: v for p, v in values.items() if v is not None})
            for values in (force, stress, shear, length)
        ]
        forces, stresses, shears, lengths = medians
        energies = _energy_spreads(groups, energy)
        return cls(floors, forces, stresses, shears, energies, lengths)


def _by_group(
    groups: Mapping[Group, Sequence[Residual]], values: Mapping[int, float]
) -> dict[Group, float]:
    """Medians; not far below that of all frames, since a group may hold copies of one frame."""
    whole = float(np.median(list(values.values()))) if values else 0.0
    found = {}
    for group, members in groups.items():
        own = [values[r.place] for r in members if r.place in values]
        least = min(0.5 * whole, LEAST_MEDIAN)
        found[group] = max(float(np.median(own)), least) if len(own) >= LEAST_GROUP else whole
    return found


def _energy_spreads(
    groups: Mapping[Group, Sequence[Residual]], values: Mapping[int, float]
) -> dict[Group, tuple[float, float]]:
    everything = np.array(list(values.values()))
    middle = float(np.median(everything)) if len(everything) else 0.0
    whole = 1.4826 * float(np.median(np.abs(everything - middle))) if len(everything) else 0.0
    whole = max(whole, LEAST_SPREAD)
    own = {
        group: np.array([values[r.place] for r in members if r.place in values])
        for group, members in groups.items()
    }
    spread = {
        group: 1.4826 * float(np.median(np.abs(those - np.median(those))))
        for group, those in own.items()
        if len(those) > 1
    }
    many = [spread[group] for group, those in own.items() if len(those) >= LEAST_GROUP]
    least = max(float(np.median(many)), LEAST_SPREAD) if many else whole
    found = {}
    for group, those in own.items():
        if len(those) >= LEAST_GROUP:
            found[group] = float(np.median(those)), max(spread[group], least)
        elif len(those) > 1:
            found[group] = float(np.median(those)), max(spread[group], whole)
        else:
            found[group] = middle, whole
    return found


def _force_floor(residuals: Sequence[Residual]) -> float:
    """A fifth of the lower quartile of the frames' root mean square forces, exact zeros left out."""
    sizes = [
        float(np.sqrt(np.mean(r.frame.forces[r.frame.labelled] ** 2)))
        for r in residuals
        if r.frame.forces is not None and r.frame.labelled.any()
    ]
    largest = max(sizes, default=0.0)
    sizes = [size for size in sizes if size > 1e-3 * largest]
    return 0.2 * float(np.quantile(sizes, 0.25)) if sizes else 1e-3


def _stress_floor(residuals: Sequence[Residual]) -> float:
    """The usual difference of stresses to the fit's."""
    off = [
        float(np.abs(_stress_pair(r)[0] - _stress_pair(r)[1]).max())
        for r in residuals
        if r.frame.stress is not None
    ]
    return max(float(np.median(off)), 0.05 / GPA) if off else 0.05 / GPA


def _stress_pair(residual: Residual) -> tuple[Array, Array]:
    volume = abs(float(np.linalg.det(residual.frame.cell)))
    return six_of(residual.frame.stress), residual.strain / volume


def _force_misfit(residual: Residual, floor: float) -> float | None:
    frame = residual.frame
    which = frame.labelled
    if frame.forces is None or not which.any():
        return None
    return misfit(frame.forces[which], residual.forces[which], floor)


def _stress_misfit(residual: Residual, floor: float) -> float | None:
    if residual.frame.stress is None:
        return None
    return misfit(*_stress_pair(residual), 2.0 * floor)


def _judge(
    residuals: Residuals, residual: Residual, usual: _Usual
) -> tuple[list[Fault], dict[str, float]]:
    """Explained faults of a frame, and its labels that are at odds without an explanation."""
    group = group_of(residual.frame)
    faults: list[Fault] = []
    odd: dict[str, float] = {}
    is_extreme = False
    if residual.energy is not None:
        middle, spread = usual.energies[group]
        off = abs(residual.of_energy - middle)
        if spread and off > K_SIGMA * spread:
            fault = energy_fault(residual, middle, spread)
            if fault is not None:
                faults.append(fault)
            else:
                is_extreme = True
                sure = SURE * residuals.energy_deviation(residual)
                if off > min(max(sure, K_SIGMA * spread), FAR * K_SIGMA * spread):
                    odd["energy"] = residual.of_energy - middle
    for label, value, median in (
        ("forces", _force_misfit(residual, usual.floors[0]), usual.forces[group]),
        ("stress", _stress_misfit(residual, usual.floors[1]), usual.stresses[group]),
    ):
        if value is None or value < max(SUSPECT_TIMES * median, SUSPECT_MISFIT):
            continue
        fault = None
        # An energy at odds speaks for a structure unlike all others: a fit says nothing of the rest.
        if (
            not is_extreme
            and residuals.is_sure(residual, label)
            and _is_known(residuals, residual, usual)
        ):
            if label == "forces":
                fault = force_fault(residual, usual.floors[0], median)
            else:
                fault = stress_fault(residual, 2.0 * usual.floors[1], median)
        if fault is not None:
            faults.append(fault)
        elif value > max(TIMES_USUAL * median, LEAST_MISFIT):
            odd[label] = value
    if not is_extreme:
        faults += _hidden_faults(residuals, residual, usual, {fault.name for fault in faults})
    return faults, odd


def _is_known(residuals: Residuals, residual: Residual, usual: _Usual) -> bool:
    """Whether the fit's own deviation of the energy is not far beyond the usual errors."""
    _, spread = usual.energies[group_of(residual.frame)]
    known = residual.energy is None or not spread
    return known or residuals.energy_deviation(residual) < UNKNOWN * spread


def _hidden_faults(
    residuals: Residuals, residual: Residual, usual: _Usual, known: set[str]
) -> list[Fault]:
    """Faults of few numbers of a frame, which its whole misfit does not show."""
    group = group_of(residual.frame)
    found: list[Fault] = []
    if not any(name.startswith("frame-forces") for name in known):
        fault = exchanged_atoms(residual, usual.atoms[group])
        if fault is not None and residuals.is_sure(residual, "forces"):
            found.append(fault)
    if residual.frame.stress is not None and not any(n.startswith("frame-stress") for n in known):
        value, median = _shear_misfit(residual, usual.floors[1]), usual.shears[group]
        if value > max(TIMES_USUAL * median, SUSPECT_MISFIT):
            fault = shear_fault(residual, 2.0 * usual.floors[1], median)
            if fault is not None and residuals.is_sure(residual, "stress"):
                found.append(fault)
    return found


def _shear_misfit(residual: Residual, floor: float) -> float:
    labels, said = _stress_pair(residual)
    return misfit(labels[3:], said[3:], 2.0 * floor)


def _odd_atoms(residual: Residual, usual: _Usual) -> list[tuple[Residual, int, float]]:
    median = usual.atoms[group_of(residual.frame)]
    if not median or residual.frame.forces is None:
        return []
    lengths = np.linalg.norm(residual.of_forces, axis=1)
    sizes = np.linalg.norm(residual.frame.forces, axis=1) + np.linalg.norm(residual.forces, axis=1)
    limit = max(ATOM_TIMES * median, LEAST_ATOM * residual.unit)
    found = np.flatnonzero((lengths > limit) & (lengths > 0.5 * sizes))
    return [(residual, int(n), float(lengths[n])) for n in found]


# ---- findings


ADVICE = {
    "frame-forces-scale": "Correct the forces of these frames, or leave the frames out",
    "frame-stress-scale": "Correct the stress of these frames, or leave the stress out",
}


def _fault_findings(comparison: Comparison, faults: Mapping[int, Sequence[Fault]]) -> list[Finding]:
    """Frames of one fault together; scales without a known unit each by itself."""
    together: dict[tuple[str, str], list[tuple[int, Fault]]] = {}
    for place, found in faults.items():
        for fault in found:
            together.setdefault((fault.name, fault.text), []).append((place, fault))
    findings = []
    for (name, text), those in together.items():
        frames = [comparison.frames[place] for place, _ in those]
        factors = [fault.factor for _, fault in those]
        figures: dict[str, Any] = {"factors": factors}
        one = len(those) == 1
        where = counted(len(those), "frame")
        if one:
            where = f"frame {frames[0].index} of {frames[0].source}"
        by = ""
        if any(factor != 1.0 for factor in factors):
            label = name.split("-")[1]
            by = f" ({label} {np.median(factors):.4g} times the prediction)"
        corrections = [fault.correction for _, fault in those]
        findings.append(
            Finding(
                name,
                Severity.WRONG,
                f"{where}: {text}, by a quick fit to the other frames{by}",
                _advice(name, corrections),
                places_of(frames),
                figures,
                _together(corrections),
            )
        )
    return findings


def _advice(name: str, corrections: Sequence[Correction | None]) -> str:
    first = corrections[0]
    if first is None:
        return ADVICE.get(name, "Correct these labels, or leave the frames out")
    return f"Correct the labels (--fix: {first.text}), or leave the frames out"


def _together(corrections: Sequence[Correction | None]) -> Correction | None:
    """The correction of all frames, which have the same text of fault."""
    return corrections[0] if all(c is not None for c in corrections) else None


def _odd_finding(label: str, those: Sequence[tuple[Residual, float]]) -> Finding:
    frames = [residual.frame for residual, _ in those]
    worst, figure = max(those, key=lambda pair: abs(pair[1]))
    where = f"frame {worst.frame.index} of {worst.frame.source}"
    if label == "energy":
        said = f"the energy of {where} is {figure:+.3g} eV/atom off"
    else:
        what = "differ" if label == "forces" else "differs"
        size = "their" if label == "forces" else "its"
        said = f"the {label} of {where} {what} by {100.0 * figure:.0f} % of {size} size"
    count = counted(len(those), "frame")
    return Finding(
        f"outlier-{label}",
        Severity.DOUBT,
        f"{count} at odds with a quick fit to the others, far beyond what is usual in the group: "
        f"{said}",
        "Look at these frames: not converged, another level of theory, or far from all others; leave "
        "them out or give them larger sigmas",
        places_of(frames),
        {"residuals": [value for _, value in those]},
    )


def _atom_findings(atoms: Sequence[tuple[Residual, int, float]]) -> list[Finding]:
    if not atoms:
        return []
    frames = {residual.place: residual.frame for residual, _, _ in atoms}
    worst, n, length = max(atoms, key=lambda each: each[2])
    return [
        Finding(
            "outlier-atoms",
            Severity.DOUBT,
            f"the forces of {counted(len(atoms), 'atom')} in {counted(len(frames), 'frame')} differ "
            "from a quick fit to the others far beyond what is usual, such as atom "
            f"{n} of frame {worst.frame.index} of {worst.frame.source}, by {length:.3g} eV/Å",
            "Look at these atoms: wrong labels, or surroundings that no other frame has",
            places_of(list(frames.values())),
            {
                "atoms": [
                    {"file": r.frame.source, "frame": r.frame.index, "atom": a, "residual": x}
                    for r, a, x in atoms
                ]
            },
        )
    ]
