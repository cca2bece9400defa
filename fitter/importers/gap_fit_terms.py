"""Terms for the descriptors of gap_fit, with what is different about each.

Energies of both programs are sums of ``delta**2`` times a kernel over the same pairs, triplets and
environments, so that delta, zeta, n_sparse and lengthscales keep their values where no remark says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forcemap.fitter.checked import nearest
from forcemap.fitter.importers.gap_fit_draft import (
    Draft,
    atomic_number_of,
    atomic_numbers_of,
    set_cutoffs,
)
from forcemap.fitter.importers.gap_fit_frames import TrainingFrames
from forcemap.fitter.importers.gap_fit_options import DESCRIPTORS, OTHER_DESCRIPTORS
from forcemap.fitter.importers.gap_fit_soap import soap_draft, soap_turbo_draft
from forcemap.fitter.importers.quip_arguments import Arguments, bare_text, parse_arguments
from forcemap.fitter.terms.kinds import SETTINGS

__all__ = ["draft_of"]

HALF_WIDTHS = {1: 0.32761, 3: 0.26653}
"""Lengthscale of the squared exponential as wide at half of its height as the piecewise polynomial of
unit support for 1 and 3 numbers: (1 - r)^(j + 1) ((j + 1) r + 1) with j = 2 and 3 (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.21)."""

TRIANGLE = 0.4
"""Lengthscale of a triangle's three distances over a common theta of gap_fit's numbers, which are the
legs' sum, the square of their difference, and the base. The square makes functions more flexible: at
this ratio fits of both programs to rattled copper have the same force error, for 1.5 Å and for 3 Å."""

METHODS = {
    "uniform": ("uniform", ""),
    "random": ("random", ""),
    "cur_points": ("cur", ""),
    "cur_covariance": ("cur", ""),
    "covariance": ("pivoted_cholesky", ""),
    "pivot": ("farthest", "nearest: "),
    "cluster": ("farthest", "nearest: "),
    "kmeans": ("farthest", "nearest: "),
    "fuzzy": ("farthest", "nearest: "),
    "none": ("", "no counterpart: not every point becomes a sparse point"),
    "file": ("", "no counterpart: sparse points are chosen from the data"),
    "index_file": ("", "no counterpart: sparse points are chosen from the data"),
}
"""Methods for sparse points by gap_fit's names, and what is to be said of them."""

DELTA = "better here: without this line, the evidence chooses it"


def draft_of(text: str, origin: str, frames: TrainingFrames | None) -> Draft:
    """The term for one descriptor of ``gap={...}``.

    Raises ForcemapError for unknown descriptors and options and for values of the wrong kind.
    """
    given = parse_arguments(bare_text(text), origin)
    kind = given.kind((*DESCRIPTORS, *OTHER_DESCRIPTORS))
    if kind not in DESCRIPTORS:
        draft = Draft("", kind)
        draft.say("", f"no counterpart: {kind}, {text}: no kind of term corresponds to it")
        return draft
    arguments = DESCRIPTORS[kind].checked(Arguments(given.given, f"{origin} ({kind})"))
    draft = MAKERS[kind](arguments, frames)
    if not draft.kind:
        return draft
    _shared(draft, arguments)
    if given.stray:
        draft.say("", f"left out: {len(given.stray)} closing braces that close nothing")
    for remark in DESCRIPTORS[kind].remarks(arguments):
        draft.say("", remark)
    return draft


