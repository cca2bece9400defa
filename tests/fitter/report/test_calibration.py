"""What a report says of deviations, against numbers worked out by hand and by SciPy."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.report.calibration import (
    CALIBRATION,
    Expected,
    Honest,
    calibration_block,
    force_errors,
    uncertainty_block,
)
from forcemap.fitter.report.figures import svg_of
from forcemap.fitter.report.honesty_figures import binned, honesty_figures
from forcemap.fitter.report.report import Judgement, write_report
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from structures import as_frame, get


def expected(count: int = 6, scale: float = 1.0, seed: int = 0) -> Expected:
    """Frames whose errors are normal, `scale` times their deviations, in two groups."""
    rng = np.random.default_rng(seed)
    pairs, deviations = [], []
    for number in range(count):
        frame = as_frame(get("molecule"))
        n = len(frame.numbers)
        sd = np.exp(rng.normal(-2.0, 1.0, (n, 3)))
        frame = replace(
            frame,
            energy=-1.0,
            forces=rng.normal(size=(n, 3)),
            config_type="ab"[number % 2],
            index=number,
        )
        assert frame.forces is not None
        forces = frame.forces + scale * sd * rng.normal(size=(n, 3))
        energy = -1.0 + 0.02 * scale * float(rng.normal())
        pairs.append((frame, Prediction.of(frame, energy, forces, np.zeros(6))))
        deviations.append(Prediction.of(frame, 0.02, sd, np.zeros(6)))
    return Expected(pairs, deviations)


def test_numbers_are_those_of_all_force_components() -> None:
    found = expected(300)
    block = calibration_block(found)
    errors = force_errors(found)
    z = errors[:, 0] / errors[:, 1]
    assert len(z) == sum(3 * len(frame.numbers) for frame, _ in found.pairs)
    assert block["rms_z_force"] == pytest.approx(np.sqrt(np.mean(z**2)))
    assert block["rms_z_force"] == pytest.approx(1.0, abs=0.05)
    assert block["rms_z_energy"] == pytest.approx(1.0, abs=0.15)
    assert block["coverage_1_sigma"] == pytest.approx(0.683, abs=0.03)
    assert block["coverage_2_sigma"] == pytest.approx(0.954, abs=0.02)
    rho = spearmanr(np.abs(errors[:, 0]), errors[:, 1])[0]
    assert block["spearman_force"] == pytest.approx(rho, rel=1e-10)
    assert list(block["by_config_type"]) == ["a", "b"]
    wide = calibration_block(expected(300, scale=3.0))
    assert wide["rms_z_force"] == pytest.approx(3.0, rel=0.05)


def test_equal_errors_share_a_rank() -> None:
    """As in SciPy, which is imported for this test alone: a fit does without `scipy.stats`."""
    rng = np.random.default_rng(8)
    forces = rng.integers(1, 5, (40, 2)).astype(float) * rng.choice([-1.0, 1.0], (40, 1))
    forces[:, 1] = np.abs(forces[:, 1])
    ranked = CALIBRATION["spearman_force"].value(forces, np.zeros((0, 2)))
    assert ranked == pytest.approx(spearmanr(np.abs(forces[:, 0]), forces[:, 1])[0], rel=1e-12)
    code = "import sys, forcemap.fitter.job; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_atoms_without_labels_do_not_count() -> None:
    found = expected(1)
    frame, prediction = found.pairs[0]
    mask = np.arange(len(frame.numbers)) == 0
    masked = Expected([(replace(frame, force_mask=mask), prediction)], found.deviations)
    assert len(force_errors(masked)) == 3 * (len(frame.numbers) - 1)


def test_nothing_known_is_none() -> None:
    assert all(calibration_block(Expected())[name] is None for name in CALIBRATION)
    found = expected(2)
    bare: list[tuple[Frame, Prediction]] = [
        (replace(frame, forces=None), prediction) for frame, prediction in found.pairs
    ]
    block = calibration_block(Expected(bare, found.deviations))
    assert block["rms_z_force"] is None
    assert block["spearman_force"] is None
    assert block["coverage_2_sigma"] in (0.0, 0.5, 1.0)  # of the energies


def test_best_numbers_are_those_of_left_out_frames_else_of_the_test() -> None:
    uncertainty = Uncertainty(*[Calibration(8.0, 1e-4, 0.01)] * 3)
    out, test = expected(4, 1.0), expected(4, 2.0)
    both = uncertainty_block(Honest(uncertainty, out, test, 16))
    assert both["rms_z_force"] == both["leave_one_out"]["rms_z_force"]
    assert both["test"]["rms_z_force"] > 1.5 * both["rms_z_force"]
    assert both["draws"] == 16
    assert both["calibration"]["force"] == {"factor": 8.0, "floor": 1e-4, "noise": 0.01}
    alone = uncertainty_block(Honest(uncertainty, test=test))
    assert alone["rms_z_force"] == alone["test"]["rms_z_force"]


def test_bins_hold_like_numbers_of_components_by_deviation() -> None:
    rng = np.random.default_rng(3)
    deviations = np.exp(rng.normal(size=6000))
    found = np.stack([2.0 * deviations * rng.normal(size=6000), deviations], axis=1)
    deviation, error = binned(found)
    assert len(deviation) == 12
    assert np.all(np.diff(deviation) > 0.0)
    np.testing.assert_allclose(error / deviation, 2.0, rtol=0.15)
    assert len(binned(found[:15])[0]) == 1


def test_figures_are_drawn_where_there_are_components() -> None:
    assert not honesty_figures(Honest())
    found = honesty_figures(Honest(None, expected(8), expected(3)))
    assert list(found) == ["Reliability of force deviations", "Force error against deviation"]
    assert all(svg.count("<svg") == 1 for svg in found.values())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made SVG of."""
    figures: list[Figure] = []

    def kept(figure: Figure) -> str:
        figures.append(figure)
        return svg_of(figure)

    monkeypatch.setattr("forcemap.fitter.report.honesty_figures.svg_of", kept)
    return figures


