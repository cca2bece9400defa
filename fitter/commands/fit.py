"""``forcemap fit``: a potential and its report from frames and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    FramesFile,
    command_line,
    echo_json,
    jobs_option,
    json_option,
    progress_unless,
    quiet_option,
)
from forcemap.fitter.sharing.launch import launched, rank_number

if TYPE_CHECKING:
    from forcemap.fitter.data.settings import Source
    from forcemap.fitter.sharing.checkpoint import Checkpoint
    from forcemap.potentials.runs.progress import Progress

__all__ = ["fit", "fit_settings"]

EXAMPLE = "forcemap fit settings.yaml -o out"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("settings", type=ExistingFile())
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder to write into; made if need be, files of an earlier fit are replaced.  [required]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print sizes, memory and an estimate of the time; fit and write nothing.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted fit from its checkpoint.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between checkpoints in DIR, which hold what --resume needs.",
)
@click.option(
    "--sizes",
    metavar="NAMES",
    help="Fit the settings in several sizes, such as small,medium,large: each in a folder of its name "
    "in DIR, the last one's files also in DIR, and the report shows what accuracy costs.",
)
@click.option(
    "--add",
    "added",
    type=FramesFile(),
    multiple=True,
    metavar="FRAMES",
    help="Add the frames of this file (or FILE@INDEX) to the fit of a model.forcemap, given in place "
    "of SETTINGS, without starting over. May be given more than once.",
)
@json_option
@jobs_option
@quiet_option
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    settings: Path,
    out: Path | None,
    jobs: int,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a potential as the YAML file SETTINGS says, map it, and judge it.

    Writes potential.forcemap (for LAMMPS, i-PI and ASE), model.forcemap (the Gaussian process),
    settings.yaml with every default written out, report.html and report.json.

    mpirun -n N forcemap fit ... shares the frames over N processes (pip install 'forcemap[mpi]').

    forcemap fit --add new.xyz out/model.forcemap adds frames to a fit and writes its files anew, in
    their folder or into DIR. Hyperparameters, energies of isolated atoms and the repulsion stay.
    """
    progress, as_json = progress_unless(quiet), options["as_json"]
    if options["added"]:
        _check_addition(ctx, settings, out)
        out = out or settings.parent
        report = _add(settings, options["added"], out, jobs, progress)
    elif out is None and not options["dry_run"]:
        raise click.UsageError("Missing option '-o' / '--output'.")
    elif options["dry_run"] or out is None:
        if not rank_number():
            _show_estimate(settings, jobs, progress, as_json)
        return
    else:
        rest = (options[name] for name in ("resume", "checkpoint_every", "sizes"))
        report = fit_settings(settings, out, jobs, progress, *rest)
    if report and as_json:
        echo_json(_summary(report, out))
    elif report:
        _show(report, out, quiet)


def _show_estimate(settings: Path, jobs: int, progress: Progress, as_json: bool) -> None:
    """Print what a fit would take."""
    from forcemap.fitter.planning.estimate import estimate_settings, estimate_table
    from forcemap.fitter.report.terminal import output_console

    found = estimate_settings(settings, jobs, progress)
    if as_json:
        sums = {"n_rows": found.n_rows, "n_columns": found.n_columns}
        echo_json({**asdict(found), **sums, "seconds_in_all": sum(found.seconds.values())})
    else:
        output_console().print(estimate_table(found))


def _summary(report: dict[str, Any], out: Path) -> dict[str, Any]:
    """The report without what it says of single frames, with the names of the fit's files."""
    left_out = {k: v for k, v in report["leave_one_out"].items() if k != "frames"}
    return {**report, "leave_one_out": left_out, "files": [out / name for name in _files(report)]}


def _files(report: dict[str, Any]) -> tuple[str, ...]:
    """Names of the files of a fit."""
    from forcemap.fitter.sharing.fit_folder import FILES

    return FILES[1:] if report["errors_of"] == "process" else FILES


def _check_addition(ctx: click.Context, model: Path, out: Path | None) -> None:
    """Raise UsageError for options that exclude --add, and for an unclear folder of the new files."""
    for name in ("dry_run", "resume", "checkpoint_every", "sizes"):
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} cannot be combined with --add")
    if launched() is not None:
        raise click.UsageError("--add runs in one process, without mpirun; --jobs gives it threads")
    if out is None and model.suffix == ".forcemap" and model.name != "model.forcemap":
        raise click.UsageError(
            f"{model} is not named model.forcemap; choose the folder of the new files with -o"
        )


def _add(
    model: Path, added: Sequence[Source], out: Path, jobs: int, progress: Progress
) -> dict[str, Any]:
    from forcemap.fitter import add_to_folder
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture
    from forcemap.fitter.sharing.run import Run
    from forcemap.potentials.runs.interruption import anew, interruptible

    warn_of_mixture(model)
    with interruptible(progress, anew(f"{model} is as it was.", command_line())):
        return add_to_folder(model, added, out, Run(jobs, progress))


