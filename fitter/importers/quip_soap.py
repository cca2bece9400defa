"""SOAP descriptors of QUIP's GAPs as terms of a potential, exactly.

The energy of a centre with spectrum p is the sum over the sparse points p_m

    sum_m alphas[m] point_cutoffs[m] delta² (p . p_m)^zeta;

f0 is in no covariance of dot products, as quippy's answers show.

QUIP's spectrum is that of a soap term, or with compression of a soap_contracted term, but for the order
of its numbers, and a last one that is covariance_sigma0. What it gives an isolated atom is a constant,
which goes into the energies of the isolated atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from forcemap.fitter.importers.gap import Array, Brought, Coordinate
from forcemap.fitter.importers.quip_arguments import Arguments
from forcemap.fitter.importers.quip_mixing import Layout, every_pair, layout_of
from forcemap.fitter.importers.quip_radial import DEGREE, QuipRadial, tabulated
from forcemap.fitter.importers.soap_ranks import reduced
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.terms import SoapCenter, SoapContractedFunctions, SoapFunctions
from forcemap.potentials.terms.base import MappedTerm
from numpy.typing import NDArray

__all__ = ["soap_terms"]

COMPRESSING = (
    *("r_mix", "z_mix", "sym_mix", "coupling", "k", "mix_shift"),
    *("nu_r", "nu_s", "z_map", "diagonal_radial"),
)
"""Arguments that are about compression."""

MOST_RADIAL, MOST_ANGULAR = 128, 20
"""Radial functions and angular number of a term."""


@dataclass(frozen=True)
class _Density:
    """What the density about an atom is, and how its spectrum is made.

    Attributes:
        radial: the radial functions.
        species: atomic numbers of the channels, in the descriptor's order; 0: of all neighbours.
        central_weight: of the centre's own Gaussian.
        everywhere: the centre's own Gaussian is in all channels, not in that of its species; it is
            in a single channel whatever the centre.
        compression: the arguments that are about compression; empty for a plain power spectrum.
        zeta: the exponent.
    """

    radial: QuipRadial
    species: tuple[int, ...]
    central_weight: float
    everywhere: bool
    compression: tuple[tuple[str, str], ...]
    zeta: float


@dataclass(frozen=True, eq=False)
class _Sum:
    """Sum over the sparse points of the centres of some species.

    Attributes:
        coordinate: where it comes from.
        density: of its spectrum.
        layout: of its pairs; None of a plain power spectrum.
        centres: atomic numbers.
    """

    coordinate: Coordinate
    density: _Density
    layout: Layout | None
    centres: tuple[int, ...]


def soap_terms(
    coordinates: Sequence[Coordinate], species: Sequence[int], rank: int | None = None
) -> Brought:
    """The terms of all SOAP descriptors of a GAP; one for those that differ in the centre alone.

    Args:
        coordinates: of the kind "soap".
        species: atomic numbers of the potential, increasing. Descriptors without a centre's species are
            for all of them.
        rank: of vectors that a centre may have; None: as many as the exact sum needs. What they lose is
            in the notes.

    Raises:
        ForcemapError: names the option that cannot be brought in.
    """
    groups: dict[_Density, list[_Sum]] = {}
    for coordinate in coordinates:
        one = _read(coordinate, species)
        groups.setdefault(one.density, []).append(one)
    terms: list[MappedTerm] = []
    e0: dict[int, float] = {}
    notes: list[Any] = []
    for sums in groups.values():
        brought = _with_centers(*_spectrum(sums, species), sums, species, rank)
        terms += brought.terms
        for z, energy in brought.e0.items():
            e0[z] = e0.get(z, 0.0) + energy
        notes.append(brought.notes)
    return Brought(tuple(terms), e0, {"soap_rank": notes} if any(notes) else {})


# ----- reading -----


def _read(coordinate: Coordinate, species: Sequence[int]) -> _Sum:
    arguments = coordinate.arguments
    if coordinate.covariance != "dot_product" or coordinate.zeta is None:
        coordinate.fail(
            f"soap with covariance_type={coordinate.covariance} cannot be imported; dot_product can"
        )
    _refuse(arguments)
    channels = arguments.integers("species_Z", (0,)) or (0,)
    if len(set(channels)) < len(channels) or (0 in channels and len(channels) > 1):
        arguments.fail_at("species_Z", "names a species twice, or 0, which is any, beside others")
    radial = _radial(arguments)
    layout = layout_of(arguments, channels, radial.n_max)
    compression: tuple[tuple[str, str], ...] = ()
    if layout is not None:
        compression = tuple((name, arguments[name]) for name in COMPRESSING if name in arguments)
    density = _Density(
        radial,
        tuple(channels),
        arguments.number("central_weight", 1.0),
        len(channels) == 1 or arguments.truth("central_reference_all_species", False),
        compression,
        coordinate.zeta,
    )
    _check_size(coordinate, density, layout)
    return _Sum(coordinate, density, layout, _centres(arguments, species))


def _refuse(arguments: Arguments) -> None:
    """Raise ForcemapError for what a spectrum here cannot be."""
    if arguments.truth("average", False):
        arguments.fail_at("average", "gives one descriptor for all atoms, which is no sum of atoms")
    for name in ("normalise", "normalize"):
        if not arguments.truth(name, True):
            arguments.fail_at(name, "cannot be imported: spectra here have length 1")
    if arguments.number("covariance_sigma0", 0.0) != 0.0:
        arguments.fail_at("covariance_sigma0", "cannot be imported unless it is 0")
    basis = arguments.get("radial_basis", "EQUISPACED_GAUSS").strip().upper()
    if basis not in {"", "EQUISPACED_GAUSS"}:
        arguments.fail_at("radial_basis", "cannot be imported; EQUISPACED_GAUSS can")


def _radial(arguments: Arguments) -> QuipRadial:
    cutoff, width = arguments.number("cutoff"), arguments.number("cutoff_transition_width", 0.5)
    sigma = arguments.number(arguments.last_of("atom_sigma", "atom_gaussian_width") or "atom_sigma")
    n_max, l_max = arguments.integer("n_max"), arguments.integer("l_max")
    error = arguments.number("basis_error_exponent", 10.0)
    decay = (
        arguments.integer("cutoff_dexp", 0),
        arguments.number("cutoff_scale", 1.0),
        arguments.number("cutoff_rate", 1.0),
    )
    if not 0.0 < cutoff <= 100.0:
        arguments.fail_at("cutoff", "is not within 0 < cutoff <= 100 Å")
    if not 0.0 < width <= cutoff:
        arguments.fail_at("cutoff_transition_width", "is not above 0 Å, at most the cutoff")
    if not 0.01 <= sigma <= cutoff:
        arguments.fail("atom_sigma is not from 0.01 Å to the cutoff")
    if not 1 <= n_max <= MOST_RADIAL:
        arguments.fail_at("n_max", f"is not from 1 to {MOST_RADIAL}")
    if not 0 <= l_max <= MOST_ANGULAR:
        arguments.fail_at("l_max", f"is not from 0 to {MOST_ANGULAR}")
    if not error > 0.0:
        arguments.fail_at("basis_error_exponent", "is not above 0")
    if decay[0] and not (decay[1] > 0.0 and decay[2] >= 0.0):
        arguments.fail("cutoff_dexp needs cutoff_scale above 0 and cutoff_rate of 0 or more")
    radial = QuipRadial(
        cutoff, width, n_max, l_max, sigma, error, decay if decay[0] else (0, 1.0, 1.0)
    )
    try:
        radial.values(np.zeros(1))
    except np.linalg.LinAlgError:
        arguments.fail("n_max radial functions this close are not independent; this is no basis")
    return radial


def _centres(arguments: Arguments, species: Sequence[int]) -> tuple[int, ...]:
    given = arguments.integers("Z", (0,))
    return tuple(species) if 0 in given else tuple(dict.fromkeys(given))


def _check_size(coordinate: Coordinate, density: _Density, layout: Layout | None) -> None:
    width = len(density.species) * density.radial.n_max
    pairs = width * (width + 1) // 2 if layout is None else len(layout.pairs)
    expected = pairs * (density.radial.l_max + 1) + 1
    if coordinate.points.shape[1] != expected:
        coordinate.fail(
            f"the sparse points have {coordinate.points.shape[1]} numbers, the descriptor {expected}"
        )


# ----- spectra -----


def _spectrum(
    sums: Sequence[_Sum], species: Sequence[int]
) -> tuple[SoapFunctions | SoapContractedFunctions, NDArray[np.intp]]:
    """A term without centres, and for each of its spectrum's numbers the place among QUIP's."""
    density, layout = sums[0].density, sums[0].layout
    radial = density.radial
    table = tabulated(radial)
    fields: dict[str, Any] = {
        "cutoff": radial.cutoff,
        "intervals": len(table) - DEGREE,
        "n_max": radial.n_max,
        "l_max": radial.l_max,
        "radial": table,
        "degree": DEGREE,
        "cosine_width": radial.cosine_width,
        "zeta": density.zeta,
        "centers": {},
    }
    # What each channel has of each species of the potential, (channels, species).
    shares = np.array([[float(own in {0, z}) for z in species] for own in density.species])
    own = density.central_weight * radial.centre
    reference = np.ones_like(shares) if density.everywhere else shares
    centres = [column for column, z in enumerate(species) if any(z in one.centres for one in sums)]
    if layout is None and np.array_equal(reference[:, centres], shares[:, centres]):
        # In the order of the species the loops need not mix the channels.
        by_number = np.argsort(density.species, kind="stable")
        weights = np.ascontiguousarray(shares[by_number])
        order = _plain_order(by_number, radial.n_max, radial.l_max + 1)
        return SoapFunctions(self_density=own, weights=weights, **fields), order
    layout = layout or every_pair(len(shares) * radial.n_max)
    channels, pairs, permutation = _rows(layout)
    mixed = channels.reshape(-1, len(shares), radial.n_max)
    term = SoapContractedFunctions(
        mixing=np.ascontiguousarray(np.einsum("qkn,ks->snq", mixed, shares)),
        self_density=np.ascontiguousarray(np.einsum("qkn,ks,n->sq", mixed, reference, own)),
        pairs=pairs,
        pair_weights=np.ascontiguousarray(layout.weights[permutation]),
        **fields,
    )
    orders = radial.l_max + 1
    return term, (permutation[None, :] * orders + np.arange(orders)[:, None]).ravel()


def _plain_order(channels: NDArray[np.intp], n_max: int, orders: int) -> NDArray[np.intp]:
    """Places of a soap term's numbers among QUIP's, pairs j <= i of (species, n) with l fastest.

    Args:
        channels: the descriptor's species in each of the term's channels.
        n_max: number of radial functions.
        orders: l_max + 1.
    """
    given = (channels[:, None] * n_max + np.arange(n_max)).ravel()
    a, b = np.triu_indices(len(given))
    low, high = np.minimum(given[a], given[b]), np.maximum(given[a], given[b])
    pair = high * (high + 1) // 2 + low
    return np.asarray((pair[None, :] * orders + np.arange(orders)[:, None]).ravel())


def _rows(layout: Layout) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """All channels, the pairs in an order of long rows, and the place of each among the layout's."""
    permutation = np.arange(len(layout.pairs))
    if layout.second is None:
        return layout.first, layout.pairs, permutation
    first, second = len(layout.first), len(layout.second)
    pairs = layout.pairs + np.array([0, first])
    if first > second and len(pairs) == first * second:
        # All pairs, fewer of the second set: rows along the first one.
        permutation = np.lexsort((pairs[:, 0], pairs[:, 1]))
        pairs = pairs[permutation][:, ::-1]
    return np.concatenate([layout.first, layout.second]), np.ascontiguousarray(pairs), permutation


