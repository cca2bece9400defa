"""The page of an examination, and its data for chemiscope."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forcemap import __version__
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import Composition
from forcemap.fitter.doctor.environment_map import map_of
from forcemap.fitter.doctor.finding import Finding, Place
from forcemap.fitter.doctor.show import COUNTED, summary, to_json
from forcemap.fitter.report.template import template
from forcemap.fitter.sharing.whole_file import replacing, write_whole
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["frame_values", "write_chemiscope", "write_page"]

Array = NDArray[np.float64]


def frame_values(case: Case) -> dict[str, Array]:
    """What frames are coloured by, by label and unit: a number for each, NaN where it has none."""
    energies = np.full(len(case.frames), np.nan)
    data = Composition.of(case.frames)
    if len(data.frames):
        with_energy = [frame.energy is not None for frame in case.frames]
        energies[with_energy] = data.residuals(data.energies / data.sizes)
    forces = [
        np.linalg.norm(f.forces[f.labelled], axis=1).max(initial=0.0)
        if f.forces is not None
        else np.nan
        for f in case.frames
    ]
    return {
        **case.values,
        "energy beyond its composition's (eV per atom)": energies,
        "largest force (eV/Å)": np.array(forces, dtype=np.float64),
    }


def write_page(path: Path, case: Case, findings: Sequence[Finding]) -> None:
    """Write findings, maps and histograms as one HTML file.

    Raises ForcemapError if it cannot be written.
    """
    from forcemap.fitter.doctor.figures import histograms

    content = to_json(case, findings)
    for shown, finding in zip(content["findings"], findings, strict=True):
        shown["listed"] = _listed(finding.frames)
    text = template("forcemap.fitter.doctor.page", "page.html.j2").render(
        version=__version__,
        summary=summary(case, findings),
        counted=COUNTED,
        files=content["files"],
        findings=content["findings"],
        maps=_maps(case),
        histograms=histograms(case) if case.frames else {},
        groups=_groups(case),
    )
    write_whole(path, text)


def _maps(case: Case) -> dict[str, str]:
    """SVG of the map of the frames, coloured by each of their values."""
    from forcemap.fitter.doctor.figures import map_figure

    found = map_of(case.frames, case.run)
    if found is None:
        return {}
    shown = {label: values[list(found.places)] for label, values in frame_values(case).items()}
    return {
        label.partition(" (")[0]: map_figure(found.frames, values, label)
        for label, values in shown.items()
        if np.isfinite(values).any()
    }


def _listed(frames: Sequence[Place]) -> str:
    files: dict[str, list[int]] = {}
    for place in frames:
        files.setdefault(place.source, []).append(place.index)
    return "; ".join(f"{file}: {', '.join(map(str, those))}" for file, those in files.items())


def _groups(case: Case) -> dict[str, list[int]]:
    """Frames, atoms and labels by config_type."""
    rows: dict[str, list[int]] = {}
    for frame in case.frames:
        row = rows.setdefault(frame.config_type, [0] * 5)
        labels = (frame.energy, frame.forces, frame.stress)
        for n, value in enumerate((1, len(frame.numbers), *(x is not None for x in labels))):
            row[n] += int(value)
    return rows


# ----- chemiscope -----


def write_chemiscope(path: Path, case: Case) -> None:
    """Write frames, their places on the map and their values for the viewer at chemiscope.org.

    Of very many frames some are chosen, evenly from all groups. The format is described in its
    documentation (chemiscope.org/docs, "Input file format"); compressed if the name ends in .gz. Raises
    ForcemapError if the file cannot be written.
    """
    with replacing(path) as part:
        text = json.dumps(_chemiscope(case), allow_nan=False).encode()
        part.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _chemiscope(case: Case) -> dict[str, Any]:
    found = map_of(case.frames, case.run)
    places = list(range(len(case.frames))) if found is None else list(found.places)
    frames = [case.frames[place] for place in places]
    columns: dict[str, tuple[Sequence[Any], str]] = {
        "frame": ([frame.index for frame in frames], ""),
        "file": ([frame.source for frame in frames], ""),
        "config_type": ([frame.config_type for frame in frames], ""),
        "atoms": ([len(frame.numbers) for frame in frames], ""),
    }
    axes = ("frame", "atoms")
    if found is not None:
        axes = ("component 1", "component 2")
        columns |= {axis: (found.frames[:, n].tolist(), "") for n, axis in enumerate(axes)}
    for label, values in frame_values(case).items():
        name, _, unit = label.rstrip(")").partition(" (")
        if np.isfinite(values[places]).all():  # the viewer takes numbers only
            columns[name] = (values[places].tolist(), unit)
    color = next((name for name in columns if "energy" in name), "atoms")
    return {
        "meta": {"name": ", ".join(reading.path for reading in case.train)},
        "structures": [_structure(frame) for frame in frames],
        "properties": {
            name: {"target": "structure", "values": list(values)}
            | ({"units": unit} if unit else {})
            for name, (values, unit) in columns.items()
        },
        "settings": {
            "map": {
                "x": {"property": axes[0]},
                "y": {"property": axes[1]},
                "color": {"property": color},
            }
        },
    }


def _structure(frame: Any) -> dict[str, Any]:
    structure = {
        "size": len(frame.numbers),
        "names": [SYMBOLS[z] for z in frame.numbers],
        **{axis: frame.positions[:, n].tolist() for n, axis in enumerate("xyz")},
    }
    if frame.pbc.all():
        structure["cell"] = frame.cell.ravel().tolist()
    return structure
