"""The registry of the kinds of term, and what all kinds have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from forcemap.potentials import Potential, _core, load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_container, write_container
from forcemap.potentials.file.potential_file import write_potential
from forcemap.potentials.terms import KINDS
from numpy.typing import NDArray
from potentials_factory import random_potential

ALL = random_potential(["Si", "O"], 3, soap=True, embedding=True, kernels=True)


def written(folder: Path, terms: Sequence[int]) -> str:
    """A file of some of the terms of ALL."""
    path = str(folder / f"{'-'.join(map(str, terms))}.forcemap")
    write_potential(dataclasses.replace(ALL, terms=tuple(ALL.terms[n] for n in terms)), path)
    return path


def answer(path: str) -> tuple[Potential, NDArray[np.float64]]:
    """The potential, and energies without those of isolated atoms, forces and virial of a crystal."""
    potential = load(path)
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*3 * [np.arange(3.0)], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = 2.4 * grid + rng.normal(0.0, 0.2, (27, 3))
    numbers = rng.choice(np.array([8, 14], dtype=np.int32), 27)
    found = potential.evaluator(skin=0.3).compute(positions, numbers, 7.2 * np.eye(3), True)
    energies = found.energies - np.where(numbers == 8, potential.e0["O"], potential.e0["Si"])
    return potential, np.concatenate([energies, found.forces.ravel(), found.virial.ravel()])


def test_the_factory_has_every_kind(tmp_path: Path) -> None:
    document = read_container(written(tmp_path, range(len(ALL.terms)))).document
    assert {term["kind"] for term in document["terms"]} == set(_core.term_kinds())


def test_python_and_the_core_have_the_same_kinds() -> None:
    assert set(KINDS) == set(_core.term_kinds())
    assert all(term.kind == name for name, term in KINDS.items())


def test_an_unknown_kind_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    container = read_container(written(tmp_path, [0]))
    container.document["terms"][0]["kind"] = "four_body"
    write_container(tmp_path / "other.forcemap", container.document, container.tensors)
    *kinds, last = _core.term_kinds()
    expected = f'found "four_body", expected {", ".join(kinds)} or {last}$'
    with pytest.raises(ForcemapError, match=expected):
        load(tmp_path / "other.forcemap")


def test_terms_add_up_in_any_order(tmp_path: Path) -> None:
    order = range(len(ALL.terms))
    whole, expected = answer(written(tmp_path, order))
    reverse, backward = answer(written(tmp_path, order[::-1]))
    parts, answers = zip(*(answer(written(tmp_path, [n])) for n in order), strict=True)
    # Sums of some twenty numbers in another order, the largest some 1e3 eV/Å.
    scale = max(float(abs(part).max()) for part in answers)
    np.testing.assert_allclose(backward, expected, rtol=0.0, atol=1e-13 * scale)
    np.testing.assert_allclose(sum(answers), expected, rtol=0.0, atol=1e-13 * scale)
    assert whole.cutoff == reverse.cutoff == max(part.cutoff for part in parts)
    assert whole.core.bytes == reverse.core.bytes == sum(part.core.bytes for part in parts)
    assert all(part.core.bytes > 0 for part in parts)
