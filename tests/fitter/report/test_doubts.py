"""Sentences on fits whose results cannot be meant: what stresses say against their predictions."""

from pathlib import Path

import numpy as np
import pytest
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.units import GPA
from forcemap.fitter.job import fit_to_folder
from forcemap.fitter.report.doubts import stress_slope_doubt
from forcemap.fitter.report.metrics import Comparison
from labelled_copper import copper, text


def comparison(slope: float, noise: float) -> Comparison:
    predicted = np.random.default_rng(1).normal(size=60)
    reference = slope * predicted + noise * np.random.default_rng(2).normal(size=60)
    return Comparison(stresses=np.stack([reference, predicted], axis=1))


def test_slope_against_predictions_tells_sign_and_unit() -> None:
    assert stress_slope_doubt(comparison(1.0, 0.3)) is None
    assert stress_slope_doubt(comparison(-1.0, 5.0)) is None
    assert stress_slope_doubt(Comparison()) is None
    doubt = stress_slope_doubt(comparison(-1.0, 0.3))
    assert doubt is not None
    assert doubt.startswith(
        "the slope of reference against predicted stresses of the training frames is -0.93, where 1 "
        "is expected: the sign? Expected are"
    ), doubt
    assert "is 1.6e+02, where 1 is expected: GPa for eV" in str(
        stress_slope_doubt(comparison(GPA, 1))
    )
    assert "the sign and kbar for eV" in str(stress_slope_doubt(comparison(-10 * GPA, 1)))


def test_fit_says_counts_and_the_slope(tmp_path: Path) -> None:
    """Frames far from each other have no work to compare, so it is the fit that finds the sign."""
    content = text([f._replace(stress=-f.stress) for f in copper(12, 0.08, 0.03)])
    (tmp_path / "train.xyz").write_text(content)
    term = {"kind": "two_body", "cutoff": 4.5, "n_sparse": 8}
    settings = Settings.from_dict({"data": {"train": "train.xyz"}, "terms": [term]}, tmp_path)
    assert len(read_frames(settings.data.train)) == 12
    with pytest.warns(
        UserWarning, match="predicted stresses of the training frames is -.*the sign"
    ):
        report = fit_to_folder(settings, tmp_path / "out")
    (line,) = report["fit"]["labels"]["train"]
    assert line.endswith("train.xyz: 12 frames: 12 energies, 12 forces (48 atoms), 12 stresses")
