"""What the demo reads from the logs of LAMMPS and i-PI."""

from pathlib import Path

import numpy as np
import pytest
from forcemap.fitter.commands.demo_runs import (
    BOLTZMANN,
    read_ipi_output,
    read_lammps_log,
    standard_error,
)
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.lammps import thermo_rows

LOG = """
thermo 50
Setting up
   Step          Time           Temp          PotEng
         0   0              600           -1165.9
        50   0.05           200           -1160.0
       100   0.1            310           -1158.5
Loop time of 0.4 on 2 procs for 100 steps with 4 atoms

Performance: 21.600 ns/day, 1.111 hours/ns, 250.000 timesteps/s
"""

XML = """<!-- with nbeads='1' it is classical; <temperature> 7 </temperature> -->
<simulation>
  <output prefix='pimd'>
    <properties filename='out'> [ step, time{picosecond}, temperature{kelvin},
      kinetic_cv{electronvolt}, kinetic_td{electronvolt} ] </properties>
  </output>
  <system>
    <initialize nbeads='8'> <file mode='ase'> init.xyz </file> </initialize>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>
</simulation>
"""


def test_lammps_log_gives_rate_and_mean_temperature(tmp_path: Path) -> None:
    log = tmp_path / "log.lammps"
    log.write_text(LOG, encoding="utf-8")
    run = read_lammps_log(log, 100)
    assert (run.atoms, run.steps, run.ns_per_day) == (4, 100, 21.6)
    # 0.4 s on two processors for 400 atom-steps.
    assert run.microseconds == pytest.approx(2000.0)
    assert run.temperature == pytest.approx((200 + 310) / 2)
    assert run.plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "steps", "message"),
    [
        (LOG, 200, "the run ended at step 100 of 200"),
        (LOG.replace("       100   0.1", "        90   0.1"), 100, "ended at step 100 of 100"),
        (LOG.partition("Performance")[0], 100, "found nothing like"),
    ],
)
def test_unfinished_lammps_run_is_told(tmp_path: Path, text: str, steps: int, message: str) -> None:
    log = tmp_path / "log.lammps"
    log.write_text(text, encoding="utf-8")
    with pytest.raises(ForcemapError, match=message):
        read_lammps_log(log, steps)


def test_last_of_several_tables_is_read() -> None:
    rows = thermo_rows(LOG + LOG.replace("600 ", "601 "))
    assert rows["Temp"].tolist() == [601.0, 200.0, 310.0]
    assert list(rows) == ["Step", "Time", "Temp", "PotEng"]
    assert len(thermo_rows("no table")["Step"]) == 0


def written(folder: Path, values: np.ndarray) -> Path:
    (folder / "init.xyz").write_text("2\n\nSi 0 0 0\nSi 1 1 1\n", encoding="utf-8")
    output = folder / "pimd.out"
    np.savetxt(output, values, header="column 1 --> step")
    return output


def table(steps: int) -> np.ndarray:
    step = np.arange(steps + 1.0)
    half = np.where(step > steps // 2, 1.0, 50.0)
    return np.column_stack([step, 1e-3 * step, 300 * half, 0.1 * half, 0.2 * half])


def test_ipi_output_gives_kinetic_energies_per_atom(tmp_path: Path) -> None:
    output = written(tmp_path, table(99))
    run = read_ipi_output(output, XML, tmp_path / "init.xyz", 99, seconds=9.9)
    assert (run.beads, run.atoms, run.steps) == (8, 2, 99)
    assert run.milliseconds == pytest.approx(100.0)
    assert run.kinetic_virial == pytest.approx(50.0)
    assert run.kinetic_thermodynamic == pytest.approx(100.0)
    assert run.kinetic_classical == pytest.approx(1500 * BOLTZMANN * 300)
    assert run.temperature == pytest.approx(300.0)
    assert run.plot.read_bytes().startswith(b"\x89PNG")


def test_ipi_run_must_reach_its_last_step(tmp_path: Path) -> None:
    output = written(tmp_path, table(40))
    with pytest.raises(ForcemapError, match="does not reach step 50"):
        read_ipi_output(output, XML, tmp_path / "init.xyz", 50, 1.0)
    output.write_text("# step\n", encoding="utf-8")
    with pytest.raises(ForcemapError, match="does not reach step 50"):
        read_ipi_output(output, XML, tmp_path / "init.xyz", 50, 1.0)
    broken = table(40)
    broken[3, 3] = np.nan
    with pytest.raises(ForcemapError, match="not finite"):
        read_ipi_output(written(tmp_path, broken), XML, tmp_path / "init.xyz", 40, 1.0)


def test_standard_error_of_independent_numbers_is_that_of_statistics() -> None:
    values = np.random.default_rng(5).normal(size=80_000)
    errors = [standard_error(part) for part in np.split(values, 200)]
    # Each is the error of 400 numbers of unit variance, 0.05, from 8 blocks.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.05, rel=0.1)
    assert standard_error(np.ones(1)) == 0.0
