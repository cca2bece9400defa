"""A quick fit of the process to a sample of the data, by which labels are compared with each other.

A 2-body and a small soap term learn from any of the labels (energies, forces, stresses alone, or
together, of some frames or all) in a fraction of a second, since the rows of the sample are computed
once. What labels of one kind predict for another shows its unit and sign; what the others predict for a
frame shows whether this one is at odds with them.

Energies enter without the constants of the elements, by their differences between frames.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.quick_terms import quick_terms
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.evidence import maximise_evidence
from forcemap.fitter.solve.solver import Groups
from forcemap.fitter.terms.base import MapPlan
from forcemap.fitter.terms.rows import RowLayout, columns, frame_rows
from forcemap.fitter.uncertainty.leave_one_out import without_rows
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

__all__ = ["Part", "QuickFit", "Solved", "group_of", "spread_sample"]

Array = NDArray[np.float64]

SAMPLE_ATOMS = 6000
"""Atoms of the sample: a second or two of rows."""

SAMPLE_FRAMES = 600

USUAL_SIZE = 30.0
"""Root mean square of the labels in units of the sigmas, as in usual fits."""


def group_of(frame: Frame) -> tuple[str, str]:
    """The group of a frame, in which labels are likely to have the same faults: file, config_type."""
    return frame.source, frame.config_type


def spread_sample(frames: Sequence[Frame], atoms: int, most: int) -> list[int]:
    """Places of some frames, from all groups in turn, each group's evenly spread."""
    groups: dict[Any, list[int]] = {}
    for place, frame in enumerate(frames):
        groups.setdefault(group_of(frame), []).append(place)
    orders = [iter(_spread(members)) for members in groups.values()]
    taken = np.zeros(len(orders))
    chosen: list[int] = []
    count = 0
    while len(chosen) < most and np.isfinite(taken).any():
        # The group with the fewest atoms so far is next: one with small frames gives more of them.
        turn = int(np.argmin(taken))
        following = next(orders[turn], None)
        size = 0 if following is None else len(frames[following].numbers)
        if following is None or (len(chosen) >= len(orders) and count + size > atoms):
            taken[turn] = np.inf
            continue
        chosen.append(following)
        taken[turn] += size
        count += size
    return sorted(chosen)


def _spread(members: Sequence[int]) -> list[int]:
    """The members in an order whose beginnings are evenly spread."""
    golden = (np.arange(len(members)) * 0.6180339887498949) % 1.0
    # The golden ratio's multiples are evenly spread, however many: take members at these fractions.
    wanted = (golden * len(members)).astype(int)
    return [members[n] for n in dict.fromkeys([*wanted.tolist(), *range(len(members))])]


