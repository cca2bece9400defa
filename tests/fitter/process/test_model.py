"""The fitted model: predictions, variances, and its file as untrusted input."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.repulsion import ShortRange, fade
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.map import Mapped
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.remainder import remainders
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.terms.base import MapPlan
from forcemap.fitter.terms.embedding import EmbeddingTerm
from forcemap.fitter.terms.rows import columns, frame_rows
from forcemap.potentials import ModelFileError
from forcemap.potentials.file.container import read_container, write_container
from forcemap.potentials.file.potential_file import as_potential
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from numpy.typing import NDArray
from potentials_factory import random_potential
from structures import SILICON


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    given = make_settings()
    return read_frames(given.data.train, given.data.keys, given.sigma)


def make_settings(kernel: str = "squared_exponential") -> Settings:
    return Settings.from_dict(
        {
            "data": {"train": [{"path": "train.xyz", "index": "::12"}, "isolated.xyz"]},
            "outside": "free",
            "terms": [
                {"kind": "two_body", "cutoff": 5.0, "n_sparse": 10},
                {
                    "kind": "three_body",
                    "cutoff": 3.6,
                    "n_sparse": 15,
                    "symmetry": "full",
                    "kernel": kernel,
                },
                {
                    "kind": "embedding",
                    "cutoff": 4.5,
                    "n_sparse": 6,
                    "kernel": kernel,
                    "density": "exponential",
                    "weights": {"Si": 0.5},
                },
            ],
        },
        SILICON,
    )


@pytest.fixture(scope="module")
def model(frames: list[Frame]) -> Model:
    return fit_frames(make_settings(), frames)


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    file = tmp_path / "model.forcemap"
    write_model(model, file)
    return file


# ----- predictions and variances -----


def test_prediction_is_the_weighted_sum_of_rows(model: Model, frames: list[Frame]) -> None:
    frame = frames[0]
    n = len(frame.numbers)
    energy, forces, strain = model.predict(frame)
    expected = frame_rows(frame, model.terms) @ model.weights
    assert energy == expected[0]
    np.testing.assert_array_equal(forces.ravel(), expected[1 : 1 + 3 * n])
    np.testing.assert_array_equal(strain, expected[1 + 3 * n :])


@pytest.fixture
def determined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out of variances what the sparse points do not determine: what the data say, remains."""
    module = "forcemap.fitter.process.model"
    monkeypatch.setattr(f"{module}.remainders", lambda *_: 0.0)


