"""Runs i-PI and its drivers together in a folder, to the last step, over kills and crashes.

The folder holds: ``run.json`` (the settings and the address of the run), ``init.xyz``, ``input.xml``,
``continue.xml`` (the checkpoint that a later start went on from), ``pimd.*`` (i-PI's outputs and its
last two checkpoints), ``i-pi.log``, ``driver.log`` and ``run.lock``, which is locked while i-PI runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import socket
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from forcemap.ipi_driver.input import (
    InputSettings,
    input_text,
    potential_and_start,
    structures_per_message,
)
from forcemap.ipi_driver.run_table import RunTable
from forcemap.ipi_driver.shared_memory import remove_left
from forcemap.ipi_driver.tally import GradeTally
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.part_file import has_parts, part_file, writing
from forcemap.potentials.runs.folder_lock import locked_folder
from forcemap.potentials.runs.i_pi import (
    Drivers,
    find_i_pi,
    remove_socket,
    run_i_pi,
    with_total_steps,
)
from forcemap.potentials.runs.programs import last_step
from forcemap.potentials.runs.progress import Progress

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["PimdRun", "left_in", "run_pimd"]

STALL = 3600.0
"""Seconds without a line of properties after which a run is given up."""

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class PimdRun:
    """Result of a run.

    Attributes:
        output: its table of properties.
        steps: the last step.
        begin: the step that this start went on from; the last one if the run was finished before.
        milliseconds: time per step of this start; 0 if it made none.
        grades: how many atoms of this start had a grade above 1, of those that were looked at now and
            then; nothing was looked at if the potential does not grade atoms.
    """

    output: Path
    steps: int
    begin: int
    milliseconds: float
    grades: GradeTally

    def document(self) -> dict[str, Any]:
        """The same for programs, in the terms of reports."""
        found: dict[str, Any] = {
            "output": str(self.output),
            "steps": self.steps,
            "begin": self.begin,
            "milliseconds_per_step": self.milliseconds if self.steps > self.begin else None,
        }
        if self.grades.structures:
            found["structures_looked_at"] = self.grades.structures
            found["structures_with_grade_above_1"] = self.grades.structures_above
            found["atoms_looked_at"] = self.grades.atoms
            found["atoms_with_grade_above_1"] = self.grades.atoms_above
            found["largest_grade"] = self.grades.largest
        return found


def left_in(folder: str | PathLike[str], steps: int) -> str:
    """What an interrupted run of so many steps has left in its folder."""
    found = _checkpoint(Path(folder))
    if found is None:
        return f"{folder} holds no checkpoint yet."
    return f"{found[0]} is of step {found[1]} of {steps}."


def run_pimd(
    potential: str | PathLike[str],
    structure: str | PathLike[str],
    settings: InputSettings,
    folder: str | PathLike[str],
    *,
    threads: int | None = None,
    clients: int = 1,
    progress: Progress | None = None,
) -> PimdRun:
    """Run path integrals, or continue those of an interrupted call with the same arguments.

    A run that has come to its last step is left as it is.

    Args:
        potential: the potential's file.
        structure: the structure to start from.
        settings: what to run.
        folder: for all files; made if it does not exist.
        threads: of each driver; None: all cores, shared by the drivers.
        clients: number of drivers.
        progress: shows the steps.

    Raises:
        ForcemapError: something cannot be used or run, the folder holds another run or one that
            still goes on, i-PI did not come to the last step, or the run has blown up (which stops
            it).

    Warns (UserWarning) about a finished run whose numbers are suspicious (`RunTable`).
    """
    # Before anything is written:
    find_i_pi()
    progress = progress or Progress.silent()
    _, atoms = potential_and_start(
        potential, structure, settings, lambda text: progress.note(f"Note: {text}")
    )
    place = _made(Path(folder))
    with _lock(place) as lock:
        for log in place.glob("driver*.log"):
            remove_left(log)
        files = {"potential": _digest(potential), "structure": _digest(structure)}
        settings = _prepare(place, files, atoms, settings, clients)
        run = _Run(
            place,
            _drivers(Path(potential), settings, threads, clients),
            settings,
            RunTable(place / "pimd.out", settings, len(atoms)),
        )
        done = _to_the_end(run, progress, lock)
    doubt = run.table.doubt()
    if doubt is not None:
        warnings.warn(doubt, UserWarning, stacklevel=2)
    return done


def _made(place: Path) -> Path:
    """The folder, made if it does not exist."""
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


@dataclass(frozen=True)
class _Run:
    """A folder's run: its drivers, its settings with their address, its table."""

    place: Path
    drivers: Drivers
    settings: InputSettings
    table: RunTable


