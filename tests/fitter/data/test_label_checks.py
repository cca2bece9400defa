"""Units, signs and placeholders: correct labels pass, wrong ones are named with the cure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from forcemap.fitter.config import Keys
from forcemap.fitter.data.label_checks import (
    check_labels,
    label_counts,
    work_of_stresses,
)
from forcemap.fitter.data.units import GPA
from forcemap.potentials.errors import ForcemapError
from labelled_copper import Labelled, copper, read, text
from structures import as_frame


def scaled(frames: Sequence[Labelled], factor: float) -> list[Labelled]:
    return [frame._replace(stress=factor * frame.stress) for frame in frames]


# ----- counts -----


def test_labels_are_counted_by_file(tmp_path: Path) -> None:
    content = text(copper(3)) + text(copper(2), forces=None, stress=None)
    (line,) = label_counts(read(tmp_path, content))
    assert line == f"{tmp_path / 'data.xyz'}: 5 frames: 5 energies, 3 forces (12 atoms), 3 stresses"
    many = [as_frame(bulk("Cu", cubic=True), forces=np.zeros((4, 3)))] * 300
    assert label_counts(many) == [
        "test: 300 frames: 0 energies, 300 forces (1,200 atoms), 0 stresses"
    ]


# ----- stresses -----


@pytest.mark.parametrize(
    ("rattle", "strain"), [(0.08, 0.03), (0.0, 0.02), (0.02, 0.01), (0.3, 0.0)]
)
def test_correct_stresses_pass(tmp_path: Path, rattle: float, strain: float) -> None:
    frames = read(tmp_path, text(copper(20, rattle, strain)))
    assert len(frames) == 20


def test_energies_change_by_the_work_of_the_stresses(tmp_path: Path) -> None:
    """The trapezoidal rule's error is of third order: an eighth of it at half the steps.

    The slope's error, relative to the work, which is of second order here, halves at least.
    """
    off = []
    for size in (1.0, 0.5):
        frames = copper(30, 0.01 * size, 0.02 * size)
        work = work_of_stresses(read(tmp_path, text(frames)))
        assert work is not None
        off.append(abs(work.slope - 1.0))
        assert work.correlation > 0.95
    assert off[0] < 0.2
    assert off[1] < 0.6 * off[0]


@pytest.mark.parametrize(
    ("unit", "size"), [("GPa", GPA), ("kbar", 10 * GPA), ("bar", 1e4 * GPA), ("kbar", -10 * GPA)]
)
@pytest.mark.parametrize("forces", ["forces", None])
def test_stresses_in_other_units_are_an_error(
    tmp_path: Path, unit: str, size: float, forces: str | None
) -> None:
    content = text(scaled(copper(20, 0.02, 0.02), size), forces=forces)
    message = rf'stresses \("stress", up to .* GPa\) contradict the energies.* by [\d.]+ if {unit}'
    keys = None if forces else Keys(forces="none")
    if forces is None:
        with (
            pytest.warns(UserWarning, match="no force label"),
            pytest.raises(ForcemapError, match=message),
        ):
            read(tmp_path, content, keys=keys)
    else:
        with pytest.raises(ForcemapError, match=message):
            read(tmp_path, content)


def test_stresses_of_wrong_sign_are_an_error(tmp_path: Path) -> None:
    content = text(scaled(copper(20, 0.02, 0.02), -1.0))
    with pytest.raises(
        ForcemapError, match="Their sign is wrong: expected is ASE's, positive under"
    ):
        read(tmp_path, content)


def test_stresses_that_are_too_small_are_an_error(tmp_path: Path) -> None:
    content = text(scaled(copper(20, 0.0, 0.02), 1 / 183.63))
    with pytest.raises(ForcemapError, match=r"multiply by 183.* if they are in Hartree/Bohr"):
        read(tmp_path, content)


def test_huge_stresses_of_few_frames_are_told_by_the_forces(tmp_path: Path) -> None:
    """Two frames, or frames of one cell, have no work to compare; kbar are sure, GPa are likely."""
    few = copper(2)
    with pytest.raises(
        ForcemapError, match=r"data.xyz: frame \d \(counted from 0\): the stress \("
    ):
        read(tmp_path, text(scaled(few, 10 * GPA)))
    with pytest.warns(UserWarning, match=r"the stress \(\"stress\"\) is up to .* Are they in GPa"):
        read(tmp_path, text(scaled(few, GPA)))
    with pytest.raises(ForcemapError, match=r'the stress \("virial"\) is up to'):
        read(tmp_path, text(scaled(few, 10 * GPA), stress=None, virial="virial"))


def test_stresses_of_dense_matter_pass() -> None:
    """Iron at 360 GPa has 16 eV per atom; a collision's stress goes with its forces."""
    iron = bulk("Fe", cubic=True, a=2.4)
    iron_frame = as_frame(iron, energy=-1.0, forces=np.zeros((2, 3)), stress=-2.25 * np.eye(3))
    collision = np.array([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0]])
    hit = as_frame(iron, energy=900.0, forces=collision, stress=-40.0 * np.eye(3))
    check_labels("dense.xyz", [iron_frame, hit], '"stress"')


