"""The sigmas and the mask that a frame holds: this program's own, and those that gap_fit reads.

gap_fit's are written by wfl and autoplex, too. Their `energy_sigma` (eV) and `virial_sigma` (eV) are of
the whole frame, not per atom; `force_mask` is true for atoms whose forces are left out of the fit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from forcemap.fitter.data.frame import FrameSigma
from forcemap.fitter.data.settings import STRESS_SIGMA, SigmaSettings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from forcemap.fitter.data.labels import FramePlace

__all__ = ["FrameSigmas", "warn_of_unread"]

Array = NDArray[np.float64]

OWN = {"energy": "sigma_energy", "force": "sigma_force", "stress": "sigma_stress"}
GAP = {
    "energy": ("energy_sigma",),
    "force": ("force_component_sigma", "force_atom_sigma", "force_sigma"),
    "stress": ("virial_component_sigma", "virial_sigma"),
}
"""gap_fit's names; the first that a frame has counts, as there."""

MASK = "force_mask"

_SIGMA_LIKE = re.compile(
    r"(sigma_(energy|forces?|stress|virial)|(energy|forces?|stress|virial)s?(_\w+)?_sigma)", re.I
)
_WEIGHT = re.compile(r"(config_)?((energy|forces?|stress|virials?)_)?weights?", re.I)


class FrameSigmas:
    """Reads the sigmas and the mask of the frames of one file."""

    def __init__(self, settings: SigmaSettings, spelled: Mapping[str, Sequence[str]]) -> None:
        """`spelled`: the keys of the file by their lower case."""
        self._settings = settings
        self._spelled = spelled

    def of(self, atoms: Any, config_type: str, place: FramePlace) -> FrameSigma:
        """The sigmas of a frame: its own, else its config_type's, else the settings'."""
        override = self._settings.config_type.get(config_type)
        values: dict[str, Any] = {}
        names = []
        for label in OWN:
            given = self._given(atoms, label, place)
            if given is not None:
                values[label] = given[1]
                names.append(given[0])
                continue
            special = getattr(override, label) if override is not None else None
            values[label] = special or getattr(self._settings, label) or STRESS_SIGMA
        return FrameSigma(**values, names=tuple(names))

    def of_settings(self) -> FrameSigmas:
        """Reads nothing from the frames: their sigmas are the settings'."""
        return FrameSigmas(self._settings, {})

    def mask(self, atoms: Any, place: FramePlace) -> NDArray[np.bool_] | None:
        """(n,) true for the atoms whose forces are no labels; None if all are."""
        value = self._value(atoms.arrays, MASK)
        if value is None:
            return None
        numbers = place.numbers(value, f'"{MASK}"', [(len(atoms),)])
        if not np.isin(numbers, (0.0, 1.0)).all():
            place.fail(
                f'"{MASK}" holds {numbers[~np.isin(numbers, (0.0, 1.0))][0]:g}, expected T or F'
            )
        return np.asarray(numbers != 0.0)

    def _value(self, holder: Mapping[str, Any], name: str) -> Any:
        for key in self._spelled.get(name, ()):
            if holder.get(key) is not None:
                return holder[key]
        return None

    def _given(self, atoms: Any, label: str, place: FramePlace) -> tuple[str, float | Array] | None:
        """The frame's own sigma of one label, after its name, in this program's units."""
        n = len(atoms)
        for name in (OWN[label], *GAP[label]):
            of_atoms = name in ("force_component_sigma", "force_atom_sigma")
            value = self._value(atoms.arrays if of_atoms else atoms.info, name)
            if value is None:
                continue
            shape = {
                "force_component_sigma": (n, 3),
                "force_atom_sigma": (n,),
                "virial_component_sigma": (3, 3),
            }.get(name, ())
            sigma = self._checked(value, name, shape, place)
            if name == "force_atom_sigma":
                sigma = np.repeat(sigma[:, None], 3, axis=1)
            elif name == "energy_sigma":
                sigma = sigma / float(np.sqrt(n))
            elif name.startswith("virial"):
                volume = abs(float(np.linalg.det(np.asarray(atoms.cell))))
                if volume == 0.0:
                    return None  # a frame without a stress
                sigma = sigma / volume
            return name, sigma
        return None

    def _checked(self, value: Any, name: str, shape: tuple[int, ...], place: FramePlace) -> Any:
        shapes = [shape, (9,)] if shape == (3, 3) else [shape]
        array = place.numbers(value, f'"{name}"', shapes).reshape(shape)
        if array.min() <= 0.0:
            place.fail(f'"{name}" is {array.min():g}, expected more than 0')
        return array if shape else float(array)


def warn_of_unread(
    path: str, structures: Sequence[Any], spelled: Mapping[str, Sequence[str]]
) -> None:
    """Warn (UserWarning) about weights and sigmas of a file that are not read."""
    known = {*OWN.values(), *(name for names in GAP.values() for name in names)}
    sigmas = [
        keys[0] for low, keys in spelled.items() if _SIGMA_LIKE.fullmatch(low) and low not in known
    ]
    weights = [keys[0] for low, keys in spelled.items() if _WEIGHT.fullmatch(low)]
    weights = [key for key in weights if any(_not_one(atoms, key) for atoms in structures)]
    if sigmas or weights:
        verb = "is" if len(sigmas) + len(weights) == 1 else "are"
        hint = ": a weight w is a sigma divided by the square root of w" if weights else ""
        warnings.warn(
            f"{path}: {', '.join([*sigmas, *weights])} {verb} not read; the sigmas of a frame are "
            f"sigma_energy (eV per atom), sigma_force (eV/Å) and sigma_stress (eV/Å³){hint}",
            stacklevel=3,
        )


def _not_one(atoms: Any, key: str) -> bool:
    """Whether a frame has a weight that changes anything."""
    value = atoms.info.get(key, atoms.arrays.get(key))
    try:
        return value is not None and not np.all(np.asarray(value, dtype=np.float64) == 1.0)
    except (TypeError, ValueError):
        return True
