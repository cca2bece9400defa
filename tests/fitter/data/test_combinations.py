"""What a fit says of combinations of elements that no frame has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structures
from ase import Atoms
from forcemap.fitter.data.combinations import combination_lines
from forcemap.fitter.data.frame import Frame


def frames(*groups: str) -> list[Frame]:
    return [structures.as_frame(Atoms(group, np.eye(3)[: len(Atoms(group))])) for group in groups]


def lines(*groups: str) -> Sequence[str]:
    return combination_lines(frames(*groups))


def test_nothing_is_said_where_a_frame_has_all() -> None:
    assert lines("Al", "Ni") != []
    assert lines("Al", "AlNi", "Ni") == []
    assert lines("Si") == lines() == []


def test_pairs_that_never_meet_are_named() -> None:
    (line,) = lines("Al", "Ni")
    assert "both elements of Al-Ni:" in line
    pairs, mixtures = lines("AlNi", "AlCu")
    assert "both elements of Ni-Cu:" in pairs
    assert "more than 2 of the 3 elements (Al, Ni, Cu)" in mixtures


def test_mixtures_of_more_elements_than_any_frame_has() -> None:
    (line,) = lines("AlNi", "AlCu", "NiCu")
    assert "more than 2 of the 3 elements (Al, Ni, Cu)" in line
