"""Runs the benchmarks of the documentation, keeps their numbers, and draws its figures.

    python benchmarks/publish.py --data FOLDER          # everything, some minutes on a silent machine
    python benchmarks/publish.py accuracy_cost --only "2+3-body 4.25 Å" --data FOLDER
    python benchmarks/publish.py --draw                 # the figures alone, from what is kept

Numbers go to ``results/``, with the machine, the date, the version and the command: points of fits to
``accuracy_cost.json``, what other programs print to ``runs.json``. What is run anew replaces its old
entry, the others stay. The figures go to ``docs/figures/``, and the page of benchmarks is made of these
files when the site is built. FOLDER holds the published silicon set, train.xyz and test.xyz.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accuracy_cost import FITS, draw, fitted
from peers import RESULTS, Point
from published_sets import add_silicon_option, silicon_folder

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent / "docs" / "figures"
POINTS, RUNS = RESULTS / "accuracy_cost.json", RESULTS / "runs.json"

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "md_speed": ("--sizes", "4096", "--cutoffs", "4.0"),
    "uncertainty_speed": (),
    "fit_scaling": ("--train", "{data}/train.xyz", "--times", "1", "10"),
    "ipi_cost": ("--atoms", "64", "512", "--rounds", "3"),
}
"""Programs whose printed tables are kept, with their arguments; ``{data}`` is the folder of --data."""


def machine() -> str:
    """The processor and its number of cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = names[0] if names else model
    return f"{' '.join(model.split())}, {os.cpu_count()} cores"


def circumstances(command: str) -> dict[str, str]:
    """When, where and by what a number was made."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "version": version("forcemap"),
        "commit": done.stdout.strip(),
    }


def kept(path: Path) -> dict[str, Any]:
    """Content of a file of numbers; nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Put an entry into a file of numbers."""
    write(path, kept(path) | {name: entry})


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of numbers."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def run_fits(names: list[str], data: Path) -> None:
    """Fit each of our settings and keep its point."""
    for name in names:
        command = f'python benchmarks/publish.py accuracy_cost --only "{name}"'
        entry = {**circumstances(command), **fitted(name, data, jobs=1)._asdict()}
        keep(POINTS, name, entry)


def run_program(name: str, data: Path) -> None:
    """Run a benchmark and keep what it prints."""
    arguments = [part.format(data=data) for part in PROGRAMS[name]]
    print(f"running {name}.py ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), *arguments], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    command = " ".join(["python", f"benchmarks/{name}.py", *PROGRAMS[name]])
    shown = command.replace("{data}", "mlearn_Si")
    keep(RUNS, name, {**circumstances(shown), "output": done.stdout.rstrip()})


def draw_figures() -> None:
    """Draw both figures from the kept numbers."""
    points = {
        name: Point(*(entry[key] for key in Point._fields))
        for name, entry in kept(POINTS).items()
        if name in FITS
    }
    FIGURES.mkdir(parents=True, exist_ok=True)
    draw(points, "run", FIGURES / "accuracy_cost.svg")
    draw(points, "fit", FIGURES / "accuracy_fit.svg")


def main() -> None:
    """Run what is asked for, then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = ["accuracy_cost", *PROGRAMS]
    parser.add_argument("names", nargs="*", help=f"of {', '.join(every)}  [default: all]")
    parser.add_argument("--only", action="append", choices=list(FITS), help="fits; repeatable")
    parser.add_argument("--draw", action="store_true", help="draw only")
    add_silicon_option(parser)
    options = parser.parse_args()
    for name in options.names:
        if name not in every:
            parser.error(f"{name}: is not one of {', '.join(every)}")
    if not options.draw:
        data = silicon_folder(parser, options)
        for name in options.names or every:
            if name == "accuracy_cost":
                run_fits(options.only or list(FITS), data)
            else:
                run_program(name, data)
    draw_figures()


if __name__ == "__main__":
    main()
