"""``forcemap demo``: a small example from DFT frames to path integrals."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from forcemap.fitter.commands.options import (
    command_line,
    echo_json,
    jobs_option,
    json_option,
    progress_unless,
    quiet_option,
)

if TYPE_CHECKING:
    from forcemap.fitter.commands.demo_runs import IpiRun, LammpsRun
    from forcemap.potentials.runs.progress import Progress

__all__ = ["demo", "run_demo"]

EXAMPLE = "forcemap demo silicon"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument(
    "folder",
    metavar="[DIR]",
    required=False,
    default="forcemap-demo",
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option("--force", is_flag=True, help="Write into DIR even if it holds files.")
@json_option
@jobs_option
@quiet_option
def demo(folder: Path, force: bool, jobs: int, quiet: bool, as_json: bool) -> None:
    """Fit silicon, run LAMMPS and i-PI with it, all in DIR (./forcemap-demo).

    Takes a minute or so. DIR then holds the example's input in example/, the potential, the model
    and the report, and the runs in lammps/ and ipi/, each of which can be started again.
    """
    from time import perf_counter

    from forcemap.fitter.report.terminal import output_console, rows_table
    from forcemap.potentials.runs.interruption import anew, interruptible

    start, progress = perf_counter(), progress_unless(quiet)
    left = f"{folder} holds what was finished."
    with interruptible(progress, anew(left, command_line("--force"))):
        report, lammps, ipi = run_demo(folder, jobs, progress, force)
    fits = ("report.html", "report.json", "potential.forcemap", "model.forcemap")
    files = [*(folder / name for name in fits), lammps.log, lammps.plot, ipi.output, ipi.plot]
    if as_json:
        blocks = {name: report[name] for name in ("train", "test", "mapping", "fit")}
        runs = {"lammps": asdict(lammps), "ipi": asdict(ipi)}
        echo_json({**blocks, **runs, "seconds": perf_counter() - start, "files": files})
        return
    rows = summary(report, lammps, ipi)
    rows.append(("time in all", f"{perf_counter() - start:.0f} s"))
    console = output_console()
    console.print()
    console.print(rows_table(rows, "Silicon from DFT frames to path integrals"))
    console.print()
    for path in files:
        click.echo(path)


def run_demo(
    folder: Path, jobs: int, progress: Progress, force: bool = False
) -> tuple[dict[str, Any], LammpsRun, IpiRun]:
    """Copy the example into `folder` and run all of it; returns the report and the two runs.

    Raises ForcemapError if the folder holds files (without `force`) or a step fails.
    """
    from forcemap.fitter import fit_to_folder
    from forcemap.fitter.commands.demo_runs import run_ipi, run_lammps
    from forcemap.fitter.config import Settings
    from forcemap.fitter.sharing.run import Run
    from forcemap.potentials.extras import need

    need("the demo", "lammps", "ipi", "report")
    copy_example(folder, force)
    settings = Settings.read(folder / "example" / "settings.yaml")
    report = fit_to_folder(settings, folder, Run(jobs, progress))
    lammps = run_lammps(folder / "lammps", progress)
    ipi = run_ipi(folder / "ipi", folder / "potential.forcemap", progress)
    return report, lammps, ipi


def copy_example(folder: Path, force: bool) -> None:
    """Copy the packaged example: all of it to example/, the inputs of the runs to their folders."""
    from importlib.resources import files

    from forcemap.fitter.sharing.whole_file import make_folder
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.part_file import writing

    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ForcemapError(f"{folder}: is not empty; name another folder, or give --force")
    source = files("forcemap") / "examples" / "silicon"
    if not source.is_dir():
        raise ForcemapError(f"{source}: the example is not installed; install forcemap again")
    for part in ("example", "lammps", "ipi"):
        make_folder(folder / part)
    with writing(folder):
        for item in source.iterdir():
            if item.is_file():
                (folder / "example" / item.name).write_bytes(item.read_bytes())
        example = folder / "example"
        for name in ("input.xml", "init.xyz"):
            shutil.copyfile(example / name, folder / "ipi" / name)
        # The folders of the runs lie beside the potential, not above it.
        for name, target in (("in.lammps", "lammps"), ("input.xml", "ipi")):
            text = (example / name).read_text(encoding="utf-8")
            text = text.replace("out/potential.forcemap", "../potential.forcemap")
            (folder / target / name).write_text(text, encoding="utf-8")


def summary(report: dict[str, Any], lammps: LammpsRun, ipi: IpiRun) -> list[tuple[str, str]]:
    """A table of the demo's results."""
    test, fit = report["test"], report["fit"]
    return [
        ("frames, training and test", f"{report['train']['n_frames']} and {test['n_frames']}"),
        ("test energy RMSE", f"{test['energy_rmse_mev_per_atom']:.2f} meV/atom"),
        ("test force RMSE", f"{test['force_rmse_ev_per_a']:.3f} eV/Å"),
        ("test stress RMSE", f"{test['stress_rmse_gpa']:.2f} GPa"),
        (
            "largest force error of the map",
            f"{report['mapping']['force_max_error_ev_per_a']:.1e} eV/Å",
        ),
        ("fit and map", f"{fit['seconds']:.1f} s"),
        (
            "LAMMPS, one core",
            f"{lammps.microseconds:.2f} µs/atom/step, {lammps.ns_per_day:.0f} ns/day "
            f"({lammps.atoms} atoms)",
        ),
        ("LAMMPS, mean temperature", f"{lammps.temperature:.0f} K"),
        (
            "i-PI",
            f"{ipi.milliseconds:.1f} ms/step ({ipi.beads} beads of {ipi.atoms} atoms, "
            f"{ipi.steps} steps)",
        ),
        (
            "quantum kinetic energy",
            f"{ipi.kinetic_virial:.1f} ± {ipi.kinetic_virial_error:.1f} (centroid virial), "
            f"{ipi.kinetic_thermodynamic:.1f} ± {ipi.kinetic_thermodynamic_error:.1f} "
            "(thermodynamic) meV/atom",
        ),
        ("classical kinetic energy", f"{ipi.kinetic_classical:.1f} meV/atom"),
    ]
