"""A model's terms as those of a potential, at a resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from forcemap.fitter.baseline.baseline import repulsion_terms
from forcemap.fitter.process.model import Model
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.base import Array, MapPlan, Term
from forcemap.fitter.terms.rows import term_columns
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms.base import MappedTerm

__all__ = ["Tabulation"]

EIGEN = 10.0
"""What an operation of an eigen-decomposition takes, in those of products."""

NO_PARTS: Mapping[int, float] = {}


def _mapped(plan: MapPlan, part: tuple[Term, Array]) -> MappedTerm | None:
    """A term with its weights (points, 1) after a plan."""
    term, weights = part
    return term.mapped(weights, plan)


def _map_cost(term: Term, atoms: int) -> float:
    """Of making a term's map on frames of so many atoms: operations, those of eigenvectors as dear."""
    work = term.map_work({block.species: block.size for block in term.blocks}, atoms)
    return work.products + EIGEN * work.eigen + term.size


@dataclass(frozen=True)
class Tabulation:
    """A model mapped after a plan.

    Attributes:
        model: with a map for every term.
        plan: the resolution.
        kept: mapped terms by number and part, made as they are asked for.
    """

    model: Model
    plan: MapPlan
    kept: dict[tuple[int, float], MappedTerm | None] = field(default_factory=dict, repr=False)

    def at(self, spacing: float) -> Tabulation:
        """The same with knots `spacing` (Å) apart."""
        return replace(self, plan=replace(self.plan, spacing=spacing), kept={})

    @property
    def is_exact(self) -> bool:
        """Whether no resolution has to be chosen."""
        return all(term.map_is_exact for term in self.model.terms)

    @property
    def bytes(self) -> int:
        """Memory of those tables whose size the spacing decides."""
        return sum(term.map_bytes(self.plan) for term in self.model.terms if not term.map_is_exact)

    def _mapped(self, t: int, part: float) -> MappedTerm | None:
        if (t, part) not in self.kept:
            term, where = list(term_columns(self.model.terms))[t]
            plan = replace(self.plan, part=part)
            self.kept[t, part] = term.mapped(self.model.weights[where, None], plan)
        return self.kept[t, part]

    def made(self, run: Run) -> Tabulation:
        """The same with all terms mapped, whole, by all ranks where the first leads."""
        terms = self.model.terms
        parts = [(term, self.model.weights[where, None]) for term, where in term_columns(terms)]
        function = partial(_mapped, replace(self.plan, cache={}))
        atoms = sum(len(frame.numbers) for frame in self.plan.frames)
        mapped = run.handed_out(function, parts, [_map_cost(term, atoms) for term in terms])
        return replace(self, kept={(t, 1.0): term for t, term in enumerate(mapped)})

    def mapped(self, t: int) -> MappedTerm:
        """The term at place `t`, which has something to map, whole."""
        found = self._mapped(t, 1.0)
        assert found is not None
        return found

    def reducible(self, choice: str | None) -> Sequence[int]:
        """Places of the terms of which parts may be left out."""
        return [
            t
            for t, term in enumerate(self.model.terms)
            if term.may_leave_out(choice) and self._mapped(t, 1.0) is not None
        ]

    def data(self, parts: Mapping[int, float] = NO_PARTS) -> PotentialData:
        """The content of a potential; of the terms in `parts` only so much of their functions."""
        model = self.model
        terms = [self._mapped(t, parts.get(t, 1.0)) for t in range(len(model.terms))]
        atoms = model.atom_energies()
        return PotentialData(
            tuple(SYMBOLS[z] for z in model.species),
            {SYMBOLS[z]: float(atoms[z]) for z in model.species},
            (*(term for term in terms if term is not None), *repulsion_terms(model.repulsion)),
            provenance={
                "data": {name: value for name, value in model.data.items() if name != "holes"},
                "settings": dict(model.settings),
                "log_marginal_likelihood": model.log_marginal_likelihood,
                **({"fit": model.identity} if model.identity else {}),
            },
        )
