"""``forcemap evaluate``: a potential on frames, compared with the labels they have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import jobs_option, quiet_option

if TYPE_CHECKING:
    from forcemap.fitter.config import Keys
    from forcemap.fitter.error_metrics import Prediction
    from forcemap.fitter.frame import Frame
    from forcemap.potentials import Potential
    from forcemap.potentials.runs.progress import Progress

__all__ = ["evaluate", "predict_frames", "write_predictions"]

EXAMPLE = "forcemap evaluate out/potential.forcemap test.xyz --output predicted.xyz"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the frames with predicted energy, forces and stress as extended XYZ.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the errors as JSON.")
@click.option(
    "--keys",
    metavar="NAMES",
    help="Names of the labels in DATA, as energy=REF_energy,forces=REF_forces.",
)
@click.option(
    "--index",
    default=":",
    show_default=True,
    help='Which frames, as ASE counts: 5, ":100", "::2".',
)
@jobs_option
@quiet_option
def evaluate(
    potential: Path,
    data: Path,
    output: Path | None,
    as_json: bool,
    keys: str | None,
    index: str,
    jobs: int,
    quiet: bool,
) -> None:
    """Evaluate POTENTIAL on the frames of DATA (extended XYZ), with errors where they have labels.

    Errors are root mean squares and means by config_type, forces per component, with the names
    that report.json has.
    """
    from forcemap.fitter.config import Source
    from forcemap.fitter.dataset import read_frames
    from forcemap.fitter.error_metrics import METRICS, error_block
    from forcemap.fitter.error_table import error_table, output_console
    from forcemap.potentials import load
    from forcemap.potentials.runs.progress import Progress

    if output is not None and output.exists() and output.samefile(data):
        raise click.UsageError("--output is DATA itself, whose labels would be lost")
    loaded = load(potential)
    frames = read_frames([Source(data, index)], parse_keys(keys), require_labels=False)
    pairs = predict_frames(loaded, frames, jobs, Progress.silent() if quiet else Progress())
    if output is not None:
        write_predictions(output, pairs)
    block = error_block(pairs)
    if as_json:
        click.echo(json.dumps(block, indent=2, allow_nan=False))
    elif any(block[name] is not None for name in METRICS):
        output_console().print(error_table(f"{potential} on {data}", block))
    else:
        click.echo(f"{data}: no labels to compare {len(frames)} frames with", err=True)
    if output is not None:
        click.echo(output, err=as_json)


def parse_keys(text: str | None) -> Keys:
    """Names of labels from `energy=REF_energy,forces=...`. Raises ForcemapError for other text."""
    from forcemap.fitter.config import Keys
    from forcemap.fitter.settings_values import Place, read_fields
    from forcemap.potentials.errors import ForcemapError

    given = {}
    for part in (text or "").split(","):
        name, equals, key = part.strip().partition("=")
        if part.strip() and not equals:
            raise ForcemapError(f"--keys: found {part.strip()!r}, expected label=name")
        if part.strip():
            given[name.strip()] = key.strip()
    return read_fields(Keys, given, Place("--keys"))


def predict_frames(
    potential: Potential, frames: Sequence[Frame], jobs: int, progress: Progress
) -> list[tuple[Frame, Prediction]]:
    """Every frame with its prediction.

    Raises ForcemapError, naming the frame, if it holds an element that the potential is not for.
    """
    from forcemap.fitter.fitting import predict
    from forcemap.potentials.elements import SYMBOLS
    from forcemap.potentials.errors import ForcemapError

    evaluator = potential.evaluator(skin=0.0, threads=jobs)
    pairs = []
    with progress.stage("evaluating", len(frames)) as advance:
        for frame in frames:
            place = f"{frame.source}: frame {frame.index} (counted from 0): "
            strange = sorted({int(z) for z in frame.numbers} - set(potential.numbers))
            if strange:
                raise ForcemapError(
                    f"{place}holds {' and '.join(SYMBOLS[z] for z in strange)}, but the potential "
                    f"is for {' and '.join(potential.species)} only"
                )
            try:
                pairs.append((frame, predict(evaluator, frame)))
            except ForcemapError as error:
                raise ForcemapError(f"{place}{error}") from None
            advance()
    return pairs


def write_predictions(path: Path, pairs: Sequence[tuple[Frame, Prediction]]) -> None:
    """Write predictions as ASE's calculator results, labels as `reference_*`; whole or not at all.

    Raises ForcemapError if the file cannot be written.
    """
    from ase.io.extxyz import write_xyz
    from forcemap.fitter.whole_file import replacing

    images = [_predicted_atoms(frame, prediction) for frame, prediction in pairs]
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        write_xyz(file, images)


def _predicted_atoms(frame: Frame, prediction: Prediction) -> Any:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    energy, forces, stress = prediction
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info["config_type"] = frame.config_type
    if frame.energy is not None:
        atoms.info["reference_energy"] = frame.energy
    if frame.stress is not None:
        atoms.info["reference_stress"] = frame.stress.ravel()
    if frame.forces is not None:
        atoms.arrays["reference_forces"] = frame.forces
    results: dict[str, Any] = {"energy": energy, "forces": forces}
    if stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
