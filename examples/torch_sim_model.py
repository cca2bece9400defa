"""A potential of forcemap as a model of torch-sim, through ASE's calculator.

    python torch_sim_model.py out/potential.forcemap

Energies, forces and stresses are computed on the processor, structure by structure; torch-sim adds its
integrators, optimizers and batching.
"""

import sys

import numpy as np
import torch
import torch_sim
from ase.build import bulk
from forcemap.potentials import ForcemapCalculator
from torch_sim.models.interface import ModelInterface


class ForcemapModel(ModelInterface):
    """Evaluates all structures of a state with a mapped potential."""

    def __init__(self, potential, threads=1):
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress = self._compute_forces = True
        self._calculator = ForcemapCalculator(potential, threads=threads)

    def forward(self, state, **keywords):
        """Energies (systems,) eV, forces (atoms, 3) eV/Å, stresses (systems, 3, 3) eV/Å³."""
        results = {"energy": [], "forces": [], "stress": []}
        for atoms in torch_sim.io.state_to_atoms(state):
            atoms.calc = self._calculator
            results["energy"].append(atoms.get_potential_energy())
            results["forces"].extend(atoms.get_forces())
            if atoms.pbc.all():
                results["stress"].append(atoms.get_stress(voigt=False))
        found = {name: torch.from_numpy(np.array(values)) for name, values in results.items()}
        return found if len(found["stress"]) else {k: v for k, v in found.items() if k != "stress"}


if __name__ == "__main__":
    model = ForcemapModel(sys.argv[1])
    crystals = [bulk("Si", a=a, cubic=True) for a in (5.3, 5.6)]
    for n, atoms in enumerate(crystals):
        atoms.rattle(0.1, seed=n)
    relaxed = torch_sim.optimize(
        system=crystals, model=model, optimizer=torch_sim.unit_cell_fire, max_steps=60
    )
    print("relaxed, eV:", [round(float(energy), 4) for energy in relaxed.energy])
    state = torch_sim.integrate(
        system=crystals,
        model=model,
        integrator=torch_sim.nve,
        n_steps=20,
        temperature=300,
        timestep=0.001,
    )
    print("after 20 steps, eV:", [round(float(energy), 4) for energy in state.energy])
