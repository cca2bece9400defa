"""Which keys of a file hold its labels: those that the settings name, or the usual names.

All frames' keys are surveyed first, and each label is decided once for the whole file. A label that the
settings do not name is read only where its meaning is certain: under its own name in upper or lower
case, or under the one usual name, such as REF_energy, that the file has in its place. A warning names
everything else that may be a label.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from forcemap.fitter.data.comment_line import PRIVATE_PREFIX
from forcemap.fitter.data.frame_sigmas import prefixed_names
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.fitter.data.settings import Keys
from forcemap.potentials.errors import ForcemapError

__all__ = ["KeySurvey", "LabelNames", "numbers_of", "read_keys"]

CHOOSE = "data: keys: in the settings (or --keys)"
NAME_IT = "data: keys: in the settings names what to read, or --keys"
READ_ANOTHER = "data: keys: in the settings names another, or --keys"

USUAL_PREFIXES = ("REF", "DFT", "QM", "reference")
OWN_NAMES = {
    "energy": ("energy",),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial",),
}
"""Names of the quantities that are read without a message, in lower case."""

FREE_ENERGY = "free_energy"
"""ASE's name of the energy that the forces are the gradient of, where electrons are smeared out."""

BASES = OWN_NAMES | {"virial": ("virial", "virials"), FREE_ENERGY: (FREE_ENERGY,)}
SAME_ENERGY = 1e-5
"""eV; energies that are closer differ by rounding in the file."""

LABELS = {"energy": ("energy",), "forces": ("forces",), "stress": ("stress", "virial")}
"""The labels with the quantities that give them."""

WORDS = {"energy": "energy label", "forces": "force label", "stress": "stress"}
"""What the labels are called in warnings."""

SHAPES = {
    "energy": "number",
    "forces": "vectors",
    "stress": "tensor",
    "virial": "tensor",
    FREE_ENERGY: "number",
}

_PER_ATOM = {"forces", "stresses", "energies", "magmoms", "charges"}
"""ASE's results that have a value for each atom."""

_NO_LABEL = re.compile(r"sigma|weight|mask|std|_var|error|rmse|mae\b", re.IGNORECASE)
_LIKE = {
    "energy": re.compile(r"ener|^e_?(tot|0|dft|ref)?$|etot|toten", re.IGNORECASE),
    "forces": re.compile(r"forc|frc|grad", re.IGNORECASE),
    "stress": re.compile(r"stress|virial|press", re.IGNORECASE),
}
_PARTS = re.compile(r"kin|hull|fermi|zero|zpe|vdw|disp|per_?atom|form|atomi[sz]|cohes|bind", re.I)
"""Words in the names of energies that are parts of the total energy, or derived from it."""

_NAMED = {
    "energy": re.compile("energy", re.I),
    "forces": re.compile("force", re.I),
    "stress": re.compile("stress|virial", re.I),
}

_OTHERS = {
    "energy": re.compile(
        r"temp|time|step|index|number|volume|dens|press|charge|spin|^t$|^id$", re.I
    ),
    "forces": re.compile(r"vel|mom|pos|disp|coord|frac|scaled|mag|spin|dip|unwrapped|color", re.I),
    "stress": re.compile(
        r"cell|latt|strain|born|polar|quad|inert|dielec|alpha|deform|rotat|box", re.I
    ),
}
"""Names of other quantities of the same shape, which no message mentions."""


@dataclass(frozen=True)
class LabelNames:
    """The names to look for in the frames of one file; the first that a frame has counts.

    `spelled` gives keys as the file spells them, by their lower case.
    """

    energy: tuple[str, ...]
    forces: tuple[str, ...]
    stress: tuple[str, ...]
    virial: tuple[str, ...]
    spelled: Mapping[str, Sequence[str]] = field(default_factory=dict)


def numbers_of(value: Any) -> Any:
    """`value`, or the words of a text that lists numbers with commas or brackets between them."""
    return re.sub(r"[\[\](),;]", " ", value).split() if isinstance(value, str) else value


