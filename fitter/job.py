"""A fit with files: read, fit, map, judge, and write everything into a folder, together."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.baseline.isolated_atoms import warn_of_cohesion
from forcemap.fitter.config import Settings
from forcemap.fitter.data.combinations import combination_lines
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.deviations import calibrated_deviations, deviations_by
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.label_checks import label_counts
from forcemap.fitter.data.prediction import Prediction, evaluated_by
from forcemap.fitter.data.sources import known_count
from forcemap.fitter.doctor.quick import warn_of_faults
from forcemap.fitter.fitting import Fitted, fitted
from forcemap.fitter.mapping.curves import mapped_curves
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.precision import in_precision
from forcemap.fitter.mapping.probes import measured_frames
from forcemap.fitter.planning.step_cost import with_costs
from forcemap.fitter.process.data_checks import warn_of_shared_frames
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import write_model
from forcemap.fitter.process.truth import expected_in_thread, truth_in_thread
from forcemap.fitter.report.calibration import Expected, Honest
from forcemap.fitter.report.doubts import doubts
from forcemap.fitter.report.metrics import SizePoint
from forcemap.fitter.report.report import Judgement, write_report
from forcemap.fitter.sharing.checkpoint import fit_key
from forcemap.fitter.sharing.fit_folder import fit_folder, put_together
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.blas import blas_threads
from forcemap.fitter.uncertainty.leave_one_out import LeftOut
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.extras import need
from forcemap.potentials.runs.log import peak_memory_mb
from threadpoolctl import threadpool_limits

__all__ = ["FitData", "fit_to_folder", "made_in_folder"]

Pairs = list[tuple[Frame, Prediction]]

_NO_COST = {"run_microseconds_per_atom": None}
"""Of a process without a map."""


def fit_to_folder(
    settings: Settings,
    out: Path,
    run: Run | None = None,
    size: str | None = None,
    smaller: Sequence[SizePoint] = (),
) -> dict[str, Any]:
    """Fit, map, judge, and write everything into the folder `out`, together; returns the report.

    Files: model.forcemap, potential.forcemap, settings.yaml (expanded), report.json, report.html. Of
    several ranks, the first maps, judges and writes; the report of the others is empty. The files of
    the checkpoint are removed in the end. `size` names what is fitted, `smaller` the sizes before it,
    for the report's curve. A model with a term that has no map gives no potential.forcemap and is
    judged by itself; a potential.forcemap that is left from an earlier fit is removed.

    Raises:
        ForcemapError: settings, frames or the folder cannot be used, or another fit is still going on
            in it; the text says why and what to do.
    """
    run = run or Run()

    def made() -> tuple[FitData, Fitted | None]:
        data = FitData.read(settings, run)
        if run.ranks.is_first:
            warn_of_cohesion(data.train, settings.e0)
        return data, fitted(settings, data.train, replace(run, scratch=out))

    return made_in_folder(settings, out, run, made, size, smaller)


def made_in_folder(
    settings: Settings,
    out: Path,
    run: Run,
    made: Callable[[], tuple[FitData, Fitted | None]],
    size: str | None = None,
    smaller: Sequence[SizePoint] = (),
) -> dict[str, Any]:
    """`fit_to_folder` with data and process as `made`, once the folder is held."""
    with ExitStack() as held:

        def hold() -> None:
            need("the report of a fit", "report")
            held.enter_context(fit_folder(out))

        run.ranks.on_first(hold)
        start = time.perf_counter()
        data, fit = made()
        model, left_out = (fit.model, fit.left_out) if fit else (None, [])
        fit_seconds = time.perf_counter() - start
        has_map = run.ranks.on_first(lambda: model is not None and not model.unmapped)
        truths = _truths(model, left_out, data.train, run) if has_map else None

        def ended() -> dict[str, Any]:
            assert fit is not None  # this is the first rank
            judgement, mapped = _judgement(settings, data, fit, truths, run)
            seconds = {"seconds": time.perf_counter() - start, "fit_seconds": fit_seconds}
            sized = replace(judgement, fit={**judgement.fit, **seconds}, size=size, smaller=smaller)
            return _written(out, settings, mapped, sized, run)

        report = run.ranks.lead(ended)
        if report is not None and run.checkpoint:
            run.checkpoint.remove()
        return report or {}


def _judgement(
    settings: Settings, data: FitData, fit: Fitted, truths: Iterable[Prediction] | None, run: Run
) -> tuple[Judgement, tuple[Model, Mapped | None]]:
    """The input of the report but for the times, and what is written beside it."""
    model = _identified(fit.model, settings, data)
    with blas_threads(model.largest_block, run.jobs_while_others_wait):
        mapped = _mapped(model, settings, data, run, truths) if truths is not None else None
        judged = _judged(model, mapped, data, run)
        honest = _honest(model, mapped, fit.left_out, judged[1], run)
    for text in (found := doubts(model, settings, judged[0])):
        warnings.warn(text, stacklevel=2)
    judgement = Judgement(
        *judged,
        **_map_block(mapped),
        fit=_fit_block(model, mapped, data, run),
        settings=settings.to_dict(),
        warnings=found,
        fit_id=model.identity,
        honest=honest,
        optimised=model.data.get("optimised"),
    )
    return judgement, (model, mapped)


def _identified(model: Model, settings: Settings, data: FitData) -> Model:
    """With the identity that all files of the fit share."""
    hashes = data_hash(data.train) + data_hash(data.test)
    return replace(model, identity=fit_key(settings.to_dict(), hashes, model.weights))


@dataclass(frozen=True)
class FitData:
    """The frames of a fit, and what of their labels was read.

    Attributes:
        train, test: the frames.
        counts: lines on their labels.
        is_whole: whether `train` are all frames that the process was fitted to.
    """

    train: list[Frame]
    test: list[Frame]
    counts: dict[str, list[str]]
    is_whole: bool = True

    @classmethod
    def read(cls, settings: Settings, run: Run) -> FitData:
        """All files that the settings name."""
        keys, sigma = settings.data.keys, settings.sigma
        count = partial(known_count, (*settings.data.train, *settings.data.test))
        with run.stage("reading frames", count) as advance:
            train = read_frames(settings.data.train, keys, sigma, advance=advance)
            test = read_frames(settings.data.test, keys, sigma, advance=advance)
        if run.ranks.is_first:
            warn_of_faults(train, test)
        return cls.of(train, test, run)

    @classmethod
    def of(cls, train: list[Frame], test: list[Frame], run: Run) -> FitData:
        """Of frames that are read; notes what they hold, and warns of those that are in both."""
        warn_of_shared_frames(train, test)
        counts = {"train": label_counts(train), "test": label_counts(test)}
        for line in [*counts["train"], *counts["test"], *combination_lines(train)]:
            run.note(line)
        return cls(train, test, counts)


def _truths(
    model: Model | None, left_out: Sequence[LeftOut], frames: Sequence[Frame], run: Run
) -> list[Prediction]:
    """What the process says of the frames its map is judged by, on the first rank.

    It is known of the frames whose rows were still there when the fit was solved; of the others it is
    computed, by all ranks.
    """

    def process() -> tuple[Model, list[Frame]]:
        assert model is not None  # this is the first rank
        known.update({id(x.frame): fitted for x in left_out if (fitted := x.fitted()) is not None})
        slim = replace(model, posterior=np.zeros((0, 0)), labels=None)  # large, of no use here
        return slim, [f for f in measured_frames(model, frames) if id(f) not in known]

    known: dict[int, Prediction] = {}
    with run.stage("predictions of the process"):
        slim, others = run.ranks.on_first(process)
        costs = [len(frame.numbers) for frame in others]
        with threadpool_limits(limits=1, user_api="blas"):
            answers = iter(run.ranks.map_in_order(truth_in_thread(slim), others, costs, run.jobs))
            if model is None:
                return []
            measured = measured_frames(model, frames)
            return [known[id(f)] if id(f) in known else next(answers) for f in measured]


def _mapped(
    model: Model,
    settings: Settings,
    data: FitData,
    run: Run,
    truths: Iterable[Prediction] | None,
) -> Mapped:
    chosen, jobs = settings.map, run.jobs_while_others_wait
    mapped = map_model(model, data.train, chosen.tolerance, jobs, run.progress, chosen.soap, truths)
    mapped = in_precision(mapped, data.train, chosen.precision)
    draws = settings.uncertainty.draws
    mapped = with_deviations(mapped, model, data.train, draws, run, data.is_whole)
    with run.stage("timing a step"):
        return with_costs(mapped, data.train)


def _judged(model: Model, mapped: Mapped | None, data: FitData, run: Run) -> tuple[Pairs, Pairs]:
    """Training and test frames with the predictions of the potential, or of a process without map."""
    name = "process" if mapped is None else "mapped potential"
    alone = replace(run, jobs=run.jobs_while_others_wait)
    judged: list[Pairs] = []
    with run.stage(f"evaluating the {name}", len(data.train) + len(data.test)) as advance:
        for frames in (data.train, data.test):
            found = (
                alone.in_order(truth_in_thread(model), frames)
                if mapped is None
                else run.handed_out(partial(evaluated_by, mapped.potential), frames, _atoms(frames))
            )
            pairs: Pairs = []
            for frame, prediction in zip(frames, found, strict=True):
                pairs.append((frame, prediction))
                advance()
            judged.append(pairs)
    return judged[0], judged[1]


def _atoms(frames: Sequence[Frame]) -> list[float]:
    return [float(len(frame.numbers)) for frame in frames]


def _honest(
    model: Model, mapped: Mapped | None, left_out: Sequence[LeftOut], test: Pairs, run: Run
) -> Honest:
    """What the errors of left-out frames and of the test frames say of the deviations."""
    assert model.uncertainty is not None  # since it was fitted
    expected = Expected(
        [(left.frame, left.prediction()) for left in left_out],
        [calibrated_deviations(x.frame, x.deviations(), model.uncertainty) for x in left_out],
    )
    draws = 0 if mapped is None else mapped.potential.draws
    frames = [frame for frame, _ in test]
    with run.stage("deviations of the test frames", len(frames)) as advance:
        if mapped is not None and draws:
            judge = partial(deviations_by, mapped.potential)
            every = run.handed_out(judge, frames, _atoms(frames))
        else:
            alone = replace(run, jobs=run.jobs_while_others_wait)
            every = alone.in_order(expected_in_thread(model), frames)
        found = []
        for deviation in every:
            found.append(deviation)
            advance()
    return Honest(model.uncertainty, expected, Expected(test, found), draws)


def _fit_block(model: Model, mapped: Mapped | None, data: FitData, run: Run) -> dict[str, Any]:
    """The block ``fit`` of the report, without the times of the whole."""
    return {
        "labels": data.counts,
        "map_seconds": None if mapped is None else mapped.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "mpi_ranks": run.ranks.size,
        **(_NO_COST if mapped is None else mapped.data.mapping["cost"]),
        "n_frames": len(data.train),
        "n_atoms": model.data["n_atoms"],
        "n_rows": model.data["n_rows"],
        "n_sparse": len(model.weights),
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "noise_factor": model.noise_factor,
        "priors": prior_lines(model),
        "sigma": model.data["sigma"],
        "terms": [
            {"kind": t.kind, "cutoff": t.cutoff, "delta": t.delta, "n_sparse": t.size} | t.summary()
            for t in model.terms
        ],
    }


LOWER = 3
"""Formulas that are named as having lower structures than the frames."""


def prior_lines(model: Model) -> list[str]:
    """Lines on what a process knew before it saw data: free atoms, the core, imagined frames."""
    lines = [f"isolated atoms: {line}" for line in model.data.get("isolated_atoms", [])]
    if model.repulsion:
        pairs = ", ".join(
            f"{SYMBOLS[a]}-{SYMBOLS[b]} {pair.outer:.3g}"
            for (a, b), pair in model.repulsion.items()
        )
        lines.append(f"core: ZBL repulsion below {pairs} Å (Ziegler, Biersack and Littmark 1985)")
    if count := len(model.data.get("imagined_sigmas", [])):
        lines.append(
            f"outside the data: {count} imagined frames with wide sigmas, crystals on the universal "
            "binding curve (Rose et al. 1984) and close pairs"
        )
    if count := len(model.data.get("holes", [])):
        lines.append(
            f"outside the data: {count} relaxed random structures that lay below all data are lifted"
        )
    if lower := model.data.get("lower"):
        deepest = sorted(lower.items(), key=lambda item: -item[1])[:LOWER]
        shown = ", ".join(f"{formula} {depth:.3f}" for formula, depth in deepest)
        lines.append(
            f"outside the data: relaxed random structures lie below all data ({shown} eV/atom), as the "
            "data themselves determine; the frames may lack these ground states"
        )
    return lines


def _map_block(mapped: Mapped | None) -> dict[str, Any]:
    """What a judgement says of the map, or of there being none."""
    if mapped is None:
        return {"mapping": {}, "curves": {}, "errors_of": "process"}
    curves = mapped_curves(mapped.potential)
    return {"mapping": mapped.errors, "curves": curves, "errors_of": "mapped potential"}


def _written(
    out: Path,
    settings: Settings,
    made: tuple[Model, Mapped | None],
    judgement: Judgement,
    run: Run,
) -> dict[str, Any]:
    """Write all files; returns the report."""
    model, mapped = made
    with put_together(out) as part:
        write_model(model, part / "model.forcemap")
        if mapped is not None:
            mapped.write(part / "potential.forcemap")
        settings.dump(part / "settings.yaml", out, model.identity)
        return write_report(part, judgement, run)
