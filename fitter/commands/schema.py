"""``forcemap schema``: describes settings files, for editors."""

from __future__ import annotations

import click

__all__ = ["schema"]


@click.command(epilog="Example: forcemap schema > forcemap.schema.json")
@click.option("--select", is_flag=True, help="Of settings for forcemap select.")
def schema(select: bool) -> None:
    """Print the JSON schema of settings files.

    An editor with a YAML language server completes and checks a settings file whose first line is

    \b
      # yaml-language-server: $schema=forcemap.schema.json
    """
    import json

    from forcemap.fitter.config import Settings
    from forcemap.fitter.selection.candidates import schema as schema_of_selection

    found = schema_of_selection() if select else Settings.schema()
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
