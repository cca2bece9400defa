"""Model files with a fault, which reading refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.potentials import ModelFileError
from forcemap.potentials.file.container import read_container, write_container

Change = Callable[[Any, Any], object]
"""Of a model's document and its tensors by name, in place."""


def check_refused(model: Model, change: Change, message: str, folder: Path) -> None:
    """A file of the model with the change is refused, by its name and with the message."""
    path = folder / "model.forcemap"
    write_model(model, path)
    container = read_container(path)
    tensors = {name: array.copy() for name, array in container.tensors.items()}
    change(container.document, tensors)
    write_container(path, container.document, tensors)
    with pytest.raises(ModelFileError) as error:
        read_model(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
