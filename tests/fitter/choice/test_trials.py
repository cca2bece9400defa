"""Trials of alternative settings: the same as a fit for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from forcemap.fitter.choice import trials
from forcemap.fitter.choice.trials import evidences, of_largest_evidence
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fitted
from forcemap.fitter.sharing.run import Run
from quick_frames import alloy

SHARED = [
    {"kind": "two_body", "cutoff": 5.0, "n_sparse": 12},
    {"kind": "three_body", "cutoff": 3.6, "n_sparse": 20},
]


def settings_of(cutoff: float, e0: str = "average") -> Settings:
    """One alternative: what it has alone stands between the terms that all share."""
    own = {"kind": "soap", "cutoff": cutoff, "n_max": 4, "l_max": 2, "n_sparse": 15}
    terms = [SHARED[0], own, SHARED[1]]
    return Settings.from_dict({"data": {"train": ["x.xyz"]}, "terms": terms, "e0": e0})


@pytest.fixture(scope="module")
def frames() -> Sequence[Frame]:
    return alloy()[:4]


@pytest.mark.parametrize("jobs", [1, 3])
def test_evidences_are_those_of_separate_fits(frames: Sequence[Frame], jobs: int) -> None:
    """To the last digits but for rounding: the sums are parts of one."""
    options = [settings_of(cutoff) for cutoff in (3.2, 3.8, 4.4)]
    apart = []
    for option in options:
        found = fitted(option, frames, Run(), leave_out=False)
        assert found is not None
        apart.append(found.model.log_marginal_likelihood)
    together = evidences(options, frames, lambda: None, Run(jobs))
    np.testing.assert_allclose(together, apart, rtol=1e-7)
    assert np.ptp(apart) > 1e-3 * abs(apart[0])


def test_the_most_probable_is_chosen_among_any_cutoffs(
    frames: Sequence[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with another widest cutoff have a core of their own."""
    monkeypatch.setattr(trials, "TRIAL_POINTS", 15)
    options = [settings_of(cutoff) for cutoff in (3.2, 5.5, 3.8)]
    found = [
        evidences([trials.trial_of(option)], frames, lambda: None, Run())[0] for option in options
    ]
    done: list[int] = []
    chosen = of_largest_evidence(options, frames, lambda: done.append(1))
    assert chosen is options[int(np.argmax(found))]
    assert len(done) == len(options)
