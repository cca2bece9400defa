"""Random, smooth potentials for tests: every species, pair and triplet has a table of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product
from typing import TypeVar

import numpy as np
from forcemap.fitter.terms.bispectrum import products_of
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.potentials.elements import atomic_number
from forcemap.potentials.file.potential_file import Draws, PotentialData
from forcemap.potentials.grade import Grade, Moments
from forcemap.potentials.terms import (
    BispectrumFunctions,
    EmbeddingCenter,
    EmbeddingFunctions,
    MappedTerm,
    SoapCenter,
    SoapContractedFunctions,
    SoapFunctions,
    SoapQuadraticCenter,
    SoapQuadraticFunctions,
    ThreeBodyKernelSums,
    ThreeBodySplines,
    TwoBodySplines,
    ZblPairs,
)
from forcemap.potentials.terms.soap import RadialFunctions
from kernel_sums import random_kernel_sums
from numpy.typing import NDArray

Array = NDArray[np.float64]
AnyRadial = TypeVar("AnyRadial", bound=RadialFunctions)


def random_potential(
    species: Sequence[str],
    seed: int,
    *,
    two_body_cutoff: float = 5.0,
    three_body_cutoff: float = 4.0,
    intervals: int = 60,
    leg_intervals: int = 14,
    base_intervals: int = 24,
    zbl: bool = True,
    soap: bool = False,
    embedding: bool = False,
    kernels: bool = False,
) -> PotentialData:
    """A potential of `species` (any order) with a two-body, a three-body and, if asked, a zbl term.

    With `embedding` there are two embedding terms, some of whose species have no function or density.
    With `soap` there are also soap terms of zeta 1 to 4, one of which mixes the species in two
    channels, one of zeta 2.5 with splines of degree 5 that a cosine ends, a soap_contracted, a
    soap_quadratic and a bispectrum term.
    With `kernels` there are three_body_kernel terms of every form.

    Pair energies are some tenths of an eV with a soft repulsion below 2 Å, triplets some
    hundredths. Tables go to zero at the cutoff with two derivatives; no two are alike.
    """
    rng = np.random.default_rng(seed)
    symbols = tuple(sorted(set(species), key=atomic_number))
    pairs = list(combinations_with_replacement(symbols, 2))
    two_body = TwoBodySplines(
        two_body_cutoff,
        intervals,
        {pair: _pair_table(rng, two_body_cutoff, intervals) for pair in pairs},
    )
    three_body = ThreeBodySplines(
        three_body_cutoff,
        leg_intervals,
        base_intervals,
        {
            (centre, a, b): _triplet_table(rng, leg_intervals, base_intervals, symmetric=a == b)
            for centre in symbols
            for a, b in pairs
        },
    )
    cores = ZblPairs({pair: (rng.uniform(0.4, 0.7), rng.uniform(1.0, 1.4)) for pair in pairs})
    e0 = {symbol: float(rng.uniform(-2.0, 0.5)) for symbol in symbols}
    terms: list[MappedTerm] = [two_body, three_body]
    if kernels:
        terms += random_kernel_sums(rng, symbols, 0.9 * three_body_cutoff)
    if embedding:
        terms += [
            random_embedding(rng, symbols, 1.1 * three_body_cutoff, 20, range_=1.0),
            random_embedding(rng, symbols[:2], 0.9 * two_body_cutoff, 33, range_=4.0),
        ]
    if soap:
        plain = np.eye(len(symbols))
        mixed = rng.uniform(-1.0, 1.0, (2, len(symbols)))
        terms += [
            random_soap(rng, symbols, zeta, weights)
            for zeta, weights in ((1, plain), (2, plain), (3, mixed), (4, plain))
        ]
        terms.append(random_quadratic(rng, symbols, mixed))
        terms += [random_fraction(rng, symbols), random_contracted(rng, symbols)]
        terms.append(random_bispectrum(rng, symbols))
    return PotentialData(species=symbols, e0=e0, terms=(*terms, cores) if zbl else tuple(terms))


def random_embedding(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    cutoff: float,
    intervals: int,
    *,
    range_: float,
    scale: float = 0.5,
) -> EmbeddingFunctions:
    """An embedding term with densities of either sign, energies some `scale` eV.

    A and B see different densities of each other, and do not see each other's in the same way.
    """
    pairs = list(product(symbols, repeat=2))
    if len(pairs) > 1:
        pairs.pop(1)
    x = _abscissae(intervals)
    return EmbeddingFunctions(
        cutoff,
        intervals,
        {pair: np.asarray(_envelope(x) * (2.0 + 6.0 * _waves(rng, x))) for pair in pairs},
        {
            symbol: EmbeddingCenter(
                range_ * (1.0 + 0.1 * n), scale * _waves(rng, _abscissae(7 + n))
            )
            for n, symbol in enumerate(symbols)
        },
    )


def _isolated_spectrum(c: Array, dimension: int) -> Array:
    """The normalised power spectrum of an atom without neighbours, of coefficients for l = 0."""
    rows, cols = np.triu_indices(len(c))
    p = np.zeros(dimension)
    p[: len(rows)] = c[rows] * c[cols] * np.where(rows == cols, 1.0, np.sqrt(2.0))
    return np.asarray(p / np.linalg.norm(p))


def random_soap(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    zeta: int,
    weights: Array,
    *,
    count: int = 5,
    scale: float = 0.3,
) -> SoapFunctions:
    """A soap term of 3 or 5 radial functions whose vectors are random, energies some `scale` eV."""
    basis = RadialBasis(
        cutoff=3.6 + 0.3 * zeta,
        cutoff_width=1.2,
        n_max=3 if zeta < 4 else 5,
        l_max=3,
        atom_sigma=0.5,
    )
    radial, own = tabulate(basis)
    width = len(weights) * basis.n_max
    dimension = (basis.l_max + 1) * (width * (width + 1) // 2)
    centers = {}
    for column, symbol in enumerate(symbols):
        factors = rng.uniform(-scale, scale, count)
        vectors = rng.normal(0.0, 1.0, (count, dimension))
        alone = _isolated_spectrum(np.outer(weights[:, column], own).ravel(), dimension)
        constant = float((vectors @ alone) ** zeta @ factors)
        centers[symbol] = SoapCenter(factors, vectors, constant)
    return SoapFunctions(
        cutoff=basis.cutoff,
        intervals=len(radial) - 3,
        n_max=basis.n_max,
        l_max=basis.l_max,
        zeta=zeta,
        radial=radial,
        self_density=own,
        weights=weights,
        centers=centers,
    )


def with_cosine(term: AnyRadial, width: float) -> AnyRadial:
    """The term with other splines, of degree 5, which a cosine ends over `width` Å at the cutoff."""
    knots = np.arange(30.0) * (term.cutoff / 30)
    values = np.sin(knots[:, None, None] * (1.0 + np.arange(term.n_max))) / (1.0 + term.l_max)
    phases = np.arange(term.l_max + 1)[:, None]
    radial = np.concatenate([values * np.cos(phases), values[:5] * np.sin(phases)])
    return replace(term, radial=radial, intervals=30, degree=5, cosine_width=width)


def random_fraction(rng: np.random.Generator, symbols: tuple[str, ...]) -> SoapFunctions:
    """A soap term of zeta 2.5 whose vectors are spectra: products with them are not negative."""
    term = with_cosine(random_soap(rng, symbols, 2, np.eye(len(symbols))), 1.5)
    width, centers = len(symbols) * term.n_max, {}
    rows, cols = np.triu_indices(width)
    for column, (symbol, center) in enumerate(term.centers.items()):
        vectors = []
        for _ in center.factors:
            parts = []
            for order in range(term.l_max + 1):
                c = rng.normal(size=(2 * order + 1, width))
                parts.append((c.T @ c)[rows, cols] * np.where(rows == cols, 1.0, np.sqrt(2.0)))
            vectors.append(np.concatenate(parts) / np.linalg.norm(np.concatenate(parts)))
        own = np.outer(term.weights[:, column], term.self_density).ravel()
        alone = np.array(vectors) @ _isolated_spectrum(own, term.dimension)
        constant = float(alone**2.5 @ center.factors)
        centers[symbol] = SoapCenter(center.factors, np.array(vectors), constant)
    return replace(term, zeta=2.5, centers=centers)


def random_contracted(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    *,
    channels: int = 11,
    count: int = 5,
    scale: float = 0.3,
) -> SoapContractedFunctions:
    """A soap_contracted term with rows, diagonals and single pairs of channels.

    Each species has a share in some of the channels only.
    """
    plain = with_cosine(random_soap(rng, symbols, 3, np.eye(len(symbols))), 1.1)
    rows = [(a, b) for a in range(3) for b in range(a, channels)]
    diagonal = [(a, a + 1) for a in range(channels - 1)]
    pairs = np.array([*rows, *diagonal, (9, 2), (4, 4), (7, 0)])
    weights = rng.uniform(0.5, 1.5, len(pairs))
    mixing = rng.normal(size=(len(symbols), plain.n_max, channels))
    for n in range(len(symbols)):
        mixing[n, :, : 2 * n] = 0.0
        mixing[n, :, channels - n % 2 :] = 0.0
    own = rng.normal(size=(len(symbols), channels))
    centers = {}
    for column, symbol in enumerate(symbols):
        factors = rng.uniform(-scale, scale, count)
        vectors = rng.normal(0.0, 1.0, (count, (plain.l_max + 1) * len(pairs)))
        alone = weights * own[column, pairs[:, 0]] * own[column, pairs[:, 1]]
        products = vectors[:, : len(pairs)] @ (alone / np.linalg.norm(alone))
        centers[symbol] = SoapCenter(factors, vectors, float(products**3 @ factors))
    return SoapContractedFunctions(
        cutoff=plain.cutoff,
        intervals=plain.intervals,
        n_max=plain.n_max,
        l_max=plain.l_max,
        radial=plain.radial,
        degree=plain.degree,
        cosine_width=plain.cosine_width,
        zeta=3,
        mixing=mixing,
        self_density=own,
        pairs=pairs,
        pair_weights=weights,
        centers=centers,
    )


def random_quadratic(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    weights: Array,
    *,
    rank: int = 5,
    scale: float = 0.3,
) -> SoapQuadraticFunctions:
    """Quadratic forms about random directions, energies some `scale` eV."""
    basis = random_soap(rng, symbols, 2, weights)
    centers = {}
    for symbol in symbols:
        directions = np.linalg.qr(rng.normal(size=(basis.dimension, rank + 1)))[0].T
        forms = rng.normal(0.0, scale, (rank, rank))
        centers[symbol] = SoapQuadraticCenter(
            spectrum=np.ascontiguousarray(directions[0]),
            lines=rng.normal(0.0, scale, basis.dimension),
            subspace=np.ascontiguousarray(directions[1:]),
            forms=forms + forms.T,
        )
    return SoapQuadraticFunctions(
        cutoff=basis.cutoff,
        intervals=basis.intervals,
        n_max=basis.n_max,
        l_max=basis.l_max,
        radial=basis.radial,
        self_density=basis.self_density,
        weights=weights,
        centers=centers,
    )


def random_bispectrum(
    rng: np.random.Generator,
    symbols: tuple[str, ...],
    *,
    count: int = 60,
    scale: float = 0.3,
) -> BispectrumFunctions:
    """A bispectrum term of three channels, with radial functions by species, energies some `scale` eV.

    The products stand in no order, of one to four fields, and one of them twice.
    """
    plain = random_soap(rng, symbols, 2, np.eye(len(symbols)))
    shape = (len(symbols), 1, plain.l_max + 1, plain.n_max)
    every = products_of(plain.n_max, plain.l_max, 4)
    few = every[: plain.n_max]
    chosen = rng.permutation(np.concatenate([few, few[:1], rng.permutation(every[3:])[:count]]))
    return BispectrumFunctions(
        cutoff=plain.cutoff,
        intervals=plain.intervals,
        n_max=plain.n_max,
        l_max=plain.l_max,
        radial=np.ascontiguousarray(plain.radial * rng.uniform(-3.0, 3.0, shape)),
        offset=float(rng.uniform(0.2, 1.0)),
        products=chosen,
        factors={symbol: rng.normal(0.0, scale, len(chosen)) for symbol in symbols},
    )


def with_draws(data: PotentialData, count: int, seed: int) -> PotentialData:
    """The potential with draws of all its terms that have weights, as large as the terms."""
    rng = np.random.default_rng(seed)
    terms = [_drawn(rng, term, count) for term in data.terms]
    e0 = rng.normal(size=(count, len(data.species)))
    return replace(data, draws=Draws(count, tuple(term for term in terms if term), e0))


def one_draw(data: PotentialData, k: int) -> PotentialData:
    """Draw `k` of a potential as a potential of its own. Isolated atoms have their e0 alone."""
    assert data.draws is not None
    return PotentialData(
        data.species,
        dict(zip(data.species, data.draws.e0[k].tolist(), strict=True)),
        tuple(_of_draw(term, k) for term in data.draws.terms),
    )


def _drawn(rng: np.random.Generator, term: MappedTerm, count: int) -> MappedTerm | None:
    """The term with `count` random sets of weights; None for one without weights."""

    def some(array: Array) -> Array:
        return np.asarray(array * rng.normal(size=(count, *array.shape)))

    def some_symmetric(array: Array) -> Array:
        legs, base = rng.normal(size=(count, len(array))), rng.normal(size=(count, array.shape[2]))
        factors = np.einsum("ka,kb,kc->kabc", legs, legs, base)
        return np.asarray(array * factors)

    match term:
        case TwoBodySplines():
            return replace(term, tables={key: some(t) for key, t in term.tables.items()})
        case ThreeBodySplines():
            drawn = {
                key: ThreeBodySplines.drawn(some_symmetric(np.asarray(t)), key[1] == key[2])
                for key, t in term.tables.items()
            }
            return replace(term, tables=drawn)
        case ThreeBodyKernelSums(covariance="spline"):
            grids = {key: some_symmetric(np.asarray(t)) for key, t in term.tables.items()}
            return replace(term, tables=grids)
        case ThreeBodyKernelSums():
            # The images of a point keep one factor, or neighbours could not be exchanged.
            points = {
                key: replace(
                    t,
                    factors=np.multiply.outer(rng.normal(size=count), t.factors),
                    constant=some(t.constant),
                )
                for key, t in term.tables.items()
            }
            return replace(term, tables=points)
        case EmbeddingFunctions():
            centers = {
                s: replace(c, coefficients=some(c.coefficients)) for s, c in term.centers.items()
            }
            return replace(term, centers=centers)
        case BispectrumFunctions():
            return replace(term, factors={s: some(f) for s, f in term.factors.items()})
        case SoapFunctions() | SoapContractedFunctions():
            factors = {s: SoapCenter(some(c.factors), c.vectors) for s, c in term.centers.items()}
            return replace(term, centers=factors)
        case SoapQuadraticFunctions():
            forms = {
                s: replace(
                    c, lines=some(c.lines), forms=np.multiply.outer(rng.normal(size=count), c.forms)
                )
                for s, c in term.centers.items()
            }
            return replace(term, centers=forms)
    return None


def _of_draw(term: MappedTerm, k: int) -> MappedTerm:
    match term:
        case TwoBodySplines():
            return replace(term, tables={key: t[k] for key, t in term.tables.items()})
        case ThreeBodySplines():
            return replace(term, tables={key: term.whole(key)[k] for key in term.tables})
        case ThreeBodyKernelSums(covariance="spline"):
            return replace(term, tables={key: t[k] for key, t in term.tables.items()})
        case ThreeBodyKernelSums():
            points = {
                key: replace(t, factors=t.factors[k], constant=t.constant[k])
                for key, t in term.tables.items()
            }
            return replace(term, tables=points)
        case EmbeddingFunctions():
            centers = {
                s: replace(c, coefficients=c.coefficients[k]) for s, c in term.centers.items()
            }
            return replace(term, centers=centers)
        case BispectrumFunctions():
            return replace(term, factors={s: f[k] for s, f in term.factors.items()})
        case SoapFunctions() | SoapContractedFunctions():
            factors = {s: SoapCenter(c.factors[k], c.vectors) for s, c in term.centers.items()}
            return replace(term, centers=factors)
        case SoapQuadraticFunctions():
            forms = {
                s: replace(c, lines=c.lines[k], forms=c.forms[k]) for s, c in term.centers.items()
            }
            return replace(term, centers=forms)
    raise AssertionError(term.kind)


def with_grade(data: PotentialData, seed: int, moments: Moments | None = None) -> PotentialData:
    """The potential with a grade: random means, whitenings, shortest distances of all pairs."""
    rng = np.random.default_rng(seed)
    centers = {}
    for symbol in data.species:
        count = (
            moments.count(len(data.species))
            if moments
            else sum(term.features(symbol) for term in data.terms)
        )
        if count:
            centers[symbol] = rng.normal(size=count), np.tril(rng.normal(size=(count, count)))
    pairs = combinations_with_replacement(data.species, 2)
    shortest = {pair: float(rng.uniform(1.0, 2.0)) for pair in pairs}
    return replace(data, grade=Grade(shortest, centers, moments))


def morse_potential(
    symbol: str, *, depth: float, stiffness: float, distance: float, cutoff: float
) -> PotentialData:
    """Morse pairs, depth (1 - exp(-stiffness (r - distance)))² - depth, faded out to the cutoff."""
    from forcemap.fitter.terms.splines import spline_coefficients

    r = np.linspace(0.0, cutoff, 401)
    well = depth * (1.0 - np.exp(-stiffness * (r - distance))) ** 2 - depth
    fade = np.clip((cutoff - r) / (0.25 * cutoff), 0.0, 1.0)
    fade = fade**3 * (10.0 - 15.0 * fade + 6.0 * fade**2)
    # Half of a pair's energy belongs to each atom.
    table = spline_coefficients(0.5 * np.minimum(well, 50.0 * depth) * fade)
    two_body = TwoBodySplines(cutoff, 400, {(symbol, symbol): table})
    return PotentialData(species=(symbol,), e0={symbol: 0.0}, terms=(two_body,))


def _abscissae(intervals: int) -> Array:
    """Where each coefficient acts (Greville points), in units of the range."""
    return (np.arange(intervals + 3) - 1.0) / intervals


def _envelope(x: Array) -> Array:
    """(1 - x)³, with the last three coefficients zero: so are value and two derivatives at 1."""
    envelope = np.maximum(1.0 - x, 0.0) ** 3
    envelope[-3:] = 0.0
    return envelope


def _waves(rng: np.random.Generator, x: Array) -> Array:
    """A smooth random function of order one."""
    orders = np.arange(4)
    amplitudes = rng.normal(size=4) / (1.0 + orders)
    phases = rng.uniform(0.0, 2.0 * np.pi, size=4)
    return np.asarray(np.cos(np.pi * np.outer(x, orders) + phases) @ amplitudes)


def _pair_table(rng: np.random.Generator, cutoff: float, intervals: int) -> Array:
    x = _abscissae(intervals)
    repulsion = 4.0 * np.exp(-x * cutoff / rng.uniform(0.8, 1.0))
    return np.asarray(_envelope(x) * (repulsion + 0.3 * _waves(rng, x)))


def _triplet_table(
    rng: np.random.Generator, leg_intervals: int, base_intervals: int, *, symmetric: bool
) -> Array:
    leg, base = _abscissae(leg_intervals), _abscissae(base_intervals)
    table = np.zeros((leg.size, leg.size, base.size))
    for _ in range(3):
        j, k = (_envelope(leg) * _waves(rng, leg) for _ in range(2))
        table += 0.1 * j[:, None, None] * k[None, :, None] * _waves(rng, base)[None, None, :]
    if symmetric:
        table = 0.5 * (table + table.transpose(1, 0, 2))
    return table
