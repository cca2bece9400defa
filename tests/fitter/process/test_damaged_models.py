"""Model files whose numbers are finite but not those of a fit: one message, and never a NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.model_file import checked_model, write_model
from forcemap.fitter.process.truth import Truth
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_container, write_container
from forcemap_runs import invoke
from structures import SILICON

Document = dict[str, Any]
Tensors = dict[str, np.ndarray]

TERMS: dict[str, list[Document]] = {
    "few bodies": [
        {"kind": "two_body", "cutoff": 4.5, "n_sparse": 6},
        {"kind": "three_body", "cutoff": 3.4, "n_sparse": 8},
        {"kind": "embedding", "cutoff": 4.0, "n_sparse": 4},
    ],
    "matern": [
        {"kind": "two_body", "cutoff": 4.5, "n_sparse": 6, "kernel": "matern52"},
        {"kind": "three_body", "cutoff": 3.4, "n_sparse": 8, "kernel": "matern52"},
    ],
    "soap": [{"kind": "soap", "cutoff": 3.5, "n_sparse": 6, "n_max": 2, "l_max": 1}],
    "nbody": [{"kind": "nbody", "cutoff": 3.4, "n_sparse": 5, "n_features": 4}],
}


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    settings = settings_of("few bodies")
    return read_frames(settings.data.train, settings.data.keys, settings.sigma)


def settings_of(kind: str) -> Settings:
    data = {"train": [{"path": "train.xyz", "index": "::20"}, "isolated.xyz"]}
    return Settings.from_dict({"data": data, "terms": TERMS[kind]}, SILICON)


@pytest.fixture(scope="module")
def models(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for kind in TERMS:
        found[kind] = folder / f"{kind.replace(' ', '_')}.forcemap"
        write_model(fit_frames(settings_of(kind), frames), found[kind])
    return found


def altered(source: Path, path: Path, change: Callable[[Document, Tensors], None]) -> None:
    """A copy of a file with its document and tensors changed, and the checksum that goes with it."""
    container = read_container(source)
    tensors = {name: array.copy() for name, array in container.tensors.items()}
    change(container.document, tensors)
    write_container(path, container.document, tensors)


VALUES = (1e300, -1e300, 1e19, -1e19, 1e-300, 0.0, -1.0)


def damages(source: Path) -> Iterator[tuple[str, Callable[[Document, Tensors], None]]]:
    """Every number of the document, and some of every tensor, with values that no fit has."""
    container = read_container(source)

    def at(keys: tuple[Any, ...], value: float) -> Callable[[Document, Tensors], None]:
        def change(document: Document, _: Tensors) -> None:
            place: Any = document
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    def inside(name: str, index: Any, value: float) -> Callable[[Document, Tensors], None]:
        return lambda _, tensors: tensors[name].__setitem__(index, value)

    def numbers(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict):
            for key in value:
                if keys or key not in ("settings", "data"):
                    yield from numbers(value[key], (*keys, key))
        elif isinstance(value, list):
            for n, item in enumerate(value):
                yield from numbers(item, (*keys, n))
        elif isinstance(value, float):
            yield keys

    for value in VALUES:
        for keys in numbers(container.document, ()):
            yield f"{keys} = {value}", at(keys, value)
        for name, tensor in container.tensors.items():
            for where, index in (
                ("first", (0,) * tensor.ndim),
                ("last", (-1,) * tensor.ndim),
                ("every", ...),
            ):
                yield f"{where} of {name} = {value}", inside(name, index, value)


@pytest.mark.parametrize("kind", list(TERMS))
def test_numbers_of_no_fit_give_one_error_or_finite_answers(
    kind: str, models: dict[str, Path], frames: list[Frame], tmp_path: Path
) -> None:
    """Any other exception fails, and so does any warning, as of an overflow."""
    path = tmp_path / "model.forcemap"
    frame = min(frames, key=lambda f: len(f.numbers) + 100 * (len(f.numbers) == 1))
    refused = count = 0
    for what, change in damages(models[kind]):
        altered(models[kind], path, change)
        count += 1
        try:
            means, deviations = Truth(checked_model(path)).with_deviations(frame)
        except ForcemapError:
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        for values in (*means, *deviations):
            assert values is None or np.isfinite(values).all(), what
    assert refused > count / 3, (refused, count)


CURE = "the file is damaged; copy it again or fit anew"


def set_tensor(name: str, index: Any, value: float) -> Callable[[Document, Tensors], None]:
    return lambda _, tensors: tensors[name].__setitem__(index, value)


def repeat_points(_: Document, tensors: Tensors) -> None:
    tensors["points.0.0"][1] = tensors["points.0.0"][0]


def set_map(**values: Any) -> Callable[[Document, Tensors], None]:
    return lambda document, _: document["settings"]["map"].update(values)


ALL = ("info", "evaluate", "map")
FAULTS: dict[str, tuple[str, Callable[[Document, Tensors], None], str, tuple[str, ...]]] = {
    "weights": (
        "few bodies",
        set_tensor("weights", 3, 1e300),
        f"tensor 'weights': found 1e+300 at (3,), expected numbers up to 1e+20: {CURE}",
        ALL,
    ),
    "point far out": (
        "few bodies",
        set_tensor("points.1.0", (2, 0), 1e6),
        "terms[1]: found a sparse point of Si-Si-Si with the distance 1e+06 Å, expected 0 to 6.8 Å: "
        + CURE,
        ALL,
    ),
    "negative distance": (
        "matern",
        set_tensor("points.0.0", (0, 0), -1.0),
        "terms[0]: found a sparse point of Si-Si with the distance -1 Å, expected 0 to 9 Å: "
        + CURE,
        ALL,
    ),
    "posterior": (
        "soap",
        set_tensor("posterior", (2, 2), -3.0),
        "tensor 'posterior': found -3.0 at (2, 2), expected at least 1: it is not positive definite, "
        + CURE,
        ALL,
    ),
    "covariance": (
        "few bodies",
        repeat_points,
        "the covariance of the sparse points of Si-Si in its two_body term is not positive definite: "
        + CURE,
        ("info", "evaluate"),  # the map needs none
    ),
    "channels": (
        "soap",
        set_tensor("channels.0", ..., 0.0),
        f"terms[0]: its channels tensor is 0: {CURE}",
        ALL,
    ),
    "no weights": (
        "soap",
        set_tensor("weights", ..., 0.0),
        "the weights of all sparse points of Si in its soap term are 0: the model is damaged",
        ("map",),
    ),
    "delta": (
        "soap",
        lambda document, _: document["terms"][0].update(delta=1e300),
        "terms[0].delta: found 1e+300, expected a number from 1e-20 to 1e+20",
        ALL,
    ),
    "lengthscale": (
        "few bodies",
        lambda document, _: document["terms"][0].update(lengthscale=1e-300),
        "terms[0].lengthscale: found 1e-300, expected a number from 1e-06 to 1e+06",
        ALL,
    ),
    "tolerance": (
        "few bodies",
        set_map(tolerance="small"),
        "settings.map.tolerance: 'small' is not a number at least 1e-10 and at most 1",
        ("map",),
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_commands_say_what_is_wrong_with_a_model(
    fault: str, models: dict[str, Path], tmp_path: Path
) -> None:
    kind, change, text, commands = FAULTS[fault]
    path, potential = tmp_path / "damaged.forcemap", tmp_path / "potential.forcemap"
    altered(models[kind], path, change)
    arguments = {
        "info": (),
        "evaluate": (SILICON / "isolated.xyz", "--quiet"),
        "map": ("-o", potential, "--quiet"),
    }
    for command in commands:
        result = invoke(command, path, *arguments[command])
        assert (result.exit_code, result.stderr) == (1, f"Error: {path}: {text}\n"), command
        assert not potential.exists()


def test_answers_that_overflow_are_named_with_the_frame(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """Steps of a substitution multiply: no bound on single numbers keeps variances finite."""
    path = tmp_path / "model.forcemap"

    def grow(_: Document, tensors: Tensors) -> None:
        posterior = tensors["posterior"]
        posterior[np.tril_indices(len(posterior), -1)] = 1e20

    altered(models["few bodies"], path, grow)
    data = SILICON / "test.xyz"
    result = invoke("evaluate", path, data, "--quiet", "--index", "0")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {data}: frame 0 (counted from 0): the process gives numbers that are not finite: the "
        "structure is far outside what can be evaluated, or the model is damaged\n",
    )
