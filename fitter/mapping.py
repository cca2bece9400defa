"""Maps a fitted process onto cubic splines, at a resolution that a force tolerance chooses.

The functions V of the process (see `process`) are tabulated with their cutoff factors and turned into
B-spline coefficients by interpolation. The map's error is the difference of forces between the mapped
potential and the process, measured on training frames and on random clusters (Glielmo, Zeni,
De Vita, Phys. Rev. B 97, 184307 (2018): "mapped force fields").

Below the shortest distances of the data the process knows nothing: its functions are faded out there
and the core takes over. The pair function keeps its value (its slope is faded, not the value), so that
the pair energy rises all the way.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from forcemap.fitter.baseline import CoreEnergy, as_potential, core_terms, evaluate_frame
from forcemap.fitter.embedding import TOP, EmbeddingTerm
from forcemap.fitter.error_metrics import Prediction
from forcemap.fitter.few_body import FewBodyTerm
from forcemap.fitter.frame import Frame, FrameSigma
from forcemap.fitter.model import Model, read_model
from forcemap.fitter.parallel import in_order
from forcemap.fitter.process import Block, columns
from forcemap.fitter.soap import SoapTerm
from forcemap.fitter.soap_map import Form, forms_of, functions_of
from forcemap.fitter.splines import spline_coefficients
from forcemap.potentials import Potential
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.model import (
    EmbeddingCenter,
    EmbeddingFunctions,
    PotentialData,
    SoapFunctions,
    ThreeBodySplines,
    TwoBodySplines,
    ZblPairs,
    write_potential,
)
from forcemap.potentials.runs.progress import Progress
from numpy.typing import NDArray

__all__ = [
    "Mapped",
    "Truth",
    "deviations_in_thread",
    "map_file",
    "map_model",
    "mapped_curves",
    "no_map",
    "truth_in_thread",
]

Array = NDArray[np.float64]
Answer = TypeVar("Answer")

PROBE_FRAMES = 6
"""Training frames (the most disordered) by which the resolution is chosen."""

RANDOM_CLUSTERS = 4
MOST_BYTES = 512 << 20
"""Larger tables are not made, whatever the tolerance; a warning tells."""


@dataclass(frozen=True)
class Mapped:
    """A mapped potential with the measured errors of the map."""

    data: PotentialData
    potential: Potential
    errors: dict[str, Any]
    seconds: float

    def write(self, path: str | PathLike[str]) -> None:
        """Write the potential file, whole or not at all."""
        write_potential(self.data, path)


# ---- the process's functions -------------------------------------------------------------------


class Functions:
    """The process's functions on grids, with cutoffs and fading, and as forms.

    Attributes:
        weights: of the sparse points, by term and block.
        forms: of the soap terms, by term, ordered by what matters in the frames given.
    """

    def __init__(self, model: Model, jobs: int = 1, frames: Sequence[Frame] = ()) -> None:
        self.model = model
        self.jobs = jobs
        self.weights: dict[tuple[int, int], Array] = {}
        for term, block, where in columns(model.terms):
            key = (model.terms.index(term), term.blocks.index(block))
            self.weights[key] = model.weights[where]
        self.forms: dict[int, list[Form]] = {}
        for t, term in enumerate(model.terms):
            if isinstance(term, SoapTerm):
                all_weights = [self.weights[t, b] for b in range(len(term.blocks))]
                self.forms[t] = forms_of(term, np.concatenate(all_weights), frames, jobs)

    def few_body(self, t: int) -> FewBodyTerm:
        """The term at index `t`, which is a few-body term."""
        term = self.model.terms[t]
        assert isinstance(term, FewBodyTerm)
        return term

    def embedding(self, t: int, term: EmbeddingTerm) -> EmbeddingFunctions:
        """An embedding term's densities and functions; it is one of splines already."""
        densities: dict[tuple[str, str], Array] = {}
        centers: dict[str, EmbeddingCenter] = {}
        for b, block in enumerate(term.blocks):
            center = block.species[0]
            splines = term.splines[center]
            centers[SYMBOLS[center]] = EmbeddingCenter(TOP, splines.functions @ self.weights[t, b])
            for z, table in zip(term.numbers, splines.densities, strict=True):
                densities[SYMBOLS[center], SYMBOLS[z]] = table
        return EmbeddingFunctions(term.cutoff, term.grid[0], densities, centers)

    def pair_table(self, t: int, block: Block, weights: Array, intervals: int) -> Array:
        """Knot values of a pair function over [0, cutoff], eV."""
        term = self.few_body(t)
        knots = np.linspace(0.0, term.cutoff, intervals + 1)
        return np.asarray(term.pair_values(block, knots, self.model.core) @ weights)

    def triplet_table(self, t: int, grids: tuple[Array, Array]) -> dict[tuple[int, ...], Array]:
        """Knot values (legs, legs, base) of every three-body function of a term."""
        term = self.few_body(t)
        legs, base = grids
        tables: dict[tuple[int, ...], Array] = {}
        for b, block in enumerate(term.blocks):
            for view in term.views(block):
                factors = term.triplet_factors(view.species, self.model.core, legs, base)
                symmetric = view.species[1] == view.species[2]
                values = self._outer(
                    term, view.images, self.weights[t, b], factors, legs, base, symmetric
                )
                tables[view.species] = tables.get(view.species, 0.0) + values
        return tables

    def _outer(
        self,
        term: FewBodyTerm,
        images: Array,
        weights: Array,
        factors: tuple[Array, Array, Array],
        legs: Array,
        base: Array,
        symmetric: bool,
    ) -> Array:
        values = np.zeros((len(legs), len(legs), len(base)))
        # Where a factor is zero, so is the function; the rest is evaluated, half of it if symmetric.
        keep = [np.flatnonzero(f) for f in factors]
        first, second = (x.ravel() for x in np.meshgrid(keep[0], keep[1], indexing="ij"))
        if symmetric:
            half = first <= second
            first, second = first[half], second[half]
        if not len(first) or not len(keep[2]):
            return values
        found = _grid_sum(
            term, legs[first], legs[second], base[keep[2]], images, weights, self.jobs
        )
        found *= (factors[0][first] * factors[1][second])[:, None] * factors[2][keep[2]][None, :]
        values[first[:, None], second[:, None], keep[2][None, :]] = found
        if symmetric:
            values[second[:, None], first[:, None], keep[2][None, :]] = found
        return values


