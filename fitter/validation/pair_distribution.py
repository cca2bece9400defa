"""Radial distributions, g(r), against those of reference frames."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Place, integer, mapping, number, optional, read_by, reader
from forcemap.fitter.data.combinations import formula_of
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.doctor.vacuum import vacuum_of
from forcemap.fitter.validation.check import (
    Case,
    Check,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.drawing import COLORS, REFERENCE_COLOR, drawn
from forcemap.fitter.validation.dynamics import (
    DynamicsSettings,
    broken,
    frames_of_dump,
    moved,
    timestep_of,
)
from forcemap.fitter.validation.structures import atoms_of_frame
from forcemap.fitter.validation.supercells import supercell
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from forcemap.fitter.checked import Checked
    from matplotlib.figure import Figure

__all__ = ["PairDistribution", "groups_of", "overlap", "radial_distribution"]

Array = NDArray[np.float64]

WIDTH = 0.1
"""Å, of a bin."""

LEAST = 3
"""Frames of a group."""

MOST = 3
"""Groups, from the coldest to the hottest."""

ALIKE = 0.85
"""Overlap of distributions below which they differ."""

TEMPERATURE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*K(?![A-Za-z0-9])")
QUANTUM = re.compile(r"bead|pimd|rpmd|quantum", re.I)


@reader({"type": "object", "additionalProperties": {"type": "number"}})
def _temperatures(value: Any, place: Place) -> dict[str, float]:
    given = mapping(value, place, "Liquid: 2000")
    read = number(above=0, at_most=1e5)
    return {str(group): read(item, place.key(group)) for group, item in given.items()}


@dataclass(frozen=True)
class PairDistributionSettings(DynamicsSettings):
    """Dynamics at the temperatures of groups of frames."""

    groups: Mapping[str, float] | None = field(
        default=None, metadata=read_by(optional(_temperatures))
    )
    """K: temperature of each group (config_type) to compare. By default up to three groups of at least
    three frames whose names hold a temperature, as Liquid-2000K; not beads of path integrals, which
    no classical dynamics follows."""

    settle: int = field(default=1000, metadata=read_by(integer(at_least=1, at_most=10**9)))
    steps: int = field(default=4000, metadata=read_by(integer(at_least=100, at_most=10**9)))
    reach: float = field(default=6.0, metadata=read_by(number(at_least=2, at_most=20)))
    """Å: largest distance."""

    samples: int = field(default=50, metadata=read_by(integer(at_least=2, at_most=10_000)))
    """number of structures of the dynamics that distances are taken from."""


class PairDistribution(Check):
    """g(r) of dynamics at the volume and temperature of a group of frames, and of the frames."""

    name: ClassVar[str] = "rdf"
    title: ClassVar[str] = "Radial distributions"
    settings: ClassVar[type[Checked]] = PairDistributionSettings
    by_lammps: ClassVar[bool] = True

    def subjects(self, case: Case) -> Sequence[Subject]:
        """Groups of frames."""
        settings: Any = case.settings.get(self.name, PairDistributionSettings())
        found = []
        for group, warm in groups_of(case.frames, settings.groups).items():
            frames = _frames(case.frames, group)
            content = {"group": group, "temperature": warm, "hash": data_hash(frames)}
            found.append(Subject(group, content, atoms_of_frame(frames[0])))
        return found

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """How alike they are, and where the first peak is."""
        return ["overlap with frames", "first peak", "first peak of the frames"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Steps."""
        return int(settings.settle + settings.steps)

    def run(self, task: Task) -> Outcome:
        """Dynamics from a frame of the group, repeated."""
        settings, warm = task.settings, task.subject.content["temperature"]
        frames = [atoms_of_frame(f) for f in _frames(task.case.frames, task.subject.name)]
        volume = float(np.mean([f.get_volume() / len(f) for f in frames]))
        atoms = frames[0].copy()
        atoms.set_cell(
            atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True
        )
        atoms = supercell(atoms, settings.length)
        every = max(1, settings.steps // settings.samples)
        moves = moved(
            task,
            atoms,
            [
                f"velocity all create {warm} {task.case.seed + 4711} mom yes rot no dist gaussian",
                f"fix move all nvt temp {warm} {warm} {100 * timestep_of(atoms, settings)}",
                f"run {settings.settle}",
                f"dump out all custom {every} moves.dump id xs ys zs",
                f"run {settings.steps}",
            ],
        )
        fault = broken(moves, warm)
        if fault is not None:
            return Outcome({}, [fault])
        text = (task.folder / "moves.dump").read_text(encoding="utf-8")
        snapshots = []
        for places in frames_of_dump(text, 3):
            snapshot = atoms.copy()
            snapshot.set_scaled_positions(places)
            snapshots.append(snapshot)
        if not snapshots:
            raise NotComputed("LAMMPS wrote no positions")
        r, own = radial_distribution(snapshots, settings.reach)
        _, reference = radial_distribution(frames, settings.reach)
        alike = overlap(r, own, reference)
        numbers = {
            "overlap with frames": Number(alike),
            "first peak": Number(_peak(r, own), "Å"),
            "first peak of the frames": Number(_peak(r, reference), "Å"),
        }
        verdict = Verdict(
            "radial-distribution",
            Grade.PASS if alike >= ALIKE else Grade.WARN,
            f"g(r) at {warm:g} K overlaps with that of {len(frames)} frames by {alike:.3f}",
            f"an overlap of at least {ALIKE}; frames of another ensemble overlap less",
        )
        data = {"r": r.tolist(), "own": own.tolist(), "reference": reference.tolist()}
        return Outcome(numbers, [verdict], data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """g(r) of dynamics and frames, for each group."""
        made = {}
        for one in shown:

            def draw(axes: Any, one: Shown = one) -> None:
                for (model, outcome), color in zip(one.outcomes.items(), COLORS, strict=False):
                    if "r" in outcome.data:
                        axes.plot(outcome.data["r"], outcome.data["own"], color=color, label=model)
                        axes.plot(
                            outcome.data["r"],
                            outcome.data["reference"],
                            color=REFERENCE_COLOR,
                            linewidth=0.9,
                            label="frames",
                        )
                axes.set(xlabel="distance (Å)", ylabel="g(r)")
                axes.legend()

            title = f"Radial distribution, {one.subject.name}"
            if any("r" in outcome.data for outcome in one.outcomes.values()):
                made[title] = drawn(draw, title)
        return made


def _frames(frames: Sequence[Frame], group: str) -> list[Frame]:
    """Frames of a group that are periodic, of the composition that most of them have."""
    of_group = [
        f for f in frames if f.config_type == group and f.pbc.all() and vacuum_of(f) is None
    ]
    formulas = [formula_of(f) for f in of_group]
    if not formulas:
        return []
    often = max(dict.fromkeys(formulas), key=formulas.count)
    return [f for f, formula in zip(of_group, formulas, strict=True) if formula == often]


def groups_of(frames: Sequence[Frame], given: Mapping[str, float] | None) -> dict[str, float]:
    """Temperatures of the groups to compare with."""
    if given is not None:
        return {group: warm for group, warm in given.items() if _frames(frames, group)}
    found = {}
    for group in dict.fromkeys(f.config_type for f in frames):
        match = TEMPERATURE.search(group)
        if match and not QUANTUM.search(group) and len(_frames(frames, group)) >= LEAST:
            found[group] = float(match[1])
    ordered = sorted(found, key=found.__getitem__)
    if len(ordered) > MOST:
        places = np.linspace(0, len(ordered) - 1, MOST).round().astype(int)
        ordered = [ordered[place] for place in places]
    return {group: found[group] for group in ordered}


def radial_distribution(frames: Sequence[Atoms], reach: float) -> tuple[Array, Array]:
    """Distances (Å) and the mean g(r) of periodic structures, all elements together."""
    from ase.neighborlist import neighbor_list

    edges = np.arange(0.0, reach + 1e-9, WIDTH)
    total = np.zeros(len(edges) - 1)
    for atoms in frames:
        counts, _ = np.histogram(neighbor_list("d", atoms, reach), edges)
        total += counts / (len(atoms) ** 2 / atoms.get_volume())
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return 0.5 * (edges[1:] + edges[:-1]), total / (len(frames) * shells)


def overlap(r: Array, one: Array, other: Array) -> float:
    """1 for the same g(r), 0 for such as share no distance; weighted by the number of pairs."""
    return float(1.0 - (np.abs(one - other) * r**2).sum() / ((one + other) * r**2).sum())


def _peak(r: Array, values: Array) -> float:
    """Of the first peak, by a parabola through its highest bin."""
    high = int(np.argmax(values))
    if not 0 < high < len(r) - 1:
        return float(r[high])
    below, top, above = values[high - 1 : high + 2]
    curvature = below - 2.0 * top + above
    shift = 0.5 * (below - above) / curvature if curvature else 0.0
    return float(r[high] + shift * WIDTH)
