"""The potential file: what is written is read again, and every fault is reported."""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.potentials import Potential, _core, load
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.file.container import read_container, read_document, write_container
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    file_format,
    potential_bytes,
    read_potential,
    write_potential,
)
from forcemap.potentials.grade import AngularMoments, Moments
from forcemap.potentials.terms import (
    EmbeddingCenter,
    EmbeddingFunctions,
    SoapCenter,
    SoapFunctions,
    SoapQuadraticCenter,
    ThreeBodySplines,
    TwoBodySplines,
    ZblPairs,
)
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from potentials_factory import random_quadratic, with_draws, with_grade

Document = dict[str, Any]
Change = Callable[[Document, dict[str, np.ndarray]], object]
"""Of a document and tensors, in place."""


def small_potential() -> PotentialData:
    """A term of each kind and two elements, in few numbers."""
    rng = np.random.default_rng(3)
    symmetric = rng.normal(size=(4, 4, 5))
    symmetric += symmetric.transpose(1, 0, 2)
    return PotentialData(
        species=("H", "O"),
        e0={"H": -1.5, "O": 2.25},
        terms=(
            TwoBodySplines(5.5, 2, {("H", "H"): rng.normal(size=5), ("H", "O"): np.arange(5.0)}),
            ThreeBodySplines(
                4.0, 1, 2, {("O", "H", "H"): symmetric, ("O", "H", "O"): rng.normal(size=(4, 4, 5))}
            ),
            ZblPairs({("H", "O"): (0.4, 0.7)}),
            EmbeddingFunctions(
                4.5,
                3,
                {("O", "H"): rng.normal(size=6), ("H", "H"): np.arange(6.0)},
                {"O": EmbeddingCenter(1.3, rng.normal(size=7))},
            ),
        ),
        provenance={"note": 'Å and "quotes"', "frames": 80},
        mapping={"force_max_error_ev_per_a": 1e-4},
    )