def _grid_sum(
    term: FewBodyTerm,
    first: Array,
    second: Array,
    base: Array,
    images: Array,
    weights: Array,
    jobs: int,
) -> Array:
    """Sums of the kernel at (first[i], second[i], base[k]), (pairs, n), by `jobs` threads."""
    settings = term.settings

    def part(rows: slice) -> Array:
        one, two = np.ascontiguousarray(first[rows]), np.ascontiguousarray(second[rows])
        if term.kernel == "squared_exponential":
            return settings.grid(one, two, base, images, weights)
        points = np.empty((len(one), len(base), 3))
        points[:, :, 0] = one[:, None]
        points[:, :, 1] = two[:, None]
        points[:, :, 2] = base[None, :]
        return settings.sum(points.reshape(-1, 3), images, weights).reshape(len(one), -1)

    step = 1024
    pieces = [slice(n, n + step) for n in range(0, len(first), step)]
    return np.concatenate(list(in_order(part, pieces, jobs)))


def _symbols(species: Sequence[int]) -> Any:
    return tuple(SYMBOLS[z] for z in species)


def _tabulate(
    functions: Functions, spacing: float, base_ratio: float, provenance: Mapping[str, Any]
) -> PotentialData:
    """The potential whose three-body legs have knots `spacing` (Å) apart, bases `base_ratio` times."""
    model = functions.model
    terms: list[Any] = []
    for t, term in enumerate(model.terms):
        if isinstance(term, SoapTerm) and functions.forms[t]:
            terms.append(functions_of(term, functions.forms[t]))
        if isinstance(term, EmbeddingTerm) and term.blocks:
            terms.append(functions.embedding(t, term))
        if not term.blocks or not isinstance(term, FewBodyTerm):
            continue
        if term.kind == "two_body":
            intervals = term.grid[0] if term.grid else int(np.ceil(4.0 * term.cutoff / spacing))
            tables: dict[Any, Array] = {}
            for b, block in enumerate(term.blocks):
                knots = functions.pair_table(t, block, functions.weights[t, b], intervals)
                tables[_symbols(block.species)] = spline_coefficients(knots, fading=1)
            terms.append(TwoBodySplines(term.cutoff, intervals, tables))
        else:
            legs, base = _intervals(term, spacing, base_ratio)
            grids = (
                np.linspace(0.0, term.cutoff, legs + 1),
                np.linspace(0.0, 2.0 * term.cutoff, base + 1),
            )
            found = functions.triplet_table(t, grids)
            terms.append(
                ThreeBodySplines(
                    term.cutoff,
                    legs,
                    base,
                    {
                        _symbols(species): _symmetric(
                            spline_coefficients(values, fading=2), species[1] == species[2]
                        )
                        for species, values in found.items()
                    },
                )
            )
    terms.extend(core_terms(model.core))
    symbols = _symbols(model.species)
    atoms = model.atom_energies()
    e0 = {SYMBOLS[z]: float(atoms[z]) for z in model.species}
    return PotentialData(symbols, e0, tuple(terms), provenance=dict(provenance))


