"""``forcemap ipi-input``: writes an input for i-PI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from forcemap.ipi_driver.input_options import run_options, settings_from
from forcemap.potentials.runs.options import echo_json, json_option, say

__all__ = ["ipi_input"]

EXAMPLE = "forcemap ipi-input out/potential.forcemap start.xyz --beads 32 --temperature 300"


@click.command(epilog=f"Example: {EXAMPLE}")
@run_options
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), default="input.xml", show_default=True,
    help="The input; the structure goes beside it, to init.xyz.",
)  # fmt: skip
@json_option
def ipi_input(potential: str, structure: str, output: str, as_json: bool, **options: Any) -> None:
    """Write an input for i-PI that runs POTENTIAL from STRUCTURE as it stands.

    It has an address that no other run has, all beads in one message, the estimators of kinetic
    energy, and ends when its client does. STRUCTURE is turned as i-PI needs it and written to
    init.xyz, which the driver takes as its template.
    """
    import ase.io
    from forcemap.ipi_driver.input import input_text, potential_and_start
    from forcemap.potentials.errors import ForcemapError
    from forcemap.potentials.part_file import part_file, writing

    settings = settings_from(options)
    _, atoms = potential_and_start(
        potential, structure, settings, lambda text: say(f"Note: {text}")
    )
    target = Path(output)
    init = target.with_name("init.xyz")
    with writing(init):
        if init.exists() and init.resolve() == Path(structure).resolve():
            # Never overwrite the user's structure with another one.
            given = ase.io.read(init, index=0)
            if abs(given.cell.array - atoms.cell.array).max() > 1e-6:
                raise ForcemapError(
                    f"{init} must be turned for i-PI, but would be written over: give -o another "
                    "folder"
                )
        else:
            with part_file(init) as part:
                ase.io.write(part, atoms, format="extxyz")
    with writing(target), part_file(target) as part:
        part.write_text(input_text(settings, len(atoms)), encoding="utf-8")
    where = f"--port {settings.port}" if settings.mode == "inet" else f"--unix {settings.address}"
    if settings.committee:
        where += f" --committee {settings.committee}"
    driver = f"forcemap driver {Path(potential).resolve()} --template init.xyz {where}"
    commands = [f"i-pi {target.name}", driver]
    if as_json:
        echo_json({"files": [target, init], "use": commands})
        return
    click.echo(f"wrote {target} and {init}; run them together, in the folder of {target.name}:")
    for command in commands:
        click.echo(f"  {command}")
