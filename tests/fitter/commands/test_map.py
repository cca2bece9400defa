"""`forcemap map`: its choices come from the model's file where the command line leaves them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forcemap.fitter import Settings, fit_frames, write_model
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.process.model import Model
from forcemap.potentials import load
from forcemap_runs import invoke
from structures import SILICON


@pytest.fixture(scope="module")
def model() -> Model:
    given = {
        "data": {"train": [{"path": "train.xyz", "index": "::20"}]},
        "terms": [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 6}],
        "map": {"tolerance": 1e-3},
    }
    settings = Settings.from_dict(given, SILICON)
    return fit_frames(settings, read_frames(settings.data.train))


def mapped(model: Model, folder: Path, *options: str, **choices: Any) -> Any:
    settings = {**model.settings, "map": choices} if choices else model.settings
    write_model(replace(model, settings=settings), folder / "model.forcemap")
    return invoke(
        *("map", folder / "model.forcemap", "-o", folder / "potential.forcemap", "--quiet"),
        *options,
    )


@pytest.mark.parametrize(
    ("options", "tolerance"), [((), 1e-3), (("--tolerance", "1e-2"), 1e-2)], ids=["file", "option"]
)
def test_tolerance_is_that_of_the_option_or_of_the_model(
    model: Model, tmp_path: Path, options: tuple[str, ...], tolerance: float
) -> None:
    result = mapped(model, tmp_path, *options)
    assert result.exit_code == 0, result.output
    found = load(tmp_path / "potential.forcemap").metadata["mapping"]
    assert found["tolerance_ev_per_a"] == tolerance


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"tolerance": "fine"}, "settings.map.tolerance: "),
        ({"tolerance": 0.0}, "settings.map.tolerance: "),
        ({"soap": "some"}, "settings.map.soap: "),
        ({"grid": 3}, "settings.map.grid: unknown key"),
    ],
)
def test_unusable_settings_of_a_model_are_named(
    model: Model, tmp_path: Path, choices: dict[str, Any], message: str
) -> None:
    result = mapped(model, tmp_path, **choices)
    assert result.exit_code == 1
    assert f"Error: {tmp_path / 'model.forcemap'}: {message}" in result.stderr
    assert not (tmp_path / "potential.forcemap").exists()
