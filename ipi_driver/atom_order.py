"""Compares the order of the atoms in the first structure that i-PI sends with the template's.

i-PI sends positions without elements. A template in another order would give them the wrong elements,
and nothing in the numbers would show it. The template and i-PI's first structure are therefore
compared:

- Every atom is near its own place: no message.
- The atoms stand on the template's places, but on those of other elements: an error. Where they
  stand exactly there (`EXACT`), it is the template's structure in another order, and one atom is
  enough. A run that goes on from a checkpoint is displaced by temperature and, in a path, by the
  bead; atoms may have exchanged places by diffusion, too. In such a run, the part `EXCHANGED` of
  the atoms must stand on places of other elements.
- The atoms are elsewhere, as in a liquid some time after its start: a warning.

Atoms of one element may stand on each other's places: the energy is the same.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray
from scipy.spatial import KDTree

__all__ = ["OrderError", "check_order"]

Array = NDArray[np.float64]

AT_HOME = 0.3
"""Å; an atom this near its own place is on no other one: the shortest bond, that of H2, is 0.74 Å."""

REACH = 3.0
"""Å; range of the search for neighbouring places."""

NEAR = 0.35
"""An atom within this part of the distance from a place to its neighbour stands on the place. One of 8
atoms thrown at random into a close-packed crystal would; atoms of a solid do (Lindemann: 0.1), and so
do most beads of hydrogen around a bond of 1 Å."""

EXACT = 0.05
"""Å; smaller than thermal displacements, larger than the rounding of files."""

STANDING = 0.75
"""Part of the atoms that must stand on places if the structure is to be the template's, displaced."""

EXCHANGED = 0.1
"""Part of the atoms of a displaced structure on places of other elements that no diffusion makes."""

FEWEST_EXCHANGED = 4
"""Fewest atoms on places of other elements: a molecule of two or three may have turned over."""

LOST = 0.1
"""Part of the atoms that may be away from all places without a warning."""

CELL_RATIO = 1.5
"""Largest ratio of lengths of a cell that is the template's, expanded or compressed."""

SHOWN = 3
"""Atoms that a message names."""

CURE = "give as template the structure that i-PI starts from (<file> in its <initialize>)"

TRUST = "--trust-template (trust_template: True in <ffdirect>) takes the template as it is"


class OrderError(ForcemapError):
    """i-PI's structure is not the template's."""


@dataclass(frozen=True, slots=True)
class _Match:
    """i-PI's atoms on the template's places.

    Attributes:
        own: (n,) Å, distance of each atom from its own place.
        place: (n,) the nearest place of each.
        distance: (n,) Å, of the atom from it.
        stands: (n,) whether the atom stands on that place.
        exchanged: (n,) whether it stands on a place of another element.
    """

    own: Array
    place: NDArray[np.intp]
    distance: Array
    stands: NDArray[np.bool_]
    exchanged: NDArray[np.bool_]

    @property
    def is_exact(self) -> bool:
        """Whether this is the template's structure, but for the order."""
        n = len(self.place)
        return bool(self.distance.max() < EXACT and len(np.unique(self.place)) == n)

    @property
    def is_displaced(self) -> bool:
        """Whether this is the template's structure, displaced."""
        used = self.place[self.stands]
        one_each = len(np.unique(used)) >= 0.95 * len(used)
        return bool(self.stands.mean() >= STANDING and one_each)

    @property
    def shows_another_order(self) -> bool:
        """Whether another order of the atoms explains it, and nothing else does."""
        count = int(self.exchanged.sum())
        if self.is_exact:
            return count > 0
        return self.is_displaced and count >= max(FEWEST_EXCHANGED, EXCHANGED * len(self.own))

    @property
    def is_doubtful(self) -> bool:
        """Whether atoms are where the template does not have them."""
        if self.is_displaced and self.exchanged.any():
            return True
        return bool((~self.stands | self.exchanged).mean() > LOST)