def test_variances_are_those_by_data_and_what_sparse_points_leave_open(
    model: Model, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.variances(frames[1])
    left = remainders(frames[1], model.terms)
    assert left.shape == whole.shape
    assert np.all(left >= 0.0)
    means, again = model.predict_with_variances(frames[1])
    np.testing.assert_array_equal(again, whole)
    assert means[0] == model.predict(frames[1])[0]
    monkeypatch.setattr("forcemap.fitter.process.model.remainders", lambda *_: 0.0)
    # The model keeps factors of its covariances that `remainders` works out otherwise: rounding.
    np.testing.assert_allclose(whole, model.variances(frames[1]) + left, rtol=1e-9)


@pytest.mark.usefixtures("determined")
def test_variances_are_positive_and_small_at_training_points(
    model: Model, frames: list[Frame]
) -> None:
    """The data leave far less than the prior's variance, and less there than elsewhere."""
    frame = max(frames, key=lambda f: len(f.numbers))
    variances = model.variances(frame)
    assert variances.shape == (7 + 3 * len(frame.numbers),)
    assert np.all(variances >= 0.0)
    n = len(frame.numbers)
    # The energy per atom is known to a few of the sigmas that evidence chose.
    assert np.sqrt(variances[0]) / n < 3 * frame.sigma.energy * model.noise_factor
    assert np.sqrt(variances[1 : 1 + 3 * n].max()) < 3 * frame.sigma.force * model.noise_factor
    squeezed = Frame(
        **{**vars(frame), "positions": 0.88 * frame.positions, "cell": 0.88 * frame.cell}
    )
    assert model.variances(squeezed)[0] > 10 * variances[0]


@pytest.mark.usefixtures("determined")
def test_variance_is_that_of_all_rows_at_once(model: Model, frames: list[Frame]) -> None:
    """kᵀ (Aᵀ A + C)⁻¹ k for weights of prior precision C, by QR of [A; C^(1/2)], never squared.

    Tolerance: the condition number of C, 1e9 at most, costs half of the digits.
    """
    blocks, rows = [], []
    baseline = Baseline(model.species, model.repulsion)
    for term, block, _ in columns(model.terms):
        blocks.append(scipy.linalg.cholesky(term.covariance(block)) / term.delta)
    sigma = FrameSigma(**model.data["sigma"])
    for frame in frames:
        t = Targets.of(replace(frame, sigma=sigma), model.e0, baseline.of(frame))
        rows.append(frame_rows(frame, model.terms)[t.rows] / t.sigmas[:, None])
    stacked = np.vstack([*rows, scipy.linalg.block_diag(*blocks)])
    r: NDArray[np.float64] = scipy.linalg.qr(stacked, mode="economic")[1]
    half = scipy.linalg.solve_triangular(r.T, frame_rows(frames[1], model.terms).T, lower=True)
    expected = np.sum(half**2, axis=0)
    np.testing.assert_allclose(
        model.variances(frames[1]), expected, rtol=1e-5, atol=1e-8 * expected.max()
    )


@pytest.mark.usefixtures("determined")
def test_draws_have_the_covariance_of_the_weights(model: Model, frames: list[Frame]) -> None:
    """Variances of 4000 draws are within 10 %: their standard deviation is sqrt(2/4000), 2.2 %.

    The noise factor, 2 or more here, counts once: twice would be four times off, and not at all too.
    """
    rows = frame_rows(frames[1], model.terms)
    draws = model.draws(4000)
    assert draws.shape == (len(model.weights), 4000)
    exact = model.variances(frames[1])
    found = np.mean((rows @ draws) ** 2, axis=1)
    assert abs(np.log(model.noise_factor)) > 0.1
    some = exact > 1e-6 * exact.max()
    np.testing.assert_allclose(found[some], exact[some], rtol=0.1)
    # Between rows too: of a sum of the forces on the first atoms.
    both = rows[1:7].sum(axis=0)
    np.testing.assert_allclose(
        np.mean((both @ draws) ** 2), model.raw_variances(both[None, :])[0], rtol=0.1
    )


def test_draws_are_the_same_at_every_call_and_in_any_number(model: Model) -> None:
    few, many = model.draws(3), model.draws(16)
    np.testing.assert_allclose(few, many[:, :3], rtol=1e-12, atol=1e-12 * np.abs(many).max())
    np.testing.assert_array_equal(many, model.draws(16))
    assert model.draws(0).shape == (len(model.weights), 0)


UNCERTAINTY = Uncertainty(
    Calibration(3.0, 1e-4, 0.002), Calibration(8.0, 1e-3, 0.03), Calibration(5.0, 1e-5, 0.001)
)


def test_file_keeps_the_calibration_and_may_lack_it(model: Model, tmp_path: Path) -> None:
    levels = {"energy": 1e-6, "force": 1e-3, "stress": 1e-7}
    known = replace(model, uncertainty=UNCERTAINTY, open_levels=levels)
    write_model(known, tmp_path / "m.forcemap")
    again = read_model(tmp_path / "m.forcemap")
    assert again.uncertainty == UNCERTAINTY
    assert again.open_levels == levels
    write_model(replace(model, uncertainty=None), tmp_path / "m.forcemap")
    assert read_model(tmp_path / "m.forcemap").uncertainty is None


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("force", "factor", -1.0), ("energy", "noise", None), ("stress", "floor", 1e300)],
)
def test_damaged_calibration_is_refused(
    model: Model, tmp_path: Path, name: str, key: str, value: object
) -> None:
    path = tmp_path / "m.forcemap"
    write_model(replace(model, uncertainty=UNCERTAINTY), path)
    container = read_container(path)
    container.document["uncertainty"][name][key] = value
    write_container(path, container.document, container.tensors)
    with pytest.raises(ModelFileError, match=rf"m.forcemap: uncertainty.{name}.{key}: "):
        read_model(path)


def test_fade_takes_the_process_out_below_the_data() -> None:
    core = ShortRange.from_shortest(2.0)
    r = np.linspace(0.0, 3.0, 601)
    found = fade(core, r)
    assert np.all(found[r >= core.fading] == 1.0)
    assert np.all(found[r <= core.faded] == 0.0)
    assert np.all(np.diff(found) >= 0.0)
    assert core.fading < core.shortest < core.outer
    np.testing.assert_array_equal(fade(None, r), 1.0)


