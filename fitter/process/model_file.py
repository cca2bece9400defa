"""The file of a fitted process.

FORMAT ``forcemap.model``, version 1, in the container of `forcemap.potentials.file.container`.
Document: ``species``, ``terms`` (each with kind, cutoff, delta, ``blocks``: the species of each block,
and what its kind has to say, see the `document` of each kind in `fitter.terms`), ``e0`` (eV), ``core``
(per pair of species: shortest distance in the data and the repulsion's inner and outer, Å),
``noise_factor``, ``log_marginal_likelihood``, ``settings`` (as expanded), ``data`` (hash, counts),
``forcemap_version`` and, of a fit with files, ``fit``: its identity (see `fit_folder`). Tensors, F64:
``points.t.b`` (n, dimension) of block b of term t (distances in Å, densities or descriptors of
environments), those of the terms' kinds, with the term's number after
the first word of their names; ``weights`` (m,) of the unit-variance kernel columns, eV; ``posterior``
(m, m), lower Cholesky factor of 1 + the whitened, delta-scaled Gram matrix, from which variances
follow.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from forcemap.fitter.baseline.repulsion import ShortRange
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array, Term, TermView, element_of, tensor_name
from forcemap.fitter.terms.kinds import TERMS
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ModelFileError
from forcemap.potentials.file.container import read_container, write_container
from forcemap.potentials.file.document import DocumentView

__all__ = ["read_model", "write_model"]

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
    root = container.view()
    kind = root["format"].string()
    if kind != FORMAT:
        raise ModelFileError(
            f"{path}: found a file of the kind {kind!r}, expected {FORMAT!r} (the Gaussian process "
            "that `forcemap fit` writes beside the potential)"
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
    e0 = {z: root["e0"][SYMBOLS[z]].number() for z in species}
    root["e0"].allow_only(*(SYMBOLS[z] for z in species))
    noise_factor = root["noise_factor"].number()
    if not noise_factor > 0.0:
        root["noise_factor"].reject(f"found {noise_factor}, expected a number above 0")
    size = sum(term.size for term in terms)
    return Model(
        species=species,
        terms=terms,
        weights=container.tensor("weights", (size,)),
        e0=e0,
        repulsion=repulsion,
        posterior=container.tensor("posterior", (size, size)),
        noise_factor=noise_factor,
        log_marginal_likelihood=root["log_marginal_likelihood"].number(),
        settings=root["settings"].members(),
        data=root["data"].members(),
        identity=root["fit"].string() if "fit" in root else "",
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
    if not (0.0 <= short.inner < short.outer <= 100.0 and 0.0 < short.shortest <= 100.0):
        entry.reject("needs 0 <= inner < outer and shortest > 0")
    return (pair[0], pair[1]), short