def with_zeros(found: Expected) -> Expected:
    """With components that are zero by symmetry in frames of a third group."""
    pairs, deviations = [*found.pairs], [*found.deviations]
    for number, (frame, _) in enumerate(found.pairs):
        rng, n = np.random.default_rng(number), len(frame.numbers)
        still = replace(frame, forces=np.zeros((n, 3)), config_type="crystal")
        forces = 1e-9 * rng.normal(size=(n, 3))
        pairs.append((still, Prediction.of(still, -1.0, forces, np.zeros(6))))
        deviations.append(Prediction.of(still, 0.02, np.full((n, 3), 1e-6), np.zeros(6)))
    return Expected(pairs, deviations)


def test_legend_of_errors_against_deviations_lies_over_no_data(drawn: list[Figure]) -> None:
    honesty_figures(Honest(None, with_zeros(expected(40))))
    axes = drawn[1].axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert legend.get_window_extent().x1 <= drawn[1].bbox.x1
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_components_that_are_zero_by_symmetry_do_not_squeeze_the_others(
    drawn: list[Figure],
) -> None:
    honesty_figures(Honest(None, with_zeros(expected(40))))
    axes = drawn[1].axes[0]
    low, high = axes.get_xlim()
    shown = np.concatenate([np.asarray(line.get_xdata(), float) for line in axes.get_lines()])
    assert shown.min() > high / 1000.0
    assert high / low < 1000.0
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert sum(bool(text) for text in ticks) >= 3
    assert "eV/Å" in axes.get_xlabel()
    assert "leave-one-out (eV/Å)" in axes.get_ylabel()


def test_report_has_the_frames_left_out_and_how_honest_the_deviations_are(tmp_path: Path) -> None:
    out = expected(8)
    judged = Judgement(out.pairs, [], {}, {}, honest=Honest(None, out))
    write_report(tmp_path, judged)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["leave_one_out"]["force_rmse_ev_per_a"] == report["train"]["force_rmse_ev_per_a"]
    frames = report["leave_one_out"]["frames"]
    assert [frame["index"] for frame in frames] == list(range(8))
    assert frames[0]["force_rmse_ev_per_a"] > 0.0
    assert set(CALIBRATION) < set(report["uncertainty"])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("Expected errors", "each left out of the fit", "Reliability of force deviations"):
        assert words in text
