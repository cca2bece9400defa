"""``forcemap export``: a potential in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    echo_json,
    json_option,
    output_folder_option,
    say,
)
from forcemap.potentials.runs.options import WORDS

if TYPE_CHECKING:
    from forcemap.potentials.export.registry import Written

__all__ = ["export", "export_potential"]

EXAMPLE = "forcemap export out/potential.forcemap --format uf3 -o uf3"


def _print_list(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from forcemap.potentials.export.registry import EXPORTS

    takes = {name: [term.kind for term in form.takes] for name, form in EXPORTS.items()}
    # Other options are not read yet: POTENTIAL and --format, which are required, may be missing.
    if "--json" in ctx.meta.get(WORDS, []):
        rows = {name: {"summary": EXPORTS[name].summary, "takes": takes[name]} for name in takes}
        echo_json({"formats": rows})
    else:
        for name, kinds in takes.items():
            listed = ", ".join(kinds)
            click.echo(f"{name}: {EXPORTS[name].summary}; takes terms of the kinds {listed}")
    ctx.exit()


def _complete_formats(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from forcemap.potentials.export.registry import EXPORTS

    return [name for name in EXPORTS if name.startswith(incomplete)]


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=ExistingFile())
@click.option(
    "--list",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_list,
    help="Print the formats, and the kinds of terms that each can hold.",
)
@click.option(
    "--format",
    "form",
    required=True,
    metavar="NAME",
    shell_complete=_complete_formats,
    help="Name of the format, such as uf3 (LAMMPS' own pair_style uf3); --list prints all.",
)
@output_folder_option
@click.option(
    "--types",
    metavar="ELEMENTS",
    help='Elements of the LAMMPS atom types 1, 2, ... in quotes, as "Si O".  '
    "[default: by atomic number]",
)
@json_option
def export(potential: Path, form: str, out: Path, types: str | None, as_json: bool) -> None:
    """Write POTENTIAL for a program that does not know forcemap's own files.

    For LAMMPS: put `include DIR/in.potential` into the input after the atoms are defined, in place
    of pair_style and pair_coeff. Energy and forces are those of pair_style forcemap to 1e-9.
    """
    written = export_potential(potential, form, out, types.split() if types else None)
    if as_json:
        echo_json({"format": form, "files": written.files, "use": written.use})
        return
    for path in written.files:
        click.echo(path)
    say("\n" + "\n\n".join(written.use))


def export_potential(
    potential: Path, form: str, directory: Path, types: list[str] | None = None
) -> Written:
    """Write the potential file's content in the format `form`, named after the file.

    Raises ForcemapError if the format is unknown, the file cannot be read, or the format cannot hold
    its terms.
    """
    from forcemap.fitter.checked import nearest
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.export.registry import EXPORTS
    from forcemap.potentials.file.potential_file import read_potential

    if form not in EXPORTS:
        raise ForcemapError(f'--format: there is no format "{form}"{nearest(form, EXPORTS)}')
    return EXPORTS[form].write(read_potential(potential), directory, potential.stem, types)
