"""``forcemap validate`` as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter.validation import check
from forcemap.fitter.validation.registry import CHECKS
from forcemap_runs import invoke
from validation_cases import EMT, morse_file

# What comes back in a moment: no LAMMPS, small cells.
QUICK = """
structures: [{lattice: fcc, formula: Cu, a: 3.9}]
free_atoms: {Cu: 0.5}
vacancy: {length: 6.0}
interstitial: false
random: {structures: 2, atoms: 2}
phonons: {length: 6.0, mesh: 4}
rdf: false
nve: false
npt: false
heating: false
vibrations: false
"""


@pytest.fixture
def potential(tmp_path: Path) -> Path:
    (tmp_path / "validate.yaml").write_text(QUICK, encoding="utf-8")
    return morse_file(tmp_path)


def _options(folder: Path, *more: object) -> list[object]:
    return ["--settings", folder / "validate.yaml", "-o", folder / "out", "-q", *more]


def test_all_that_is_found_stands_in_the_folder_and_on_the_terminal(
    potential: Path, tmp_path: Path
) -> None:
    pytest.importorskip("phonopy")
    reference = tmp_path / "dft.yaml"
    reference.write_text("Cu fcc: {C11: 200, C12: 100}\nvacancy Cu: 1.0\n", encoding="utf-8")
    result = invoke("validate", potential, *_options(tmp_path, "--reference", reference))
    assert result.exit_code == 0, result.output
    for text in ("Cu fcc", "C11", "reference", "surface 111", "Cu-Cu dimer", "Criteria"):
        assert text in result.output
    out = tmp_path / "out"
    content = json.loads((out / "validation.json").read_text())
    assert content["left_out"] == []
    table = {(row["subject"], row["quantity"]): row for row in content["results"]}
    c11 = table["Cu fcc", "C11"]
    assert c11["difference"] == pytest.approx(c11["value"] - 200.0)
    assert c11["difference_percent"] == pytest.approx(100 * (c11["value"] / 200.0 - 1.0))
    assert table["Cu fcc", "vacancy Cu"]["reference"] == 1.0
    atom = table["Cu fcc", "cohesive energy"]["value"] + table["Cu fcc", "energy per atom"]["value"]
    assert atom == pytest.approx(0.5)  # the settings' free atom
    assert {row["verdict"] for row in content["verdicts"]} <= {"pass", "warn", "fail"}
    assert all(row["criterion"] and row["message"] for row in content["verdicts"])
    page = (out / "validation.html").read_text(encoding="utf-8")
    images = re.findall(r'<img alt="([^"]+)" src="([^"]{30})', page)
    assert {"Equation of state", "Phonons of Cu fcc", "Dimers"} <= {title for title, _ in images}
    assert all(source.startswith("data:image/svg+xml;base64,") for _, source in images)
    assert not re.search(r"(src|href)=.(https?:|//|\w+\.(png|css|js))", page)
    assert len(list(out.glob("*.png"))) == len(images)


def test_json_is_all_that_is_printed(potential: Path, tmp_path: Path) -> None:
    options = _options(tmp_path, "--json", "--only", "elastic")
    result = invoke("validate", potential, *options)
    content = json.loads(result.stdout)
    assert content == json.loads((tmp_path / "out" / "validation.json").read_text())
    assert {row["check"] for row in content["results"]} == {"crystal", "elastic"}
    assert content["steps"] == {"made": 2, "reused": 0}
    again = json.loads(invoke("validate", potential, *options).stdout)
    assert again["steps"] == {"made": 0, "reused": 2}
    assert again["results"] == content["results"]


def test_a_calculator_stands_beside_the_potential(potential: Path, tmp_path: Path) -> None:
    options = _options(tmp_path, "--against", EMT, "--only", "eos", "--only", "nve")
    result = invoke("validate", potential, *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"unit +potential +EMT +difference +%", result.output)
    content = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert all(row["against"] is not None for row in content["results"])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--only", "elastics"], 2, 'there is no check "elastics"; did you mean "elastic"?'),
        (["--against", "emt"], 1, "--against emt; expected a potential file or an ASE calculator"),
        (["--reference", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_mistakes_end_it_before_the_work(
    potential: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    result = invoke("validate", potential, "-o", tmp_path / "out", *options)
    assert result.exit_code == code
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_without_phonopy_all_else_is_done(
    potential: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check.find_spec
    monkeypatch.setattr(check, "find_spec", lambda name: None if name == "phonopy" else found(name))
    result = invoke("validate", potential, *_options(tmp_path))
    assert result.exit_code == 0, result.output
    text = (
        "Phonons (potential) is left out: phonopy is not installed: "
        "pip install 'forcemap[validate]'"
    )
    assert result.output.count("forcemap[validate]") == 1
    assert text in result.output
    content = json.loads((tmp_path / "out" / "validation.json").read_text())
    made = {row["check"] for row in content["results"]}
    assert {"crystal", "eos", "elastic", "vacancy", "surfaces", "dimer", "random"} <= made


def test_crystals_and_data_points_come_from_the_provenance(tmp_path: Path) -> None:
    """A fit to strained copper of EMT: its crystal, g(r) groups and points of E(V) are its frames'."""
    pytest.importorskip("spglib")
    frames = []
    for a in (3.5, 3.55, 3.6, 3.65, 3.7):
        atoms = bulk("Cu", "fcc", a=a, cubic=True)
        from ase.calculators.emt import EMT as Calculator

        atoms.calc = Calculator()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    write(tmp_path / "train.xyz", frames)
    (tmp_path / "fit.yaml").write_text(
        "data: {train: train.xyz}\nterms: [{kind: two_body, cutoff: 5.0, n_sparse: 10}]\n"
    )
    assert invoke("fit", tmp_path / "fit.yaml", "-o", tmp_path / "fit", "-q").exit_code == 0
    options = ["-o", tmp_path / "out", "-q", "--only", "eos", "--json"]
    result = invoke("validate", tmp_path / "fit" / "potential.forcemap", *options)
    content = json.loads(result.stdout)
    assert {row["subject"] for row in content["results"]} == {"Cu Fm-3m"}
    lengths = [r["value"] for r in content["results"] if r["quantity"] == "lattice constant a"]
    assert lengths == pytest.approx([3.59], abs=0.03)
    assert "frames: 5, those that the potential was fitted to" in content["remarks"]


