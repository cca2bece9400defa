"""Finds the labels of one structure where ASE puts them, and checks them and the structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from forcemap.fitter.data.comment_line import PRIVATE_PREFIX
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.frame_sigmas import FrameSigmas
from forcemap.fitter.data.label_keys import LabelNames, numbers_of
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["FrameError", "FramePlace", "Labels", "NotFiniteError"]

Array = NDArray[np.float64]

DEFAULT_CONFIG_TYPE = "default"

Value = TypeVar("Value")

Forgive = Callable[[str, "FrameError"], None]
"""Takes the name of a label and what is wrong with it."""


class FrameError(ForcemapError):
    """A fault of one frame: its number in the file, and the fault without the place."""

    def __init__(self, file: str, index: int, fault: str) -> None:
        super().__init__(f"{file}: frame {index} (counted from 0): {fault}")
        self.file = file
        self.index = index
        self.fault = fault


class NotFiniteError(FrameError):
    """A number that is NaN or infinite."""


@dataclass(frozen=True)
class FramePlace:
    """A frame of a file, for messages."""

    file: str
    index: int

    def fail(self, text: str) -> NoReturn:
        """Raise ForcemapError with file and frame before `text`."""
        raise FrameError(self.file, self.index, text)

    def numbers(self, value: Any, what: str, shapes: Sequence[tuple[int, ...]]) -> Array:
        """`value` as finite floats of one of `shapes`."""
        try:
            array = np.asarray(numbers_of(value), dtype=np.float64)
        except (TypeError, ValueError):
            self.fail(f"{what} is {str(value)[:60]!r}, which is not numeric")
        if array.shape not in shapes:
            expected = " or ".join(str(shape) if shape else "one number" for shape in shapes)
            self.fail(f"{what} has the shape {array.shape}, expected {expected}")
        if not np.isfinite(array).all():
            found = array[~np.isfinite(array)].flat[0]
            which = ""
            if array.ndim == 2 and array.shape != (3, 3):
                which = f" of atom {int(np.argwhere(~np.isfinite(array))[0][0])}"
            raise NotFiniteError(
                self.file,
                self.index,
                f"{what}{which} is {found}; correct or remove the label, or leave the frame out",
            )
        return array


def _is_spacious(cell: Array, lengths: Array) -> bool:
    """Whether unit vectors along the cell's span a volume that is certainly more than none.

    Cheaper than their singular values, which decide for cells that are flatter.
    """
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    x, y, z = lengths.tolist()
    return bool(abs(volume) > 1e-3 * x * y * z)


class Labels:
    """Finds and checks the labels of one structure."""

    def __init__(self, structure: Any, names: LabelNames, place: FramePlace) -> None:
        """`structure`: a RawStructure, or ASE's Atoms."""
        self.atoms = RawStructure.of(structure)
        self.names = names
        self.place = place
        self.has_stress = any(
            self._find(also, self.atoms.info) is not None for also in (names.stress, names.virial)
        )

    def _find(self, names: Sequence[str], also: Mapping[str, Any]) -> tuple[str, Any] | None:
        """The first of `names` that the frame has, with its value."""
        for key in names:
            for holder in (self.atoms.results, also):
                for name in (key, PRIVATE_PREFIX + key):
                    if holder.get(name) is not None:
                        return key, holder[name]
        return None

    def frame(self, sigmas: FrameSigmas, forgive: Forgive | None = None) -> Frame:
        """The frame; raises FrameError for any fault of it.

        `forgive` is called with faults of labels, where it is given; the frame lacks them then.
        """
        atoms, n = self.atoms, len(self.atoms)

        def label(name: str, read: Callable[[], Value]) -> Value | None:
            try:
                return read()
            except FrameError as error:
                if forgive is None:
                    raise
                forgive(name, error)
                return None

        positions = self.place.numbers(atoms.positions, "a position", [(n, 3)])
        if n and (atoms.numbers.min() <= 0 or atoms.numbers.max() >= len(SYMBOLS)):
            self.place.fail("has an atom that is no element (X)")
        cell, pbc = self._cell()
        config_type = self._config_type()
        mask = label("force_mask", lambda: sigmas.mask(atoms, self.place))
        return Frame(
            numbers=np.array(atoms.numbers, dtype=np.int32),
            positions=positions,
            cell=cell,
            pbc=pbc,
            energy=label("energy", self._energy),
            forces=label("forces", lambda: self._forces(mask)),
            stress=label("stress", lambda: self._stress(cell)) if np.all(pbc) else None,
            config_type=config_type,
            sigma=label("sigma", lambda: sigmas.of(atoms, config_type, self.place))
            or sigmas.of_settings().of(atoms, config_type, self.place),
            source=self.place.file,
            index=self.place.index,
            force_mask=mask,
        )

    def _config_type(self) -> str:
        for key in self.names.spelled.get("config_type", ()):
            if key in self.atoms.info:
                return str(self.atoms.info[key])
        return DEFAULT_CONFIG_TYPE

    def _cell(self) -> tuple[Array, NDArray[np.bool_]]:
        cell = self.place.numbers(self.atoms.cell, "the cell", [(3, 3)])
        pbc = np.array(self.atoms.pbc, dtype=bool)
        lengths = np.linalg.norm(cell, axis=1)
        for axis in np.flatnonzero(pbc & (lengths == 0.0)):
            self.place.fail(
                f"is periodic along axis {axis + 1} but has no cell vector there; give a Lattice, "
                'or pbc="F F F"'
            )
        if np.all(pbc) and _is_spacious(cell, lengths):
            return cell, pbc
        vectors = cell[pbc] / lengths[pbc, None]
        if len(vectors) and np.linalg.svd(vectors, compute_uv=False)[-1] < 1e-6:
            self.place.fail(
                f"its cell {cell.tolist()} has no volume: the periodic vectors are not independent"
            )
        return cell, pbc

    def _energy(self) -> float | None:
        found = self._find(self.names.energy, self.atoms.info)
        if found is None:
            return None
        return float(self.place.numbers(found[1], f'the energy ("{found[0]}")', [()]))

    def _forces(self, mask: NDArray[np.bool_] | None) -> Array | None:
        found = self._find(self.names.forces, self.atoms.arrays)
        if found is None:
            return None
        name, value = found
        if mask is not None and np.shape(value) == (len(mask), 3):
            # What is masked may be anything, such as nan.
            value = np.where(mask[:, None], np.nan_to_num(np.asarray(value, dtype=float)), value)
        return self.place.numbers(value, f'the force ("{name}")', [(len(self.atoms), 3)])

    def _stress(self, cell: Array) -> Array | None:
        """Stress from `stress` or from `virial`; both must agree where both are given."""
        stress = self._tensor(self.names.stress, voigt=True)
        virial = self._tensor(self.names.virial, voigt=False)
        if virial is None:
            return stress
        from_virial = -virial / abs(float(np.linalg.det(cell)))
        if stress is None:
            return from_virial
        difference = float(np.abs(stress - from_virial).max())
        if difference > 1e-4 + 0.01 * float(np.abs(stress).max()):
            self.place.fail(
                f'"{self.names.stress[0]}" and "{self.names.virial[0]}" differ by {difference:.3g} '
                "eV/Å³, where virial (eV) = -volume * stress (eV/Å³, ASE's sign) should hold; correct "
                "one, or rename it under data: keys: in the settings so that only the other is read"
            )
        return stress

    def _tensor(self, names: Sequence[str], *, voigt: bool) -> Array | None:
        found = self._find(names, self.atoms.info)
        if found is None:
            return None
        key, value = found
        shapes: list[tuple[int, ...]] = [(3, 3), (9,)] + ([(6,)] if voigt else [])
        tensor = self.place.numbers(value, f'the tensor "{key}"', shapes)
        if tensor.shape == (6,):
            return tensor[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
        tensor = tensor.reshape(3, 3)
        asymmetry = float(np.abs(tensor - tensor.T).max())
        if asymmetry > 0.01 * float(np.abs(tensor).max()) + 1e-5:
            self.place.fail(
                f'the tensor "{key}" is not symmetric: components differ by {asymmetry:.3g}; '
                "it should stand in Cartesian axes, as nine numbers xx xy xz yx yy yz zx zy zz"
            )
        return np.asarray(0.5 * (tensor + tensor.T))
