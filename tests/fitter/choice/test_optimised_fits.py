"""Fits with ``optimise``: on several ranks, interrupted, estimated, and what they report."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from forcemap.fitter.process.model_file import read_model
from forcemap_runs import MPIRUN, fault, invoke, run_forcemap
from structures import SILICON

QUIET = ("--quiet", "--jobs", "1")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    given = {
        "data": {"train": [{"path": str(SILICON / "train.xyz"), "index": "::2"}]},
        "e0": {"Si": -0.85},
        "terms": [
            {"kind": "two_body", "cutoff": 4.5, "n_sparse": 8, "optimise": ["lengthscale"]},
            {"kind": "embedding", "cutoff": 4.5, "n_sparse": 6},
        ],
        "uncertainty": {"draws": 0},
    }
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A fit by one process, and what it printed."""
    out = tmp_path_factory.mktemp("alone")
    result = invoke("fit", settings, "-o", out, *QUIET)
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_report_and_terminal_have_before_and_after(alone: tuple[Path, str]) -> None:
    out, said = alone
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))["optimised"]
    assert found["log_evidence"]["after"] > found["log_evidence"]["before"]
    (term,) = found["terms"]
    assert term["kind"] == "two_body"
    before, after = term["before"]["lengthscale"], term["after"]["lengthscale"]
    assert before == pytest.approx(0.15 * 4.5)
    assert after == pytest.approx(
        read_model(out / "model.forcemap").terms[0].hyperparameters()["lengthscale"]
    )
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in (f"{before:.4g}", f"{after:.4g}", "Hyperparameters by evidence"):
        assert text in said
        assert text in page


def test_fits_without_it_report_none(settings: Path, tmp_path: Path) -> None:
    given = yaml.safe_load(settings.read_text(encoding="utf-8"))
    del given["terms"][0]["optimise"]
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    result = invoke("fit", tmp_path / "settings.yaml", "-o", tmp_path / "out", *QUIET)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["optimised"] is None
    assert "Hyperparameters by evidence" not in result.stdout


def test_dry_run_states_the_cost(settings: Path) -> None:
    result = invoke("fit", settings, "--dry-run", *QUIET)
    assert result.exit_code == 0, result.output
    assert "optimising hyperparameters" in result.stdout
    assert "the evidence is maximised in at most" in " ".join(result.stdout.split())


@pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIRUN.exists(), reason="needs mpi4py and mpirun"
)
def test_two_ranks_find_the_same(settings: Path, alone: tuple[Path, str], tmp_path: Path) -> None:
    done = run_forcemap("fit", settings, "-o", tmp_path, *QUIET, ranks=2)
    assert (done.returncode, done.stderr) == (0, "")
    one, two = (read_model(folder / "model.forcemap") for folder in (alone[0], tmp_path))
    assert one.data["optimised"] == two.data["optimised"]
    np.testing.assert_allclose(two.weights, one.weights, rtol=1e-9)


def test_an_interrupted_fit_resumes(
    settings: Path, alone: tuple[Path, str], tmp_path: Path
) -> None:
    """It is killed when its checkpoint is there; the evidence finds the same again."""
    where = "forcemap.fitter.sharing.checkpoint:replace"
    given = ("fit", settings, "-o", tmp_path, *QUIET, "--checkpoint-every", "0")
    done = run_forcemap(*given, faults=(fault(where, 1, after=True),))
    assert done.returncode != 0
    assert list(tmp_path.glob("*checkpoint*"))
    again = run_forcemap(*given, "--resume")
    assert (again.returncode, again.stderr) == (0, "")
    one, two = ((folder / "model.forcemap").read_bytes() for folder in (alone[0], tmp_path))
    assert one == two
