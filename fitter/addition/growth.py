"""Addition of frames to a fitted process: its posterior grows by rows and columns.

The posterior's factor R (upper triangular, RᵀR = 1 + the scaled Gram matrix), the projection z of the
targets on it and the misfit are the only sums over the labels that remain. As the triangle

    ( R  z )
    ( 0  ρ )         ρ² = misfit

they take in more rows by orthogonal transformations alone (Golub and Van Loan, Matrix Computations,
6.5), without forming the Gram matrix again. New sparse points border the covariance's factor L; the old
frames' columns for them follow from their rows, which are computed again and taken in with all others.
(To border R would be cheaper, but the rows of another computation differ by rounding times the
condition number of L: Schur complements of R came out as -16, where 1 is the least.)

Hyperparameters, energies of isolated atoms and the repulsion stay those of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.beyond import imagined_frames
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.holes.filling import filled_holes
from forcemap.fitter.process.accumulate import whole_rows
from forcemap.fitter.process.beyond import Rises
from forcemap.fitter.process.blocks import blocks_of
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.solver import log_evidence
from forcemap.fitter.solve.triangle import with_rows
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.newcomers import Newcomers, newcomers
from forcemap.fitter.terms.base import Array, Block, Species, Term, TermSettings
from forcemap.fitter.terms.rows import unwhitened
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.fitter.uncertainty.leave_one_out import LeftOut, Posterior, leave_one_out
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from threadpoolctl import threadpool_limits

__all__ = ["check_addable", "grown", "left_out_of"]

FIT_ANEW = "fit anew, with all frames among the training data of the settings"


def grown(
    model: Model,
    frames: Sequence[Frame],
    old: Callable[[], Sequence[Frame]],
    run: Run | None = None,
) -> Model:
    """The model with the labels of `frames` beside those it has.

    New sparse points represent what the old ones cannot describe in the new frames. If the settings
    state a number of points that is not reached, their method adds points up to that number; otherwise
    environments are added that differ from all points by more than these do from each other.

    Args:
        model: the process, with the labels' sums from its file.
        frames: the new frames.
        old: returns the frames of the fit so far, in order; called only for new sparse points.
        run: threads and progress.

    Raises:
        ForcemapError: the frames cannot be added to this model; the text says why and what to do.
    """
    run = run or Run()
    check_addable(model, frames)
    assert model.labels is not None
    with (
        run.stage("choosing sparse points", len(model.terms)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        newcomers = _new_points(model, frames, advance)
    growth = _Growth.of(model)
    before: Sequence[Frame] = ()
    if newcomers:
        growth, before = growth.with_points(newcomers), old()
    with run.stage("fitting", len(before) + len(frames)) as advance:
        imagined = growth.imagined(before)
        growth = growth.with_targets(imagined, run, lambda count: None).with_rises(imagined)
        growth = growth.with_targets(growth.targets([*before, *frames]), run, advance)
    return growth.model(frames)


def left_out_of(model: Model, frames: Sequence[Frame], run: Run) -> list[LeftOut]:
    """Frames that were added to a model, each left out of it in turn."""
    return leave_one_out(*_Growth.of(model).solved(frames), KeptRows.none(), run)


def check_addable(model: Model, frames: Sequence[Frame]) -> None:
    """Raise ForcemapError unless frames can be added to a model."""
    if model.labels is None:
        raise ForcemapError(
            "the model was written by an earlier forcemap, which did not keep what adding frames "
            f"needs; {FIT_ANEW}"
        )
    if not any(f.energy is not None or f.forces is not None for f in frames):
        raise ForcemapError("the new frames hold neither energies nor forces")
    for frame in frames:
        place = f"{frame.source}: frame {frame.index} (counted from 0)"
        strange = sorted({int(z) for z in frame.numbers} - set(model.species))
        if strange:
            raise ForcemapError(
                f"{place}: holds {' and '.join(SYMBOLS[z] for z in strange)}, but the model is for "
                f"{' and '.join(SYMBOLS[z] for z in model.species)} only; {FIT_ANEW}"
            )
        _check_distances(model, frame, place)


def _check_distances(model: Model, frame: Frame, place: str) -> None:
    """Raise ForcemapError for distances below the shortest ones of the fit, where the process fades."""
    if not model.repulsion:
        return
    reach = max(pair.shortest for pair in model.repulsion.values())
    structure = Structure(frame, reach, derivatives=False)
    for (a, b), pair in model.repulsion.items():
        if {a, b} <= structure.species:
            distances = structure.neighbors.distances(a, b, reach)
            if len(distances) and distances.min() < pair.shortest * (1.0 - 1e-9):
                raise ForcemapError(
                    f"{place}: has {SYMBOLS[a]} and {SYMBOLS[b]} {distances.min():.4g} Å apart, below "
                    f"the shortest distance that the model knows, {pair.shortest:.4g} Å, where its "
                    f"repulsion takes over; {FIT_ANEW}"
                )


# ---- sparse points -------------------------------------------------------------------------------

Found = dict[tuple[int, Species], Newcomers]
"""New points by the number of their term and their combination of species."""


def _new_points(model: Model, frames: Sequence[Frame], advance: Callable[[], Any]) -> Found:
    points_of: Found = {}
    factors = iter(model.factors)
    rng = np.random.default_rng(int(model.settings.get("seed", 0)))
    asked = _settings_of_terms(model)
    for number, term in enumerate(model.terms):
        known = {block.species: (block, next(factors)) for block in term.blocks}
        if number >= len(asked):
            continue  # the fit added this term by itself, for every element
        pools, _ = candidate_pools(frames, term, rng)
        for species, pool in pools.items():
            block, factor = known.get(species, _nothing(species, pool.points.shape[1]))
            count = _missing(asked[number], block)
            if count is not None and count <= 0:
                continue
            method = asked[number].sparse_method or asked[number].default_method
            new = newcomers(term, (block, factor), pool, (count, method), rng)
            if len(new.points):
                points_of[number, species] = new
            advance()
    return points_of


def _nothing(species: Species, dimension: int) -> tuple[Block, Array]:
    return Block(species, np.zeros((0, dimension))), np.zeros((0, 0))


def _missing(asked: TermSettings, block: Block) -> int | None:
    """Number of points that a block lacks by the settings; None if they leave it to the fit."""
    wanted = asked.points_given(block.species)
    return None if wanted is None else wanted - block.size


def _settings_of_terms(model: Model) -> tuple[TermSettings, ...]:
    """The settings of each term, with the fit's choices of what was open."""
    settings = {**model.settings, "terms": model.data["terms"]}
    asked = Settings.from_dict(settings, origin="the model's settings").terms
    kinds = [term.kind for term in asked]
    if kinds != [term.kind for term in model.terms[: len(asked)]]:
        raise ForcemapError("the model's settings are not those of its terms: the file is damaged")
    return asked