def _intervals(term: FewBodyTerm, spacing: float, base_ratio: float) -> tuple[int, int]:
    if term.grid is not None:
        return term.grid[0], term.grid[1]
    legs = int(np.ceil(term.cutoff / spacing))
    return legs, int(np.ceil(2.0 * term.cutoff / (spacing * base_ratio)))


def _table_bytes(model: Model, spacing: float, base_ratio: float) -> int:
    total = 0
    for term in model.terms:
        if isinstance(term, FewBodyTerm) and term.kind == "three_body":
            legs, base = _intervals(term, spacing, base_ratio)
            views = sum(len(term.views(block)) for block in term.blocks)
            total += 8 * views * (legs + 3) ** 2 * (base + 3)
    return total


def _symmetric(table: Array, equal_neighbors: bool) -> Array:
    return 0.5 * (table + table.transpose(1, 0, 2)) if equal_neighbors else table


# ---- choosing the resolution -------------------------------------------------------------------


def random_cluster(model: Model, rng: np.random.Generator, atoms: int = 24) -> Frame:
    """A cluster of random atoms, none nearer to another than the data's shortest distances."""
    shortest = {pair: c.shortest for pair, c in model.core.items()}
    numbers = rng.choice(model.species, atoms).astype(np.int32)

    def nearest_allowed(a: int, b: int) -> float:
        return 1.02 * shortest.get((min(a, b), max(a, b)), 1.0)

    edge = 1.9 * np.cbrt(atoms) * np.mean([nearest_allowed(a, a) for a in model.species])
    placed: list[Array] = []
    kept: list[int] = []
    for number in numbers:
        for _ in range(200):
            position = rng.uniform(0.0, edge, 3)
            if all(
                np.linalg.norm(position - p) > nearest_allowed(int(number), k)
                for p, k in zip(placed, kept, strict=True)
            ):
                placed.append(position)
                kept.append(int(number))
                break
    return Frame(
        numbers=np.array(kept, dtype=np.int32),
        positions=np.array(placed),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        energy=None,
        forces=None,
        stress=None,
        config_type="random cluster",
        sigma=FrameSigma(0.0, 0.0, 0.0),
        source="random",
        index=0,
    )


