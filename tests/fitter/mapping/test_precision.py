"""Maps in single precision: how far off they are, what is reported, the settings and the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.precision import in_precision
from forcemap.fitter.process.model import Model
from forcemap.potentials import ForcemapError, Potential
from forcemap.potentials.file.potential_file import as_potential
from forcemap.potentials.terms.soap import SoapFunctions
from structures import SILICON

MOST = 1e-5
"""Change of a force by single precision, eV/Å, that potentials of real data may have at most."""

STIFF = 3.0

GIVEN = {"data": {"train": "a.xyz"}, "terms": [{"kind": "soap"}]}

pytestmark = pytest.mark.usefixtures("one_thread")


TERMS = {
    "zeta 2": {"kind": "soap", "cutoff": 5.0, "n_sparse": 150, "zeta": 2},
    "zeta 4": {"kind": "soap", "cutoff": 5.0, "n_sparse": 150, "zeta": 4},
    "products": {"kind": "bispectrum", "cutoff": 4.5},
}


def fitted(name: str) -> tuple[Model, list[Frame]]:
    """Thermal and strained silicon with forces to 1.9 eV/Å."""
    train = [{"path": str(SILICON / "train.xyz"), "index": "::4"}, str(SILICON / "isolated.xyz")]
    terms = [{"kind": "two_body", "cutoff": 5.5}, TERMS[name]]
    settings = Settings.from_dict({"data": {"train": train}, "e0": "isolated", "terms": terms})
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    return fit_frames(settings, frames), frames


@cache
def mapped_and_frames(name: str) -> tuple[Mapped, list[Frame]]:
    model, frames = fitted(name)
    return map_model(model, frames, 1e-4), frames


@pytest.fixture(scope="module", params=list(TERMS))
def double(request: pytest.FixtureRequest) -> tuple[Mapped, list[Frame]]:
    return mapped_and_frames(request.param)


def change(one: Potential, other: Potential, frames: Sequence[Frame]) -> float:
    found = [potential.evaluator(skin=0.0) for potential in (one, other)]
    pairs = [[evaluated(evaluator, frame).forces for evaluator in found] for frame in frames]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def test_forces_stay_within_1e_5(double: tuple[Mapped, list[Frame]]) -> None:
    """Of forms of few vectors, of sparse points whose weights cancel to a millionth, and products."""
    mapped, frames = double
    single = in_precision(mapped, frames, "single")
    found = change(mapped.potential, single.potential, frames)
    assert 0.0 < found < MOST
    assert single.errors["single_precision_force_error_ev_per_a"] == pytest.approx(found, rel=1e-6)
    reported = mapped.errors["force_max_error_ev_per_a"] + found
    assert single.errors["force_max_error_ev_per_a"] == pytest.approx(reported, rel=1e-6)
    assert single.data.mapping == single.errors


def test_forces_stay_within_1e_5_far_from_equilibrium(double: tuple[Mapped, list[Frame]]) -> None:
    mapped, frames = double
    single = in_precision(mapped, frames, "single").potential.evaluator(skin=0.0)
    evaluator = mapped.potential.evaluator(skin=0.0)
    rng, frame = np.random.default_rng(0), max(frames, key=lambda some: len(some.numbers))
    for _ in range(3):
        positions = frame.positions + rng.normal(scale=0.2, size=frame.positions.shape)
        structure = positions, frame.numbers, frame.cell, frame.pbc
        forces = evaluator.compute(*structure).forces
        assert np.abs(forces).max() > 5.0
        np.testing.assert_allclose(single.compute(*structure).forces, forces, rtol=0, atol=MOST)


def stiffer(mapped: Mapped, by: float) -> Mapped:
    """With so many times the energies, forces and stiffness of its spectra."""
    terms = []
    for term in mapped.data.terms:
        if isinstance(term, SoapFunctions):
            centers = {
                symbol: replace(center, factors=by * center.factors, constant=by * center.constant)
                for symbol, center in term.centers.items()
            }
            term = replace(term, centers=centers)
        terms.append(term)
    data = replace(mapped.data, terms=tuple(terms))
    return replace(mapped, data=data, potential=as_potential(data))


@pytest.fixture(scope="module")
def form() -> tuple[Mapped, list[Frame]]:
    return mapped_and_frames("zeta 2")


def test_a_stiff_potential_stays_within_1e_5(form: tuple[Mapped, list[Frame]]) -> None:
    """Forces of STIFF times silicon's, as those of refractory metals, in cells pressed by a tenth."""
    mapped, frames = stiffer(form[0], STIFF), form[1]
    single = in_precision(mapped, frames, "single")
    pressed = [
        replace(frame, positions=0.9 * frame.positions, cell=0.9 * frame.cell) for frame in frames
    ]
    found = change(mapped.potential, single.potential, [*frames, *pressed])
    assert found < MOST


