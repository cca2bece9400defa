"""Settings of a fit from a command of gap_fit, QUIP's program, with remarks on what is different.

A line means what the command means, or has a remark: "no counterpart" for what a setting cannot say,
"better here" where another value serves better. The remarks on an option stand where its line would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from forcemap.fitter.config import Settings
from forcemap.fitter.importers.commented_yaml import Entry, comment, rendered, values_of
from forcemap.fitter.importers.gap_fit_command import Command, command_of
from forcemap.fitter.importers.gap_fit_frames import TrainingFrames, training_frames
from forcemap.fitter.importers.gap_fit_merge import entries_of, grouped
from forcemap.fitter.importers.gap_fit_options import COMMAND
from forcemap.fitter.importers.gap_fit_sigmas import sigma_entries
from forcemap.fitter.importers.gap_fit_terms import draft_of
from forcemap.fitter.importers.quip_arguments import Arguments, parts_of
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import printable

__all__ = ["settings_from_gap_fit"]

KEYS = {"energy": "energy", "forces": "force", "stress": "stress", "virial": "virial"}
"""Labels, with the word in gap_fit's option for their names."""


def settings_from_gap_fit(source: str, folder: Path) -> str:
    """Settings (YAML with remarks) of the same meaning as a command of gap_fit.

    Args:
        source: the command, or the name of a file that holds it (a script, a config_file, the XML of a
            GAP).
        folder: of the settings file, which its paths are relative to.

    Raises:
        ForcemapError: an option or a value is unknown or malformed, a mandatory one is missing, no
            descriptor has a term, or a value is outside of what a fit takes.
    """
    command = command_of(source)
    given = command.arguments
    for name, example in (
        ("at_file", "at_file=train.xyz"),
        ("gap", "gap={soap cutoff=5.0 ...}"),
        ("default_sigma", "default_sigma={0.002 0.1 0.5 0.0}"),
    ):
        if not given.get(name, ""):
            raise ForcemapError(f"{command.origin}: {name} is missing; give it, such as {example}")
    path = command.folder / given["at_file"]
    frames = training_frames(path, _renamed(given, "config_type", "config_type"))
    entries = [
        Entry("data", tuple(_data(given, path, folder))),
        *_e0(given, frames),
        Entry("sigma", tuple(sigma_entries(given, frames))),
        *_terms(given, command.origin, frames),
        *_core(given),
        *_rest(given),
    ]
    try:
        Settings.from_dict(values_of(entries), folder)
    except ForcemapError as error:
        raise ForcemapError(
            f"{command.origin}: makes settings that no fit takes: {error}"
        ) from None
    return _head(command, frames, path) + rendered(entries)


def _head(command: Command, frames: TrainingFrames | None, path: Path) -> str:
    lines = [
        "# Settings of forcemap fit with the meaning of this command of gap_fit:",
        *comment(f"  gap_fit {command.text}"),
        *comment(
            'Remarks: "no counterpart" is what no setting says, "better here" what may serve better, '
            '"as here" what holds anyway.'
        ),
    ]
    if frames is None:
        lines += comment(
            f"{printable(path.name)} could not be read: what depends on the data is left to the fit. "
            "Run forcemap import gap-fit again where it is."
        )
    return "\n".join(lines) + "\n"


# ----- data and labels -----


def _data(given: Arguments, path: Path, folder: Path) -> Iterator[Entry]:
    absolute = path.absolute()
    try:
        shown = Path(os.path.relpath(absolute, folder.absolute())).as_posix()
    except ValueError:  # on another drive
        shown = str(absolute)
    yield Entry("train", str(path) if os.path.isabs(given["at_file"]) else shown)
    keys = list(_keys(given))
    if any(entry.key for entry in keys):
        yield Entry("keys", tuple(keys))
    else:
        yield from keys
    for option, own in (("config_type", "config_type"), ("force_mask", "force_mask")):
        name = _renamed(given, option, own)
        if name != own:
            yield Entry(
                remarks=(f"no counterpart: {option} under {name}: rename it to {own} in the data",)
            )
    name = _renamed(given, "sigma", "sigma")
    if name != "sigma":
        yield Entry(
            remarks=(
                f"no counterpart: sigmas of frames under energy_{name}, force_{name}, ...: rename them "
                "to energy_sigma, force_sigma, virial_sigma in the data",
            )
        )


def _renamed(given: Arguments, option: str, default: str) -> str:
    """The name under which gap_fit reads something, its common prefix included."""
    name = given.get(f"{option}_parameter_name", "") or default
    return given.get("parameter_name_prefix", "") + name


def _keys(given: Arguments) -> Iterator[Entry]:
    prefix = given.get("parameter_name_prefix", "")
    virial = _renamed(given, "virial", "virial")
    for label, word in KEYS.items():
        option = f"{word}_parameter_name"
        if not given.get(option, "") and not prefix:
            if label == "forces":
                yield Entry(remarks=("gap_fit reads force; here force or forces is read",))
            continue
        name = _renamed(given, word, word)
        remarks = []
        if label == "virial" and "stress" in name.lower():
            remarks.append(
                "a virial in eV, as gap_fit takes it; for a stress in eV/Å³ write stress: here"
            )
        if label == "stress" and name == virial:
            yield Entry(remarks=(f"{option}={name}: the virial has this name; it counts",))
            continue
        yield Entry(label, name, tuple(remarks))


