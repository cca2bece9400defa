"""Frames with their labels: extended XYZ, read through ASE, to checked arrays.

Labels are found where ASE puts them (a calculator, ``info`` or ``arrays``), under the names that
the settings give. Frames are counted from 0, as ASE's index does. Whatever a user's file can get
wrong is told here, once, with the file and the frame.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import ArrayLike, NDArray

from .config import Keys, SigmaSettings, Source
from .settings_values import nearest

__all__ = ["Frame", "FrameSigma", "atomic_energies", "data_hash", "read_frames"]

Array = NDArray[np.float64]

DEFAULT_CONFIG_TYPE = "default"

ISOLATED = 6.0
"""Å; a lone atom whose periodic images are farther away counts as isolated."""

_PRIVATE = "_forcemap_"
"""Prefix that keeps ASE from reading `stress` and `virial`: it would take nine numbers only."""

_SPECIAL_KEY = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")

_READ_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What ASE's reader raises on malformed text."""


@dataclass(frozen=True)
class FrameSigma:
    """Expected errors of a frame's labels: energy eV per atom, force eV/Å, stress eV/Å³."""

    energy: float
    force: float
    stress: float


@dataclass(frozen=True, eq=False)
class Frame:
    """A structure with the labels it has.

    Attributes:
        numbers: (n,) int32 atomic numbers.
        positions: (n, 3) Å.
        cell: (3, 3) rows are lattice vectors, Å.
        pbc: (3,) which directions are periodic.
        energy: eV, or None.
        forces: (n, 3) eV/Å, or None.
        stress: (3, 3) symmetric, ASE's sign, eV/Å³, or None.
        config_type: group of frames the frame belongs to; "default" where the file has none.
        sigma: expected errors of the labels.
        source: the file.
        index: number of the frame in the file, from 0.
    """

    numbers: NDArray[np.int32]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    energy: float | None
    forces: Array | None
    stress: Array | None
    config_type: str
    sigma: FrameSigma
    source: str
    index: int


def read_frames(
    sources: Iterable[Source],
    keys: Keys | None = None,
    sigma: SigmaSettings | None = None,
    *,
    require_labels: bool = True,
) -> list[Frame]:
    """Read the selected frames of all sources.

    Warns (UserWarning) of labels that will not be used and of overrides that name no frame.

    Raises:
        ForcemapError: a file cannot be read, a frame or label is unusable, or (`require_labels`) a
            file has neither energies nor forces under `keys`.
    """
    keys = keys or Keys()
    sigma = sigma or SigmaSettings()
    frames: list[Frame] = []
    for source in sources:
        frames += _read_source(source, keys, sigma, require_labels)
    present = {frame.config_type for frame in frames}
    for name in sigma.config_type:
        if name not in present:
            warnings.warn(
                f'sigma.config_type: no frame has the config_type "{name}"'
                f"{nearest(name, sorted(present))}",
                stacklevel=2,
            )
    return frames


def _read_source(
    source: Source, keys: Keys, sigma: SigmaSettings, require_labels: bool
) -> list[Frame]:
    structures = list(_read_structures(source))
    frames = []
    open_with_stress = 0
    for index, atoms in structures:
        labels = _Labels(atoms, keys, _Place(str(source.path), index))
        frames.append(labels.frame(sigma))
        open_with_stress += labels.has_stress and not np.all(atoms.pbc)
    if open_with_stress:
        warnings.warn(
            f"{source.path}: stress of {open_with_stress} frames is not used: they are not "
            "periodic in all three directions",
            stacklevel=3,
        )
    if require_labels:
        _require_labels(source, frames, [atoms for _, atoms in structures], keys)
    return frames


