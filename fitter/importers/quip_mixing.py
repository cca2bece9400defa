"""QUIP's pairs of channels: what a SOAP descriptor's numbers are products of, in QUIP's order.

The density has one channel for each species and radial function. A plain power spectrum has all pairs
of them. Compressed ones (Darby, Kermode and Csányi, npj Comput. Mater. 8, 166 (2022), DOI
10.1038/s41524-022-00847-y; Darby et al., Phys. Rev. Lett. 131, 028001 (2023), DOI
10.1103/PhysRevLett.131.028001) are products of the channels of two sets, whose channels are sums of
those of the density: over species or radial functions (``nu_R``, ``nu_S``), over groups of species
(``Z_map``), or with random weights (``R_mix``, ``Z_mix``). The weights are not in a GAP's file: they
come from QUIP's own generator of random numbers, with seeds that follow from species and sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.importers.quip_arguments import Arguments, bare_text
from numpy.typing import NDArray

__all__ = ["Layout", "every_pair", "layout_of", "normal_numbers"]

Array = NDArray[np.float64]

MODULUS, MULTIPLIER = 2**31 - 1, 16807
"""Of the generator of Park and Miller, Commun. ACM 31, 1192 (1988), DOI 10.1145/63039.63042."""

WARM_UP = 100
"""Numbers that are left out after each new seed."""

SEED_STEP = 200
"""Between the seeds of the first and of the second set of channels, and of the first and 0."""

MOST_SHIFT = 1_000_000
"""Of the seeds."""

SINGLE_ROOT = float(np.sqrt(np.float32(2.0)))
"""The root of 2 that elementwise pairs have, of single precision."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Pairs of channels, in QUIP's order.

    Attributes:
        first, second: (channels, species * n_max) channels of both sets, as sums of those of the
            density; `second` is None where both are the same.
        pairs: (pairs, 2) a channel of the first and one of the second set.
        weights: (pairs,).
    """

    first: Array
    second: Array | None
    pairs: NDArray[np.intp]
    weights: Array


def normal_numbers(seed: int, count: int) -> Array:
    """Normally distributed numbers (count,) as QUIP draws them after a seed.

    By the polar method of Marsaglia, of whose two numbers one is used.
    """
    state = seed * pow(MULTIPLIER, WARM_UP, MODULUS) % MODULUS
    found: list[float] = []
    while len(found) < count:
        state = state * MULTIPLIER % MODULUS
        a = 2.0 * (state / MODULUS) - 1.0
        state = state * MULTIPLIER % MODULUS
        b = 2.0 * (state / MODULUS) - 1.0
        square = a * a + b * b
        if 0.0 < square < 1.0:
            found.append(a * float(np.sqrt(-2.0 * np.log(square) / square)))
    return np.array(found)


def layout_of(arguments: Arguments, species: Sequence[int], n_max: int) -> Layout | None:
    """The pairs of a descriptor; None for those of a plain power spectrum.

    Args:
        arguments: of the descriptor.
        species: atomic numbers of the density's channels, in the descriptor's order.
        n_max: number of radial functions.

    Raises:
        ForcemapError: a combination that QUIP does not have.
    """
    mixed = [name for name in ("r_mix", "z_mix") if arguments.truth(name, False)]
    orders = arguments.integer("nu_R", 2), arguments.integer("nu_S", 2)
    for name, order in zip(("nu_R", "nu_S"), orders, strict=True):
        if not 0 <= order <= 2:
            arguments.fail_at(name, "is not 0, 1 or 2")
    coupled = arguments.truth("coupling", True)
    diagonal = arguments.truth("diagonal_radial", False)
    mapped = bool(bare_text(arguments.get("z_map", "")))
    ways = {
        **dict.fromkeys(mixed, True),
        "Z_map": mapped,
        "nu_R, nu_S": orders != (2, 2),
        "diagonal_radial": diagonal,
    }
    used = [name for name, there in ways.items() if there]
    if len(used) > 1 and used != ["r_mix", "z_mix"]:
        arguments.fail(
            f"{' and '.join(used)} do not go together; QUIP refuses or ignores one of them"
        )
    if diagonal and not coupled:
        arguments.fail("diagonal_radial=T and coupling=F do not go together")
    if mixed:
        return _mixed(arguments, species, n_max)
    density = np.eye(len(species) * n_max).reshape(len(species), n_max, -1)
    if mapped:
        return _grouped(arguments, species, density)
    if diagonal:
        return _diagonal(density)
    if orders != (2, 2):
        return _summed(arguments, density, orders)
    if not coupled:
        flat = density.reshape(-1, density.shape[2])
        return _layout(flat, None, ((a, a, 1.0) for a in range(len(flat))))
    return None


def every_pair(channels: int) -> Layout:
    """All pairs of the density's channels, those of a plain power spectrum."""
    every = np.eye(channels)
    return _layout(every, None, _all_pairs(every, None))


def _layout(first: Array, second: Array | None, pairs: Iterator[tuple[int, int, float]]) -> Layout:
    a, b, weights = zip(*pairs, strict=True)
    return Layout(first, second, np.array([a, b], dtype=np.intp).T, np.array(weights))


def _all_pairs(first: Array, second: Array | None) -> Iterator[tuple[int, int, float]]:
    """All pairs of both sets, or each pair of one set once."""
    for a in range(len(first)):
        if second is not None:
            yield from ((a, b, 1.0) for b in range(len(second)))
        else:
            yield from ((a, b, 1.0 if a == b else float(np.sqrt(2.0))) for b in range(a + 1))


