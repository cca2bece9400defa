"""``forcemap info``: what a model or potential file holds."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    echo_json,
    json_option,
    progress_unless,
    quiet_option,
)

if TYPE_CHECKING:
    from forcemap.potentials.uncertainty import Uncertainty

__all__ = ["describe", "document_of", "info"]

EXAMPLE = "forcemap info out/potential.forcemap"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("file", required=False, type=ExistingFile())
@click.option(
    "--ipi-pes",
    is_flag=True,
    help="Print the path of the file for i-PI's own drivers: "
    "i-pi-driver-py -m custom -P PATH, and <pes_path> of <ffdirect>.",
)
@click.option(
    "--system",
    is_flag=True,
    help="Show versions, programs and the processor, and try a short run of each program.",
)
@json_option
@quiet_option
def info(file: Path | None, ipi_pes: bool, system: bool, as_json: bool, quiet: bool) -> None:
    """Show what FILE (potential.forcemap or model.forcemap) holds, after checking all of it.

    With --system, show what a report of a fault needs to say of this installation: versions, the
    LAMMPS, MPI and i-PI that are found, the plugin, the processor; each of them is tried in a run of a
    few atoms. The exit code is 1 if anything fails, 4 if nothing does but something is not installed.
    """
    if [file is not None, ipi_pes, system].count(True) != 1:
        raise click.UsageError("give one of a FILE, --system and --ipi-pes")
    if system:
        from forcemap.fitter.commands.system import show_system

        click.get_current_context().exit(show_system(as_json, progress_unless(quiet)))
    if file is None:
        # Named, not imported: the fitter does not depend on the driver.
        path = import_module("forcemap.ipi_driver").pes_path()
        echo_json({"ipi_pes": path}) if as_json else click.echo(path)
        return
    from forcemap.fitter.report.terminal import output_console, rows_table
    from forcemap.fitter.sharing.fit_folder import warn_of_mixture

    warn_of_mixture(file)
    if as_json:
        echo_json(document_of(file))
    else:
        output_console().print(rows_table(describe(file)))


def document_of(path: Path) -> dict[str, Any]:
    """What a file holds, for programs: energies in eV, lengths in Å, keys as in the file itself.

    Raises ForcemapError if it is not usable.
    """
    from forcemap.potentials.file.potential_file import file_format

    is_potential = file_format(path) == "forcemap.potential"
    content = _potential_document(path) if is_potential else _model_document(path)
    holds = "potential" if is_potential else "process"
    return {"file": path, "bytes": path.stat().st_size, "holds": holds, **content}


def _potential_document(path: Path) -> dict[str, Any]:
    from forcemap.potentials import load

    potential = load(path)
    document = {key: value for key, value in potential.metadata.items() if key != "grade"}
    return document | {
        "cutoff": potential.cutoff,
        "e0": potential.e0,
        "draws": potential.draws,
        "has_grade": potential.has_grade,
    }


def _model_document(path: Path) -> dict[str, Any]:
    from forcemap.fitter.process.model_file import checked_model
    from forcemap.potentials.elements import SYMBOLS
    from forcemap.potentials.file.container import read_document

    model, document = checked_model(path), read_document(path)
    return {
        **{key: document.get(key) for key in ("format", "version", "forcemap_version")},
        "species": [SYMBOLS[z] for z in model.species],
        "e0": {SYMBOLS[z]: energy for z, energy in model.e0.items()},
        "terms": [
            {
                "kind": term.kind,
                "cutoff": term.cutoff,
                "delta": term.delta,
                **term.summary(),
                "n_sparse": {
                    "-".join(SYMBOLS[z] for z in block.species): len(block.points)
                    for block in term.blocks
                },
            }
            for term in model.terms
        ],
        "uncertainty": None if model.uncertainty is None else model.uncertainty.document(),
        "log_marginal_likelihood": model.log_marginal_likelihood,
        "data": model.data,
        "settings": model.settings,
    }


def describe(path: Path) -> list[tuple[str, str]]:
    """Names and values that describe what a file holds. Raises ForcemapError if it is not usable."""
    from forcemap.potentials.file.potential_file import file_format

    if file_format(path) == "forcemap.potential":
        return _describe_potential(path)
    return _describe_model(path)


def _describe_potential(path: Path) -> list[tuple[str, str]]:
    from forcemap.potentials import load
    from forcemap.potentials.terms import KINDS

    potential = load(path)  # the reader of the core, as LAMMPS uses it
    document = potential.metadata
    rows = _head(path, "potential for molecular dynamics", document)
    rows.append(("species", " ".join(potential.species)))
    rows.append(("cutoff", f"{potential.cutoff:g} Å"))
    rows += _e0_rows(potential.e0)
    for term in document["terms"]:
        rows.append((f"term {term['kind']}", KINDS[term["kind"]].described(term)))
    mapping = document.get("mapping", {})
    cost = mapping.get("cost")
    cost = cost if isinstance(cost, Mapping) else {}
    if text := _cost_text(cost, "run"):
        rows.append(("cost of a step", f"{text}, one thread, measured when it was made"))
    for key, label, unit in (
        ("force_max_error_ev_per_a", "map: largest force error", "eV/Å"),
        ("force_rmse_error_ev_per_a", "map: force RMSE", "eV/Å"),
        ("energy_max_error_ev_per_atom", "map: largest energy error", "eV/atom"),
        ("single_precision_force_error_ev_per_a", "map: change by single precision", "eV/Å"),
        ("tolerance_ev_per_a", "map: asked for", "eV/Å"),
    ):
        if isinstance(mapping.get(key), int | float):
            rows.append((label, f"{mapping[key]:.2e} {unit}"))
    rows += _uncertainty_rows(potential.uncertainty)
    if potential.draws:
        rows += _draws_rows(path, potential.draws, cost)
    if potential.has_grade:
        rows.append(("extrapolation grade", _grade_text(document.get("grade", {}))))
        rows += _graded_rows(mapping, cost)
    provenance = document.get("provenance", {})
    return rows + _import_rows(provenance) + _provenance_rows(provenance)


def _import_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a potential of another program comes from; free content, of which the known is shown."""
    found = provenance.get("import")
    if not isinstance(found, Mapping):
        return []
    labels = {
        "format": "imported from",
        "file": "file imported",
        "sha256": "its SHA-256",
        "label": "label",
        "gap_version": "gap_version",
        "baseline": "baseline",
        "command_line": "command line",
    }
    return [(label, str(found[key])) for key, label in labels.items() if found.get(key)]


