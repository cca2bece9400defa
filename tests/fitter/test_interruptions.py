"""Commands that Ctrl-C ends: exit code 130, how to go on, nothing half-written; and it does go on.

The signal goes to a real process, from within, at a certain call of a function.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from forcemap.fitter.selection import job
from forcemap.fitter.selection.candidates import Candidate
from forcemap.fitter.sharing.checkpoint import PATTERN
from forcemap.potentials.exit_codes import ExitCode
from forcemap_runs import blocks_in, fault, invoke, run_forcemap
from structures import SILICON

ADD = "forcemap.fitter.solve.solver:Groups.add"
ROWS = "forcemap.fitter.process.accumulate:whitened_rows"
SYNC = "forcemap.fitter.sharing.checkpoint:fsync"
ADVANCE = "forcemap.potentials.runs.progress:Progress._advance"

NEVER = ("--checkpoint-every", "1e9", "--jobs", "1")


def write_settings(path: Path, frames: str = "train.xyz", repeats: int = 2) -> Path:
    given = {
        "data": {"train": [str(SILICON / frames)] * repeats},
        "e0": {"Si": -0.85},
        "outside": "free",  # holes are no matter here, and take seconds to find
        "terms": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 8}],
    }
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings, and what an undisturbed fit makes of them, in out/."""
    place = tmp_path_factory.mktemp("interruptions")
    settings = write_settings(place / "settings.yaml")
    result = invoke("fit", settings, "-o", place / "out", *NEVER, "-q")
    assert result.exit_code == 0, result.output
    return place


def interrupted(
    *words: object, where: str, call: int = 1, number: str = "SIGINT", after: bool = False
) -> subprocess.CompletedProcess[str]:
    """A command that gets a signal at a call of a function; checked as far as all are alike."""
    how = fault(where, call, number=number, after=after)
    done = run_forcemap(*words, faults=(how,))
    code, head = {
        "SIGINT": (ExitCode.INTERRUPTED, "Interrupted. "),
        "SIGTERM": (ExitCode.TERMINATED, "Terminated. "),
    }[number]
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(head)]
    return done


