"""Hyperparameters by evidence: where it is largest, from where it starts, and what the fit then has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.choice.optimise import wanted
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames, fitted
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.potentials.errors import ForcemapError
from structures import as_frame

CUTOFF = 4.0


def settings_of(*terms: dict[str, Any], **others: Any) -> Settings:
    return Settings.from_dict(
        {"data": {"train": "train.xyz"}, "core": "none", "terms": list(terms), **others}
    )


def pair(**changes: Any) -> dict[str, Any]:
    return {"kind": "two_body", "cutoff": CUTOFF, "n_sparse": 20, **changes}


def crystal(seed: int) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.5 + 0.05 * (seed % 5), cubic=True)
    atoms.rattle(0.15, seed=seed)
    return atoms


def drawn_frames(lengthscale: float, noise: float = 0.01, count: int = 14) -> list[Frame]:
    """Forces of a pair function that is drawn from a process of this lengthscale."""
    frames = [replace(as_frame(crystal(seed)), index=seed) for seed in range(count)]
    settings = settings_of(pair(lengthscale=lengthscale, n_sparse=40), e0={"Cu": 0.0})
    prior = Prior.of(settings, Survey.of(frames, settings))
    rng = np.random.default_rng(3)
    white = rng.normal(size=prior.size)
    weights = np.linalg.solve(prior.factors[0].T, white)
    found = []
    for frame in frames:
        layout = RowLayout(len(frame.numbers))
        forces = (frame_rows(frame, prior.terms) @ weights)[layout.forces].reshape(-1, 3)
        found.append(replace(frame, forces=forces + noise * rng.normal(size=forces.shape)))
    return found


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return drawn_frames(0.5)


@pytest.mark.parametrize("start", [0.25, 1.2])
def test_the_lengthscale_of_the_process_that_made_the_data_is_found(
    frames: list[Frame], start: float
) -> None:
    """Within what the shape of the evidence allows, from below and from above."""
    settings = settings_of(pair(lengthscale=start, optimise=["lengthscale"]), e0={"Cu": 0.0})
    model = fit_frames(settings, frames)
    summary = model.data["optimised"]
    assert summary["terms"][0]["before"]["lengthscale"] == start
    assert summary["log_evidence"]["after"] > summary["log_evidence"]["before"] + 5.0
    assert 0.35 < model.terms[0].hyperparameters()["lengthscale"] < 0.75
    assert summary["evaluations"] < 30


def test_what_is_not_named_stays(frames: list[Frame]) -> None:
    settings = settings_of(pair(lengthscale=1.0, optimise=["lengthscale"]), e0={"Cu": 0.0})
    found = fit_frames(settings, frames).terms[0].hyperparameters()
    assert found["cutoff"] == CUTOFF
    assert found["cutoff_width"] == pytest.approx(0.35 * CUTOFF)
    assert found["lengthscale"] != 1.0


def test_the_fit_is_that_of_the_settings_found(frames: list[Frame]) -> None:
    """And does not depend on the number of threads."""
    settings = settings_of(pair(), {"kind": "embedding", "cutoff": CUTOFF}, optimise=True)
    fits = [fitted(settings, frames, Run(jobs)) for jobs in (1, 2)]
    assert fits[0] is not None
    assert fits[1] is not None
    found = fits[0].settings
    assert found == fits[1].settings
    assert not any(wanted(found))
    again = fit_frames(found, frames)
    np.testing.assert_array_equal(again.weights, fits[0].model.weights)
    assert "optimised" not in again.data
    assert [t["term"] for t in fits[0].model.data["optimised"]["terms"]] == [0, 1]


def test_cutoffs_stay_near_the_given_ones_and_widths_within_them(frames: list[Frame]) -> None:
    settings = settings_of(pair(optimise=True), e0={"Cu": 0.0})
    found = fit_frames(settings, frames).terms[0].hyperparameters()
    assert CUTOFF / 1.2 - 1e-3 <= found["cutoff"] <= 1.2 * CUTOFF + 1e-3
    assert 0.1 * found["cutoff"] - 1e-3 <= found["cutoff_width"] <= found["cutoff"]


def test_powers_are_chosen_among_whole_numbers(frames: list[Frame]) -> None:
    """No neighbouring power has a larger evidence."""
    soap = {"kind": "soap", "cutoff": CUTOFF, "n_max": 3, "l_max": 2, "n_sparse": 15}
    fit = fitted(settings_of({**soap, "zeta": 1, "optimise": ["zeta"]}), frames, Run())
    assert fit is not None
    zeta = fit.settings.terms[0].zeta  # type: ignore[attr-defined]
    assert 1 < zeta <= 4
    before, after = (fit.model.data["optimised"]["log_evidence"][k] for k in ("before", "after"))
    assert after > before


def test_an_optimised_delta_is_free(frames: list[Frame]) -> None:
    given = pair(lengthscale=0.5, delta=0.3)
    fixed = fit_frames(settings_of(given, e0={"Cu": 0.0}), frames)
    free = fit_frames(settings_of({**given, "optimise": ["delta"]}, e0={"Cu": 0.0}), frames)
    assert fixed.terms[0].delta == 0.3
    assert free.terms[0].delta != 0.3
    assert free.log_marginal_likelihood > fixed.log_marginal_likelihood


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "yes",
            "terms[0].optimise: 'yes' is not true, false, or names such as [lengthscale, delta]",
        ),
        (["lenghtscale"], "terms[0].optimise: 'lenghtscale' is not one of lengthscale, cutoff, "),
    ],
)
def test_what_cannot_be_optimised_is_named(given: Any, text: str) -> None:
    with pytest.raises(ForcemapError) as error:
        settings_of(pair(optimise=given))
    assert text in str(error.value)


def test_a_hyperparameter_of_another_kernel_is_named(frames: list[Frame]) -> None:
    many = {"kind": "nbody", "cutoff": CUTOFF, "n_features": 8, "n_sparse": 5}
    with pytest.raises(
        ForcemapError, match=r"terms\[0\].optimise: this nbody term has no distance"
    ):
        fit_frames(settings_of({**many, "optimise": ["distance_lengthscale"]}), frames)


def test_cutoffs_that_reach_no_atoms_are_named(frames: list[Frame]) -> None:
    settings = settings_of({"kind": "two_body", "cutoff": 1.0, "optimise": True})
    with pytest.raises(ForcemapError, match="there is nothing to fit"):
        fit_frames(settings, frames)


def test_what_is_found_is_within_what_settings_take(frames: list[Frame]) -> None:
    """An atom_sigma near its lower limit does not leave it."""
    soap = {"kind": "soap", "cutoff": CUTOFF, "n_max": 2, "l_max": 1, "n_sparse": 8}
    settings = settings_of({**soap, "atom_sigma": 0.06, "optimise": ["atom_sigma"]})
    fit = fitted(settings, frames, Run())
    assert fit is not None
    assert fit.settings.terms[0].atom_sigma >= 0.05  # type: ignore[attr-defined]


def test_settings_come_back_from_their_file(tmp_path: Path) -> None:
    settings = settings_of(pair(optimise=["lengthscale"]), pair(optimise=True), optimise=True)
    settings.dump(tmp_path / "settings.yaml")
    again = Settings.read(tmp_path / "settings.yaml")
    assert [term.optimise for term in again.terms] == [("lengthscale",), True]
    assert again.optimise is True