def _cost_text(cost: Mapping[str, Any], what: str) -> str:
    """Of a potential's mapping entry ``cost``, free content, of which the known is shown."""
    steps, time = cost.get(f"{what}_steps"), cost.get(f"{what}_microseconds_per_atom")
    parts = [f"{steps:.2g} steps"] if isinstance(steps, int | float) else []
    if isinstance(time, int | float):
        parts.append(f"{time:.3g} µs per atom")
    return ", ".join(parts)


def _draws_rows(path: Path, draws: int, cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How large the draws are, and what they cost."""
    from forcemap.potentials.file.container import tensor_sizes

    size = sum(count for name, count in tensor_sizes(path).items() if name.startswith("draws."))
    rows = [("draws", f"{draws}, {size / 1e6:.2f} MB of the file")]
    if text := _cost_text(cost, "deviation"):
        rows.append(("cost of their deviations", f"{draws} draws: {text}"))
    return rows


def _graded_rows(mapping: Mapping[str, Any], cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Quantiles of the training atoms' grades, and what grades cost."""
    rows = []
    found = mapping.get("grade")
    found = found if isinstance(found, Mapping) else {}
    names = {"quantile_50": "50 %", "quantile_90": "90 %", "quantile_99": "99 %"}
    shown = [
        f"{label} {found[name]:.2f}"
        for name, label in (*names.items(), ("largest", "largest"))
        if isinstance(found.get(name), int | float)
    ]
    if shown:
        atoms = f" (of {found['atoms']} atoms)" if isinstance(found.get("atoms"), int) else ""
        rows.append(("grades of training atoms", ", ".join(shown) + atoms))
    if text := _cost_text(cost, "grade"):
        rows.append(("cost of grades", f"{text}, beside the step"))
    return rows


def _uncertainty_rows(uncertainty: Uncertainty | None) -> list[tuple[str, str]]:
    """Calibration of the deviations of each quantity."""
    if uncertainty is None:
        return []
    return [
        (
            f"deviation of {label}",
            f"factor {found.factor:.3g}, floor {found.floor:.2g} {unit}, "
            f"noise of labels {found.noise:.2g} {unit}",
        )
        for label, found, unit in (
            ("energies", uncertainty.energy, "eV per root of atoms"),
            ("forces", uncertainty.force, "eV/Å"),
            ("stresses", uncertainty.stress, "eV/Å³"),
        )
    ]


def _grade_text(grade: Mapping[str, Any]) -> str:
    """What grades are made from."""
    counts = [f"{e['species']} {e['features']}" for e in grade.get("centers", [])]
    pairs = [f"{'-'.join(e['species'])} {e['distance']:.3g} Å" for e in grade.get("shortest", [])]
    text = "1 is the 99 % quantile of the training atoms"
    if counts:
        text += f"; features: {', '.join(counts)}"
    return text + (f"; shortest distances: {', '.join(pairs)}" if pairs else "")


def _describe_model(path: Path) -> list[tuple[str, str]]:
    from forcemap.fitter.process.model_file import checked_model
    from forcemap.potentials.elements import SYMBOLS
    from forcemap.potentials.file.container import read_document

    model = checked_model(path)
    use = "it has no map" if model.unmapped else "map it with: forcemap map"
    rows = _head(path, f"Gaussian process ({use})", read_document(path))
    rows.append(("species", " ".join(SYMBOLS[z] for z in model.species)))
    rows += _e0_rows({SYMBOLS[z]: energy for z, energy in model.e0.items()})
    rows += [("isolated atoms from", line) for line in model.data.get("isolated_atoms", [])]
    for term in model.terms:
        blocks = ", ".join(
            f"{'-'.join(SYMBOLS[z] for z in block.species)} {len(block.points)}"
            for block in term.blocks
        )
        rows.append(
            (
                f"term {term.kind}",
                f"cutoff {term.cutoff:g} Å, {_named(term.summary())}"
                f"delta {term.delta:.3g} eV, sparse points: {blocks}",
            )
        )
    rows += _uncertainty_rows(model.uncertainty)
    provenance = {
        "data": model.data,
        "settings": model.settings,
        "log_marginal_likelihood": model.log_marginal_likelihood,
    }
    return rows + _provenance_rows(provenance)


def _named(values: Mapping[str, Any]) -> str:
    return "".join(
        f"{name} {value:.3g}, " if isinstance(value, float) else f"{name} {value}, "
        for name, value in values.items()
    )


def _head(path: Path, kind: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("file", f"{path} ({path.stat().st_size / 1e6:.2f} MB)"),
        ("holds", kind),
        ("format", f"{document['format']} {document['version']}"),
        ("written by", f"forcemap {document.get('forcemap_version', '?')}"),
    ]


def _e0_rows(e0: Mapping[str, float]) -> list[tuple[str, str]]:
    return [("isolated atoms", ", ".join(f"{s} {energy:.6g} eV" for s, energy in e0.items()))]


def _provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a file says of its making; free content, of which the known is shown."""
    rows = []
    data = provenance.get("data")
    if isinstance(data, Mapping):
        counts = [f"{data[k]} {k.removeprefix('n_')}" for k in ("n_frames", "n_atoms") if k in data]
        if counts:
            rows.append(("fitted to", ", ".join(counts)))
        if "hash" in data:
            rows.append(("data SHA-256", str(data["hash"])))
    likelihood = provenance.get("log_marginal_likelihood")
    if isinstance(likelihood, int | float):
        rows.append(("log marginal likelihood", f"{likelihood:.2f}"))
    settings = provenance.get("settings")
    if isinstance(settings, Mapping) and settings:
        import yaml

        text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
        rows.append(("settings", text.strip()))
    return rows
