"""The file of a fitted process.

FORMAT ``forcemap.model``, version 1, in the container of `forcemap.potentials.file.container`.
Document: ``species``, ``terms`` (each with kind, cutoff, delta, ``blocks``: the species of each block,
and the entries of its kind, from the `document` of each kind in `fitter.terms`), ``e0`` (eV), ``core``
(per pair of species: shortest distance in the data and the repulsion's inner and outer, Å),
``noise_factor``, ``log_marginal_likelihood``, ``settings`` (expanded), ``data`` (hash, counts),
``forcemap_version``, ``labels`` (the sums needed to add labels: misfit, log_sigma, count,
stress_factor of `model.Labels`; absent in files of earlier versions) and, of a fit with files, ``fit``:
its identity (`fit_folder`); if its deviations are calibrated, ``uncertainty``: ``factor``, ``floor``
and ``noise`` of energy, force and stress (`potentials.uncertainty`), and ``open``
(`Model.open_levels`). Tensors, F64:
``points.t.b`` (n, dimension) of block b of term t (distances in Å, densities or descriptors of
environments); the tensors of the terms' kinds, with the term's number after the first word of their
names; ``weights`` (m,) of the unit-variance kernel columns, eV; ``posterior``
(m, m), lower Cholesky factor of 1 + the whitened, delta-scaled Gram matrix, from which variances
follow; with ``labels``, ``projected`` (m,) and ``factors``: the Cholesky factors of the covariances of
all blocks, their lower triangles one after the other, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from forcemap.fitter.baseline.repulsion import ShortRange
from forcemap.fitter.process.model import Labels, Model
from forcemap.fitter.terms.base import (
    LARGEST,
    Array,
    Term,
    TermView,
    element_of,
    positive,
    tensor_name,
    within,
)
from forcemap.fitter.terms.kinds import TERMS
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.file.container import Container, read_container, write_container
from forcemap.potentials.file.document import DocumentView
from forcemap.potentials.quoting import quoted
from forcemap.potentials.uncertainty import Calibration, Uncertainty

__all__ = ["checked_model", "read_model", "write_model"]

FORMAT = "forcemap.model"
VERSION = 1


def write_model(model: Model, path: str | PathLike[str]) -> None:
    """Write a model file, whole or not at all. Raises ModelFileError if it cannot be written."""
    from forcemap import __version__

    tensors: dict[str, Array] = {"weights": model.weights, "posterior": model.posterior}
    for t, term in enumerate(model.terms):
        own = {f"points.{b}": block.points for b, block in enumerate(term.blocks)}
        for name, values in (own | term.tensors()).items():
            tensors[tensor_name(name, t)] = values
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "forcemap_version": __version__,
        "species": [SYMBOLS[z] for z in model.species],
        "terms": [_term_document(term) for term in model.terms],
        "e0": {SYMBOLS[z]: float(e) for z, e in model.e0.items()},
        "core": [
            {
                "species": [SYMBOLS[z] for z in pair],
                "shortest": short.shortest,
                "inner": short.inner,
                "outer": short.outer,
            }
            for pair, short in model.repulsion.items()
        ],
        "noise_factor": model.noise_factor,
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "settings": dict(model.settings),
        "data": dict(model.data),
    }
    if model.labels is not None:
        tensors["projected"] = model.labels.projected
        triangles = [factor[np.tril_indices(len(factor))] for factor in model.labels.factors]
        tensors["factors"] = np.concatenate([np.zeros(0), *triangles])
        document["labels"] = {
            name: getattr(model.labels, name)
            for name in ("misfit", "log_sigma", "count", "stress_factor")
        }
    if model.uncertainty is not None:
        document["uncertainty"] = {
            name: values | {"open": model.open_levels.get(name, 0.0)}
            for name, values in model.uncertainty.document().items()
        }
    if model.identity:
        document["fit"] = model.identity
    write_container(path, document, tensors)


def _term_document(term: Term) -> dict[str, Any]:
    return {
        "kind": term.kind,
        "cutoff": term.cutoff,
        "delta": term.delta,
        "blocks": [[SYMBOLS[z] for z in block.species] for block in term.blocks],
    } | term.document()


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
    species = tuple(element_of(entry) for entry in root["species"])
    if not species or list(species) != sorted(set(species)):
        root["species"].reject("expected elements by increasing atomic number, at least one")
    repulsion = dict(_read_repulsion(entry, species) for entry in root["core"])
    terms = tuple(
        _read_term(TermView(entry, number, container, species, repulsion))
        for number, entry in enumerate(root["terms"])
    )
    e0 = {z: within(root["e0"][SYMBOLS[z]], -LARGEST, LARGEST) for z in species}
    root["e0"].allow_only(*(SYMBOLS[z] for z in species))
    noise_factor = positive(root["noise_factor"])
    size = sum(term.size for term in terms)
    posterior = container.tensor("posterior", (size, size))
    _check_posterior(container, posterior)
    return Model(
        species=species,
        terms=terms,
        weights=container.tensor("weights", (size,)),
        e0=e0,
        repulsion=repulsion,
        posterior=posterior,
        noise_factor=noise_factor,
        log_marginal_likelihood=root["log_marginal_likelihood"].number(),
        settings=root["settings"].members(),
        data=root["data"].members(),
        identity=root["fit"].string() if "fit" in root else "",
        labels=_read_labels(root["labels"], container, terms) if "labels" in root else None,
        **(_read_uncertainty(root["uncertainty"]) if "uncertainty" in root else {}),
    )


def _read_uncertainty(view: DocumentView) -> dict[str, Any]:
    """Arguments `uncertainty` and `open_levels` of a Model."""
    calibrations, levels = {}, {}
    for name in ("energy", "force", "stress"):
        entry = view[name]
        numbers = [within(entry[key], 0.0, LARGEST) for key in ("factor", "floor", "noise")]
        calibrations[name] = Calibration(*numbers)
        levels[name] = within(entry["open"], 0.0, LARGEST)
        entry.allow_only("factor", "floor", "noise", "open")
    view.allow_only(*calibrations)
    return {"uncertainty": Uncertainty(**calibrations), "open_levels": levels}


def checked_model(path: str | PathLike[str]) -> Model:
    """Read a model file and `Model.check` it; errors name the file."""
    model = read_model(path)
    try:
        model.check()
    except ForcemapError as error:
        raise ModelFileError(f"{path}: {error}") from None
    return model


def _check_sizes(container: Container) -> None:
    """Raise ModelFileError for numbers far beyond any fit, whose powers and sums might overflow."""
    for name, tensor in container.tensors.items():
        if tensor.dtype.kind != "f" or not tensor.size or np.abs(tensor).max() <= LARGEST:
            continue
        index = tuple(int(i) for i in np.argwhere(np.abs(tensor) > LARGEST)[0])
        raise ModelFileError(
            f"{container.path}: tensor {quoted(name)}: found {tensor[index]} at {index}, expected "
            f"numbers up to {LARGEST:g}: the file is damaged; copy it again or fit anew"
        )


def _check_posterior(container: Container, posterior: Array) -> None:
    """Raise ModelFileError if `posterior` is no factor of 1 + a positive semi-definite matrix."""
    diagonal = np.diag(posterior)
    low = np.flatnonzero(diagonal < 1.0 - 1e-6)
    if len(low):
        raise ModelFileError(
            f"{container.path}: tensor 'posterior': found {diagonal[low[0]]} at "
            f"({low[0]}, {low[0]}), expected at least 1: it is not positive definite, the file is "
            "damaged; copy it again or fit anew"
        )


def _read_labels(entry: DocumentView, container: Container, terms: Sequence[Term]) -> Labels:
    entry.allow_only("misfit", "log_sigma", "count", "stress_factor")
    sizes = [block.size for term in terms for block in term.blocks]
    lengths = [size * (size + 1) // 2 for size in sizes]
    triangles = container.tensor("factors", (sum(lengths),))
    factors = []
    for size, part in zip(sizes, np.split(triangles, np.cumsum(lengths)[:-1]), strict=True):
        factor = np.zeros((size, size))
        factor[np.tril_indices(size)] = part
        factors.append(factor)
    return Labels(
        container.tensor("projected", (sum(sizes),)),
        within(entry["misfit"], 0.0, LARGEST),
        within(entry["log_sigma"], -LARGEST, LARGEST),
        entry["count"].integer(0, 2**53),
        tuple(factors),
        positive(entry["stress_factor"]),
    )


def _read_term(view: TermView) -> Term:
    return TERMS[view.one_of("kind", *TERMS)].read(view)


def _read_repulsion(
    entry: DocumentView, species: tuple[int, ...]
) -> tuple[tuple[int, int], ShortRange]:
    pair = [element_of(s, species) for s in entry["species"]]
    if len(pair) != 2 or pair[0] > pair[1]:
        entry["species"].reject("expected two elements, the lower atomic number first")
    short = ShortRange(entry["shortest"].number(), entry["inner"].number(), entry["outer"].number())
    if not (0.0 <= short.inner < short.outer <= 100.0 and 1e-3 <= short.shortest <= 100.0):
        entry.reject("needs 0 <= inner < outer and shortest > 0.001 (Å), all up to 100")
    return (pair[0], pair[1]), short
