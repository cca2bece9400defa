"""All checks, in the order in which they are made; each may build on those before it."""

from __future__ import annotations

from forcemap.fitter.validation.check import Check
from forcemap.fitter.validation.crystal import Crystal
from forcemap.fitter.validation.density import Density
from forcemap.fitter.validation.dimer import Dimer
from forcemap.fitter.validation.elastic import Elastic
from forcemap.fitter.validation.energy_drift import EnergyDrift
from forcemap.fitter.validation.equation_of_state import EquationOfState
from forcemap.fitter.validation.extremes import Extremes
from forcemap.fitter.validation.heating import Heating
from forcemap.fitter.validation.interstitial import Interstitial
from forcemap.fitter.validation.pair_distribution import PairDistribution
from forcemap.fitter.validation.phonons import Phonons
from forcemap.fitter.validation.random_structures import RandomStructures
from forcemap.fitter.validation.surfaces import Surfaces
from forcemap.fitter.validation.trimer import Trimer
from forcemap.fitter.validation.vacancy import Vacancy
from forcemap.fitter.validation.vibrations import Vibrations

__all__ = ["CHECKS"]

CHECKS: tuple[Check, ...] = (
    Crystal(),
    EquationOfState(),
    Elastic(),
    Phonons(),
    Vacancy(),
    Interstitial(),
    Surfaces(),
    Dimer(),
    Trimer(),
    Extremes(),
    RandomStructures(),
    Vibrations(),
    EnergyDrift(),
    Density(),
    Heating(),
    PairDistribution(),
)
