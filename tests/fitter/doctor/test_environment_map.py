"""The map of environments."""

from dataclasses import replace

import numpy as np
import pytest
from forcemap.fitter.doctor.environment_map import map_of
from quick_frames import alloy, clusters, liquid, molecules, strains

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_map_is_the_same_at_every_run() -> None:
    first, second = (map_of(alloy(), atoms=True) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.frames.shape == (40, 2)
    assert [len(points) for points in first.atoms] == [len(f.numbers) for f in alloy()]


def test_rotated_frames_have_the_same_place() -> None:
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    frames = list(molecules()[:30])
    copies = [replace(f, positions=f.positions @ q) for f in frames]
    found = map_of(frames + copies)
    assert found is not None
    np.testing.assert_allclose(found.frames[:30], found.frames[30:], atol=1e-9)


def test_supercells_have_the_same_place() -> None:
    frame = strains()[3]
    double = replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + frame.cell[0]]),
        cell=frame.cell * np.array([[2.0], [1.0], [1.0]]),
    )
    found = map_of([frame, double, *strains()[4:8]])
    assert found is not None
    np.testing.assert_allclose(found.frames[0], found.frames[1], atol=1e-9)


def test_phases_lie_apart() -> None:
    """Two kinds of one element: their distance exceeds their spread."""
    crystal = [replace(f, numbers=np.full_like(f.numbers, 13)) for f in strains()]
    found = map_of([*crystal, *liquid()])
    assert found is not None
    solid, molten = found.frames[: len(crystal)], found.frames[len(crystal) :]
    apart = np.linalg.norm(solid.mean(axis=0) - molten.mean(axis=0))
    assert apart > 3.0 * max(solid[:, 0].std(), molten[:, 0].std())
    assert sum(found.explained) > 0.5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_there_is_no_map_of_two_frames(count: int) -> None:
    assert map_of(clusters()[:count]) is None
