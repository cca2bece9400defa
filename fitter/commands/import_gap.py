"""``forcemap import gap``: a GAP of QUIP becomes a potential."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import (
    ExistingFile,
    echo_json,
    json_option,
    output_file_option,
    quiet_option,
)

if TYPE_CHECKING:
    from forcemap.fitter.importers.gap_import import ImportedGap, ImportOptions

__all__ = ["import_gap", "import_gap_file"]

EXAMPLE = "forcemap import gap gap.xml -o potential.forcemap"

NOTES = {
    "pair_slope_error_ev_per_a": "largest error of a pair's slope, eV/Å",
    "triplet_force_error_ev_per_a": "largest error of triplets' forces, eV/Å",
}


@click.command("gap", epilog=f"Example: {EXAMPLE}")
@click.argument("gap", type=ExistingFile(), metavar="GAP.xml")
@output_file_option("potential")
@click.option(
    "--rank",
    type=click.IntRange(min=1),
    metavar="N",
    help="Functions of each SOAP term in low-rank form, with an error that is printed.  "
    "[default: exact, a sum over sparse points]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=1e-12, max=1.0),
    help="Largest error of pair functions' slopes and of triplets' forces, eV/Å, such as 1e-4: "
    "triplets are then on splines, whose time does not grow with the number of sparse points.  "
    "[default: pairs to rounding, triplets as they are]",
)
@click.option(
    "--sparse-folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the files with sparse points.  [default: that of GAP.xml]",
)
@click.option(
    "--glue",
    type=ExistingFile(),
    metavar="FILE",
    help="The fit's core_param_file, where GAP.xml has not the baseline in it.",
)
@click.option(
    "--species",
    metavar="ELEMENTS",
    help='Elements of the potential in quotes, as "Si O", where descriptors name none.',
)
@click.option(
    "--symmetrise",
    is_flag=True,
    help="Where QUIP's energy depends on the order of atoms, take the mean over the orders.",
)
@json_option
@quiet_option
def import_gap(gap: Path, output: Path, quiet: bool, as_json: bool, **options: Any) -> None:
    """Bring in a GAP of QUIP, as gap_fit writes it, with the same energies and forces.

    Descriptors distance_2b, distance_Nb of order 2 and 3, angle_3b and soap, and a baseline IP Glue of
    pair functions. Pairs become splines; triplets and SOAP stay exact sums over sparse points unless
    --tolerance or --rank asks for less. The potential runs in LAMMPS, i-PI and ASE as any other; it has
    no deviations and no grade.
    """
    from forcemap.fitter.importers.gap_import import ImportOptions
    from forcemap.fitter.report.terminal import output_console, rows_table

    species = tuple((options.pop("species") or "").replace(",", " ").split())
    found = import_gap_file(gap, output, ImportOptions(species=species, **options))
    if as_json:
        echo_json({**_document(found), "files": [output]})
        return
    if not quiet:
        output_console().print(rows_table(_rows(found), f"Imported from {gap}"))
    click.echo(output)


def _document(found: ImportedGap) -> dict[str, Any]:
    """The facts of `_rows` for programs."""
    data, gap = found.data, found.gap
    return {
        "label": gap.label,
        "species": data.species,
        "e0": data.e0,
        "coordinates": [
            {"kind": one.kind, "covariance": one.covariance, "n_sparse": len(one.points)}
            for one in gap.coordinates
        ],
        "has_baseline": bool(gap.core),
        "terms": [{"kind": term.kind} | term.document() for term in data.terms],
        **found.notes,
    }


def import_gap_file(gap: Path, potential: Path, options: ImportOptions) -> ImportedGap:
    """Bring in the GAP and write the potential, whole or not at all.

    Raises ForcemapError that names what cannot be brought in, and what could be done.
    """
    from forcemap.fitter.importers.gap_import import imported_gap
    from forcemap.fitter.sharing.whole_file import check_writable
    from forcemap.potentials.file.potential_file import write_potential

    check_writable(potential)
    found = imported_gap(gap, options)
    write_potential(found.data, potential)
    return found


def _rows(found: ImportedGap) -> list[tuple[str, str]]:
    from forcemap.potentials.terms import KINDS

    data = found.data
    rows = [("label", found.gap.label), ("species", " ".join(data.species))]
    rows.append(("isolated atoms", ", ".join(f"{s} {e:.6g} eV" for s, e in data.e0.items())))
    for one in found.gap.coordinates:
        rows.append((one.kind, f"{one.covariance}, {len(one.points)} sparse points"))
    if found.gap.core:
        rows.append(("baseline", "Glue, pair functions"))
    for term in data.terms:
        document = {"kind": term.kind} | term.document()
        rows.append((f"term {term.kind}", KINDS[term.kind].described(document)))
    for name, value in found.notes.items():
        shown = f"{value:.1e}" if isinstance(value, float) else str(value)
        rows.append((NOTES.get(name, name.replace("_", " ")), shown))
    return rows
