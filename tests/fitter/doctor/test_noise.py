"""The noise floor of labels."""

from dataclasses import replace

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Severity
from forcemap.fitter.doctor.noise import examine
from quick_frames import KINDS, alloy


def noisy(frame: Frame, sigma: float, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    assert frame.forces is not None
    return replace(frame, forces=frame.forces + rng.normal(0.0, sigma, frame.forces.shape))


@pytest.mark.parametrize("kind", KINDS)
def test_exact_labels_have_no_noise(kind: str) -> None:
    assert not examine(KINDS[kind]())


@pytest.mark.parametrize("sigma", [0.003, 0.05])
def test_net_forces_are_the_noise_of_components(sigma: float) -> None:
    """The median length of a normal vector is 1.54 of its components' deviation, over root 3: 0.89."""
    frames = [noisy(frame, sigma, n) for n, frame in enumerate(alloy())]
    (finding,) = examine(frames)
    assert finding.name == "noise-floor"
    assert finding.severity is Severity.NOTE
    assert finding.figures is not None
    # Of 40 frames the median is good to a tenth.
    assert finding.figures["force"] == pytest.approx(0.89 * sigma, rel=0.2)
    assert "as errors of" in finding.message
    assert "sigma: {force:" in finding.cure


def test_copies_show_noise_of_all_labels() -> None:
    rng = np.random.default_rng(0)
    frames = list(alloy())
    copies = [
        replace(frame, energy=(frame.energy or 0.0) + len(frame.numbers) * rng.normal(0.0, 0.01))
        for frame in frames
    ]
    (finding,) = examine(frames + copies)
    assert finding.figures is not None
    # One of two copies has the error: its variance is shared by both.
    assert finding.figures["energy"] == pytest.approx(0.01 / np.sqrt(2.0), rel=0.5)
    assert "copies of 40 structures have labels that differ, as errors: energy" in finding.message


def test_masked_forces_say_nothing() -> None:
    masked = [
        replace(noisy(frame, 0.1, n), force_mask=np.arange(len(frame.numbers)) == 0)
        for n, frame in enumerate(alloy())
    ]
    assert not examine(masked)