def _require_labels(
    source: Source, frames: Sequence[Frame], structures: Sequence[Any], keys: Keys
) -> None:
    """Error if a file has no labels under `keys`, warning if one kind may have been overlooked."""
    has_energy = any(frame.energy is not None for frame in frames)
    has_forces = any(frame.forces is not None for frame in frames)
    present = sorted({key for atoms in structures for key in _keys_present(atoms)})
    if not has_energy and not has_forces:
        raise ForcemapError(
            f'{source.path}: no frame has an energy under "{keys.energy}" or forces under '
            f'"{keys.forces}". Keys in this file: {", ".join(present) or "none"}. Name the right '
            "ones under data: keys: in the settings, such as {energy: REF_energy}"
        )
    for label, found, key in (
        ("energy", has_energy, keys.energy),
        ("force", has_forces, keys.forces),
    ):
        like = [name for name in present if label in name.lower() and "sigma" not in name.lower()]
        if not found and like:
            warnings.warn(
                f'{source.path}: no {label} label under "{key}", so none is used; this file has '
                f"{', '.join(like)} (data: keys: in the settings names what to read)",
                stacklevel=4,
            )


# ----- reading through ASE -----


def _read_structures(source: Source) -> Iterator[tuple[int, Any]]:
    """ASE's Atoms of the selected frames with their numbers in the file."""
    from ase.io.extxyz import read_xyz

    count = _count_frames(source.path)
    selection = source.selection(count)
    selected = range(count)[selection]
    if not selected:
        raise ForcemapError(
            f'{source.path}: index "{source.index}" selects none of its {count} frames'
        )
    with _open_text(source.path) as file:
        structures = iter(read_xyz(file, index=selection, properties_parser=_parse_comment))
        for index in selected:
            try:
                yield index, next(structures)
            except StopIteration:
                raise ForcemapError(f"{source.path}: changed while it was read") from None
            except _READ_FAULTS as error:
                _Place(str(source.path), index).fail(
                    f"cannot be read as extended XYZ: {type(error).__name__}: {error}"
                )