def _isolated(term: SoapFunctions | SoapContractedFunctions, column: int) -> Array:
    """The spectrum of an isolated atom of a species, (dimension,)."""
    if isinstance(term, SoapFunctions):
        c = np.outer(term.weights[:, column], term.self_density).ravel()
        a, b = np.triu_indices(len(c))
        weights = np.where(a == b, 1.0, np.sqrt(2.0))
    else:
        c, (a, b), weights = term.self_density[column], term.pairs.T, term.pair_weights
    spectrum = np.zeros(term.dimension)
    spectrum[: len(a)] = weights * c[a] * c[b]
    length = float(np.linalg.norm(spectrum))
    return spectrum / length if length > 0.0 else spectrum


# ----- energies -----


def _with_centers(
    term: SoapFunctions | SoapContractedFunctions,
    order: NDArray[np.intp],
    sums: Sequence[_Sum],
    species: Sequence[int],
    rank: int | None,
) -> Brought:
    """The term with the energies of all centres."""
    centers: dict[str, SoapCenter] = {}
    e0: dict[int, float] = {}
    notes: dict[str, Any] = {}
    for column, z in enumerate(species):
        own = [one.coordinate for one in sums if z in one.centres]
        if not own:
            continue
        factors = np.concatenate([one.delta**2 * one.alphas * one.point_cutoffs for one in own])
        vectors = np.ascontiguousarray(np.concatenate([one.points[:, order] for one in own]))
        alone = _isolated(term, column)
        e0[z] = float(factors @ (vectors @ alone) ** term.zeta)
        found = reduced(factors, vectors, term.zeta, rank)
        if found.note:
            notes[SYMBOLS[z]] = found.note
        constant = float(found.factors @ (found.vectors @ alone) ** term.zeta)
        centers[SYMBOLS[z]] = SoapCenter(found.factors, found.vectors, constant)
    if not centers:
        sums[0].coordinate.fail("has centres of no species of the potential")
    return Brought((replace(term, centers=centers),), e0, notes)
