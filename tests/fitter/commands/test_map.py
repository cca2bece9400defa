"""`forcemap map`: its choices come from the model's file where the command line leaves them out, and
its frames from the files that the fit has read, if they are as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase.io import read, write
from forcemap.fitter import Settings, fit_frames, write_model
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.process.model import Model
from forcemap.potentials import load
from forcemap.potentials.file.potential_file import potential_bytes, read_potential
from forcemap_runs import invoke
from structures import SILICON


@pytest.fixture(scope="module")
def model() -> Model:
    given = {
        "data": {"train": [{"path": "train.xyz", "index": "::20"}]},
        "terms": [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 6}],
        "map": {"tolerance": 1e-3},
    }
    settings = Settings.from_dict(given, SILICON)
    return fit_frames(settings, read_frames(settings.data.train))


@pytest.fixture(scope="module")
def soap_model() -> Model:
    given = {
        "data": {"train": [{"path": "train.xyz", "index": "::20"}]},
        "terms": [{"kind": "soap", "cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 12}],
    }
    settings = Settings.from_dict(given, SILICON)
    return fit_frames(settings, read_frames(settings.data.train))


def mapped(model: Model, folder: Path, *options: str, **choices: Any) -> Any:
    settings = {**model.settings, "map": choices} if choices else model.settings
    write_model(replace(model, settings=settings), folder / "model.forcemap")
    return invoke(
        *("map", folder / "model.forcemap", "-o", folder / "potential.forcemap", "--quiet"),
        *options,
    )


@pytest.mark.parametrize(
    ("options", "tolerance"), [((), 1e-3), (("--tolerance", "1e-2"), 1e-2)], ids=["file", "option"]
)
def test_tolerance_is_that_of_the_option_or_of_the_model(
    model: Model, tmp_path: Path, options: tuple[str, ...], tolerance: float
) -> None:
    result = mapped(model, tmp_path, *options)
    assert result.exit_code == 0, result.output
    found = load(tmp_path / "potential.forcemap").metadata["mapping"]
    assert found["tolerance_ev_per_a"] == tolerance


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"tolerance": "fine"}, "settings.map.tolerance: "),
        ({"tolerance": 0.0}, "settings.map.tolerance: "),
        ({"soap": "some"}, "settings.map.soap: "),
        ({"precision": "half"}, "settings.map.precision: "),
        ({"grid": 3}, "settings.map.grid: unknown key"),
    ],
)
def test_unusable_settings_of_a_model_are_named(
    model: Model, tmp_path: Path, choices: dict[str, Any], message: str
) -> None:
    result = mapped(model, tmp_path, **choices)
    assert result.exit_code == 1
    assert f"Error: {tmp_path / 'model.forcemap'}: {message}" in result.stderr
    assert not (tmp_path / "potential.forcemap").exists()


@pytest.mark.parametrize(
    ("chosen", "options", "precision"),
    [
        ({}, (), "double"),
        ({}, ("--precision", "single"), "single"),
        ({"precision": "single"}, (), "single"),
        ({"precision": "single"}, ("--precision", "double"), "double"),
    ],
)
def test_precision_is_that_of_the_option_or_of_the_model(
    soap_model: Model,
    tmp_path: Path,
    chosen: dict[str, str],
    options: tuple[str, ...],
    precision: str,
) -> None:
    result = mapped(soap_model, tmp_path, *options, tolerance=1e-3, **chosen)
    assert result.exit_code == 0, result.output
    (term,) = read_potential(tmp_path / "potential.forcemap").terms[:1]
    assert term.document().get("precision", "double") == precision
    error = "single_precision_force_error_ev_per_a"
    measured = load(tmp_path / "potential.forcemap").metadata["mapping"]
    assert (error in measured) == (precision == "single")
    assert ("by single precision" in result.stdout) == (precision == "single")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files of a fit in `out`, and its training file beside that."""
    frames = read(SILICON / "train.xyz", "::20")
    frames[0].info["config_type"] = "first"
    write(tmp_path / "train.xyz", frames, format="extxyz")
    (tmp_path / "settings.yaml").write_text(
        "data: {train: train.xyz}\nterms: [{kind: two_body, cutoff: 4.0, n_sparse: 6}]\n",
        encoding="utf-8",
    )
    fitted = invoke("fit", tmp_path / "settings.yaml", "-o", tmp_path / "out", "--quiet")
    assert fitted.exit_code == 0, fitted.output
    return tmp_path


