"""Structures by which a map is chosen and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array

__all__ = ["Probes", "disorder", "measured_frames", "random_cluster"]

PROBE_FRAMES = 6
"""Training frames (the most disordered) by which the resolution is chosen."""

RANDOM_CLUSTERS = 4

MEASURED_ATOMS = 1200
"""Atoms of the frames on which the error of a map is measured where the process is slow."""


def disorder(frame: Frame) -> float:
    """The largest component of the forces that a frame is labelled with, eV/Å; 0 without any."""
    forces = np.zeros((0, 3)) if frame.forces is None else frame.forces[frame.labelled]
    return float(np.abs(forces).max(initial=0.0))


@dataclass(frozen=True)
class Probes:
    """Where a map must be good.

    Attributes:
        frames: the most disordered of the data, small ones.
        clusters: random atoms.
    """

    frames: Sequence[Frame]
    clusters: Sequence[Frame]

    @classmethod
    def of(cls, model: Model, frames: Sequence[Frame]) -> Probes:
        """For a model, of the frames that it was fitted to."""
        small = sorted(frames, key=disorder, reverse=True)[: 3 * PROBE_FRAMES]
        chosen = sorted(small, key=lambda f: len(f.numbers))[:PROBE_FRAMES]
        rng = np.random.default_rng(0)
        return cls(chosen, [random_cluster(model, rng) for _ in range(RANDOM_CLUSTERS)])

    @property
    def all(self) -> list[Frame]:
        """Frames and clusters."""
        return [*self.frames, *self.clusters]


def random_cluster(model: Model, rng: np.random.Generator, atoms: int = 24) -> Frame:
    """A cluster of random atoms, none nearer to another than the data's shortest distances."""
    shortest = {pair: c.shortest for pair, c in model.repulsion.items()}
    numbers = rng.choice(model.species, atoms).astype(np.int32)

    def nearest_allowed(a: int, b: int) -> float:
        return 1.02 * shortest.get((min(a, b), max(a, b)), 1.0)

    edge = 1.9 * np.cbrt(atoms) * np.mean([nearest_allowed(a, a) for a in model.species])
    placed: list[Array] = []
    kept: list[int] = []
    for number in numbers:
        for _ in range(200):
            position = rng.uniform(0.0, edge, 3)
            if all(
                np.linalg.norm(position - p) > nearest_allowed(int(number), k)
                for p, k in zip(placed, kept, strict=True)
            ):
                placed.append(position)
                kept.append(int(number))
                break
    return Frame(
        numbers=np.array(kept, dtype=np.int32),
        positions=np.array(placed),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        energy=None,
        forces=None,
        stress=None,
        config_type="random cluster",
        sigma=FrameSigma(0.0, 0.0, 0.0),
        source="random",
        index=0,
    )


def measured_frames(model: Model, frames: Sequence[Frame]) -> list[Frame]:
    """Frames on which the map is compared with the process: all, or an even sample."""
    if not any(term.is_slow for term in model.terms):
        return list(frames)
    atoms = sum(len(f.numbers) for f in frames)
    step = max(1, int(np.ceil(atoms / MEASURED_ATOMS)))
    chosen = list(frames[::step])
    # Every species is needed somewhere.
    for z in model.species:
        if not any(z in f.numbers for f in chosen):
            chosen.append(next(f for f in frames if z in f.numbers))
    return chosen
