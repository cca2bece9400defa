"""A fit beside gap_fit: wall time, processor time, memory and test errors, in one run.

Both fit a SOAP term of n_max 8, l_max 8, cutoff 5.4 Å and 1,000 sparse points (the published silicon
GAP's settings: atom_sigma 0.5 Å, zeta 4; ours with zeta 2, whose map is exact) to the same frames, one
after the other, each in a process of its own. gap_fit comes with the package quippy-ase; it needs 10 GB
and some ten minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read, write
from fits import Cost, fit_by_command, timed
from forcemap.potentials.runs.programs import find_program
from published_sets import add_silicon_option, silicon_folder
from text_table import text_table

CUTOFF, N_MAX, L_MAX, ATOM_SIGMA = 5.4, 8, 8, 0.5
ISOLATED = -0.79
"""eV; the energy of a silicon atom that the published GAP counts from."""


def forcemap_fit(data: Path, folder: Path, points: int, threads: int) -> tuple[Cost, list[float]]:
    """Our fit, map and report; errors on the test frames."""
    soap = {"kind": "soap", "cutoff": CUTOFF, "n_max": N_MAX, "l_max": L_MAX}
    settings = {
        "data": {"train": str(data / "train.xyz"), "test": str(data / "test.xyz")},
        "terms": [soap | {"n_sparse": points}],
    }
    fit = fit_by_command("forcemap", settings, folder, threads)
    test = fit.report["test"]
    return fit.cost, [test["energy_rmse_mev_per_atom"], test["force_rmse_ev_per_a"]]


def gap_fit(data: Path, folder: Path, points: int, threads: int) -> tuple[Cost, list[float]]:
    """gap_fit with the settings of the published silicon GAP; errors by quippy."""
    frames = read(data / "train.xyz", ":")
    for atoms in frames:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        stress = atoms.get_stress(voigt=False)
        atoms.calc = None
        atoms.info["dft_energy"] = energy
        atoms.arrays["dft_forces"] = forces
        atoms.info["dft_virial"] = -stress * atoms.get_volume()
    write(folder / "train.xyz", frames)
    soap = (
        f"soap l_max={L_MAX} n_max={N_MAX} cutoff={CUTOFF} cutoff_transition_width=0.5 "
        f"atom_sigma={ATOM_SIGMA} zeta=4 delta=1.0 covariance_type=dot_product "
        f"n_sparse={points} sparse_method=cur_points add_species=T"
    )
    command = [
        find_program("gap_fit", "pip install quippy-ase"),
        f"atoms_filename={folder / 'train.xyz'}",
        f"gap={{{soap}}}",
        "default_sigma={0.01 0.05 0.01 1.0}",
        f"e0={{Si:{ISOLATED}}}",
        *("energy_parameter_name=dft_energy", "force_parameter_name=dft_forces"),
        *("virial_parameter_name=dft_virial", "sparse_jitter=1e-8"),
        *("do_copy_at_file=F", "sparse_separate_file=T"),
        f"gp_file={folder / 'gap.xml'}",
    ]
    print("gap_fit ...", file=sys.stderr, flush=True)
    cost, _ = timed("gap_fit", command, folder, {"OMP_NUM_THREADS": str(threads)})
    from quippy.potential import Potential

    potential = Potential("", param_filename=str(folder / "gap.xml"))
    energies, forces = [], []
    for atoms in read(data / "test.xyz", ":"):
        energy, force = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = potential
        energies.append((atoms.get_potential_energy() - energy) / len(atoms))
        forces.append((atoms.get_forces() - force).ravel())
    return cost, [
        1000.0 * float(np.sqrt(np.mean(np.square(energies)))),
        float(np.sqrt(np.mean(np.square(np.concatenate(forces))))),
    ]


def main() -> None:
    """Fit by both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_silicon_option(parser)
    parser.add_argument("--points", type=int, default=1000, help="sparse points  [default: 1000]")
    parser.add_argument("--threads", type=int, default=1, help="of both  [default: 1]")
    parser.add_argument("--no-gap", action="store_true", help="leave gap_fit out")
    options = parser.parse_args()
    data = silicon_folder(parser, options)
    fits = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, fit in (("forcemap", forcemap_fit), ("gap_fit", gap_fit)):
            if name == "gap_fit" and options.no_gap:
                continue
            fits[name] = fit(data, Path(scratch), options.points, options.threads)
    rows = [
        [
            *(name, f"{cost.wall:.1f}", f"{cost.processor:.1f}", f"{cost.memory:.0f}"),
            *(f"{errors[0]:.2f}", f"{errors[1]:.4f}"),
        ]
        for name, (cost, errors) in fits.items()
    ]
    print(text_table(["fit", "wall s", "processor s", "peak MB", "E RMSE", "F RMSE"], rows))
    if len(fits) == 2:
        ours, theirs = fits["forcemap"][0], fits["gap_fit"][0]
        for label, a, b in zip(("wall", "processor", "memory"), ours, theirs, strict=True):
            print(f"{label}: 1/{b / a:.1f} of gap_fit's")


if __name__ == "__main__":
    main()
