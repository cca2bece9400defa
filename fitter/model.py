"""The fitted Gaussian process, and its file.

FORMAT ``forcemap.model``, version 1, in the container of `forcemap.potentials.container`. Document:
``species``, ``terms`` (each with kind, cutoff, delta and ``blocks``: the species of each block;
two_body and three_body also with cutoff_width, kernel, lengthscale, symmetry, cutoff_function and
``grid`` (one or two numbers, or none; see `few_body`); soap with zeta and ``basis``, the fields of
`radial_basis.RadialBasis`; embedding with kernel, lengthscale, ``grid`` (two numbers), ``density``
(the fields of `embedding.Density`, weights by element; without ``smooth_end`` it is false), ``scales``
and ``middles`` by element;
nbody with cutoff_width, lengthscale, cutoff_function, ``comparison``
(kernel, and power or distance_lengthscale), ``triplets``: the species of each block of inducing
triplets, and ``scales`` by species of centre; see `nbody.NBodyTerm`), ``e0`` (eV), ``core`` (per pair
of species: shortest distance in the data and the ZBL's inner and outer, Å), ``noise_factor``,
``log_marginal_likelihood``, ``settings`` (as expanded), ``data`` (hash, counts), ``forcemap_version``
and, of a fit with files, ``fit``: its identity (see `fit_folder`). Tensors, F64: ``points.t.b`` (n,
dimension) of block b of term t (distances in Å, densities or descriptors of environments); of a soap
term ``radial.t``, ``own.t`` and ``channels.t`` (`soap.SoapTerm`'s radial, own and weights); of an nbody
term ``triplets.t.b`` (n, 3), the inducing triplets of its block b in Å; ``weights`` (m,) of the
unit-variance kernel columns, eV; ``posterior`` (m, m), lower Cholesky factor of 1 + the whitened,
delta-scaled Gram matrix, from which variances follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.embedding import TOP, Density, EmbeddingTerm
from forcemap.fitter.environment_terms import Comparison, DotPower, SquaredExponential
from forcemap.fitter.few_body import FewBodyTerm
from forcemap.fitter.frame import Frame
from forcemap.fitter.nbody import NBodyTerm
from forcemap.fitter.process import Block, OneBodyTerm, Term, columns, frame_rows
from forcemap.fitter.radial_basis import RadialBasis
from forcemap.fitter.short_range import CorePair
from forcemap.fitter.soap import SoapTerm
from forcemap.fitter.solver import RANK_TOLERANCE
from forcemap.potentials.container import Container, read_container, write_container
from forcemap.potentials.document import DocumentView
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.quoting import quoted
from numpy.typing import NDArray

__all__ = ["Model", "checked_model", "read_model", "write_model"]

Array = NDArray[np.float64]

FORMAT = "forcemap.model"
VERSION = 1
MOST_INTERVALS = 2000
LARGEST = 1e20
"""In the units of the file, far beyond what any fit has; sums of fourth powers do not overflow."""

LENGTHSCALES = 1e-6, 1e6
"""Å, or what else a kernel's argument is measured in."""

ATOMS_OF = {
    "one_body": 1,
    "two_body": 2,
    "three_body": 3,
    "soap": 1,
    "embedding": 1,
    "nbody": 1,
}