def test_map_with_the_training_files_gives_the_potential_of_the_fit(folder: Path) -> None:
    result = invoke(
        "map", folder / "out/model.forcemap", "-o", folder / "again.forcemap", "--quiet"
    )
    assert result.exit_code == 0, result.output
    frames = len(read(folder / "train.xyz", ":"))
    assert f"extrapolation grade by the {frames} training frames" in " ".join(result.stdout.split())
    first, again = (
        read_potential(folder / name) for name in ("out/potential.forcemap", "again.forcemap")
    )
    assert again.grade is not None
    assert potential_bytes(replace(again, mapping={})) == potential_bytes(
        replace(first, mapping={})
    )
    for name in ("grade", "draws", "frames_measured"):
        assert again.mapping[name] == first.mapping[name]
    # The fit has the process's predictions from its whitened rows: the same but for rounding.
    name = "force_max_error_ev_per_a"
    assert again.mapping[name] == pytest.approx(first.mapping[name], abs=1e-7)
    assert set(again.mapping["cost"]) == set(first.mapping["cost"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.rename(path.with_name("elsewhere.xyz")), "train.xyz: no such file"),
        (
            lambda path: write(path, read(path, "1:"), format="extxyz"),
            "the frames in {folder}/train.xyz are not those that {folder}/out/model.forcemap was",
        ),
    ],
    ids=["moved", "changed"],
)
def test_without_the_frames_of_the_fit_map_says_why_there_is_no_grade(
    folder: Path, change: Any, why: str
) -> None:
    change(folder / "train.xyz")
    model = folder / "out" / "model.forcemap"
    result = invoke("map", model, "-o", folder / "again.forcemap", "--quiet")
    assert result.exit_code == 0, result.output
    words = "".join(result.stdout.split())  # paths are folded
    assert "extrapolationgradenone:" in words
    assert "".join(why.format(folder=folder).split()) in words.replace("/out/..", "")
    found = load(folder / "again.forcemap")
    assert (found.draws, found.has_grade) == (16, False)
    assert "cost" not in found.metadata["mapping"]


def test_draws_come_from_the_model_though_the_fit_wanted_none(tmp_path: Path) -> None:
    """The cure that is named where a potential lacks them."""
    given = {
        "data": {"train": [{"path": str(SILICON / "train.xyz"), "index": "::20"}]},
        "terms": [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 6}],
        "map": {"tolerance": 1e-3},
    }
    both = {}
    for draws in (0, 5):
        settings = Settings.from_dict({**given, "uncertainty": {"draws": draws}}, tmp_path)
        fitted = fit_frames(settings, read_frames(settings.data.train))
        write_model(fitted, tmp_path / "model.forcemap")
        paths = ("map", tmp_path / "model.forcemap", "-o", tmp_path / "potential.forcemap", "-q")
        assert invoke(*paths).exit_code == 0
        assert load(tmp_path / "potential.forcemap").draws == draws
        options = ("--draws", "5") if draws == 0 else ()
        assert invoke(*paths, *options).exit_code == 0
        both[draws] = load(tmp_path / "potential.forcemap")
    atoms = read(SILICON / "test.xyz", 3)
    structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    one, other = (both[draws].evaluator().deviations(*structure) for draws in (0, 5))
    assert one.energy_std == other.energy_std > 0.0
    assert (one.forces_std == other.forces_std).all()
    result = invoke(*paths, "--draws", "2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "forcemap map: draws: expected 0 (none) or at least 3" in result.stderr