# ----- the file -----


@pytest.mark.parametrize("kernel", ["squared_exponential", "matern52"])
def test_file_keeps_everything(kernel: str, frames: list[Frame], tmp_path: Path) -> None:
    model = fit_frames(make_settings(kernel), frames)
    write_model(model, tmp_path / "model.forcemap")
    again = read_model(tmp_path / "model.forcemap")
    for frame in frames:
        for one, other in zip(again.predict(frame), model.predict(frame), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(again.variances(frame), model.variances(frame))
    assert again.species == model.species
    assert dict(again.e0) == dict(model.e0)
    assert again.atom_energies() == model.atom_energies()
    assert dict(again.repulsion) == dict(model.repulsion)
    assert again.noise_factor == model.noise_factor
    assert again.log_marginal_likelihood == model.log_marginal_likelihood
    assert again.settings == json.loads(json.dumps(model.settings))
    assert again.data == model.data
    for one, other in zip(again.terms, model.terms, strict=True):
        assert (type(one), one.kind, one.cutoff, one.delta) == (
            type(other),
            other.kind,
            other.cutoff,
            other.delta,
        )
        assert one.summary() == other.summary()


def test_truncated_files_are_refused(path: Path) -> None:
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for length in [0, 1, 7, 8, 9, 100, *rng.integers(101, len(content), 40), len(content) - 1]:
        path.write_bytes(content[: int(length)])
        with pytest.raises(ModelFileError, match=r"model\.forcemap"):
            read_model(path)


def test_bits_that_flipped_are_refused(path: Path) -> None:
    """Of the length, the header with the document, and the numbers."""
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    for position in [*range(120), *rng.integers(120, len(content), 300), len(content) - 1]:
        altered = bytearray(content)
        altered[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        with pytest.raises(ModelFileError, match=r"model\.forcemap"):
            read_model(path)


def test_bytes_that_changed_without_a_checksum_are_refused_or_harmless(path: Path) -> None:
    """Whatever byte of the header changes: a model or a ModelFileError, never anything else."""
    content = path.read_bytes()
    found = re.search(b'"checksum":"[0-9a-f]{16}",', content)
    assert found is not None
    length = int.from_bytes(content[:8], "little") - len(found[0])
    content = length.to_bytes(8, "little") + content[8:].replace(found[0], b"", 1)
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(2)
    refused = 0
    for position in [*range(8), *rng.integers(8, header, 300)]:
        altered = bytearray(content)
        altered[position] ^= int(rng.integers(1, 256))
        path.write_bytes(altered)
        try:
            read_model(path)
        except ModelFileError:
            refused += 1
    assert refused > 150


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        del document[key]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", to="forcemap.potential"), "format|potential"),
        (_set("version", to=99), "newer|version"),
        (_set("terms", 0, "kind", to="four_body"), "four_body"),
        (_set("terms", 0, "kernel", to="linear"), "linear"),
        (_set("terms", 1, "symmetry", to="mirror"), "mirror"),
        (_set("terms", 1, "cutoff_function", to="sharp"), "sharp"),
        (_set("terms", 0, "cutoff", to=-1.0), "cutoff"),
        (_set("terms", 0, "cutoff", to="5"), "expected a number"),
        (_set("terms", 0, "lengthscale", to=0.0), "lengthscale"),
        (_set("terms", 0, "blocks", to=[["Si", "Si"], ["Si", "Si"]]), r"points\.0\.1"),
        (_set("terms", 0, "blocks", 0, to=["Si"]), "1 species"),
        (_set("terms", 2, "density", "kind", to="gaussian"), "gaussian"),
        (_set("terms", 2, "density", "decay", to=-1.0), "decay"),
        (_set("terms", 2, "density", "cutoff", to=9.0), "consistent"),
        (_set("terms", 2, "density", "weights", to={"Xx": 1.0}), "expected elements"),
        (_set("terms", 2, "density", "weights", to={"Si": -1.0}), "between 0 and 1000"),
        (_set("terms", 2, "density", "smooth_end", to=1), "found 1, expected true or false"),
        (_set("terms", 2, "scales", to={"Si": 0.0}), "scales must be positive"),
        (_set("terms", 2, "middles", to={"Si": 1.5}), "between 0 and 1"),
        (_set("terms", 2, "grid", to=[60]), "expected 2"),
        (_set("terms", 2, "grid", 1, to=1), "found 1, expected an integer"),
        (_set("terms", 2, "blocks", to=[["Si"], ["Si"]]), r"points\.2\.1"),
        (_set("core", 0, "inner", to=9.0), "inner"),
        (_set("settings", to=[]), "settings"),
        (_without("terms"), "terms"),
        (_without("core"), "core"),
        (_without("noise_factor"), "noise_factor"),
    ],
)
def test_documents_that_are_wrong_are_refused(
    change: Callable[[dict[str, Any]], None], message: str, path: Path
) -> None:
    container = read_container(path)
    document = json.loads(json.dumps(container.document))
    change(document)
    write_container(path, document, container.tensors)
    with pytest.raises(ModelFileError, match=message):
        read_model(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("species", to=["Xx"]), "a species that is no element"),
        (_set("e0", to={"Si": "high"}), "an energy that is text"),
        (_set("e0", to={"Si": [1]}), "an energy that is a list"),
        (_set("e0", to={"Xx": 1.0}), "an energy of no element"),
        (_set("e0", to={}), "no energy of an element of the model"),
        (_set("core", 0, "species", to=["Si"]), "a core of one element"),
        (_set("terms", 0, "delta", to=-1.0), "a negative standard deviation"),
        (_set("noise_factor", to=0.0), "a factor of zero"),
        (_set("species", to=[]), "no species"),
        (_set("terms", 0, "blocks", 0, to=["O", "O"]), "a block of an element not in the model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_are_wrong_are_refused(
    change: Callable[[dict[str, Any]], None], why: str, path: Path
) -> None:
    container = read_container(path)
    document = json.loads(json.dumps(container.document))
    change(document)
    write_container(path, document, container.tensors)
    with pytest.raises(ModelFileError, match=r"model\.forcemap"):
        read_model(path)


