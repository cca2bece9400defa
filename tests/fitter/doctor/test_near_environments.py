"""Atoms in nearly equal surroundings."""

from dataclasses import replace

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.near_environments import examine
from quick_frames import KINDS, molecules, strains

pytestmark = pytest.mark.usefixtures("one_thread")


def turned(frame: Frame, seed: int) -> Frame:
    """A rotated or reflected copy with slightly moved atoms, and the forces that go with it."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    assert frame.forces is not None
    return replace(
        frame, positions=frame.positions @ q, forces=frame.forces @ q, index=100 + frame.index
    )


def noisy(frame: Frame, sigma: float, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    assert frame.forces is not None
    return replace(frame, forces=frame.forces + rng.normal(0.0, sigma, frame.forces.shape))


def contradictions(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.name == "near-environments"]


@pytest.mark.parametrize("kind", KINDS)
def test_sound_frames_do_not_contradict_each_other(kind: str) -> None:
    assert not contradictions(examine(KINDS[kind]()))


def test_copies_in_any_orientation_agree() -> None:
    frames = list(molecules())
    copies = [turned(frame, n) for n, frame in enumerate(frames)]
    assert not examine(frames + copies)


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_the_bound_is_the_noise_of_copies(sigma: float) -> None:
    """Copies turned onto each other differ by the noise alone; a fifth for its estimate by medians."""
    frames = list(molecules())
    copies = [turned(frame, n) for n, frame in enumerate(frames)]
    those = [noisy(frame, sigma, n) for n, frame in enumerate(frames + copies)]
    (finding,) = (f for f in examine(those) if f.name == "error-bound")
    assert finding.severity is Severity.NOTE
    assert finding.figures is not None
    assert finding.figures["force"] == pytest.approx(sigma, rel=0.2)
    assert "no potential of local energies that sees nothing beyond" in finding.message


def test_a_contradiction_is_named() -> None:
    frames = list(molecules())
    copies = [turned(frame, n) for n, frame in enumerate(frames)]
    copies[11] = replace(copies[11], forces=-2.0 * (copies[11].forces + 1.0))
    (finding,) = contradictions(examine(frames + copies))
    assert finding.severity is Severity.DOUBT
    assert {place.index for place in finding.frames} == {11, 111}
    assert "very different forces in nearly equal surroundings within " in finding.message


def test_perfect_crystals_have_no_direction() -> None:
    """Forces vanish by symmetry; nothing turns one atom onto another, and nothing has to."""
    assert not examine(strains())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_sets_say_nothing(count: int) -> None:
    for kind in KINDS.values():
        assert not examine(kind()[:count])
