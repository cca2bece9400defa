"""``forcemap pimd``: path integrals with one command."""

from __future__ import annotations

from typing import Any

import click
from forcemap.ipi_driver.input_options import run_options, settings_from
from forcemap.potentials.runs.options import (
    command_line,
    echo_json,
    json_option,
    progress_unless,
    quiet_option,
)

__all__ = ["pimd"]

EXAMPLE = "forcemap pimd out/potential.forcemap start.xyz --beads 32 --temperature 300 -o pimd"


@click.command(epilog=f"Example: {EXAMPLE}")
@run_options
@click.option(
    "-o", "--folder", type=click.Path(file_okay=False), default="pimd", show_default=True,
    help="Where everything goes.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of each driver.  [default: all cores]"
)
@click.option(
    "--clients", type=click.IntRange(min=1), default=1, show_default=True,
    help="Drivers that share the beads; one with threads is mostly the fastest.",
)  # fmt: skip
@json_option
@quiet_option
def pimd(
    potential: str, structure: str, folder: str, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Run path-integral dynamics of POTENTIAL from STRUCTURE with i-PI.

    i-PI and its drivers are started together and watched until the last step is reached. After a
    kill or a crash, the same command goes on from the last checkpoint; with more --steps it goes on
    from the end. A run that blows up is stopped. Where the potential grades atoms, a line at the end
    says how many of those looked at had a grade above 1.
    """
    from forcemap.ipi_driver.pimd import left_in, run_pimd
    from forcemap.potentials.runs.interruption import interruptible

    threads, clients = options.pop("threads"), options.pop("clients")
    settings, progress = settings_from(options), progress_unless(quiet)
    words = f"Go on with:\n    {command_line()}"
    with interruptible(progress, lambda: f"{left_in(folder, settings.steps)} {words}", words):
        done = run_pimd(
            potential, structure, settings, folder,
            threads=threads, clients=clients, progress=progress,
        )  # fmt: skip
    if as_json:
        echo_json(done.document())
        return
    if done.begin == done.steps:
        click.echo(
            f"{done.output}: the run has come to step {done.steps} already; to go on, give more "
            "--steps, to begin anew, another folder"
        )
        return
    click.echo(f"{done.output}: reached step {done.steps}, {done.milliseconds:.1f} ms per step")
    if done.grades.structures:
        click.echo(done.grades.line())