def test_ctrl_c_keeps_finished_steps_and_the_same_command_goes_on(
    potential: Path, tmp_path: Path
) -> None:
    settings = QUICK.replace("structures: 2, atoms: 2", "structures: 10000, atoms: 8")
    (tmp_path / "validate.yaml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-c", "from forcemap.fitter.cli import main; main()"]
    arguments = [str(a) for a in ("validate", potential, *_options(tmp_path))]
    wanted = {"crystal", "eos", "elastic", "dimer", "trimer", "extremes"}
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    steps = tmp_path / "out" / "steps"
    for _ in range(1200):
        kept = {path.name.partition("-")[0] for path in steps.glob("*.json")}
        if wanted <= kept or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"Finished steps are kept in {tmp_path / 'out'}. Go on with:\n    " in errors
    assert not (tmp_path / "out" / "validation.json").exists()
    (tmp_path / "validate.yaml").write_text(QUICK, encoding="utf-8")
    result = invoke("validate", potential, *_options(tmp_path, "--json"))
    assert json.loads(result.stdout)["steps"]["reused"] >= len(wanted)


def test_every_check_is_named_in_the_folder_of_tests() -> None:
    """A check without a test of its own would go unnoticed."""
    folder = Path(__file__).parents[1] / "validation"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("test_*.py"))
    for one in CHECKS:
        assert re.search(rf"\b{one.name}\b", text), one.name
