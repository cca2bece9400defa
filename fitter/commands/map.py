"""``forcemap map``: maps a fitted process onto splines once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    command_line,
    echo_json,
    jobs_option,
    json_option,
    output_file_option,
    progress_unless,
    quiet_option,
)

__all__ = ["map_command"]

EXAMPLE = "forcemap map out/model.forcemap -o fine.forcemap --tolerance 1e-5"

ROWS = (
    ("force_max_error_ev_per_a", "largest force error, eV/Å"),
    ("force_rmse_error_ev_per_a", "force RMSE, eV/Å"),
    ("energy_max_error_ev_per_atom", "largest energy error, eV/atom"),
    ("single_precision_force_error_ev_per_a", "change of forces by single precision, eV/Å"),
    ("tolerance_ev_per_a", "tolerance asked for, eV/Å"),
)


@click.command("map", epilog=f"Example: {EXAMPLE}")
@click.argument("model", type=ExistingFile())
@output_file_option("potential")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=1e-10, max=1.0),
    help="Largest force error of the map, eV/Å.  [default: that of the fit's settings]",
)
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    metavar="N",
    help="Draws for deviations, 3 or more; 0: none.  [default: as the fit's settings say]",
)
@click.option(
    "--precision",
    type=click.Choice(["double", "single"]),
    help="Numbers that soap and bispectrum terms are evaluated in: single is faster.  [default: that "
    "of the fit's settings]",
)
@json_option
@jobs_option
@quiet_option
def map_command(
    model: Path, output: Path, jobs: int, quiet: bool, as_json: bool, **wishes: Any
) -> None:
    """Map the Gaussian process in MODEL onto splines, at another tolerance than the fit's, say.

    The training files that the fit has read are read again: the errors printed are those against the
    process on their frames, and the extrapolation grade compares atoms with them. Where they are not
    there any more, or not as they were, random clusters of atoms serve, and there is no grade. The
    potential has draws for deviations, as many as the fit's settings ask for or --draws; a fit keeps
    what they are drawn from whether it was asked for draws or not.
    """
    from forcemap.fitter.remapping.job import Wishes, map_file
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture
    from forcemap.fitter.sharing.whole_file import check_writable
    from forcemap.potentials.runs.interruption import anew, interruptible

    check_writable(output)
    warn_of_mixture(model)
    progress = progress_unless(quiet)
    with interruptible(progress, anew(f"{output} was not written.", command_line())):
        errors = map_file(model, output, Wishes(**wishes), progress, jobs)
    if as_json:
        echo_json({**errors, "files": [output]})
        return
    _show(errors)
    click.echo(output)


def _show(errors: Mapping[str, Any]) -> None:
    """Print the errors of a map."""
    from forcemap.fitter.report.terminal import output_console, rows_table

    rows = [(label, f"{errors[key]:.2e}") for key, label in ROWS if key in errors]
    drawn = errors.get("draws")
    if drawn:
        rows.append(("draws", str(drawn["count"])))
        rows.append(("their force error, relative RMS", f"{drawn['force_relative_rms_error']:.1%}"))
    fault, frames = errors["fault"], f"{errors['frames']} training frames"
    rows.append(("extrapolation grade", f"none: {fault}" if fault else f"by the {frames}"))
    rows.append(("time, s", f"{errors['seconds']:.1f}"))
    where = "random clusters" if fault else frames
    output_console().print(rows_table(rows, f"Map against the process on {where}"))
