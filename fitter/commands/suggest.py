"""``forcemap suggest``: the frames of a pool to label next."""

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
from forcemap.fitter.suggesting import WAYS

if TYPE_CHECKING:
    from forcemap.fitter.data.settings import Source
    from forcemap.fitter.suggesting.greedy import Choice
    from forcemap.fitter.suggesting.suggestion import Suggestion

__all__ = ["suggest"]

EXAMPLE = "forcemap suggest out/potential.forcemap pool.xyz -n 20 -o chosen.xyz"

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of frames with a printed reduction of the variance, beside the last."""


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=ExistingFile())
@click.argument("pool", type=FramesFile(), nargs=-1, required=True)
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="FRAMES",
    help="How many frames to choose.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the chosen frames as extended XYZ, in the order of choice.",
)
@click.option(
    "--by",
    type=click.Choice(WAYS),
    default="variance",
    show_default=True,
    help="variance: the least known force; d-optimal: labels that together constrain the weights most; "
    "farthest: environments unlike all known ones; grade: the largest extrapolation grade.",
)
@json_option
@jobs_option
@quiet_option
def suggest(
    potential: Path,
    pool: Sequence[Source],
    count: int,
    output: Path | None,
    **options: Any,
) -> None:
    """Choose the frames of POOL (files, or FILE@INDEX) whose labels would improve POTENTIAL most.

    A chosen frame counts as known for the following ones, so that only one copy of a frame and only
    some frames of a trajectory are chosen. Labels are not needed. Frames with elements that POTENTIAL
    does not cover, and frames that it was fitted to, are left out.

    POTENTIAL may be a potential.forcemap or a model.forcemap. If both files of a fit are in one folder,
    each is used for what it does best.

    The chosen frames have pool_index (from 0, over all of POOL), suggest_rank and, if it is known,
    force_deviation: the largest expected error of a force, eV/Å, once those before are labelled.
    """
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture
    from forcemap.fitter.sharing.run import Run
    from forcemap.fitter.sharing.whole_file import check_writable
    from forcemap.fitter.suggesting.suggestion import Known, suggest
    from forcemap.potentials.runs.interruption import anew, interruptible

    if output is not None:
        for source in pool:
            if output.exists() and output.samefile(source.path):
                raise click.UsageError(f"--output is {source.path} itself, a file of the pool")
        check_writable(output)
    warn_of_mixture(potential)
    run = Run(options["jobs"], progress_unless(options["quiet"]))
    left = "Nothing was written. A part of the pool takes less: pool.xyz@:10000, for instance."
    with interruptible(run.progress, anew(left, command_line())):
        suggestion = suggest(Known.read(potential), pool, count, options["by"], run)
        if output is not None:
            _write(output, suggestion.choices)
    if options["as_json"]:
        echo_json(_document(suggestion))
    else:
        _show(suggestion)
    if output is not None:
        click.echo(output, err=options["as_json"])


def _write(path: Path, choices: Sequence[Choice]) -> None:
    from ase.io.extxyz import write_xyz
    from forcemap.fitter.sharing.whole_file import replacing

    images = []
    for rank, one in enumerate(choices, start=1):
        atoms = one.candidate.atoms.copy()
        atoms.calc = one.candidate.atoms.calc
        atoms.info |= {"suggest_rank": rank, "pool_index": one.candidate.number}
        if one.deviation is not None:
            atoms.info["force_deviation"] = one.deviation
        images.append(atoms)
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        write_xyz(file, images)


def _document(found: Suggestion) -> dict[str, Any]:
    fall = found.fall
    return {
        "by": found.by,
        "source": found.source,
        "calibrated": found.is_calibrated,
        "pool_frames": found.pool,
        "chosen": [
            {
                "rank": rank,
                "pool_index": one.candidate.number,
                "file": one.candidate.frame.source,
                "index": one.candidate.frame.index,
                "config_type": one.candidate.frame.config_type,
                "atoms": len(one.candidate.frame.numbers),
                "worth": one.worth,
                "force_deviation_ev_per_a": one.deviation,
            }
            for rank, one in enumerate(found.choices, start=1)
        ],
        "mean_variance_left": None if fall is None else [float(part) for part in fall],
        "remarks": list(found.remarks),
    }


def _show(found: Suggestion) -> None:
    """Print the table of the chosen frames, and the benefit of their labels."""
    from forcemap.fitter.report.terminal import output_console, table_of

    console = output_console()
    columns = ["rank", "file", "frame", "config_type", "atoms", found.worth_name]
    with_deviation = any(one.deviation is not None for one in found.choices)
    columns += ["expected error\neV/Å"] if with_deviation else []
    rows = []
    for rank, one in enumerate(found.choices, start=1):
        frame = one.candidate.frame
        cells = [str(rank), Path(frame.source).name, str(frame.index), frame.config_type]
        cells += [str(len(frame.numbers)), f"{one.worth:.3g}"]
        rows.append(cells + ([f"{one.deviation:.3f}"] if one.deviation is not None else []))
    title = f"{len(rows)} of {found.pool:,} frames by {found.by} ({found.source})"
    console.print(table_of(title, columns, rows))
    for remark in found.remarks:
        click.echo(remark)
    if with_deviation and not found.is_calibrated:
        click.echo(
            "Expected errors are not calibrated: ten times the raw deviation, as is typical."
        )
    if found.fall is not None:
        last = len(found.choices)
        parts = [f"{n}: {100.0 * (1.0 - found.fall[n]):.1f} %" for n in SHOWN if n < last]
        parts.append(f"{last}: {100.0 * (1.0 - found.fall[last]):.1f} %")
        click.echo(
            "Their labels would lower the mean variance of the pool's forces, by number of frames, "
            f"by {', '.join(parts)}"
        )