# ----- energies of atoms -----


def _e0(given: Arguments, frames: TrainingFrames | None) -> Iterator[Entry]:
    offset = given.number("e0_offset", 0.0)
    method = given.get("e0_method", "isolated").lower()
    if method not in ("isolated", "average"):
        given.fail_at("e0_method", "is not one of isolated, average")
    text = given.get("e0", "")
    if not text.strip():
        remarks = []
        if method == "average":
            remarks.append(
                "gap_fit's is one average for all species; here each species has its own, found "
                "together with the terms"
            )
        else:
            remarks.append("from frames of one atom of each species, as in gap_fit")
        if offset:
            remarks.append(f"no counterpart: e0_offset={offset:g}, added to each atom's energy")
        yield Entry("e0", method, tuple(remarks))
        return
    remarks = [f"e0_offset={offset:g} is added"] if offset else []
    if "e0_method" in given:
        remarks.append(f"not needed: {given.shown('e0_method')}: e0 is given")
    if ":" not in text:
        yield Entry("e0", given.number("e0") + offset, ("of every species", *remarks))
        return
    energies: dict[str, float] = {}
    for symbol, energy in given.rows("e0", 2):
        name = (
            SYMBOLS[int(symbol)] if symbol.isdigit() and 0 < int(symbol) < len(SYMBOLS) else symbol
        )
        if name not in SYMBOLS[1:]:
            given.fail_at("e0", f"has {name!r}, which is not the symbol of an element")
        energies[name] = _energy(given, energy) + offset
    missing = [name for name in (frames.species if frames else ()) if name not in energies]
    if missing:
        energies |= dict.fromkeys(missing, offset)
        remarks.append(f"{', '.join(missing)}: 0 in gap_fit, too, where e0 does not name it")
    yield Entry("e0", energies, tuple(remarks))


def _energy(given: Arguments, text: str) -> float:
    try:
        return float(text.lower().replace("d", "e"))
    except ValueError:
        given.fail_at("e0", f"has {text!r}, which is not a number")


# ----- terms -----


def _terms(given: Arguments, origin: str, frames: TrainingFrames | None) -> Iterator[Entry]:
    parts = parts_of(given["gap"], origin)
    drafts = [
        draft_of(part, f"{origin}: gap: descriptor {number}", frames)
        for number, (part, _) in enumerate(parts, 1)
    ]
    used = [draft for draft in drafts if draft.kind]
    if not used:
        kinds = ", ".join(dict.fromkeys(draft.descriptor for draft in drafts)) or "nothing"
        raise ForcemapError(
            f"{origin}: gap: holds {kinds}, for which there is no kind of term; describe the atoms by "
            "soap, distance_2b or angle_3b instead"
        )
    named = {z for draft in used for z in draft.species or ()}
    known = [atomic_number(symbol) for symbol in frames.species] if frames else sorted(named)
    items = [entries_of(group, known) for group in grouped(used)]
    lost = tuple(text for draft in drafts if not draft.kind for text in draft.remarks[""])
    yield Entry("terms", items, lost)


# ----- the rest -----


def _core(given: Arguments) -> Iterator[Entry]:
    file = given.shown("core_param_file") if "core_param_file" in given else ""
    if given.get("core_ip_args", ""):
        yield Entry(
            "core",
            "zbl",
            (
                f"no counterpart: {file} {given.shown('core_ip_args')}: a potential beneath the fit; "
                " zbl is the nearest, a repulsion below the shortest distances of the data",
            ),
        )
        return
    unused = f"{file} does nothing in gap_fit without core_ip_args" if file else ""
    yield Entry(
        "core",
        "none",
        tuple(
            text
            for text in (
                unused,
                "better here: zbl, a repulsion below the shortest distances of the data, without which "
                "atoms may meet in molecular dynamics",
            )
            if text
        ),
    )


def _rest(given: Arguments) -> Iterator[Entry]:
    seed = given.integer("rnd_seed", -1)
    if seed >= 0:
        yield Entry("seed", seed % 2**32, ("rnd_seed; other numbers are drawn from it",))
    elif "rnd_seed" in given:
        yield Entry(remarks=(f"no counterpart: rnd_seed={seed}: a fit here has a fixed seed, 0",))
    if given.get("gp_file", ""):
        name = Path(given["gp_file"]).stem
        yield Entry(
            remarks=(f"{given.shown('gp_file')}: forcemap fit names a folder, such as -o {name}",)
        )
    yield Entry(remarks=tuple(COMMAND.remarks(given)))
    if given.stray:
        yield Entry(remarks=(f"left out: {len(given.stray)} closing braces that close nothing",))
