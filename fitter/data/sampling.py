"""Chooses some of many frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame

__all__ = ["sample_of"]


def sample_of(frames: Sequence[Frame], enough: int, least: int = 1) -> list[Frame]:
    """Some frames: one of each set of species, others evenly, until they have `enough` atoms.

    At least `least` frames, if there are as many.
    """
    first: dict[frozenset[int], int] = {}
    for number, frame in enumerate(frames):
        first.setdefault(frozenset(frame.numbers.tolist()), number)
    chosen = dict.fromkeys(first.values())
    atoms = sum(len(frames[n].numbers) for n in chosen)
    # A stride without a common divisor goes through all frames, far apart at first.
    stride = max(1, int(0.618 * len(frames)))
    while np.gcd(stride, len(frames)) > 1:
        stride += 1
    for n in range(len(frames)):
        number = n * stride % len(frames)
        if atoms >= enough and len(chosen) >= least:
            break
        if number not in chosen:
            chosen[number] = None
            atoms += len(frames[number].numbers)
    return [frames[n] for n in sorted(chosen)]
