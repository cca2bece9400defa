"""``forcemap validate``: the physics of a potential."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    command_line,
    echo_json,
    jobs_option,
    json_option,
    progress_unless,
    quiet_option,
)

if TYPE_CHECKING:
    from forcemap.fitter.validation.check import Check

__all__ = ["validate"]

EXAMPLE = "forcemap validate out/potential.forcemap --reference dft.yaml"

LOCK = "validate.lock"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=ExistingFile())
@click.option(
    "--reference",
    type=ExistingFile(),
    metavar="FILE",
    help="Reference values (YAML), under the names that the table prints.",
)
@click.option(
    "--against",
    metavar="CALCULATOR",
    help="Check this beside it: a potential file, or an ASE calculator as module:Class(keyword=1).",
)
@click.option(
    "--settings", type=ExistingFile(), metavar="FILE", help="What to check, and how (YAML)."
)
@click.option(
    "--only",
    multiple=True,
    metavar="CHECK",
    help="Make only this check, with those that it builds on. May be given more than once.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("validation"),
    show_default=True,
    metavar="FOLDER",
    help="For the results, and for finished steps, which a second run reuses.",
)
@json_option
@jobs_option
@quiet_option
def validate(
    potential: Path,
    against: str | None,
    settings: Path | None,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Check the physics of POTENTIAL: crystals, elasticity, phonons, defects, surfaces, dynamics.

    Crystals are taken from the frames that it was fitted to, else the elements' usual lattices. FOLDER
    gets validation.json, figures and validation.html. After Ctrl-C the same command goes on.

    Exit codes: 0 if all was done, also where a criterion is not met, 1 if an input cannot be used.
    """
    from forcemap.potentials.extras import need

    need("the page of a validation", "report")  # whose figures the modules of the checks draw
    from forcemap.fitter.report.terminal import output_console
    from forcemap.fitter.sharing.run import Run
    from forcemap.fitter.sharing.whole_file import new_folder
    from forcemap.fitter.validation.job import JSON, PAGE, validate
    from forcemap.fitter.validation.models import model_of, of_potential
    from forcemap.fitter.validation.registry import CHECKS
    from forcemap.fitter.validation.settings import ValidationSettings
    from forcemap.fitter.validation.show import print_all
    from forcemap.potentials.runs.folder_lock import locked_folder
    from forcemap.potentials.runs.interruption import interruptible

    run = Run(options["jobs"], progress_unless(options["quiet"]))
    checks = chosen(CHECKS, options["only"])
    models = [of_potential(potential)]
    if against is not None:
        models.append(model_of(against, beside=models[0]))
    read = ValidationSettings.read(settings, CHECKS)
    files = (options["reference"], settings)
    cure = "wait for its end, or give another folder with -o"
    left = f"Finished steps are kept in {output}. Go on with:\n    {command_line()}"
    with (
        new_folder(output),
        locked_folder(output, LOCK, "a validation", cure),
        interruptible(run.progress, left),
    ):
        results = validate(models, checks, read, output, files=files, run=run)
    if as_json:
        echo_json(results.content)
    else:
        print_all(output_console(), results)
    for name in (JSON, PAGE):
        click.echo(output / name, err=as_json)


def chosen(checks: Sequence[Check], names: Sequence[str]) -> list[Check]:
    """The checks of these names, with those that they build on; all without a name.

    Raises UsageError for a name that no check has.
    """
    from forcemap.fitter.checked import nearest

    by_name = {check.name: check for check in checks}
    wanted: set[str] = set()
    todo = list(names) or list(by_name)
    while todo:
        name = todo.pop()
        if name not in by_name:
            raise click.UsageError(f'there is no check "{name}"{nearest(name, by_name)}')
        wanted.add(name)
        todo += [need for need in by_name[name].needs if need not in wanted]
    return [check for check in checks if check.name in wanted]