@dataclass(frozen=True)
class Model:
    """A fitted process: everything that mapping, re-mapping and variances need.

    Attributes:
        species: atomic numbers, increasing.
        terms: with their sparse points and resolved hyperparameters.
        weights: (m,) for unit-variance kernel columns in the order of `process.columns`, eV.
        e0: isolated-atom energies by atomic number, eV.
        core: by pair of atomic numbers (a <= b); empty without a core.
        posterior: (m, m) lower Cholesky factor, see the module.
        noise_factor: common factor of sigmas and deltas chosen by evidence.
        log_marginal_likelihood: of the training data.
        settings, data: provenance.
        identity: of the fit whose files this is written with; empty without files.
    """

    species: tuple[int, ...]
    terms: tuple[Term, ...]
    weights: Array
    e0: Mapping[int, float]
    core: Mapping[tuple[int, int], CorePair]
    posterior: Array
    noise_factor: float = 1.0
    log_marginal_likelihood: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""

    def atom_energies(self) -> dict[int, float]:
        """Energy of each isolated atom, eV: e0 and, with ``e0: average``, the fitted constants."""
        energies = dict(self.e0)
        for term, block, where in columns(self.terms):
            if isinstance(term, OneBodyTerm):
                energies[block.species[0]] += float(self.weights[where][0])
        return energies

    @property
    def unmapped(self) -> tuple[str, ...]:
        """Kinds of the terms that have no map, without which the model cannot be run in MD."""
        return tuple(sorted({term.kind for term in self.terms if not term.has_map}))

    def predict(self, frame: Frame) -> tuple[float, Array, Array]:
        """Process mean without isolated atoms and core: energy, forces (n, 3), strain (6,).

        Energy in eV, forces in eV/Å, strain derivatives in eV (xx yy zz yz xz xy). Raises
        ForcemapError if one is not finite.
        """
        return self._means(frame, frame_rows(frame, self.terms))

    def _means(self, frame: Frame, rows: Array) -> tuple[float, Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            values = _finite(rows @ self.weights)
        n = len(frame.numbers)
        return float(values[0]), values[1 : 1 + 3 * n].reshape(n, 3), values[1 + 3 * n :]

    @cached_property
    def _factors(self) -> list[Array]:
        """Cholesky factor of every block's covariance."""
        found = []
        for term, block, _ in columns(self.terms):
            try:
                found.append(scipy.linalg.cholesky(term.covariance(block), lower=True))
            except (scipy.linalg.LinAlgError, ValueError):  # ValueError: a number is not finite
                names = "-".join(SYMBOLS[z] for z in block.species)
                raise ForcemapError(
                    f"the covariance of the sparse points of {names} in its {term.kind} term is not "
                    "positive definite: the file is damaged; copy it again or fit anew"
                ) from None
        return found

    def check(self) -> None:
        """Work out what deviations need, which is slow and may fail in a damaged model.

        Raises ForcemapError if a block's covariance has no Cholesky factor.
        """
        _ = self._factors

    def variances(self, frame: Frame) -> Array:
        """Posterior variances of the frame's energy, forces and strain derivatives, (1 + 3n + 6,).

        Of the process itself, without the noise of the labels: eV², (eV/Å)², eV². Raises
        ForcemapError if one is not finite, or a covariance has no Cholesky factor.
        """
        return self._variances(frame_rows(frame, self.terms))

    def predict_with_variances(self, frame: Frame) -> tuple[tuple[float, Array, Array], Array]:
        """What `predict` and `variances` give, from one calculation of the frame's rows."""
        rows = frame_rows(frame, self.terms)
        return self._means(frame, rows), self._variances(rows)

    def _variances(self, rows: Array) -> Array:
        whitened = np.empty_like(rows)
        for (term, _, where), factor in zip(columns(self.terms), self._factors, strict=True):
            whitened[:, where] = (
                term.delta
                * scipy.linalg.solve_triangular(
                    factor, rows[:, where].T, lower=True, check_finite=False
                ).T
            )
        half = scipy.linalg.solve_triangular(
            self.posterior, _finite(whitened).T, lower=True, check_finite=False
        )
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(np.sum(half**2, axis=0))


def _finite(values: Array) -> Array:
    """`values`; raises ForcemapError if one is not finite: no NaN leaves a process silently."""
    if not np.isfinite(values).all():
        raise ForcemapError(
            "the process gives numbers that are not finite: the structure is far outside what can be "
            "evaluated, or the model is damaged"
        )
    return np.asarray(values)


def write_model(model: Model, path: str | PathLike[str]) -> None:
    """Write a model file, whole or not at all. Raises ModelFileError if it cannot be written."""
    from forcemap import __version__

    tensors: dict[str, Array] = {
        "weights": model.weights,
        "posterior": model.posterior,
    }
    terms = []
    for t, term in enumerate(model.terms):
        for b, block in enumerate(term.blocks):
            tensors[f"points.{t}.{b}"] = block.points
        if isinstance(term, SoapTerm):
            tensors[f"radial.{t}"] = term.radial
            tensors[f"own.{t}"] = term.own
            tensors[f"channels.{t}"] = term.weights
        if isinstance(term, NBodyTerm):
            for b, block in enumerate(term.triplets.blocks):
                tensors[f"triplets.{t}.{b}"] = block.points
        terms.append(_term_document(term))
    document = {
        "format": FORMAT,
        "version": VERSION,
        "forcemap_version": __version__,
        "species": [SYMBOLS[z] for z in model.species],
        "terms": terms,
        "e0": {SYMBOLS[z]: float(e) for z, e in model.e0.items()},
        "core": [
            {
                "species": [SYMBOLS[z] for z in pair],
                "shortest": core.shortest,
                "inner": core.inner,
                "outer": core.outer,
            }
            for pair, core in model.core.items()
        ],
        "noise_factor": model.noise_factor,
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "settings": dict(model.settings),
        "data": dict(model.data),
    }
    if model.identity:
        document["fit"] = model.identity
    write_container(path, document, tensors)


def _term_document(term: Term) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": term.kind,
        "cutoff": term.cutoff,
        "delta": term.delta,
        "blocks": [[SYMBOLS[z] for z in block.species] for block in term.blocks],
    }
    if isinstance(term, SoapTerm):
        document |= {"zeta": term.zeta, "basis": asdict(term.basis)}
    if isinstance(term, EmbeddingTerm):
        density = asdict(term.density)
        density["weights"] = {SYMBOLS[z]: w for z, w in term.density.weights.items()}
        document |= {
            "kernel": term.kernel,
            "lengthscale": term.lengthscale,
            "grid": list(term.grid),
            "density": density,
            "scales": {SYMBOLS[z]: scale for z, scale in term.scales.items()},
            "middles": {SYMBOLS[z]: middle for z, middle in term.middles.items()},
        }
    if isinstance(term, NBodyTerm):
        document |= {
            "cutoff_width": term.triplets.cutoff_width,
            "lengthscale": term.triplets.lengthscale,
            "cutoff_function": term.triplets.cutoff_function,
            "comparison": term.comparison.named(),
            "triplets": [[SYMBOLS[z] for z in block.species] for block in term.triplets.blocks],
            "scales": {SYMBOLS[z]: scale for z, scale in term.scales.items()},
        }
    if isinstance(term, FewBodyTerm):
        document |= {
            "cutoff_width": term.cutoff_width,
            "kernel": term.kernel,
            "lengthscale": term.lengthscale,
            "symmetry": term.symmetry,
            "cutoff_function": term.cutoff_function,
            "grid": list(term.grid) if term.grid is not None else [],
        }
    return document


