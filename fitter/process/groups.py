"""Checks of the settings for groups of frames against the groups that the frames have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from forcemap.fitter.checked import nearest
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.terms.base import TermSettings
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError

__all__ = ["check_groups"]


def check_groups(frames: Sequence[Frame], settings: Settings) -> None:
    """Warn (UserWarning) of every config_type in the settings that no frame has.

    Raises ForcemapError if the config_type_n_sparse of a term ask for more points of a species than its
    n_sparse.
    """
    present = sorted({frame.config_type for frame in frames})
    named = {"sigma.config_type": list(settings.sigma.config_type)}
    for number, term in enumerate(settings.terms):
        if term.quotas:
            place = f"terms[{number}].config_type_n_sparse"
            named[place] = list(term.quotas)
            _check_quotas(frames, term, place)
    for place, groups in named.items():
        for group in groups:
            if group not in present:
                warnings.warn(
                    f'{place}: no training frame has the config_type "{group}"'
                    f"{nearest(group, present)}",
                    stacklevel=2,
                )


def _check_quotas(frames: Sequence[Frame], term: TermSettings, place: str) -> None:
    quotas = term.quotas
    # A group without frames of an element gets none of its points.
    pairs = {(int(z), f.config_type) for f in frames if f.config_type in quotas for z in f.numbers}
    for z in sorted({number for number, _ in pairs}):
        symbol, asked = SYMBOLS[z], sum(n for g, n in quotas.items() if (z, g) in pairs)
        count = term.points_given((z,))
        if count is not None and asked > count:
            raise ForcemapError(
                f"{place}: asks for {asked} sparse points of {symbol} in all, more than the {count} of "
                "n_sparse; raise n_sparse, or lower these"
            )
