"""The same settings in several sizes: what accuracy costs, before a size is chosen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forcemap.fitter.config import (
    EnvironmentSettings,
    FewBodySettings,
    Settings,
    SoapSettings,
    TermSettings,
)
from forcemap.fitter.fit_folder import FILES, identity_of, put_together
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted

__all__ = ["SIZES", "SizePoint", "copy_files", "parse_sizes", "scaled"]


@dataclass(frozen=True)
class Size:
    """How a size differs from the settings as they stand.

    Attributes:
        points: factor of the numbers of sparse points.
        radial, angular: factors of n_max and l_max of soap terms.
    """

    points: float
    radial: float
    angular: float


SIZES = {
    "small": Size(0.25, 0.5, 0.5),
    "medium": Size(1.0, 1.0, 1.0),
    "large": Size(2.5, 1.25, 4.0 / 3.0),
}


@dataclass(frozen=True)
class SizePoint:
    """A point of the accuracy-cost curve; errors are of the test frames, or else of training."""

    name: str
    energy_rmse_mev_per_atom: float | None
    force_rmse_ev_per_a: float | None
    run_microseconds_per_atom: float | None
    seconds: float
    n_sparse: int

    @classmethod
    def of(cls, name: str, judged: Mapping[str, Any], fit: Mapping[str, Any]) -> SizePoint:
        """From the blocks of a report."""
        return cls(
            name,
            judged["energy_rmse_mev_per_atom"],
            judged["force_rmse_ev_per_a"],
            fit["run_microseconds_per_atom"],
            fit["seconds"],
            fit["n_sparse"],
        )


def parse_sizes(text: str) -> list[str]:
    """The names in "small,medium,large". Raises ForcemapError for others."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SIZES:
            raise ForcemapError(f"--sizes: {quoted(name)} is not one of {', '.join(SIZES)}")
    if not names or len(set(names)) != len(names):
        raise ForcemapError(f"--sizes: {quoted(text)} is not a list such as small,medium,large")
    return names


def scaled(settings: Settings, name: str) -> Settings:
    """The settings in the size `name`; cutoffs stay, and what is given of the kernels."""
    return replace(settings, terms=tuple(_scaled(term, SIZES[name]) for term in settings.terms))


def _scaled(term: TermSettings, size: Size) -> TermSettings:
    def times(number: int, factor: float, least: int) -> int:
        return max(min(number, least), round(number * factor))

    if isinstance(term, FewBodySettings):
        return replace(
            term,
            n_sparse=None if term.n_sparse is None else times(term.n_sparse, size.points, 8),
            n_sparse_factor=term.n_sparse_factor * size.points,
        )
    if isinstance(term, EnvironmentSettings):
        quotas = {g: times(n, size.points, 1) for g, n in term.config_type_n_sparse.items()}
        within = sum(quotas.values())  # rounding may have made these too many
        count = term.n_sparse
        if isinstance(count, Mapping):
            count = {s: max(times(n, size.points, 8), within) for s, n in count.items()}
        elif count is not None:
            count = max(times(count, size.points, 8), within)
        term = replace(
            term,
            n_sparse=count,
            n_sparse_factor=term.n_sparse_factor * size.points,
            config_type_n_sparse=quotas,
        )
    if isinstance(term, SoapSettings):
        return replace(
            term,
            n_max=min(32, times(term.n_max, size.radial, 2)),
            l_max=min(20, times(term.l_max, size.angular, 1)),
        )
    return term


def copy_files(settings: Settings, folder: Path, out: Path) -> None:
    """Copy the files of the fit of `settings` from `folder` to `out`, all together.

    Raises ForcemapError if one cannot be written.
    """
    with put_together(out) as part:
        for name in FILES:
            if name == "settings.yaml":  # whose paths are relative to where it is
                settings.dump(part / name, out, identity_of(folder / name) or "")
            elif (folder / name).exists():
                shutil.copyfile(folder / name, part / name)
