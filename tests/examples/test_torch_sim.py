"""torch-sim with a potential of forcemap, by the example's model; only where torch-sim is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from forcemap.potentials import ForcemapCalculator
from forcemap.potentials.file.potential_file import as_potential
from potentials_factory import random_potential

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch_sim_model.py"


def test_model_gives_what_the_calculator_gives() -> None:
    torch_sim = pytest.importorskip("torch_sim")
    spec = importlib.util.spec_from_file_location("torch_sim_model", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    potential = as_potential(random_potential(["Si"], 3))
    structures = [bulk("Si", a=5.3, cubic=True), bulk("Si", a=5.6)]
    model = example.ForcemapModel(potential)
    state = torch_sim.initialize_state(structures, device=model.device, dtype=model.dtype)
    found = model(state)
    for n, atoms in enumerate(structures):
        atoms.calc = ForcemapCalculator(potential)
        which = state.system_idx.numpy() == n
        np.testing.assert_allclose(found["energy"][n], atoms.get_potential_energy(), rtol=1e-12)
        np.testing.assert_allclose(found["forces"].numpy()[which], atoms.get_forces(), atol=1e-12)
        stress = atoms.get_stress(voigt=False)
        np.testing.assert_allclose(found["stress"][n], stress, atol=1e-12)
