"""``forcemap map``: maps a fitted process onto splines once more."""

from __future__ import annotations

from pathlib import Path

import click
from forcemap.fitter.commands.options import ExistingFile, jobs_option, quiet_option

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
@click.option(
    "-o",
    "--output",
    "potential",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="POTENTIAL",
    help="Potential file to write.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=1e-10, max=1.0),
    help="Largest force error of the map, eV/Å.  [default: that of the fit's settings]",
)
@click.option(
    "--precision",
    type=click.Choice(["double", "single"]),
    help="Numbers that soap terms are evaluated in: single is faster.  [default: that of the fit's "
    "settings]",
)
@jobs_option
@quiet_option
def map_command(
    model: Path,
    potential: Path,
    tolerance: float | None,
    precision: str | None,
    jobs: int,
    quiet: bool,
) -> None:
    """Map the Gaussian process in MODEL onto splines, at another tolerance than the fit's, say.

    The training files that the fit has read are read again: the errors printed are those against the
    process on their frames, and the extrapolation grade compares atoms with them. Where they are not
    there any more, or not as they were, random clusters of atoms serve, and there is no grade. The
    potential has draws for deviations, as many as the fit's settings ask for.
    """
    from forcemap.fitter.remapping.job import map_file
    from forcemap.fitter.report.terminal import output_console, rows_table
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture
    from forcemap.fitter.sharing.whole_file import check_writable
    from forcemap.potentials.runs.progress import Progress

    check_writable(potential)
    warn_of_mixture(model)
    progress = Progress.silent() if quiet else Progress()
    errors = map_file(model, potential, tolerance, progress, jobs, precision)
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
    click.echo(potential)
