"""The page of an examination, and its data for chemiscope."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from forcemap import __version__
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import Composition
from forcemap.fitter.doctor.figures import histograms, map_figure
from forcemap.fitter.doctor.finding import Finding, Place
from forcemap.fitter.doctor.frame_map import places_on_map
from forcemap.fitter.doctor.show import COUNTED, summary, to_json
from forcemap.fitter.sharing.whole_file import replacing, write_whole
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["frame_values", "write_chemiscope", "write_page"]

Array = NDArray[np.float64]

LABELS = {
    "energy": ("energy beyond its composition's (eV per atom)", "eV/atom"),
    "force": ("largest force (eV/Å)", "eV/Å"),
}
"""What frames are coloured by, and its unit."""


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("forcemap.fitter.doctor.page", "."),
        autoescape=True,
        trim_blocks=True,
    )
    environment.filters["b64"] = lambda text: base64.b64encode(text.encode()).decode()
    return environment.get_template("page.html.j2")


def frame_values(case: Case) -> dict[str, Array]:
    """What the frames are coloured by: a number for each frame, NaN where it has none."""
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
    return {"energy": energies, "force": np.array(forces, dtype=np.float64)}


def write_page(path: Path, case: Case, findings: Sequence[Finding]) -> None:
    """Write findings, maps and histograms as one HTML file.

    Raises ForcemapError if it cannot be written.
    """
    content = to_json(case, findings)
    for shown, finding in zip(content["findings"], findings, strict=True):
        shown["listed"] = _listed(finding.frames)
    maps = {}
    if case.frames:
        places = places_on_map(case.surroundings)
        for name, values in frame_values(case).items():
            if np.isfinite(values).any():
                maps[name] = map_figure(places, values, LABELS[name][0])
    text = _template().render(
        version=__version__,
        summary=summary(case, findings),
        counted=COUNTED,
        files=content["files"],
        findings=content["findings"],
        maps=maps,
        histograms=histograms(case) if case.frames else {},
        groups=_groups(case),
    )
    write_whole(path, text)


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

    The format is described in its documentation (chemiscope.org/docs, "Input file format"); compressed
    if the name ends in .gz. Raises ForcemapError if the file cannot be written.
    """
    with replacing(path) as part:
        text = json.dumps(_chemiscope(case), allow_nan=False).encode()
        part.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _chemiscope(case: Case) -> dict[str, Any]:
    places = places_on_map(case.surroundings)
    columns: dict[str, tuple[Sequence[Any], str]] = {
        "component 1": (places[:, 0].tolist(), ""),
        "component 2": (places[:, 1].tolist(), ""),
        "frame": ([frame.index for frame in case.frames], ""),
        "file": ([frame.source for frame in case.frames], ""),
        "config_type": ([frame.config_type for frame in case.frames], ""),
        "atoms": ([len(frame.numbers) for frame in case.frames], ""),
    }
    for name, values in frame_values(case).items():
        if np.isfinite(values).all():  # the viewer takes numbers only
            columns[LABELS[name][0].partition(" (")[0]] = (values.tolist(), LABELS[name][1])
    color = next((key for key in columns if key.startswith("energy")), "component 1")
    return {
        "meta": {"name": ", ".join(reading.path for reading in case.train)},
        "structures": [_structure(frame) for frame in case.frames],
        "properties": {
            name: {"target": "structure", "values": list(values)}
            | ({"units": unit} if unit else {})
            for name, (values, unit) in columns.items()
        },
        "settings": {
            "map": {
                "x": {"property": "component 1"},
                "y": {"property": "component 2"},
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
