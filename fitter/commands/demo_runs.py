"""The molecular dynamics of the demo: LAMMPS at 300 K, then i-PI with path integrals."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.i_pi import Drivers, run_i_pi, with_total_steps
from forcemap.potentials.runs.lammps import run_script, thermo_rows
from forcemap.potentials.runs.programs import last_step
from forcemap.potentials.runs.progress import Progress
from numpy.typing import NDArray

__all__ = ["IpiRun", "LammpsRun", "run_ipi", "run_lammps"]

Array = NDArray[np.float64]

BOLTZMANN = 8.617333262e-5  # eV/K
PIMD_STEPS = 1000
PLOT_COLORS = ("#5b8db8", "#d1495b", "#3c4650")


@dataclass(frozen=True)
class LammpsRun:
    """What LAMMPS did.

    Attributes:
        log: its log file.
        plot: temperature and energy over time.
        atoms, steps: their numbers.
        microseconds: per atom and step.
        ns_per_day: at the input's time step.
        temperature: mean of the second half, K.
    """

    log: Path
    plot: Path
    atoms: int
    steps: int
    microseconds: float
    ns_per_day: float
    temperature: float


def run_lammps(folder: Path, progress: Progress) -> LammpsRun:
    """Run `in.lammps` in `folder`.

    Raises ForcemapError if LAMMPS is not found, fails, or does not come to its last step.
    """
    text = (folder / "in.lammps").read_text(encoding="utf-8")
    steps = int(_one(r"^variable\s+steps\s+index\s+(\d+)", text, folder / "in.lammps"))
    with progress.stage("LAMMPS, NVT at 300 K", steps) as advance:
        log = run_script(folder / "in.lammps", advance)
    return read_lammps_log(log, steps)


def read_lammps_log(log: Path, steps: int) -> LammpsRun:
    """Judge a run of `steps` steps by its log and plot it beside.

    Raises ForcemapError if the log has no finished run or another last step.
    """
    text = log.read_text(encoding="utf-8", errors="replace")
    rate = _one(r"^Performance: (\S+) ns/day", text, log)
    loop = re.search(
        r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", text, re.M
    )
    if loop is None:
        raise ForcemapError(f"{log}: holds no finished run")
    seconds, procs, done, atoms = float(loop[1]), int(loop[2]), int(loop[3]), int(loop[4])
    rows = thermo_rows(text)
    if done != steps or not len(rows["Step"]) or rows["Step"][-1] != steps:
        raise ForcemapError(f"{log}: the run ended at step {done} of {steps}")
    temperature = rows["Temp"]
    plot = log.with_name("lammps.png")
    _plot(
        plot,
        rows["Time"],
        [
            ("temperature (K)", {"temperature": temperature}),
            ("potential energy (eV/atom)", {"energy": rows["PotEng"] / atoms}),
        ],
    )
    return LammpsRun(
        log=log,
        plot=plot,
        atoms=atoms,
        steps=done,
        microseconds=1e6 * seconds * procs / (done * atoms),
        ns_per_day=float(rate),
        temperature=float(temperature[len(temperature) // 2 :].mean()),
    )


@dataclass(frozen=True)
class IpiRun:
    """What i-PI did.

    Attributes:
        output: its table of properties.
        plot: quantum kinetic energy over time.
        beads, atoms, steps: their numbers.
        milliseconds: per step of all beads.
        kinetic_virial: centroid-virial estimator, mean of the second half, meV per atom.
        kinetic_virial_error: its standard error.
        kinetic_thermodynamic: the other estimator, which has the same mean and more noise.
        kinetic_thermodynamic_error: its standard error.
        kinetic_classical: 3/2 kT, meV per atom.
        temperature: mean of the second half, K.
    """

    output: Path
    plot: Path
    beads: int
    atoms: int
    steps: int
    milliseconds: float
    kinetic_virial: float
    kinetic_virial_error: float
    kinetic_thermodynamic: float
    kinetic_thermodynamic_error: float
    kinetic_classical: float
    temperature: float


def run_ipi(folder: Path, potential: Path, progress: Progress, steps: int = PIMD_STEPS) -> IpiRun:
    """Run `input.xml` in `folder` for `steps` steps, with one `forcemap driver` as its client.

    During the run the socket has a name of its own. Raises ForcemapError if
    i-PI is not found, one of the two programs fails, or i-PI does not come to its last step.
    """
    from time import perf_counter

    name = f"forcemap-{uuid.uuid4().hex[:12]}"
    source = folder / "input.xml"
    text = source.read_text(encoding="utf-8")
    text = with_total_steps(text, steps)
    own_socket = _replace(r"(<address>)[^<]*(</address>)", name, text, source)
    source.write_text(own_socket, encoding="utf-8")
    output = folder / "pimd.out"
    for old in folder.glob("pimd.*"):
        old.unlink()  # i-PI would keep them under other names
    begin = perf_counter()
    try:
        with progress.stage("i-PI, path integrals with 8 beads", steps) as advance:
            drivers = Drivers(potential, name)
            run_i_pi(folder, "input.xml", drivers, lambda: last_step(output), advance)
    finally:
        # A later start by hand finds the name that the example's text gives.
        source.write_text(text, encoding="utf-8")
    return read_ipi_output(output, text, folder / "init.xyz", steps, perf_counter() - begin)


def read_ipi_output(output: Path, xml: str, init: Path, steps: int, seconds: float) -> IpiRun:
    """Judge a run by its table of properties and plot it beside.

    Raises ForcemapError if the table lacks the last step: i-PI ends with exit code 0 even then.
    """
    simulation = ElementTree.fromstring(xml)
    properties = _text(simulation, "output/properties", output).strip(" []").split(",")
    columns = [name.split("{")[0].strip() for name in properties]
    # The table is empty after a run that ended at its start.
    lines = output.read_text(encoding="utf-8").splitlines() if output.exists() else []
    rows_found = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    complete = [row for row in rows_found if len(row) == len(columns)]
    values = np.array(complete, dtype=np.float64).reshape(-1, len(columns))
    if not len(values) or values[-1, columns.index("step")] != steps:
        raise ForcemapError(f"{output}: does not reach step {steps}; see the logs beside it")
    if not np.isfinite(values).all():
        raise ForcemapError(f"{output}: holds numbers that are not finite")
    rows = dict(zip(columns, values.T, strict=True))
    atoms = int(init.read_text(encoding="utf-8").split(maxsplit=1)[0])
    temperature = float(_text(simulation, "system/ensemble/temperature", output))
    classical = 1.5 * BOLTZMANN * temperature
    per_atom = 1000.0 / atoms
    virial = per_atom * rows["kinetic_cv"]
    thermodynamic = per_atom * rows["kinetic_td"]
    plot = output.with_name("pimd.png")
    _plot(
        plot,
        rows["time"],
        [
            (
                "kinetic energy (meV/atom)",
                {
                    "thermodynamic estimator": thermodynamic,
                    "centroid-virial estimator": virial,
                    "classical": np.full_like(virial, 1000.0 * classical),
                },
            )
        ],
    )
    initialize = simulation.find("system/initialize")
    beads = int(initialize.get("nbeads", "1")) if initialize is not None else 1
    half = len(values) // 2
    return IpiRun(
        output=output,
        plot=plot,
        beads=beads,
        atoms=atoms,
        steps=steps,
        milliseconds=1000.0 * seconds / steps,
        kinetic_virial=float(virial[half:].mean()),
        kinetic_virial_error=standard_error(virial[half:]),
        kinetic_thermodynamic=float(thermodynamic[half:].mean()),
        kinetic_thermodynamic_error=standard_error(thermodynamic[half:]),
        kinetic_classical=1000.0 * classical,
        temperature=float(rows["temperature"][half:].mean()),
    )


def standard_error(values: Array, blocks: int = 8) -> float:
    """Standard error of the mean of a correlated series, from the means of its `blocks` parts."""
    means = [part.mean() for part in np.array_split(values, min(blocks, len(values)))]
    return float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0


def _text(root: ElementTree.Element, place: str, path: Path) -> str:
    """Text of an element of i-PI's input."""
    text = root.findtext(place)
    if text is None:
        raise ForcemapError(f"{path}: its input.xml has no {place}")
    return text.strip()


