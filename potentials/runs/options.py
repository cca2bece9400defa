"""Options that commands of several houses share: how much is shown, and in what form.

``-q``, ``-v`` and ``--log`` may stand before the command's name or after it; the latter counts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from forcemap.potentials.runs.progress import Progress

__all__ = [
    "asked",
    "command_line",
    "echo_json",
    "json_option",
    "progress_unless",
    "quiet_option",
    "remembered",
    "say",
    "verbose_option",
]

Function = TypeVar("Function", bound=Callable[..., Any])

WORDS = "forcemap.words"
"""Key of a context's `meta`: what was typed after the program's name."""


def remembered(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Callback of an option that may also stand before the command's name.

    Raises UsageError for --quiet with --verbose.
    """
    key = f"forcemap.{parameter.name}"
    if value:
        ctx.meta[key] = value
    if asked(ctx, "quiet") and asked(ctx, "verbose"):
        raise click.UsageError("--quiet and --verbose exclude each other", ctx)
    return ctx.meta.get(key, value)


def asked(ctx: click.Context, name: str) -> Any:
    """Value of an option of `remembered`, wherever it stood; None if it stood nowhere."""
    return ctx.meta.get(f"forcemap.{name}")


def quiet_option(function: Function) -> Function:
    """Adds ``--quiet``, given to the function as ``quiet``."""
    return click.option(
        "-q", "--quiet", is_flag=True, callback=remembered, help="Show no progress."
    )(function)


def verbose_option(function: Function) -> Function:
    """Adds ``--verbose``, given to the function as ``verbose``."""
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        callback=remembered,
        help="Show details on stderr: versions, programs that are run, times, memory.",
    )(function)


def json_option(function: Function) -> Function:
    """Adds ``--json``, given to the function as ``as_json``.

    With it a command prints one JSON object on stdout (`echo_json`), with names and units as
    report.json has them, and everything else on stderr.
    """
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the results on stdout as JSON."
    )(function)


def echo_json(document: Any) -> None:
    """Print a document as JSON (`plain`)."""
    from forcemap.potentials.plain import plain

    click.echo(json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=False))


def say(line: str) -> None:
    """A line for people on stderr, and in the log."""
    from forcemap.potentials.runs.log import SHOWN

    SHOWN.info(line)
    click.echo(line, err=True)


def progress_unless(quiet: bool) -> Progress:
    """Progress on stderr and in the log, or in the log alone."""
    from forcemap.potentials.runs.progress import Progress

    return Progress(style="quiet" if quiet else "auto")


def command_line(*more: str) -> str:
    """The running command as it was typed, with `more` words unless they are among its own.

    In a Python program of someone else there is none: an ellipsis stands for it.
    """
    ctx = click.get_current_context(silent=True)
    words = ctx.meta.get(WORDS, ["..."]) if ctx else ["..."]
    return shlex.join(["forcemap", *words, *(word for word in more if word not in words)])