def no_map(model: Model) -> str:
    """Why a model that has terms without a map cannot be mapped."""
    return (
        f"its {' and '.join(model.unmapped)} term has no map: it is for comparing errors, which "
        "`forcemap fit` reports, and cannot be run in MD; fit without it to get a potential"
    )


class Truth:
    """The process's own energies and forces of some frames, isolated atoms and core included."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.core = CoreEnergy(model.species, model.core)

    def of(self, frame: Frame) -> tuple[float, Array]:
        """Energy (eV) and forces (n, 3) (eV/Å)."""
        return self.prediction(frame)[:2]

    def prediction(self, frame: Frame) -> Prediction:
        """Energy, forces and stress."""
        return self._whole(frame, self.model.predict(frame))

    def with_deviations(self, frame: Frame) -> tuple[Prediction, Prediction]:
        """Energy, forces and stress, and the standard deviations of all of them.

        These are the process's own, without the noise of labels and without the errors of what a
        process of these terms cannot describe.
        """
        means, variances = self.model.predict_with_variances(frame)
        # Rounding may leave a variance of nothing just below zero.
        all_of_them = np.sqrt(np.maximum(variances, 0.0))
        n = len(frame.numbers)
        forces = all_of_them[1 : 1 + 3 * n].reshape(n, 3)
        stress = _stress_of(frame, all_of_them[1 + 3 * n :])
        return self._whole(frame, means), (float(all_of_them[0]), forces, stress)

    def _whole(self, frame: Frame, means: tuple[float, Array, Array]) -> Prediction:
        """With isolated atoms and core."""
        energy, forces, strain = means
        core_energy, core_forces, core_strain = self.core.of(frame)
        free = sum(self.model.e0[int(z)] for z in frame.numbers)
        stress = _stress_of(frame, strain + core_strain)
        return energy + core_energy + free, forces + core_forces, stress


def _stress_of(frame: Frame, strain: Array) -> Array | None:
    """(3, 3) eV/Å³ of strain derivatives (6,) (eV); None unless the frame is periodic."""
    if not np.all(frame.pbc):
        return None
    six = strain / abs(np.linalg.det(frame.cell))
    return np.asarray(six[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]])


def _worst_errors(
    potential: Potential, frames: Sequence[Frame], truths: Sequence[Any]
) -> tuple[float, float]:
    """Largest errors of a frame's energy, eV per atom, and of a force, eV/Å."""
    evaluator = potential.evaluator(skin=0.0)
    of_energy, of_force = 0.0, 0.0
    for frame, (energy, forces) in zip(frames, truths, strict=True):
        mapped_energy, mapped, _ = evaluate_frame(evaluator, frame)
        of_energy = max(of_energy, abs(mapped_energy - energy) / len(frame.numbers))
        of_force = max(of_force, float(np.abs(mapped - forces).max()))
    return of_energy, of_force


def _force_error(potential: Potential, frames: Sequence[Frame], truths: Sequence[Any]) -> float:
    return _worst_errors(potential, frames, truths)[1]


def _probes(model: Model, frames: Sequence[Frame]) -> list[Frame]:
    def disorder(frame: Frame) -> float:
        forces = np.zeros((0, 3)) if frame.forces is None else frame.forces[frame.labelled]
        return float(np.abs(forces).max(initial=0.0))

    small = sorted(frames, key=disorder, reverse=True)[: 3 * PROBE_FRAMES]
    chosen = sorted(small, key=lambda f: len(f.numbers))[:PROBE_FRAMES]
    rng = np.random.default_rng(0)
    return chosen + [random_cluster(model, rng) for _ in range(RANDOM_CLUSTERS)]


