"""--json: stdout holds one JSON document, with the names of report.json; people read stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from forcemap.fitter.cli import cli
from forcemap.potentials.plain import plain
from forcemap_runs import invoke
from gap_files import PAIR, written
from structures import SILICON

pytestmark = pytest.mark.usefixtures("one_thread")

WITHOUT = {
    "schema": "prints JSON anyway",
    "completion": "prints a script",
    "driver": "prints nothing",
}
"""Commands that have no --json, and why."""


def commands(group: click.Group = cli) -> dict[str, click.Command]:
    """All that do something, by their words."""
    found: dict[str, click.Command] = {}
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        parts = commands(command) if isinstance(command, click.Group) else {"": command}
        found |= {f"{name} {part}".strip(): one for part, one in parts.items()}
    return found


def test_every_command_has_it_or_a_reason() -> None:
    without = {
        words
        for words, command in commands().items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == set(WITHOUT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, and a fit in out/."""
    place = tmp_path_factory.mktemp("json")
    given = {
        "data": {
            "train": {"path": str(SILICON / "train.xyz"), "index": "::6"},
            "test": {"path": str(SILICON / "test.xyz"), "index": "::4"},
        },
        "terms": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 8}],
        "map": {"tolerance": 1e-3},
        "uncertainty": {"draws": 4},
    }
    (place / "settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    written(place, PAIR)
    result = invoke("fit", place / "settings.yaml", "-o", place / "out", "-q")
    assert result.exit_code == 0, result.output
    return place


def document(*words: object, cwd: Path, codes: tuple[int, ...] = (0,)) -> Any:
    """What a command prints with --json; what it says to people is kept apart."""
    result = invoke(*words, "--json")
    assert result.exit_code in codes, result.output

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(result.stdout, parse_constant=refuse)
    for path in found.get("files", []):
        if isinstance(path, str):
            assert (cwd / path).exists()
    return found


Run = Callable[[Path, Path], tuple[tuple[object, ...], set[str]]]

RUNS: dict[str, Run] = {
    "fit": lambda a, b: (
        ("fit", a / "settings.yaml", "-o", b / "out"),
        {"train", "test", "leave_one_out", "uncertainty", "mapping", "fit", "settings", "files"},
    ),
    "fit --dry-run": lambda a, b: (
        ("fit", a / "settings.yaml", "--dry-run"),
        {"n_frames", "n_atoms", "n_rows", "n_columns", "gram_bytes", "seconds", "seconds_in_all"},
    ),
    "evaluate": lambda a, b: (
        ("evaluate", a / "out/potential.forcemap", SILICON / "test.xyz", "--output", b / "p.xyz"),
        {"energy_rmse_mev_per_atom", "force_rmse_ev_per_a", "by_config_type", "largest_grade"},
    ),
    "map": lambda a, b: (
        ("map", a / "out/model.forcemap", "-o", b / "p.forcemap"),
        {"force_max_error_ev_per_a", "tolerance_ev_per_a", "draws", "grade", "seconds", "files"},
    ),
    "info of a potential": lambda a, b: (
        ("info", a / "out/potential.forcemap"),
        {"file", "holds", "species", "e0", "cutoff", "terms", "mapping", "uncertainty", "draws"},
    ),
    "info of a model": lambda a, b: (
        ("info", a / "out/model.forcemap"),
        {"file", "holds", "species", "e0", "terms", "settings", "log_marginal_likelihood"},
    ),
    "check": lambda a, b: (("check", SILICON / "test.xyz"), {"files", "exit_code", "findings"}),
    "suggest": lambda a, b: (
        ("suggest", a / "out/potential.forcemap", SILICON / "test.xyz", "-n", 2),
        {"by", "chosen", "pool_frames", "mean_variance_left"},
    ),
    "export": lambda a, b: (
        ("export", a / "out/potential.forcemap", "--format", "uf3", "-o", b / "uf3"),
        {"format", "files", "use"},
    ),
    "import gap": lambda a, b: (
        ("import", "gap", a / "gap.xml", "-o", b / "p.forcemap"),
        {"label", "species", "e0", "coordinates", "terms", "files"},
    ),
    "import gap-fit": lambda a, b: (
        ("import", "gap-fit", GAP_FIT, "-o", b / "settings.yaml"),
        {"settings", "files"},
    ),
    "ipi-input": lambda a, b: (
        ("ipi-input", a / "out/potential.forcemap", SILICON / "init.xyz", "-o", b / "input.xml"),
        {"files", "use"},
    ),
}

GAP_FIT = (
    "gap_fit at_file=train.xyz gap={distance_2b cutoff=4.5 n_sparse=10 covariance_type=ard_se "
    "delta=0.5 theta_uniform=1.0} default_sigma={0.001 0.1 0.1 0.0} gp_file=gap.xml"
)


@pytest.mark.parametrize("name", RUNS)
def test_stdout_is_json_with_the_names_of_reports(name: str, folder: Path, tmp_path: Path) -> None:
    words, names = RUNS[name](folder, tmp_path)
    found = document(*words, cwd=tmp_path, codes=(0, 1) if name == "check" else (0,))
    assert names <= set(found)


def test_fit_prints_the_report_without_single_frames(folder: Path, tmp_path: Path) -> None:
    """The numbers of report.json under their names; lists as long as the data are left out."""
    found = document(*RUNS["fit"](folder, tmp_path)[0], cwd=tmp_path)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert found.pop("files") == [str(tmp_path / "out" / name) for name in FILES]
    assert len(report["leave_one_out"].pop("frames")) == report["train"]["n_frames"]
    assert found == report


FILES = ("potential.forcemap", "model.forcemap", "settings.yaml", "report.json", "report.html")


def test_selection_prints_its_file(tmp_path: Path) -> None:
    given = {
        "data": {"train": {"path": str(SILICON / "train.xyz"), "index": "::8"}},
        "candidates": {"pairs": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 6}]},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    words = ("select", tmp_path / "settings.yaml", "-o", tmp_path / "out", "--repeats", 0)
    found = document(*words, "--no-optimise", "-q", cwd=tmp_path)
    assert len(found.pop("files")) == 3
    assert found == json.loads((tmp_path / "out" / "select.json").read_text(encoding="utf-8"))


def test_error_leaves_stdout_empty(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("words")
    result = invoke("info", tmp_path / "x", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")


def test_plain_values_are_those_of_strict_json() -> None:
    given = {
        1: np.float32(0.5),
        "nan": np.nan,
        "list": [np.int64(3), (np.inf, True), np.array([[1.0, -np.inf]])],
        "none": None,
        "flag": np.bool_(True),
        "path": Path("a/b"),
    }
    expected = {
        "1": 0.5,
        "nan": None,
        "list": [3, [None, True], [[1.0, None]]],
        "none": None,
        "flag": True,
        "path": "a/b",
    }
    found = plain(given)
    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected
    assert type(found["flag"]) is bool
