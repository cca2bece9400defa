"""The potential that several benchmarks run: 2-body and 3-body terms fitted to examples/silicon."""

from __future__ import annotations

from pathlib import Path

from forcemap.fitter import Settings, fit_frames, map_model
from forcemap.fitter.dataset import read_frames

SILICON = Path(__file__).resolve().parents[1] / "examples" / "silicon"


def silicon_potential(file: Path, cutoff3: float) -> Path:
    """Fit and map with default settings but the 3-body cutoff (Å); returns `file`."""
    settings = Settings.from_dict(
        {
            "data": {"train": [str(SILICON / "train.xyz")]},
            "terms": [
                {"kind": "two_body", "cutoff": 5.5},
                {"kind": "three_body", "cutoff": cutoff3},
            ],
        }
    )
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    map_model(fit_frames(settings, frames), frames, settings.map.tolerance).write(file)
    return file
