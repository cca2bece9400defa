"""A map of the frames: places where like structures are close to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forcemap.fitter.doctor.surroundings import Surroundings, stacked
from numpy.typing import NDArray

__all__ = ["places_on_map"]

Array = NDArray[np.float64]


def places_on_map(surroundings: Sequence[Surroundings]) -> Array:
    """(frames, 2) the principal components of the frames' fingerprints, in units of their spread."""
    values = stacked(surroundings)
    values = values - values.mean(axis=0)
    spread = values.std(axis=0)
    values = values / np.where(spread > 1e-9, spread, np.inf)
    u, s, _ = np.linalg.svd(values, full_matrices=False)
    places = np.zeros((len(values), 2))
    count = min(2, u.shape[1])
    places[:, :count] = u[:, :count] * s[:count] / np.sqrt(max(values.shape[1], 1))
    return places