def _one(pattern: str, text: str, path: Path) -> str:
    match = re.search(pattern, text, re.M | re.S)
    if match is None:
        raise ForcemapError(f"{path}: found nothing like {pattern!r}")
    return match[1]


def _replace(pattern: str, value: str, text: str, path: Path) -> str:
    """Put `value` between the two groups of `pattern`, which must occur once."""
    changed, count = re.subn(pattern, rf"\g<1> {value} \g<2>", text)
    if count != 1:
        raise ForcemapError(f"{path}: found {pattern!r} {count} times, expected it once")
    return changed


def _plot(path: Path, time: Array, panels: list[tuple[str, dict[str, Array]]]) -> None:
    """Curves over time (ps), one panel above the other, as PNG."""
    from forcemap.fitter.report.figures import STYLE
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.6 * len(panels) + 0.6), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, curves) in zip(all_axes, panels, strict=True):
            for color, (name, values) in zip(PLOT_COLORS, curves.items(), strict=False):
                axes.plot(time, values, color=color, linewidth=1.2, label=name)
            # The start, far from equilibrium, may run out of the frame.
            later = np.concatenate([values[len(values) // 20 :] for values in curves.values()])
            margin = 0.15 * float(np.ptp(later)) or 1.0
            axes.set(ylabel=label, ylim=(later.min() - margin, later.max() + margin))
            if len(curves) > 1:
                axes.legend(loc="upper right")
        all_axes[-1].set(xlabel="time (ps)", xlim=(float(time[0]), float(time[-1])))
        figure.savefig(path, dpi=150)
