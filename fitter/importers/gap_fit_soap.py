"""Soap terms for the descriptors of environments, with what is different about each."""

from __future__ import annotations

from collections.abc import Callable

from forcemap.fitter.importers.gap_fit_draft import (
    WIDTH,
    Draft,
    atomic_numbers_of,
    set_cutoffs,
    set_width,
)
from forcemap.fitter.importers.gap_fit_frames import TrainingFrames
from forcemap.fitter.importers.quip_arguments import Arguments, bare_text
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.elements import SYMBOLS

__all__ = ["soap_draft", "soap_turbo_draft"]


def soap_draft(arguments: Arguments, frames: TrainingFrames | None) -> Draft:
    """The term for `soap`."""
    centers = atomic_numbers_of(arguments, "z")
    draft = Draft("soap", "soap", centers or None)
    set_cutoffs(draft, arguments)
    draft.set("n_max", arguments.integer("n_max"))
    draft.set("l_max", arguments.integer("l_max"))
    draft.set("atom_sigma", arguments.number("atom_sigma"))
    _dot_product(draft, arguments)
    _decay(draft, arguments)
    _mixing(draft, arguments)
    return draft


def _dot_product(draft: Draft, arguments: Arguments) -> None:
    """The kernel of environments and its exponent."""
    covariance = arguments["covariance_type"].lower() if "covariance_type" in arguments else ""
    if covariance != "dot_product":
        draft.say(
            "", f"no counterpart: covariance_type={covariance or 'none'}: dot_product instead"
        )
    for name in ("theta_uniform", "theta_fac", "theta_file"):
        if name in arguments:
            draft.say("", f"not needed: {arguments.shown(name)}: a dot product has no lengthscale")
    zeta = arguments.number("zeta", 1.0)
    least, most = SETTINGS["soap"].whole["zeta"]
    nearest = min(max(round(zeta), least), most)
    remark = ""
    if nearest != zeta:
        remark = (
            f"no counterpart: zeta={zeta:g}: exponents are whole numbers from {least} to {most}"
        )
    elif nearest > 2:
        remark = "better here: 2, whose map does not grow with the number of sparse points"
    draft.set("zeta", nearest, remark)


def _decay(draft: Draft, arguments: Arguments) -> None:
    """Weights of neighbours: rate / (rate + (r / scale)^exponent)."""
    exponent = arguments.integer("cutoff_dexp", 0)
    scale = arguments.number("cutoff_scale", 1.0)
    rate = arguments.number("cutoff_rate", 1.0)
    shown = f"cutoff_dexp={exponent} cutoff_scale={scale:g} cutoff_rate={rate:g}"
    if exponent == 0:
        if "cutoff_scale" in arguments or "cutoff_rate" in arguments:
            draft.say("", f"as here: {shown}: neighbours' weights do not decay")
    elif exponent > 0 and scale > 0.0 and rate > 0.0:
        radius = scale * rate ** (1.0 / exponent)
        draft.set("radial_scaling", {"radius": radius, "exponent": exponent}, shown)
    else:
        draft.say("", f"no counterpart: {shown}: weights of neighbours that do not level off")


def _mixing(draft: Draft, arguments: Arguments) -> None:
    """Compressed spectra."""
    radial, species = arguments.truth("r_mix", False), arguments.truth("z_mix", False)
    count = arguments.integer("k", 0)
    names = [name for name in ("r_mix", "z_mix", "k") if name in arguments]
    shown = " ".join(arguments.shown(name) for name in names)
    if species and not radial and count > 0:
        remark = f"nearest: {shown}: channels of species, learned from the data instead of drawn"
        draft.set("n_species_channels", min(count, 118), remark)
    elif radial or species:
        draft.say(
            "",
            f"no counterpart: {shown}: the spectrum is kept whole; n_species_channels makes that of "
            "many elements smaller, and a map of zeta 2 does so without loss",
        )
    elif shown:
        draft.say("", f"as here: {shown}: no mixed channels")


def soap_turbo_draft(arguments: Arguments, frames: TrainingFrames | None) -> Draft:
    """The term nearest to `soap_turbo`."""
    species = arguments.integers("species_z", ())
    index = arguments.integer("central_index", 1)
    if species and not 1 <= index <= len(species):
        arguments.fail_at("central_index", f"is not a place among {len(species)} species")
    center = species[index - 1] if species else 0
    if not 0 <= center < len(SYMBOLS):
        arguments.fail_at("species_z", "is not a list of atomic numbers")
    draft = Draft("soap", "soap_turbo", (center,) if center else None)
    draft.say("", "nearest: soap for soap_turbo, whose radial functions differ")
    hard = arguments.number("rcut_hard")
    if hard <= 0.0:
        arguments.fail_at("rcut_hard", "is not above 0")
    draft.set("cutoff", hard, "rcut_hard")
    if "rcut_soft" in arguments:
        set_width(draft, hard - arguments.number("rcut_soft"), hard, "rcut_hard less rcut_soft")
    else:
        set_width(draft, arguments.number("cutoff_transition_width", WIDTH), hard, "")
    for name in ("cutoff", "cutoff_transition_width"):
        if name in arguments and (name == "cutoff" or "rcut_soft" in arguments):
            draft.say("", f"not needed: {arguments.shown(name)}: beside rcut_hard and rcut_soft")
    _of_species(draft, "n_max", arguments, "alpha_max", max)
    draft.set("l_max", arguments.integer("l_max"))
    _of_species(draft, "atom_sigma", arguments, "atom_sigma_r", lambda some: sum(some) / len(some))
    _dot_product(draft, arguments)
    return draft


def _of_species(
    draft: Draft,
    setting: str,
    arguments: Arguments,
    name: str,
    one: Callable[[tuple[float, ...]], float],
) -> None:
    """A setting that soap_turbo has for each species of neighbours."""
    values = arguments.numbers(name)
    if not values:
        arguments.fail_at(name, "has no number")
    shown = f"{arguments.argument(name).name}={bare_text(arguments[name])}"
    remark = shown if len(set(values)) == 1 else f"no counterpart: {shown}: one for all species"
    value = one(values)
    draft.set(setting, int(value) if setting == "n_max" else value, remark)
