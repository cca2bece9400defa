"""``forcemap evaluate`` and ``info``: deviations and grades, of potentials and of models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import read, write
from forcemap.potentials import load
from forcemap_runs import invoke
from structures import SILICON

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    given = {
        "data": {
            "train": [{"path": str(SILICON / "train.xyz"), "index": "::4"}],
            "test": {"path": str(SILICON / "test.xyz"), "index": "::2"},
        },
        "terms": [{"kind": "two_body", "cutoff": 5.0, "n_sparse": 12}],
        "map": {"tolerance": 1e-3},
    }
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(given), encoding="utf-8")
    result = invoke("fit", settings, "-o", folder / "out", "--quiet")
    assert result.exit_code == 0, result.output
    assert "each left out of the fit" in result.stdout
    return folder / "out"


def test_output_has_deviations_of_labels_and_grades(out: Path, tmp_path: Path) -> None:
    """Those of the potential's draws, with the labels' noise, to the file's eight decimals."""
    output = tmp_path / "predicted.xyz"
    potential = load(out / "potential.forcemap")
    result = invoke(
        "evaluate", out / "potential.forcemap", SILICON / "test.xyz", "--output", output
    )
    assert result.exit_code == 0, result.output
    assert "Deviations that the potential expects" in result.stdout
    evaluator, above, largest = potential.evaluator(), 0, 0.0
    for atoms in read(output, ":"):
        place = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        expected = evaluator.deviations(*place).with_noise()
        grades = evaluator.compute(*place, grades=True).grades
        assert grades is not None
        assert atoms.info["energy_std"] == pytest.approx(expected.energy_std, rel=1e-6)
        np.testing.assert_allclose(atoms.arrays["forces_std"], expected.forces_std, atol=1e-7)
        stress = np.reshape(atoms.info["stress_std"], (3, 3))
        np.testing.assert_allclose(stress, expected.stress_std, rtol=1e-5)
        np.testing.assert_allclose(atoms.arrays["grade"], grades, atol=1e-7)
        above, largest = above + int(np.sum(grades > 1.0)), max(largest, float(grades.max()))
    found = re.search(
        r"(\d+) of 239 atoms in \d+ frames have an extrapolation grade above 1 \(largest ([\d.]+),",
        result.stderr,
    )
    assert found is not None, result.stderr
    assert int(found[1]) == above
    assert float(found[2]) == pytest.approx(largest, rel=1e-2)


def test_atoms_beyond_the_data_are_counted_even_quietly(out: Path, tmp_path: Path) -> None:
    data = tmp_path / "squeezed.xyz"
    squeezed = read(SILICON / "test.xyz", "0")
    squeezed.calc = None
    squeezed.set_cell(0.75 * squeezed.cell.array, scale_atoms=True)
    write(data, [squeezed])
    result = invoke("evaluate", out / "potential.forcemap", data, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    block = json.loads(result.stdout)
    n = len(squeezed)
    assert block["atoms_with_grade_above_1"] == n
    assert block["frames_with_grade_above_1"] == 1
    assert f"{n} of {n} atoms in 1 frames have an extrapolation grade above 1" in result.stderr
    assert "frame 0)" in result.stderr


def test_report_judges_the_draws_on_the_test_frames(out: Path) -> None:
    """16 draws leave 18 % of a deviation open; the numbers are those of evaluate's output."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    block = report["uncertainty"]
    assert block["draws"] == 16
    assert 0.7 < block["rms_z_force"] < 1.3
    assert 0.5 < block["test"]["rms_z_force"] < 1.8
    potential = load(out / "potential.forcemap")
    evaluator, z = potential.evaluator(), []
    for atoms in read(SILICON / "test.xyz", "::2"):
        place = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        error = atoms.get_forces() - evaluator.compute(*place).forces
        z.append((error / evaluator.deviations(*place).with_noise().forces_std).ravel())
    rms = np.sqrt(np.mean(np.concatenate(z) ** 2))
    assert block["test"]["rms_z_force"] == pytest.approx(rms, rel=1e-6)
    assert report["leave_one_out"]["n_frames"] == report["train"]["n_frames"]


def test_model_and_potential_expect_alike_inside_the_data(out: Path) -> None:
    blocks = []
    for name in ("model.forcemap", "potential.forcemap"):
        result = invoke("evaluate", out / name, SILICON / "test.xyz", "--json", "--quiet")
        assert result.exit_code == 0, result.output
        blocks.append(json.loads(result.stdout))
    model, potential = blocks
    assert model["force_std_ev_per_a"] == pytest.approx(potential["force_std_ev_per_a"], rel=0.4)


def test_model_grades_atoms_as_its_potential_does(out: Path, tmp_path: Path) -> None:
    outputs = []
    for name in ("model.forcemap", "potential.forcemap"):
        outputs.append(tmp_path / f"{name}.xyz")
        result = invoke(
            *("evaluate", out / name, SILICON / "test.xyz", "--output", outputs[-1], "--quiet")
        )
        assert result.exit_code == 0, result.output
        assert "have an extrapolation grade above 1" in result.stderr
    for model, potential in zip(*(read(output, ":") for output in outputs), strict=True):
        # The map is made anew, by the same frames.
        np.testing.assert_allclose(model.arrays["grade"], potential.arrays["grade"], rtol=1e-6)


def test_model_whose_frames_have_changed_has_no_grades(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forcemap.fitter.process.provenance.data_hash", lambda frames: "another")
    result = invoke("evaluate", out / "model.forcemap", SILICON / "test.xyz", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert "was fitted to; atoms have no extrapolation grades" in " ".join(result.stderr.split())
    assert "largest_grade" not in json.loads(result.stdout)


def test_model_beyond_the_data_expects_what_the_prior_leaves_open(
    out: Path, tmp_path: Path
) -> None:
    """Two atoms at a distance that no frame has, far above the calibrated deviation of the data."""
    data, output = tmp_path / "dimer.xyz", tmp_path / "out.xyz"
    write(data, [Atoms("Si2", [[0, 0, 0], [0, 0, 1.75]], cell=[20] * 3, pbc=True)])
    result = invoke(
        *("evaluate", out / "model.forcemap", data, "--output", output, "--quiet", "--json")
    )
    assert result.exit_code == 0, result.output
    inside = invoke("evaluate", out / "model.forcemap", SILICON / "test.xyz", "--json", "--quiet")
    usual = json.loads(inside.stdout)["force_std_ev_per_a"]
    assert read(output).arrays["forces_std"].max() > 3.0 * usual


@pytest.mark.parametrize("name", ["model.forcemap", "potential.forcemap"])
def test_info_shows_the_calibration(out: Path, name: str) -> None:
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    text = invoke("info", out / name).stdout
    force = report["uncertainty"]["calibration"]["force"]
    assert f"factor {force['factor']:.3g}, floor {force['floor']:.2g} eV/Å" in text
    assert f"noise of labels {force['noise']:.2g} eV/Å" in text
    if name == "potential.forcemap":
        assert re.search(r"draws +16", text)
        assert "99 % quantile of the training atoms" in text
