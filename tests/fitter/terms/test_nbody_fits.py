"""Fits with many-body terms: orders compared, the model's file, and what cannot be mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.terms.nbody import NBodyTerm
from forcemap.potentials import ForcemapError, ModelFileError
from forcemap.potentials.file.container import read_container, write_container
from forcemap_runs import invoke
from numpy.typing import NDArray

Array = NDArray[np.float64]

CUTOFF = 4.0


pytestmark = pytest.mark.usefixtures("one_thread")


def density_energy(atoms: Atoms, power: float) -> tuple[float, Array]:
    """sum_i (rho_i / 2)**power / 3, rho_i = sum_j f(r_ij), and its forces; f falls from 1 to 0.

    Oxygen counts half in the density. A sum over pairs is `power` 1; 4 takes five atoms at a time.
    """
    positions = atoms.positions
    weight = np.where(atoms.numbers == 8, 0.5, 1.0)
    vectors = positions[None, :, :] - positions[:, None, :]
    r = np.sqrt(np.sum(vectors**2, axis=2)) + 100.0 * np.eye(len(atoms))
    x = np.clip((r - 1.5) / (CUTOFF - 1.5), 0.0, 1.0)
    value = 1.0 - 10.0 * x**3 + 15.0 * x**4 - 6.0 * x**5
    slope = -30.0 * x**2 * (1.0 - x) ** 2 / (CUTOFF - 1.5)
    rho = value @ weight
    change = power / 6.0 * (rho / 2.0) ** (power - 1)  # d(energy)/d(rho)
    pull = (change[:, None] * weight[None, :] * slope / r)[:, :, None] * vectors
    return float(np.sum((rho / 2.0) ** power) / 3.0), pull.sum(axis=1) - pull.sum(axis=0)


def clusters(count: int, seed: int, power: float, symbols: str = "Si7") -> list[Atoms]:
    """Random clusters, dense and loose, with labels."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        edge = rng.uniform(3.2, 5.0)
        places: list[Array] = []
        while len(places) < 7:
            place = rng.uniform(0.0, edge, 3)
            if all(np.linalg.norm(place - other) > 1.6 for other in places):
                places.append(place)
            edge += 0.005
        atoms = Atoms(symbols, places)
        energy, forces = density_energy(atoms, power)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


def given(folder: Path, *terms: dict[str, Any], **changes: Any) -> Settings:
    settings: dict[str, Any] = {
        "data": {"train": "train.xyz"},
        "e0": {"Si": 0.0},
        "core": "none",
        "sigma": {"energy": 0.001, "force": 0.01},
        "terms": [{"kind": "nbody", "n_features": 40, "n_sparse": 120} | term for term in terms],
    }
    return Settings.from_dict({**settings, **changes}, folder)


def read(folder: Path, name: str) -> list[Frame]:
    settings = given(folder, {}, data={"train": name})
    return read_frames(settings.data.train, settings.data.keys, settings.sigma)


def force_error(model: Model, frames: list[Frame]) -> float:
    truth = Truth(model)
    errors = []
    for frame in frames:
        assert frame.forces is not None
        errors.append((truth.prediction(frame).forces - frame.forces).ravel())
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def test_labels_of_the_toy_are_consistent() -> None:
    atoms = clusters(1, 0, 4.0, "Si4O3")[0]
    expected = density_energy(atoms, 4.0)[1]
    for n, d in ((0, 0), (3, 1), (6, 2)):
        ends = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions[n, d] += sign * 1e-5
            ends.append(density_energy(moved, 4.0)[0])
        assert -(ends[0] - ends[1]) / 2e-5 == pytest.approx(expected[n, d], abs=1e-7)


# ----- orders -----


def test_functions_of_five_atoms_need_the_second_power(tmp_path: Path) -> None:
    """The square of a sum over triplets holds the fourth power of a density, the sum does not."""
    write(tmp_path / "train.xyz", clusters(30, 1, 4.0))
    write(tmp_path / "test.xyz", clusters(15, 2, 4.0))
    train, test = read(tmp_path, "train.xyz"), read(tmp_path, "test.xyz")
    size = np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in test]) ** 2))  # type: ignore[union-attr]
    errors = {}
    terms: dict[str, dict[str, Any]] = {
        "power 1": {"power": 1},
        "power 2": {"power": 2},
        "squared exponential": {"kernel": "squared_exponential"},
    }
    for name, term in terms.items():
        errors[name] = force_error(fit_frames(given(tmp_path, term), train), test) / size
    assert errors["power 1"] < 0.35, errors  # it has learned what it can
    assert errors["power 2"] < 0.4 * errors["power 1"], errors
    assert errors["squared exponential"] < 0.7 * errors["power 1"], errors


# ----- the model's file -----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oxide")
    write(path / "train.xyz", clusters(6, 3, 2.0, "Si4O3"))
    return path


def mixed(folder: Path) -> Settings:
    """Two species, a term of either kernel, beside a 2-body term."""
    settings = given(
        folder,
        {"kind": "nbody", "power": 2, "n_features": 8, "n_sparse": {"Si": 10, "O": 6}},
        {"kind": "nbody", "kernel": "squared_exponential", "n_features": 8, "cutoff": 3.0},
        e0={"Si": 0.0, "O": 0.0},
    ).to_dict()
    settings["terms"].append({"kind": "two_body", "n_sparse": 5})
    return Settings.from_dict(settings)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return fit_frames(mixed(folder), read(folder, "train.xyz"))


def test_number_of_points_is_given_by_species(model: Model) -> None:
    term = model.terms[0]
    assert {block.species[0]: block.size for block in term.blocks} == {8: 6, 14: 10}


