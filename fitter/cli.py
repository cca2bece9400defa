"""The command line, ``forcemap``: registers the commands and turns errors into messages.

A command is imported only when it is named, and imports what it needs when it runs, so that
``forcemap --help`` is instant.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
from forcemap.fitter.sharing.launch import rank_number

__all__ = ["cli", "main"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""

# ----- the commands, each imported when it is named -----


def _fit() -> click.Command:
    from forcemap.fitter.commands.fit import fit

    return fit


def _select() -> click.Command:
    from forcemap.fitter.commands.select import select

    return select


def _map() -> click.Command:
    from forcemap.fitter.commands.map import map_command

    return map_command


def _evaluate() -> click.Command:
    from forcemap.fitter.commands.evaluate import evaluate

    return evaluate


def _validate() -> click.Command:
    from forcemap.fitter.commands.validate import validate

    return validate


def _suggest() -> click.Command:
    from forcemap.fitter.commands.suggest import suggest

    return suggest


def _export() -> click.Command:
    from forcemap.fitter.commands.export import export

    return export


def _info() -> click.Command:
    from forcemap.fitter.commands.info import info

    return info


def _check() -> click.Command:
    from forcemap.fitter.commands.check import check

    return check


def _import() -> click.Command:
    from forcemap.fitter.commands.import_group import import_group

    return import_group


def _schema() -> click.Command:
    from forcemap.fitter.commands.schema import schema

    return schema


def _driver() -> click.Command:
    from forcemap.ipi_driver.command import driver

    return driver


def _ipi_input() -> click.Command:
    from forcemap.ipi_driver.input_command import ipi_input

    return ipi_input


def _pimd() -> click.Command:
    from forcemap.ipi_driver.pimd_command import pimd

    return pimd


def _demo() -> click.Command:
    from forcemap.fitter.commands.demo import demo

    return demo


COMMANDS: dict[str, tuple[Callable[[], click.Command], str]] = {
    "check": (_check, "Find faults in data, with their cures."),
    "fit": (_fit, "Fit a potential to frames, map it, judge it."),
    "select": (_select, "Compare terms for the data, recommend some."),
    "map": (_map, "Map a Gaussian process again."),
    "evaluate": (_evaluate, "Errors on labelled frames, predictions for others."),
    "validate": (_validate, "Check the physics of a potential."),
    "suggest": (_suggest, "Choose the frames of a pool to label next."),
    "import": (_import, "Bring in GAPs of QUIP and gap_fit commands."),
    "export": (_export, "Write LAMMPS' own pair_style uf3."),
    "info": (_info, "Show what a potential or model file holds."),
    "schema": (_schema, "Print a JSON schema of settings files."),
    "driver": (_driver, "Evaluate potentials for a running i-PI."),
    "ipi-input": (_ipi_input, "Write an input for i-PI."),
    "pimd": (_pimd, "Run path integrals with i-PI."),
    "demo": (_demo, "Fit silicon, run LAMMPS and i-PI with it."),
}
"""What imports each command, and what the list of commands says of it."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        return COMMANDS[cmd_name][0]()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the message for a misspelt one has the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from forcemap.fitter.checked import nearest

            ctx.fail(f'there is no command "{args[0]}"{nearest(args[0], COMMANDS)}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what is wrong with the input ends it with a message and exit code 1."""
        from forcemap.potentials.errors import ForcemapError
        from forcemap.potentials.quoting import printable

        try:
            return super().invoke(ctx)
        except ForcemapError as error:
            raise click.ClickException(printable(error)) from None
        except click.ClickException as error:
            if type(error) is not click.ClickException:
                raise
            raise click.ClickException(printable(error.message)) from None


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from forcemap import __version__

        click.echo(f"forcemap {__version__}")
        ctx.exit()


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings to users as one line on stderr, without the place in our code."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        from forcemap.potentials.quoting import printable

        click.echo(f"Warning: {printable(message)}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and leave.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Potentials from ab initio data for LAMMPS, i-PI and ASE.

    \b
      forcemap fit settings.yaml -o out        data -> Gaussian process -> map -> report
      forcemap evaluate out/potential.forcemap test.xyz
      lmp -in in.lammps                        pair_style forcemap

    Try it: forcemap demo

    Exit codes: 0 all went well, 1 the input is at fault (one message names it), 2 the command line is,
    130 after Ctrl-C.
    """
    ctx.with_resource(_plain_warnings())
    if ctx.obj is not None:  # the program itself, not a test or another program that calls it
        ctx.obj()


def _leave_on_signals() -> None:
    """Who is terminated stops the programs it started and removes half-written files."""
    from forcemap.potentials.leaving import leave_on_signals

    leave_on_signals()


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = cli.main(prog_name="forcemap", standalone_mode=False, obj=_leave_on_signals)
    except click.ClickException as error:
        # All ranks of an MPI job misread the same command line; one of them says so.
        if not (isinstance(error, click.UsageError) and rank_number()):
            error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has left. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
