"""Sigmas of a command of gap_fit in this program's units.

With ``sigma_per_atom=T`` gap_fit's sigmas of energy and virial grow with the square root of the number
of atoms N: the energy's sigma, eV, is that of one atom, as here. A virial's sigma v is the stress's
sigma times the volume V, so that the sigma of stresses, which settings state in eV/Å³, is v √N / V.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from forcemap.fitter.importers.commented_yaml import Entry
from forcemap.fitter.importers.gap_fit_frames import Spread, TrainingFrames
from forcemap.fitter.importers.quip_arguments import Arguments

__all__ = ["sigma_entries"]

CLOSE = 1.05
"""Ratio of the largest to the smallest value up to which frames count as alike."""


def sigma_entries(given: Arguments, frames: TrainingFrames | None) -> Iterator[Entry]:
    """The lines of `sigma`. Raises ForcemapError for sigmas that are no numbers."""
    default = given.numbers("default_sigma")
    if len(default) != 4:
        given.fail_at(
            "default_sigma",
            f"has {len(default)} numbers, expected 4: energy, force, virial, hessian",
        )
    per_atom = given.truth("sigma_per_atom", True)
    converter = _Converter(frames, per_atom, None)
    yield from converter.entries(default)
    if default[3]:
        yield Entry(remarks=(f"no counterpart: {default[3]:g} for Hessians, which are not fitted",))
    groups = []
    for name, *numbers in given.rows("config_type_sigma", 5):
        values = _numbers(given, name, numbers)
        lines = tuple(_Converter(frames, per_atom, name).entries(values))
        groups.append(Entry(name, lines if any(e.key for e in lines) else {}, _alone(lines)))
    if groups:
        yield Entry("config_type", tuple({entry.key: entry for entry in groups}.values()))


def _alone(lines: Sequence[Entry]) -> tuple[str, ...]:
    """Remarks of lines of which none has a value."""
    return () if any(e.key for e in lines) else tuple(text for e in lines for text in e.remarks)


def _numbers(given: Arguments, group: str, texts: Sequence[str]) -> tuple[float, ...]:
    values = []
    for text in texts:
        try:
            values.append(float(text.lower().replace("d", "e")))
        except ValueError:
            given.fail_at("config_type_sigma", f"has {text!r} for {group!r}, which is not a number")
    return tuple(values)


class _Converter:
    """Makes the lines of one group of frames, or of all."""

    def __init__(self, frames: TrainingFrames | None, per_atom: bool, group: str | None) -> None:
        self.frames, self.per_atom, self.group = frames, per_atom, group

    def entries(self, values: Sequence[float]) -> Iterator[Entry]:
        energy, force, virial = values[:3]
        roots = self._spread(lambda frames: frames.root_of_atoms(self.group))
        if energy <= 0.0:
            yield _excluded("energy", energy)
        elif self.per_atom:
            yield Entry("energy", energy)
        elif roots is None:
            text = f"no counterpart: energy {energy:g} eV of a frame is {energy:g} / √N per atom"
            yield Entry(remarks=(text if self.group is None else self._short("energy", energy),))
        else:
            yield _scaled("energy", energy, Spread(*_inverse(roots)), "eV of the frame, over √N")
        yield Entry("force", force) if force > 0.0 else _excluded("force", force)
        yield from self._stress(virial)

    def _stress(self, virial: float) -> Iterator[Entry]:
        form = "√N / V" if self.per_atom else "/ V"
        roots = self._spread(
            lambda frames: (
                frames.root_per_volume(self.group)
                if self.per_atom
                else frames.one_per_volume(self.group)
            )
        )
        if virial <= 0.0:
            yield _excluded("stress", virial)
        elif roots is None:
            why = "no frame is periodic" if self.frames else "N and V are those of the data"
            text = (
                f"no counterpart: virial {virial:g} eV is {virial:g} {form} eV/Å³ of the stress; "
                f"{why}: left to the fit"
            )
            yield Entry(remarks=(text if self.group is None else self._short("virial", virial),))
        else:
            yield _scaled("stress", virial, roots, f"eV of the virial times {form}")

    def _short(self, label: str, value: float) -> str:
        """A remark for a group where the one for all frames has explained it."""
        why = "" if self.frames is None else f" (no frame of {self.group} to convert it with)"
        return f"no counterpart: {label} {value:g} eV: left to the fit{why}"

    def _spread(self, of: Callable[[TrainingFrames], Spread | None]) -> Spread | None:
        return None if self.frames is None else of(self.frames)


def _inverse(spread: Spread) -> tuple[float, float, float]:
    return 1.0 / spread.median, 1.0 / spread.most, 1.0 / spread.least


def _scaled(name: str, value: float, spread: Spread, form: str) -> Entry:
    """A line for a sigma that depends on the frame; its remark says how much."""
    remark = f"{value:g} {form}"
    if spread.most > CLOSE * spread.least:
        least, most = value * spread.least, value * spread.most
        remark += f", the median; {least:.2g} to {most:.2g} in single frames"
    return Entry(name, float(f"{value * spread.median:.6g}"), (remark,))


def _excluded(name: str, value: float) -> Entry:
    return Entry(
        remarks=(f"no counterpart: {name} {value:g}: a sigma is above 0; left to the fit",)
    )
