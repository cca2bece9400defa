"""``forcemap completion``: lets a shell complete commands, options and names of files."""

from __future__ import annotations

import click

__all__ = ["completion"]

EXAMPLE = "forcemap completion bash"

VARIABLE = "_FORCEMAP_COMPLETE"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete forcemap's commands, options and names of files.

    To have it in every shell from now on, put the example's line into ~/.bashrc, with zsh for bash
    into ~/.zshrc, or

    \b
      forcemap completion fish > ~/.config/fish/completions/forcemap.fish

    bash needs to be of version 4.4 or later.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    # Not the class's source(), which starts a bash to see its version.
    script = found(ctx.find_root().command, {}, "forcemap", VARIABLE)
    click.echo(script.source_template % script.source_vars())
