"""The solution of a fit, made as exact as its rows are.

Sums of products of rows carry rounding, which the condition number of their matrix multiplies: labels
of nickel came out 1e-5 eV/Å beside those of a QR of all rows. What is left of the normal equations,

    g = sum Xᵀr - u,        S du = g,

follows from the residuals r of the solution u without a product of two rows, and one step du of this
iterative refinement (Björck, Numerical Methods for Least Squares Problems (1996), section 2.9) removes
most of the error (2e-10 eV/Å are left there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.linalg
from forcemap.fitter.process.accumulate import whitened_rows
from forcemap.fitter.process.blocks import blocks_of, costs_of, places_of
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.solver import add_exactly
from forcemap.fitter.terms.base import Array
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.fitter.uncertainty.leave_one_out import Posterior, scaled_block
from threadpoolctl import threadpool_limits

__all__ = ["refined"]


def refined(
    targets: Sequence[Targets], prior: Prior, posterior: Posterior, kept: KeptRows, run: Run
) -> Posterior:
    """The posterior with its solution after one step, on all ranks, which call this together.

    The numbers do not depend on threads and ranks. Rows that are not `kept` are computed again and
    then kept.
    """
    blocks = blocks_of(targets)
    costs = costs_of(blocks, prior)

    def pull_of(number: int) -> Array:
        rows = kept.take(number)
        if rows is None:
            rows = whitened_rows(blocks[number], prior)
            kept.keep(number, rows)
        places = places_of(blocks[number], prior)
        residuals, _ = scaled_block(blocks[number], rows, posterior, places)
        pull = np.zeros(len(posterior.values))
        pull[places] = residuals @ rows
        return pull

    total, low = np.zeros(len(posterior.values)), np.zeros(len(posterior.values))
    with (
        run.stage("refining the solution", len(blocks)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        pulls = run.ranks.map_in_order(pull_of, range(len(blocks)), costs, run.jobs)
        for pull in pulls:
            add_exactly(total, low, pull)
            advance()
        # The values alone: the factor, which all ranks have, is large.
        values = run.ranks.on_first(lambda: _stepped(posterior, total + low))
    return replace(posterior, values=values)


def _stepped(posterior: Posterior, pull: Array) -> Array:
    """(m,) values of the solution after one step."""
    scaled = posterior.values / posterior.deltas
    rows, values = posterior.imagined
    pull = pull + posterior.deltas * ((values - rows @ posterior.values) @ rows)
    step = scipy.linalg.cho_solve((posterior.factor, True), pull - scaled, check_finite=False)
    return np.asarray(posterior.deltas * (scaled + step))