def _to_the_end(run: _Run, progress: Progress, lock: int) -> PimdRun:
    """Go on from the last checkpoint to the last step, if the run has not come there before."""
    start = _checkpoint(run.place)
    begin = start[1] if start else 0
    _refuse_blown_up(run.table, begin)
    if begin >= run.settings.steps:
        return PimdRun(run.table.path, begin, begin, 0.0, GradeTally())
    try:
        seconds = _go_on(run, start, progress, lock)
        _refuse_blown_up(run.table)
    except ForcemapError:
        if (grades := _tally(run)).structures:
            progress.note(grades.line())
        raise
    made = run.settings.steps - begin
    return PimdRun(run.table.path, run.settings.steps, begin, 1000.0 * seconds / made, _tally(run))


def _go_on(
    run: _Run,
    start: tuple[Path, int] | None,
    progress: Progress,
    lock: int,
) -> float:
    """Run i-PI from `start` to the last step; returns the seconds that it took."""
    begin = start[1] if start else 0
    with writing(run.place):
        _set_up(run.place, start, run.settings)
    clock = perf_counter()
    name = f"i-PI, {run.settings.beads} beads" + (f", from step {begin}" if begin else "")
    try:
        with progress.stage(name, run.settings.steps - begin) as advance:
            log = run_i_pi(
                run.place,
                "continue.xml" if start else "input.xml",
                run.drivers,
                _step_counter(run, begin),
                advance,
                stall=STALL,
                keep_open=(lock,),
            )
    except ForcemapError as error:
        # A driver may have refused atoms that fly apart or into each other.
        fault = run.table.fault()
        raise ForcemapError(f"{fault}; {error}") if fault else error from None
    seconds = perf_counter() - clock
    reached = _checkpoint(run.place)
    if reached is None or reached[1] < run.settings.steps:
        raise ForcemapError(
            f"i-PI ended at step {reached[1] if reached else begin} of {run.settings.steps}, though "
            f"with exit code 0; see {log}. The same command goes on from there"
        )
    return seconds


def _drivers(
    potential: Path, settings: InputSettings, threads: int | None, clients: int
) -> Drivers:
    """Those of a run with these settings."""
    options = ("--committee", str(settings.committee)) if settings.committee else ()
    return Drivers(potential, _socket(settings), threads, clients, options)


def _tally(run: _Run) -> GradeTally:
    """What the drivers of the last start have counted, by their logs."""
    logs = [log for log in run.drivers.logs(run.place) if log.exists()]
    return GradeTally.read(log.read_text(encoding="utf-8", errors="replace") for log in logs)


def _refuse_blown_up(table: RunTable, until: float = math.inf) -> None:
    fault = table.fault(until)
    if fault is not None:
        raise ForcemapError(fault)


def _step_counter(run: _Run, begin: int) -> Callable[[], int]:
    """Steps made since `begin`; with each new one, old checkpoints are removed.

    Raises ForcemapError, which stops the run, when the run has blown up.
    """
    shown = begin

    def step() -> int:
        nonlocal shown
        now = max(last_step(run.table.path), begin)
        if now > shown:
            shown = now
            _prune(run.place)
            if run.table.has_exploded():
                raise ForcemapError(f"stopped at step {now} of {run.settings.steps}")
        return now - begin

    return step


def _lock(place: Path) -> AbstractContextManager[int]:
    """Hold the folder's lock, which i-PI inherits: it lasts while either of the two runs."""
    cure = "wait for its end, or stop its i-pi"
    return locked_folder(place, "run.lock", "a run", cure, keep=True)


def _prepare(
    place: Path,
    files: Mapping[str, str],
    atoms: Atoms,
    settings: InputSettings,
    clients: int,
) -> InputSettings:
    """Write the run's files, or check that the folder holds them; the settings with its address."""
    import ase.io

    asked = {
        **files,
        **{
            name: value
            for name, value in asdict(settings).items()
            if name not in ("address", "port", "steps")
        },
    }
    record = place / "run.json"
    if record.exists():
        try:
            known = json.loads(record.read_text(encoding="utf-8"))
            own = replace(settings, address=str(known["address"]), port=_port(settings))
            before = known["run"]
        except (ValueError, KeyError, TypeError) as error:
            raise ForcemapError(f"{record}: cannot be read: {error}") from None
        changed = [name for name in asked if before.get(name) != asked[name]]
        if changed:
            raise ForcemapError(
                f"{place}: holds a run with another {', '.join(changed)}; give another folder"
            )
        return own
    # A call that was killed while it put these files in place has left the part of the last one.
    ours = has_parts(record)
    strange = [path.name for path in place.glob("pimd.*")] + [
        name for name in ("input.xml", "init.xyz", "RESTART") if (place / name).exists()
    ]
    if strange and not ours:
        raise ForcemapError(
            f"{place}: holds {', '.join(sorted(strange)[:3])}, not of a run of this command; give "
            "another folder"
        )
    settings = replace(settings, port=_port(settings))
    settings = replace(settings, batch_size=structures_per_message(settings, len(atoms), clients))
    text = input_text(settings, len(atoms), keep_checkpoints=True)
    content = {"run": asked, "address": settings.address}
    with writing(place), ExitStack() as parts:
        # All files or none, and run.json last: a folder without it holds no run.
        part = parts.enter_context(part_file(record))
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        part = parts.enter_context(part_file(place / "input.xml"))
        part.write_text(text, encoding="utf-8")
        part = parts.enter_context(part_file(place / "init.xyz"))
        ase.io.write(part, atoms, format="extxyz")
    return settings


