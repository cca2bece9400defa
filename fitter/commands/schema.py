"""``forcemap schema``: describes settings files, for editors."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["schema"]


@click.command(epilog="Example: forcemap schema > forcemap.schema.json")
@click.option("--select", is_flag=True, help="Of settings for forcemap select.")
@click.option("--validate", is_flag=True, help="Of settings for forcemap validate.")
def schema(select: bool, validate: bool) -> None:
    """Print the JSON schema of settings files.

    An editor with a YAML language server completes and checks a settings file whose first line is

    \b
      # yaml-language-server: $schema=forcemap.schema.json
    """
    import json

    if select and validate:
        raise click.UsageError("--select and --validate do not go together")
    click.echo(json.dumps(_schema(select, validate), indent=2, ensure_ascii=False))


def _schema(select: bool, validate: bool) -> dict[str, Any]:
    if validate:
        from forcemap.fitter.validation.registry import CHECKS
        from forcemap.fitter.validation.settings import schema as schema_of_validation

        return schema_of_validation(CHECKS)
    if select:
        from forcemap.fitter.selection.candidates import schema as schema_of_selection

        return schema_of_selection()
    from forcemap.fitter.config import Settings

    return Settings.schema()