def read_model(path: str | PathLike[str]) -> Model:
    """Read a model file.

    Raises:
        ModelFileError: the file is not a usable model; the text names the file and the fault.
    """
    container = read_container(path)
    _check_sizes(container)
    root = container.view()
    kind = root["format"].string()
    if kind != FORMAT:
        raise ModelFileError(
            f"{path}: found a file of the kind {quoted(kind)}, expected {FORMAT!r} (the Gaussian "
            "process that `forcemap fit` writes beside the potential)"
        )
    if root["version"].integer(1, 1_000_000) > VERSION:
        raise ModelFileError(f"{path}: written by a newer forcemap; upgrade to read it")
    species = tuple(_element(entry) for entry in root["species"])
    if not species or list(species) != sorted(set(species)):
        root["species"].reject("expected elements by increasing atomic number, at least one")
    core = dict(_read_core(entry, species) for entry in root["core"])
    terms = [
        _read_term(entry, number, container, species, core)
        for number, entry in enumerate(root["terms"])
    ]
    e0 = {}
    for z in species:
        e0[z] = _within(root["e0"][SYMBOLS[z]], -LARGEST, LARGEST)
    root["e0"].allow_only(*(SYMBOLS[z] for z in species))
    noise_factor = _positive(root["noise_factor"])
    size = sum(term.size for term in terms)
    posterior = container.tensor("posterior", (size, size))
    _check_posterior(container, posterior)
    return Model(
        species=species,
        terms=tuple(terms),
        weights=container.tensor("weights", (size,)),
        e0=e0,
        core=core,
        posterior=posterior,
        noise_factor=noise_factor,
        log_marginal_likelihood=root["log_marginal_likelihood"].number(),
        settings=root["settings"].members(),
        data=root["data"].members(),
        identity=root["fit"].string() if "fit" in root else "",
    )


