"""``forcemap import gap-fit``: settings from a command of gap_fit."""

from __future__ import annotations

from pathlib import Path

import click
from forcemap.fitter.commands.options import echo_json, json_option

__all__ = ["import_gap_fit", "write_settings"]

EXAMPLE = "forcemap import gap-fit fit_gap.sh -o settings.yaml"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("command", metavar="COMMAND")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File for the settings; they are printed without it.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
def import_gap_fit(command: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Write settings for forcemap fit that mean what a COMMAND of gap_fit means.

    COMMAND is the command itself in quotes, or a file that holds it: a script, a config_file of
    gap_fit, or the XML of a GAP with its own command line.

    A remark stands at every line that has no counterpart, or a better one. Where the training file
    can be read, sigmas of virials become those of stresses.
    """
    from forcemap.fitter.importers.gap_fit import settings_from_gap_fit

    if out is None:
        text = settings_from_gap_fit(command, Path())
    else:
        text = write_settings(command, out, force)
    if as_json:
        import yaml

        echo_json({"settings": yaml.safe_load(text), "files": [] if out is None else [out]})
    elif out is None:
        click.echo(text, nl=False)
    else:
        click.echo(out)


def write_settings(command: str, out: Path, force: bool = False) -> str:
    """Write the settings for a command of gap_fit, whole or not at all; returns their text.

    Raises ForcemapError for a command that cannot be translated, and for a file that is there
    already unless `force`.
    """
    from forcemap.fitter.importers.gap_fit import settings_from_gap_fit
    from forcemap.fitter.sharing.whole_file import write_whole
    from forcemap.potentials.errors import ForcemapError

    if out.exists() and not force:
        raise ForcemapError(f"{out}: is there already; name another file, or give --force")
    text = settings_from_gap_fit(command, out.parent)
    write_whole(out, text)
    return text