def _coupled(
    arguments: Arguments, first: Array, second: Array | None, names: str
) -> Iterator[tuple[int, int, float]]:
    """All pairs, or with coupling=F those of equal place."""
    if arguments.truth("coupling", True):
        return _all_pairs(first, second)
    if second is not None and len(first) != len(second):
        arguments.fail_at(
            "coupling", f"needs two sets of equally many channels, which {names} has not"
        )
    return ((a, a, 1.0) for a in range(len(first)))


def _summed(arguments: Arguments, density: Array, orders: tuple[int, int]) -> Layout:
    """Sums over radial functions and species (nu_R, nu_S), 2: in no set, 1: in the second, 0: both."""

    def channels(least: int) -> Array:
        radial, species = (order >= least for order in orders)
        some = density if species else density.sum(axis=0, keepdims=True)
        some = some if radial else some.sum(axis=1, keepdims=True)
        return np.asarray(some.reshape(-1, density.shape[2]))

    first, second = channels(1), None if 1 not in orders else channels(2)
    return _layout(first, second, _coupled(arguments, first, second, "nu_R, nu_S"))


def _grouped(arguments: Arguments, species: Sequence[int], density: Array) -> Layout:
    """Sums over groups of species, which commas separate; a colon separates two sets of groups."""
    sets = bare_text(arguments["z_map"]).split(":")
    if len(sets) > 2:
        arguments.fail_at("Z_map", "has more than two sets of groups")

    def channels(text: str) -> Array:
        groups = []
        for group in text.split(","):
            words = group.split()
            if not words or not all(word.isdigit() and int(word) in species for word in words):
                arguments.fail_at("Z_map", "has a group that is not of the numbers in species_Z")
            groups.append(sum(density[species.index(int(word))] for word in words))
        return np.asarray(groups).reshape(-1, density.shape[2])

    first, second = channels(sets[0]), None if len(sets) == 1 else channels(sets[1])
    return _layout(first, second, _coupled(arguments, first, second, "Z_map"))


def _diagonal(density: Array) -> Layout:
    """Pairs of one radial function, of any species."""
    species, n_max = density.shape[:2]
    flat = density.reshape(-1, density.shape[2])
    pairs = (
        (a, b, 1.0 if a == b else float(np.sqrt(2.0)))
        for a in range(species * n_max)
        for b in range(a % n_max, a + 1, n_max)
    )
    return _layout(flat, None, pairs)


def _mixed(arguments: Arguments, species: Sequence[int], n_max: int) -> Layout:
    """Channels with random weights: of radial functions, of species, or of both together."""
    radial, elements = arguments.truth("r_mix", False), arguments.truth("z_mix", False)
    count, shift = arguments.integer("K", 0), arguments.integer("mix_shift", 0)
    if not 1 <= count <= 4096:
        arguments.fail(
            f"R_mix and Z_mix need K from 1 to 4096, the number of channels; found {count}"
        )
    if not 0 <= shift <= MOST_SHIFT:
        arguments.fail_at("mix_shift", f"is not from 0 to {MOST_SHIFT}")
    symmetric = arguments.truth("sym_mix", False)
    density = np.eye(len(species) * n_max).reshape(len(species), n_max, -1)

    def channels(which: int) -> Array:
        """(outer, inner, species * n_max)."""
        seed = SEED_STEP * which + shift
        if radial and elements:
            some = [normal_numbers(seed + z, n_max * count).reshape(n_max, count) for z in species]
            return np.concatenate(some).T[None]
        if radial:
            weights = normal_numbers(seed + n_max, n_max * count).reshape(n_max, count)
            return np.asarray(np.einsum("nk,snx->skx", weights, density))
        by_species = np.array([normal_numbers(seed + z, count) for z in species])
        return np.asarray(np.einsum("sk,snx->knx", by_species, density))

    first = channels(1)
    outer, inner, size = first.shape
    second = None if symmetric else channels(2).reshape(-1, size)
    if arguments.truth("coupling", True):
        return _layout(first.reshape(-1, size), second, _all_pairs(first.reshape(-1, size), second))
    pairs = _elementwise(outer, inner, (radial, elements), symmetric)
    return _layout(first.reshape(-1, size), second, pairs)


def _elementwise(
    outer: int, inner: int, mixed: tuple[bool, bool], symmetric: bool
) -> Iterator[tuple[int, int, float]]:
    """Pairs of channels with the same mixed index, and any of the index that is not mixed."""
    if all(mixed):
        yield from ((k, k, 1.0) for k in range(inner))
        return
    radial = mixed[0]
    free, fixed = (outer, inner) if radial else (inner, outer)

    def pair(a: int, b: int, k: int) -> tuple[int, int, float]:
        weight = 1.0 if a == b or not symmetric else SINGLE_ROOT
        return (
            (a * inner + k, b * inner + k, weight)
            if radial
            else (k * inner + a, k * inner + b, weight)
        )

    places = [(a, b) for a in range(free) for b in range(a + 1 if symmetric else free)]
    if radial:
        yield from (pair(a, b, k) for a, b in places for k in range(fixed))
    else:
        yield from (pair(a, b, k) for k in range(fixed) for a, b in places)
