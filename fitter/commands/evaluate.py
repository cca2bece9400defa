"""``forcemap evaluate``: a potential or a process on frames, compared with the labels they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    command_line,
    echo_json,
    jobs_option,
    json_option,
    progress_unless,
    quiet_option,
    say,
)

if TYPE_CHECKING:
    import numpy as np
    from forcemap.fitter.config import Keys
    from forcemap.fitter.data.frame import Frame
    from forcemap.fitter.data.prediction import Prediction
    from forcemap.fitter.process.model import Model
    from forcemap.potentials import Potential
    from forcemap.potentials.runs.progress import Progress
    from numpy.typing import NDArray

__all__ = ["Predicted", "evaluate", "load_either", "predict_frames", "write_predictions"]

Answer = TypeVar("Answer")

EXAMPLE = "forcemap evaluate out/potential.forcemap test.xyz --output predicted.xyz"


class Predicted(NamedTuple):
    """Frames with their predictions.

    Attributes:
        pairs: every frame with its prediction.
        deviations: standard deviations of every prediction's difference to a label; None from a
            potential without draws.
        grades: (atoms,) extrapolation grades of every frame; None from what has none.
        source: "process" or "potential".
    """

    pairs: list[tuple[Frame, Prediction]]
    deviations: list[Prediction] | None
    grades: list[NDArray[np.float64]] | None = None
    source: str = "process"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("potential", type=ExistingFile())
@click.argument("data", type=ExistingFile())
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the frames with predicted energy, forces and stress as extended XYZ, with their "
    "standard deviations and atoms' grades where POTENTIAL has them.",
)
@json_option
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
    """Evaluate POTENTIAL on the frames of DATA, with errors where they have labels.

    DATA is extended XYZ, also compressed, or another file of frames that ASE reads: vasprun.xml,
    OUTCAR, .traj, .db, outputs of Quantum ESPRESSO; of CP2K its NAME-pos-1.xyz.

    Errors are root mean squares and means by config_type, forces per component, with the names
    that report.json has.

    A potential with draws, and a model, also give the errors that they expect: standard deviations
    of the difference of a prediction and a label, the model's and the labels' noise together.

    POTENTIAL may also be a model.forcemap: then the Gaussian process itself is evaluated, slowly; its
    map grades the atoms, where the frames that it was fitted to are still there.
    """
    from forcemap.fitter.report.metrics import error_block
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture
    from forcemap.fitter.sharing.whole_file import check_writable
    from forcemap.potentials.runs.interruption import anew, interruptible

    if output is not None and output.exists() and output.samefile(data):
        raise click.UsageError("--output is DATA itself, whose labels would be lost")
    if output is not None:
        check_writable(output)
    warn_of_mixture(potential)
    loaded = load_either(potential)
    progress = progress_unless(quiet)
    left = 'Nothing was written. A part of the frames takes less: --index ":1000", for instance.'
    with interruptible(progress, anew(left, command_line())):
        frames = _frames(data, index, parse_keys(keys), progress)
        found = predict_frames(loaded, frames, jobs, progress)
        found = _with_grades(found, loaded, potential, jobs, progress)
        if output is not None:
            write_predictions(output, found)
    block = error_block(found.pairs, found.deviations)
    if as_json:
        block |= {} if found.grades is None else grade_counts(found.grades)
        echo_json(block)
    else:
        show_tables(potential, data, found, block)
    if output is not None:
        click.echo(output, err=as_json)
    if found.grades is not None:
        say(grade_line(found))


def _frames(data: Path, index: str, names: Keys, progress: Progress) -> list[Frame]:
    """The chosen frames of a file; notes what labels they have."""
    from forcemap.fitter.checked import Place, read_fields
    from forcemap.fitter.config import Source
    from forcemap.fitter.data.dataset import read_frames
    from forcemap.fitter.data.label_checks import label_counts
    from forcemap.fitter.data.sources import known_count

    source = read_fields(Source, {"path": data, "index": index}, Place(str(data)))
    with progress.stage("reading frames", partial(known_count, [source])) as advance:
        frames = read_frames([source], names, require_labels=False, advance=advance)
    require_named(frames, names, data)
    for line in label_counts(frames):
        progress.note(line)
    return frames


def show_tables(potential: Path, data: Path, found: Predicted, block: Mapping[str, Any]) -> None:
    """Print errors and expected errors."""
    from forcemap.fitter.report.metrics import METRICS
    from forcemap.fitter.report.terminal import deviation_table, error_table, output_console

    if any(block[name] is not None for name in METRICS):
        output_console().print(error_table(f"{potential} on {data}", block))
    else:
        say(f"{data}: no labels to compare {len(found.pairs)} frames with")
    if found.deviations is not None:
        title = f"Deviations that the {found.source} expects"
        output_console().print(deviation_table(title, block))


GRADE_LIMIT = 1.0
"""Grade that one in a hundred of the training atoms passes."""


def grade_counts(grades: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """How many atoms are beyond the training data, by their grades, for JSON."""
    above = [int((found > GRADE_LIMIT).sum()) for found in grades]
    largest = [float(found.max(initial=0.0)) for found in grades]
    return {
        "atoms_with_grade_above_1": sum(above),
        "frames_with_grade_above_1": sum(count > 0 for count in above),
        "largest_grade": max(largest, default=0.0),
    }


def grade_line(found: Predicted) -> str:
    """The same as a sentence."""
    grades = found.grades or []
    counts = grade_counts(grades)
    atoms = sum(len(each) for each in grades)
    worst = max(range(len(grades)), key=lambda n: float(grades[n].max(initial=0.0)), default=0)
    frame = found.pairs[worst][0] if found.pairs else None
    where = f", frame {frame.index}" if frame is not None else ""
    return (
        f"{counts['atoms_with_grade_above_1']} of {atoms} atoms in "
        f"{counts['frames_with_grade_above_1']} frames have an extrapolation grade above 1 "
        f"(largest {counts['largest_grade']:.3g}{where})"
    )


def parse_keys(text: str | None) -> Keys:
    """Names of labels from `energy=REF_energy,forces=...`. Raises ForcemapError for other text."""
    from forcemap.fitter.checked import Place, read_fields
    from forcemap.fitter.config import Keys
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.quoting import quoted

    given = {}
    for part in (text or "").split(","):
        name, equals, key = part.strip().partition("=")
        if part.strip() and not equals:
            raise ForcemapError(f"--keys: found {quoted(part.strip())}, expected label=name")
        if part.strip():
            given[name.strip()] = key.strip()
    return read_fields(Keys, given, Place("--keys"))


def require_named(frames: Sequence[Frame], keys: Keys, data: Path) -> None:
    """Raise ForcemapError for a label that was given another name, under which no frame has one."""
    from forcemap.potentials.errors import ForcemapError

    for label, attribute in (
        *(("energy", "energy"), ("forces", "forces")),
        *(("stress", "stress"), ("virial", "stress")),
    ):
        key = getattr(keys, label)
        found = any(getattr(frame, attribute) is not None for frame in frames)
        if key is not None and not found:
            raise ForcemapError(f'{data}: no frame has its {label} under "{key}", as --keys says')


def load_either(path: Path) -> Potential | Model:
    """The potential or the process in a file. Raises ForcemapError if it holds neither."""
    from forcemap.fitter.process.model_file import checked_model
    from forcemap.potentials import load
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.file.file_kind import FRAMES, kind_of_file
    from forcemap.potentials.file.potential_file import file_format

    if kind_of_file(path) == FRAMES:
        raise ForcemapError(
            f"{path}: is {FRAMES}, expected a potential or model of forcemap; the potential comes "
            "first, then the frames"
        )
    return load(path) if file_format(path) == "forcemap.potential" else checked_model(path)


def predict_frames(
    source: Potential | Model, frames: Sequence[Frame], jobs: int, progress: Progress
) -> Predicted:
    """Every frame with its prediction, deviations and grades, as far as `source` gives them.

    Raises ForcemapError, naming the frame, if it holds an element that the source is not for.
    """
    from forcemap.fitter.process.model import Model
    from forcemap.fitter.process.truth import deviations_in_thread
    from forcemap.fitter.sharing.threads import in_order
    from threadpoolctl import threadpool_limits

    if isinstance(source, Model):
        _check_species(frames, set(source.species), "model")
        both = deviations_in_thread(source)
        with (
            progress.stage("evaluating the process", len(frames)) as advance,
            # Every thread has a frame of its own.
            threadpool_limits(limits=1, user_api="blas"),
        ):
            found = []
            for answer in in_order(lambda frame: _named(both, frame), frames, jobs):
                found.append(answer)
                advance()
        means = list(zip(frames, (mean for mean, _ in found), strict=True))
        return Predicted(means, [deviation for _, deviation in found])
    _check_species(frames, set(source.numbers), "potential")
    return _by_potential(source, frames, jobs, progress)


def _with_grades(
    found: Predicted, source: Potential | Model, path: Path, jobs: int, progress: Progress
) -> Predicted:
    """The predictions of a model with the grades that its potential has."""
    from forcemap.fitter.process.model import Model
    from forcemap.fitter.remapping.job import grading_potential
    from forcemap.fitter.sharing.run import Run

    potential = None
    if isinstance(source, Model):
        potential = grading_potential(source, path, Run(jobs, progress))
    if potential is None:
        return found
    frames = [frame for frame, _ in found.pairs]
    return found._replace(grades=_by_potential(potential, frames, jobs, progress).grades)


def _by_potential(
    potential: Potential, frames: Sequence[Frame], jobs: int, progress: Progress
) -> Predicted:
    from forcemap.fitter.data.deviations import deviations_of_draws
    from forcemap.fitter.data.prediction import evaluated_with_grades

    evaluator = potential.evaluator(skin=0.0, threads=jobs)
    predict = partial(evaluated_with_grades, evaluator, grades=potential.has_grade)
    pairs, deviations, grades = [], [], []
    with progress.stage("evaluating", len(frames)) as advance:
        for frame in frames:
            prediction, grade = _named(predict, frame)
            pairs.append((frame, prediction))
            if grade is not None:
                grades.append(grade)
            if potential.draws:
                deviations.append(_named(partial(deviations_of_draws, evaluator), frame))
            advance()
    return Predicted(
        pairs,
        deviations if potential.draws else None,
        grades if potential.has_grade else None,
        "potential",
    )


def _check_species(frames: Sequence[Frame], known: set[int], what: str) -> None:
    from forcemap.potentials.elements import SYMBOLS
    from forcemap.potentials.errors import ForcemapError

    for frame in frames:
        strange = sorted({int(z) for z in frame.numbers} - known)
        if strange:
            raise ForcemapError(
                f"{_place(frame)}: holds {' and '.join(SYMBOLS[z] for z in strange)}, but the {what} "
                f"is for {' and '.join(SYMBOLS[z] for z in sorted(known))} only"
            )


def _named(predict: Callable[[Frame], Answer], frame: Frame) -> Answer:
    """The prediction; a message on what is wrong with the frame has its name."""
    from forcemap.potentials.errors import ForcemapError

    try:
        return predict(frame)
    except ForcemapError as error:
        raise ForcemapError(f"{_place(frame)}: {error}") from None


def _place(frame: Frame) -> str:
    return f"{frame.source}: frame {frame.index} (counted from 0)"


def write_predictions(path: Path, predicted: Predicted) -> None:
    """Write predictions as ASE's calculator results, labels as `reference_*`, deviations as `*_std`,
    and atoms' `grade`.

    The file is written whole or not at all. Raises ForcemapError if it cannot be written.
    """
    from ase.io.extxyz import write_xyz
    from forcemap.fitter.sharing.whole_file import replacing

    images = [_predicted_atoms(frame, prediction) for frame, prediction in predicted.pairs]
    for atoms, (energy, forces, stress) in zip(images, predicted.deviations or (), strict=False):
        atoms.info["energy_std"] = energy
        atoms.arrays["forces_std"] = forces
        if stress is not None:
            atoms.info["stress_std"] = stress.ravel()
    for atoms, grades in zip(images, predicted.grades or (), strict=False):
        atoms.arrays["grade"] = grades
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
    if frame.force_mask is not None:
        atoms.arrays["force_mask"] = frame.force_mask
    results: dict[str, Any] = {"energy": energy, "forces": forces}
    if stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
