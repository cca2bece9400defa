"""Fits that are killed and resumed: the same potential, bit for bit, from the last block."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from forcemap.fitter.process import accumulate
from forcemap.fitter.sharing.checkpoint import PATTERN, Checkpoint, fit_key
from forcemap.fitter.solve.solver import Groups
from forcemap.potentials import ForcemapError
from forcemap_runs import blocks_in, fault, invoke, run_forcemap
from safetensors import safe_open
from structures import SILICON

ALWAYS = ("--checkpoint-every", "0", "--jobs", "1", "--quiet")
RESULTS = ["model.forcemap", "potential.forcemap", "report.html", "report.json", "settings.yaml"]

ADD = "forcemap.fitter.solve.solver:Groups.add"
SYNC = "forcemap.fitter.sharing.checkpoint:fsync"
RENAME = "forcemap.fitter.sharing.checkpoint:replace"


def write_settings(path: Path, **changes: Any) -> Path:
    """Settings of a small fit of the example, of a handful of blocks."""
    given: dict[str, Any] = {
        "data": {"train": [str(SILICON / "train.xyz")] * 2},
        "e0": {"Si": -0.85},
        "outside": "free",  # holes have rows, too, that no checkpoint holds
        "terms": [
            {"kind": "two_body", "cutoff": 4.5, "n_sparse": 8},
            {"kind": "three_body", "cutoff": 3.4, "n_sparse": 12},
        ],
    }
    path.write_text(yaml.safe_dump({**given, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_settings(tmp_path_factory.mktemp("settings") / "settings.yaml")


@pytest.fixture(scope="module")
def whole(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """The model of a fit that nobody interrupts, and its number of blocks."""
    out = tmp_path_factory.mktemp("whole")
    blocks: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        count_blocks(patch, blocks)
        result = fit(settings, out)
    assert result.exit_code == 0, result.output
    assert len(blocks) >= 8
    return (out / "model.forcemap").read_bytes(), len(blocks)


def count_blocks(patch: pytest.MonkeyPatch, blocks: list[int]) -> None:
    """Have `blocks` grow by one for each block of rows that is computed."""
    compute = accumulate.whitened_rows

    def counted(*arguments: Any) -> Any:
        blocks.append(1)
        return compute(*arguments)

    patch.setattr(accumulate, "whitened_rows", counted)


def fit(settings: Path, out: Path, *options: str) -> Result:
    """`forcemap fit` in this process."""
    return invoke("fit", settings, "-o", out, *ALWAYS, *options)


def kill(settings: Path, out: Path, where: str, call: int = 1, *options: str, **how: Any) -> None:
    """`forcemap fit` in a process of its own that dies at a call of a function."""
    faults = (fault(where, call, **how),)
    done = run_forcemap("fit", settings, "-o", out, *ALWAYS, *options, faults=faults)
    assert done.returncode == -9, (done.returncode, done.stderr)


def blocks_kept(out: Path) -> int:
    """Blocks in the folder's checkpoint; 0 without one."""
    return sum(blocks_in(path) for path in out.glob(PATTERN))