def check_order(template: Template, cell: Array, positions: Array) -> None:
    """Compare i-PI's first structure with the template's.

    A template without positions is not compared.

    Args:
        template: elements of the atoms.
        cell: (3, 3) Å, i-PI's lattice vectors in the rows.
        positions: (n, 3) Å, as many as the template has.

    Raises:
        OrderError: i-PI's atoms stand on the places of other elements, or its cell is the
            template's with bohr taken for Å.

    Warns (UserWarning) where atoms or cell are far from the template's and no order explains it.
    """
    if template.positions is None or not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        return  # the evaluation refuses numbers that are not finite
    if not _is_usable(cell):
        return
    _check_cell(template, cell)
    if np.ptp(template.numbers) == 0:
        return  # any order is right
    candidates = list(_places(template, cell))
    if any(_distances(positions - p, cell).max() < AT_HOME for p in candidates):
        return
    matches = [_match(template.numbers, p, positions, cell) for p in candidates]
    known = [match for match in matches if match is not None]
    if not known:
        return  # places that coincide: the template has no positions to speak of
    best = min(known, key=lambda match: float(match.distance.mean()))
    if not best.is_doubtful:
        return
    if best.shows_another_order:
        raise OrderError(_order_message(template, best))
    if any(_is_shifted(positions - p, cell) for p in candidates):
        return
    scale = _scale(candidates[0], positions, cell)
    warnings.warn(_doubt_message(template, best, scale), UserWarning, stacklevel=2)


def _is_usable(cell: Array) -> bool:
    """Whether the cell has a volume; flat ones would need more images than can be made."""
    heights = _heights(cell)
    return heights is not None and bool(heights.min() > 0.3 * REACH)


def _heights(cell: Array) -> Array | None:
    """Distances between opposite faces, (3,) Å; None without a volume."""
    try:
        inverse = np.linalg.inv(cell)
    except np.linalg.LinAlgError:
        return None
    heights: Array = 1.0 / np.linalg.norm(inverse, axis=0)
    return heights if np.isfinite(heights).all() else None


def _check_cell(template: Template, cell: Array) -> None:
    if template.cell is None or not template.pbc.any():
        return
    theirs = np.linalg.norm(cell, axis=1)
    ours = np.linalg.norm(template.cell, axis=1)
    ratios = (theirs / ours)[template.pbc]
    shown = (
        f"i-PI's cell has vectors of {_lengths(theirs)} Å, that of the template {template.name} "
        f"of {_lengths(ours)} Å"
    )
    for factor, mistaken in (
        (1 / BOHR_PER_ANGSTROM, "Å for bohr"),
        (BOHR_PER_ANGSTROM, "bohr for Å"),
    ):
        if np.allclose(ratios, factor, rtol=0.01):
            raise OrderError(
                f"{shown}: i-PI takes {mistaken}; say units='angstrom' and cell_units='angstrom' "
                f"with the <file> of its <initialize>; {TRUST}"
            )
    if (ratios > CELL_RATIO).any() or (ratios < 1 / CELL_RATIO).any():
        warnings.warn(
            f"{shown}: i-PI's cell counts; if it is not meant, {CURE}", UserWarning, stacklevel=3
        )


def _lengths(values: Array) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _places(template: Template, cell: Array) -> list[Array]:
    """The template's positions in i-PI's cell, (n, 3) Å each: unchanged, and scaled with the cell.

    i-PI turns cells, and those of its checkpoints may have another size.
    """
    assert template.positions is not None
    places = [template.positions]
    if template.cell is not None:
        places.append(np.linalg.solve(template.cell.T, template.positions.T).T @ cell)
    return places


def _wrapped(vectors: Array, cell: Array) -> Array:
    """Nearest images: exact up to half of the cell's smallest height, which is enough here."""
    fractional = np.linalg.solve(cell.T, vectors.T).T
    wrapped: Array = (fractional - np.round(fractional)) @ cell
    return wrapped


