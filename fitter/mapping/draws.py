"""Maps draws from the posterior of a model's weights, all of them together.

A deviation need not be known to more than a few percent, so that draws have tables of their own, with
knots far apart, and forms of fewer functions. How coarse is measured: the parts of all terms of one
draw cancel (constants of species against pair functions and forms, to a thousandth), and what counts is
the error of a term's part relative to the whole draw. No part is left out, faded or cut off on its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.model import Model
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.terms.base import Array, MapPlan, Term
from forcemap.fitter.terms.rows import RowLayout, frame_rows, term_columns
from forcemap.potentials.file.potential_file import Draws, PotentialData, as_potential
from forcemap.potentials.terms.base import MappedTerm

__all__ = ["DrawErrors", "DrawMap", "mapped_draws"]

FORCE_ERROR, ENERGY_ERROR = 0.03, 0.08
"""Errors that the draws' forces, and energies of frames, may have: root mean square, relative to that
of what they are errors of."""

MOST_BYTES = 256 << 20
"""Memory of the draws of all terms together, at most: larger tables are not made."""

WIDEST_SPACING = 1.5
"""Å between knots, where memory does not suffice for less."""

FEWEST_FUNCTIONS = 8
"""That a form keeps, where memory does not suffice for more."""

POOR = 4.0
"""How many times as large as they may be errors are at most; wrong deviations are worse than none."""

ROUGH = 2.5
"""How many times as large as it may be the error of a term is at most, where sums over all sparse
points would be exact, but take some times as long."""

FEWEST_DRAWS = 4
"""Where memory does not suffice for more."""


@dataclass(frozen=True)
class DrawErrors:
    """Errors of draws, relative to what they are errors of: root mean squares over probes and draws.

    Attributes:
        force: of components of forces.
        energy: of the energies of frames.
    """

    force: float = 0.0
    energy: float = 0.0

    @property
    def excess(self) -> float:
        """How many times as large as it may be the larger one is."""
        return max(self.force / FORCE_ERROR, self.energy / ENERGY_ERROR)


@dataclass(frozen=True)
class DrawMap:
    """The draws of a model, to be mapped.

    Attributes:
        model: with a map for every term.
        mean: its map.
        draws: (m, R) differences of the weights.
        plan: after which the mean was mapped.
        frames: probes, on which the errors are measured.
        parts: of each term the rows of the probes times the draws, by probe: (rows, R).
    """

    model: Model
    mean: PotentialData
    draws: Array
    plan: MapPlan
    frames: Sequence[Frame]
    parts: Sequence[Sequence[Array]] = field(repr=False)

    @classmethod
    def of(
        cls,
        model: Model,
        mean: PotentialData,
        draws: Array,
        plan: MapPlan,
        frames: Sequence[Frame],
    ) -> DrawMap:
        """With what the process says of the probes."""

        def parts_of(frame: Frame) -> list[Array]:
            rows = frame_rows(frame, model.terms)
            return [rows[:, where] @ draws[where] for _, where in term_columns(model.terms)]

        by_frame = list(in_order(parts_of, frames, plan.jobs))
        by_term = [list(parts) for parts in zip(*by_frame, strict=True)]
        return cls(model, mean, draws, plan, frames, by_term)

    @property
    def count(self) -> int:
        """R."""
        return int(self.draws.shape[1])

    @property
    def whole(self) -> list[Array]:
        """What the process's draws say of the probes: (rows, R) each."""
        return [sum(parts[1:], start=parts[0]) for parts in zip(*self.parts, strict=True)]

    def mapped(self, advance: Callable[[], Any] = lambda: None) -> tuple[Draws, DrawErrors]:
        """The draws, each term as coarse as it may be, and the errors of all terms together."""
        found: dict[int, MappedTerm] = {}
        left = MOST_BYTES
        by_need = sorted(range(len(self.model.terms)), key=self._need)
        for done, t in enumerate(by_need):
            # Those that need less than an equal part leave the rest of it to those that need more.
            term, used = self._term(t, left // (len(by_need) - done), advance)
            left -= used
            if term is not None:
                found[t] = term
        draws = Draws(self.count, tuple(found[t] for t in sorted(found)), self._e0())
        errors = self.errors(draws, self.whole)
        advance()
        return draws, errors

    def first(self, count: int) -> DrawMap:
        """Of the first draws only."""
        parts = [[part[:, :count] for part in of_term] for of_term in self.parts]
        return replace(self, draws=self.draws[:, :count], parts=parts)

    def errors(self, draws: Draws, truth: Sequence[Array]) -> DrawErrors:
        """Of draws that the process says `truth` of, relative to its whole draws."""
        evaluator = as_potential(replace(self.mean, draws=draws)).evaluator(skin=0.0)
        squares = np.zeros((2, 2))  # of forces and energies: errors, wholes
        for frame, expected, whole in zip(self.frames, truth, self.whole, strict=True):
            atoms = len(frame.numbers)
            layout = RowLayout(atoms)
            found = evaluator.deviations(frame.positions, frame.numbers, frame.cell, frame.pbc)
            forces = found.forces.reshape(self.count, -1).T - expected[layout.forces]
            squares[0] += np.sum(forces**2), np.sum(whole[layout.forces] ** 2)
            energies = found.energies - expected[layout.energy]
            squares[1] += np.sum(energies**2) / atoms, np.sum(whole[layout.energy] ** 2) / atoms
        force, energy = np.sqrt(squares[:, 0] / np.maximum(squares[:, 1], 1e-300))
        return DrawErrors(float(force), float(energy))

    def _need(self, t: int) -> int:
        """Bytes that the draws of the term at place `t` take at most."""
        return self.model.terms[t].map_bytes(self.plan.of_draws(self.count).finer(1e9))

    def _term(self, t: int, most: int, advance: Callable[[], Any]) -> tuple[MappedTerm | None, int]:
        """The draws of the term at place `t` within so many bytes, and how many they take."""
        term, where = list(term_columns(self.model.terms))[t]
        plan = _within_memory(term, self.plan.of_draws(self.count), most)
        # Errors of terms add up in squares.
        allowed = 1.0 / np.sqrt(sum(_is_finer(some, plan) for some in self.model.terms) or 1)
        while True:
            mapped = term.mapped(self.draws[where], plan)
            exact = replace(plan, exact=True)
            has_exact = term.map_bytes(plan) != term.map_bytes(exact) <= most
            if mapped is None or not (has_exact or _is_finer(term, plan)):
                return mapped, term.map_bytes(plan)
            alone = Draws(self.count, (mapped,), np.zeros((self.count, len(self.model.species))))
            excess = self.errors(alone, self.parts[t]).excess / allowed
            advance()
            finer = _within_memory(term, plan.finer(excess), most)
            can_be_finer = term.map_bytes(finer) > term.map_bytes(plan)
            if can_be_finer and excess > 1.0:
                plan = finer
            elif has_exact and excess * allowed > ROUGH:
                plan = exact
            else:
                return mapped, term.map_bytes(plan)

    def _e0(self) -> Array:
        """(R, species) eV: what the fitted constants of each draw differ by."""
        model = self.model
        places = {z: n for n, z in enumerate(model.species)}
        found = np.zeros((self.count, len(places)))
        for term, where in term_columns(model.terms):
            for z, energies in term.atom_energies(self.draws[where]).items():
                found[:, places[z]] += energies
        return found


def mapped_draws(
    work: DrawMap, advance: Callable[[], Any] = lambda: None
) -> tuple[Draws | None, DrawErrors]:
    """The draws that are asked for, or as many as memory suffices for; and their errors.

    Warns (UserWarning) where these are fewer, or none.
    """
    wanted = work.count
    found, errors = work.mapped(advance)
    while errors.excess > POOR and work.count // 2 >= FEWEST_DRAWS:
        work = work.first(work.count // 2)
        found, errors = work.mapped(advance)
    memory = f"{MOST_BYTES >> 20} MiB"
    if errors.excess > POOR:
        warnings.warn(
            f"the potential has no draws, and so no deviations: within {memory} even {work.count} of "
            f"them would be off by {errors.force:.0%} of their forces and {errors.energy:.0%} of their "
            "energies. A larger lengthscale, or fewer functions of three atoms, take less memory.",
            stacklevel=3,
        )
        return None, errors
    if found.count < wanted:
        warnings.warn(
            f"the potential has {found.count} draws, not {wanted}: the tables of more would take more "
            f"than {memory}. Its deviations are a little less certain.",
            stacklevel=3,
        )
    return found, errors


def _within_memory(term: Term, plan: MapPlan, most: int) -> MapPlan:
    """The plan, or a coarser one whose tables are not larger than `most` bytes."""
    while term.map_bytes(plan) > most and plan.spacing < WIDEST_SPACING:
        fewer = max(FEWEST_FUNCTIONS, int(plan.functions / 1.1))
        plan = replace(plan, spacing=1.1 * plan.spacing, functions=fewer)
    return plan


def _is_finer(term: Term, plan: MapPlan) -> bool:
    """Whether a finer plan makes a larger map, which is not exact then."""
    return term.map_bytes(plan.finer(1e9)) > term.map_bytes(plan)