def map_model(
    model: Model,
    frames: Sequence[Frame],
    tolerance: float,
    jobs: int = 1,
    progress: Progress | None = None,
    soap: str | None = None,
    process: Iterable[Prediction] | None = None,
) -> Mapped:
    """Map `model` so that no force differs by more than `tolerance` (eV/Å) from the process's.

    The resolution is chosen on the most disordered of `frames` and on random clusters; the errors
    reported are measured on all frames (and the clusters apart); with soap terms, whose process is
    slow, on some of them. `soap`: "exact", "low_rank", or None for the default of `MapSettings`.
    `process`: what the model's `Truth` says of these frames (`measured_frames`), where it is known.

    Warns (UserWarning) where the tolerance asks for larger tables than MOST_BYTES. Raises
    ForcemapError for a model with a term that has no map.
    """
    if model.unmapped:
        raise ForcemapError(no_map(model))
    progress = progress or Progress.silent()
    start = time.perf_counter()
    truth = Truth(model)
    measured = measured_frames(model, frames)
    with progress.stage("mapping", None) as advance:
        probes = _probes(model, frames)
        functions = Functions(model, jobs, measured)
        truths = [truth.of(frame) for frame in probes]
        spacing, ratio = 0.12, 1.4
        provenance = {
            "data": dict(model.data),
            "settings": dict(model.settings),
            "log_marginal_likelihood": model.log_marginal_likelihood,
            **({"fit": model.identity} if model.identity else {}),
        }
        while True:
            data = _tabulate(functions, spacing, ratio, provenance)
            potential = as_potential(data)
            error = _force_error(potential, probes, truths)
            advance()
            if error <= 0.7 * tolerance or all(term.map_is_exact for term in model.terms):
                # What is left between such a process and its map is rounding.
                break
            # Slopes of a cubic spline converge with the third power of the spacing.
            spacing *= float(np.clip((0.55 * tolerance / error) ** (1.0 / 3.0), 0.45, 0.93))
            if _table_bytes(model, spacing, ratio) > MOST_BYTES:
                warnings.warn(
                    f"map.tolerance {tolerance:g} eV/Å is not reached: it asks for knots "
                    f"{spacing:.3f} Å apart and tables beyond {MOST_BYTES >> 20} MiB. The map is off "
                    f"by {error:.2g} eV/Å. A larger lengthscale makes smoother functions.",
                    stacklevel=2,
                )
                break
        if functions.forms and soap_rank_is_free(model, soap):
            known, clusters = probes[:-RANDOM_CLUSTERS], probes[-RANDOM_CLUSTERS:]
            data = _reduced(functions, data, [*measured, *known], clusters, tolerance, advance)
            potential = as_potential(data)
    evaluator = potential.evaluator(skin=0.0)
    force_worst, force_squares, force_count, energy_worst = 0.0, 0.0, 0, 0.0
    with progress.stage("measuring the map's error", len(measured)) as advance:
        if process is None:
            process = in_order(truth_in_thread(model), measured, jobs)
        for frame, (energy, forces, _) in zip(measured, process, strict=True):
            mapped_energy, mapped_forces, _ = evaluate_frame(evaluator, frame)
            difference = np.abs(mapped_forces - forces)
            force_worst = max(force_worst, float(difference.max()))
            force_squares += float(np.sum(difference**2))
            force_count += difference.size
            energy_worst = max(energy_worst, abs(mapped_energy - energy) / len(frame.numbers))
            advance()
    errors = {
        "force_max_error_ev_per_a": force_worst,
        "force_rmse_error_ev_per_a": float(np.sqrt(force_squares / max(force_count, 1))),
        "energy_max_error_ev_per_atom": energy_worst,
        "random_clusters_force_max_error_ev_per_a": _force_error(
            potential, probes[-RANDOM_CLUSTERS:], truths[-RANDOM_CLUSTERS:]
        ),
        "tolerance_ev_per_a": tolerance,
        "frames_measured": len(measured),
        "tables": [_table_summary(term) for term in data.terms if not isinstance(term, ZblPairs)],
    }
    data = replace(data, mapping=errors)
    return Mapped(data, potential, errors, time.perf_counter() - start)


