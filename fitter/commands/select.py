"""``forcemap select``: the choice of terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    command_line,
    echo_json,
    jobs_option,
    json_option,
    output_folder_option,
    progress_unless,
    quiet_option,
)

__all__ = ["select"]

EXAMPLE = "forcemap select settings.yaml --target 0.1 -o choice"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("settings", type=ExistingFile())
@output_folder_option
@click.option(
    "--target",
    type=click.FloatRange(min=0, min_open=True),
    metavar="EV_PER_A",
    help="Wanted force error, eV/Å per component (RMSE); replaces the target of the settings.",
)
@click.option(
    "--optimise/--no-optimise",
    default=True,
    show_default=True,
    help="Choose hyperparameters by evidence first.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=0, max=100),
    default=3,
    show_default=True,
    metavar="N",
    help="Random parts of the frames of each size in learning curves; 0: no curves.",
)
@click.option(
    "--frames",
    "most_frames",
    type=click.IntRange(min=2),
    metavar="N",
    help="Use this many training frames, evenly chosen.  [default: all]",
)
@json_option
@jobs_option
@quiet_option
def select(settings: Path, out: Path, jobs: int, quiet: bool, as_json: bool, **wishes: Any) -> None:
    """Compare terms for the data of the YAML file SETTINGS, and recommend some.

    The file is that of a fit; instead of `terms` it may have `candidates`, lists of terms with names,
    and a `target` for the force error, eV/Å. Without candidates, those that come with forcemap are
    compared. Each one is optimised, fitted, and judged by its evidence, its errors on unseen frames,
    its learning curve and the cost of a step. Writes select.json, select.html and, for each candidate,
    a settings file ready to fit.
    """
    from forcemap.fitter.report.terminal import output_console
    from forcemap.fitter.selection.candidates import Selection
    from forcemap.fitter.selection.job import Wishes, select_to_folder
    from forcemap.fitter.sharing.run import Run
    from forcemap.potentials.runs.interruption import interruptible

    selection = Selection.read(settings)
    run = Run(jobs, progress_unless(quiet))
    with interruptible(run.progress, lambda: _go_on(out), f"Go on with:\n    {command_line()}"):
        outcome = select_to_folder(selection, out, Wishes(**wishes), run)
    if as_json:
        echo_json({**outcome.document(), "files": outcome.files})
        return
    from forcemap.fitter.selection.show import NOTE, table  # of the extra "report", seen to by now

    console = output_console()
    console.print(table(outcome.judged, outcome.recommendation))
    console.print(NOTE)
    console.print(f"\n{outcome.recommendation.sentence}\n")
    for file in outcome.files:
        click.echo(file)


def _go_on(out: Path) -> str:
    """What an interrupted selection leaves, and how to go on."""
    from forcemap.fitter.selection.kept import left_in
    from forcemap.potentials.runs.interruption import anew

    if kept := left_in(out):
        return f"{kept} Go on with:\n    {command_line()}"
    less = "Nothing was kept yet. It takes less with --frames N, --repeats 0 or --no-optimise."
    return anew(less, command_line())