@pytest.mark.parametrize(
    ("where", "call", "after", "kept"),
    [
        pytest.param(
            "forcemap.fitter.process.prior:Prior.of", 1, True, 0, id="before the first block"
        ),
        pytest.param(ADD, 1, True, 0, id="before the first checkpoint"),
        pytest.param(SYNC, 1, False, 0, id="while the first checkpoint is written"),
        pytest.param(ADD, 4, False, 3, id="between blocks"),
        pytest.param(ADD, 4, True, 3, id="after a block"),
        pytest.param(SYNC, 3, False, 2, id="while a checkpoint is written"),
        pytest.param(RENAME, 3, False, 2, id="before it is renamed"),
        pytest.param(RENAME, 3, True, 3, id="after it is renamed"),
        pytest.param(
            "forcemap.fitter.fitting:maximise_evidence", 1, False, -1, id="while it solves"
        ),
        pytest.param("forcemap.fitter.job:map_model", 1, False, -1, id="before the map"),
        pytest.param(
            "forcemap.fitter.job:write_model", 1, True, -1, id="while results are written"
        ),
        pytest.param("forcemap.fitter.job:write_report", 1, True, -1, id="before the clean-up"),
    ],
)
def test_killed_fit_resumes_from_its_last_block(
    where: str,
    call: int,
    after: bool,
    kept: int,
    settings: Path,
    whole: tuple[bytes, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, total = whole
    kill(settings, tmp_path, where, call, after=after)
    kept = total if kept < 0 else kept
    assert blocks_kept(tmp_path) == kept
    blocks: list[int] = []
    count_blocks(monkeypatch, blocks)
    result = fit(settings, tmp_path, "--resume")
    assert result.exit_code == 0, result.output
    assert ("starting anew" in result.stderr) == (kept == 0)
    assert len(blocks) == total - kept
    assert (tmp_path / "model.forcemap").read_bytes() == model
    assert sorted(path.name for path in tmp_path.iterdir()) == RESULTS


def test_fit_killed_again_and_again_comes_to_its_end(
    settings: Path, whole: tuple[bytes, int], tmp_path: Path
) -> None:
    model, total = whole
    kill(settings, tmp_path, ADD, 4)
    for kept in range(3, total - 3, 3):
        assert blocks_kept(tmp_path) == kept
        kill(settings, tmp_path, ADD, 4, "--resume")
    assert fit(settings, tmp_path, "--resume").exit_code == 0
    assert (tmp_path / "model.forcemap").read_bytes() == model


@pytest.fixture(scope="module")
def _interrupted(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted")
    kill(settings, out, ADD, 3)
    return out


@pytest.fixture
def interrupted(_interrupted: Path, tmp_path: Path) -> Path:
    """A folder of its own, in which a fit was killed after two blocks."""
    return Path(shutil.copytree(_interrupted, tmp_path / "out"))


def test_nothing_to_resume_is_said(settings: Path, tmp_path: Path) -> None:
    result = fit(settings, tmp_path, "--resume")
    assert result.exit_code == 0
    assert result.stderr == (
        f"Warning: {tmp_path}: holds no checkpoint of an interrupted fit; starting anew\n"
    )


def moved_atom(folder: Path) -> dict[str, Any]:
    text = (SILICON / "train.xyz").read_text(encoding="utf-8")
    position = text.splitlines()[2].split()[1]
    (folder / "moved.xyz").write_text(text.replace(position, position + "1", 1), encoding="utf-8")
    return {"data": {"train": [str(folder / "moved.xyz"), str(SILICON / "train.xyz")]}}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: {"seed": 1},
        lambda folder: {"sigma": {"force": 0.06}},
        lambda folder: {"e0": {"Si": -0.86}},
        moved_atom,
    ],
    ids=["sparse points", "sigma", "targets", "frames"],
)
def test_checkpoint_of_another_fit_is_refused(
    change: Callable[[Path], dict[str, Any]], interrupted: Path, tmp_path: Path
) -> None:
    other = write_settings(tmp_path / "other.yaml", **change(tmp_path))
    before = {path: path.read_bytes() for path in interrupted.glob(PATTERN)}
    result = fit(other, interrupted, "--resume")
    assert result.exit_code == 1
    (name,) = before
    assert result.stderr.startswith(f"Error: {name}: is of another fit (settings, frames, ")
    assert result.stderr.endswith("or start anew without --resume\n")
    assert {path: path.read_bytes() for path in interrupted.iterdir()} == before  # and no lock


def test_data_may_have_moved(
    interrupted: Path, whole: tuple[bytes, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames count, not where they are; test frames do not count at all."""
    shutil.copy(SILICON / "train.xyz", tmp_path / "elsewhere.xyz")
    data = {"train": [str(tmp_path / "elsewhere.xyz")] * 2, "test": [str(SILICON / "test.xyz")]}
    moved = write_settings(tmp_path / "moved.yaml", data=data)
    blocks: list[int] = []
    count_blocks(monkeypatch, blocks)
    assert fit(moved, interrupted, "--resume").exit_code == 0
    assert len(blocks) == whole[1] - 2


def test_without_resume_a_checkpoint_is_replaced_with_a_warning(
    settings: Path, whole: tuple[bytes, int], interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (left,) = interrupted.glob(PATTERN)
    blocks: list[int] = []
    count_blocks(monkeypatch, blocks)
    result = fit(settings, interrupted)
    assert result.exit_code == 0
    assert result.stderr == (
        f"Warning: {left}: an interrupted fit has left this; it is not used and will be replaced "
        "(--resume continues an interrupted fit)\n"
    )
    assert len(blocks) == whole[1]
    assert sorted(path.name for path in interrupted.iterdir()) == RESULTS


@pytest.mark.parametrize("fault", ["cut", "longer", "header", "number", "bit", "rows", "count"])
def test_damaged_checkpoint_is_told(fault: str, settings: Path, interrupted: Path) -> None:
    (path,) = interrupted.glob(PATTERN)
    content = bytearray(path.read_bytes())
    data = 8 + int.from_bytes(content[:8], "little")
    if fault == "cut":
        del content[-1]
    elif fault == "longer":
        content += b"x"
    elif fault == "header":
        content[20] ^= 1
    elif fault == "number":
        content[-16:-8] = np.array([np.nan]).tobytes()
    elif fault == "bit":  # a sum that is off by little
        content[-14] ^= 1
    elif fault == "rows":
        content[data + 8 : data + 16] = (-1).to_bytes(8, "little", signed=True)
    else:
        content[data : data + 8] = (10_000).to_bytes(8, "little")
    path.write_bytes(content)
    result = fit(settings, interrupted, "--resume")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {path}: is damaged; remove it, or start anew without --resume\n"
    )


def test_checkpoint_holds_what_its_format_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = Groups(5, 2)
    for _ in range(2):
        data.add([(rng.normal(size=(n, 5)), rng.normal(size=n), 0.3) for n in (7, 3)])
    checkpoint = Checkpoint(tmp_path, every=0.0, rank=1, size=3)
    checkpoint.open("0123")
    checkpoint.block_added(data, 2)
    path = tmp_path / "checkpoint-0123-1-of-3.safetensors"
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["forcemap"])["format"] == "forcemap.checkpoint"
        np.testing.assert_array_equal(file.get_tensor("counts"), [2, 14, 6])
        for k, member in enumerate(data.members):
            np.testing.assert_array_equal(file.get_tensor(f"gram_{k}"), member.gram.T)
            np.testing.assert_array_equal(file.get_tensor(f"gram_low_{k}"), member.gram_low.T)
            np.testing.assert_array_equal(file.get_tensor(f"vector_{k}"), member.vector)
            np.testing.assert_array_equal(file.get_tensor(f"vector_low_{k}"), member.vector_low)


def test_checkpoints_keep_their_distance(tmp_path: Path) -> None:
    data = Groups(2, 1)
    data.add([(np.eye(2), np.ones(2), 0.0)])
    checkpoint = Checkpoint(tmp_path, every=1e6)
    checkpoint.open("0123")
    checkpoint.block_added(data, 1)
    assert not list(tmp_path.iterdir())


def test_fit_outlives_a_checkpoint_that_cannot_be_written(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("forcemap.fitter.sharing.checkpoint.fsync", full)
    result = fit(settings, tmp_path)
    assert result.exit_code == 0
    assert result.stderr.count("No space left on device; the fit goes on without checkpoints") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == RESULTS


def test_other_number_of_ranks_is_told(interrupted: Path) -> None:
    (path,) = interrupted.glob(PATTERN)
    key = path.name.split("-")[1]
    checkpoint = Checkpoint(interrupted, resume=True, rank=1, size=2)
    with pytest.raises(ForcemapError, match=r"a fit on 1 MPI rank.* mpirun -n 1, or start anew"):
        checkpoint.open(key)
    # A rank that was killed before its first checkpoint begins its share anew.
    one = Checkpoint(interrupted, resume=True, rank=0, size=1)
    path.rename(path.with_name(f"checkpoint-{key}-1-of-2.safetensors"))
    both = Checkpoint(interrupted, resume=True, rank=0, size=2)
    both.open(key)
    assert both.restore(Groups(20, 1), 5) == 0
    with pytest.raises(ForcemapError, match="on 2 MPI rank"):
        one.open(key)


def test_key_tells_arrays_and_settings_apart() -> None:
    rng = np.random.default_rng(0)
    points, factor = rng.normal(size=(4, 3)), rng.normal(size=(4, 4))
    key = fit_key({"seed": 0, "data": {"train": "a"}}, "hash", points, factor)
    assert key == fit_key({"data": {"train": "b"}, "seed": 0}, "hash", points, factor)
    others = [
        fit_key({"seed": 1}, "hash", points, factor),
        fit_key({"seed": 0}, "other", points, factor),
        fit_key({"seed": 0}, "hash", points + 1e-15, factor),
        fit_key({"seed": 0}, "hash", points, factor.T),
        fit_key({"seed": 0}, "hash", points.reshape(3, 4), factor),
        fit_key({"seed": 0}, "hash", factor, points),
    ]
    assert len({key, *others}) == 7