def checked_model(path: str | PathLike[str]) -> Model:
    """Read a model file and `Model.check` it; errors name the file."""
    model = read_model(path)
    try:
        model.check()
    except ForcemapError as error:
        raise ModelFileError(f"{path}: {error}") from None
    return model


def _check_sizes(container: Container) -> None:
    """Refuse numbers whose powers and sums might overflow, far beyond those of any fit."""
    for name, tensor in container.tensors.items():
        if tensor.dtype.kind != "f" or not tensor.size or np.abs(tensor).max() <= LARGEST:
            continue
        index = tuple(int(i) for i in np.argwhere(np.abs(tensor) > LARGEST)[0])
        raise ModelFileError(
            f"{container.path}: tensor {name[:60]!r}: found {tensor[index]} at {index}, expected "
            f"numbers up to {LARGEST:g}: the file is damaged; copy it again or fit anew"
        )


def _check_posterior(container: Container, posterior: Array) -> None:
    """Refuse what is no Cholesky factor of 1 + a matrix without negative eigenvalues."""
    diagonal = np.diag(posterior)
    low = np.flatnonzero(diagonal < 1.0 - 1e-6)
    if len(low):
        raise ModelFileError(
            f"{container.path}: tensor 'posterior': found {diagonal[low[0]]} at "
            f"({low[0]}, {low[0]}), expected at least 1: it is not positive definite, the file is "
            "damaged; copy it again or fit anew"
        )


def _within(view: DocumentView, smallest: float, largest: float) -> float:
    """A number in [smallest, largest]."""
    value = view.number()
    if not smallest <= value <= largest:
        view.reject(f"found {value}, expected a number from {smallest:g} to {largest:g}")
    return value


def _positive(view: DocumentView) -> float:
    """A number above 0 that is not extreme."""
    value = view.number()
    if not value > 0.0:
        view.reject(f"found {value}, expected a number above 0")
    return _within(view, 1.0 / LARGEST, LARGEST)


def _element(view: DocumentView, known: tuple[int, ...] | None = None) -> int:
    """Atomic number of a symbol; of one of the elements `known`, if given."""
    try:
        number = atomic_number(view.string())
    except ModelFileError:
        raise
    except ForcemapError as error:
        view.reject(str(error))
    if known is not None and number not in known:
        view.reject(f"found {SYMBOLS[number]}, which is not among the model's species")
    return number


def _read_core(entry: DocumentView, species: tuple[int, ...]) -> tuple[tuple[int, int], CorePair]:
    pair = [_element(s, species) for s in entry["species"]]
    if len(pair) != 2 or pair[0] > pair[1]:
        entry["species"].reject("expected two elements, the lower atomic number first")
    core = CorePair(entry["shortest"].number(), entry["inner"].number(), entry["outer"].number())
    if not (0.0 <= core.inner < core.outer <= 100.0 and 1e-3 <= core.shortest <= 100.0):
        entry.reject("needs 0 <= inner < outer and shortest > 0.001 (Å), all up to 100")
    return (pair[0], pair[1]), core


def _read_term(
    entry: DocumentView,
    number: int,
    container: Container,
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
) -> Term:
    def one_of(name: str, *words: str) -> str:
        word = entry[name].string()
        if word not in words:
            entry[name].reject(f"found {quoted(word)}, expected one of {', '.join(words)}")
        return word

    kind = one_of("kind", *ATOMS_OF)
    whole: SoapTerm | NBodyTerm | None = None
    if kind == "soap":
        whole = _read_soap(entry, number, container, species)
    if kind == "nbody":
        whole = _read_nbody(entry, number, container, species)
    blocks = []
    for b, names in enumerate(entry["blocks"]):
        combination = tuple(_element(s, species) for s in names)
        if len(combination) != ATOMS_OF[kind]:
            names.reject(f"found {len(combination)} species")
        if whole is not None:
            dimension = whole.dimension_of(combination[0])
        else:
            dimension = 3 if kind == "three_body" else 1
        blocks.append(Block(combination, _points(container, f"points.{number}.{b}", dimension)))
    cutoff, delta = entry["cutoff"].number(), _positive(entry["delta"])
    if whole is not None:
        return replace(whole, delta=delta, blocks=tuple(blocks))
    if kind == "one_body":
        return OneBodyTerm(delta, tuple(blocks))
    if kind == "embedding":
        kernel = one_of("kernel", "squared_exponential", "matern52")
        embedding = _read_embedding(entry, kernel, cutoff, species)
        if len({block.species for block in blocks}) != len(blocks):
            entry["blocks"].reject("found a species twice")
        if not all(np.all((block.points >= 0.0) & (block.points <= TOP)) for block in blocks):
            entry["blocks"].reject(f"found a density that is not between 0 and {TOP:g}")
        return replace(embedding, delta=delta, blocks=tuple(blocks)).projected(core)
    term = FewBodyTerm(
        kind,
        cutoff,
        entry["cutoff_width"].number(),
        one_of("kernel", "squared_exponential", "matern52"),
        entry["lengthscale"].number(),
        delta,
        one_of("symmetry", "central", "full"),
        one_of("cutoff_function", "quintic", "cosine"),
        tuple(blocks),
    )
    _check_distances(entry, term)
    grid = tuple(size.integer(1, MOST_INTERVALS) for size in entry["grid"])
    if not grid:
        return term
    wanted = 1 if kind == "two_body" else 2
    if len(grid) != wanted:
        entry["grid"].reject(f"found {len(grid)} sizes, expected {wanted} or none")
    if kind == "three_body" and term.kernel != "squared_exponential":
        entry["grid"].reject("only the squared exponential has one in three_body terms")
    return term.projected(grid, core)