def _digest(path: str | PathLike[str]) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _port(settings: InputSettings) -> int:
    """A free port, new at each start: others may have taken that of the last one."""
    if settings.mode != "inet":
        return settings.port
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _checkpoint(place: Path) -> tuple[Path, int] | None:
    """The complete checkpoint with the highest step, and the step; None if there is none.

    i-PI writes them in place: a checkpoint is cut short if i-PI is killed while it writes.
    """
    checkpoints = [
        (path, step)
        for path in (*place.glob("pimd.checkpoint_*"), place / "RESTART", place / "continue.xml")
        if (step := _step_of(path)) is not None
    ]
    return max(checkpoints, key=lambda one: one[1]) if checkpoints else None


def _step_of(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    step = re.search(r"<step>\s*(\d+)\s*</step>", text)
    return int(step[1]) if step and text.rstrip().endswith("</simulation>") else None


def _prune(place: Path) -> None:
    """Remove all checkpoints but the last two, and older ones that are not complete."""
    paths = sorted(place.glob("pimd.checkpoint_*"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths[:-KEPT_CHECKPOINTS]:
        path.unlink(missing_ok=True)


def _set_up(place: Path, start: tuple[Path, int] | None, settings: InputSettings) -> None:
    """Let i-PI begin at `start`: write its input, and cut later lines off its outputs."""
    remove_socket(_socket(settings))
    if start is None:
        for old in place.glob("pimd.*"):
            old.unlink()  # of a start that was killed before its first checkpoint
        text = (place / "input.xml").read_text(encoding="utf-8")
    else:
        text = start[0].read_text(encoding="utf-8")
        for path in place.glob("pimd.*"):
            if "checkpoint" not in path.name:
                _cut(path, start[1])
    text = with_total_steps(text, settings.steps)
    if settings.mode == "inet":
        text = re.sub(r"(<port>)[^<]*(</port>)", rf"\g<1> {settings.port} \g<2>", text)
    target = place / ("continue.xml" if start else "input.xml")
    temporary = target.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    # continue.xml is this state; i-PI would keep the old one under a name of its own.
    (place / "RESTART").unlink(missing_ok=True)


def _cut(path: Path, step: int) -> None:
    """Drop the lines of an output beyond `step`, and an incomplete last line."""
    temporary = path.with_name(f"{path.name}.new")
    with path.open(encoding="utf-8", errors="replace") as old, temporary.open("w") as new:
        if path.suffix == ".xyz":
            _copy_frames(old, new, step)
        elif path.suffix.startswith(".committee"):
            _copy_extras(old, new, step)
        else:
            for line in old:
                words = line.split()
                if not line.endswith("\n"):
                    break
                if line.startswith("#") or (words and float(words[0]) <= step):
                    new.write(line)
    temporary.replace(path)


def _copy_frames(old: Any, new: Any, step: int) -> None:
    while count := old.readline().strip():
        lines = [old.readline() for _ in range(int(count) + 1)]
        match = re.search(r"\bStep: +(\d+)", lines[0])
        if match is None or int(match[1]) > step or not lines[-1].endswith("\n"):
            return
        new.writelines([count + "\n", *lines])


def _copy_extras(old: Any, new: Any, step: int) -> None:
    """Lines of numbers, each below a line with its step."""
    while head := old.readline():
        found = re.search(r"# Step: +(\d+)", head)
        numbers = old.readline()
        if found is None or int(found[1]) > step or not numbers.endswith("\n"):
            return
        new.writelines([head, numbers])


def _socket(settings: InputSettings) -> str | int:
    return settings.port if settings.mode == "inet" else settings.address