def next_command(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The words, after the program's name, of the command that the last line shows."""
    program, *words = shlex.split(done.stderr.splitlines()[-1])
    assert program == "forcemap"
    return words


@pytest.mark.parametrize(
    ("where", "call", "number", "kept"),
    [
        pytest.param(ROWS, 4, "SIGINT", 3, id="between blocks"),
        pytest.param(ROWS, 4, "SIGTERM", 3, id="SIGTERM between blocks"),
        pytest.param(ADD, 4, "SIGINT", 4, id="while a block is added"),
    ],
)
def test_interrupted_fit_keeps_every_block_and_goes_on(
    where: str, call: int, number: str, kept: int, folder: Path, tmp_path: Path
) -> None:
    words = ("fit", folder / "settings.yaml", "-o", tmp_path / "out", *NEVER)
    done = interrupted(*words, where=where, call=call, number=number)
    (checkpoint,) = (tmp_path / "out").iterdir()
    assert blocks_in(checkpoint) == kept
    assert 'It was in "fitting", ' in done.stderr
    assert f"{checkpoint} holds the sums of {kept} blocks of frames. Go on" in done.stderr
    on = next_command(done)
    assert on == [*map(str, words), "--resume"]
    result = invoke(*on)
    assert result.exit_code == 0, result.output
    whole, resumed = (f / "model.forcemap" for f in (folder / "out", tmp_path / "out"))
    assert resumed.read_bytes() == whole.read_bytes()
    assert not list((tmp_path / "out").glob(PATTERN))


def test_fit_interrupted_while_it_writes_a_checkpoint_keeps_the_sums(
    folder: Path, tmp_path: Path
) -> None:
    words = ("fit", folder / "settings.yaml", "-o", tmp_path / "out", "--jobs", "1")
    done = interrupted(*words, "--checkpoint-every", "0", where=SYNC, call=3)
    (checkpoint,) = (tmp_path / "out").iterdir()
    assert blocks_in(checkpoint) == 3
    assert next_command(done)[-1] == "--resume"


def test_fit_interrupted_before_its_first_block_keeps_nothing(folder: Path, tmp_path: Path) -> None:
    words = ("fit", folder / "settings.yaml", "-o", tmp_path / "out", *NEVER)
    done = interrupted(*words, where="forcemap.fitter.process.prior:Prior.of")
    assert "Nothing was kept yet. Start anew with:" in done.stderr
    assert next_command(done) == [*map(str, words)]
    assert not list((tmp_path / "out").glob("*"))


def test_fit_interrupted_while_its_files_are_put_together_writes_none(
    folder: Path, tmp_path: Path
) -> None:
    words = ("fit", folder / "settings.yaml", "-o", tmp_path / "out", *NEVER)
    interrupted(*words, where="forcemap.fitter.job:write_report")
    assert not list((tmp_path / "out").glob("*"))


def test_interrupted_addition_leaves_the_fit_as_it_was(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    words = ("fit", "--add", SILICON / "test.xyz", folder / "out" / "model.forcemap")
    done = interrupted(*words, where="forcemap.fitter.job:map_model")
    assert next_command(done) == [*map(str, words)]
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before


def commands(folder: Path, out: Path) -> dict[str, tuple[tuple[object, ...], str, int]]:
    """Commands, and the call at which they are interrupted."""
    potential, model = (folder / "out" / f"{name}.forcemap" for name in ("potential", "model"))
    frames = SILICON / "test.xyz"
    predicted = ("--output", out / "predicted.xyz", "-j", "2")
    return {
        "evaluate": (
            ("evaluate", potential, frames, *predicted),
            "forcemap.fitter.data.prediction:evaluated_with_grades",
            5,
        ),
        "evaluate a process": (("evaluate", model, frames, *predicted), ADVANCE, 10),
        "map": (
            ("map", model, "-o", out / "fine.forcemap"),
            "forcemap.fitter.remapping.job:with_deviations",
            1,
        ),
        "suggest": (
            ("suggest", potential, frames, "-n", "2", "-o", out / "chosen.xyz"),
            ADVANCE,
            10,
        ),
        "check": (
            ("check", frames, "--fix", out / "fixed.xyz"),
            "forcemap.fitter.doctor.correcting:write_corrected",
            1,
        ),
    }


@pytest.mark.parametrize("name", list(commands(Path(), Path())))
def test_interrupted_command_writes_nothing_and_the_one_it_advises_works(
    name: str, folder: Path, tmp_path: Path
) -> None:
    words, where, call = commands(folder, tmp_path)[name]
    done = interrupted(*words, where=where, call=call)
    assert "Nothing was written." in done.stderr or "was not written." in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert next_command(done) == [*map(str, words)]
    result = invoke(*next_command(done))
    assert result.exit_code == 0, result.output
    assert len(list(tmp_path.iterdir())) == 1


def test_interrupted_selection_keeps_what_it_has_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"kind": "two_body", "cutoff": 4.5, "n_sparse": 6}
    given = {
        "data": {"train": {"path": str(SILICON / "train.xyz"), "index": "::8"}},
        "candidates": {name: [{**pair, "cutoff": r}] for name, r in (("near", 4.0), ("far", 5.0))},
    }
    settings, out = tmp_path / "settings.yaml", tmp_path / "choice"
    settings.write_text(yaml.safe_dump(given), encoding="utf-8")
    words = ("select", settings, "-o", out, "--repeats", "1", "--jobs", "1")
    done = interrupted(*words, where="forcemap.fitter.selection.job:judge")
    assert not out.exists()
    assert "Nothing was kept yet. It takes less with --frames N" in done.stderr
    assert next_command(done) == [*map(str, words)]
    done = interrupted(*words, where="forcemap.fitter.selection.job:judge", call=2)
    kept = out / "unfinished.json"
    assert [path for path in out.iterdir() if path.name != "select.lock"] == [kept]
    assert f"{kept} holds the judgement of 1 candidate. Go on with:" in done.stderr
    judged: list[str] = []
    judge = job.judge

    def counted(candidate: Candidate, plan: Any) -> Any:
        judged.append(candidate.name)
        return judge(candidate, plan)

    monkeypatch.setattr(job, "judge", counted)
    result = invoke(*next_command(done))
    assert result.exit_code == 0, result.output
    assert judged == ["near"]
    assert "candidate 1 of 2: far (judged before the interruption)" in result.stderr
    assert not kept.exists()
    resumed = documents(out)
    assert invoke(*words[:3], tmp_path / "whole", *words[4:], "-q").exit_code == 0
    assert judged == ["near", "far", "near"]
    assert resumed == documents(tmp_path / "whole")


def documents(folder: Path) -> Any:
    """The candidates in a selection's file, but for their times; and their settings."""
    found = json.loads((folder / "select.json").read_text(encoding="utf-8"))["candidates"]
    for one in found:
        del one["fit_seconds"], one["microseconds_per_atom"]
    return found, [(folder / one["settings_file"]).read_text(encoding="utf-8") for one in found]


@pytest.mark.parametrize("text", ["{", '{"format": "forcemap.selection", "judged": {"KEY": {}}}'])
def test_damaged_file_of_a_selection_is_not_used(text: str, tmp_path: Path) -> None:
    given = {
        "data": {"train": {"path": str(SILICON / "train.xyz"), "index": "::16"}},
        "candidates": {"near": [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 6}]},
    }
    settings, out = tmp_path / "settings.yaml", tmp_path / "choice"
    settings.write_text(yaml.safe_dump(given), encoding="utf-8")
    out.mkdir()
    words = ("select", settings, "-o", out, "--repeats", "0", "--no-optimise", "-q")
    if "KEY" in text:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job.KeptJudgements, "remove", lambda self: None)
            assert invoke(*words).exit_code == 0
        (key,) = json.loads((out / "unfinished.json").read_text(encoding="utf-8"))["judged"]
        text = text.replace("KEY", key)
    (out / "unfinished.json").write_text(text, encoding="utf-8")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert f"Warning: {out / 'unfinished.json'}: is damaged, and not used" in result.stderr


def test_interruption_of_a_shared_fit_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    how = fault(ADD, 3, number="SIGINT", rank=0)
    words = ("fit", folder / "settings.yaml", "-o", tmp_path / "out", *NEVER)
    done = run_forcemap(*words, ranks=2, faults=(how,))
    assert done.returncode != 0
    assert "Interrupted. " in done.stderr
    assert f"mpirun -n 2 forcemap fit {folder / 'settings.yaml'}" in done.stderr
    assert [blocks_in(path) for path in (tmp_path / "out").glob("checkpoint-*-0-of-2.*")] == [3]
