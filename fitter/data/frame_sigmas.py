"""The sigmas and the mask that a frame holds: this program's own, and those that gap_fit reads.

gap_fit's are written by wfl, autoplex and hybrid_md, too. Their `energy_sigma` (eV) and `virial_sigma`
(eV) are of the whole frame, not per atom ("always absolute", says gap_fit's help of
kernel_regularisation_parameter_name); `force_mask` is true for atoms whose forces are left out of the
fit. With parameter_name_prefix=REF_ gap_fit reads REF_force_mask and energy_REF_sigma.
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

__all__ = ["FrameSigmas", "prefixed_names", "warn_of_unread"]

Array = NDArray[np.float64]

OWN = {"energy": "sigma_energy", "force": "sigma_force", "stress": "sigma_stress"}
GAP = {
    "energy": ("energy_sigma",),
    "force": ("force_component_sigma", "force_atom_sigma", "force_sigma"),
    "stress": ("virial_component_sigma", "virial_sigma"),
}
"""gap_fit's names; the first that a frame has counts, as there."""

MASK = "force_mask"

_QUANTITY = re.compile(
    r"energy|energies|forces?|stress(es)?|virials?|hessians?|property|dipoles?", re.IGNORECASE
)


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
        found = self._value(atoms.arrays, MASK)
        if found is None:
            return None
        key, value = found
        numbers = place.numbers(value, f'"{key}"', [(len(atoms),)])
        if not np.isin(numbers, (0.0, 1.0)).all():
            place.fail(
                f'"{key}" holds {numbers[~np.isin(numbers, (0.0, 1.0))][0]:g}, expected T or F'
            )
        return np.asarray(numbers != 0.0)

    def _value(self, holder: Mapping[str, Any], name: str) -> tuple[str, Any] | None:
        for key in self._spelled.get(name, ()):
            if holder.get(key) is not None:
                return key, holder[key]
        return None

    def _given(self, atoms: Any, label: str, place: FramePlace) -> tuple[str, float | Array] | None:
        """The frame's own sigma of one label, after its key, in this program's units."""
        n = len(atoms)
        for name in (OWN[label], *GAP[label]):
            of_atoms = name in ("force_component_sigma", "force_atom_sigma")
            found = self._value(atoms.arrays if of_atoms else atoms.info, name)
            if found is None:
                continue
            key, value = found
            shape = {
                "force_component_sigma": (n, 3),
                "force_atom_sigma": (n,),
                "virial_component_sigma": (3, 3),
            }.get(name, ())
            sigma = self._checked(value, key, shape, place)
            if name == "force_atom_sigma":
                sigma = np.repeat(sigma[:, None], 3, axis=1)
            elif name == "energy_sigma":
                sigma = sigma / float(np.sqrt(n))
            elif name.startswith("virial"):
                volume = abs(float(np.linalg.det(np.asarray(atoms.cell))))
                if volume == 0.0:
                    return None  # a frame without a stress
                sigma = sigma / volume
            return key, sigma
        return None

    def _checked(self, value: Any, key: str, shape: tuple[int, ...], place: FramePlace) -> Any:
        shapes = [shape, (9,)] if shape == (3, 3) else [shape]
        array = place.numbers(value, f'"{key}"', shapes).reshape(shape)
        if array.min() <= 0.0:
            place.fail(f'"{key}" is {array.min():g}, expected more than 0')
        return array if shape else float(array)


def prefixed_names(
    spelled: Mapping[str, Sequence[str]], prefixes: Sequence[str]
) -> dict[str, list[str]]:
    """By each name that no key of a file has, those keys that are this name with a usual prefix."""
    found: dict[str, list[str]] = {}
    for name in (MASK, *OWN.values(), *(name for names in GAP.values() for name in names)):
        front, _, last = name.rpartition("_")
        known = [f"{p}{dash}{name}".lower() for p in prefixes for dash in "_-."]
        if last == "sigma":
            known += [f"{front}_{p}{dash}{last}".lower() for p in prefixes for dash in "_-."]
        keys = [key for low in known for key in spelled.get(low, ())]
        if keys and name not in spelled:
            found[name] = keys
    return found


def warn_of_unread(
    path: str, structures: Sequence[Any], spelled: Mapping[str, Sequence[str]]
) -> None:
    """Warn (UserWarning) about weights, sigmas and masks of a file that are not read."""
    names = (MASK, *OWN.values(), *(name for names in GAP.values() for name in names))
    read = {key for name in names for key in spelled.get(name, ())}
    others = [keys[0] for keys in spelled.values() if read.isdisjoint(keys)]
    sigmas = [key for key in others if _is_like(key, "sigma")]
    masks = [key for key in others if _is_like(key, "mask")]
    values = {key: _values(structures, key) for key in others if _is_like(key, "weight")}
    weights = {key: found for key, found in values.items() if not np.all(found == 1.0)}
    unread = [*sigmas, *weights, *masks]
    if not unread:
        return
    hints = []
    if sigmas or weights:
        weigh = ": a weight w is a sigma divided by the square root of w" if weights else ""
        hints.append(
            "the sigmas of a frame are sigma_energy (eV per atom), sigma_force (eV/Å) and "
            f"sigma_stress (eV/Å³){weigh}"
        )
    zero = [key for key, found in weights.items() if np.any(found == 0.0)]
    if zero:
        hints.append(f"where {' or '.join(zero)} is 0, remove the label that should not count")
    if masks:
        hints.append(f"the mask of a frame is {MASK}, T for atoms whose forces are left out")
    verb = "is" if len(unread) == 1 else "are"
    warnings.warn(f"{path}: {', '.join(unread)} {verb} not read; {'; '.join(hints)}", stacklevel=3)


def _is_like(key: str, kind: str) -> bool:
    """Whether a key may be a "sigma", "mask" or "weight", by the words in it."""
    words = re.split(r"[_.\-]", key.lower())
    if not {kind, f"{kind}s"}.intersection(words) or not words[0]:
        return False
    whole = kind == "weight" and ("config" in words or len(words) == 1)
    return whole or any(_QUANTITY.fullmatch(word) for word in words)


def _values(structures: Sequence[Any], key: str) -> NDArray[np.float64]:
    """All values of a key; nan for what is not numeric."""
    found = []
    for structure in structures:
        value = structure.info.get(key, structure.arrays.get(key))
        if value is not None:
            try:
                found.append(np.asarray(value, dtype=np.float64).ravel())
            except (TypeError, ValueError):
                found.append(np.array([np.nan]))
    return np.concatenate(found) if found else np.ones(0)