def _table_summary(term: Any) -> dict[str, Any]:
    """Sizes of a term of a potential, for the report."""
    if isinstance(term, SoapFunctions):
        return {
            "kind": "soap",
            "zeta": term.zeta,
            "dimension": term.dimension,
            "vectors": {symbol: len(c.factors) for symbol, c in term.centers.items()},
        }
    if isinstance(term, ThreeBodySplines):
        return {
            "kind": "three_body",
            "leg_intervals": term.leg_intervals,
            "base_intervals": term.base_intervals,
        }
    if isinstance(term, EmbeddingFunctions):
        counts = {symbol: len(c.coefficients) - 3 for symbol, c in term.centers.items()}
        return {"kind": "embedding", "intervals": term.intervals, "density_intervals": counts}
    return {"kind": "two_body", "intervals": term.intervals}


CLUSTER_ALLOWANCE = 10.0
"""Atoms thrown together at random are nothing that a simulation meets, with forces of tens of eV/Å."""

ENERGY_ALLOWANCE = 1.0
"""Å; an energy per atom may be wrong by this times the tolerance of forces: what the rank leaves out is
of one sign mostly, and shifts all energies where no force shows it."""

MEASURED_ATOMS = 1200
"""Atoms of the frames on which the error of a map is measured where the process is slow."""


def measured_frames(model: Model, frames: Sequence[Frame]) -> list[Frame]:
    """Frames on which the map is compared with the process: all, or an even sample."""
    if not any(isinstance(term, SoapTerm) for term in model.terms):
        return list(frames)
    atoms = sum(len(f.numbers) for f in frames)
    step = max(1, int(np.ceil(atoms / MEASURED_ATOMS)))
    chosen = list(frames[::step])
    # Every species is needed somewhere.
    for z in model.species:
        if not any(z in f.numbers for f in chosen):
            chosen.append(next(f for f in frames if z in f.numbers))
    return chosen


def soap_rank_is_free(model: Model, soap: str | None) -> bool:
    """Whether soap terms may lose what the tolerance allows."""
    if soap is not None:
        return soap == "low_rank"
    return all(term.zeta <= 2 for term in model.terms if isinstance(term, SoapTerm))