# ---- the posterior -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Growth:
    """A posterior that takes in rows and columns.

    Attributes:
        source: the model before the addition.
        prior: terms, deltas with the noise factor, and factors of their covariances.
        triangle: (m + 1, m + 1) upper triangle of R, z and the misfit's root.
        log_sigma, count: sum of the rows' log sigmas, and number of rows.
    """

    source: Model
    prior: Prior
    triangle: Array
    log_sigma: float
    count: int

    @classmethod
    def of(cls, model: Model) -> _Growth:
        assert model.labels is not None
        m = len(model.weights)
        triangle = np.zeros((m + 1, m + 1), order="F")
        triangle[:m, :m] = model.posterior.T
        triangle[:m, m] = model.labels.projected
        triangle[m, m] = np.sqrt(model.labels.misfit)
        prior = Prior(model.terms, tuple(model.factors))
        return cls(model, prior, triangle, model.labels.log_sigma, model.labels.count)

    @property
    def deltas(self) -> Array:
        """(m,) deltas of the columns, relative to the sigmas in the settings."""
        deltas = [np.full(term.size, term.delta) for term in self.prior.terms]
        return np.concatenate([np.zeros(0), *deltas]) / self.source.noise_factor

    def targets(self, frames: Sequence[Frame]) -> list[Targets]:
        """Labels less what the process does not learn, with the sigmas of the fit."""
        baseline = Baseline(self.source.species, self.source.repulsion)
        assert self.source.labels is not None
        factor = self.source.labels.stress_factor
        targets = []
        for frame in frames:
            target = Targets.of(frame, self.source.e0, baseline.of(frame))
            sigmas = np.where(target.of_stress, factor, 1.0) * target.sigmas
            targets.append(replace(target, sigmas=sigmas))
        return targets

    def imagined(self, frames: Sequence[Frame]) -> list[Targets]:
        """The labels beyond the frames of the fit, which it knew beside theirs; none without frames."""
        if not frames:
            return []
        source = self.source
        baseline = Baseline(source.species, source.repulsion)
        found = filled_holes(source, frames[0])
        settings = Settings.from_dict(dict(source.settings), origin="the model's settings")
        sigmas = source.data.get("imagined_sigmas")
        if settings.is_guided and sigmas:
            reach = max(term.cutoff for term in source.terms)
            known = imagined_frames(frames, source.e0, source.repulsion, baseline.energy, reach)
            if len(known) != len(sigmas):
                raise ForcemapError(
                    "the model was written by an earlier forcemap, which imagined other frames beyond "
                    f"the data; {FIT_ANEW}"
                )
            units = np.divide(sigmas, source.noise_factor)
            found = [*zip(known, units.tolist(), strict=True), *found]
        return [
            replace(Targets.of(frame, source.e0, baseline.of(frame)), sigmas=np.array([sigma]))
            for frame, sigma in found
        ]

    def with_targets(
        self, targets: Sequence[Targets], run: Run, advance: Callable[[int], Any]
    ) -> _Growth:
        """The posterior with the rows of more labels."""
        deltas, triangle = self.deltas, self.triangle
        log_sigma, count = self.log_sigma, self.count
        blocks = blocks_of(targets)
        with threadpool_limits(limits=1, user_api="blas"):
            results = run.in_order(lambda block: whole_rows(block, self.prior), blocks)
            for block, rows in zip(blocks, results, strict=True):
                values = np.concatenate([t.values / t.sigmas for t in block])
                triangle = with_rows(triangle, np.column_stack([rows * deltas, values]))
                log_sigma += sum(float(np.sum(np.log(t.sigmas))) for t in block)
                count += len(values)
                advance(len(block))
        return replace(self, triangle=triangle, log_sigma=log_sigma, count=count)

    def with_rises(self, imagined: Sequence[Targets]) -> _Growth:
        """The posterior with the rises between imagined frames that the fit was made to follow."""
        known = self.source.data.get("rises", [])
        if not (imagined and known):
            return self
        sigmas = np.array([entry["sigma"] for entry in known]) / self.source.noise_factor
        with threadpool_limits(limits=1, user_api="blas"):
            # Behind the imagined frames are holes, between which nothing rises.
            rises = Rises.of(imagined[: len(self.source.data["imagined_sigmas"])], self.prior)
            at = [rises.steps.index((entry["step"][0], entry["step"][1])) for entry in known]
            labels = np.column_stack([rises.rows[at] * self.deltas, rises.least[at]])
            triangle = with_rows(self.triangle, labels / sigmas[:, None])
        log_sigma = self.log_sigma + float(np.sum(np.log(sigmas)))
        return replace(self, triangle=triangle, log_sigma=log_sigma, count=self.count + len(known))

    def with_points(self, found: Found) -> _Growth:
        """The posterior with new sparse points and without rows, since the old ones lack columns."""
        prior = _extended(self.prior, found)
        triangle = np.eye(prior.size + 1, order="F")
        triangle[-1, -1] = 0.0
        return replace(self, prior=prior, triangle=triangle, log_sigma=0.0, count=0)

    @property
    def factor(self) -> Array:
        """(m, m) lower factor Rᵀ."""
        return np.ascontiguousarray(self.triangle[:-1, :-1].T)

    @property
    def projected(self) -> Array:
        """(m,) z."""
        return self.triangle[:-1, -1]

    @property
    def values(self) -> Array:
        """(m,) whitened weights of the unit-variance columns."""
        solution = scipy.linalg.solve_triangular(self.triangle[:-1, :-1], self.projected)
        return np.asarray(self.deltas * solution)

    def solved(self, frames: Sequence[Frame]) -> tuple[list[Targets], Prior, Posterior]:
        """Labels of some frames, and the process that knows them."""
        none = np.zeros((0, len(self.projected))), np.zeros(0)
        scale = self.source.noise_factor
        # The sigmas of the targets have the factor of stresses.
        posterior = Posterior(self.values, self.factor, self.deltas, np.ones(1), scale, none)
        return self.targets(frames), self.prior, posterior

    def model(self, frames: Sequence[Frame]) -> Model:
        """The fitted process; `frames` are the added ones."""
        misfit = float(self.triangle[-1, -1] ** 2)
        weights = unwhitened(self.prior.terms, self.prior.factors, self.values)
        log_determinant = 2.0 * float(np.sum(np.log(np.diag(self.triangle)[:-1])))
        source = self.source
        assert source.labels is not None
        scale = source.noise_factor
        evidence = log_evidence(misfit, log_determinant, self.log_sigma, self.count, scale)
        data = dict(source.data)
        return replace(
            source,
            terms=self.prior.terms,
            weights=weights,
            posterior=self.factor,
            log_marginal_likelihood=evidence,
            labels=replace(
                source.labels,
                projected=self.projected.copy(),
                misfit=misfit,
                log_sigma=self.log_sigma,
                count=self.count,
                factors=self.prior.factors,
            ),
            data=data
            | {
                "n_frames": data["n_frames"] + len(frames),
                "n_atoms": data["n_atoms"] + sum(len(f.numbers) for f in frames),
                "n_rows": self.count
                - len(data.get("imagined_sigmas", []))
                - len(data.get("rises", []))
                - len(data.get("holes", [])),
            },
        )


def _extended(prior: Prior, found: Found) -> Prior:
    """The prior with the new points at the ends of their blocks."""
    factors = iter(prior.factors)
    terms: list[Term] = []
    extended: list[Array] = []
    for number, term in enumerate(prior.terms):
        rest = {species: new for (place, species), new in found.items() if place == number}
        known = {block.species for block in term.blocks}
        empty = [_nothing(s, n.points.shape[1]) for s, n in rest.items() if s not in known]
        blocks = []
        for block, factor in [*((b, next(factors)) for b in term.blocks), *empty]:
            new = rest.get(block.species)
            if new is not None:
                points = np.ascontiguousarray(np.concatenate([block.points, new.points]))
                zeros = np.zeros((len(factor), len(new.points)))
                factor = np.block([[factor, zeros], [new.cross, new.factor]])
                block = Block(block.species, points)
            blocks.append(block)
            extended.append(factor)
        terms.append(term.with_blocks(blocks))
    return Prior(tuple(terms), tuple(extended))
