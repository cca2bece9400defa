"""``forcemap schema``: describes settings files, for editors."""

from __future__ import annotations

import click

__all__ = ["schema"]


@click.command(epilog="Example: forcemap schema > forcemap.schema.json")
def schema() -> None:
    """Print the JSON schema of settings files.

    An editor with a YAML language server completes and checks a settings file whose first line is

    \b
      # yaml-language-server: $schema=forcemap.schema.json
    """
    import json

    from forcemap.fitter.config import Settings

    click.echo(json.dumps(Settings.schema(), indent=2, ensure_ascii=False))
