"""``forcemap fit``: frames and settings to a potential and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from forcemap.fitter.commands.options import jobs_option, quiet_option

__all__ = ["fit", "fit_settings"]

EXAMPLE = "forcemap fit settings.yaml -o out"
FILES = ("potential.forcemap", "model.forcemap", "settings.yaml", "report.json", "report.html")


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("settings", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to write into; made if need be, files of an earlier fit are replaced.",
)
@jobs_option
@quiet_option
def fit(settings: Path, out: Path, jobs: int, quiet: bool) -> None:
    """Fit a potential as the YAML file SETTINGS says, map it, and judge it.

    Writes potential.forcemap (for LAMMPS, i-PI and ASE), model.forcemap (the Gaussian process),
    settings.yaml with every default written out, report.html and report.json.
    """
    from forcemap.fitter.error_table import error_table, output_console
    from forcemap.fitter.progress import Progress

    report = fit_settings(settings, out, jobs, Progress.silent() if quiet else Progress())
    console = output_console()
    for name, title in (("train", "Training frames"), ("test", "Test frames")):
        if report[name]["n_frames"]:
            console.print(error_table(title, report[name]))
    written: tuple[str, ...] = FILES
    if report["errors_of"] == "process":
        written = FILES[1:]
        console.print(
            "Errors of the process itself: a term without a map is among its terms, so there is no "
            "potential.forcemap, and it cannot be run in MD."
        )
    else:
        worst = report["mapping"]["force_max_error_ev_per_a"]
        console.print(f"Largest force error of the map against the process: {worst:.1e} eV/Å")
    console.print(f"Time: {report['fit']['seconds']:.1f} s\n")
    for name in written:
        click.echo(out / name)


def fit_settings(settings: Path, out: Path, jobs: int, progress: Any) -> dict[str, Any]:
    """Fit as the file `settings` says into the folder `out`; returns the report.

    Raises ForcemapError for settings, frames or folders that cannot be used.
    """
    from forcemap.fitter.config import Settings
    from forcemap.fitter.whole_file import make_folder

    read = Settings.read(settings)
    # A folder that cannot be written is found now, not when an hour's fit is to be saved.
    make_folder(out)
    from forcemap.fitter import fit_to_folder

    return fit_to_folder(read, out, jobs, progress)
