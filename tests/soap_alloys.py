"""Soap terms with sparse points from crystals of several elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import structures
from ase.build import bulk
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.soap.channels import species_weights
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.fitter.terms.soap.term import SoapTerm

ALLOY = ("Al", "Ni", "Cu", "Pd", "Ag")


def alloy(symbols: tuple[str, ...], count: int) -> list[Frame]:
    """Rattled fcc cells of sixteen atoms of random elements."""
    rng = np.random.default_rng(0)
    frames = []
    for n in range(count):
        atoms = bulk("Cu", cubic=True, a=3.7).repeat((2, 2, 1))
        atoms.symbols[:] = rng.choice(symbols, len(atoms))
        atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
        frames.append(structures.as_frame(atoms, index=n))
    return frames


def term_of(frames: list[Frame], points: int, **basis: Any) -> SoapTerm:
    """A term with the first `points` environments of every species as sparse points."""
    shape = {"cutoff": 3.8, "cutoff_width": 1.5, "n_max": 4, "l_max": 3, "atom_sigma": 0.5}
    radial_basis = RadialBasis(**{**shape, **basis})
    radial, own = tabulate(radial_basis)
    species = tuple(sorted({int(z) for frame in frames for z in frame.numbers}))
    weights = species_weights(species, None)
    term = SoapTerm(radial_basis, 2, species, weights, radial, own, radial_basis.cutoff)
    pools, _ = candidate_pools(frames, term, np.random.default_rng(0))
    return term.with_blocks([Block(species, p.points[:points]) for species, p in pools.items()])