def _distances(vectors: Array, cell: Array) -> Array:
    distances: Array = np.linalg.norm(_wrapped(vectors, cell), axis=1)
    return distances


def _is_shifted(vectors: Array, cell: Array) -> bool:
    """Whether all atoms are at home after one shift, as in a box with another origin."""
    shift = vectors[0]
    shift = shift + np.median(_wrapped(vectors - shift, cell), axis=0)
    return bool(_distances(vectors - shift, cell).max() < AT_HOME)


def _scale(places: Array, positions: Array, cell: Array) -> float | None:
    """The factor of units, if any, that takes the template's places to i-PI's atoms."""
    for factor in (1 / BOHR_PER_ANGSTROM, BOHR_PER_ANGSTROM):
        if _distances(positions - factor * places, cell).max() < EXACT:
            return factor
    return None


def _match(
    numbers: NDArray[np.int32], places: Array, positions: Array, cell: Array
) -> _Match | None:
    """The nearest place of each atom; None if places coincide."""
    tree, owner = _images(places, cell)
    wrapped = _into_cell(positions, cell)
    spacing = np.minimum(tree.query(_into_cell(places, cell), k=2)[0][:, 1], REACH)
    if spacing.min() < EXACT:
        return None
    distance, found = tree.query(wrapped)
    place = owner[found]
    stands = distance <= NEAR * spacing[place]
    exchanged = stands & (numbers[place] != numbers)
    return _Match(_distances(positions - places, cell), place, distance, stands, exchanged)


def _into_cell(positions: Array, cell: Array) -> Array:
    fractional = np.linalg.solve(cell.T, positions.T).T
    inside: Array = (fractional - np.floor(fractional)) @ cell
    return inside


def _images(places: Array, cell: Array) -> tuple[KDTree, NDArray[np.intp]]:
    """The places in the cell and within `REACH` of it, and whose images they are."""
    heights = _heights(cell)
    assert heights is not None
    margin = REACH / heights
    fractional = np.linalg.solve(cell.T, places.T).T
    fractional -= np.floor(fractional)
    images, owners = [], []
    for shift in itertools.product(*(range(-n, n + 1) for n in np.ceil(margin).astype(int))):
        image = fractional + np.array(shift)
        kept = np.flatnonzero(((image >= -margin) & (image <= 1.0 + margin)).all(axis=1))
        images.append(image[kept])
        owners.append(kept)
    return KDTree(np.vstack(images) @ cell), np.concatenate(owners)


def _order_message(template: Template, match: _Match) -> str:
    where = np.flatnonzero(match.exchanged)
    symbols = template.symbols()
    shown = ", ".join(
        f"atom {i} ({symbols[i]} by the template) is at the place of atom {match.place[i]} "
        f"({symbols[match.place[i]]})"
        for i in where[:SHOWN]
    )
    more = f", and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
    return (
        f"i-PI's atoms are not in the order of the template {template.name}: {shown}{more} (of "
        f"{len(match.own)} atoms, counted from 0). i-PI sends no elements, so the energies would be "
        f"those of the wrong ones: {CURE}; if atoms have really exchanged places since, {TRUST}"
    )


def _doubt_message(template: Template, match: _Match, scale: float | None) -> str:
    away = ~match.stands | match.exchanged
    first = int(np.flatnonzero(away)[0])
    text = (
        f"{away.sum()} of {len(away)} atoms in i-PI's first structure are away from their places in "
        f"the template {template.name}, the first of them atom {first} (counted from 0; "
        f"{template.symbols()[first]} by the template), {match.own[first]:.1f} Å"
    )
    if scale is not None:
        return (
            f"{text}; they are {scale:.3f} times as far from the origin: if the file is in Å, i-PI "
            "needs units='angstrom' with the <file> of its <initialize>"
        )
    return (
        f"{text}; i-PI sends no elements: they are right if it goes on from a checkpoint of such a "
        f"run, otherwise {CURE}"
    )
