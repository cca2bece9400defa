"""The members of a committee that one potential's draws stand for, as ``<ffcommittee>`` reads them.

i-PI averages the members, and takes the standard deviation over them with the divisor N - 1 for the
deviation of the energy. Draws are differences d_k to the potential; what makes their spread the
calibrated deviation is a factor c (`forcemap.potentials.uncertainty`). From N - 1 of them come N
members that differ from the potential by

    c (d_k - s / (N + sqrt N)),   k = 1 ... N - 1,   and   - c s / sqrt N,   s = sum_k d_k,

the columns of a matrix that are orthonormal and add up to zero. So the members' mean is the
potential itself, whatever the draws, and the square of i-PI's deviation is c² times the mean of the
squares of the N - 1 draws: with all draws of a file, N = draws + 1, it is that of
`Deviations.energy_std` without the floor. Every member is a potential: its forces and its virial
are derivatives of its energy, so that all of them have the factor of energies; with others, i-PI's
weighted baseline would not conserve energy, as it takes the gradient of the spread from them.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM, HARTREE_PER_EV, structure_from_ipi
from forcemap.potentials import _core
from forcemap.potentials.deviations import Deviations
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.uncertainty import Uncertainty, variance_of_draws
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FEWEST_MEMBERS",
    "DrawnCommittee",
    "PotentialWithDraws",
    "check_members",
    "committee_extras",
    "member_differences",
]

Array = NDArray[np.float64]

FEWEST_MEMBERS = 2
"""i-PI takes the spread of one member for NaN, without a word."""


class _DrawEvaluator(Protocol):
    def deviations(
        self, positions: ArrayLike, numbers: ArrayLike, cell: ArrayLike, pbc: ArrayLike
    ) -> Deviations:
        """As `forcemap.potentials.Evaluator.deviations`."""


class PotentialWithDraws(Protocol):
    """What a committee is made of, such as `forcemap.potentials.Potential`."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def draws(self) -> int:
        """How many it has."""

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Their calibration."""

    def evaluator(self, skin: float, threads: int) -> _DrawEvaluator:
        """A new evaluator."""


def member_differences(draws: Array, members: int, scale: float) -> Array:
    """What the members differ by from the potential.

    Args:
        draws: (members - 1 or more, ...) differences of the draws; the first ones are taken.
        members: how many there shall be.
        scale: what a draw is multiplied by.

    Returns:
        (members, ...), zero on average; the mean of the squares with the divisor members - 1 is
        scale² times the draws' mean square.
    """
    own = scale * draws[: members - 1]
    total = own.sum(axis=0, keepdims=True)
    root = float(np.sqrt(members))
    return np.concatenate([own - total / (members + root), -total / root])


def committee_extras(energies: Array, forces: Array, virials: Array) -> dict[str, Any]:
    """What i-PI reads of a committee.

    Args:
        energies: (members,) hartree.
        forces: (members, n, 3) hartree/bohr.
        virials: (members, 3, 3) hartree.
    """
    return {
        "committee_pot": energies.tolist(),
        "committee_force": forces.reshape(len(forces), -1).tolist(),
        "committee_virial": virials.tolist(),
    }


def check_members(potential: PotentialWithDraws, members: int) -> None:
    """Raise ForcemapError unless a committee of so many members can be made from the draws."""
    draws = potential.draws
    if not draws:
        raise ForcemapError(
            f"{_core.without_draws(potential.name)}. Two potentials or more are a committee, too"
        )
    if not FEWEST_MEMBERS <= members <= draws + 1:
        raise ForcemapError(
            f"a committee of {members} cannot be made from the {draws} draws of "
            f"{potential.name}: give {FEWEST_MEMBERS} to {draws + 1} members"
            + ("; i-PI takes the spread of one for NaN" if members == 1 else "")
        )


class DrawnCommittee:
    """The committee of a potential's draws, for the structures of a template."""

    def __init__(
        self,
        potential: PotentialWithDraws,
        template: Template,
        members: int,
        skin: float,
        threads: int,
    ) -> None:
        """Prepare for `members` members, 2 to the number of draws and one.

        Raises:
            ForcemapError: no draws, or too few of them for so many members; less than two members.
        """
        check_members(potential, members)
        self._template = template
        self._members = members
        calibration = (potential.uncertainty or Uncertainty()).energy
        # What variance_of_draws makes of draws of one.
        self._scale = calibration.factor * float(
            np.sqrt(variance_of_draws(np.ones(potential.draws)))
        )
        self._evaluator = potential.evaluator(skin, threads)

    def extras(
        self, cell: Array, positions: Array, energy: float, forces: Array, virial: Array
    ) -> dict[str, Any]:
        """What i-PI reads of the committee, and the calibrated deviations by all draws.

        Args:
            cell: (3, 3) bohr, lattice vectors in the columns.
            positions: (n, 3) bohr.
            energy: of the potential, hartree.
            forces: (n, 3) of the potential, hartree/bohr.
            virial: (3, 3) of the potential, hartree.

        Raises:
            ForcemapError: the structure cannot be evaluated.
        """
        ours, places = structure_from_ipi(cell, positions)
        template = self._template
        found = self._evaluator.deviations(places, template.numbers, ours, template.pbc)
        force = HARTREE_PER_EV / BOHR_PER_ANGSTROM
        return committee_extras(
            energy + HARTREE_PER_EV * self._differences(found.energies),
            forces + force * self._differences(found.forces),
            virial + HARTREE_PER_EV * self._differences(found.virials),
        ) | {
            "energy_std": HARTREE_PER_EV * found.energy_std,
            "forces_std": (force * found.forces_std).ravel().tolist(),
        }

    def _differences(self, draws: Array) -> Array:
        return member_differences(draws, self._members, self._scale)
