"""``forcemap import``: what other programs made."""

from __future__ import annotations

import click
from forcemap.fitter.commands.import_gap import import_gap
from forcemap.fitter.commands.import_gap_fit import import_gap_fit

__all__ = ["import_group"]


EXAMPLE = "forcemap import gap gap.xml -o potential.forcemap"


@click.group(name="import", epilog=f"Example: {EXAMPLE}")
def import_group() -> None:
    """Bring in what other programs made."""


import_group.add_command(import_gap, "gap")
import_group.add_command(import_gap_fit, "gap-fit")
