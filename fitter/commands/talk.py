"""What all commands understand: ``--quiet``, ``--verbose`` and ``--log``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from forcemap.fitter.sharing.launch import rank_number
from forcemap.potentials.runs.options import (
    asked,
    command_line,
    quiet_option,
    remembered,
    verbose_option,
)

__all__ = ["talk_options", "with_talk"]

Function = TypeVar("Function", bound=Callable[..., Any])


def _log_option(function: Function) -> Function:
    return click.option(
        "--log",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        callback=remembered,
        help="Append messages, progress and details to FILE, with times.",
    )(function)


def talk_options() -> list[click.Option]:
    """``--quiet``, ``--verbose`` and ``--log``; a command's function is not given their values."""

    def nothing() -> None:
        pass

    for option in (_log_option, verbose_option, quiet_option):
        option(nothing)
    found: list[click.Option] = nothing.__click_params__[::-1]  # type: ignore[attr-defined]
    for one in found:
        one.expose_value = False
    return found


def with_talk(command: click.Command) -> click.Command:
    """The command itself, which gains those of `talk_options` that it lacks, and logs its runs.

    Of a group, its commands gain them. It may be called again.
    """
    if isinstance(command, click.Group):
        for part in command.commands.values():
            with_talk(part)
        return command
    own = {name for parameter in command.params for name in parameter.opts}
    if "--log" not in own and command.callback is not None:
        command.params += [one for one in talk_options() if not own & set(one.opts)]
        command.callback = _logging(command.callback)
    return command


def _logging(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        ctx = click.get_current_context()
        file, verbose = asked(ctx, "log"), bool(asked(ctx, "verbose"))
        if not (file or verbose) or rank_number():
            return function(*arguments, **options)
        from forcemap.potentials.runs.log import logged

        with logged(command_line(), file, verbose), _logged_errors():
            return function(*arguments, **options)

    return run


@contextmanager
def _logged_errors() -> Iterator[None]:
    """Log the message of an error; of one that is not the user's, with the place in our code."""
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.runs.log import SHOWN

    try:
        yield
    except (click.exceptions.Exit, SystemExit):
        raise
    except click.ClickException as error:
        SHOWN.error("Error: %s", error.message)
        raise
    except ForcemapError as error:
        SHOWN.error("Error: %s", error)
        raise
    except KeyboardInterrupt as error:
        SHOWN.error("Interrupted. %s", error)
        raise
    except Exception:
        SHOWN.exception("an error of forcemap itself")
        raise
