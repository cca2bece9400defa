"""Brute-force evaluation of a potential's content, for comparison with the fast implementations.

Plain loops over atoms, periodic images and pairs of neighbours, written from the definition at the
top of `forcemap.potentials.file.potential_file` and nothing else: no neighbour list, no shared code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import comb, factorial

import numpy as np
from ase import Atoms
from forcemap.potentials.elements import atomic_number
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.grade import Moments
from forcemap.potentials.terms import (
    BispectrumFunctions,
    EmbeddingFunctions,
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
from kernel_sums import kernel_sums
from numpy.polynomial import Chebyshev, Legendre
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Spectral = SoapFunctions | SoapQuadraticFunctions | SoapContractedFunctions
Expanded = Spectral | BispectrumFunctions
Center = SoapCenter | SoapQuadraticCenter | Array
Sums = (SoapFunctions, SoapContractedFunctions)

# LAMMPS, src/pair_zbl_const.h, and force->qqr2e of units metal
ZBL_EXPONENT = 0.23
ZBL_LENGTH = 0.46850  # Å
ZBL_AMPLITUDES = np.array([0.02817, 0.28022, 0.50986, 0.18175])
ZBL_DECAYS = np.array([0.20162, 0.40290, 0.94229, 3.19980])
COULOMB = 14.399645  # e²/(4 pi eps0), eV Å


@dataclass(frozen=True)
class Reference:
    """Energy, forces and virial of a structure."""

    energy: float  # eV
    energies: Array  # (n,), of the sites
    forces: Array  # (n, 3), eV/Å
    virial: Array  # (3, 3), -dE/dstrain, eV


def basis(r: float, intervals: int, length: float) -> tuple[int, Array, Array]:
    """First coefficient's index, the four B-spline values at r and their derivatives (1/Å)."""
    h = length / intervals
    m = min(int(r / h), intervals - 1)
    t = r / h - m
    values = np.array(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    slopes = np.array([-3 * (1 - t) ** 2, 9 * t**2 - 12 * t, -9 * t**2 + 6 * t + 3, 3 * t**2])
    return m, values / 6, slopes / 6 / h


def two_body(term: TwoBodySplines, pair: tuple[str, str], r: float) -> tuple[float, float]:
    """f(r) in eV and df/dr in eV/Å of a pair of species in any order."""
    table = term.tables.get(ordered(pair))
    if table is None or r >= term.cutoff:
        return 0.0, 0.0
    m, values, slopes = basis(r, term.intervals, term.cutoff)
    return float(values @ table[m : m + 4]), float(slopes @ table[m : m + 4])


def three_body(
    term: ThreeBodySplines, centre: str, pair: tuple[str, str], r: tuple[float, float, float]
) -> tuple[float, Array]:
    """g(r_ij, r_ik, r_jk) in eV and its three derivatives; `pair` holds the species of j and k."""
    if max(r[:2]) >= term.cutoff:
        return 0.0, np.zeros(3)
    if ordered(pair) != pair:
        value, d = three_body(term, centre, (pair[1], pair[0]), (r[1], r[0], r[2]))
        return value, d[[1, 0, 2]]
    table = term.tables.get((centre, *pair))
    if table is None:
        return 0.0, np.zeros(3)
    a, va, da = basis(r[0], term.leg_intervals, term.cutoff)
    b, vb, db = basis(r[1], term.leg_intervals, term.cutoff)
    c, vc, dc = basis(r[2], term.base_intervals, 2 * term.cutoff)
    block = table[a : a + 4, b : b + 4, c : c + 4]

    def contract(u: Array, v: Array, w: Array) -> float:
        return float(np.einsum("abc,a,b,c->", block, u, v, w))

    derivatives = [contract(da, vb, vc), contract(va, db, vc), contract(va, vb, dc)]
    return contract(va, vb, vc), np.array(derivatives)


def density(term: EmbeddingFunctions, pair: tuple[str, str], r: float) -> tuple[float, float]:
    """phi(r) at an atom of the first species and its derivative in 1/Å."""
    table = term.densities.get(pair)
    if table is None or r >= term.cutoff:
        return 0.0, 0.0
    m, values, slopes = basis(r, term.intervals, term.cutoff)
    return float(values @ table[m : m + 4]), float(slopes @ table[m : m + 4])


def embedding(term: EmbeddingFunctions, centre: str, rho: float) -> tuple[float, float]:
    """F(rho) - F(0) in eV and its derivative; straight lines beyond both ends."""
    if centre not in term.centers:
        return 0.0, 0.0
    length, table = term.centers[centre].range, term.centers[centre].coefficients
    inside = min(max(rho, 0.0), length)
    m, values, slopes = basis(inside, len(table) - 3, length)
    free = float(basis(0.0, len(table) - 3, length)[1] @ table[:4])
    slope = float(slopes @ table[m : m + 4])
    return float(values @ table[m : m + 4]) - free + slope * (rho - inside), slope


def zbl(z: tuple[int, int], inner: float, outer: float, r: float) -> tuple[float, float]:
    """Switched ZBL energy of a pair in eV and its derivative in eV/Å, as LAMMPS' pair_style zbl.

    E(r) = ZBL(r) + C, and between inner and outer A/3 (r - inner)³ + B/4 (r - inner)⁴ is added,
    with A, B and C such that E, E' and E'' vanish at outer.
    """
    if r >= outer:
        return 0.0, 0.0
    width = outer - inner
    e, e1, e2 = bare_zbl(z, outer)
    a = (-3 * e1 + width * e2) / width**2
    b = (2 * e1 - width * e2) / width**3
    c = -e + width / 2 * e1 - width**2 / 12 * e2
    value, slope, _ = bare_zbl(z, r)
    x = max(r - inner, 0.0)
    return value + c + a / 3 * x**3 + b / 4 * x**4, slope + a * x**2 + b * x**3


def bare_zbl(z: tuple[int, int], r: float) -> tuple[float, float, float]:
    """Z_i Z_j e²/r phi(r/a) with its first two derivatives."""
    decays = ZBL_DECAYS * (z[0] ** ZBL_EXPONENT + z[1] ** ZBL_EXPONENT) / ZBL_LENGTH
    terms = COULOMB * z[0] * z[1] * ZBL_AMPLITUDES * np.exp(-decays * r)
    phi, phi1, phi2 = terms.sum(), -(decays * terms).sum(), (decays**2 * terms).sum()
    return phi / r, phi1 / r - phi / r**2, phi2 / r - 2 * phi1 / r**2 + 2 * phi / r**3


def harmonics(l_max: int, vectors: ComplexArray) -> ComplexArray:
    """Real orthonormal Y_lm of directions (n, 3), (n, (l_max + 1)^2), m from -l (sines) to l.

    Polynomials with real coefficients: they are analytic in the components, which may be complex.
    """
    x, y, z = (vectors / np.sqrt(np.sum(vectors**2, axis=1))[:, None]).T
    found = np.empty((len(vectors), (l_max + 1) ** 2), dtype=complex)
    for m in range(l_max + 1):
        # Re and Im of (x + iy)^m
        powers = [comb(m, k) * x ** (m - k) * y**k for k in range(m + 1)]
        cosine = sum((-1) ** (k // 2) * p for k, p in enumerate(powers) if k % 2 == 0)
        sine = sum(((-1) ** (k // 2) * p for k, p in enumerate(powers) if k % 2 == 1), 0 * x)
        for order in range(m, l_max + 1):
            norm = np.sqrt(
                (2 * order + 1) / (4 * np.pi) * factorial(order - m) / factorial(order + m)
            )
            legendre = norm * Legendre.basis(order).deriv(m)(z)
            place = order * order + order
            if m:
                legendre = np.sqrt(2) * legendre
                found[:, place - m] = legendre * sine
            found[:, place + m] = legendre * cosine
    return found


def soap_densities(term: Expanded, columns: list[int], vectors: ComplexArray) -> ComplexArray:
    """Each neighbour's share of c: (n, (l_max + 1)^2, channels).

    `columns`: the species of each neighbour, as its column of the weights.
    """
    count = len(vectors)
    shares = np.zeros((count, (term.l_max + 1) ** 2, channel_count(term)), dtype=complex)
    angular = harmonics(term.l_max, vectors)
    orders = np.repeat(np.arange(term.l_max + 1), 2 * np.arange(term.l_max + 1) + 1)
    for n, (vector, column) in enumerate(zip(vectors, columns, strict=True)):
        r = np.sqrt(np.sum(vector**2))
        h = term.cutoff / term.intervals
        m = min(int(r.real / h), term.intervals - 1)
        t = r / h - m
        # (l_max + 1, n_max)
        table = term.radial[column] if isinstance(term, BispectrumFunctions) else term.radial
        radial = np.tensordot(uniform_splines(term.degree, t), table[m : m + term.degree + 1], 1)
        past = r - (term.cutoff - term.cosine_width)
        if term.cosine_width > 0.0 and past.real > 0.0:
            radial = radial * (0.5 + 0.5 * np.cos(np.pi * past / term.cosine_width))
        one = angular[n][:, None] * radial[orders]
        if isinstance(term, SoapContractedFunctions):
            shares[n] = one @ term.mixing[column]
        elif isinstance(term, BispectrumFunctions):
            shares[n] = one
        else:
            each = one[:, None, :] * term.weights[:, column][None, :, None]
            shares[n] = each.reshape(len(orders), -1)
    return shares


def channel_count(term: Expanded) -> int:
    """Numbers in a row of coefficients."""
    if isinstance(term, BispectrumFunctions):
        return term.n_max
    if isinstance(term, SoapContractedFunctions):
        return int(term.mixing.shape[2])
    return len(term.weights) * term.n_max


def uniform_splines(degree: int, t: complex) -> ComplexArray:
    """The B-splines of knots at whole numbers that live at 0 <= t < 1, from truncated powers."""
    values = []
    for a in range(degree + 1):
        x = t + degree - a  # in a spline that begins at 0
        parts = [(-1) ** k * comb(degree + 1, k) * (x - k) ** degree for k in range(degree - a + 1)]
        values.append(sum(parts) / factorial(degree))
    return np.array(values)


def soap_spectrum(term: Spectral, c: ComplexArray) -> ComplexArray:
    """Normalised spectra (q, dimension) of coefficients (q, (l_max + 1)^2, channels)."""
    if isinstance(term, SoapContractedFunctions):
        (rows, cols), weights = term.pairs.T, term.pair_weights
    else:
        rows, cols = np.triu_indices(c.shape[2])
        weights = np.where(rows == cols, 1.0, np.sqrt(2))
    parts = []
    for order in range(term.l_max + 1):
        block = c[:, order**2 : (order + 1) ** 2]
        square = np.einsum("qma,qmb->qab", block, block) / np.sqrt(2 * order + 1)
        parts.append(square[:, rows, cols] * weights)
    p = np.concatenate(parts, axis=1)
    return np.asarray(p / np.sqrt(np.sum(p**2, axis=1))[:, None])


def sphere(degree: int) -> tuple[ComplexArray, Array]:
    """Directions (n, 3), along no axis, and weights (n,) that integrate polynomials over the sphere."""
    z, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2.0 * np.pi * np.arange(degree + 1) / (degree + 1)
    radius = np.sqrt(1.0 - z**2)
    parts = np.outer(radius, np.cos(angles)), np.outer(radius, np.sin(angles))
    points = np.stack([*parts, np.outer(z, np.ones_like(angles))], -1).reshape(-1, 3)
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    each = np.repeat(weights, len(angles)) * 2.0 * np.pi / len(angles)
    return (points @ turn).astype(complex), each


def unit_coefficients(term: BispectrumFunctions, c: ComplexArray) -> ComplexArray:
    """Coefficients (q, (l_max + 1)^2, channels) over the root of the offset and their squares."""
    return np.asarray(c / np.sqrt(term.offset + np.sum(c**2, axis=(1, 2)))[:, None, None])


def product_energy(term: BispectrumFunctions, factors: Array, c: ComplexArray) -> ComplexArray:
    """Energies (q,) in eV, by integrals over the sphere."""
    points, weights = sphere(4 * term.l_max)
    angular = harmonics(term.l_max, points)
    unit = unit_coefficients(term, c)
    fields = np.concatenate(
        [
            np.einsum("qmk,um->qku", unit[:, some], angular[:, some])
            for some in (slice(n**2, (n + 1) ** 2) for n in range(term.l_max + 1))
        ],
        axis=1,
    )
    energies = np.zeros(len(c), dtype=complex)
    for fields_of, factor in zip(term.products, factors, strict=True):
        energies += factor * (np.prod(fields[:, fields_of[fields_of >= 0]], axis=1) @ weights)
    return energies


def soap_energy(term: Expanded, center: Center, c: ComplexArray) -> ComplexArray:
    """Energies (q,) in eV of coefficients (q, (l_max + 1)^2, channels)."""
    if isinstance(term, BispectrumFunctions):
        assert isinstance(center, np.ndarray)
        return product_energy(term, center, c)
    assert not isinstance(center, np.ndarray)
    p = soap_spectrum(term, c)
    if isinstance(center, SoapCenter):
        assert isinstance(term, Sums)
        overlaps = p @ center.vectors.T
        return np.asarray(overlaps**term.zeta @ center.factors - center.constant)
    a, y = p @ center.spectrum, p @ center.subspace.T
    line = 2.0 * a * (p @ center.lines) - a**2 * (center.lines @ center.spectrum)
    return np.asarray(line + np.einsum("qa,ab,qb->q", y, center.forms, y))


def own_density(term: Expanded, species: tuple[str, ...], centre: str) -> ComplexArray:
    """The centre's share of c."""
    found = np.zeros(((term.l_max + 1) ** 2, channel_count(term)), dtype=complex)
    if isinstance(term, BispectrumFunctions):
        return found
    if isinstance(term, SoapContractedFunctions):
        found[0] = term.self_density[species.index(centre)]
        return found
    own = np.zeros(((term.l_max + 1) ** 2, len(term.weights), term.n_max), dtype=complex)
    own[0] = np.outer(term.weights[:, species.index(centre)], term.self_density)
    return own.reshape(len(own), -1)


def features(data: PotentialData, atoms: Atoms, i: int) -> Array:
    """Projections of atom i: of each term of sums on its first 32 vectors; powers of fields."""
    symbols = atoms.get_chemical_symbols()
    found = []
    for term in data.terms:
        if not isinstance(term, (*Sums, BispectrumFunctions)) or symbols[i] not in centers_of(term):
            continue
        neighbors = neighbors_of(atoms, i, term.cutoff)
        vectors = np.array([vector for _, vector in neighbors], dtype=complex).reshape(-1, 3)
        columns = [data.species.index(symbols[j]) for j, _ in neighbors]
        c = own_density(term, data.species, symbols[i])
        c = c + soap_densities(term, columns, vectors).sum(axis=0)
        if isinstance(term, BispectrumFunctions):
            found.append(powers(term, c))
            continue
        found.append(term.centers[symbols[i]].vectors[:32] @ soap_spectrum(term, c[None])[0].real)
    return np.concatenate([np.zeros(0), *found])


def centers_of(term: Expanded) -> Mapping[str, Center]:
    """What the term has of its centres, by symbol."""
    return term.factors if isinstance(term, BispectrumFunctions) else term.centers


def powers(term: BispectrumFunctions, c: ComplexArray) -> Array:
    """Sums over m of the squares of an atom's coefficients, ((l_max + 1) n_max,)."""
    squares = unit_coefficients(term, c[None])[0].real ** 2
    starts = np.arange(term.l_max + 1) ** 2
    return np.asarray(np.add.reduceat(squares, starts, axis=0).ravel())


def moments(data: PotentialData, atoms: Atoms, i: int, of: Moments) -> Array:
    """Moments of the density of atom i's neighbours, from the angles between all of them."""
    f, _, _ = channels_of(data, atoms, i, of.cutoff, of.radial, power=1)
    found = [f.sum(axis=0)]
    if of.angular is not None:
        f, y, units = channels_of(data, atoms, i, of.angular.cutoff, of.angular.radial, power=2)
        cosines = np.clip(units @ units.T, -1.0, 1.0)
        rows, cols = np.triu_indices(f.shape[1])
        for order in (1, 2):
            weighted = f * y[:, None] ** order
            found.append((weighted.T @ Legendre.basis(order)(cosines) @ weighted)[rows, cols])
    return np.concatenate(found)


def channels_of(
    data: PotentialData, atoms: Atoms, i: int, cutoff: float, radial: int, power: int
) -> tuple[Array, Array, Array]:
    """Of atom i's neighbours: functions of (r / cutoff)^power (n, channels), r / cutoff, directions."""
    neighbors = neighbors_of(atoms, i, cutoff)
    symbols = atoms.get_chemical_symbols()
    f = np.zeros((len(neighbors), len(data.species) * radial))
    vectors = np.array([vector for _, vector in neighbors]).reshape(-1, 3)
    r = np.linalg.norm(vectors, axis=1)
    x = (r / cutoff) ** power
    for row, (j, _) in enumerate(neighbors):
        first = data.species.index(symbols[j]) * radial
        for n in range(radial):
            f[row, first + n] = (1.0 - x[row]) ** 2 * Chebyshev.basis(n)(2.0 * x[row] - 1.0)
    return f, r / cutoff, vectors / r[:, None]


def grades(data: PotentialData, atoms: Atoms) -> Array:
    """The extrapolation grade of each atom."""
    assert data.grade is not None
    found = np.zeros(len(atoms))
    symbols = atoms.get_chemical_symbols()
    for i, centre in enumerate(symbols):
        of = data.grade.moments
        x = moments(data, atoms, i, of) if of else features(data, atoms, i)
        if centre in data.grade.centers:
            mean, whitening = data.grade.centers[centre]
            found[i] = np.linalg.norm(whitening @ (x - mean))
        for j, vector in neighbors_of(atoms, i, cutoff_of(data)):
            shortest = data.grade.shortest.get(ordered((centre, symbols[j])), 0.0)
            r = float(np.linalg.norm(vector))
            if r < shortest:
                found[i] = max(found[i], shortest / r)
    return found


def soap(
    term: Expanded, species: tuple[str, ...], centre: str, around: list[tuple[str, Array]]
) -> tuple[float, Array]:
    """Site energy in eV and its derivatives by the neighbours' vectors (n, 3), eV/Å.

    Derivatives by complex steps, Im E(x + ih) / h: exact to rounding, E being analytic.
    """
    center = centers_of(term).get(centre)
    near = [n for n, (_, vector) in enumerate(around) if np.linalg.norm(vector) < term.cutoff]
    gradients = np.zeros((len(around), 3))
    if center is None:
        return 0.0, gradients
    own = own_density(term, species, centre)
    vectors = np.array([around[n][1] for n in near], dtype=complex).reshape(-1, 3)
    columns = [species.index(around[n][0]) for n in near]
    shares = soap_densities(term, columns, vectors)
    c = own + shares.sum(axis=0)
    for axis in range(3):
        if not near:
            break
        moved = vectors.copy()
        moved[:, axis] += 1e-30j
        changed = c + (soap_densities(term, columns, moved) - shares)
        gradients[near, axis] = soap_energy(term, center, changed).imag / 1e-30
    energy = soap_energy(term, center, c[None])[0].real
    if isinstance(center, SoapQuadraticCenter):
        energy -= soap_energy(term, center, own[None])[0].real
    return float(energy), gradients


def evaluate(data: PotentialData, atoms: Atoms) -> Reference:
    """Energy, forces and virial of `atoms`, by loops over all images within the cutoffs."""
    symbols = atoms.get_chemical_symbols()
    energies = np.array([data.e0[symbol] for symbol in symbols])
    forces = np.zeros((len(atoms), 3))
    virial = np.zeros((3, 3))
    for i, centre in enumerate(symbols):
        neighbors = neighbors_of(atoms, i, cutoff_of(data))
        distances = [float(np.linalg.norm(vector)) for _, vector in neighbors]
        gradients = np.zeros((len(neighbors), 3))  # dE_i/dr_ij
        for n, (j, vector) in enumerate(neighbors):
            energy, slope = pair_terms(data, (centre, symbols[j]), distances[n])
            energies[i] += energy
            gradients[n] += slope * vector / distances[n]
        for term in data.terms:
            if isinstance(term, Expanded):
                around = [(symbols[j], vector) for j, vector in neighbors]
                energy, pulls = soap(term, data.species, centre, around)
                energies[i] += energy
                gradients += pulls
            if isinstance(term, EmbeddingFunctions):
                found = [
                    density(term, (centre, symbols[j]), r)
                    for (j, _), r in zip(neighbors, distances, strict=True)
                ]
                energy, by_rho = embedding(term, centre, sum(value for value, _ in found))
                energies[i] += energy
                for n, (_, slope) in enumerate(found):
                    gradients[n] += by_rho * slope * neighbors[n][1] / distances[n]
            if isinstance(term, ThreeBodyKernelSums):
                around = [(symbols[j], vector) for j, vector in neighbors]
                energy, pulls = kernel_sums(term, centre, around)
                energies[i] += energy
                gradients += pulls
            if not isinstance(term, ThreeBodySplines):
                continue
            near = [n for n in range(len(neighbors)) if distances[n] < term.cutoff]
            for n, first in enumerate(near):
                for second in near[n + 1 :]:
                    (j, r_ij), (k, r_ik) = neighbors[first], neighbors[second]
                    r_jk = r_ik - r_ij
                    r = (distances[first], distances[second], float(np.linalg.norm(r_jk)))
                    energy, d = three_body(term, centre, (symbols[j], symbols[k]), r)
                    energies[i] += energy
                    gradients[first] += d[0] * r_ij / r[0] - d[2] * r_jk / r[2]
                    gradients[second] += d[1] * r_ik / r[1] + d[2] * r_jk / r[2]
        for (j, vector), gradient in zip(neighbors, gradients, strict=True):
            forces[i] += gradient
            forces[j] -= gradient
            virial -= np.outer(vector, gradient)
    return Reference(float(energies.sum()), energies, forces, virial)


def pair_terms(data: PotentialData, pair: tuple[str, str], r: float) -> tuple[float, float]:
    """Site energy of one neighbour in eV from all two-body and zbl terms, and its derivative."""
    energy = slope = 0.0
    for term in data.terms:
        if isinstance(term, TwoBodySplines):
            value, derivative = two_body(term, pair, r)
        elif isinstance(term, ZblPairs) and ordered(pair) in term.pairs:
            z = (atomic_number(pair[0]), atomic_number(pair[1]))
            value, derivative = zbl(z, *term.pairs[ordered(pair)], r)
            value, derivative = value / 2, derivative / 2
        else:
            continue
        energy += value
        slope += derivative
    return energy, slope


def neighbors_of(atoms: Atoms, i: int, cutoff: float) -> list[tuple[int, Array]]:
    """All (j, r_j + image - r_i) within the cutoff, images of i itself included."""
    cell = atoms.cell.array
    positions = atoms.positions
    spread = np.ptp(positions, axis=0).sum()  # atoms may lie outside the cell
    images = []
    for axis in range(3):
        reach = 0
        if atoms.pbc[axis]:
            normal = np.linalg.inv(atoms.cell.complete().array)[:, axis]
            reach = int(np.ceil((cutoff + spread) * np.linalg.norm(normal)))
        images.append(range(-reach, reach + 1))
    found = []
    for shift in product(*images):
        vectors = positions + np.array(shift) @ cell - positions[i]
        for j in np.flatnonzero(np.linalg.norm(vectors, axis=1) < cutoff):
            if j != i or any(shift):
                found.append((int(j), vectors[j]))
    return found


def cutoff_of(data: PotentialData) -> float:
    """The largest cutoff of all terms in Å."""
    return max(
        max(outer for _, outer in term.pairs.values())
        if isinstance(term, ZblPairs)
        else term.cutoff
        for term in data.terms
    )


def ordered(pair: tuple[str, str]) -> tuple[str, str]:
    """The pair with the lower atomic number first."""
    return pair if atomic_number(pair[0]) <= atomic_number(pair[1]) else (pair[1], pair[0])
