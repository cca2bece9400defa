"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from forcemap.fitter.sharing.launch import launched, processors
from forcemap.potentials.runs.options import (
    command_line,
    echo_json,
    json_option,
    progress_unless,
    quiet_option,
    say,
)

__all__ = [
    "ExistingFile",
    "FramesFile",
    "command_line",
    "echo_json",
    "jobs_option",
    "json_option",
    "output_file_option",
    "output_folder_option",
    "progress_unless",
    "quiet_option",
    "say",
]

Function = TypeVar("Function", bound=Callable[..., Any])


class ExistingFile(click.Path):
    """An existing file; the message about a missing one names the file with the nearest name."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if not os.path.lexists(value):
                from forcemap.potentials.file.file_kind import near_name

                message = error.message.rstrip(".") + near_name(value)
                raise click.BadParameter(message, ctx, param) from None
            raise


class FramesFile(ExistingFile):
    """A file of frames, FILE or FILE@INDEX as ASE has it (pool.xyz@::10); a `data.settings.Source`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the source."""
        from forcemap.fitter.checked import Place, read_fields
        from forcemap.fitter.data.settings import Source
        from forcemap.potentials.errors import ForcemapError

        if isinstance(value, Source):
            return value
        path, index = str(value), ":"
        if not os.path.lexists(path):  # a name may hold an @
            path, _, index = path.rpartition("@") if "@" in path else (path, "", ":")
        found = super().convert(path, param, ctx)
        try:
            return read_fields(Source, {"path": found, "index": index}, Place(str(value)))
        except ForcemapError as error:
            self.fail(str(error), param, ctx)


def available_cpus() -> int:
    """Number of processors this process may use; its share of them if mpirun started several."""
    machine, cpus = os.cpu_count() or 1, processors()
    launch = launched()
    if launch is None:
        return cpus
    # Where the launcher has bound each rank to processors of its own, these are the share already.
    return cpus if cpus <= machine // launch.local_size else max(1, cpus // launch.local_size)


def jobs_option(function: Function) -> Function:
    """Adds ``--jobs``, by default the number of processors."""
    return click.option(
        "-j",
        "--jobs",
        type=click.IntRange(min=1, max=1024),
        default=available_cpus,
        show_default="as many as processors",
        metavar="N",
        help="Number of threads (of each MPI rank).",
    )(function)


def output_file_option(what: str) -> Callable[[Function], Function]:
    """Adds ``-o``/``--output``, a required file of the kind `what`, given as the path ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        required=True,
        metavar=what.upper(),
        help=f"{what.capitalize()} file to write.",
    )


def output_folder_option(function: Function) -> Function:
    """Adds ``-o``/``--output``, a required folder, given as the path ``out``."""
    return click.option(
        "-o",
        "--output",
        "out",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        metavar="DIR",
        help="Folder to write into; made if need be.",
    )(function)
