"""``forcemap check``: faults of data, each with its figure and its cure."""

from __future__ import annotations

from collections.abc import Sequence
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

if TYPE_CHECKING:
    from forcemap.fitter.config import Settings
    from forcemap.fitter.data.settings import Keys, Source
    from forcemap.fitter.doctor.case import Case
    from forcemap.fitter.doctor.finding import Finding
    from forcemap.fitter.sharing.run import Run

__all__ = ["check"]

EXAMPLE = "forcemap check train.xyz --test test.xyz --html check.html"

SETTINGS_SUFFIXES = (".yaml", ".yml")


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("data", type=FramesFile(), nargs=-1, required=True)
@click.option(
    "--test",
    type=FramesFile(),
    multiple=True,
    metavar="FRAMES",
    help="Frames (FILE or FILE@INDEX) that a fit is to be judged by. May be given more than once.",
)
@click.option(
    "--settings",
    type=ExistingFile(),
    metavar="FILE",
    help="Settings of the fit, for its cutoffs, names of labels and sigmas.",
)
@click.option(
    "--keys",
    metavar="NAMES",
    help="Names of the labels in DATA, as energy=REF_energy,forces=REF_forces.",
)
@click.option(
    "--fix",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write DATA's frames with all corrections that are certain as extended XYZ.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with the findings, histograms and maps of the frames.",
)
@click.option(
    "--chemiscope",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the frames on their map for chemiscope.org, as .json or .json.gz.",
)
@json_option
@jobs_option
@quiet_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    data: tuple[Source, ...],
    test: tuple[Source, ...],
    jobs: int,
    quiet: bool,
    **options: Any,
) -> None:
    """Find faults in the frames of DATA (FILE or FILE@INDEX), with their figures and cures.

    DATA may also be the settings.yaml of a fit: its training and test frames are examined.

    Findings are of three kinds: "wrong" (a fit to these frames would be wrong), "doubt" and "note".

    Exit codes: 0 if nothing is wrong, 1 if something is, or a file cannot be read at all, 2 for a
    mistake in the command line.
    """
    from forcemap.fitter.doctor.examination import exit_code, findings_of
    from forcemap.fitter.doctor.registry import EXAMINATIONS
    from forcemap.fitter.doctor.show import COUNTED, show, summary, to_json
    from forcemap.fitter.report.terminal import output_console
    from forcemap.fitter.sharing.run import Run
    from forcemap.potentials.extras import need
    from forcemap.potentials.runs.interruption import anew, interruptible

    if options["html"] is not None:
        need("--html", "report")
    run = Run(jobs, progress_unless(quiet))
    with interruptible(run.progress, anew("Nothing was written.", command_line())):
        case, names = _case(data, test, options["settings"], options["keys"], run)
        outputs = [options[name] for name in ("fix", "html", "chemiscope")]
        _check_outputs(case, [path for path in outputs if path is not None])
        findings = findings_of(case, EXAMINATIONS)
        written = _write(case, findings, names, *outputs)
    if options["as_json"]:
        echo_json(to_json(case, findings))
    else:
        console = output_console()
        show(console, findings)
        console.print(summary(case, findings), soft_wrap=True)
        if any(finding.frames for finding in findings):
            console.print(COUNTED)
    for line in written:
        click.echo(line, err=options["as_json"])
    ctx.exit(exit_code(findings))


def _case(
    data: tuple[Source, ...],
    test: tuple[Source, ...],
    settings_file: Path | None,
    keys: str | None,
    run: Run,
) -> tuple[Case, Keys]:
    """Read what is to be examined. Raises UsageError for arguments that exclude each other."""
    from forcemap.fitter.commands.evaluate import parse_keys
    from forcemap.fitter.config import Settings
    from forcemap.fitter.data.settings import Keys, SigmaSettings
    from forcemap.fitter.doctor.case import Case
    from forcemap.fitter.doctor.reading import read_data

    of_settings = [source.path for source in data if source.path.suffix in SETTINGS_SUFFIXES]
    if of_settings and (len(data) > 1 or settings_file is not None):
        raise click.UsageError(f"{of_settings[0]} holds settings; give it alone, or as --settings")
    settings: Settings | None = None
    if of_settings or settings_file is not None:
        settings = Settings.read(settings_file or of_settings[0])
    if of_settings and settings is not None:
        data, test = settings.data.train, test or settings.data.test
    names = settings.data.keys if settings is not None and keys is None else parse_keys(keys)
    sigma = settings.sigma if settings is not None else SigmaSettings()
    if keys is None and settings is None:
        names = Keys()
    train, judged_by = (read_data(sources, names, sigma, run) for sources in (data, test))
    return Case(train, judged_by, settings, run), names


def _check_outputs(case: Case, outputs: Sequence[Path]) -> None:
    """See, before the work, that no output is an input, and that all can be written."""
    from forcemap.fitter.sharing.whole_file import check_writable

    for number, path in enumerate(outputs):
        if path.absolute() in [other.absolute() for other in outputs[:number]]:
            raise click.UsageError(f"{path} is named twice, for two different files")
        for reading in [*case.train, *case.test]:
            if path.exists() and path.samefile(reading.source.path):
                raise click.UsageError(f"{path} is one of the files examined, and would be lost")
        check_writable(path)


def _write(
    case: Case,
    findings: Sequence[Finding],
    keys: Keys,
    fix: Path | None,
    html: Path | None,
    chemiscope: Path | None,
) -> list[str]:
    """Write what is asked for; lines on what was written."""
    lines = []
    if fix is not None:
        from forcemap.fitter.doctor.correcting import write_corrected

        lines += write_corrected(fix, case, findings, keys)
    if html is not None or chemiscope is not None:
        from forcemap.fitter.doctor.page import write_chemiscope, write_page

        if html is not None:
            write_page(html, case, findings)
            lines.append(str(html))
        if chemiscope is not None and not case.frames:
            lines.append(f"{chemiscope}: no frame can be used, so none is written")
        elif chemiscope is not None:
            write_chemiscope(chemiscope, case)
            lines.append(str(chemiscope))
    return lines
