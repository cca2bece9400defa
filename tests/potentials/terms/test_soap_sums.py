"""Sums of powers of spectra: exponents, many vectors, splines of degree 5, contracted channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from ase import Atoms
from forcemap.potentials import load
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.file.container import read_container, write_container
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    potential_bytes,
    read_potential,
    write_potential,
)
from forcemap.potentials.terms import SoapCenter, SoapContractedFunctions, SoapFunctions
from forcemap.potentials.terms.base import MappedTerm
from numpy.typing import NDArray
from potentials_factory import random_contracted, random_fraction, random_soap, with_cosine

Array = NDArray[np.float64]
Change = Callable[[dict[str, Any], dict[str, Any]], object]

SYMBOLS = ("O", "Si")


def data_of(*terms: MappedTerm, species: tuple[str, ...] = SYMBOLS) -> PotentialData:
    return PotentialData(species, dict.fromkeys(species, 0.0), terms)


def crystal(seed: int, symbols: str = "OSiOSiO") -> Atoms:
    """A cell smaller than the cutoff: atoms see images of themselves."""
    rng = np.random.default_rng(seed)
    count = len(Atoms(symbols))
    atoms = Atoms(symbols, rng.uniform(0.0, 3.6, (count, 3)), cell=[3.7, 3.5, 3.9], pbc=True)
    atoms.set_cell(atoms.cell.array + rng.normal(0.0, 0.2, (3, 3)), scale_atoms=True)
    return atoms


def compute(data: PotentialData, atoms: Atoms) -> Any:
    evaluator = as_potential(data).evaluator(skin=0.0)
    return evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)


def terms() -> dict[str, MappedTerm]:
    rng = np.random.default_rng(2)
    plain = random_soap(rng, SYMBOLS, 3, np.eye(2))
    return {
        "cosine": with_cosine(plain, 1.0),
        "cubic with a cosine": replace(plain, cosine_width=0.9),
        "zeta 7": replace(plain, zeta=7.0),
        "zeta 2.5": random_fraction(rng, SYMBOLS),
        "zeta 0.5": replace(random_fraction(rng, SYMBOLS), zeta=0.5),
        "contracted": random_contracted(rng, SYMBOLS),
        "contracted, one channel": random_contracted(rng, SYMBOLS, channels=10),
        "contracted, zeta 1": replace(random_contracted(rng, SYMBOLS), zeta=1),
    }


TERMS = terms()


@pytest.mark.parametrize("name", list(TERMS))
def test_terms_are_those_of_the_definition(name: str) -> None:
    """Forces in the reference are derivatives by complex steps: they hold for differences, too."""
    data, atoms = data_of(TERMS[name]), crystal(4)
    expected, found = reference.evaluate(data, atoms), compute(data, atoms)
    scale = max(1.0, float(np.abs(expected.forces).max()))
    # Constants of isolated atoms, which a file states to rounding, are in the site energies.
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0.0, atol=1e-11 * scale)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-11 * scale)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0.0, atol=1e-10 * scale)


def rotation(seed: int) -> Array:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return np.asarray(q)  # an improper one, too, is a symmetry


@pytest.mark.parametrize("name", ["zeta 2.5", "contracted"])
def test_energies_are_those_of_the_turned_and_permuted_crystal(name: str) -> None:
    data, atoms = data_of(TERMS[name]), crystal(5)
    turned, order, q = atoms.copy(), np.array([3, 1, 4, 0, 2]), rotation(1)
    turned = turned[order]
    turned.set_cell(atoms.cell.array @ q)
    turned.positions = atoms.positions[order] @ q + [0.3, -1.0, 0.2]
    found, again = compute(data, atoms), compute(data, turned)
    np.testing.assert_allclose(again.energies, found.energies[order], rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(again.forces, found.forces[order] @ q, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("zeta", [2, 2.5, 4])
@pytest.mark.parametrize("symbols", ["OSiOSiO", "O5Si11", "O37Si2"])
def test_many_vectors_are_the_sum_of_few(zeta: float, symbols: str) -> None:
    """Many vectors are evaluated in blocks for more sites at once; the answer is the same."""
    term = with_cosine(random_fraction(np.random.default_rng(0), SYMBOLS), 1.0)
    rng = np.random.default_rng(1)
    spectra = np.concatenate([center.vectors for center in term.centers.values()])
    vectors = np.abs(rng.normal(size=(2500, len(spectra)))) @ spectra  # no product is negative
    factors = rng.normal(size=2500) / 2500
    few = [slice(n, n + 250) for n in range(0, 2500, 250)]
    assert vectors.nbytes > 1 << 20 > vectors[few[0]].nbytes

    def part(which: slice) -> SoapFunctions:
        center = SoapCenter(factors[which], vectors[which])
        return replace(term, zeta=zeta, centers=dict.fromkeys(SYMBOLS, center))

    atoms = crystal(6, symbols)
    atoms.set_cell(2.0 * atoms.cell.array, scale_atoms=True)
    whole, parts = data_of(part(slice(None))), data_of(*map(part, few))
    found, expected = compute(whole, atoms), compute(parts, atoms)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-9)


def test_a_negative_product_has_no_power_that_is_not_whole() -> None:
    term = TERMS["zeta 2.5"]
    assert isinstance(term, SoapFunctions)
    turned = {s: replace(c, vectors=-c.vectors) for s, c in term.centers.items()}
    with pytest.raises(ForcemapError, match="the energy is not finite"):
        compute(data_of(replace(term, centers=turned)), crystal(4))


def test_contracted_channels_are_those_of_a_power_spectrum() -> None:
    """With one channel for each species and radial function, and all pairs of them."""
    rng = np.random.default_rng(3)
    plain = random_soap(rng, SYMBOLS, 4, np.eye(2))
    n = plain.n_max
    mixing = np.zeros((2, n, 2 * n))
    own = np.zeros((2, 2 * n))
    for s in range(2):
        mixing[s, :, s * n : (s + 1) * n] = np.eye(n)
        own[s, s * n : (s + 1) * n] = plain.self_density
    a, b = np.triu_indices(2 * n)
    contracted = SoapContractedFunctions(
        cutoff=plain.cutoff,
        intervals=plain.intervals,
        n_max=n,
        l_max=plain.l_max,
        radial=plain.radial,
        zeta=4,
        centers=plain.centers,
        mixing=mixing,
        self_density=own,
        pairs=np.column_stack([a, b]),
        pair_weights=np.where(a == b, 1.0, np.sqrt(2.0)),
    )
    found, expected = (compute(data_of(term), crystal(7)) for term in (contracted, plain))
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-11)


def test_the_order_of_pairs_is_free() -> None:
    """Rows, diagonals and pairs in any order are the same sum, with the vectors moved along."""
    term = TERMS["contracted"]
    assert isinstance(term, SoapContractedFunctions)
    order = np.random.default_rng(0).permutation(len(term.pairs))
    swapped = term.pairs[order][:, ::-1]
    centers = {
        s: replace(
            c,
            vectors=c.vectors.reshape(len(c.factors), term.l_max + 1, -1)[:, :, order].reshape(
                len(c.factors), -1
            ),
        )
        for s, c in term.centers.items()
    }
    moved = replace(
        term, pairs=swapped, pair_weights=term.pair_weights[order].copy(), centers=centers
    )
    found, expected = (compute(data_of(one), crystal(8)) for one in (moved, term))
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-11)


# ----- files -----


@pytest.mark.parametrize("name", list(TERMS))
def test_files_come_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "potential.forcemap"
    write_potential(data_of(TERMS[name]), path)
    again = read_potential(path)
    assert type(again.terms[0]) is type(TERMS[name])
    assert potential_bytes(again) == path.read_bytes()


@pytest.fixture
def contracted_path(tmp_path: Path) -> Path:
    path = tmp_path / "contracted.forcemap"
    write_potential(data_of(TERMS["contracted"]), path)
    return path


def entry(name: str, to: object) -> Change:
    return lambda document, tensors: document["terms"][0].update({name: to})


def number(name: str, where: tuple[int, ...], to: float) -> Change:
    def change(document: dict[str, Any], tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].copy()
        tensors[name][where] = to

    return change


FAULTS: dict[str, tuple[Change, str]] = {
    "channels 0": (entry("channels", 0), "channels: found 0, expected an integer from 1 to 4096"),
    "channels": (
        entry("channels", 9),
        'tensor "terms.0.pairs": found 9, expected a channel from 0 to 8',
    ),
    "pairs 0": (entry("pairs", 0), "pairs: found 0, expected an integer from 1 to 100000"),
    "pairs": (entry("pairs", 3), 'tensor "terms.0.pairs": found the shape'),
    "weights": (entry("weights", 1), 'found the unknown entry "weights"'),
    "zeta": (entry("zeta", 0), "zeta: found 0, expected 0 < zeta <= 100"),
    "n_max": (entry("n_max", 2), "found the shape"),
    "a pair of no channel": (
        number("terms.0.pairs", (0, 1), 11.0),
        'tensor "terms.0.pairs": found 11, expected a channel from 0 to 10',
    ),
    "a pair below": (number("terms.0.pairs", (2, 0), -1.0), "found -1, expected a channel"),
    "half a channel": (number("terms.0.pairs", (2, 0), 1.5), "found 1.5, expected a channel"),
    "no mixing": (lambda d, t: t.pop("terms.0.mixing"), "found no tensor"),
    "no self": (lambda d, t: t.pop("terms.0.self"), "found no tensor"),
    "no weights": (lambda d, t: t.pop("terms.0.pair_weights"), "found no tensor"),
    "no vectors": (lambda d, t: t.pop("terms.0.O.vectors"), "found no tensor"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_are_refused_in_the_same_words(contracted_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    container = read_container(contracted_path)
    tensors = dict(container.tensors)
    change(container.document, tensors)
    write_container(contracted_path, container.document, tensors)
    with pytest.raises(ModelFileError) as python:
        read_potential(contracted_path)
    with pytest.raises(ForcemapError) as core:
        load(contracted_path)
    assert str(python.value) == str(core.value)
    assert message in str(core.value)
    assert str(contracted_path) in str(core.value)


def test_a_line_describes_the_term() -> None:
    term = TERMS["contracted"]
    assert term.described(term.document()) == (
        "cutoff 4.5 Å, n_max 3, l_max 3, zeta 3, 11 contracted channels, "
        f"{4 * 43} numbers: O 5 vectors, Si 5 vectors"
    )
