"""The order of the six independent components of a symmetric tensor: xx yy zz yz xz xy.

That of Voigt, as in ASE; the one place that knows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["matrix_of", "six_of"]

Array = NDArray[np.float64]

_ROWS, _COLUMNS = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
_PLACES = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]


def six_of(matrix: Any) -> Array:
    """(6,) components of a symmetric (3, 3) tensor."""
    return np.asarray(np.asarray(matrix)[_ROWS, _COLUMNS])


def matrix_of(six: Any) -> Array:
    """(3, 3) symmetric tensor with these (6,) components."""
    return np.asarray(np.asarray(six)[_PLACES])
