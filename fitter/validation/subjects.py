"""Gathers what a potential is to be checked on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.validation.check import Case
from forcemap.fitter.validation.models import Model
from forcemap.fitter.validation.settings import ValidationSettings
from forcemap.fitter.validation.structures import (
    crystals_of_frames,
    crystals_of_settings,
    usual_crystals,
)
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_document

__all__ = ["case_of"]


@dataclass(frozen=True)
class _Data:
    """Frames, and a sentence on where they come from or why there are none."""

    frames: Sequence[Frame]
    note: str
    free_atoms_are_known: bool = True


def case_of(
    model: Model, settings: ValidationSettings, origin: str, advance: Callable[..., None] | None
) -> tuple[Case, list[str]]:
    """What the model of a potential file is checked on, and sentences on where that comes from.

    Raises ForcemapError for settings that the potential cannot do.
    """
    assert model.potential is not None
    species = model.species or ()
    data = _frames(model.potential, settings, species, advance)
    notes = [data.note]
    if settings.general.structures is not None:
        crystals = crystals_of_settings(settings.general.structures, species, origin)
    else:
        crystals = crystals_of_frames(data.frames)
        if not crystals:
            crystals, left_out = usual_crystals(species)
            lattices = ", ".join(crystal.name for crystal in crystals)
            if crystals:
                notes.append(f"crystals: the elements' usual lattices ({lattices})")
            notes += left_out
    if not data.free_atoms_are_known and not settings.general.free_atoms:
        notes.append(
            "cohesive energies are against the potential's own free atoms, which e0: average puts at "
            "the mean of the data; give energies of free atoms as free_atoms: in the settings"
        )
    case = Case(settings.of, crystals, data.frames, species, settings.general.seed)
    return case, notes


def _frames(
    potential: Path,
    settings: ValidationSettings,
    species: Sequence[str],
    advance: Callable[..., None] | None,
) -> _Data:
    """The settings' frames, or those of the fit, as far as the potential knows their elements."""
    from forcemap.fitter.config import Settings
    from forcemap.fitter.data.frame import data_hash
    from forcemap.potentials.elements import SYMBOLS

    def known(frames: Sequence[Frame]) -> list[Frame]:
        return [f for f in frames if {SYMBOLS[z] for z in f.numbers} <= set(species)]

    if settings.general.frames is not None:
        frames = read_frames(settings.general.frames, advance=advance)
        return _Data(known(frames), f"frames: {len(frames)} as given by the settings")
    provenance = read_document(potential).get("provenance", {})
    given = provenance.get("settings")
    if not isinstance(given, dict) or not given:
        return _Data([], f"{potential.name} does not name its training data")
    try:
        fit = Settings.from_dict(given, potential.parent, origin=f"{potential}: settings")
        frames = read_frames(fit.data.train, fit.data.keys, fit.sigma, advance=advance)
    except ForcemapError as error:
        return _Data([], f"the training data cannot be read: {error}", given.get("e0") != "average")
    note = f"frames: {len(frames)}, those that the potential was fitted to"
    digest = provenance.get("data", {}).get("hash")
    if digest is not None and data_hash(frames) != digest:
        note = f"frames: {len(frames)} of the training files, which have changed since the fit"
    return _Data(known(frames), note, fit.e0 != "average")
