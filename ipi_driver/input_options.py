"""Options of ``forcemap ipi-input`` and ``forcemap pimd``, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["run_options", "settings_from"]

F = TypeVar("F", bound=Callable[..., Any])

_COUNT = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0.0, min_open=True)

_OPTIONS = (
    click.argument("potential", type=click.Path(exists=True, dir_okay=False)),
    click.argument("structure", type=click.Path(exists=True, dir_okay=False)),
    click.option(
        "--beads", type=_COUNT, default=32, show_default=True,
        help="Beads of each ring polymer; 1 is classical dynamics.",
    ),
    click.option("--temperature", type=_POSITIVE, default=300.0, show_default=True, help="K."),
    click.option(
        "--ensemble", type=click.Choice(["nvt", "npt", "nve"]), default="nvt", show_default=True
    ),
    click.option(
        "--thermostat", type=click.Choice(["pile_g", "pile_l", "piglet"]), default="pile_g",
        show_default=True, help="piglet needs --gle-file.",
    ),
    click.option(
        "--gle-file", type=click.Path(exists=True, dir_okay=False),
        help="Matrices A and C of piglet, from gle4md.org in i-PI's format.",
    ),
    click.option("--steps", type=_COUNT, default=10_000, show_default=True),
    click.option("--timestep", type=_POSITIVE, default=0.5, show_default=True, help="fs."),
    click.option(
        "--tau", type=_POSITIVE, default=100.0, show_default=True,
        help="Time constant of the centroids' thermostat, fs.",
    ),
    click.option(
        "--pressure", type=float, default=1.0, show_default=True,
        help="bar; of npt, whose cell scales isotropically.",
    ),
    click.option(
        "--batch-size", type=_COUNT, help="Structures in one message.  [default: all beads]"
    ),
    click.option(
        "--latency", type=_POSITIVE,
        help="Seconds that i-PI waits for structures.  [default: by number of atoms]",
    ),
    click.option(
        "--mode", type=click.Choice(["unix", "shm", "inet"]), default="unix", show_default=True,
        help="How i-PI and the driver talk.",
    ),
    click.option("--output-stride", type=_COUNT, default=10, show_default=True,
                 help="Steps between lines of properties."),
    click.option(
        "--trajectory", type=click.Choice(["centroid", "beads", "none"]), default="centroid",
        show_default=True, help="Positions that are written.",
    ),
    click.option(
        "--trajectory-stride", type=_COUNT, help="Steps between them.  [default: 10 x output]"
    ),
    click.option(
        "--checkpoint-stride", type=_COUNT,
        help="Steps between checkpoints.  [default: 100 x output]",
    ),
    click.option(
        "--committee", type=int, metavar="N",
        help="Run a committee of N members, made from the potential's draws; their energies and "
        "spread are written for each bead.",
    ),
    click.option("--seed", type=_COUNT, help="Of random numbers.  [default: another each time]"),
)  # fmt: skip


def run_options(function: F) -> F:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def settings_from(options: dict[str, Any]) -> Any:
    """The `InputSettings` of the options' values.

    Raises:
        ForcemapError: as `InputSettings`.
    """
    from forcemap.ipi_driver.input import InputSettings, read_gle_file

    values = dict(options)
    gle_file = values.pop("gle_file")
    if gle_file is not None and values["thermostat"] != "piglet":
        raise click.UsageError("--gle-file goes with --thermostat piglet")
    gle = read_gle_file(gle_file, values["beads"]) if gle_file else ""
    return InputSettings(gle=gle, **values)
