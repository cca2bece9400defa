"""Time that a search for holes takes, estimated before a fit."""

from __future__ import annotations

from collections.abc import Callable

from forcemap.fitter.holes.filling import STARTS, SURE
from forcemap.fitter.solve.work import Rates, Work

__all__ = ["searching_seconds"]

ATOMS, STEPS = 8, 150
"""Of a relaxation of a random structure, about: most come to rest before they have taken all steps."""

FALLING = 80
"""Steps where many structures fall into holes, which end them: frames of metals and their alloys."""

STEP_SECONDS = 5e-5
"""Of a step, besides the energies of its atoms."""

DESCRIPTORS = 20.0
"""A mapped energy takes so many times less than the part of an atom's rows that does not grow with the
number of sparse points: 18 to 22 times on published sets with `soap`."""

SHARE = 0.3
"""Structures of a search that are holes, where there are any."""

SEVERAL, MANY = 6, 15
"""Searches of fits with flexible terms to several elements (3 of alloys with many frames, 30 of some
with few) and of those without (8 to 30), about."""


def searching_seconds(
    row: Callable[[int], float],
    columns: int,
    map_work: Work,
    rates: Rates,
    is_flexible: bool,
    elements: int = 1,
    workers: int = 1,
) -> float:
    """Seconds of all searches, of which flexible terms take the fewest, since they have few holes.

    Of several elements no frames hold all combinations, and flexible terms have holes, too.

    Args:
        row: seconds that an atom's rows take with so many sparse points.
        columns: sparse points.
        map_work: of making a map, as every search does.
        rates: of the machine.
        is_flexible: whether a term can follow what is known far from the data.
        elements: number of elements in the data.
        workers: threads of all ranks, which share the relaxations.
    """
    step = STEP_SECONDS + ATOMS * row(0) / DESCRIPTORS
    falls = is_flexible and elements > 1
    relaxing = STARTS * (FALLING if falls else STEPS) * step / workers
    search = relaxing + rates.seconds(map_work)
    if is_flexible and not falls:
        return SURE * search
    holes = round(SHARE * STARTS)
    algebra = Work(products=2.0 * holes * columns**2)
    searches = SEVERAL if is_flexible else MANY
    return searches * (search + holes * ATOMS * row(columns) + rates.seconds(algebra))
