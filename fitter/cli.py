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
from click.shell_completion import CompletionItem
from forcemap.fitter.commands.talk import talk_options, with_talk
from forcemap.fitter.sharing.launch import rank_number
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.runs.options import WORDS

__all__ = ["cli", "main"]

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


def _build_plugin() -> click.Command:
    from forcemap.fitter.commands.build_plugin import build_plugin

    return build_plugin


def _demo() -> click.Command:
    from forcemap.fitter.commands.demo import demo

    return demo


def _completion() -> click.Command:
    from forcemap.fitter.commands.completion import completion

    return completion


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
    "build-plugin": (_build_plugin, "Compile pair_style forcemap for your LAMMPS."),
    "demo": (_demo, "Fit silicon, run LAMMPS and i-PI with it."),
    "completion": (_completion, "Print what lets a shell complete commands."),
}
"""What imports each command, and what the list of commands says of it."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Keep what was typed, for messages that say how to go on."""
        words = list(args)
        ctx = super().make_context(info_name, args, parent, **extra)
        ctx.meta[WORDS] = words
        return ctx

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        return with_talk(COMMANDS[cmd_name][0]())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands that begin so, or options; none is imported for it."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

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
        from forcemap.potentials.runs.log import SHOWN

        SHOWN.warning("Warning: %s", printable(message))
        click.echo(f"{_colored('Warning:', 'yellow')} {printable(message)}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def _colored(text: str, color: str) -> str:
    """Text in a color if stderr is a terminal and NO_COLOR (no-color.org) is not set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return click.style(text, fg=color) if sys.stderr.isatty() and not plain else text


EXIT_CODES = "; ".join(f"{code.value} {code.meaning}" for code in ExitCode)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit codes: {EXIT_CODES}.",
)
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

    -q, -v and --log may stand before the command or after it. Output for people is on stderr, but for
    results; with --json, stdout holds JSON and nothing else.
    """
    ctx.with_resource(_plain_warnings())
    if ctx.obj is not None:  # the program itself, not a test or another program that calls it
        ctx.obj()


def _leave_on_signals() -> None:
    """Who is terminated stops the programs it started and removes half-written files."""
    from forcemap.potentials.leaving import leave_on_signals

    leave_on_signals()


cli.params += talk_options()


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = cli.main(prog_name="forcemap", standalone_mode=False, obj=_leave_on_signals)
    except click.ClickException as error:
        # All ranks of an MPI job misread the same command line; one of them says so.
        if not (isinstance(error, click.UsageError) and rank_number()):
            _show(error)
        sys.exit(error.exit_code)
    except click.Abort as error:
        click.echo(f"Interrupted. {error.__cause__ or ''}".rstrip(), err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except SystemExit as leaving:
        if text := str(getattr(leaving, "text", "")):
            click.echo(f"Terminated. {text}", err=True)
        raise
    except BrokenPipeError:
        # The reader of our output (head, less) has left. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAULT)
    except Exception:
        _show_fault_of_ours()
        sys.exit(ExitCode.BUG)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _show(error: click.ClickException) -> None:
    if isinstance(error, click.UsageError):
        error.show()
    else:
        click.echo(f"{_colored('Error:', 'red')} {error.format_message()}", err=True)


def _show_fault_of_ours() -> None:
    """Print the traceback, which users should only see where it is our fault, and what to do."""
    import traceback

    traceback.print_exc()
    click.echo(
        f"{_colored('Error:', 'red')} this is a fault of forcemap itself. Please report the lines "
        "above, with the output of: forcemap info --system",
        err=True,
    )
