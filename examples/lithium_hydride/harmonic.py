"""Harmonic lattice dynamics with quantum nuclei, in closed form: the reference of path integrals.

The force constants come from finite differences of the forces in the simulated cell itself, so the
modes are those of the simulation. The remaining difference is the crystal's anharmonicity.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

__all__ = ["BOLTZMANN", "force_constants", "kinetic_energies", "log_quantum_ratio", "modes"]

Array = NDArray[np.float64]

BOLTZMANN = units.kB
"""Boltzmann's constant, eV/K."""

HBAR = units._hbar * units.J * units.second
"""Planck's constant over 2 pi in ASE's units (eV times ASE's time, Å sqrt(u/eV))."""


def force_constants(atoms: Atoms, step: float = 0.01) -> Array:
    """Second derivatives of the energy (3n, 3n), eV/Å², by central differences of the forces.

    Args:
        atoms: structure in equilibrium, with a calculator.
        step: displacement, Å.
    """
    work = atoms.copy()
    work.calc = atoms.calc
    size = 3 * len(atoms)
    out = np.empty((size, size))
    for row in range(size):
        place = divmod(row, 3)
        forces = []
        for shift in (step, -step):
            work.positions = atoms.positions
            work.positions[place] += shift
            forces.append(work.get_forces().ravel())
        out[row] = (forces[1] - forces[0]) / (2 * step)
    return 0.5 * (out + out.T)


def modes(constants: Array, masses: Array) -> tuple[Array, Array]:
    """Energies ħω (3n,), eV, ascending, and normal modes (3n, 3n) in columns.

    The three uniform translations have zero. Raises ValueError if the structure is not stable.

    Args:
        constants: second derivatives (3n, 3n), eV/Å².
        masses: (n,) u.
    """
    root = np.repeat(np.sqrt(masses), 3)
    squares, vectors = np.linalg.eigh(constants / np.outer(root, root))
    energies = HBAR * np.sqrt(np.abs(squares)) * np.sign(squares)
    if energies[0] < -1e-3:
        raise ValueError(
            f"the crystal is not stable in the potential: a mode has {1e3 * energies[0]:.1f}i meV"
        )
    lowest = np.argsort(np.abs(energies))[:3]
    energies[lowest] = 0.0
    return np.maximum(energies, 0.0), vectors


def kinetic_energies(
    constants: Array,
    masses: Array,
    temperature: float,
    beads: int | None = None,
    timestep: float = 0.0,
) -> Array:
    """Mean kinetic energy of every atom (n,), eV; the centroid-virial estimator's with `beads`.

    Args:
        constants: second derivatives (3n, 3n), eV/Å².
        masses: (n,) u.
        temperature: K.
        beads: number of beads of the path integral; None is its limit, quantum mechanics.
        timestep: fs, of i-PI's integrator; 0 is the limit, exact sampling.
    """
    energies, vectors = modes(constants, masses)
    kt = BOLTZMANN * temperature
    ratio = np.maximum(energies / kt, 1e-8)
    if beads is None:
        each = 0.25 * kt * ratio / np.tanh(0.5 * ratio)
    else:
        springs = ring_energies(beads)[1:, None]
        # Exact sampling has the stiffness w_k² + w². A step of half a kick, free motion of the ring
        # polymer and half a kick conserves v² + (its own stiffness) x², which the thermostat turns
        # into the sampled distribution.
        tau = timestep * units.fs * kt / HBAR
        angle = np.maximum(springs * tau, 1e-9)
        stiffness = springs**2 + ratio**2 * angle / np.tan(angle) - (0.5 * tau * ratio**2) ** 2
        each = 0.5 * kt * (1.0 + np.sum(ratio**2 / stiffness, axis=0))
    per_component = vectors**2 @ each
    return np.asarray(per_component.reshape(-1, 3).sum(axis=1))


def ring_energies(beads: int) -> Array:
    """Energies ħω_k/kT (beads,) of a free ring polymer's modes."""
    return 2.0 * beads * np.sin(np.pi * np.arange(beads) / beads)


def log_quantum_ratio(
    constants: Array, masses: Array, temperature: float, beads: int | None = None
) -> float:
    """Logarithm of the partition function over its classical value, for the whole cell.

    Arguments as in `kinetic_energies`. The difference between two isotopes, per atom exchanged, is
    the logarithm of the reduced partition function ratio (J. Bigeleisen, M. G. Mayer, J. Chem. Phys.
    15, 261 (1947)).
    """
    energies, _ = modes(constants, masses)
    ratio = np.maximum(energies / (BOLTZMANN * temperature), 1e-8)
    if beads is None:
        return float(np.sum(np.log(0.5 * ratio / np.sinh(0.5 * ratio))))
    ring = ring_energies(beads)[1:, None]
    return float(-0.5 * np.sum(np.log1p((ratio / ring) ** 2)))