def test_descriptors_of_the_data_have_unit_mean_square(model: Model, folder: Path) -> None:
    """With every environment a sparse point, but for repeats."""
    settings = mixed(folder).to_dict()
    settings["terms"] = [{"kind": "nbody", "n_features": 8, "kernel": "squared_exponential"}]
    term = fit_frames(Settings.from_dict(settings), read(folder, "train.xyz")).terms[0]
    assert {b.species: b.size for b in term.blocks} == {(8,): 18, (14,): 24}
    for block in term.blocks:
        assert np.mean(np.sum(block.points**2, axis=1)) == pytest.approx(1.0)


def test_file_gives_the_same_predictions_and_variances(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    write_model(model, tmp_path / "model.forcemap")
    found = read_model(tmp_path / "model.forcemap")
    frame = read(folder, "train.xyz")[0]
    for a, b in zip(model.predict(frame), found.predict(frame), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.variances(frame), found.variances(frame))
    assert [t.summary() for t in found.terms] == [t.summary() for t in model.terms]


def no_scale(document: dict[str, Any], tensors: dict[str, Array]) -> None:
    document["terms"][0]["scales"]["Si"] = -1.0


def repeated(document: dict[str, Any], tensors: dict[str, Array]) -> None:
    name = next(n for n in sorted(tensors) if n.startswith("triplets.0"))
    tensors[name][1] = tensors[name][0]


def unknown_kernel(document: dict[str, Any], tensors: dict[str, Array]) -> None:
    document["terms"][0]["comparison"]["kernel"] = "cosine"


def wide(document: dict[str, Any], tensors: dict[str, Array]) -> None:
    tensors["points.0.0"] = np.zeros((6, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_scale, r"terms\[0\]\.scales\.Si: found -1\.0, expected a number above 0"),
        (repeated, r"terms\[0\].triplets: some of its triplets repeat others"),
        (unknown_kernel, r"terms\[0\].comparison.kernel: expected power or squared_exponential"),
        (wide, r"points\.0\.0"),
    ],
)
def test_files_that_make_no_sense_are_refused(
    model: Model,
    tmp_path: Path,
    change: Callable[[dict[str, Any], dict[str, Array]], None],
    message: str,
) -> None:
    path = tmp_path / "model.forcemap"
    write_model(model, path)
    container = read_container(path)
    document = json.loads(json.dumps(container.view().members()))
    tensors = {name: np.array(tensor) for name, tensor in container.tensors.items()}
    change(document, tensors)
    write_container(path, document, tensors)
    with pytest.raises(ModelFileError, match=message):
        read_model(path)


def test_environments_without_triplets_leave_a_term_empty(tmp_path: Path) -> None:
    """Pairs only: the 2-body term is fitted, the many-body term has nothing to say."""
    pairs = [a[:2] for a in clusters(5, 4, 1.0)]
    for atoms, r in zip(pairs, np.linspace(2.0, 3.0, 5), strict=True):
        atoms.positions = [[0, 0, 0], [0, 0, r]]
        energy, forces = density_energy(atoms, 1.0)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    write(tmp_path / "train.xyz", pairs)
    settings = given(tmp_path, {}).to_dict()
    settings["terms"].append({"kind": "two_body", "n_sparse": 8})
    model = fit_frames(Settings.from_dict(settings), read(tmp_path, "train.xyz"))
    term = model.terms[0]
    assert isinstance(term, NBodyTerm)
    assert term.size == 0
    assert force_error(model, read(tmp_path, "train.xyz")) < 0.02


# ----- no map -----


def test_map_is_refused(model: Model) -> None:
    with pytest.raises(ForcemapError, match="nbody term has no map"):
        map_model(model, [], 1e-4)


def test_fit_writes_no_potential_and_says_so(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "potential.forcemap").write_text("of an earlier fit")
    mixed(folder).dump(tmp_path / "settings.yaml")
    run = invoke("fit", tmp_path / "settings.yaml", "-o", out, "--quiet")
    assert run.exit_code == 0, run.output
    assert "cannot be run in MD" in " ".join(run.output.split())
    assert "potential.forcemap\n" not in run.output.replace("is no potential.forcemap", "")
    assert sorted(p.name for p in out.iterdir()) == [
        "model.forcemap",
        "report.html",
        "report.json",
        "settings.yaml",
    ]
    report = json.loads((out / "report.json").read_text())
    assert report["errors_of"] == "process"
    assert report["mapping"] == {}
    # The errors are those of the process that the file holds.
    frames = read(folder, "train.xyz")
    expected = force_error(read_model(out / "model.forcemap"), frames)
    assert report["train"]["force_rmse_ev_per_a"] == pytest.approx(expected, rel=1e-9)
    page = (out / "report.html").read_text()
    assert "errors are those of the process; it has no map" in page
    assert "Errors of the map" not in page
    assert "<th>distance_lengthscale</th>" in page

    again = invoke("evaluate", out / "model.forcemap", folder / "train.xyz", "--json", "--quiet")
    block = json.loads(again.stdout)
    assert block["force_rmse_ev_per_a"] == pytest.approx(expected, rel=1e-9)
    assert 0.0 < block["force_std_ev_per_a"] < 1.0

    info = invoke("info", out / "model.forcemap")
    assert info.exit_code == 0
    assert "it has no map" in info.output
    mapped = invoke("map", out / "model.forcemap", "-o", tmp_path / "p.forcemap", "--quiet")
    assert mapped.exit_code == 1
    assert "model.forcemap: its nbody term has no map" in " ".join(mapped.output.split())
    assert not (tmp_path / "p.forcemap").exists()
