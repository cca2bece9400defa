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


@pytest.mark.parametrize("slope", [0.0, 3e-6])
def test_error_of_the_drift_counts_the_noise_correlation(
    nve_drift: ModuleType, slope: float
) -> None:
    """Noise correlated over 50 values; the error must be that of the slope's scatter over series."""
    rng = np.random.default_rng(1)
    time = np.linspace(0.0, 0.1, 8000)
    fits = []
    for _ in range(60):
        kicks = rng.normal(scale=1e-8, size=9000)
        noise = np.convolve(kicks, np.exp(-np.arange(300) / 50.0), mode="valid")[-8000:]
        fits.append(nve_drift.fit_drift(time, -5.0 + slope * time + noise))
    slopes = np.array([fit.slope for fit in fits])
    scatter = slopes.std(ddof=1)
    assert abs(slopes.mean() - slope) < 4.0 * scatter / np.sqrt(len(slopes))
    # The largest of several estimates: no less than the scatter, and not much more.
    assert 0.9 * scatter < np.mean([fit.error for fit in fits]) < 1.6 * scatter
    assert np.mean([abs(fit.slope - slope) < 2.0 * fit.error for fit in fits]) > 0.9


@pytest.mark.lammps
def test_short_run_prints_a_drift_of_its_log(tmp_path: Path) -> None:
    size = ["--atoms", "216", "--steps", "1300", "--equilibrate", "100", "--every", "10"]
    command = [sys.executable, str(PROGRAM), *size, "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Si, 216 atoms" in done.stdout
    assert "131 values" in done.stdout
    found = re.search(r"drift (\S+) \+- (\S+) eV", done.stdout)
    assert found is not None
    log = np.array(
        [
            [float(word) for word in line.split()]
            for line in (tmp_path / "log.lammps").read_text().splitlines()
            if re.fullmatch(r"( +[-\d.e]+){3}", line)
        ]
    )[-131:]
    slope = np.polyfit(1e-6 * log[:, 0], log[:, 2] / 216, 1)[0]
    assert float(found[1]) == pytest.approx(slope, rel=0.06)  # printed with two digits
    again = subprocess.run(
        [sys.executable, str(PROGRAM), "--log", str(tmp_path / "log.lammps")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == done.stdout
