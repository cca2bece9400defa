"""``forcemap export``: a potential in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from forcemap.fitter.commands.options import ExistingFile

if TYPE_CHECKING:
    from forcemap.potentials.uf3_export import Uf3Export

__all__ = ["export", "export_potential"]

EXAMPLE = "forcemap export out/potential.forcemap --format uf3 -o uf3"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=ExistingFile())
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["uf3"]),
    required=True,
    help="uf3: tables and input lines for LAMMPS' own pair_style uf3.",
)
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to write into; made if need be.",
)
@click.option(
    "--types",
    metavar="ELEMENTS",
    help='Elements of the LAMMPS atom types 1, 2, ... in quotes, as "Si O".  '
    "[default: by atomic number]",
)
def export(potential: Path, file_format: str, directory: Path, types: str | None) -> None:
    """Write POTENTIAL for a program that does not know forcemap's own files.

    For LAMMPS: put `include DIR/in.potential` into the input after the atoms are defined, in place
    of pair_style and pair_coeff. Energy and forces are those of pair_style forcemap to 1e-9.
    """
    from forcemap.potentials.errors import ForcemapError

    assert file_format == "uf3"
    try:
        written = export_potential(potential, directory, types.split() if types else None)
    except ForcemapError as error:
        raise click.ClickException(str(error)) from None
    for path in written.files:
        click.echo(path)
    click.echo(written.input_file)
    click.echo("\nIn the LAMMPS input, after the atoms are defined:\n", err=True)
    click.echo(f"    include {written.input_file}", err=True)


def export_potential(potential: Path, directory: Path, types: list[str] | None = None) -> Uf3Export:
    """Write the potential file's content for ``pair_style uf3``, named after the file.

    Raises ForcemapError if the file cannot be read or its tables do not fit into the format.
    """
    from forcemap.potentials.model import read_potential
    from forcemap.potentials.uf3_export import export_uf3

    return export_uf3(read_potential(potential), directory, potential.stem, types)
