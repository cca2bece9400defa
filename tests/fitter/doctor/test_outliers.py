"""Single frames and atoms with wrong labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.outliers import examine
from quick_frames import KINDS, Change, alloy, liquid, stress_in_order, stress_times, with_fault

pytestmark = pytest.mark.usefixtures("one_thread")

ODD = 7
"""The frame that is changed."""


def times(factor: float) -> Change:
    return lambda f: replace(f, forces=None if f.forces is None else factor * f.forces)


def exchanged(frame: Frame) -> Frame:
    assert frame.forces is not None
    order = np.arange(len(frame.numbers))
    order[[0, -1]] = order[[-1, 0]]
    return replace(frame, forces=frame.forces[order])


def reordered(frame: Frame) -> Frame:
    assert frame.forces is not None
    return replace(frame, forces=np.roll(frame.forces, 3, axis=0))


def axes_swapped(frame: Frame) -> Frame:
    assert frame.forces is not None
    return replace(frame, forces=frame.forces[:, [1, 0, 2]])


def energy(factor: float) -> Change:
    return lambda f: replace(f, energy=None if f.energy is None else factor * f.energy)


def per_atom(frame: Frame) -> Frame:
    return replace(frame, energy=(frame.energy or 0.0) / len(frame.numbers))


def found_in(frames: Sequence[Frame]) -> list[Finding]:
    return [finding for finding in examine(frames) if finding.severity is not Severity.NOTE]


@pytest.mark.parametrize("kind", KINDS)
def test_sound_frames_are_not_accused(kind: str) -> None:
    assert not found_in(KINDS[kind]())


FORCE_FAULTS = {
    "frame-forces-sign": (times(-1.0), "the sign of the forces is wrong"),
    "frame-forces-scale": (times(1.0 / 0.0433641153), "the forces are in kcal/mol/Å"),
    "frame-forces-swapped": (exchanged, "(counted from 0) are swapped"),
    "frame-forces-order": (reordered, "the forces are in another order than the atoms"),
    "frame-forces-axes": (axes_swapped, "(x holds y, y holds x)"),
    "frame-energy-per-atom": (per_atom, "the energy is per atom"),
    "frame-energy-scale": (energy(1.0 / 27.2113862), "the energy is in Hartree"),
}


@pytest.mark.parametrize("kind", ["alloy", "liquid", "clusters"])
@pytest.mark.parametrize("name", FORCE_FAULTS)
def test_a_fault_of_one_frame_is_named(kind: str, name: str) -> None:
    change, words = FORCE_FAULTS[name]
    frames = with_fault(KINDS[kind](), change, [ODD])
    (finding,) = found_in(frames)
    assert finding.name == name
    assert finding.severity is Severity.WRONG
    assert finding.message.startswith(f"frame {ODD} of made.xyz: ")
    assert words in finding.message
    assert [place.index for place in finding.frames] == [ODD]


@pytest.mark.parametrize("kind", ["alloy", "liquid"])
@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (stress_times(-1.0), "frame-stress-sign", "the sign of the stress is wrong"),
        (stress_times(-1602.1766), "frame-stress-scale", "the stress is in kBar, and"),
        (
            stress_in_order((0, 1, 2, 5, 3, 4)),
            "frame-stress-order",
            "swapped: yz holds xy, xz holds yz, xy holds xz",
        ),
    ],
)
def test_a_wrong_stress_of_one_frame_is_named(
    kind: str, change: Change, name: str, words: str
) -> None:
    original = KINDS[kind]()
    frames = with_fault(original, change, [ODD])
    (finding,) = found_in(frames)
    assert finding.name == name
    assert words in finding.message
    assert [place.index for place in finding.frames] == [ODD]
    assert finding.correction is not None
    mended = finding.correction.change(frames[ODD])
    assert mended is not None
    np.testing.assert_allclose(mended.stress, original[ODD].stress, rtol=1e-6)


def test_a_scale_without_a_unit_has_its_factor() -> None:
    (finding,) = found_in(with_fault(liquid(), times(1.7), [ODD]))
    assert finding.name == "frame-forces-scale"
    assert finding.figures is not None
    # A quick fit is right to a few per cent.
    assert finding.figures["factors"] == pytest.approx([1.7], rel=0.05)
    assert finding.correction is None


def test_several_frames_of_one_fault_are_one_finding() -> None:
    (finding,) = found_in(with_fault(alloy(), stress_times(-1.0), [3, 11, 29]))
    assert finding.message.startswith("3 frames: the sign of the stress is wrong")
    assert [place.index for place in finding.frames] == [3, 11, 29]


def test_an_energy_that_nothing_explains_is_at_odds() -> None:
    frames = with_fault(
        liquid(), lambda f: replace(f, energy=(f.energy or 0.0) + 0.3 * len(f.numbers)), [ODD]
    )
    (finding,) = found_in(frames)
    assert finding.name == "outlier-energy"
    assert finding.severity is Severity.DOUBT
    assert f"the energy of frame {ODD} of made.xyz is +0.3" in finding.message
    assert [place.index for place in finding.frames] == [ODD]


def test_an_atom_with_a_wrong_force_is_named() -> None:
    def spoiled(frame: Frame) -> Frame:
        assert frame.forces is not None
        wrong = frame.forces.copy()
        wrong[5] = [9.0, -7.0, 8.0]
        return replace(frame, forces=wrong)

    findings = found_in(with_fault(liquid(), spoiled, [ODD]))
    assert [finding.name for finding in findings] == ["outlier-atoms"]
    assert f"such as atom 5 of frame {ODD} of made.xyz" in findings[0].message


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_sets_are_not_accused(count: int) -> None:
    for kind in KINDS.values():
        assert not found_in(kind()[:count])