def _shared(draft: Draft, arguments: Arguments) -> None:
    """What all descriptors have: the amplitude and the sparse points."""
    delta = arguments.number("delta")
    factor = draft.values.get("delta", 1.0)  # of a descriptor that counts otherwise than the term
    if delta > 0.0:
        draft.set("delta", delta * factor, DELTA)
    else:
        arguments.fail_at("delta", "is not above 0")
    _species_remark(draft, arguments)
    _points(draft, arguments)
    if "sparse_method" in arguments:
        name = arguments["sparse_method"].lower()
        if name not in METHODS:
            arguments.fail_at("sparse_method", f"is no method of gap_fit{nearest(name, METHODS)}")
    else:
        name = "random"
    method, remark = METHODS[name]
    settings = SETTINGS[draft.kind]
    if method == "uniform" and draft.kind not in _OF_DISTANCES:
        draft.say("", f"no counterpart: sparse_method={name}: a grid in so many dimensions")
    elif not method:
        draft.say("", f"sparse_method={name}: {remark}; {settings.default_method} is the default")
    else:
        better = f"better here: {settings.default_method}" if method == "random" else ""
        shown = f"{remark}sparse_method={name}" if remark else better
        draft.set("sparse_method", method, shown)


def _species_remark(draft: Draft, arguments: Arguments) -> None:
    if draft.species is None and not arguments.truth("add_species", True):
        draft.say(
            "",
            "add_species=F without species: gap_fit has one function for all species, the term one for "
            "each combination of them; the same for one element",
        )
    elif "add_species" in arguments:
        draft.say("", f"as here: {arguments.shown('add_species')}: functions by species")


def _points(draft: Draft, arguments: Arguments) -> None:
    """The number of sparse points, and those of each config_type."""
    quotas: dict[str, int] = {}
    for name, text in arguments.rows("config_type_n_sparse", 2):
        if not text.isdigit() or int(text) == 0:
            arguments.fail_at("config_type_n_sparse", f"has {text!r} points of {name!r}")
        quotas[name] = quotas.get(name, 0) + int(text)
    total = sum(quotas.values())
    if quotas and draft.kind in _OF_DISTANCES:
        draft.set("n_sparse", total, "no counterpart: config_type_n_sparse; this is its sum")
    elif quotas:
        draft.set("n_sparse", total, "the sum of config_type_n_sparse, for each species of centre")
        draft.set("config_type_n_sparse", quotas)
    count = arguments.integer("n_sparse", 0)
    if count < 0:
        arguments.fail_at("n_sparse", "is negative")
    if count and quotas:
        draft.say("n_sparse", f"no counterpart: n_sparse={count} beside it (gap_fit refuses both)")
    elif count:
        draft.set(
            "n_sparse", count, "" if draft.kind in _OF_DISTANCES else "of each species of centre"
        )


# ----- functions of distances -----


def _kernel(
    draft: Draft, arguments: Arguments, dimension: int, frames: TrainingFrames | None
) -> None:
    """The covariance and its lengthscale."""
    if "zeta" in arguments:
        draft.say("", f"no counterpart: {arguments.shown('zeta')}: an exponent of dot products")
    covariance = arguments["covariance_type"].lower() if "covariance_type" in arguments else ""
    if not covariance:
        arguments.number("covariance_type")  # says that it is missing
    factor, remark = 1.0, ""
    if covariance == "pp":
        factor = HALF_WIDTHS[dimension]
        remark = "covariance_type=pp: a squared exponential as wide at half of its height"
    elif covariance not in ("ard_se", "gaussian"):
        draft.say(
            "", f"no counterpart: covariance_type={covariance}: a squared exponential instead"
        )
        return
    if dimension == 3 and draft.descriptor == "angle_3b":
        factor *= TRIANGLE
        remark += "; " if remark else ""
        remark += (
            "one for all three distances; gap_fit compares the legs' sum, the square of their "
            "difference, and the base"
        )
    draft.set("kernel", "squared_exponential")
    theta, said = _theta(draft, arguments, dimension, frames)
    if theta is not None:
        remarks = [text for text in (said, remark) if text]
        remarks.append("better here: optimise: [lengthscale]")
        draft.set("lengthscale", float(f"{theta * factor:.6g}"), *remarks)
    else:
        draft.say("", f"{said}; the lengthscale is left to the fit")