def test_files_without_smooth_end_give_what_they_gave(path: Path) -> None:
    """Their densities' splines had a second derivative at the cutoff that is not zero."""
    container = read_container(path)
    document = json.loads(json.dumps(container.document))
    assert document["terms"][2]["density"].pop("smooth_end") is True
    write_container(path, document, container.tensors)
    term = read_model(path).terms[2]
    assert isinstance(term, EmbeddingTerm)
    (found,) = term.splines[14].densities
    # An interpolation of the function at all knots: (c[m] + 4 c[m + 1] + c[m + 2]) / 6.
    knots = np.linspace(0.0, 4.5, len(found) - 2)[-20:]
    expected = 0.5 * term.scales[14] * term.density.shape(knots)
    at_knots = ((found[:-2] + 4.0 * found[1:-1] + found[2:]) / 6.0)[-20:]
    np.testing.assert_allclose(at_knots, expected, rtol=0, atol=1e-14)
    assert found[-1] != 0.0


@pytest.mark.parametrize("name", ["weights", "posterior", "points.0.0", "points.1.0"])
def test_arrays_that_are_wrong_are_refused(name: str, path: Path) -> None:
    container = read_container(path)
    for tensor in (container.tensors[name][:-1], container.tensors[name].astype("<i8"), None):
        tensors = dict(container.tensors)
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
        write_container(path, container.document, tensors)
        with pytest.raises(ModelFileError, match=name if tensor is None else "model"):
            read_model(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nothing\.forcemap"):
        read_model(tmp_path / "nothing.forcemap")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_predict_the_same(
    model: Model, frames: list[Frame], copied: Callable[[Any], Any]
) -> None:
    """Also those of a model that was used, and of what is made from it for a pool of processes."""
    expected, variances = model.predict_with_variances(frames[0])
    found, found_variances = copied(model).predict_with_variances(copied(frames[0]))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found_variances, variances)
    truth = Truth(model)
    assert copied(truth).prediction(frames[0]).energy == truth.prediction(frames[0]).energy
    data = random_potential(["Si"], 3)
    mapped = copied(Mapped(data, as_potential(data), {}, 0.0, MapPlan()))
    assert mapped.potential.e0 == data.e0
    assert mapped.potential.metadata["terms"] == as_potential(mapped.data).metadata["terms"]