def _reduced(
    functions: Functions,
    exact: PotentialData,
    frames: Sequence[Frame],
    clusters: Sequence[Frame],
    tolerance: float,
    advance: Any,
) -> PotentialData:
    """The potential with as few vectors in its soap terms as the tolerance allows.

    One term after the other, by bisection on the part of its forms that is kept; measured against the
    complete map, which is exact: on `frames`, and on random `clusters`, where the error of forces may
    be CLUSTER_ALLOWANCE times as large.
    """
    evaluator = as_potential(exact).evaluator(skin=0.0)
    answers = [evaluate_frame(evaluator, frame)[:2] for frame in frames]
    outside = [evaluate_frame(evaluator, frame)[:2] for frame in clusters]

    def error_of(candidate: PotentialData) -> float:
        potential = as_potential(candidate)
        of_energy, of_force = _worst_errors(potential, frames, answers)
        return max(
            of_energy / ENERGY_ALLOWANCE,
            of_force,
            _force_error(potential, clusters, outside) / CLUSTER_ALLOWANCE,
        )

    positions = [
        t for t, term in enumerate(exact.terms) if isinstance(term, SoapFunctions)
    ]  # of the soap terms in the potential, in the order of the process's
    data = exact
    for number, (t, position) in enumerate(zip(functions.forms, positions, strict=True)):
        term = functions.model.terms[t]
        assert isinstance(term, SoapTerm)
        candidates = _Ranks(data, position, term, functions.forms[t])
        allowed = 0.7 * tolerance * (number + 1) / len(positions)
        low, high = 0, candidates.most  # too few, enough
        while high - low > max(1, high // 16):
            middle = (low + high) // 2 if low else max(1, high // 2)
            advance()
            if error_of(candidates.of(middle)) <= allowed:
                high = middle
            else:
                low = middle
        data = candidates.of(high)
    return data


@dataclass(frozen=True)
class _Ranks:
    """A potential with fewer and fewer vectors in one of its soap terms, which is at `position`."""

    data: PotentialData
    position: int
    term: SoapTerm
    forms: Sequence[Form]

    @property
    def most(self) -> int:
        """Vectors of the largest form."""
        return max(len(form.factors) for form in self.forms)

    def of(self, rank: int) -> PotentialData:
        """The potential with `rank` vectors in the largest form, the same part of the others."""
        terms = list(self.data.terms)
        terms[self.position] = functions_of(self.term, self.forms, rank / self.most)
        return replace(self.data, terms=tuple(terms))


def truth_in_thread(model: Model) -> Callable[[Frame], Prediction]:
    """Truth.prediction for worker threads: each has its own evaluator of the core."""
    return _in_thread(model, Truth.prediction)


def deviations_in_thread(model: Model) -> Callable[[Frame], tuple[Prediction, Prediction]]:
    """Truth.with_deviations for worker threads, as `truth_in_thread`."""
    return _in_thread(model, Truth.with_deviations)


def _in_thread(model: Model, ask: Callable[[Truth, Frame], Answer]) -> Callable[[Frame], Answer]:
    local = threading.local()

    def answer(frame: Frame) -> Answer:
        if not hasattr(local, "truth"):
            local.truth = Truth(model)
        return ask(local.truth, frame)

    return answer


def map_file(
    model_path: str | PathLike[str],
    potential_path: str | PathLike[str],
    tolerance: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Map a model file anew. Without the frames at hand, the error is that on random clusters.

    Returns the errors that are also written into the potential file.
    """
    model = read_model(model_path)
    if model.unmapped:
        raise ForcemapError(f"{model_path}: {no_map(model)}")
    given = model.settings.get("map", {})
    given = given if isinstance(given, Mapping) else {}
    if tolerance is None:
        tolerance = given.get("tolerance", 1e-4)
        if not isinstance(tolerance, int | float) or not 1e-10 <= tolerance <= 1.0:
            raise ForcemapError(
                f"{model_path}: its settings have {tolerance!r} as map.tolerance, expected a number "
                "from 1e-10 to 1; give --tolerance"
            )
    rng = np.random.default_rng(1)
    clusters = [random_cluster(model, rng) for _ in range(3 * RANDOM_CLUSTERS)]
    soap = given.get("soap")
    try:
        mapped = map_model(model, clusters, tolerance, 1, progress, soap)
    except ForcemapError as error:
        raise ForcemapError(f"{model_path}: {error}") from None
    mapped.write(Path(potential_path))
    return {**mapped.errors, "seconds": mapped.seconds}


def mapped_curves(mapped: Mapped) -> dict[str, tuple[Array, Array]]:
    """Pair energies by pair of species for plots: (r in Å, energy in eV), 2-body terms and core."""
    curves = {}
    species = mapped.data.species
    for n, a in enumerate(species):
        for b in species[n:]:
            r = np.linspace(0.3, mapped.potential.cutoff, 600)
            energy = np.zeros_like(r)
            evaluator = mapped.potential.evaluator(skin=0.0)
            numbers = [mapped.potential.numbers[species.index(x)] for x in (a, b)]
            free = mapped.data.e0[a] + mapped.data.e0[b]
            for m, distance in enumerate(r):
                positions = [[0.0, 0.0, 0.0], [0.0, 0.0, distance]]
                found = evaluator.compute(positions, numbers, np.zeros((3, 3)), False)
                energy[m] = found.energy - free
            curves[f"{a}-{b}"] = (r, energy)
    return curves
