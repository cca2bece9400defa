"""Model files whose numbers are finite but not those of a fit: one message, and never a NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.config import Settings
from forcemap.fitter.dataset import read_frames
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.frame import Frame
from forcemap.fitter.mapping import Truth
from forcemap.fitter.model import checked_model, write_model
from forcemap.potentials.container import read_container, write_container
from forcemap.potentials.errors import ForcemapError
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
        except ForcemapError as error:
            assert "\n" not in str(error), what
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        for values in (*means, *deviations):
            assert values is None or np.isfinite(values).all(), what
    assert refused > count / 3, (refused, count)