@dataclass(frozen=True, eq=False)
class Solved:
    """A fit to some rows.

    Attributes:
        values: (m,) weights of the whitened columns.
        factor: (m, m) lower Cholesky factor of 1 + the scaled Gram matrix.
        deltas: (m,) prior standard deviations.
        noise: factor of all sigmas and deltas that the residuals ask for.
        unit: factor of the sigmas in the fit, by which it does not depend on the labels' unit.
    """

    values: Array
    factor: Array
    deltas: Array
    noise: float
    unit: float

    def deviations(self, rows: Array) -> Array:
        """Standard deviations of what the fit says of `rows` (n, m), (n,)."""
        half = scipy.linalg.solve_triangular(
            self.factor, (rows * self.deltas).T, lower=True, check_finite=False
        )
        return np.asarray(self.noise * np.sqrt(np.sum(half**2, axis=0)))


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one kind of label of one frame, in a fit.

    Attributes:
        place: of the frame in the sample.
        rows: (n, m) whitened.
        labels: (n,).
        sigmas: (n,).
    """

    place: int
    rows: Array
    labels: Array
    sigmas: Array


@dataclass(frozen=True, eq=False)
class QuickFit:
    """The rows of a sample of frames.

    Attributes:
        frames: the sample.
        places: of its frames among all frames.
        prior: terms with their sparse points.
        rows: (1 + 3 atoms + 6, m) whitened, by frame.
    """

    frames: Sequence[Frame]
    places: Sequence[int]
    prior: Prior
    rows: Sequence[Array]

    @classmethod
    def of(cls, frames: Sequence[Frame], run: Run, atoms: int = SAMPLE_ATOMS) -> QuickFit | None:
        """Rows of a sample of the frames; None if nothing can be fitted, such as isolated atoms."""
        usable = [n for n, f in enumerate(frames) if f.energy is not None or f.forces is not None]
        chosen = spread_sample([frames[n] for n in usable], atoms, SAMPLE_FRAMES)
        places = [usable[n] for n in chosen]
        sample = [frames[n] for n in places]
        if not sample:
            return None
        with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("ignore")
            try:
                prior = _prior(sample)
                rows = list(
                    run.in_order(lambda f: _whitened(frame_rows(f, prior.terms), prior), sample)
                )
            except (ForcemapError, np.linalg.LinAlgError):
                return None
        return cls(sample, places, prior, rows) if prior.size else None

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[int]]:
        """Places in the sample of each group's frames."""
        groups: dict[tuple[str, str], list[int]] = {}
        for place, frame in enumerate(self.frames):
            groups.setdefault(group_of(frame), []).append(place)
        return groups

    @property
    def atoms(self) -> int:
        """Atoms of the sample."""
        return sum(len(frame.numbers) for frame in self.frames)

    def solve(self, parts: Sequence[Part]) -> Solved | None:
        """The fit to some rows, with the prior's scales of largest evidence."""
        parts = [part for part in parts if len(part.labels)]
        if not parts:
            return None
        sigmas = np.concatenate([part.sigmas for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        unit = float(np.sqrt(np.mean((labels / sigmas) ** 2))) / USUAL_SIZE
        if not unit:
            return None
        sigmas = sigmas * unit
        rows = np.concatenate([part.rows for part in parts]) / sigmas[:, None]
        sizes = [term.size for term in self.prior.terms]
        with threadpool_limits(limits=1, user_api="blas"):
            size = float(np.sqrt(np.mean(np.sum(rows**2, axis=1)))) or 1.0
            start = 3.0 * USUAL_SIZE / size
            try:
                # In units of the start, where the search has its bounds.
                data = Groups(self.prior.size, 1)
                data.add([(rows * start, labels / sigmas, float(np.sum(np.log(sigmas))))])
                data.settle()
                count = len(sizes)
                chosen = maximise_evidence(data, sizes, [1.0] * count, [False] * count, True)
                deltas = np.repeat(chosen.deltas, sizes)
                solution = data.together(chosen.sigma_factors).solve(deltas)
            except np.linalg.LinAlgError:
                return None
        values, noise = start * solution.values, chosen.noise_factor
        return Solved(values, solution.factor, start * deltas, noise, unit)

    # ---- rows of labels

    def energies(
        self, places: Sequence[int], labels: Array, sigmas: Array, apart: bool = False
    ) -> list[Part]:
        """Energies of frames (places) less the constants of the elements, of all or (`apart`) by group.

        `labels` and `sigmas` (places,) in eV.
        """
        if not len(places):
            return []
        rows = np.array([self.rows[n][RowLayout.energy] for n in places])
        both = np.concatenate([rows, labels[:, None]], axis=1)
        both = self.without_constants(places, both, sigmas, apart)
        return [
            Part(n, row[None, :-1], row[-1:], sigma[None])
            for n, row, sigma in zip(places, both, sigmas, strict=True)
        ]

    def without_constants(
        self, places: Sequence[int], values: Array, sigmas: Array, apart: bool
    ) -> Array:
        """`values` (places, k) of frames less their best fit by a constant of each element."""
        species = self.prior_species
        counts = np.array([[np.sum(self.frames[n].numbers == z) for z in species] for n in places])
        keys = [group_of(self.frames[n]) if apart else ("", "") for n in places]
        left = np.array(values, dtype=float)
        for key in set(keys):
            which = np.array([k == key for k in keys])
            scaled = counts[which] / sigmas[which, None]
            constants = np.linalg.lstsq(scaled, left[which] / sigmas[which, None], rcond=1e-8)[0]
            left[which] -= counts[which] @ constants
        return left

    @cached_property
    def prior_species(self) -> list[int]:
        """Elements of the sample."""
        return sorted({int(z) for frame in self.frames for z in frame.numbers})

    def forces(self, place: int, labels: Array, sigma: float) -> Part:
        """The forces (n, 3) of a frame that are labels."""
        frame = self.frames[place]
        which = np.repeat(frame.labelled, 3)
        rows = self.rows[place][RowLayout(len(frame.numbers)).forces][which]
        return Part(place, rows, labels.ravel()[which], np.full(int(which.sum()), sigma))

    def strain(self, place: int, labels: Array, sigma: float) -> Part:
        """Volume times stress, (6,) eV, of a frame."""
        rows = self.rows[place][RowLayout(len(self.frames[place].numbers)).strain]
        return Part(place, rows, labels, np.full(6, sigma))

    # ---- predictions

    def predicted(self, place: int, solved: Solved) -> tuple[float, Array, Array]:
        """Energy less constants, forces (n, 3), volume times stress (6,) of a frame of the sample."""
        layout = RowLayout(len(self.frames[place].numbers))
        return layout.split(self.rows[place] @ solved.values)

    def left_out(self, part: Part, solved: Solved) -> Array:
        """Labels of a part of the fit less what the fit to all others predicts, (n,)."""
        return self.left_out_with_deviations(part, solved)[0]

    def left_out_with_deviations(self, part: Part, solved: Solved) -> tuple[Array, Array]:
        """The same, and standard deviations of these predictions, (n,) each."""
        sigmas = part.sigmas * solved.unit
        residual = (part.labels - part.rows @ solved.values) / sigmas
        scaled = part.rows * solved.deltas / sigmas[:, None]
        half = scipy.linalg.solve_triangular(
            solved.factor, scaled.T, lower=True, check_finite=False
        )
        errors, variances = without_rows(half, residual)
        return errors * sigmas, solved.noise * np.sqrt(variances) * sigmas

    def rows_of(self, frame: Frame) -> Array:
        """Rows of a frame that need not be in the sample. Raises ForcemapError for other elements."""
        return _whitened(frame_rows(frame, self.prior.terms), self.prior)

    def potential(self, solved: Solved, jobs: int = 1) -> Any:
        """The fit as a mapped potential, energies without the constants of the elements."""
        from forcemap.fitter.mapping.tabulate import Tabulation
        from forcemap.potentials.file.potential_file import as_potential

        weights = solved.values.copy()
        for (_, _, where), factor in zip(
            columns(self.prior.terms), self.prior.factors, strict=True
        ):
            weights[where] = scipy.linalg.solve_triangular(factor.T, weights[where], lower=False)
        model = Model(
            tuple(self.prior_species),
            self.prior.terms,
            weights,
            dict.fromkeys(self.prior_species, 0.0),
            {},
            solved.factor,
        )
        return as_potential(Tabulation(model, MapPlan(self.frames, jobs)).data())


def _prior(sample: Sequence[Frame]) -> Prior:
    terms = [term.to_dict() for term in quick_terms(sample)]
    settings = Settings.from_dict({"data": {"train": "."}, "terms": terms}, base_dir=Path())
    return Prior.of(settings, Survey.of(sample, settings))


def _whitened(rows: Array, prior: Prior) -> Array:
    for (_, _, where), factor in zip(columns(prior.terms), prior.factors, strict=True):
        rows[:, where] = scipy.linalg.solve_triangular(
            factor, rows[:, where].T, lower=True, check_finite=False
        ).T
    return rows