def _shape_of(value: Any, per_atom: bool) -> str:
    """What a value may be: "number", "tensor" (of the cell), "vectors" (of atoms), or "other"."""
    if isinstance(value, str):
        try:
            value = np.array(numbers_of(value), dtype=np.float64)
        except ValueError:
            return "other"
    if isinstance(value, bool | np.bool_):
        return "other"
    if not isinstance(value, np.ndarray):
        if isinstance(value, float | int | np.number):
            return "number"
        try:
            value = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            return "other"
    if per_atom:
        return "vectors" if value.ndim == 2 and value.shape[1] == 3 else "other"
    if value.dtype.kind not in "fiu":
        return "other"
    if value.ndim == 0:
        return "number"
    return "tensor" if value.shape in ((9,), (3, 3), (6,)) else "other"


class KeySurvey:
    """The keys of a file's frames: which frames have them, and what they may be.

    Attributes:
        places: by key, the numbers of the frames (in the file) that have it, in their order.
        shapes: by key, what its values may be.
        several: whether some frame has more than one atom.
    """

    def __init__(self, structures: Iterable[tuple[int, Any]]) -> None:
        """`structures`: RawStructure, or ASE's Atoms, with their numbers in the file."""
        self.places: dict[str, list[int]] = {}
        self.shapes: dict[str, set[str]] = {}
        self.indices: list[int] = []
        self.several = False
        self.periodic = False
        for index, structure in structures:
            raw = RawStructure.of(structure)
            self.indices.append(index)
            self.several |= len(raw) > 1
            self.periodic |= bool(raw.pbc.all())
            for key, value in (*raw.results.items(), *raw.info.items()):
                self._add(str(key).removeprefix(PRIVATE_PREFIX), value, key in _PER_ATOM, index)
            for key, value in raw.arrays.items():
                self._add(key, value, True, index)
        self.spelled: dict[str, list[str]] = {}
        for key in self.places:
            self.spelled.setdefault(key.lower(), []).append(key)

    def _add(self, key: str, value: Any, per_atom: bool, index: int) -> None:
        if value is not None:
            self.places.setdefault(key, []).append(index)
            self.shapes.setdefault(key, set()).add(_shape_of(value, per_atom))

    def spellings(self, *names: str) -> tuple[str, ...]:
        """The keys of the file that are one of `names`, in any case; `names` themselves first."""
        exact = [name for name in names if name in self.places]
        others = [key for name in names for key in self.spelled.get(name.lower(), ())]
        return tuple(dict.fromkeys([*exact, *others]))

    def own_names(self, asked: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
        """The keys that are `asked`, or its `usual` names, in any case.

        If some frame has two of these keys, only the first of them is read.
        """
        names: list[str] = []
        for key in self.spellings(*((asked,) if asked else usual)):
            if self.frames_with(names).isdisjoint(self.places[key]):
                names.append(key)
        return tuple(names)

    def frames_with(self, keys: Iterable[str]) -> set[int]:
        """Numbers of the frames that have one of `keys`."""
        return {index for key in keys for index in self.places.get(key, ())}

    def shaped(self, shape: str) -> list[str]:
        """Keys whose values all have a shape and that are no errors or weights."""
        return [k for k, s in self.shapes.items() if s == {shape} and not _NO_LABEL.search(k)]

    def usual(self, quantity: str) -> list[str]:
        """Keys that certainly are this quantity under one of the usual prefixes, or virials."""
        names = {f"{p}{dash}{b}" for p in USUAL_PREFIXES for dash in "_-." for b in BASES[quantity]}
        known = {name.lower() for name in (*names, *BASES[quantity])}
        return [key for key in self.shaped(SHAPES[quantity]) if key.lower() in known]


@dataclass
class _Decisions:
    """The decisions about one file, label by label."""

    path: str
    survey: KeySurvey
    keys: Keys
    strict: bool
    warnings: list[str] = field(default_factory=list)

    def names_of(self, label: str) -> dict[str, tuple[str, ...]]:
        """Names to read for each quantity of a label."""
        survey = self.survey
        asked = {q: getattr(self.keys, q) for q in LABELS[label]}
        named = {name.lower() for name in asked.values() if name}
        own = {  # a key that the settings name as one quantity is not read as the other, too
            q: survey.own_names(asked[q], tuple(n for n in OWN_NAMES[q] if n not in named))
            for q in LABELS[label]
        }
        explicit = any(asked.values())
        taken = {name for names in own.values() for name in names}
        usual = {q: [key for key in survey.usual(q) if key not in taken] for q in LABELS[label]}
        have = survey.frames_with(name for names in own.values() for name in names)
        if have:
            self._look_for_lost(label, have, [k for keys in usual.values() for k in keys], explicit)
            self._say_spelling(label, own)
            return own
        if label == "energy" and not any(usual.values()):
            usual["energy"] = [k for k in survey.usual(FREE_ENERGY) if k != asked["energy"]]
        if explicit or not any(usual.values()):
            self._warn_of_none(label, asked)
            return own
        return self._one_of(label, usual)

    def _title(self, label: str, asked: Mapping[str, str | None] | None = None) -> str:
        asked = asked or {}
        return " or ".join(f'"{asked.get(q) or q}"' for q in LABELS[label])

    def _example(self, label: str, key: str) -> str:
        of_virial = label == "stress" and key in self.survey.usual("virial")
        return f"{{{'virial' if of_virial else LABELS[label][0]}: {key}}}"

    def _fail_or_warn(self, text: str, fail: bool) -> None:
        if fail:
            raise ForcemapError(f"{self.path}: {text}")
        self.warnings.append(text)

    def _look_for_lost(
        self, label: str, have: set[int], others: Sequence[str], explicit: bool
    ) -> None:
        """Labels under a second name in frames that have none under the first are never meant."""
        survey = self.survey
        free = [*survey.spellings(FREE_ENERGY)] if label == "energy" else []
        free = [key for key in free if key != self.keys.energy]
        lost = {k: [i for i in survey.places[k] if i not in have] for k in (*others, *free)}
        lost = {key: places for key, places in lost.items() if places}
        asked = {q: getattr(self.keys, q) for q in LABELS[label]}
        if lost:
            frames = sorted({index for places in lost.values() for index in places})
            self._fail_or_warn(
                f"{len(frames)} of {len(survey.indices)} frames have no {label} under "
                f"{self._title(label, asked)}; they have {', '.join(lost)} (first: frame {frames[0]}, "
                "counted from 0). One name is read: give the labels of all frames the same, or write "
                f"the name under {CHOOSE}, such as {self._example(label, next(iter(lost)))}, which "
                "leaves the others out",
                fail=self.strict and not explicit,
            )
            return
        self._warn_of_likely_lost(label, have)
        unread = [*others, *self._like(label)] if self.strict else others
        unread = [k for k in dict.fromkeys(unread) if not have.isdisjoint(survey.places[k])]
        if unread and not explicit:
            self.warnings.append(
                f"the {label} {'are' if label == 'forces' else 'is'} read from "
                f"{self._title(label)}; {', '.join(unread)} "
                f"{'is' if len(unread) == 1 else 'are'} not read ({NAME_IT})"
            )

    def _warn_of_likely_lost(self, label: str, have: set[int]) -> None:
        """Keys of uncertain names may be the label, too, if only frames without the label have them."""
        survey = self.survey
        without = set(survey.indices) - have
        if not without or not self.strict:
            return
        only = {k for k in self._candidates(label) if have.isdisjoint(survey.places[k])}
        if only:
            frames = sorted(survey.frames_with(only))
            asked = {q: getattr(self.keys, q) for q in LABELS[label]}
            self.warnings.append(
                f"{len(frames)} of {len(survey.indices)} frames have no {label} under "
                f"{self._title(label, asked)}, so none of them is used; they have "
                f"{', '.join(sorted(only))} (first: frame {frames[0]}, counted from 0). If that is it, "
                "give the labels of all frames one name"
            )

    def _candidates(self, label: str) -> list[str]:
        """Keys that may be a label by their name or, if there is none, by their shape."""
        shaped = self.survey.shaped(SHAPES[LABELS[label][0]])
        like = [key for key in shaped if _LIKE[label].search(key)]
        if like or not self.strict:
            return like
        return [key for key in shaped if not _OTHERS[label].search(key)]

    def _like(self, label: str) -> list[str]:
        """Keys whose names and shapes suggest a label, but are none of the known names."""
        known = {FREE_ENERGY, *(name for q in LABELS[label] for name in OWN_NAMES[q])}
        keys = self.survey.shaped(SHAPES[LABELS[label][0]])
        like = [key for key in keys if _NAMED[label].search(key) and not _PARTS.search(key)]
        return [key for key in like if key.lower() not in known]

    def _say_spelling(self, label: str, own: Mapping[str, tuple[str, ...]]) -> None:
        for quantity, names in own.items():
            expected = getattr(self.keys, quantity)
            known = (expected,) if expected else OWN_NAMES[quantity]
            other = [name for name in names if name not in known]
            if other:
                some = any(name in known for name in names)
                self._say_read(label, f'"{known[0]}"', other, "frames" if some else "file")

    def _say_read(self, label: str, title: str, names: Sequence[str], where: str = "file") -> None:
        of = "some frames have" if where == "frames" else "this file has"
        self.warnings.append(
            f"no {WORDS[label]} under {title}; {of} {' and '.join(names)}, which "
            f"{'is' if len(names) == 1 else 'are'} read ({READ_ANOTHER})"
        )

    def _one_of(self, label: str, usual: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
        """The one usual name of each quantity; an error if there are several to choose from."""
        survey = self.survey
        prefixes = {re.split(r"[_\-.]", k.lower())[0] for keys in usual.values() for k in keys}
        several = any(self._compete(keys) for keys in usual.values())
        if several or (len(prefixes) > 1 and sum(map(bool, usual.values())) > 1):
            counts = ", ".join(
                f"{k} ({len(survey.places[k])} frames)" for keys in usual.values() for k in keys
            )
            example = next(k for keys in usual.values() for k in keys)
            self._fail_or_warn(
                f"no {label} under {self._title(label)}, but under several other names: {counts}. "
                f"Name the one to read under {CHOOSE}, such as {self._example(label, example)}",
                fail=self.strict,
            )
            return {q: () for q in LABELS[label]}
        chosen = [k for keys in usual.values() for k in keys]
        self._say_read(label, self._title(label), chosen)
        self._say_unread(label, chosen)
        return {q: tuple(keys) for q, keys in usual.items()}

    def _compete(self, keys: Sequence[str]) -> bool:
        """Whether keys have different names, or one name in different cases in the same frame."""
        counts = sum(len(self.survey.places[key]) for key in keys)
        return len({key.lower() for key in keys}) > 1 or counts > len(self.survey.frames_with(keys))

    def _say_unread(self, label: str, chosen: Sequence[str]) -> None:
        """Name what else may be the label in the frames that have it under a usual name."""
        have = self.survey.frames_with(chosen)
        free = self.survey.usual(FREE_ENERGY) if label == "energy" else []
        # The free energy with the same prefix is compared with the energy, and said there.
        free = [key for key in free if not any(_is_free(key, of) for of in chosen)]
        others = [key for key in (*self._like(label), *free) if key not in chosen]
        others = [k for k in dict.fromkeys(others) if not have.isdisjoint(self.survey.places[k])]
        others = [k for k in others if not any(_is_free(k, of) for of in chosen)]
        if others and self.strict:
            title = " or ".join(f'"{key}"' for key in chosen)
            self.warnings.append(
                f"the {label} {'are' if label == 'forces' else 'is'} read from {title}; "
                f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not read ({NAME_IT})"
            )

    def _warn_of_none(self, label: str, asked: Mapping[str, str | None]) -> None:
        """Warn about a label that no frame has, and name the keys that may hold it."""
        survey = self.survey
        like = self._candidates(label)
        needed = {"energy": True, "forces": survey.several, "stress": False}[label]
        if (not like and not (needed and self.strict)) or (
            label == "stress" and not survey.periodic
        ):
            return
        has = f"this file has {', '.join(like)}" if like else "nothing in this file may be it"
        self.warnings.append(
            f"no {WORDS[label]} under {self._title(label, asked)}, so none is used; {has} "
            f"({NAME_IT})"
        )

    def with_prefixed_sigmas(self) -> dict[str, list[str]]:
        """The survey's spellings; sigmas and masks with a usual prefix are under their names, too."""
        spelled = dict(self.survey.spelled)
        for name, keys in prefixed_names(spelled, USUAL_PREFIXES).items():
            if not self.strict and name.endswith("sigma"):
                continue  # predictions need none
            if self._compete(keys):
                self._fail_or_warn(
                    f'no "{name}", but under several other names: {", ".join(keys)}; rename the right '
                    f"one to {name}",
                    fail=self.strict,
                )
                continue
            self.warnings.append(
                f'no "{name}"; this file has {" and ".join(keys)}, which '
                f"{'is' if len(keys) == 1 else 'are'} read as that (rename it if it is none)"
            )
            spelled[name] = keys
        return spelled

    def require(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """Raise ForcemapError if a file that has to be labelled has neither energies nor forces."""
        if not self.survey.frames_with(names["energy"] + names["forces"]):
            raise ForcemapError(
                f'{self.path}: no frame has an energy under "{self.keys.energy or "energy"}" or forces '
                f'under "{self.keys.forces or "forces"}". Keys in this file: '
                f"{', '.join(sorted(self.survey.places)) or 'none'}. Name the right ones under data: "
                "keys: in the settings, such as {energy: REF_energy}"
            )

    def say(self) -> None:
        """Warn (UserWarning) about everything that is not read as one might expect."""
        for text in self.warnings:
            warnings.warn(f"{self.path}: {text}", stacklevel=4)


def read_keys(
    path: str, structures: Sequence[tuple[int, Any]], keys: Keys, strict: bool
) -> LabelNames:
    """Decide which keys of one file are the labels.

    Warns (UserWarning) about labels that are not read, or are read under another name than their own.

    Args:
        path: the file, for messages.
        structures: RawStructure, or ASE's Atoms, of the selected frames with their numbers in the file.
        keys: the names that the settings give.
        strict: whether the file has to have labels, as for a fit.

    Raises:
        ForcemapError: there are several candidates for a label, frames have it under different names,
            or (`strict`) there are neither energies nor forces.
    """
    survey = KeySurvey(structures)
    decisions = _Decisions(path, survey, keys, strict)
    chosen: dict[str, tuple[str, ...]] = {}
    for label in LABELS:
        chosen |= decisions.names_of(label)
    if strict:
        decisions.require(chosen)
    names = LabelNames(**chosen, spelled=decisions.with_prefixed_sigmas())
    if keys.energy is None:
        names = _of_forces(names, survey, structures, decisions.warnings)
    decisions.say()
    return names


def _is_free(key: str, energy: str) -> bool:
    """Whether a key is the free energy that belongs to an energy: REF_free_energy to REF_energy."""
    low = energy.lower()
    return low.endswith("energy") and key.lower() == f"{low.removesuffix('energy')}{FREE_ENERGY}"


def _of_forces(
    names: LabelNames,
    survey: KeySurvey,
    structures: Sequence[tuple[int, Any]],
    said: list[str],
) -> LabelNames:
    """Names with the energy that the forces are the gradient of, where a file has two.

    With smeared electrons ASE's `energy` is extrapolated to no smearing; the forces are the gradient
    of its `free_energy` (M. J. Gillan, J. Phys.: Condens. Matter 1, 689 (1989),
    doi:10.1088/0953-8984/1/4/005).
    """
    free = tuple(key for key in survey.places if any(_is_free(key, of) for of in names.energy))
    energies = _numbers(structures, names.energy)
    frees = _numbers(structures, free)
    differing = [
        (abs(energies[i] - frees[i]), i)
        for i in energies.keys() & frees.keys()
        if abs(energies[i] - frees[i]) > SAME_ENERGY
    ]
    if not differing:
        return names
    worst, index = max(differing)
    everywhere = energies.keys() <= frees.keys()
    chosen, other = (free, names.energy) if names.forces and everywhere else (names.energy, free)
    why = (
        "which the forces belong to"
        if chosen == free
        else f"although forces belong to {free[0]}, which some frames lack"
        if names.forces
        else "as there are no forces"
    )
    said.append(
        f'"{names.energy[0]}" and "{free[0]}" differ in {len(differing)} frames, by up to {worst:.3g} '
        f'eV (frame {index}, counted from 0); "{chosen[0]}" is read, {why}. To choose, write '
        f"{{energy: {other[0]}}} or {{energy: {chosen[0]}}} under {CHOOSE}"
    )
    return replace(names, energy=chosen)


def _numbers(structures: Sequence[tuple[int, Any]], keys: Sequence[str]) -> dict[int, float]:
    """By frame, the value of the first of `keys` that it has, where that is one number."""
    found = {}
    for index, structure in structures:
        raw = RawStructure.of(structure)
        for key in keys:
            value = raw.results.get(key, raw.info.get(key))
            if value is not None:
                if np.shape(value) == () and not isinstance(value, str | bool | np.bool_):
                    found[index] = float(value)
                break
    return found
