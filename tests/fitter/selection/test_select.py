"""``forcemap select``: candidates from settings, judged, recommended, written together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from forcemap.fitter.config import Settings
from forcemap.fitter.fitting import fit
from forcemap.fitter.selection.candidates import Candidate, Selection, offered, schema
from forcemap.fitter.selection.judge import CurvePoint, Errors, Judged
from forcemap.fitter.selection.recommend import recommend
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.errors import ForcemapError
from forcemap_runs import invoke

PAIR: dict[str, Any] = {"kind": "two_body", "cutoff": 4.0, "n_sparse": 12}
CANDIDATES: dict[str, Any] = {
    "pairs": [PAIR],
    "density": [PAIR, {"kind": "embedding", "cutoff": 4.0}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copper by ASE's effective-medium theory, settings with two candidates."""
    folder = tmp_path_factory.mktemp("select")
    frames = []
    for seed in range(16):
        atoms = bulk("Cu", "fcc", a=3.4 + 0.1 * (seed % 5), cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(folder / "train.xyz", frames, format="extxyz")
    return folder


def settings_file(folder: Path, **changes: Any) -> Path:
    path = folder / "settings.yaml"
    given = {
        "data": {"train": "train.xyz"},
        "e0": "average",
        "candidates": CANDIDATES,
        **changes,
    }
    path.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not None}))
    return path


@pytest.fixture(scope="module")
def selected(folder: Path) -> tuple[Path, str]:
    """A selection's folder, and what was printed."""
    out = folder / "choice"
    path = settings_file(folder, target=5.0)
    result = invoke("select", path, "-o", out, "--quiet", "--repeats", 2, "--jobs", 1)
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_all_files_are_written_and_the_sentence_is_in_all(selected: tuple[Path, str]) -> None:
    out, said = selected
    names = {path.name for path in out.iterdir()} - {"select.lock"}
    assert names == {"select.json", "select.html", "pairs.yaml", "density.yaml"}
    document = json.loads((out / "select.json").read_text())
    assert document["recommended"] == "pairs"  # the cheapest: both meet 5 eV/Å
    assert document["target_ev_per_a"] == 5.0
    sentence = document["sentence"]
    assert "pairs is recommended" in sentence
    assert "cheapest of the 2 that do" in sentence
    assert " ".join(sentence.split()) in " ".join(said.split())
    assert "pairs is recommended" in (out / "select.html").read_text()
    assert (out / "select.html").read_text().count("data:image/svg+xml") == 2


def test_evidence_and_error_agree_that_copper_has_a_density(selected: tuple[Path, str]) -> None:
    """Effective-medium theory is of that form.

    The errors are those of energies: by forces, sixteen strained crystals do not tell the two apart
    (.046 to .051 eV/Å).
    """
    found = {
        c["name"]: c for c in json.loads((selected[0] / "select.json").read_text())["candidates"]
    }
    pairs, density = found["pairs"], found["density"]
    assert density["log_evidence"] > pairs["log_evidence"] + 10.0
    assert density["bic"] < pairs["bic"]
    assert density["leave_one_out"]["energy_rmse"] < pairs["leave_one_out"]["energy_rmse"]
    assert pairs["test"] is None
    for one in found.values():
        assert one["trace_term"] <= 0.0
        assert one["microseconds_per_atom"] > 0.0
        assert [len(p["force_rmse"]) for p in one["learning_curve"]] == [2, 2, 1]
        assert [p["frames"] for p in one["learning_curve"]] == [4, 8, 16]


def test_settings_of_a_candidate_fit_as_it_was_fitted(selected: tuple[Path, str]) -> None:
    out, _ = selected
    found = {c["name"]: c for c in json.loads((out / "select.json").read_text())["candidates"]}
    for name, one in found.items():
        model = fit(out / f"{name}.yaml")
        assert model.log_marginal_likelihood == pytest.approx(one["log_evidence"], rel=1e-9)
        assert "optimised" not in model.data
        given = CANDIDATES[name][0]["cutoff"]
        assert one["terms"][0]["cutoff"] != given  # the evidence has moved it


