"""The examples in docstrings run as they stand, with a potential in the folder."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential, with_draws


@pytest.mark.parametrize("module", ["", ".evaluator", ".calculator"])
def test_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = random_potential(["Si"], 5)
    write_potential(with_draws(data, 4, 1), tmp_path / "potential.forcemap")
    failed, tried = doctest.testmod(importlib.import_module(f"forcemap.potentials{module}"))
    assert tried > 4
    assert failed == 0