def _parse_comment(line: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict

    return cast("dict[str, Any]", key_val_str_to_dict(_SPECIAL_KEY.sub(rf"{_PRIVATE}\1", line)))


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _count_frames(path: Path) -> int:
    """Number of frames; ASE stops without a word at an empty line, this does not."""
    count = 0
    number = 0
    try:
        with _open_text(path) as file:
            while line := file.readline():
                number += 1
                if not line.strip():
                    if any(rest.strip() for rest in file):
                        raise ForcemapError(
                            f"{path}: line {number} is empty where the number of atoms of frame "
                            f"{count} should stand; remove the line"
                        )
                    break
                if not line.strip().isdecimal() or int(line) == 0:
                    raise ForcemapError(
                        f"{path}: line {number}: found {line.strip()[:40]!r} where the number of "
                        f"atoms of frame {count} should stand; is this extended XYZ?"
                    )
                atoms = int(line)
                for _ in range(atoms + 1):
                    number += 1
                    if not file.readline():
                        raise ForcemapError(
                            f"{path}: ends within frame {count}, which should have {atoms} atoms"
                        )
                count += 1
    except FileNotFoundError:
        raise ForcemapError(f"{path}: no such file") from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ForcemapError(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ForcemapError(
            f"{path}: is not a text file; frames are read as extended XYZ"
        ) from None
    if count == 0:
        raise ForcemapError(f"{path}: holds no frames")
    return count


# ----- the labels of one frame -----


@dataclass(frozen=True)
class _Place:
    """A frame of a file, for messages."""

    file: str
    index: int

    def fail(self, text: str) -> NoReturn:
        raise ForcemapError(f"{self.file}: frame {self.index} (counted from 0): {text}")

    def numbers(self, value: Any, what: str, shapes: Sequence[tuple[int, ...]]) -> Array:
        """`value` as finite floats of one of `shapes`."""
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        try:
            array = np.asarray(value, dtype=np.float64)
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
            self.fail(
                f"{what}{which} is {found}; correct or remove the label, or leave the frame out"
            )
        return array


def _results(atoms: Any) -> Mapping[str, Any]:
    return {} if atoms.calc is None else cast("Mapping[str, Any]", atoms.calc.results)


def _keys_present(atoms: Any) -> set[str]:
    """Keys of a frame that may be labels, as they stand in the file."""
    arrays = set(atoms.arrays) - {"numbers", "positions"}
    keys = {key for key, value in _results(atoms).items() if value is not None}
    return keys | arrays | {str(key).removeprefix(_PRIVATE) for key in atoms.info}


class _Labels:
    """Finds and checks the labels of one ASE structure."""

    def __init__(self, atoms: Any, keys: Keys, place: _Place) -> None:
        self.atoms = atoms
        self.keys = keys
        self.place = place
        self.has_stress = any(
            self._find(key, atoms.info) is not None for key in (keys.stress, keys.virial)
        )

    def _find(self, key: str, also: Mapping[str, Any]) -> Any:
        """The value under `key`, or None."""
        for holder in (_results(self.atoms), also):
            for name in (key, _PRIVATE + key):
                if holder.get(name) is not None:
                    return holder[name]
        return None

    def frame(self, sigma: SigmaSettings) -> Frame:
        """The frame; raises ForcemapError for whatever is wrong with it."""
        atoms, n = self.atoms, len(self.atoms)
        positions = self.place.numbers(atoms.positions, "a position", [(n, 3)])
        if np.any(atoms.numbers <= 0) or np.any(atoms.numbers >= len(SYMBOLS)):
            self.place.fail("has an atom that is no element (X)")
        cell, pbc = self._cell()
        config_type = str(atoms.info.get("config_type", DEFAULT_CONFIG_TYPE))
        return Frame(
            numbers=np.array(atoms.numbers, dtype=np.int32),
            positions=positions,
            cell=cell,
            pbc=pbc,
            energy=self._energy(),
            forces=self._forces(),
            stress=self._stress(cell) if np.all(pbc) else None,
            config_type=config_type,
            sigma=self._sigma(sigma, config_type),
            source=self.place.file,
            index=self.place.index,
        )

    def _cell(self) -> tuple[Array, NDArray[np.bool_]]:
        cell = self.place.numbers(self.atoms.cell.array, "the cell", [(3, 3)])
        pbc = np.array(self.atoms.pbc, dtype=bool)
        lengths = np.linalg.norm(cell, axis=1)
        for axis in np.flatnonzero(pbc & (lengths == 0.0)):
            self.place.fail(
                f"is periodic along axis {axis + 1} but has no cell vector there; give a Lattice, "
                'or pbc="F F F"'
            )
        vectors = cell[pbc] / lengths[pbc, None]
        if len(vectors) and np.linalg.svd(vectors, compute_uv=False)[-1] < 1e-6:
            self.place.fail(
                f"its cell {cell.tolist()} has no volume: the periodic vectors are not independent"
            )
        return cell, pbc

    def _energy(self) -> float | None:
        value = self._find(self.keys.energy, self.atoms.info)
        if value is None:
            return None
        return float(self.place.numbers(value, f'the energy ("{self.keys.energy}")', [()]))

    def _forces(self) -> Array | None:
        n = len(self.atoms)
        names = [self.keys.forces, *(["force"] if self.keys.forces == "forces" else [])]
        for name in names:
            value = self._find(name, self.atoms.arrays)
            if value is not None:
                return self.place.numbers(value, f'the force ("{name}")', [(n, 3)])
        return None

    def _stress(self, cell: Array) -> Array | None:
        """Stress from `stress` or from `virial`; both must agree where both are given."""
        volume = abs(float(np.linalg.det(cell)))
        stress = self._tensor(self.keys.stress, voigt=True)
        virial = self._tensor(self.keys.virial, voigt=False)
        if virial is None:
            return stress
        from_virial = -virial / volume
        if stress is None:
            return from_virial
        difference = float(np.abs(stress - from_virial).max())
        if difference > 1e-4 + 0.01 * float(np.abs(stress).max()):
            self.place.fail(
                f'"{self.keys.stress}" and "{self.keys.virial}" differ by {difference:.3g} eV/Å³, '
                "where virial (eV) = -volume * stress (eV/Å³, ASE's sign) should hold; correct "
                "one, or rename it under data: keys: in the settings so that only the other is read"
            )
        return stress

    def _tensor(self, key: str, *, voigt: bool) -> Array | None:
        value = self._find(key, self.atoms.info)
        if value is None:
            return None
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

    def _sigma(self, settings: SigmaSettings, config_type: str) -> FrameSigma:
        override = settings.config_type.get(config_type)
        values = {}
        for name in ("energy", "force", "stress"):
            own = self.atoms.info.get(f"sigma_{name}")
            if own is not None:
                values[name] = float(self.place.numbers(own, f'"sigma_{name}"', [()]))
                if values[name] <= 0.0:
                    self.place.fail(f'"sigma_{name}" is {values[name]:g}, expected more than 0')
                continue
            special = getattr(override, name) if override is not None else None
            values[name] = special if special is not None else getattr(settings, name)
        return FrameSigma(**values)


# ----- what a fit asks of all frames together -----


def data_hash(frames: Iterable[Frame]) -> str:
    """SHA-256 over structures, labels and groups, in their order; not over files' names."""
    digest = hashlib.sha256()

    def add(value: ArrayLike | None, dtype: str) -> None:
        array = np.zeros(0) if value is None else np.asarray(value)
        digest.update(repr(None if value is None else array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())

    for frame in frames:
        add(frame.numbers, "<i4")
        add(frame.pbc, "|u1")
        for value in (frame.positions, frame.cell, frame.energy, frame.forces, frame.stress):
            add(value, "<f8")
        digest.update(frame.config_type.encode() + b"\0")
    return digest.hexdigest()


def atomic_energies(
    frames: Sequence[Frame],
    e0: str | Mapping[str, float],
    baseline: Sequence[float] | Array | None = None,
) -> dict[int, float]:
    """Energy (eV) of each element's isolated atom, by atomic number.

    Args:
        frames: the training frames.
        e0: "isolated": from frames of one atom; "average": least squares of energy per atom over
            composition, of smallest norm where compositions do not tell elements apart; or
            energies by symbol.
        baseline: (frames,) eV; part of the energy that another term explains, such as the core.

    Raises:
        ForcemapError: an element has no isolated atom, or no energy is given for it.
    """
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    if not isinstance(e0, str):
        missing = [SYMBOLS[z] for z in numbers if SYMBOLS[z] not in e0]
        if missing:
            raise ForcemapError(
                f"e0: no energy for {', '.join(missing)}, which the training frames contain; "
                "name every element, or use average or isolated"
            )
        return {z: float(e0[SYMBOLS[z]]) for z in numbers}
    explained = np.zeros(len(frames)) if baseline is None else np.asarray(baseline, dtype=float)
    if e0 == "isolated":
        return _isolated_energies(frames, numbers)
    rows, values = [], []
    for frame, known in zip(frames, explained, strict=True):
        if frame.energy is not None:
            counts = Counter(frame.numbers.tolist())
            rows.append([counts[z] / len(frame.numbers) for z in numbers])
            values.append((frame.energy - known) / len(frame.numbers))
    if not rows:
        return dict.fromkeys(numbers, 0.0)
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=1e-8)[0]
    return dict(zip(numbers, solution.tolist(), strict=True))


def _nearest_image(frame: Frame) -> float:
    """Distance (Å) of a lone atom to its nearest periodic image; infinite without any."""
    vectors = frame.cell[frame.pbc]
    if not len(vectors):
        return float("inf")
    steps = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * len(vectors))).reshape(len(vectors), -1).T
    lengths = np.linalg.norm(steps @ vectors, axis=1)
    return float(lengths[lengths > 0].min())


def _isolated_energies(frames: Sequence[Frame], numbers: Sequence[int]) -> dict[int, float]:
    """Energy of each element from the frame in which one atom of it is most alone."""
    best: dict[int, tuple[float, float]] = {}
    for frame in frames:
        if len(frame.numbers) == 1 and frame.energy is not None:
            z, distance = int(frame.numbers[0]), _nearest_image(frame)
            if distance > max(ISOLATED, best.get(z, (0.0, 0.0))[0]):
                best[z] = (distance, frame.energy)
    missing = [SYMBOLS[z] for z in numbers if z not in best]
    if missing:
        raise ForcemapError(
            f"e0: isolated: no training frame holds one isolated atom (no periodic image within "
            f"{ISOLATED:g} Å) with an energy for {', '.join(missing)}; add such frames, or use "
            "average or energies such as {" + f"{missing[0]}: -0.79" + "}"
        )
    return {z: best[z][1] for z in numbers}