def small_soap() -> SoapFunctions:
    """Two radial functions, l up to 1, one channel for both elements, two centres; dimension 6."""
    rng = np.random.default_rng(4)
    return SoapFunctions(
        cutoff=4.5,
        intervals=2,
        n_max=2,
        l_max=1,
        zeta=2,
        radial=rng.normal(size=(5, 2, 2)),
        self_density=rng.normal(size=2),
        weights=rng.normal(size=(1, 2)),
        centers={
            "H": SoapCenter(rng.normal(size=1), rng.normal(size=(1, 6)), 0.25),
            "O": SoapCenter(rng.normal(size=3), rng.normal(size=(3, 6)), -0.5),
        },
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "potential.forcemap"
    write_potential(small_potential(), path)
    return path


@pytest.fixture
def soap_path(tmp_path: Path) -> Path:
    """A file with a soap term only."""
    path = tmp_path / "soap.forcemap"
    write_potential(replace(small_potential(), terms=(small_soap(),)), path)
    return path


def altered(path: Path, change: Change) -> None:
    """Write the file again with its document and tensors changed, without any check."""
    container = read_container(path)
    tensors = {name: array.copy() for name, array in container.tensors.items()}
    change(container.document, tensors)
    write_container(path, container.document, tensors)


def refused(path: Path, message: str) -> None:
    """Python and the core refuse the file in the same words, which name it and have this in them."""
    with pytest.raises(ModelFileError) as python:
        read_potential(path)
    with pytest.raises(ForcemapError) as core:
        load(path)
    assert str(python.value) == str(core.value)
    assert str(path) in str(python.value)
    assert message in str(python.value)


def test_round_trip(path: Path) -> None:
    written, read = small_potential(), read_potential(path)
    assert read.species == written.species
    assert read.e0 == written.e0
    assert read.provenance == written.provenance
    assert read.mapping == written.mapping
    assert read.forcemap_version
    two, three, zbl, embedding = read.terms
    assert isinstance(two, TwoBodySplines)
    assert isinstance(three, ThreeBodySplines)
    assert isinstance(zbl, ZblPairs)
    assert (two.cutoff, two.intervals) == (5.5, 2)
    assert (three.cutoff, three.leg_intervals, three.base_intervals) == (4.0, 1, 2)
    assert zbl.pairs == {("H", "O"): (0.4, 0.7)}
    old_embedding = written.terms[3]
    assert isinstance(embedding, EmbeddingFunctions)
    assert isinstance(old_embedding, EmbeddingFunctions)
    assert (embedding.cutoff, embedding.intervals) == (4.5, 3)
    assert list(embedding.densities) == [("O", "H"), ("H", "H")]
    for pair, row in embedding.densities.items():
        np.testing.assert_array_equal(row, old_embedding.densities[pair])
    assert list(embedding.centers) == ["O"]
    assert embedding.centers["O"].range == 1.3
    np.testing.assert_array_equal(
        embedding.centers["O"].coefficients, old_embedding.centers["O"].coefficients
    )
    old_two, old_three = written.terms[:2]
    assert isinstance(old_two, TwoBodySplines)
    assert isinstance(old_three, ThreeBodySplines)
    assert list(two.tables) == list(old_two.tables)
    assert list(three.tables) == list(old_three.tables)
    for pair, row in two.tables.items():
        np.testing.assert_array_equal(row, old_two.tables[pair])
    for triplet, table in three.tables.items():
        np.testing.assert_array_equal(table, old_three.tables[triplet])


def test_core_reads_what_python_writes(path: Path) -> None:
    potential = load(path)
    assert potential.species == ["H", "O"]
    assert potential.cutoff == 5.5
    assert potential.e0 == {"H": -1.5, "O": 2.25}


def test_writing_again_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.forcemap"
    write_potential(read_potential(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_bytes_of_a_potential_are_those_of_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They make a potential without a file, where none can be written either."""
    data = small_potential()
    assert potential_bytes(data) == path.read_bytes()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.setattr(os, "fsync", None)
    assert as_potential(data).e0 == data.e0
    wrong = replace(data, e0={**data.e0, "H": float("nan")})
    with pytest.raises(ModelFileError, match=r"potential: e0: .*expected|potential: .*finite"):
        potential_bytes(wrong)


def test_file_format(path: Path, tmp_path: Path) -> None:
    assert file_format(path) == "forcemap.potential"
    model = tmp_path / "model.forcemap"
    write_container(model, {"format": "forcemap.model", "version": 1}, {"x": np.zeros(3)})
    assert file_format(model) == "forcemap.model"
    refused(model, "forcemap map")
    other = tmp_path / "other"
    write_container(other, {"format": "else"}, {"x": np.zeros(3)})
    with pytest.raises(ModelFileError, match=r"found 'else', expected forcemap\.potential or"):
        file_format(other)


def test_document_is_read_without_the_data(path: Path) -> None:
    with path.open("r+b") as file:
        header = struct.unpack("<Q", file.read(8))[0]
        file.truncate(8 + header)
    assert read_document(path)["species"] == ["H", "O"]
    refused(path, f"{path}{DAMAGED}")
    with pytest.raises(ModelFileError, match=r"no intact safetensors file.*the file is cut off"):
        file_format(path)


def full_potential() -> PotentialData:
    """The potential with draws of all its terms but the core, a calibration and a grade."""
    data = with_grade(
        with_draws(small_potential(), 3, 6), 7, Moments(4.0, 1, AngularMoments(3.0, 1))
    )
    calibrations = (Calibration(1.0 + n, 0.1 * n, 0.2 * n) for n in range(3))
    return replace(data, uncertainty=Uncertainty(*calibrations))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    write_potential(full_potential(), tmp_path / "full.forcemap")
    return tmp_path / "full.forcemap"


def test_draws_calibration_and_grade_come_back(full: Path) -> None:
    written, read = full_potential(), read_potential(full)
    assert read.uncertainty == written.uncertainty
    assert read.draws is not None
    assert written.draws is not None
    assert read.draws.count == 3
    np.testing.assert_array_equal(read.draws.e0, written.draws.e0)
    for one, other in zip(read.draws.terms, written.draws.terms, strict=True):
        assert one.document() == other.document()
        for name, values in other.tensors().items():
            np.testing.assert_array_equal(one.tensors()[name], values)
    assert read.grade is not None
    assert written.grade is not None
    assert (read.grade.moments, read.grade.shortest) == (
        written.grade.moments,
        written.grade.shortest,
    )
    for symbol, arrays in written.grade.centers.items():
        for found, expected in zip(read.grade.centers[symbol], arrays, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert potential_bytes(read) == potential_bytes(written)


def test_a_file_without_them_is_read_without_them(path: Path) -> None:
    read = read_potential(path)
    assert (read.uncertainty, read.draws, read.grade) == (None, None, None)


def test_soap_draws_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    quadratic = random_quadratic(rng, ("H", "O"), np.array([[1.0, -0.5]]), rank=3)
    data = replace(small_potential(), terms=(small_soap(), quadratic))
    data = with_grade(with_draws(data, 4, 1), 2)
    write_potential(data, tmp_path / "soap.forcemap")
    assert potential_bytes(read_potential(tmp_path / "soap.forcemap")) == potential_bytes(data)


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_are_read(version: int, path: Path) -> None:
    """They had neither draws of this form nor a calibration nor a grade."""
    expected = potential_bytes(read_potential(path))
    altered(path, set_in("version", to=version))
    assert potential_bytes(read_potential(path)) == expected
    for name in ("uncertainty", "draws", "grade"):
        altered(path, set_in(name, to={}))
        refused(path, f'found the unknown entry "{name}"')
        altered(path, drop(name))


def test_draws_of_version_2_are_read_and_not_used(path: Path) -> None:
    expected = potential_bytes(read_potential(path))
    altered(path, set_in("version", to=2))
    altered(path, set_in("columns", to=3))
    altered(path, set_tensor("terms.0.H-H.draws", np.ones((2, 5))))
    assert potential_bytes(read_potential(path)) == expected
    altered(path, set_in("version", to=1))
    refused(path, 'found the unknown entry "columns"')


def set_in(*keys: str | int, to: object) -> Change:
    def change(document: Document, _tensors: dict[str, np.ndarray]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def drop(key: str) -> Change:
    return lambda document, _tensors: document.pop(key)


def set_tensor(name: str, value: np.ndarray) -> Change:
    return lambda _document, tensors: tensors.update({name: value})


def scaled(name: str, by: float) -> Change:
    return lambda _document, tensors: tensors.update({name: tensors[name] * by})


FULL_FAULTS: dict[str, tuple[Change, str]] = {
    "few draws": (
        set_in("draws", "count", to=2),
        "draws.count: found 2, expected an integer from 3",
    ),
    "many draws": (set_in("draws", "count", to=4097), "draws.count: found 4097"),
    "more draws": (set_in("draws", "count", to=4), "found the shape (3, 2), expected (4, 2)"),
    "no count": (lambda d, _: d["draws"].pop("count"), 'draws: found no entry "count"'),
    "no terms": (lambda d, _: d["draws"].pop("terms"), 'draws: found no entry "terms"'),
    "draws' entry": (set_in("draws", "x", to=1), 'draws: found the unknown entry "x"'),
    "kind": (
        set_in("draws", "terms", 0, "kind", to="x"),
        'draws.terms[0].kind: found "x", expected',
    ),
    "core": (
        set_in("draws", "terms", 0, to={"kind": "zbl", "pairs": []}),
        "draws.terms[0].kind: found a term without weights",
    ),
    "far": (
        set_in("draws", "terms", 0, "cutoff", to=5.6),
        "draws.terms[0].cutoff: found 5.6, expected at most 5.5, the largest cutoff of the terms",
    ),
    "e0": (
        set_tensor("draws.e0", np.zeros((2, 3))),
        'tensor "draws.e0": found the shape (2, 3), expected (3, 2)',
    ),
    "one column": (
        set_tensor("draws.0.H-H", np.zeros(5)),
        'tensor "draws.0.H-H": found the shape (5), expected (3, 5)',
    ),
    "no tensor": (lambda _, t: t.pop("draws.1.O-H-H"), 'found no tensor "draws.1.O-H-H"'),
    "another tensor": (set_tensor("draws.7.x", np.zeros(1)), 'found the tensor "draws.7.x"'),
    "double precision": (
        set_tensor("draws.1.O-H-H", np.zeros((3, 50))),
        'tensor "draws.1.O-H-H": found the type F64, expected F32',
    ),
    "single precision": (
        set_tensor("draws.0.H-H", np.zeros((3, 5), np.float32)),
        'tensor "draws.0.H-H": found the type F32, expected F64',
    ),
    "symmetric table": (
        set_tensor("draws.1.O-H-H", np.zeros((3, 80), np.float32)),
        'tensor "draws.1.O-H-H": found the shape (3, 80), expected (3, 50)',
    ),
    "whole table": (
        set_tensor("draws.1.O-H-O", np.zeros((3, 4, 4, 5), np.float32)),
        'tensor "draws.1.O-H-O": found the shape (3, 4, 4, 5), expected (3, 80)',
    ),
    "more intervals than numbers": (
        set_in("draws", "terms", 1, "leg_intervals", to=100000),
        "numbers, expected at least 3 x 5000350006 with so many intervals",
    ),
    "no numbers": (
        set_tensor("draws.1.O-H-H", np.zeros((3, 0), np.float32)),
        'tensor "draws.1.O-H-H": found the shape (3, 0), expected (3, 10)',
    ),
    "no noise": (
        lambda d, _: d["uncertainty"]["force"].pop("noise"),
        'uncertainty.force: found no entry "noise"',
    ),
    "factor": (
        set_in("uncertainty", "energy", "factor", to=-1.0),
        "uncertainty.energy.factor: found -1, expected at least 0",
    ),
    "stress": (lambda d, _: d["uncertainty"].pop("stress"), 'found no entry "stress"'),
    "virial": (set_in("uncertainty", "virial", to={}), 'unknown entry "virial"'),
    "features": (
        set_in("grade", "centers", 0, "features", to=4),
        "grade.centers[0].features: found 4, expected 8, the features that the moments have of H",
    ),
    "no moments": (
        lambda d, _: d["grade"].pop("moments"),
        "found 8, expected 0, the features that the terms have of H",
    ),
    "radial": (
        set_in("grade", "moments", "radial", to=17),
        "radial: found 17, expected an integer",
    ),
    "radial of angles": (
        set_in("grade", "moments", "angular", "radial", to=0),
        "grade.moments.angular.radial: found 0, expected an integer",
    ),
    "no cutoff of angles": (
        lambda d, _: d["grade"]["moments"]["angular"].pop("cutoff"),
        'grade.moments.angular: found no entry "cutoff"',
    ),
    "more of angles": (
        set_in("grade", "moments", "angular", "l_max", to=3),
        'grade.moments.angular: found the unknown entry "l_max"',
    ),
    "cutoff of angles": (
        set_in("grade", "moments", "angular", "cutoff", to=6.0),
        "grade.moments.angular.cutoff: found 6, expected more than 0 and at most 5.5",
    ),
    "moments' cutoff": (
        set_in("grade", "moments", "cutoff", to=6.0),
        "cutoff: found 6, expected more",
    ),
    "distance": (
        set_in("grade", "shortest", 0, "distance", to=0.0),
        "grade.shortest[0].distance: found 0, expected more than 0 and at most 5.5",
    ),
    "pair twice": (
        set_in("grade", "shortest", 1, "species", to=["H", "H"]),
        "grade.shortest[1].species: found a pair that stands before",
    ),
    "pair order": (
        set_in("grade", "shortest", 1, "species", to=["O", "H"]),
        "expected the lower atomic number first",
    ),
    "mean": (
        set_tensor("grade.O.mean", np.zeros(4)),
        'tensor "grade.O.mean": found the shape (4), expected (8)',
    ),
    "upper": (
        set_tensor("grade.O.whitening", np.ones((8, 8))),
        'tensor "grade.O.whitening": found 1 at (0, 1), expected a lower triangular matrix',
    ),
}


@pytest.mark.parametrize("fault", list(FULL_FAULTS))
def test_faults_of_draws_calibration_and_grade(fault: str, full: Path) -> None:
    change, message = FULL_FAULTS[fault]
    altered(full, change)
    refused(full, message)


QUADRATIC_FAULTS: dict[str, tuple[Change, str]] = {
    "length": (
        scaled("terms.0.H.spectrum", 1.1),
        'tensor "terms.0.H.spectrum": found the length 1.1, expected 1',
    ),
    "product": (
        lambda _, t: t["terms.0.H.subspace"].__setitem__(1, t["terms.0.H.spectrum"]),
        'tensor "terms.0.H.subspace": found the product 1 of row 1 with the spectrum, expected 0',
    ),
    "symmetry": (
        lambda _, t: t["terms.0.O.forms"].__setitem__((0, 1), 7.0),
        "expected a symmetric form",
    ),
    "rank": (
        set_in("terms", 0, "centers", 0, "rank", to=4),
        'tensor "terms.0.H.subspace": found the shape (3, 6), expected (4, 6)',
    ),
    "rank 0": (
        set_in("terms", 0, "centers", 0, "rank", to=0),
        "rank: found 0, expected an integer",
    ),
}


@pytest.mark.parametrize("fault", list(QUADRATIC_FAULTS))
def test_faults_of_quadratic_forms(fault: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    term = replace(
        random_quadratic(rng, ("H", "O"), np.array([[1.0, -0.5]]), rank=3),
        **{name: getattr(small_soap(), name) for name in ("n_max", "l_max", "intervals")},
        radial=small_soap().radial,
        self_density=small_soap().self_density,
    )
    centers = {}
    for symbol in ("H", "O"):
        q = np.linalg.qr(rng.normal(size=(6, 4)))[0].T
        form = rng.normal(size=(3, 3))
        centers[symbol] = SoapQuadraticCenter(
            q[0].copy(), rng.normal(size=6), q[1:].copy(), form + form.T
        )
    data = replace(small_potential(), terms=(replace(term, centers=centers),))
    write_potential(data, tmp_path / "x.forcemap")
    change, message = QUADRATIC_FAULTS[fault]
    altered(tmp_path / "x.forcemap", change)
    refused(tmp_path / "x.forcemap", message)


PAIR = {"species": ["H", "O"], "inner": 0.4, "outer": 0.7}
FAULTS: dict[str, tuple[Change, str]] = {
    "format": (set_in("format", to="x"), 'format: found "x", expected "forcemap.potential"'),
    "newer": (set_in("version", to=4), "written by a newer forcemap; upgrade"),
    "version 0": (set_in("version", to=0), "version: found 0, expected an integer"),
    "version real": (set_in("version", to=1.0), "version: found 1.0, expected an integer"),
    "version true": (set_in("version", to=True), "version: found true, expected an integer"),
    "no version": (drop("version"), 'found no entry "version"'),
    "no units": (drop("units"), 'found no entry "units"'),
    "unit": (set_in("units", "energy", to="Ry"), 'units.energy: found "Ry", expected "eV"'),
    "unknown entry": (set_in("extra", to=1), 'found the unknown entry "extra"'),
    "provenance": (set_in("provenance", to=3), "provenance: found 3, expected an object"),
    "order": (set_in("species", to=["O", "H"]), "species[1]: found H after O"),
    "twice": (set_in("species", to=["H", "H"]), "expected increasing atomic numbers"),
    "element": (set_in("species", to=["H", "Oo"]), 'species[1]: found "Oo", expected an element'),
    "species": (set_in("species", to="H"), 'species: found the string "H", expected an array'),
    "no terms": (set_in("terms", to=[]), "expected at least one term"),
    "kind": (set_in("terms", 0, "kind", to="x"), 'terms[0].kind: found "x", expected two_body, '),
    "term's entry": (set_in("terms", 0, "scale", to=2), "terms[0]: found the unknown entry"),
    "cutoff 0": (set_in("terms", 0, "cutoff", to=0), "terms[0].cutoff: found 0"),
    "cutoff 101": (set_in("terms", 1, "cutoff", to=101.0), "0 < cutoff <= 100"),
    "cutoff text": (set_in("terms", 0, "cutoff", to="5"), 'found the string "5", expected a num'),
    "intervals 0": (set_in("terms", 0, "intervals", to=0), "terms[0].intervals: found 0"),
    "intervals": (set_in("terms", 0, "intervals", to=3), "found the shape (5), expected (6)"),
    "intervals huge": (set_in("terms", 1, "leg_intervals", to=10**6), "from 1 to 100000"),
    "no tables": (set_in("terms", 0, "tables", to=[]), "expected at least one table"),
    "table twice": (
        set_in("terms", 0, "tables", to=[["H", "O"]] * 2),
        "terms[0].tables[1]: found a table that stands before",
    ),
    "table's length": (set_in("terms", 0, "tables", 0, to=["H"]), "expected 2 species"),
    "table's species": (
        set_in("terms", 0, "tables", 0, to=["H", "C"]),
        'terms[0].tables[0][1]: found "C", expected one of the file\'s species',
    ),
    "table's order": (
        set_in("terms", 0, "tables", 0, to=["O", "H"]),
        "terms[0].tables[0]: found O-H, expected the lower atomic number first",
    ),
    "inner": (set_in("terms", 2, "pairs", 0, "inner", to=0.7), "expected 0 <= inner < outer"),
    "negative": (set_in("terms", 2, "pairs", 0, "inner", to=-0.1), "expected 0 <= inner < outer"),
    "outer": (set_in("terms", 2, "pairs", 0, "outer", to=200), "expected 0 <= inner < outer"),
    "core twice": (set_in("terms", 2, "pairs", to=[PAIR, PAIR]), "has its core already"),
    "core's order": (
        set_in("terms", 2, "pairs", 0, "species", to=["O", "H"]),
        "expected the lower atomic number first",
    ),
    "embedding's entry": (set_in("terms", 3, "scale", to=2), "terms[3]: found the unknown entry"),
    "embedding's cutoff": (set_in("terms", 3, "cutoff", to=0), "terms[3].cutoff: found 0"),
    "no densities": (
        lambda document, tensors: (
            document["terms"][3].update(tables=[]),
            tensors.pop("terms.3.O-H"),
            tensors.pop("terms.3.H-H"),
        ),
        "terms[3].tables: found an empty array, expected at least one",
    ),
    "density twice": (
        set_in("terms", 3, "tables", to=[["O", "H"], ["H", "H"], ["O", "H"]]),
        "terms[3].tables[2]: found a table that stands before",
    ),
    "density's order": (set_in("terms", 3, "tables", 0, to=["H", "O"]), "found no tensor"),
    "density's species": (
        set_in("terms", 3, "tables", 0, to=["O", "C"]),
        'terms[3].tables[0][1]: found "C", expected one of the file\'s species',
    ),
    "no centers": (
        lambda document, tensors: (
            document["terms"][3].update(centers=[]),
            tensors.pop("terms.3.O"),
        ),
        "terms[3].centers: found an empty array, expected at least one",
    ),
    "center twice": (
        lambda document, _tensors: document["terms"][3]["centers"].append(
            document["terms"][3]["centers"][0]
        ),
        "terms[3].centers[1].species: found a species that stands before",
    ),
    "center's species": (
        set_in("terms", 3, "centers", 0, "species", to="C"),
        'terms[3].centers[0].species: found "C", expected one of the file\'s species',
    ),
    "center's range": (
        set_in("terms", 3, "centers", 0, "range", to=0),
        "terms[3].centers[0].range: found 0, expected 1e-09 < range <= 1000000000",
    ),
    "center's intervals": (
        set_in("terms", 3, "centers", 0, "intervals", to=5),
        "found the shape (7), expected (8)",
    ),
    "function": (
        set_tensor("terms.3.O", np.zeros((7, 1))),
        "found the shape (7, 1), expected (7)",
    ),
    "extra tensor": (
        set_tensor("more", np.zeros(2)),
        'found the tensor "more", which no term uses',
    ),
    "dtype": (set_tensor("e0", np.zeros(2, np.int64)), "found the type I64, expected F64"),
    "shape": (set_tensor("e0", np.zeros((2, 1))), "found the shape (2, 1), expected (2)"),
    "asymmetric": (
        set_tensor("terms.1.O-H-H", np.random.default_rng(0).normal(size=(4, 4, 5))),
        "expected them equal: the neighbours are of one species",
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_are_refused_in_the_same_words(path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    altered(path, change)
    refused(path, message)


def test_soap_term_is_read_as_it_was_written(soap_path: Path, tmp_path: Path) -> None:
    written, read = small_soap(), read_potential(soap_path).terms[0]
    assert isinstance(read, SoapFunctions)
    for name in ("cutoff", "intervals", "n_max", "l_max", "zeta", "dimension"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("radial", "self_density", "weights"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert list(read.centers) == ["H", "O"]
    for symbol, center in written.centers.items():
        assert read.centers[symbol].constant == center.constant
        np.testing.assert_array_equal(read.centers[symbol].factors, center.factors)
        np.testing.assert_array_equal(read.centers[symbol].vectors, center.vectors)
    assert load(soap_path).cutoff == 4.5
    again = tmp_path / "again.forcemap"
    write_potential(read_potential(soap_path), again)
    assert again.read_bytes() == soap_path.read_bytes()


def without(name: str) -> Change:
    return lambda _document, tensors: tensors.pop(name)


CENTER = {"species": "H", "count": 1, "constant": 0.0}
SOAP_FAULTS: dict[str, tuple[Change, str]] = {
    "entry": (set_in("terms", 0, "sigma", to=1), 'terms[0]: found the unknown entry "sigma"'),
    "no cutoff": (lambda d, _: d["terms"][0].pop("cutoff"), 'found no entry "cutoff"'),
    "cutoff 0": (set_in("terms", 0, "cutoff", to=0), "terms[0].cutoff: found 0"),
    "cutoff 101": (set_in("terms", 0, "cutoff", to=101), "0 < cutoff <= 100"),
    "intervals 0": (set_in("terms", 0, "intervals", to=0), "terms[0].intervals: found 0"),
    "intervals": (set_in("terms", 0, "intervals", to=3), "found the shape (5, 2, 2), expected (6"),
    "n_max 0": (set_in("terms", 0, "n_max", to=0), "n_max: found 0, expected an integer from 1"),
    "n_max huge": (set_in("terms", 0, "n_max", to=10**9), "n_max: found 1000000000"),
    "n_max 128": (set_in("terms", 0, "n_max", to=128), "found the shape"),
    "n_max real": (set_in("terms", 0, "n_max", to=2.0), "n_max: found 2.0, expected an integer"),
    "l_max -1": (set_in("terms", 0, "l_max", to=-1), "l_max: found -1, expected an integer from 0"),
    "l_max 21": (set_in("terms", 0, "l_max", to=21), "l_max: found 21"),
    "l_max 20": (set_in("terms", 0, "l_max", to=20), "found the shape"),
    "channels 0": (set_in("terms", 0, "channels", to=0), "channels: found 0"),
    "channels 129": (set_in("terms", 0, "channels", to=129), "channels: found 129"),
    "channels": (set_in("terms", 0, "channels", to=2), "found the shape"),
    "zeta 0": (set_in("terms", 0, "zeta", to=0), "zeta: found 0, expected 0 < zeta <= 100"),
    "zeta 101": (set_in("terms", 0, "zeta", to=101), "zeta: found 101, expected 0 < zeta <= 100"),
    "zeta -0.5": (set_in("terms", 0, "zeta", to=-0.5), "zeta: found -0.5, expected 0 < zeta"),
    "zeta text": (set_in("terms", 0, "zeta", to="2"), 'found the string "2", expected a number'),
    "degree 4": (set_in("terms", 0, "degree", to=4), "degree: found 4, expected 3 or 5"),
    "degree 7": (set_in("terms", 0, "degree", to=7), "degree: found 7, expected an integer from 3"),
    "degree 5": (
        set_in("terms", 0, "degree", to=5),
        "found the shape (5, 2, 2), expected (7, 2, 2)",
    ),
    "cosine 0": (set_in("terms", 0, "cosine_width", to=0), "found 0, expected 0 < cosine_width"),
    "cosine 5": (set_in("terms", 0, "cosine_width", to=5), "expected 0 < cosine_width <= cutoff"),
    "no centres": (set_in("terms", 0, "centers", to=[]), "expected at least one"),
    "centre twice": (
        set_in("terms", 0, "centers", to=[CENTER, CENTER]),
        "terms[0].centers[1].species: found a species that stands before",
    ),
    "centre": (
        set_in("terms", 0, "centers", 0, "species", to="Si"),
        'found "Si", expected one of the file\'s species',
    ),
    "centre's entry": (
        set_in("terms", 0, "centers", 0, "rank", to=2),
        'centers[0]: found the unknown entry "rank"',
    ),
    "count 0": (set_in("terms", 0, "centers", 0, "count", to=0), "centers[0].count: found 0"),
    "count huge": (set_in("terms", 0, "centers", 0, "count", to=10**7), "count: found 10000000"),
    "count": (
        set_in("terms", 0, "centers", 1, "count", to=4),
        "found the shape (3), expected (4)",
    ),
    "constant": (
        set_in("terms", 0, "centers", 0, "constant", to="x"),
        'centers[0].constant: found the string "x", expected a number',
    ),
    "unused centre": (
        set_in("terms", 0, "centers", to=[CENTER]),
        "which no term uses",
    ),
    "no radial": (without("terms.0.radial"), "found no tensor"),
    "no self": (without("terms.0.self"), "found no tensor"),
    "no weights": (without("terms.0.weights"), "found no tensor"),
    "no vectors": (without("terms.0.O.vectors"), "found no tensor"),
    "no factors": (without("terms.0.H.factors"), "found no tensor"),
    "vectors": (
        set_tensor("terms.0.O.vectors", np.zeros((3, 7))),
        "found the shape (3, 7), expected (3, 6)",
    ),
    "radial": (
        set_tensor("terms.0.radial", np.zeros((5, 4))),
        "found the shape (5, 4), expected (5, 2, 2)",
    ),
    "self": (set_tensor("terms.0.self", np.zeros(3)), "found the shape (3), expected (2)"),
    "weights": (set_tensor("terms.0.weights", np.zeros((2, 1))), "expected (1, 2)"),
    "type": (
        set_tensor("terms.0.self", np.zeros(2, np.int64)),
        "found the type I64, expected F64",
    ),
}


@pytest.mark.parametrize("fault", list(SOAP_FAULTS))
def test_faults_of_soap_terms_are_refused_in_the_same_words(soap_path: Path, fault: str) -> None:
    change, message = SOAP_FAULTS[fault]
    altered(soap_path, change)
    refused(soap_path, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": 0.0}, "terms[0].cutoff: found 0, expected 0 < cutoff <= 100"),
        ({"zeta": 0}, "terms[0].zeta: found 0, expected 0 < zeta <= 100"),
        ({"cosine_width": 9.0}, "terms[0].cosine_width: found 9.0, expected 0 < cosine_width"),
        ({"l_max": -1}, "terms[0].l_max: found -1"),
        ({"centers": {}}, "terms[0].centers: found an empty array, expected at least one"),
        ({"weights": np.zeros((0, 2))}, "terms[0].channels: found 0"),
        (
            {"weights": np.zeros((1, 3))},
            'tensor "terms.0.weights": found the shape (1, 3), expected (1, 2)',
        ),
        (
            {"radial": np.zeros((5, 2, 3))},
            'tensor "terms.0.radial": found the shape (5, 2, 3), expected (5, 2, 2)',
        ),
        (
            {"self_density": np.array([0.0, np.nan])},
            "tensor 'terms.0.self': found nan at (1,), expected finite",
        ),
        ({"centers": {"Si": small_soap().centers["H"]}}, 'found "Si", expected one of the file\'s'),
        (
            {"centers": {"H": SoapCenter(np.zeros(2), np.zeros((1, 6)), 0.0)}},
            'tensor "terms.0.H.factors": found the shape (2), expected (1)',
        ),
        (
            {"centers": {"H": SoapCenter(np.zeros(0), np.zeros((0, 6)), 0.0)}},
            "terms[0].centers[0].count: found 0, expected an integer from 1",
        ),
    ],
)
def test_wrong_soap_terms_are_not_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data = replace(small_potential(), terms=(replace(small_soap(), **change),))
    with pytest.raises(ModelFileError) as error:
        write_potential(data, tmp_path / "x.forcemap")
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_number_that_is_not_finite(path: Path, soap_path: Path) -> None:
    for file, place in ((path, 5), (soap_path, 1)):
        without_checksum(file)
        content = bytearray(file.read_bytes())
        content[-8:] = struct.pack("<d", np.nan)
        file.write_bytes(content)
        refused(file, f"found nan at item {place}, expected finite numbers")


def without_checksum(path: Path) -> None:
    """The file as earlier versions wrote it."""
    with_header(path, lambda header: header)


def with_header(path: Path, change: Callable[[str], str]) -> None:
    """Alter the header of a file, which has no checksum any more."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    plain = re.sub('"checksum":"[0-9a-f]{16}",', "", content[8 : 8 + length].decode(), count=1)
    header = change(plain).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"forcemap":"', '"other":"x","forcemap":"', 'found the metadata entry "other"'),
        (
            '\\"version\\": 3',
            '\\"version\\": 3, \\"version\\": 3',
            'found the name "version" twice',
        ),
        ('\\"cutoff\\": 5.5', '\\"cutoff\\": NaN', 'found "N", expected a value'),
        (
            '\\"cutoff\\": 5.5',
            '\\"cutoff\\": 1e999',
            'found the number "1e999", expected one that fits in double precision',
        ),
        (
            '\\"cutoff\\": 5.5',
            '\\"cutoff\\": ' + "9" * 5000,
            "expected one that fits in double precision",
        ),
        ('\\"frames\\": 80', '\\"frames\\": ' + "[" * 70 + "]" * 70, "within each other"),
        ('\\"frames\\": 80', '\\"frames\\": ' + "[" * 200000, "within each other"),
        ('\\"frames\\": 80', '\\"frames\\": 80,', 'found "}", expected a name in quotes'),
        ("[0,16]", "[0,24]", "found 24 bytes, expected 16 for type F64 and shape (2)"),
        ("[0,16]", "[8,24]", 'the data of tensor "e0" at byte 8, expected it at 0'),
        ('"dtype":"F64"', '"dtype":"F65"', 'found the unknown type "F65"'),
    ],
)
def test_faults_of_the_header(path: Path, old: str, new: str, message: str) -> None:
    with_header(path, lambda header: header.replace(old, new, 1))
    refused(path, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file, expected a potential "),
        (b"\x01\x02", "found 2 bytes, expected a safetensors file"),
        (b"\xff" * 8, "found a header of 18446744073709551615 bytes"),
        (struct.pack("<Q", 100) + b"{}", "the file is cut off"),
        (struct.pack("<Q", 2) + b"{}", "found no metadata"),
        (struct.pack("<Q", 2) + b"[]", "this is no safetensors file"),
        (struct.pack("<Q", 3) + b'{"\xff', 'header, byte 2: found "\\xff", expected UTF-8'),
        (b"Si 1.0 2.0\n" * 10, "is a text file, expected a potential "),
        (b"2\nenergy=1\n", "is a file of frames (XYZ), expected a potential "),
    ],
)
def test_files_that_are_no_container(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    refused(path, message)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "No such file")
    refused(tmp_path, "not a regular file")


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(pipe, "not a regular file")


