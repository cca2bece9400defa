"""A term in the making: its settings, with what is said of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forcemap.fitter.importers.quip_arguments import Arguments
from forcemap.potentials.elements import SYMBOLS

__all__ = ["WIDTH", "Draft", "atomic_number_of", "atomic_numbers_of", "set_cutoffs", "set_width"]

WIDTH = 0.5
"""Å; gap_fit's default of cutoff_transition_width."""


@dataclass
class Draft:
    """A term, its settings with remarks.

    Attributes:
        kind: of the term; "" for a descriptor without one.
        descriptor: its name in gap_fit, for messages.
        species: atomic numbers that the descriptor is restricted to; None: any.
        values: settings by name.
        remarks: by setting; of the term as a whole under "".
    """

    kind: str
    descriptor: str
    species: tuple[int, ...] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def set(self, name: str, value: Any, *remarks: str) -> None:
        """Give a setting its value."""
        self.values[name] = value
        for remark in remarks:
            self.say(name, remark)

    def say(self, name: str, remark: str) -> None:
        """Add a remark, once."""
        texts = self.remarks.setdefault(name, [])
        if remark and remark not in texts:
            texts.append(remark)

    @property
    def label(self) -> str:
        """The species, such as Si-O; "" for any."""
        return "-".join(SYMBOLS[z] for z in self.species or ())


def set_cutoffs(draft: Draft, arguments: Arguments) -> None:
    """Set the cutoff and its width. Raises ForcemapError without a cutoff above 0."""
    cutoff = arguments.number("cutoff")
    if cutoff <= 0.0:
        arguments.fail_at("cutoff", "is not above 0")
    width = arguments.number("cutoff_transition_width", WIDTH)
    draft.set("cutoff", cutoff)
    set_width(
        draft, width, cutoff, "" if "cutoff_transition_width" in arguments else "gap_fit's default"
    )


def set_width(draft: Draft, width: float, cutoff: float, remark: str) -> None:
    """Set the width of the step before the cutoff."""
    better = "better here: without this line, a fraction of the cutoff"
    if width > 0.0:
        draft.set("cutoff_width", min(width, cutoff), remark, better)
    else:
        draft.say("", "no counterpart: a cutoff without a transition; its width is left to the fit")


def atomic_number_of(arguments: Arguments, name: str) -> int:
    """An atomic number; 0 stands for any species."""
    value = arguments.integer(name, 0)
    if not 0 <= value < len(SYMBOLS):
        arguments.fail_at(name, "is not an atomic number")
    return value


def atomic_numbers_of(arguments: Arguments, name: str) -> tuple[int, ...]:
    """Sorted atomic numbers of a list; none without the name."""
    values = arguments.integers(name, ())
    if not all(0 < value < len(SYMBOLS) for value in values):
        arguments.fail_at(name, "is not a list of atomic numbers")
    return tuple(sorted(values))
