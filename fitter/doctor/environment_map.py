"""A map of frames and atoms: the two principal components of their SOAP vectors.

The vector of a frame holds the means of its atoms' normalised power spectra, element by element, each
times the element's share. Nearby points are similar structures. The map is the same at every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.doctor.quick_fit import spread_sample
from forcemap.fitter.doctor.quick_terms import describing_term
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.base import Term
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["EnvironmentMap", "map_of"]

Array = NDArray[np.float64]

MOST_FRAMES, MOST_ATOMS = 3000, 50_000
"""Frames and atoms that are shown, spread over all groups; more dots hide each other."""


@dataclass(frozen=True)
class EnvironmentMap:
    """Points of frames and of atoms on a plane.

    Attributes:
        places: numbers of the frames that are shown.
        frames: (places, 2) their points.
        atoms: points of the atoms of each shown frame, (atoms, 2) each; empty if not asked for.
        explained: fractions of the frames' variance along both axes.
    """

    places: Sequence[int]
    frames: Array
    atoms: Sequence[Array]
    explained: tuple[float, float]


def map_of(
    frames: Sequence[Frame],
    run: Run | None = None,
    atoms: bool = False,
    advance: Callable[..., Any] = lambda *n: None,
) -> EnvironmentMap | None:
    """The map of the frames, and of their `atoms` if asked for; None for fewer than 3 frames.

    `advance` is called once for each frame that is shown.
    """
    run = run or Run()
    places = spread_sample(frames, MOST_ATOMS, MOST_FRAMES)
    if len(places) < 3:
        return None
    shown = [frames[place] for place in places]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            term = describing_term(shown)
        except ForcemapError:
            return None
    spectra = []
    for each in run.in_order(lambda frame: _spectra(term, frame), shown):
        spectra.append(each)
        advance()
    species = sorted({int(z) for frame in shown for z in frame.numbers})
    means = np.array(
        [_mean(frame, each, species) for frame, each in zip(shown, spectra, strict=True)]
    )
    centre, axes, explained = _principal(means)
    points = (means - centre) @ axes
    own: list[Array] = []
    if atoms:
        pooled = np.concatenate(spectra)
        middle, directions, _ = _principal(pooled)
        own = [(each - middle) @ directions for each in spectra]
    return EnvironmentMap(places, points, own, explained)


def _spectra(term: Term, frame: Frame) -> Array:
    """Normalised power spectra of all atoms, (n, dimension)."""
    structure = Structure(frame, term.cutoff, derivatives=False)
    by_center = term.candidates(structure)
    dimension = max(values.shape[1] for values in by_center.values())
    found = np.zeros((len(frame.numbers), dimension))
    for (center,), values in by_center.items():
        found[frame.numbers == center] = values
    return found


def _mean(frame: Frame, spectra: Array, species: Sequence[int]) -> Array:
    """Sum of the spectra of each element over the number of all atoms, one after another."""
    parts = [spectra[frame.numbers == z].sum(axis=0) for z in species]
    return np.concatenate(parts) / len(frame.numbers)


def _principal(vectors: Array) -> tuple[Array, Array, tuple[float, float]]:
    """Mean, the two directions of largest variance (dimension, 2), and their share of it."""
    centre = vectors.mean(axis=0)
    off = vectors - centre
    _, values, directions = np.linalg.svd(off.T @ off, hermitian=True)
    axes = directions[:2].T
    # The sign of a direction is arbitrary; this choice is the same on every machine.
    signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])])
    total = max(float(values.sum()), 1e-300)
    return centre, axes * signs, (float(values[0]) / total, float(values[1]) / total)