@pytest.mark.parametrize("kind", ["path", "soap_path"])
def test_every_truncation_is_an_error(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            read_potential(path)


@pytest.mark.parametrize("kind", ["path", "soap_path"])
def test_altered_bytes_of_a_file_without_a_checksum_give_an_error_or_a_potential(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Any other exception, a crash or a hang fails; also of the core, which computes with it."""
    path: Path = request.getfixturevalue(kind)
    without_checksum(path)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for position in [*range(0, len(content), 2), *rng.integers(0, len(content), 500)]:
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_potential(path)
        except ModelFileError:
            refused += 1
        with suppress(ForcemapError):  # or of an energy that overflows
            potential = load(path)
            some = [potential.numbers[0], potential.numbers[-1]]
            potential.evaluator().compute([[0.0, 0, 0], [0.9, 0.3, 0]], some, np.eye(3), False)
    assert refused > 500


# ----- checksums -----

DAMAGED = (
    ": its checksum does not match its content: the file is damaged; copy it again or fit anew"
)


def test_checksum_is_the_crc_of_the_file_without_it(path: Path) -> None:
    """By a bit at a time: the definition of CRC-64/XZ, with the check value of the catalogues."""

    def crc(content: bytes) -> int:
        rest = 2**64 - 1
        for byte in content:
            rest ^= byte
            for _ in range(8):
                rest = rest >> 1 ^ (0xC96C5795D7870F42 if rest & 1 else 0)
        return rest ^ (2**64 - 1)

    assert crc(b"123456789") == 0x995DC9BBDF1939FA
    content = path.read_bytes()
    found = re.search(b'"checksum":"([0-9a-f]{16})"', content)
    assert found is not None
    zeroed = content[: found.start(1)] + b"0" * 16 + content[found.end(1) :]
    assert int(found[1], 16) == crc(zeroed)


def test_crc_goes_on_from_what_precedes() -> None:
    content = np.random.default_rng(0).integers(0, 256, 100, dtype=np.uint8)
    for cut in range(101):
        assert _core.crc64(content[cut:], _core.crc64(content[:cut])) == _core.crc64(content)


@pytest.mark.parametrize("kind", ["path", "soap_path"])
def test_every_flipped_bit_is_noticed(kind: str, request: pytest.FixtureRequest) -> None:
    """Of the length, the header with names and shapes, the document, and the numbers."""
    path: Path = request.getfixturevalue(kind)
    content = path.read_bytes()
    named = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(ForcemapError) as core:
            Potential.from_bytes(bytes(damaged), "file")
        named += str(core.value) == f"file{DAMAGED}"
        if position % 5 == 0:
            path.write_bytes(damaged)
            with pytest.raises(ModelFileError, match=re.escape(str(path))):
                read_potential(path)
    # But for the length and the entry itself, damage is reported as what it is.
    assert named > len(content) - 60


def test_damage_is_reported_as_such(path: Path) -> None:
    content = path.read_bytes()
    document = content.index(b'\\"cutoff\\": 5.5') + 12
    for position in (document, len(content) - 1, content.index(b"e0")):
        path.write_bytes(content[:position] + b"6" + content[position + 1 :])
        refused(path, f"{path}{DAMAGED}")


def test_file_without_a_checksum_is_read(path: Path, soap_path: Path) -> None:
    for file in (path, soap_path):
        without_checksum(file)
        assert b"checksum" not in file.read_bytes()
        assert read_potential(file).species == ("H", "O")
        assert load(file).species == ["H", "O"]


def test_checksum_in_another_form_is_refused(path: Path) -> None:
    """It would not be noticed by those who look for the form; nobody is to rely on it in vain."""
    with_header(path, lambda h: h.replace('{"forcemap"', '{"checksum": "00ff","forcemap"', 1))
    refused(path, "checksum")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (replace(small_potential(), species=("O", "H")), "expected increasing atomic numbers"),
        (replace(small_potential(), e0={"H": 1.0}), "e0: found energies of H, expected H, O"),
        (
            replace(small_potential(), e0={"H": 1.0, "O": np.nan}),
            "tensor 'e0': found nan at (1,), expected finite",
        ),
        (replace(small_potential(), terms=()), "expected at least one term"),
        (
            replace(small_potential(), terms=(TwoBodySplines(1.0, 2, {("H", "H"): np.ones(4)}),)),
            'tensor "terms.0.H-H": found the shape (4), expected (5)',
        ),
        (
            replace(
                small_potential(), terms=(TwoBodySplines(1.0, 1, {("H", "H"): np.full(4, np.inf)}),)
            ),
            "tensor 'terms.0.H-H': found inf at (0,), expected finite",
        ),
        (replace(small_potential(), mapping={"x": np.inf}), "the document is not valid JSON"),
        (replace(small_potential(), provenance={"x": object()}), "the document is not valid JSON"),
    ],
)
def test_wrong_data_are_not_written(tmp_path: Path, data: PotentialData, message: str) -> None:
    with pytest.raises(ModelFileError) as error:
        write_potential(data, tmp_path / "x.forcemap")
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"cannot write .*: No space left on device"):
        write_potential(small_potential(), path)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot write .*No such file or directory"):
        write_potential(small_potential(), tmp_path / "none" / "x")


def test_file_names_that_are_no_utf8_do_not_stop_the_writer(path: Path) -> None:
    write_potential(replace(small_potential(), provenance={"file": "a\udcffb"}), path)
    assert read_potential(path).provenance == {"file": "a?b"}
    load(path)


def test_document_is_one_json_text(path: Path) -> None:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert list(header["__metadata__"]) == ["checksum", "forcemap"]
    assert json.loads(header["__metadata__"]["forcemap"])["format"] == "forcemap.potential"
