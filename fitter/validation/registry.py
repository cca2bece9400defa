"""All checks, in the order in which they are made; each may build on those before it."""

from __future__ import annotations

from forcemap.fitter.validation.check import Check
from forcemap.fitter.validation.crystal import Crystal
from forcemap.fitter.validation.elastic import Elastic
from forcemap.fitter.validation.equation_of_state import EquationOfState

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (Crystal(), EquationOfState(), Elastic())
