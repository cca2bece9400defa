"""A potential-energy surface for i-PI's own programs.

    i-pi-driver-py -u -a ADDRESS -m custom -P FILE -o potential=POTENTIAL,template=init.xyz

    <ffdirect name='forcemap'>
      <pes> custom </pes>
      <pes_path> FILE </pes_path>
      <parameters> {potential: POTENTIAL, template: init.xyz} </parameters>
    </ffdirect>

FILE is this file; ``forcemap info --ipi-pes`` prints its path. Further parameters: skin (Å, 0.5),
threads (1), trust_template (False; True: i-PI's first structure is not compared with the
template), committee (0; so many members are made from the potential's draws and are among the
extras) and grade (False; True: so are the atoms' extrapolation grades). i-PI 3.3.1 cannot write
checkpoints of an ``<ffdirect>`` within ``<ffcommittee>``: there, take an ``<ffsocket>`` and ``forcemap
driver``. i-PI loads the file by its path, outside its package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from forcemap.ipi_driver.evaluation import BeadEvaluator, Extras
from forcemap.ipi_driver.protocol import AtomCountError, Batch
from forcemap.ipi_driver.template import read_template
from forcemap.potentials import load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import install
from numpy.typing import NDArray

try:
    from ipi.pes.dummy import Dummy_driver
except ModuleNotFoundError:
    raise ForcemapError(
        f"{__file__} is for i-PI's own programs, and i-PI is not installed here: {install('ipi')}"
    ) from None

__DRIVER_NAME__ = "forcemap"
__DRIVER_CLASS__ = "ForcemapDriver"

Structure = tuple[float, NDArray[np.float64], NDArray[np.float64], str]


class ForcemapDriver(Dummy_driver):  # type: ignore[misc]
    """Evaluates a mapped potential; arguments as in the module's text."""

    def __init__(
        self,
        potential: str,
        template: str,
        skin: float = 0.5,
        threads: int = 1,
        trust_template: bool | str = False,
        committee: int = 0,
        grade: bool | str = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Take the parameters of i-PI's input; further ones that i-PI adds go to its base class."""
        self._parameters = (str(potential), str(template), float(skin), int(threads))
        self._trusted = _is_true(trust_template)
        self._extras = Extras(int(committee) or None, _is_true(grade))
        super().__init__(*args, **kwargs)

    def check_parameters(self) -> None:
        """Load the potential and the template; i-PI calls it once.

        Raises:
            ForcemapError: one of them cannot be used.
        """
        potential, template, skin, threads = self._parameters
        loaded = load(potential)
        structure = read_template(template, loaded.species, trusted=self._trusted)
        self._evaluator = BeadEvaluator(loaded, structure, skin, threads, self._extras)

    def compute_structure(self, cell: NDArray[np.float64], pos: NDArray[np.float64]) -> Structure:
        """Evaluate one structure.

        Args:
            cell: (3, 3) bohr, lattice vectors in the columns.
            pos: (n, 3) bohr.

        Returns:
            Energy (hartree), forces (n, 3) (hartree/bohr), virial (3, 3) (hartree), and the extras
            as JSON, empty if none were asked for.

        Raises:
            ForcemapError: another number of atoms than the template's, or a structure that cannot
                be evaluated.
        """
        return self._compute_all([cell], [pos])[0]

    def compute(
        self,
        cell: NDArray[np.float64] | list[NDArray[np.float64]],
        pos: NDArray[np.float64] | list[NDArray[np.float64]],
    ) -> Structure | list[Structure]:
        """Evaluate a structure, or a list of structures; the answer is a list, too, then."""
        if isinstance(cell, list) and isinstance(pos, list):
            return self._compute_all(cell, pos)
        return self.compute_structure(np.asarray(cell), np.asarray(pos))

    def _compute_all(
        self, cells: list[NDArray[np.float64]], positions: list[NDArray[np.float64]]
    ) -> list[Structure]:
        if len(cells) != len(positions):
            raise ValueError(f"{len(cells)} cells for {len(positions)} structures")
        structures = [np.asarray(q, dtype=np.float64).reshape(-1, 3) for q in positions]
        expected = self._evaluator.n_atoms
        for structure in structures:
            if len(structure) != expected:
                raise AtomCountError(
                    f"i-PI's structure has {len(structure)} atoms, the template {expected}"
                )
        # New arrays at every call: i-PI keeps them, and overwrites parts of the virial.
        batch = Batch.empty(np.array(cells, dtype=np.float64).reshape(-1, 3, 3), expected)
        batch.positions[:] = np.reshape(structures, batch.positions.shape)
        extras = self._evaluator.evaluate(batch)
        answers = zip(batch.energies.tolist(), batch.forces, batch.virials, extras, strict=True)
        return list(answers)


def _is_true(word: bool | str) -> bool:
    return str(word).lower() in ("true", "1", "yes")