def test_a_change_above_1e_5_is_reported_with_its_cure(form: tuple[Mapped, list[Frame]]) -> None:
    mapped, frames = stiffer(form[0], 100.0), form[1]
    message = r"single changes a force by \S+ eV/Å, more than 1e-05: .* use precision: double"
    with pytest.warns(UserWarning, match=message):
        single = in_precision(mapped, frames, "single")
    assert single.errors["single_precision_force_error_ev_per_a"] > MOST


def test_a_tolerance_below_1e_5_is_kept_to(form: tuple[Mapped, list[Frame]]) -> None:
    mapped, frames = form
    strict = replace(mapped, errors={**mapped.errors, "tolerance_ev_per_a": 1e-8})
    with pytest.warns(UserWarning, match=r"more than 1e-08: .* use precision: double"):
        in_precision(strict, frames, "single")


def test_the_change_is_measured_where_forces_are_largest(form: tuple[Mapped, list[Frame]]) -> None:
    """One frame of large forces among many of none, wherever it is."""
    mapped, frames = form
    rng = np.random.default_rng(3)
    small = min((f for f in frames if len(f.numbers) > 1), key=lambda some: len(some.numbers))
    calm = replace(small, forces=np.zeros_like(small.positions))
    rattled = small.positions + rng.normal(scale=0.3, size=small.positions.shape)
    wild = replace(small, positions=rattled, forces=np.full_like(small.positions, 20.0))
    expected = [change(mapped.potential, in_single(mapped), [frame]) for frame in (calm, wild)]
    assert expected[1] > expected[0]
    for place in (0, 3, 401):
        many = [calm] * place + [wild] + [calm] * (401 - place)
        found = in_precision(mapped, many, "single").errors
        assert found["single_precision_force_error_ev_per_a"] == pytest.approx(
            expected[1], rel=1e-6
        )


def in_single(mapped: Mapped) -> Potential:
    terms = tuple(term.in_single_precision() for term in mapped.data.terms)
    return as_potential(replace(mapped.data, terms=terms))


def test_double_is_the_default(double: tuple[Mapped, list[Frame]]) -> None:
    """Files are what they were before there was another."""
    mapped, frames = double
    assert Settings.from_dict(GIVEN).map.precision == "double"
    assert in_precision(mapped, frames, "double") is mapped
    assert not any("precision" in term.document() for term in mapped.data.terms)


def test_a_term_without_single_precision_is_reported() -> None:
    train = [{"path": str(SILICON / "train.xyz"), "index": "::20"}]
    terms = [{"kind": "two_body", "cutoff": 5.0}]
    settings = Settings.from_dict({"data": {"train": train}, "e0": "average", "terms": terms})
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    mapped = map_model(fit_frames(settings, frames), frames, 1e-3)
    with pytest.warns(UserWarning, match="single changes nothing: no term of this potential"):
        assert in_precision(mapped, frames, "single") is mapped


def test_an_unknown_precision_is_rejected() -> None:
    given = {**GIVEN, "map": {"precision": "half"}}
    with pytest.raises(ForcemapError, match=r"map.precision.*half.*double.*single"):
        Settings.from_dict(given)