# ----- placeholders -----


def test_zeros_in_place_of_labels_are_warned_of(tmp_path: Path) -> None:
    frames = list(copper(6))
    rest = (
        r" of exactly zero in 2 of 6 frames, such as frame 1 \(counted from 0\), whose structure "
        "cannot have that: a placeholder. It is fitted as it stands; remove the label"
    )
    changes: dict[str, dict[str, Any]] = {
        "forces": {"forces": np.zeros((4, 3))},
        "a stress": {"stress": np.zeros((3, 3))},
        "an energy": {"energy": 0.0},
    }
    for label, change in changes.items():
        wrong = [f._replace(**change) if n in (1, 4) else f for n, f in enumerate(frames)]
        with pytest.warns(UserWarning, match=f"data.xyz: {label}{rest}") as caught:
            read(tmp_path, text(wrong))
        assert len(caught) == 1


def test_right_zeros_pass() -> None:
    zero = np.zeros((3, 3))
    crystal = bulk("Si", cubic=True)
    forceless = as_frame(crystal, energy=-5.0, forces=np.zeros((8, 3)), stress=0.01 * np.eye(3))
    lone = bulk("Cu", cubic=True, a=20.0)[:1]
    atom = as_frame(lone, energy=0.0, forces=np.zeros((1, 3)), stress=zero)
    check_labels("zeros.xyz", [forceless, atom], '"stress"')
    # One energy is zero where all are relative to it.
    relative = [as_frame(crystal, energy=e, forces=np.zeros((8, 3))) for e in (0.0, 0.3, 0.1, 0.7)]
    check_labels("zeros.xyz", relative, '"stress"')
    missing = [as_frame(crystal, energy=e, forces=np.zeros((8, 3))) for e in (0.0, -40, -41, -40.5)]
    with pytest.warns(UserWarning, match="an energy of exactly zero in 1 of 4 frames"):
        check_labels("zeros.xyz", missing, '"stress"')


def test_zero_forces_of_asymmetric_alloys_are_told() -> None:
    """Places that are symmetric but for the elements of the neighbours have forces."""
    alloy = bulk("Cu", cubic=True)
    alloy.symbols[0] = "Au"
    ordered = as_frame(alloy, energy=-5.0, forces=np.zeros((4, 3)))
    check_labels("alloy.xyz", [ordered], '"stress"')
    layers = bulk("Cu", cubic=True).repeat((4, 1, 1))
    layers.symbols[:4] = "Au"
    mixed = as_frame(layers, energy=-5.0, forces=np.zeros((16, 3)))
    with pytest.warns(UserWarning, match="forces of exactly zero in 1 of 1 frames"):
        check_labels("alloy.xyz", [mixed], '"stress"')