def _check_distances(entry: DocumentView, term: FewBodyTerm) -> None:
    """Refuse a few-body term whose distances (Å) are not those of any fit."""
    if not (0.0 < term.cutoff_width <= term.cutoff <= 100.0 and term.lengthscale > 0.0):
        entry.reject("cutoff, cutoff_width and lengthscale must be positive and consistent")
    _within(entry["lengthscale"], *LENGTHSCALES)
    for block in term.blocks:
        # The third distance of a triplet may be twice the cutoff.
        wrong = block.points[(block.points < 0.0) | (block.points > 2.0 * term.cutoff + 1e-6)]
        if len(wrong):
            names = "-".join(SYMBOLS[z] for z in block.species)
            entry.reject(
                f"found a sparse point of {names} with the distance {wrong[0]:g} Å, expected 0 to "
                f"{2.0 * term.cutoff:g} Å: the file is damaged; copy it again or fit anew"
            )


def _points(container: Container, name: str, dimension: int) -> Array:
    """A tensor (n, dimension) of any n."""
    tensor = container.tensors.get(name)
    count = len(tensor) if tensor is not None and tensor.ndim == 2 else 0
    return container.tensor(name, (count, dimension))


def _read_nbody(
    entry: DocumentView, number: int, container: Container, species: tuple[int, ...]
) -> NBodyTerm:
    """An nbody term without its sparse points."""
    cutoff, width = entry["cutoff"].number(), entry["cutoff_width"].number()
    lengthscale, function = entry["lengthscale"].number(), entry["cutoff_function"].string()
    given = entry["comparison"]
    comparison: Comparison
    if given["kernel"].string() == "power":
        comparison = DotPower(given["power"].integer(1, 8))
    elif given["kernel"].string() == "squared_exponential":
        comparison = SquaredExponential(_within(given["distance_lengthscale"], *LENGTHSCALES))
    else:
        given["kernel"].reject("expected power or squared_exponential")
    if function not in ("quintic", "cosine"):
        entry["cutoff_function"].reject(f"found {quoted(function)}, expected quintic or cosine")
    blocks = []
    for b, names in enumerate(entry["triplets"]):
        combination = tuple(_element(s, species) for s in names)
        if len(combination) != 3 or combination[1] > combination[2]:
            names.reject("expected a centre and two neighbours, the lower atomic number first")
        blocks.append(Block(combination, _points(container, f"triplets.{number}.{b}", 3)))
    scales = {}
    for z in species:
        if SYMBOLS[z] in entry["scales"].members():
            scales[z] = _positive(entry["scales"][SYMBOLS[z]])
    triplets = FewBodyTerm(
        "three_body",
        cutoff,
        width,
        "squared_exponential",
        lengthscale,
        1.0,
        cutoff_function=function,
        blocks=tuple(blocks),
    )
    _check_distances(entry, triplets)
    term = NBodyTerm(triplets, comparison, cutoff, scales)
    try:
        variances = [np.diag(factor) ** 2 for factor in term.factors]
    except (scipy.linalg.LinAlgError, ValueError):
        variances = [np.zeros(1)]
    # What each triplet adds to those before it; the fit keeps none below RANK_TOLERANCE.
    if any(np.min(v, initial=np.inf) < 1e-3 * RANK_TOLERANCE for v in variances):
        entry["triplets"].reject("some of its triplets repeat others")
    return term


