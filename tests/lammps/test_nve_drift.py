"""The benchmark of the energy's drift: its fit on series with a known answer, and one short run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "nve_drift.py"


@pytest.fixture
def nve_drift(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    spec = importlib.util.spec_from_file_location("nve_drift", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "nve_drift", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("slope", [0.0, 3e-5])
@pytest.mark.parametrize(
    ("noise", "walk", "most"), [(1e-8, 0.0, 4.0), (0.0, 5e-9, 1.3), (1e-8, 5e-9, 1.5)]
)
def test_error_of_the_drift_is_that_of_its_scatter(
    nve_drift: ModuleType, slope: float, noise: float, walk: float, most: float
) -> None:
    """Noise correlated over 50 of 8000 values, and a random walk; the error may be too large, not
    too small."""
    rng = np.random.default_rng(1)
    time = np.linspace(0.0, 0.1, 8000)
    fits = []
    for _ in range(80):
        kicks = rng.normal(scale=noise, size=9000)
        energy = np.convolve(kicks, np.exp(-np.arange(300) / 50.0), mode="valid")[-8000:]
        energy += np.cumsum(rng.normal(scale=walk, size=8000))
        fits.append(nve_drift.fit_drift(time, -5.0 + slope * time + energy))
    slopes = np.array([fit.slope for fit in fits])
    scatter = slopes.std(ddof=1)
    assert abs(slopes.mean() - slope) < 4.0 * scatter / np.sqrt(len(slopes))
    assert 0.75 * scatter < np.mean([fit.error for fit in fits]) < most * scatter
    assert np.mean([abs(fit.slope - slope) < 2.0 * fit.error for fit in fits]) > 0.85


@pytest.mark.lammps
def test_short_run_prints_a_drift_of_its_log(tmp_path: Path) -> None:
    size = ["--atoms", "216", "--steps", "1300", "--equilibrate", "100", "--every", "10"]
    command = [sys.executable, str(PROGRAM), *size, "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Si, 216 atoms" in done.stdout
    assert "131 values" in done.stdout
    found = dict(re.findall(r"(?m)^(\w+).*?  (-?\d\S+)  ", done.stdout))
    log = np.array(
        [
            [float(word) for word in line.split()]
            for line in (tmp_path / "log.lammps").read_text().splitlines()
            if re.fullmatch(r"( +[-+\d.e]+){4}", line)
        ]
    )[-131:]
    conserved = log[:, 2] + 1e-6 * log[:, 3] ** 2 / (24.0 * 28.0855 * 1.036427e-4)
    for name, energy in (("total", log[:, 2]), ("without", conserved)):
        slope = np.polyfit(1e-6 * log[:, 0], energy / 216, 1)[0]
        assert float(found[name]) == pytest.approx(slope, rel=0.06)  # printed with two digits
    again = subprocess.run(
        [sys.executable, str(PROGRAM), "--log", str(tmp_path / "log.lammps")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == done.stdout
