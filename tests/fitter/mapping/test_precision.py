"""Maps in single precision: how far off they are, what is reported, the settings and the command."""

from __future__ import annotations

from collections.abc import Sequence

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
from structures import SILICON

MOST = 1e-5
"""Change of a force by single precision, eV/Å, that potentials of real data may have at most."""

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


@pytest.fixture(scope="module", params=list(TERMS))
def double(request: pytest.FixtureRequest) -> tuple[Mapped, list[Frame]]:
    model, frames = fitted(request.param)
    return map_model(model, frames, 1e-4), frames


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