def _read_soap(
    entry: DocumentView, number: int, container: Container, species: tuple[int, ...]
) -> SoapTerm:
    """A soap term without its sparse points."""
    given = entry["basis"]
    names = [spec.name for spec in fields(RadialBasis)]
    given.allow_only(*names)
    sizes = {"n_max": given["n_max"].integer(1, 128), "l_max": given["l_max"].integer(0, 20)}
    basis = RadialBasis(**{n: sizes.get(n, given[n].number()) for n in names})  # type: ignore[arg-type]
    if not 0.0 < basis.cutoff_width <= basis.cutoff <= 100.0:
        given.reject("cutoff and cutoff_width must be positive and consistent")

    def tensor(name: str, *shape: int) -> Array:
        found = container.tensors.get(f"{name}.{number}")
        first = len(found) if found is not None and found.ndim == len(shape) + 1 else 0
        return container.tensor(f"{name}.{number}", (first, *shape))

    radial = tensor("radial", basis.l_max + 1, basis.n_max)
    own = tensor("own")
    weights = tensor("channels", len(species))
    if len(radial) < 4 or len(own) != basis.n_max or not 1 <= len(weights) <= 128:
        entry.reject("its radial, own or channels tensor has not the size that `basis` asks for")
    zeta = entry["zeta"].integer(1, 4)
    if np.abs(weights).max() < 1.0 / LARGEST:
        entry.reject("its channels tensor is 0: the file is damaged; copy it again or fit anew")
    return SoapTerm(basis, zeta, species, weights, radial, own, basis.cutoff)


def _read_embedding(
    entry: DocumentView, kernel: str, cutoff: float, species: tuple[int, ...]
) -> EmbeddingTerm:
    """An embedding term without its sparse points and splines."""
    given = entry["density"]
    given.allow_only(*(spec.name for spec in fields(Density)))
    shape = given["kind"].string()
    if shape not in ("polynomial", "exponential"):
        given["kind"].reject(f"found {quoted(shape)}, expected polynomial or exponential")

    def by_element(view: DocumentView) -> dict[int, float]:
        found = {}
        for symbol in view.members():
            if symbol not in SYMBOLS[1:]:
                view.reject(f"found {quoted(symbol)}, expected elements")
            found[atomic_number(symbol)] = view[symbol].number()
        return found

    density = Density(
        shape,
        exponent=given["exponent"].number(),
        decay=given["decay"].number(),
        cutoff=given["cutoff"].number(),
        cutoff_width=given["cutoff_width"].number(),
        weights=by_element(given["weights"]),
        smooth_end="smooth_end" in given and given["smooth_end"].boolean(),
    )
    if not (
        0.0 < density.cutoff_width <= density.cutoff <= 100.0
        and density.cutoff == cutoff
        and 1.0 <= density.exponent <= 100.0
        and 0.0 < density.decay <= 100.0
    ):
        given.reject("cutoff, cutoff_width, exponent and decay must be positive and consistent")
    grid = [size.integer(4, MOST_INTERVALS) for size in entry["grid"]]
    if len(grid) != 2:
        entry["grid"].reject(f"found {len(grid)} sizes, expected 2")
    lengthscale = entry["lengthscale"].number()
    scales = by_element(entry["scales"])
    if not (1e-3 <= lengthscale <= 1e3 and all(0.0 < s <= LARGEST for s in scales.values())):
        entry.reject("lengthscale and scales must be positive and not extreme")
    if not all(0.0 <= w <= 1e3 for w in density.weights.values()):
        given["weights"].reject("found a weight that is not between 0 and 1000")
    middles = by_element(entry["middles"])
    if not all(0.0 <= m <= 1.0 for m in middles.values()):
        entry["middles"].reject("found a density that is not between 0 and 1")
    return EmbeddingTerm(density, species, scales, middles, kernel, lengthscale, (grid[0], grid[1]))
