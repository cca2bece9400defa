"""Validates an example against its DFT frames: EXAMPLE/validation.png and the table on the terminal.

forcemap fit silicon/settings.yaml -o silicon/out
python3 dft_reference.py silicon
python3 validated.py silicon
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

PARTS = ("eos-*.png", "phonons-*.png", "vibrations-*.png", "rdf-*300K.png")
"""Figures of the validation that make up the one of the example."""


def validated(folder: Path) -> Path:
    """Run ``forcemap validate`` on a fitted example; returns the folder of its results."""
    out = folder / "out" / "validation"
    command = ["forcemap", "validate", str(folder / "out" / "potential.forcemap"), "-o", str(out)]
    subprocess.run([*command, "--reference", str(folder / "reference.yaml")], check=True)
    return out


def composed(out: Path, path: Path) -> None:
    """Put the figures beside each other."""
    images = [imread(found) for part in PARTS for found in sorted(out.glob(part))[:1]]
    figure = Figure(figsize=(12.0, 4.4 * ((len(images) + 1) // 2)), layout="constrained")
    for number, image in enumerate(images, start=1):
        axes = figure.add_subplot((len(images) + 1) // 2, 2, number)
        axes.imshow(image)
        axes.axis("off")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    example = Path(sys.argv[1])
    composed(validated(example), example / "validation.png")