def test_a_target_that_none_meets_is_answered(folder: Path, tmp_path: Path) -> None:
    path = settings_file(folder)
    given = ("--quiet", "--repeats", 1, "--no-optimise", "--target", 1e-6, "--jobs", 1)
    result = invoke("select", path, "-o", tmp_path / "out", *given)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "No candidate meets the target of 1e-06 eV/Å: the most accurate is " in said
    document = json.loads((tmp_path / "out" / "select.json").read_text())
    assert document["recommended"] is None
    assert all(one["optimised"] is None for one in document["candidates"])


def judged(name: str, error: float, cost: float | None, evidence: float) -> Judged:
    settings = Settings.from_dict({"data": {"train": "t.xyz"}, "terms": [PAIR]})
    errors = Errors(error, error, 1.0)
    curve = (CurvePoint(8, (2.0 * error,)), CurvePoint(16, (error,)))
    return Judged(
        Candidate(name, settings),
        *(settings, None, 100, 10, evidence, 0.0, -2.0 * evidence, errors, None, curve),
        *(cost, 1.0),
    )


def test_the_cheapest_that_meets_the_target_is_recommended() -> None:
    found = [
        judged("cheap", 0.2, 1.0, 10.0),
        judged("right", 0.09, 3.0, 20.0),
        judged("good", 0.05, 9.0, 30.0),
        judged("unmapped", 0.04, None, 40.0),
    ]
    assert recommend(found, 0.1).name == "right"
    assert recommend(found, 0.06).name == "good"
    assert recommend(found, 0.5).name == "cheap"
    assert recommend(found, None).name == "good"  # of largest evidence among those that can be run
    none = recommend(found, 0.01)
    assert none.name is None
    assert "more frames should help" in none.sentence


def test_candidates_may_be_a_list_or_left_out(folder: Path) -> None:
    listed = Selection.read(settings_file(folder, candidates=[[PAIR], [PAIR], [PAIR, PAIR]]))
    names = [candidate.name for candidate in listed.candidates]
    assert names == ["two_body", "two_body, 2", "two_body + two_body"]
    default = Selection.read(settings_file(folder, candidates=None))
    assert [candidate.name for candidate in default.candidates] == list(offered())
    assert {term.kind for terms in offered().values() for term in terms} == set(SETTINGS)
    own = Selection.read(settings_file(folder, candidates=None, terms=[PAIR]))
    assert own.candidates[0].name == "terms of the file"
    assert len(own.candidates) == 1 + len(offered())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"candidates": "soap"}, "settings.yaml: candidates: expected lists of terms"),
        ({"candidates": []}, "settings.yaml: candidates: expected lists of terms"),
        ({"candidates": {"a": [{"kind": "sope"}]}}, "candidates.a[0].kind: 'sope' is not one of"),
        ({"candidates": [[]]}, "candidates[0]: expected a list of terms"),
        ({"target": -1}, "target: -1 is not a number above 0"),
        ({"candidates": {"a b": [PAIR], "a_b": [PAIR]}}, "would have one file, a_b.yaml"),
        ({"tarket": 0.1}, "settings.yaml: tarket: unknown key"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(
    folder: Path, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    (tmp_path / "train.xyz").write_bytes((folder / "train.xyz").read_bytes())
    path = settings_file(tmp_path, **changes)
    result = invoke("select", path, "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 1
    assert text in result.output
    assert not (tmp_path / "out").exists()


def test_a_fit_says_whose_settings_these_are(folder: Path) -> None:
    with pytest.raises(ForcemapError, match="candidates: is for forcemap select"):
        Settings.read(settings_file(folder))


def test_schema_takes_what_is_read(folder: Path) -> None:
    given = yaml.safe_load(settings_file(folder, target=0.1).read_text())
    jsonschema.validate(given, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**given, "target": -1}, schema())


def test_a_point_has_the_bar_of_its_repeats() -> None:
    point = CurvePoint(8, (1.0, 3.0))
    assert point.mean == 2.0
    assert point.bar == pytest.approx(np.sqrt(2.0))
    assert replace(point, force_rmse=(1.0,)).bar == 0.0