def _show(report: dict[str, Any], out: Path, quiet: bool) -> None:
    """Print the errors of a fit and the names of its files."""
    from forcemap.fitter.report.terminal import output_console

    console = output_console()
    if quiet:  # these lines are not part of the progress then
        for line in [line for lines in report["fit"]["labels"].values() for line in lines]:
            click.echo(line)
    _print_tables(console, report)
    if report["errors_of"] == "process":
        console.print(
            "Errors of the process itself: a term without a map is among its terms, so there is no "
            "potential.forcemap, and it cannot be run in MD."
        )
    else:
        worst = report["mapping"]["force_max_error_ev_per_a"]
        console.print(f"Largest force error of the map against the process: {worst:.1e} eV/Å")
        console.print(_cost_line(report))
    for line in report["fit"]["priors"]:
        console.print(f"Prior, {line}")
    console.print(f"Time: {report['fit']['seconds']:.1f} s\n")
    for name in _files(report):
        click.echo(out / name)


def _cost_line(report: dict[str, Any]) -> str:
    """Line on the cost of an evaluation, with grades and deviations if the potential has them."""
    fit = report["fit"]
    parts = [f"Cost of a step, one thread: {fit['run_microseconds_per_atom']:.2f} µs per atom"]
    for name, what in (
        ("grade", "grades"),
        ("deviation", f"deviations by {report['uncertainty']['draws']} draws"),
    ):
        if fit[f"{name}_steps"] is not None:
            cost = f"{fit[f'{name}_microseconds_per_atom']:.2f} µs per atom"
            parts.append(f"{what}: {cost} more, {fit[f'{name}_steps']:.2g} steps")
    return "; ".join(parts)


def _print_tables(console: Any, report: dict[str, Any]) -> None:
    """Print the choices of the evidence, the errors, and the sizes if there are several."""
    from forcemap.fitter.report.terminal import change_table, error_table, size_table

    if report.get("optimised"):
        console.print(change_table(report["optimised"]))
    for name, title in (
        ("train", "Training frames"),
        ("leave_one_out", "Training frames, each left out of the fit that predicts it"),
        ("test", "Test frames"),
    ):
        if report[name]["n_frames"]:
            console.print(error_table(title, report[name]))
    if len(report.get("sizes", [])) > 1:
        console.print(size_table(report["sizes"]))


def _go_on(checkpoints: Sequence[Checkpoint], ranks: int) -> str:
    """What an interrupted fit leaves, by its last checkpoint, and how to go on."""
    from forcemap.potentials.runs.interruption import anew

    launcher = f"mpirun -n {ranks} " if ranks > 1 else ""
    kept = "".join(checkpoint.left() for checkpoint in checkpoints[-1:])
    if not kept:
        return anew("Nothing was kept yet.", launcher + command_line())
    return f"{kept} Go on from there with:\n    {launcher}{command_line('--resume')}"


@contextmanager
def _folders(out: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold the folder of a fit in several sizes; nobody may be at work in those of the sizes."""
    from forcemap.fitter.sharing.fit_folder import fit_folder

    with fit_folder(out):
        for folder in (out / name for name in names):
            if folder.exists():  # a fit running in it is detected now, not at its turn
                with fit_folder(folder):
                    pass
        yield


def fit_settings(
    settings: Path,
    out: Path,
    jobs: int,
    progress: Any,
    resume: bool = False,
    checkpoint_every: float = 30.0,
    sizes: str | None = None,
) -> dict[str, Any]:
    """Fit by the file `settings` into the folder `out`; returns the report.

    Under mpirun all ranks call this together; only the first one's report is not empty.

    Raises ForcemapError for settings, frames or folders that cannot be used.
    """
    from forcemap.fitter import fit_to_folder
    from forcemap.fitter.config import Settings
    from forcemap.fitter.planning.sizes import copy_files, parse_sizes, scaled
    from forcemap.fitter.report.metrics import SizePoint
    from forcemap.fitter.sharing.checkpoint import Checkpoint
    from forcemap.fitter.sharing.ranks import started_ranks
    from forcemap.fitter.sharing.run import Run
    from forcemap.potentials.runs.interruption import interruptible
    from forcemap.potentials.runs.progress import Progress

    checkpoints: list[Checkpoint] = []
    unheard = f"If {out} holds a checkpoint, go on with:\n    {command_line('--resume')}"
    with (
        started_ranks() as ranks,
        interruptible(progress, lambda: _go_on(checkpoints, ranks.size), unheard),
        ExitStack() as held,
    ):
        read = Settings.read(settings)
        names = None if sizes is None else parse_sizes(sizes)
        shown = progress if ranks.is_first else Progress.silent()

        def run_in(folder: Path) -> Run:
            place = folder, resume, checkpoint_every, ranks.rank, ranks.size
            checkpoints.append(Checkpoint(*place))
            return Run(jobs, shown, ranks, checkpoints[-1])

        if names is None:
            return fit_to_folder(read, out, run_in(out))

        ranks.on_first(lambda: held.enter_context(_folders(out, names)))
        points: list[SizePoint] = []
        report: dict[str, Any] = {}
        for name in names:
            folder, resized = out / name, scaled(read, name)
            report = fit_to_folder(resized, folder, run_in(folder), name, points)
            if report:
                points.append(SizePoint(**report["sizes"][-1]))
        if report:
            copy_files(resized, folder, out)
        return report