def _theta(
    draft: Draft, arguments: Arguments, dimension: int, frames: TrainingFrames | None
) -> tuple[float | None, str]:
    """gap_fit's theta with what is to be said of it."""
    if "theta_file" in arguments:
        return None, f"no counterpart: {arguments.shown('theta_file')}"
    uniform = arguments.number("theta_uniform", 0.0)
    if uniform > 0.0:
        if "theta_fac" in arguments:
            beside = arguments.shown("theta_uniform")
            draft.say("", f"no counterpart: {arguments.shown('theta_fac')} beside {beside}")
        return uniform, "" if dimension == 1 else arguments.shown("theta_uniform")
    factors = arguments.numbers("theta_fac", (1.0,))
    shown = arguments.shown("theta_fac") if "theta_fac" in arguments else "theta_fac=1, the default"
    if dimension == 1 and frames is not None and factors and factors[0] > 0.0:
        reach = frames.range_of_distances(draft.values["cutoff"])
        if reach:
            return factors[0] * reach, f"{shown} times {reach:.3g} Å, the range of the distances"
    why = "its range needs the data" if dimension == 1 else "it multiplies ranges of the data"
    return None, f"no counterpart: {shown}: {why}"


def _distance_2b(arguments: Arguments, frames: TrainingFrames | None) -> Draft:
    draft = Draft("two_body", "distance_2b", _pair(arguments, "z1", "z2"))
    if draft.species is None and (arguments.integer("z1", 0) or arguments.integer("z2", 0)):
        draft.say("", "no counterpart: a restriction of one of two atoms")
    set_cutoffs(draft, arguments)
    _kernel(draft, arguments, 1, frames)
    return draft


def _distance_nb(arguments: Arguments, frames: TrainingFrames | None) -> Draft:
    order = arguments.integer("order")
    if order not in (2, 3):
        draft = Draft("", "distance_Nb")
        draft.say("", f"no counterpart: distance_Nb order={order}: terms have two or three atoms")
        return draft
    species = atomic_numbers_of(arguments, "z")
    if species and len(species) != order:
        arguments.fail_at("z", f"has {len(species)} species, expected {order}")
    compact = arguments.truth("compact_clusters", True)
    draft = Draft("two_body" if order == 2 else "three_body", "distance_Nb", species or None)
    set_cutoffs(draft, arguments)
    if order == 2:
        if not compact:
            draft.values["delta"] = 0.5
            draft.say("delta", "half of gap_fit's: compact_clusters=F counts each pair once")
    else:
        draft.set("symmetry", "full")
        if not compact:
            draft.say(
                "symmetry",
                "no counterpart: compact_clusters=F: only triangles with all sides within the cutoff, "
                "once each; here two sides are enough, and each centre counts",
            )
    _kernel(draft, arguments, 1 if order == 2 else 3, frames)
    return draft


def _angle_3b(arguments: Arguments, frames: TrainingFrames | None) -> Draft:
    center = arguments.integer("z_center", 0)
    pair = _pair(arguments, "z1", "z2")
    species = (
        None if pair is None or not center else (atomic_number_of(arguments, "z_center"), *pair)
    )
    draft = Draft("three_body", "angle_3b", species)
    if species is None and any(arguments.integer(name, 0) for name in ("z_center", "z1", "z2")):
        draft.say("", "no counterpart: a restriction to a centre or to neighbours alone")
    set_cutoffs(draft, arguments)
    draft.set("symmetry", "central")
    _kernel(draft, arguments, 3, frames)
    return draft


def _pair(arguments: Arguments, first: str, second: str) -> tuple[int, ...] | None:
    numbers = [atomic_number_of(arguments, name) for name in (first, second)]
    return tuple(sorted(numbers)) if all(numbers) else None


_OF_DISTANCES = ("two_body", "three_body")

MAKERS: Mapping[str, Callable[[Arguments, TrainingFrames | None], Draft]] = {
    "distance_2b": _distance_2b,
    "distance_Nb": _distance_nb,
    "angle_3b": _angle_3b,
    "soap": soap_draft,
    "soap_turbo": soap_turbo_draft,
}
